//! Headers that lie, damage that must be told, and what no tool of today makes.

use std::sync::Arc;

use super::field::put;
use super::*;
use crate::ErrorKind;
use crate::block::{BlockWrite, ByteRange, ExtentKind, MemoryDisk};
use crate::convert::{Options, convert};

const MIB: u64 = 1 << 20;

/// The kinds that are made here.
const MADE: [(Kind, &str); 6] = [
    (Kind::Vmdk, "monolithicSparse"),
    (Kind::Vmdk, "streamOptimized"),
    (Kind::Vpc, "dynamic"),
    (Kind::Vpc, "fixed"),
    (Kind::Vhdx, "dynamic"),
    (Kind::Vdi, "dynamic"),
];

/// An image of a disk of 3 MiB with noise in its second MiB.
fn made(kind: Kind, subformat: &str) -> (Vec<u8>, Vec<u8>) {
    let disk = MemoryDisk::new(3 << 20);
    let mut noise = 1_u64;
    let bytes: Vec<u8> = (0..MIB)
        .map(|_| {
            noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (noise >> 56) as u8
        })
        .collect();
    disk.write_at(&bytes, MIB).unwrap();
    let file = MemoryDisk::new(0);
    let new = NewImage::new(kind, 3 * MIB).unwrap().with_subformat(subformat).unwrap();
    convert(&disk, &mut *new.sink(&file).unwrap(), &Options::default()).unwrap();
    (file.to_bytes(), disk.to_bytes())
}

fn open(kind: Kind, bytes: Vec<u8>) -> Result<Foreign> {
    let file: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(bytes));
    let header = Header::read(&*file, kind, None)?;
    header.open(file, None, &mut |_| Err(crate::Error::refused("no other file")))
}

fn read_all(disk: &dyn BlockRead) -> Result<Vec<u8>> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The rule that opening or reading an image breaks which has these changes.
fn rule(kind: Kind, subformat: &str, changes: &[(usize, &[u8])]) -> String {
    let (mut bytes, _) = made(kind, subformat);
    changes.iter().for_each(|(at, change)| put(&mut bytes, *at, change));
    let error = open(kind, bytes).and_then(|image| read_all(&image)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
    format!("{error:?}")
}

#[test]
fn what_is_made_is_read_and_holes_are_holes() {
    for (kind, subformat) in MADE {
        let (image, disk) = made(kind, subformat);
        let image = open(kind, image).unwrap();
        assert!(read_all(&image).unwrap() == disk, "{kind} {subformat}");
        let extents = image.extents(ByteRange::whole(3 * MIB)).unwrap();
        assert_eq!(extents.total(ExtentKind::Data), MIB, "{kind} {subformat}");
        // Parts of a block, the second out of what is kept of the first.
        let mut part = [0; 100];
        for at in [MIB + 70_000, MIB + 70_100] {
            image.read_at(&mut part, at).unwrap();
            assert_eq!(part[..], disk[at as usize..at as usize + 100]);
        }
        assert!(image.read_at(&mut part, 3 * MIB - 99).is_err());
    }
}

#[test]
fn a_file_that_is_cut_is_never_read_as_zeroes() {
    for (kind, subformat) in MADE {
        let (image, disk) = made(kind, subformat);
        for len in
            [0, 3, 511, 512, 4096, image.len() / 3, image.len() / 2, image.len() - 600, image.len() - 513]
        {
            let cut = image[..len].to_vec();
            if let Ok(read) = open(kind, cut).and_then(|image| read_all(&image)) {
                assert!(read == disk, "{kind} {subformat}: silently other bytes of {len}");
            }
        }
    }
}

/// Each field of what is no data, changed in one of three ways: an error, or whatever the disk is then.
#[test]
fn no_byte_of_a_header_makes_it_panic_or_hang() {
    for (kind, subformat) in MADE {
        let (image, _) = made(kind, subformat);
        let places: Vec<usize> = match kind {
            Kind::Vhdx => [0, 64 << 10, 128 << 10, 192 << 10, 2 << 20, (2 << 20) + (64 << 10), 3 << 20]
                .into_iter()
                .flat_map(|start| start..start + 128)
                .collect(),
            _ => (0..1600).chain(image.len() - 1536..image.len()).collect(),
        };
        for at in places.into_iter().step_by(3) {
            let mut image = image.clone();
            image[at] = [0xff, 0x80, image[at] ^ 1][at / 3 % 3];
            let Ok(image) = open(kind, image) else { continue };
            let mut buf = vec![0; 70_000];
            for offset in [0, MIB, image.size() / 2, image.size().saturating_sub(70_000)] {
                let len = image.size().saturating_sub(offset).min(70_000) as usize;
                let _ = image.read_at(&mut buf[..len], offset);
            }
            let first = ByteRange::whole(image.size().min(16 * MIB));
            let _ = image.extents(first);
            let _ = image.map_entries(first);
        }
    }
}

#[test]
fn lies_of_vdi_are_found() {
    let rule = |at, bytes: &[u8]| rule(Kind::Vdi, "dynamic", &[(at, bytes)]);
    assert!(rule(0x170, &[0, 0, 0, 0, 0, 0, 1, 0]).contains("number of blocks is 0x3: the disk has more"));
    assert!(rule(0x178, &[0, 0, 0, 0]).contains("block size"));
    assert!(rule(0x154, &[0xff; 4]).contains("map"));
    assert!(rule(0x4c, &[4]).contains("differencing VDI image"));
    let told = rule(0x204, &[0xf0, 0xff, 0xff, 0]);
    assert!(
        told.contains("guest offset 0x100000: its block at") && told.contains("past the file's"),
        "{told}"
    );
}

#[test]
fn lies_of_vhd_are_found() {
    let rule = |changes: &[(usize, &[u8])]| rule(Kind::Vpc, "dynamic", changes);
    assert!(rule(&[(512 + 36, &[0; 4])]).contains("the checksum of its dynamic header"));
    assert!(rule(&[(512, b"cxsparsf")]).contains("dynamic header starts with"));
    let told = rule(&[(1536, &[0, 0xff, 0xff, 0])]);
    assert!(told.contains("guest offset 0x0: the sector bitmap entry at 0x1fffe0000"), "{told}");
    // The copy at the start stands in for a footer that is damaged.
    let (mut bytes, disk) = made(Kind::Vpc, "dynamic");
    let end = bytes.len() - 500;
    put(&mut bytes, end, &[0xff; 8]);
    assert!(read_all(&open(Kind::Vpc, bytes.clone()).unwrap()).unwrap() == disk);
    put(&mut bytes, 20, &[0xff; 8]);
    assert!(format!("{:?}", open(Kind::Vpc, bytes).unwrap_err()).contains("the checksum of its footer"));
}

#[test]
fn sectors_of_a_vhd_that_were_never_written_are_zeroes() {
    let (mut bytes, mut disk) = made(Kind::Vpc, "dynamic");
    let bat = u32::from_be_bytes(bytes[1536..1540].try_into().unwrap()) as usize * 512;
    // The second MiB begins at bit 2048; of its first eight sectors the third and the eighth.
    bytes[bat + 256] = 0b1101_1110;
    disk[MIB as usize + 1024..][..512].fill(0);
    disk[MIB as usize + 3584..][..512].fill(0);
    let image = open(Kind::Vpc, bytes).unwrap();
    assert!(read_all(&image).unwrap() == disk);
    let kinds: Vec<_> = image.extents(ByteRange::between(MIB, MIB + 4096)).unwrap().iter().collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

#[test]
fn lies_of_vhdx_are_found() {
    let rule = |changes: &[(usize, &[u8])]| rule(Kind::Vhdx, "dynamic", changes);
    let (one, other) = ((64 << 10) + 4, (128 << 10) + 4);
    assert!(rule(&[(one, &[0; 4]), (other, &[0; 4])]).contains("the checksum of its header"));
    assert!(rule(&[(2 << 20, b"metadatb")]).contains("metadata table starts with"));
    let (parameters, size) = ((2 << 20) + (64 << 10), (2 << 20) + (64 << 10) + 8);
    assert!(rule(&[(parameters + 4, &[2])]).contains("differencing VHDX image"));
    assert!(rule(&[(parameters, &[0, 0, 0x30])]).contains("block size"));
    assert!(rule(&[(size + 5, &[0x10])]).contains("BAT's length"));
    let told = rule(&[((3 << 20) + 8, &[6, 0, 0, 0])]);
    assert!(told.contains("guest offset 0x100000: the BAT entry is 0x6"), "{told}");
    assert!(rule(&[((3 << 20) + 14, &[0xff])]).contains("its block at"));
    assert!(rule(&[((3 << 20) + 8, &[5])]).contains("the BAT entry is"));
    // One header and one region table are enough.
    let (mut bytes, disk) = made(Kind::Vhdx, "dynamic");
    put(&mut bytes, other, &[0; 4]);
    put(&mut bytes, (192 << 10) + 4, &[0; 4]);
    assert!(read_all(&open(Kind::Vhdx, bytes).unwrap()).unwrap() == disk);
}

#[test]
fn lies_of_vmdk_are_found() {
    let sparse = |changes: &[(usize, &[u8])]| rule(Kind::Vmdk, "monolithicSparse", changes);
    assert!(sparse(&[(4, &[4])]).contains("version is 0x4"));
    assert!(sparse(&[(73, b"\r\n")]).contains("newline test"));
    assert!(sparse(&[(20, &[0; 8])]).contains("grain size"));
    assert!(sparse(&[(44, &[0; 4])]).contains("entries of a grain table"));
    assert!(sparse(&[(18, &[0xff, 0x7f])]).contains("capacity"));
    assert!(sparse(&[(28, &[0; 8])]).contains("open the descriptor"));
    let stream = |changes: &[(usize, &[u8])]| rule(Kind::Vmdk, "streamOptimized", changes);
    assert!(stream(&[(77, &[2])]).contains("way to compress"));
    let marker = stream(&[(65536, &[1])]);
    assert!(marker.contains("guest offset 0x100000") && marker.contains("its marker is of"), "{marker}");
    assert!(stream(&[(65536 + 20, &[0xff; 40])]).contains("does not decode"));
    assert!(stream(&[(65536 + 8, &[0xff; 4])]).contains("more than it can have"));
}

#[test]
fn the_second_directory_of_a_vmdk_rescues_the_first() {
    let (mut bytes, disk) = made(Kind::Vmdk, "monolithicSparse");
    put(&mut bytes, 56, &[0xff, 0xff, 0xff, 0]);
    assert!(read_all(&open(Kind::Vmdk, bytes.clone()).unwrap()).unwrap() == disk);
    // Both, and nothing is left.
    put(&mut bytes, 48, &[0xff, 0xff, 0xff, 0]);
    assert!(format!("{:?}", open(Kind::Vmdk, bytes).unwrap_err()).contains("grain directory"));
    let (mut bytes, _) = made(Kind::Vmdk, "monolithicSparse");
    let directory = u64::from_le_bytes(bytes[56..64].try_into().unwrap()) as usize * 512;
    put(&mut bytes, directory, &[0xff, 0xff, 0xff, 0x7f]);
    assert!(read_all(&open(Kind::Vmdk, bytes).unwrap()).unwrap() == disk);
}

#[test]
fn a_descriptor_that_is_wrong_is_refused_with_the_line() {
    let parse = |text: &str| {
        let all = format!("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n{text}\n");
        let file: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(all.into_bytes()));
        Header::read(&*file, Kind::Vmdk, None).map_err(|error| format!("{error:?}"))
    };
    let good = parse("RW 8 FLAT \"a b.vmdk\" 4\nRW 8 ZERO\nRDONLY 4 SPARSE \"c\"").unwrap();
    assert_eq!(good.size(), 20 * 512);
    assert_eq!(good.extent_names(), [&b"a b.vmdk"[..], b"c"]);
    for (text, told) in [
        ("", "list of extents is missing"),
        ("RW x FLAT \"a\" 0", "the size is no number"),
        ("RW 8 FLAT a", "a name in quotation marks"),
        ("RW 8 FLAT \"\" 0", "the name is empty"),
        ("RW 18446744073709551615 ZERO", "no disk is that large"),
        ("RW 9007199254740992 ZERO\nRW 9007199254740992 ZERO", "no disk is that large"),
        ("RW 8 VMFSRDM \"a\"", "\"VMFSRDM\", which is not supported"),
        ("NOACCESS 8 ZERO", "\"NOACCESS\""),
        ("parentCID=12\nRW 8 ZERO", "parent's name is missing"),
        ("parentCID=x\nRW 8 ZERO", "not a hexadecimal number"),
        ("encoding=\"UTF-16\"\nRW 8 ZERO", "encoding"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
}

/// ESX' sparse extents: of those nothing of today makes any.
#[test]
fn extents_that_esx_made_are_read() {
    let mut extent = vec![0; 128 * 512];
    put(&mut extent, 0, b"COWD");
    // Version 1, flags, 4 MiB in grains of a sector, a directory of two entries at sector 4.
    for (at, value) in [(4, 1_u32), (8, 3), (12, 8192), (16, 1), (20, 4), (24, 2)] {
        put(&mut extent, at, &value.to_le_bytes());
    }
    // The second table at sector 8; its second grain at sector 100.
    put(&mut extent, 4 * 512 + 4, &8_u32.to_le_bytes());
    put(&mut extent, 8 * 512 + 4, &100_u32.to_le_bytes());
    extent[100 * 512..101 * 512].fill(9);
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW 8192 VMFSSPARSE \"x\"\n";
    let file: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(text.into()));
    let header = Header::read(&*file, Kind::Vmdk, None).unwrap();
    let mut named = |name: &[u8]| {
        assert_eq!(name, b"x");
        Ok(Arc::new(MemoryDisk::from_bytes(extent.clone())) as Arc<dyn BlockRead>)
    };
    let image = header.open(file, None, &mut named).unwrap();
    let read = read_all(&image).unwrap();
    let at = 4097 * 512;
    assert!(read[at..at + 512].iter().all(|byte| *byte == 9));
    assert_eq!(read.iter().filter(|byte| **byte != 0).count(), 512);
}
