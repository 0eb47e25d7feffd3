//! Small volumes made by hand, whole and broken.

use super::*;
use crate::ErrorKind;
use crate::block::MemoryDisk;

const SECTOR: usize = 2048;
/// Where the root directory is, and others.
const ROOT: u32 = 20;
const SUB: u32 = 21;
const MOVED: u32 = 22;
const CONTINUED: u32 = 23;
const CATALOG: u32 = 24;
const JOLIET: u32 = 25;
const FILE: u32 = 26;
const SECTORS: usize = 32;

struct Image(Vec<u8>);

fn both(value: u32) -> [u8; 8] {
    [value.to_le_bytes(), value.to_be_bytes()].concat().try_into().unwrap()
}

/// A record with `flags`, of `len` bytes from `block` on.
fn record(name: &[u8], flags: u8, block: u32, len: u32, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both(block));
    record.extend(both(len));
    record.extend([100, 1, 2, 3, 4, 5, 0, flags, 0, 0, 1, 0, 0, 1, name.len() as u8]);
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}

fn entry(mark: &[u8; 2], data: &[u8]) -> Vec<u8> {
    [mark, &[data.len() as u8 + 4, 1][..], data].concat()
}

fn px(mode: u32, links: u32, uid: u32) -> Vec<u8> {
    entry(b"PX", &[both(mode), both(links), both(uid), both(7)].concat())
}

fn nm(name: &str) -> Vec<u8> {
    entry(b"NM", &[&[0], name.as_bytes()].concat())
}

impl Image {
    fn put(&mut self, block: u32, bytes: &[u8]) {
        let at = block as usize * SECTOR;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn directory(&mut self, block: u32, own: &[u8], records: &[Vec<u8>]) {
        let sector = SECTOR as u32;
        let dots = [record(&[0], 2, block, sector, own), record(&[1], 2, ROOT, sector, &px(0o40_755, 2, 0))];
        let bytes = [dots.concat(), records.concat()].concat();
        self.put(block, &bytes);
    }

    fn descriptor(&mut self, block: u32, kind: u8, root: u32) {
        let mut bytes = vec![0; SECTOR];
        bytes[..7].copy_from_slice(b"\0CD001\x01");
        bytes[0] = kind;
        bytes[80..88].copy_from_slice(&both(SECTORS as u32));
        bytes[128..132].copy_from_slice(&[0, 8, 8, 0]);
        if kind == 2 {
            bytes[88..91].copy_from_slice(b"%/E");
        }
        bytes[156..190].copy_from_slice(&record(&[0], 2, root, SECTOR as u32, &[]));
        if kind == 0 {
            bytes[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
            bytes[71..75].copy_from_slice(&CATALOG.to_le_bytes());
        }
        self.put(block, &bytes);
    }

    fn open(&self) -> Iso {
        Iso::open(Arc::new(MemoryDisk::from_bytes(self.0.clone()))).unwrap()
    }
}

/// With Rock Ridge, or with Joliet, or with neither.
fn sample(has_ridge: bool, has_joliet: bool) -> Image {
    let mut image = Image(vec![0; SECTORS * SECTOR]);
    image.descriptor(16, 1, ROOT);
    image.descriptor(17, 0, ROOT);
    image.descriptor(18, if has_joliet { 2 } else { 0xff }, JOLIET);
    image.put(19, b"\xffCD001\x01");
    let er = entry(b"ER", b"\x0a\0\0\x01RRIP_1991A");
    let own =
        if has_ridge { [entry(b"SP", b"\xbe\xef\0"), er, px(0o40_755, 4, 0)].concat() } else { Vec::new() };
    let file =
        [px(0o100_640, 2, 1000), nm("Mixed Case"), entry(b"TF", &[0x02, 70, 1, 1, 0, 0, 9, 0])].concat();
    // The name begins here and ends elsewhere.
    let far = [both(CONTINUED), both(100), both(13)].concat();
    let long = [px(0o120_777, 1, 0), entry(b"NM", b"\x01begin"), entry(b"CE", &far)].concat();
    let rest = [entry(b"NM", b"\0-"), entry(b"SL", b"\0\x02\0")].concat();
    image.0[CONTINUED as usize * SECTOR + 100..][..rest.len()].copy_from_slice(&rest);
    let device = [px(0o60_600, 1, 0), nm("disk"), entry(b"PN", &[both(8), both(1)].concat())].concat();
    let sector = SECTOR as u32;
    let records = [
        record(b"MIXED.TXT;1", 0x80, FILE, sector, &file),
        record(b"MIXED.TXT;1", 0, FILE + 2, 10, &file),
        record(b"RESOURCE.;1", 4, FILE, 10, &[]),
        record(b"LINK.;1", 0, 0, 0, &long),
        record(b"DISK.;1", 0, 0, 0, &device),
        record(b"CHILD.;1", 0, 0, 0, &[px(0o40_700, 2, 0), nm("child"), entry(b"CL", &both(SUB))].concat()),
        record(b"RR_MOVED", 2, MOVED, sector, &[px(0o40_755, 3, 0), nm("moved")].concat()),
    ];
    image.directory(ROOT, &own, &records);
    image.directory(SUB, &px(0o40_700, 2, 0), &[record(b"A.B;1", 0, FILE + 1, 5, &nm("inside"))]);
    let relocated = [px(0o40_700, 2, 0), nm("child"), entry(b"RE", &[])].concat();
    image.directory(MOVED, &px(0o40_755, 3, 0), &[record(b"CHILD", 2, SUB, sector, &relocated)]);
    let wide: Vec<u8> = "Ünïcode.TXT;1".encode_utf16().flat_map(u16::to_be_bytes).collect();
    image.directory(JOLIET, &[], &[record(&wide, 0, FILE, 20, &[])]);
    for block in FILE..FILE + 3 {
        image.put(block, &[block as u8; SECTOR]);
    }
    let mut validation = [0; 32];
    (validation[0], validation[30], validation[31]) = (1, 0x55, 0xaa);
    validation[28..30].copy_from_slice(&(0_u16.wrapping_sub(0xaa55).wrapping_sub(1)).to_le_bytes());
    let boot = |mark: u8, block: u8| {
        let mut entry = [0; 32];
        (entry[0], entry[6], entry[8]) = (mark, 4, block);
        entry
    };
    let mut header = [0; 32];
    (header[0], header[1], header[2]) = (0x91, 0xef, 1);
    image.put(CATALOG, &[validation, boot(0x88, 26), header, boot(0, 27)].concat());
    image
}

fn names(iso: &Iso, directory: &Node) -> Vec<String> {
    let name = |entry: Result<NodeEntry>| String::from_utf8(entry.unwrap().name).unwrap();
    iso.entries(directory).map(name).collect()
}

fn find(iso: &Iso, directory: &Node, name: &str) -> Node {
    iso.node(iso.lookup(directory, name.as_bytes()).unwrap().unwrap()).unwrap()
}

fn read(iso: &Iso, node: &Node) -> Vec<u8> {
    let content = iso.content(node).unwrap();
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn rock_ridge_is_read() {
    let iso = sample(true, true).open();
    let root = iso.root().unwrap();
    assert_eq!(names(&iso, &root), ["Mixed Case", "begin-", "disk", "child", "moved"]);
    let file = find(&iso, &root, "Mixed Case");
    assert_eq!((file.mode, file.uid, file.gid, file.links, file.size), (0o640, 1000, 7, 2, 2058));
    assert_eq!((file.modified.seconds, file.accessed.seconds), (9, 946_782_245));
    assert_eq!(read(&iso, &file), [vec![26; 2048], vec![28; 10]].concat());
    assert_eq!(iso.lookup(&root, b"mixed case").unwrap(), None);
    let link = find(&iso, &root, "begin-");
    assert_eq!((link.kind, link.size, iso.read_link(&link).unwrap()), (NodeKind::Link, 1, b".".to_vec()));
    assert_eq!(find(&iso, &root, "disk").device, Some((8, 1)));
    let child = find(&iso, &root, "child");
    assert_eq!(
        (child.kind, child.mode, names(&iso, &child)),
        (NodeKind::Directory, 0o700, vec!["inside".into()])
    );
    assert_eq!(read(&iso, &find(&iso, &child, "inside")), [27; 5]);
    assert!(names(&iso, &find(&iso, &root, "moved")).is_empty());
    assert_eq!(iso.content(&root).err().unwrap().kind(), ErrorKind::Invalid);
    assert_eq!(iso.read_link(&file).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(iso.usage().unwrap().size, (SECTORS * SECTOR) as u64);
}

#[test]
fn joliet_and_plain_names_are_read() {
    let joliet = sample(false, true).open();
    let root = joliet.root().unwrap();
    assert_eq!(names(&joliet, &root), ["Ünïcode.TXT"]);
    assert_eq!(read(&joliet, &find(&joliet, &root, "ÜNÏCODE.txt")), [26; 20]);
    let plain = sample(false, false).open();
    let root = plain.root().unwrap();
    assert_eq!((root.mode, root.links), (MODE, 1));
    assert_eq!(names(&plain, &root), ["mixed.txt", "link", "disk", "child", "rr_moved"]);
    assert_eq!(find(&plain, &root, "mixed.txt").mode, MODE);
}

#[test]
fn the_boot_catalog_is_read() {
    let mut image = sample(false, false);
    let entries = image.open().boot_catalog().unwrap();
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.platform, entry.is_bootable, entry.sectors, entry.block)).collect();
    assert_eq!(told, [(0, true, 4, 26), (0xef, false, 4, 27)]);
    image.0[CATALOG as usize * SECTOR + 5] = 1;
    let error = image.open().boot_catalog().unwrap_err();
    assert_eq!(error.cause(), Some(&IsoReadRule::BootCatalog("checksum")));
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_read() {
    let mut image = sample(true, false);
    let at = image.0.windows(6).position(|window| window == b"disk\x50\x4e").unwrap();
    image.0[at] = b'/';
    let iso = image.open();
    let root = iso.root().unwrap();
    let found: Vec<_> = iso.entries(&root).collect();
    assert_eq!(found.len(), 5, "all others, and an error");
    assert!(matches!(
        found[4].as_ref().unwrap_err().cause(),
        Some(IsoReadRule::Record { field: "name", .. })
    ));
    let mut image = sample(true, false);
    let at = image.0.windows(11).position(|window| window == b"MIXED.TXT;1").unwrap();
    image.0[at - 7] = 1;
    let iso = image.open();
    let file = find(&iso, &iso.root().unwrap(), "Mixed Case");
    assert_eq!(iso.content(&file).err().unwrap().kind(), ErrorKind::Unsupported, "interleaved");
    let no_volume = Iso::open(Arc::new(MemoryDisk::from_bytes(vec![0; 100_000]))).unwrap_err();
    assert_eq!(no_volume.cause(), Some(&IsoReadRule::NoDescriptor));
    let error = iso.node(NodeId::new(1 << 40)).unwrap_err();
    assert!(matches!(error.cause(), Some(IsoReadRule::OutsideDisk { .. })));
}

/// Reads all that can be reached, no deeper than a few directories.
fn read_all(iso: &Iso, directory: &Node, depth: u32, left: &mut u32) {
    for entry in iso.entries(directory) {
        let Ok(entry) = entry else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            return;
        }
        let _ = iso.lookup(directory, &entry.name);
        let Ok(node) = iso.node(entry.id) else { continue };
        let _ = iso.read_link(&node);
        if node.kind == NodeKind::Directory && depth < 4 {
            read_all(iso, &node, depth + 1, left);
        }
        let Ok(content) = iso.content(&node) else { continue };
        let mut bytes = vec![0; content.size().min(1 << 16) as usize];
        let _ = content.read_at(&mut bytes, 0);
    }
}

#[test]
fn no_volume_makes_it_panic() {
    let samples = [sample(true, true).0, sample(false, true).0, sample(false, false).0];
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for round in 0..6000 {
        let mut bytes = samples[round % 3].clone();
        for _ in 0..=random(6) {
            // Where something is told.
            let block = [16, 17, 18, ROOT as usize, SUB as usize, MOVED as usize, CONTINUED as usize, 24, 25]
                [random(9)];
            let reach = [200, 600][random(2)];
            let at = block * SECTOR + random(reach);
            bytes[at] = [0, 0xff, 1, random(256) as u8][random(4)];
        }
        if round % 4 == 0 {
            bytes.truncate(16 * SECTOR + random(16 * SECTOR));
        }
        let Ok(iso) = Iso::open(Arc::new(MemoryDisk::from_bytes(bytes))) else { continue };
        if let Ok(root) = iso.root() {
            read_all(&iso, &root, 0, &mut 300);
        }
        let _ = iso.boot_catalog();
    }
}
