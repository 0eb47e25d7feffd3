//! Small volumes made by hand, whole and broken.

use super::long_name::tests::parts;
use super::*;
use crate::ErrorKind;
use crate::block::MemoryDisk;

const SECTOR: usize = 512;
/// FAT12: boot sector, two tables of a sector, a root directory of two, 60 clusters of a sector.
const ROOT_AT: usize = 3 * SECTOR;
const DATA_AT: usize = 5 * SECTOR;
const CLUSTERS: usize = 60;

struct Image(Vec<u8>);

impl Image {
    fn new() -> Self {
        let mut bytes = vec![0; DATA_AT + CLUSTERS * SECTOR];
        bytes[0x0b..0x18].copy_from_slice(&[0, 2, 1, 1, 0, 2, 32, 0, 65, 0, 0xf8, 1, 0]);
        Self(bytes)
    }

    fn set(&mut self, cluster: usize, value: u16) {
        for table in [SECTOR, 2 * SECTOR] {
            let at = table + cluster * 3 / 2;
            let pair = u16::from_le_bytes([self.0[at], self.0[at + 1]]);
            let pair =
                if cluster.is_multiple_of(2) { pair & 0xf000 | value } else { pair & 0xf | value << 4 };
            self.0[at..at + 2].copy_from_slice(&pair.to_le_bytes());
        }
    }

    fn chain(&mut self, clusters: &[usize]) {
        for pair in clusters.windows(2) {
            self.set(pair[0], pair[1] as u16);
        }
        self.set(*clusters.last().unwrap(), 0xfff);
    }

    /// Writes `slots` one behind the other from `at` on; where the next one would be.
    fn put(&mut self, mut at: usize, slots: &[Slot]) -> usize {
        for slot in slots {
            self.0[at..at + 32].copy_from_slice(slot);
            at += 32;
        }
        at
    }

    fn fill(&mut self, cluster: usize, byte: u8) {
        self.0[cluster_at(cluster)..][..SECTOR].fill(byte);
    }

    fn open(&self) -> Fat {
        Fat::open(Arc::new(MemoryDisk::from_bytes(self.0.clone()))).unwrap()
    }
}

fn cluster_at(cluster: usize) -> usize {
    DATA_AT + (cluster - 2) * SECTOR
}

fn short(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> Slot {
    let mut slot = [0; 32];
    slot[..11].copy_from_slice(name);
    slot[11] = attributes;
    // 2 January 1980, 01:02:04.
    slot[22..26].copy_from_slice(&[0x42, 0x08, 0x22, 0]);
    slot[26..28].copy_from_slice(&cluster.to_le_bytes());
    slot[28..].copy_from_slice(&size.to_le_bytes());
    slot
}

/// `Größe 😀.txt` of 1100 bytes in clusters 2, 3 and 7, a directory with `INNER.BIN`, and what is skipped.
fn sample() -> Image {
    let mut image = Image::new();
    image.chain(&[2, 3, 7]);
    image.chain(&[4, 6]);
    image.chain(&[5]);
    [2, 3, 7].iter().for_each(|cluster| image.fill(*cluster, *cluster as u8));
    image.fill(5, 5);
    let file = short(b"GRE~1   TXT", 0x20, 2, 1100);
    let mut at =
        image.put(ROOT_AT, &[short(b"LABEL      ", 0x08, 0, 0), short(b"\xe5ONE    TXT", 0x20, 9, 1)]);
    at = image.put(at, &parts("orphan.of.nobody", &short(b"NOBODY     ", 0, 0, 0)));
    at = image.put(at, &parts("Größe 😀.txt", &file));
    at = image.put(at, &[file, short(b"SUB        ", 0x10, 4, 0)]);
    image.put(at, &[short(b"EMPTY      ", 0x21, 0, 0)]);
    let dots = [short(b".          ", 0x10, 4, 0), short(b"..         ", 0x10, 0, 0)];
    at = image.put(cluster_at(4), &dots);
    let gone = vec![short(b"\xe5          ", 0x20, 0, 0); 14];
    at = image.put(at, &gone);
    assert_eq!(at, cluster_at(5));
    image.put(cluster_at(6), &[short(b"INNER   BIN", 0x20, 5, 512)]);
    image
}

fn names(fat: &Fat, directory: &Node) -> Vec<Result<String>> {
    fat.entries(directory).map(|entry| entry.map(|entry| String::from_utf8(entry.name).unwrap())).collect()
}

fn read(fat: &Fat, directory: &Node, name: &str) -> Result<Vec<u8>> {
    let id = fat.lookup(directory, name.as_bytes())?.unwrap();
    let content = fat.content(&fat.node(id)?)?;
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn a_volume_is_read() {
    let fat = sample().open();
    let root = fat.root().unwrap();
    assert_eq!((root.kind, root.links, root.size), (NodeKind::Directory, 3, 1024));
    let found: Vec<String> = names(&fat, &root).into_iter().map(Result::unwrap).collect();
    assert_eq!(found, ["Größe 😀.txt", "SUB", "EMPTY"]);
    let bytes = read(&fat, &root, "Größe 😀.txt").unwrap();
    assert_eq!(bytes, [vec![2; 512], vec![3; 512], vec![7; 76]].concat());
    for name in ["GRÖSSE 😀.txt", "grösse 😀.txt"] {
        assert_eq!(fat.lookup(&root, name.as_bytes()).unwrap(), None, "no letter becomes two");
    }
    let file = fat.lookup(&root, "gRÖßE 😀.TXT.".as_bytes()).unwrap().unwrap();
    assert_eq!(fat.lookup(&root, b"gre~1.txt").unwrap(), Some(file));
    let node = fat.node(file).unwrap();
    assert_eq!((node.size, node.allocated, node.mode, node.links), (1100, 1536, 0o755, 1));
    assert_eq!((node.modified.seconds, node.created), (315_532_800 + 86_400 + 3724, None));
    assert_eq!(fat.attribute_bits(&node).unwrap(), 0x20);
    let sub = fat.node(fat.lookup(&root, b"sub").unwrap().unwrap()).unwrap();
    assert_eq!((sub.kind, sub.links, sub.size), (NodeKind::Directory, 2, 1024));
    assert_eq!(read(&fat, &sub, "inner.bin").unwrap(), [5; 512]);
    assert!(read(&fat, &root, "EMPTY").unwrap().is_empty());
    let usage = fat.usage().unwrap();
    assert_eq!((usage.size, usage.free), (60 * 512, 54 * 512));
    let content = fat.content(&node).unwrap();
    let mut middle = [0; 3];
    content.read_at(&mut middle, 1022).unwrap();
    assert_eq!(middle, [3, 3, 7]);
    assert_eq!(content.read_at(&mut middle, 1098).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fat.read_link(&node).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(fat.content(&root).err().unwrap().kind(), ErrorKind::Invalid);
    assert_eq!(names(&fat, &node).len(), 0);
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_read() {
    let mut image = sample();
    image.set(7, 3);
    image.set(6, 4);
    // Behind the last entry, so that the directory goes on.
    let filled = vec![short(b"\xe5          ", 0x20, 0, 0); 15];
    image.put(cluster_at(6) + 32, &filled);
    let fat = image.open();
    let root = fat.root().unwrap();
    let error = read(&fat, &root, "Größe 😀.txt").unwrap_err();
    assert_eq!((error.kind(), error.cause()), (ErrorKind::Corrupt, Some(&FatRule::Loop(2))));
    let sub = fat.node(fat.lookup(&root, b"sub").unwrap().unwrap()).unwrap();
    let found = names(&fat, &sub);
    assert_eq!(found[0].as_ref().unwrap(), "INNER.BIN");
    assert_eq!(found[1].as_ref().unwrap_err().cause(), Some(&FatRule::Loop(4)));
    assert_eq!(found.len(), 2);
    assert!(fat.lookup(&sub, b"INNER.BIN").unwrap().is_some() && fat.lookup(&sub, b"OTHER").is_err());

    let mut image = sample();
    image.set(3, 0xfff);
    let error = read(&image.open(), &root, "Größe 😀.txt").unwrap_err();
    assert_eq!(error.cause(), Some(&FatRule::ShortChain { size: 1100, room: 1024 }));
    image.put(ROOT_AT + 32, &[short(b"A/B        ", 0x20, 0, 0)]);
    let found = names(&image.open(), &root);
    assert_eq!(found.len(), 4, "all others, and an error");
    assert!(matches!(found[3].as_ref().unwrap_err().cause(), Some(FatRule::Name(_))));
    for number in [32, ROOT_AT as u64 + 1, ROOT_AT as u64, u64::MAX - 31, 1 << 40] {
        let error = image.open().node(NodeId::new(number)).unwrap_err();
        assert_eq!(error.cause(), Some(&FatRule::NoEntry(number)));
    }
    image.0.truncate(cluster_at(7));
    image.set(3, 7);
    let error = read(&image.open(), &root, "Größe 😀.txt").unwrap_err();
    assert!(matches!(error.cause(), Some(FatRule::OutsideDisk { .. })));
}

/// Reads all that can be reached, no deeper than a few directories.
fn read_all(fat: &Fat, directory: &Node, depth: u32, left: &mut u32) {
    for entry in fat.entries(directory) {
        let Ok(entry) = entry else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            return;
        }
        let _ = fat.lookup(directory, &entry.name);
        let Ok(node) = fat.node(entry.id) else { continue };
        if node.kind == NodeKind::Directory && depth < 4 {
            read_all(fat, &node, depth + 1, left);
        }
        let Ok(content) = fat.content(&node) else { continue };
        let mut bytes = vec![0; content.size().min(1 << 16) as usize];
        let _ = content.read_at(&mut bytes, 0);
    }
}

#[test]
fn no_volume_makes_it_panic() {
    let whole = sample().0;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for round in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(8) {
            // Where something is told, more often than where content is.
            let end = [64, DATA_AT, bytes.len()][random(3)];
            bytes[random(end)] = [0, 0xff, 1, random(256) as u8][random(4)];
        }
        if round % 4 == 0 {
            bytes.truncate(random(whole.len()));
        }
        let Ok(fat) = Fat::open(Arc::new(MemoryDisk::from_bytes(bytes))) else { continue };
        if let Ok(root) = fat.root() {
            read_all(&fat, &root, 0, &mut 300);
        }
        let _ = fat.usage();
    }
}
