//! Formats of other programs, both ways: `qemu-img` writes and we read; we write, and `qemu-img`, 7-Zip, libvmdk and libvhdi
//! read. Always the same bytes, and the same size to the byte.

use std::path::{Path, PathBuf};

use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, FileDisk, MemoryDisk};
use image_core::convert::{Options, convert};
use image_core::foreign::{Kind, NewImage, SizeFrom};
use image_core::format::{Format, Image, OpenOptions, References};
use image_core::map::Map;

use crate::support::folder;
use crate::support::peer::{Peer, peer, qemu_10};
use crate::support::random::Random;

const MIB: usize = 1 << 20;
/// A sector, a sector less than a MiB, no multiple of any block, whole blocks; nothing but zeroes, none at all.
const DISKS: [(usize, Content); 6] = [
    (512, Content::Mixed),
    (MIB - 512, Content::Mixed),
    (5 * MIB + 1536, Content::Mixed),
    (8 * MIB, Content::Mixed),
    (5 * MIB + 1536, Content::Zeroes),
    (5 * MIB + 1536, Content::Noise),
];

/// What qemu-img makes: the format, and the options.
const MADE_BY_QEMU: [(&str, &str); 16] = [
    ("vmdk", "subformat=monolithicSparse"),
    ("vmdk", "subformat=monolithicSparse,compat6,zeroed_grain=on"),
    ("vmdk", "subformat=streamOptimized"),
    ("vmdk", "subformat=monolithicFlat"),
    ("vmdk", "subformat=twoGbMaxExtentSparse"),
    ("vmdk", "subformat=twoGbMaxExtentFlat"),
    ("vpc", "subformat=dynamic"),
    ("vpc", "subformat=dynamic,force_size=on"),
    ("vpc", "subformat=fixed,force_size=on"),
    ("vhdx", "subformat=dynamic,block_size=1M"),
    ("vhdx", "subformat=fixed"),
    ("vdi", "static=off"),
    ("vdi", "static=on"),
    ("parallels", "cluster_size=64k"),
    ("qcow", ""),
    ("qed", "cluster_size=4096"),
];

/// What is made here: the format and its kind.
const MADE_HERE: [(Kind, &str); 6] = [
    (Kind::Vmdk, "monolithicSparse"),
    (Kind::Vmdk, "streamOptimized"),
    (Kind::Vpc, "dynamic"),
    (Kind::Vpc, "fixed"),
    (Kind::Vhdx, "dynamic"),
    (Kind::Vdi, "dynamic"),
];

/// What a disk is full of.
#[derive(Debug, Clone, Copy)]
enum Content {
    Zeroes,
    Noise,
    Mixed,
}

impl Content {
    fn bytes(self, len: usize) -> Vec<u8> {
        let mut random = Random(len as u64 | 1);
        let mut bytes = Vec::with_capacity(len + 70_000);
        while bytes.len() < len {
            let run = match self {
                Self::Zeroes | Self::Noise => 4096,
                Self::Mixed => [512, 4096, 65536, 3072][random.below(4)],
            };
            match (self, random.below(3)) {
                (Self::Zeroes, _) | (Self::Mixed, 0) => bytes.resize(bytes.len() + run, 0),
                (Self::Noise, _) | (Self::Mixed, 1) => {
                    bytes.extend((0..run / 8).flat_map(|_| random.next().to_le_bytes()));
                }
                _ => bytes.extend(b"a line of text\n".iter().cycle().take(run)),
            }
        }
        bytes.truncate(len);
        bytes
    }
}

/// qemu-img, and a folder.
struct Bench {
    img: Peer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        Some(Self { img: qemu_10("qemu-img")?, folder: folder() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What qemu-img reads of `path`, an image of `format`.
    fn read_by_qemu(&self, path: &Path, format: &str) -> Vec<u8> {
        let raw = self.path("read-by-qemu.raw");
        self.img.must(["convert", "-f", format, "-O", "raw", text(path), text(&raw)]);
        std::fs::read(raw).unwrap()
    }

    /// Has qemu-img make `name` of `bytes`.
    fn make(&self, (format, options): (&str, &str), name: &str, bytes: &[u8]) -> PathBuf {
        let (raw, path) = (self.path("source.raw"), self.path(name));
        std::fs::write(&raw, bytes).unwrap();
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        self.img.must(arguments.into_iter().chain([text(&raw), text(&path)]));
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

fn open(path: &Path) -> Image {
    let references = References::AllowBeneath;
    Image::open(path, OpenOptions { references, ..OpenOptions::default() }).unwrap()
}

/// All of a disk, in pieces that fit nothing.
fn whole(disk: &dyn BlockRead) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    for (index, piece) in bytes.chunks_mut(70_001).enumerate() {
        disk.read_at(piece, index as u64 * 70_001).unwrap();
    }
    bytes
}

/// What a disk says are no data are zeroes, and its map covers it.
fn is_true_to_its_map(disk: &dyn BlockRead, bytes: &[u8], name: &str) {
    for extent in disk.extents(ByteRange::whole(disk.size())).unwrap().iter() {
        let (start, end) = (extent.range.offset() as usize, extent.range.end() as usize);
        let is_zero = bytes[start..end].iter().all(|byte| *byte == 0);
        assert!(extent.kind == ExtentKind::Data || is_zero, "{name}: {extent:?}");
    }
    let mut at = 0;
    for entry in Map::new(disk) {
        let entry = entry.unwrap();
        assert_eq!(entry.range.offset(), at, "{name}");
        let part = &bytes[at as usize..entry.range.end() as usize];
        assert!(!entry.zero || part.iter().all(|byte| *byte == 0), "{name}: {entry:?}");
        at = entry.range.end();
    }
    assert_eq!(at, disk.size(), "{name}");
}

#[test]
fn what_qemu_img_makes_is_read_to_the_byte() {
    let Some(bench) = Bench::new() else { return };
    for (index, made) in MADE_BY_QEMU.into_iter().enumerate() {
        for (size, content) in DISKS {
            let bytes = content.bytes(size);
            let path = bench.make(made, &format!("disk-{index}-{size}-{content:?}"), &bytes);
            let name = format!("{made:?}, {size} bytes of {content:?}");
            let image = open(&path);
            assert_eq!(image.format().name(), made.0, "{name}");
            let expected = bench.read_by_qemu(&path, made.0);
            assert_eq!(image.size(), expected.len() as u64, "{name}");
            assert!(expected.starts_with(&bytes), "{name}: qemu-img reads something else");
            assert!(whole(&image) == expected, "{name}: other bytes");
            is_true_to_its_map(&image, &expected, &name);
        }
    }
}

/// Writes `source` as a new image to `path`, by so many workers.
fn write(source: &dyn BlockRead, new: &NewImage, path: &Path, threads: usize) {
    std::fs::write(path, b"").unwrap();
    let file = FileDisk::open_writable(path).unwrap();
    let mut sink = new.sink(&file).unwrap();
    let options = Options { threads: threads.try_into().ok(), ..Options::default() };
    convert(source, &mut *sink, &options).unwrap();
}

#[test]
fn what_is_made_here_others_read_to_the_byte() {
    let Some(bench) = Bench::new() else { return };
    let Some(seven_zip) = peer("7zz") else { return };
    for (kind, subformat) in MADE_HERE {
        for (size, content) in DISKS {
            let bytes = content.bytes(size);
            let name = format!("{kind} {subformat}, {size} bytes of {content:?}");
            let path = bench.path(&format!("disk.{kind}"));
            let new = NewImage::new(kind, size as u64).unwrap().with_subformat(subformat).unwrap();
            let source = MemoryDisk::from_bytes(bytes.clone());
            write(&source, &new.with_name("disk.vmdk"), &path, 1);
            assert!(bench.read_by_qemu(&path, kind.name()) == bytes, "{name}: qemu-img reads something else");
            let image = open(&path);
            assert_eq!((image.format(), image.size()), (Format::Foreign(kind), size as u64), "{name}");
            assert!(whole(&image) == bytes, "{name}: it reads back as something else");
            is_true_to_its_map(&image, &bytes, &name);
            if matches!(kind, Kind::Vdi | Kind::Vhdx | Kind::Vmdk) {
                bench.img.must(["check", "-f", kind.name(), text(&path)]);
            }
            // It opens no VHDX of a size that is no whole number of MiB, whoever made it.
            if kind == Kind::Vhdx && size % MIB != 0 {
                continue;
            }
            // Its name says what 7-Zip takes it for.
            let named = bench.path(&format!("seven.{}", if kind == Kind::Vpc { "vhd" } else { kind.name() }));
            std::fs::copy(&path, &named).unwrap();
            let out = bench.path("seven");
            let _ = std::fs::remove_dir_all(&out);
            seven_zip.must(["x", "-y", &format!("-o{}", text(&out)), text(&named)]);
            let unpacked = std::fs::read_dir(&out).unwrap().next().unwrap().unwrap().path();
            assert!(std::fs::read(unpacked).unwrap() == bytes, "{name}: 7-Zip reads something else");
        }
    }
}

#[test]
fn the_same_disk_gives_the_same_file_whoever_works_on_it() {
    let bench = folder();
    for (kind, subformat) in MADE_HERE {
        let new = |size| NewImage::new(kind, size).unwrap().with_subformat(subformat).unwrap();
        let made = |bytes: &[u8], threads| {
            let path = bench.path().join("disk");
            write(&MemoryDisk::from_bytes(bytes.to_vec()), &new(bytes.len() as u64), &path, threads);
            std::fs::read(path).unwrap()
        };
        let mut bytes = Content::Mixed.bytes(6 * MIB + 512);
        let once = made(&bytes, 1);
        assert!(once == made(&bytes, 4), "{kind} {subformat}");
        bytes[3 * MIB] ^= 1;
        let other = made(&bytes, 2);
        let differ = once.iter().zip(&other).filter(|(one, other)| one != other).count();
        // What identifies the image changes with a byte of the disk.
        assert!(differ > 4, "{kind} {subformat}: {differ}");
    }
}

/// A disk as large as the format allows, with a MiB of data at both ends.
#[test]
fn large_disks_need_no_more_than_their_data() {
    let Some(bench) = Bench::new() else { return };
    let Some(io) = peer("qemu-io") else { return };
    for (kind, subformat, size) in [
        (Kind::Vmdk, "monolithicSparse", 2_u64 << 40),
        (Kind::Vmdk, "streamOptimized", 2 << 40),
        (Kind::Vpc, "dynamic", 2040 << 30),
        (Kind::Vpc, "fixed", 2040 << 30),
        (Kind::Vhdx, "dynamic", 2 << 40),
        (Kind::Vdi, "dynamic", 2 << 40),
    ] {
        let raw = bench.path("large.raw");
        let source = FileDisk::create_new(&raw, size).unwrap();
        let data = vec![7; MIB];
        for at in [0, size - MIB as u64] {
            source.write_at(&data, at).unwrap();
        }
        let path = bench.path("large");
        let new = NewImage::new(kind, size).unwrap().with_subformat(subformat).unwrap();
        write(&source, &new, &path, 2);
        let image = open(&path);
        assert_eq!(image.size(), size, "{kind} {subformat}");
        let mut end = vec![0; MIB];
        image.read_at(&mut end, size - MIB as u64).unwrap();
        assert!(end == data, "{kind} {subformat}");
        let stored = image.extents(ByteRange::whole(size)).unwrap().total(ExtentKind::Data);
        assert_eq!(stored, 2 * MIB as u64, "{kind} {subformat}");
        for at in [0, size - MIB as u64] {
            let command = format!("read -P 7 {at} {MIB}");
            let told = io.must(["-r", "-f", kind.name(), "-c", &command, text(&path)]);
            assert!(!told.contains("failed"), "{kind} {subformat}: {told}");
        }
        let file = FileDisk::open(&path).unwrap().allocated_size().unwrap();
        assert!(file < 40 * MIB as u64, "{kind} {subformat}: {file} bytes");
        let mut start = vec![0; MIB];
        image.read_at(&mut start, 0).unwrap();
        assert!(start == data, "{kind} {subformat}");
        std::fs::remove_file(raw).unwrap();
    }
}

#[test]
fn tools_of_libyal_see_what_was_made() {
    let Some(bench) = Bench::new() else { return };
    let (Some(vmdk), Some(vhd)) = (peer("vmdkinfo"), peer("vhdiinfo")) else { return };
    let bytes = Content::Mixed.bytes(9 * MIB);
    for (kind, subformat, told) in [
        (Kind::Vmdk, "streamOptimized", "Stream optimized"),
        (Kind::Vmdk, "monolithicSparse", "Monolithic sparse"),
        (Kind::Vpc, "dynamic", "Dynamic"),
        (Kind::Vpc, "fixed", "Fixed"),
    ] {
        let path = bench.path("disk.vmdk");
        let new = NewImage::new(kind, bytes.len() as u64).unwrap().with_subformat(subformat).unwrap();
        write(&MemoryDisk::from_bytes(bytes.clone()), &new.with_name("disk.vmdk"), &path, 1);
        let shown = if kind == Kind::Vmdk { vmdk.must([text(&path)]) } else { vhd.must([text(&path)]) };
        assert!(shown.contains(told), "{shown}");
        assert!(shown.contains(&format!("({} bytes)", bytes.len())), "{shown}");
    }
}

#[test]
fn an_image_over_a_parent_reads_through_it_where_that_is_allowed() {
    let Some(bench) = Bench::new() else { return };
    let Some(io) = peer("qemu-io") else { return };
    for format in ["vmdk", "qcow", "qed"] {
        let bytes = Content::Mixed.bytes(4 * MIB);
        let parent = bench.make((format, ""), &format!("parent.{format}"), &bytes);
        let child = bench.path(&format!("child.{format}"));
        bench.img.must(["create", "-f", format, "-b", text(&parent), "-F", format, text(&child)]);
        io.must(["-f", format, "-c", "write -P 7 1M 100k", text(&child)]);
        if format == "qcow" {
            io.must(["-f", format, "-c", "write -c -P 9 2M 512", text(&child)]);
        }
        let image = open(&child);
        let expected = bench.read_by_qemu(&child, format);
        assert!(whole(&image) == expected, "{format}");
        assert!(expected[MIB..MIB + 1000].iter().all(|byte| *byte == 7), "{format}");
        is_true_to_its_map(&image, &expected, format);
        let refused = Image::open(&child, OpenOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), image_core::ErrorKind::Refused, "{format}");
    }
    // Another parent than it was made over.
    let bytes = Content::Noise.bytes(4 * MIB);
    bench.make(("vmdk", ""), "parent.vmdk", &bytes);
    let references = References::AllowBeneath;
    let child = bench.path("child.vmdk");
    let error = Image::open(&child, OpenOptions { references, ..OpenOptions::default() }).unwrap_err();
    assert_eq!(error.kind(), image_core::ErrorKind::Corrupt, "{error:?}");
}

#[test]
fn files_that_a_descriptor_names_are_opened_beneath_its_folder_alone() {
    let Some(bench) = Bench::new() else { return };
    let bytes = Content::Mixed.bytes(3 * MIB);
    let path = bench.make(("vmdk", "subformat=twoGbMaxExtentSparse"), "disk.vmdk", &bytes);
    let refused = Image::open(&path, OpenOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), image_core::ErrorKind::Refused);
    let descriptor = std::fs::read_to_string(&path).unwrap();
    for name in ["../disk-s001.vmdk", "/etc/hostname", "nbd://localhost/x"] {
        std::fs::write(&path, descriptor.replace("disk-s001.vmdk", name)).unwrap();
        let references = References::AllowBeneath;
        let error = Image::open(&path, OpenOptions { references, ..OpenOptions::default() }).unwrap_err();
        assert_eq!(error.kind(), image_core::ErrorKind::Refused, "{name}: {error:?}");
    }
    // One of them alone is half a disk.
    let error = Image::open(bench.path("disk-s001.vmdk"), OpenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), image_core::ErrorKind::Unsupported);
}

#[test]
fn the_size_of_a_vhd_is_as_its_maker_has_it() {
    let Some(bench) = Bench::new() else { return };
    let bytes = vec![1; 100_000_000 / 512 * 512];
    let geometry = bench.make(("vpc", "subformat=dynamic"), "geometry.vhd", &bytes);
    let footer = bench.make(("vpc", "subformat=dynamic,force_size=on"), "footer.vhd", &bytes);
    let size = |path: &Path, size_from| {
        Image::open(path, OpenOptions { size_from, ..OpenOptions::default() }).unwrap().size()
    };
    assert_eq!(size(&geometry, None), 100_061_184, "what qemu-img makes by default is larger");
    assert_eq!(size(&footer, None), bytes.len() as u64);
    // Who forces the size writes the largest geometry, which the blocks do not cover.
    let size_from = Some(SizeFrom::Geometry);
    let overruled = Image::open(&footer, OpenOptions { size_from, ..OpenOptions::default() });
    assert_eq!(overruled.unwrap_err().kind(), image_core::ErrorKind::Corrupt);
    assert_eq!(size(&geometry, Some(SizeFrom::Footer)), 100_061_184);
}

/// CRC-32C, as VHDX has it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// Puts the checksum of `bytes` at 4.
fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A VHDX of which the sector at `offset` (of the BAT) is in the log alone, around the end of it if `wraps`.
fn unclosed(mut file: Vec<u8>, offset: usize, wraps: bool) -> Vec<u8> {
    const LOG: usize = 1 << 20;
    let guid = [7; 16];
    let sector = file[offset..offset + 4096].to_vec();
    file[offset..offset + 4096].fill(0);
    let file_size = file.len() as u64;
    let at = if wraps { LOG - 4096 } else { 8192 };
    let sequence = 5_u64;
    let mut entry = vec![0; 8192];
    entry[..4].copy_from_slice(b"loge");
    for (place, value) in [(8, 8192_u32), (12, at as u32), (24, 1)] {
        entry[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (place, value) in [(16, sequence), (48, file_size), (56, file_size)] {
        entry[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    entry[32..48].copy_from_slice(&guid);
    entry[64..68].copy_from_slice(b"desc");
    entry[68..72].copy_from_slice(&sector[4092..]);
    entry[72..80].copy_from_slice(&sector[..8]);
    entry[80..88].copy_from_slice(&(offset as u64).to_le_bytes());
    entry[88..96].copy_from_slice(&sequence.to_le_bytes());
    entry[4096..4100].copy_from_slice(b"data");
    entry[4100..4104].copy_from_slice(&((sequence >> 32) as u32).to_le_bytes());
    entry[4104..8188].copy_from_slice(&sector[8..4092]);
    entry[8188..].copy_from_slice(&(sequence as u32).to_le_bytes());
    seal(&mut entry);
    let first = (LOG - at).min(entry.len());
    file[LOG + at..LOG + at + first].copy_from_slice(&entry[..first]);
    file[LOG..LOG + entry.len() - first].copy_from_slice(&entry[first..]);
    for (index, header) in [64 << 10, 128 << 10].into_iter().enumerate() {
        let header = &mut file[header..header + 4096];
        header[8..16].copy_from_slice(&(10 + index as u64).to_le_bytes());
        header[48..64].copy_from_slice(&guid);
        seal(header);
    }
    file
}

#[test]
fn the_log_of_a_vhdx_that_was_not_closed_is_read_over_it() {
    let Some(bench) = Bench::new() else { return };
    let bytes = Content::Mixed.bytes(5 * MIB);
    let path = bench.path("disk.vhdx");
    let new = NewImage::new(Kind::Vhdx, bytes.len() as u64).unwrap();
    write(&MemoryDisk::from_bytes(bytes.clone()), &new, &path, 1);
    let closed = std::fs::read(&path).unwrap();
    for wraps in [false, true] {
        std::fs::write(&path, unclosed(closed.clone(), 3 * MIB, wraps)).unwrap();
        assert!(whole(&open(&path)) == bytes, "wraps: {wraps}");
        // QEMU replays it into the file.
        bench.img.must(["check", "-r", "all", text(&path)]);
        assert!(bench.read_by_qemu(&path, "vhdx") == bytes, "wraps: {wraps}: qemu-img reads something else");
        assert!(whole(&open(&path)) == bytes);
    }
    // A header that says there is a log, and none that holds.
    let mut lost = unclosed(closed, 3 * MIB, false);
    lost[MIB + 8192 + 100] ^= 1;
    std::fs::write(&path, lost).unwrap();
    let error = Image::open(&path, OpenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), image_core::ErrorKind::Corrupt, "{error:?}");
}

/// A file with these numbers in it, each at its place.
fn file_of(len: usize, fields: &[(usize, u64)], bytes: usize) -> Vec<u8> {
    let mut file = vec![0; len];
    for (at, value) in fields {
        file[*at..*at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
    file
}

/// No program of today makes sparse extents of ESX: what QEMU reads of some made by hand is what we read.
#[test]
fn sparse_extents_of_esx_are_read_as_qemu_reads_them() {
    let Some(bench) = Bench::new() else { return };
    // Grains of a sector, a directory at sector 4 of which the second table is there, at sector 8; one grain.
    let mut old = file_of(
        128 * 512,
        &[(4, 1), (8, 3), (12, 8192), (16, 1), (20, 4), (24, 2), (2052, 8), (4100, 100)],
        4,
    );
    old[..4].copy_from_slice(b"COWD");
    old[100 * 512..101 * 512].fill(9);
    // Headers, a directory at sector 8, tables at 128, grains at 256: unmapped, zeroes, and the second grain of all.
    let mut new = file_of(
        400 * 512,
        &[
            (0, 0xcafe_babe),
            (8, 0x2_0000_0001),
            (16, 8192),
            (24, 8),
            (32, 64),
            (80, 1),
            (88, 1),
            (128, 8),
            (136, 8),
            (144, 128),
            (152, 64),
            (192, 256),
            (200, 64),
            (512, 0xcafe_cafe),
            (8 * 512, 0x1000_0000_0000_0000),
            (128 * 512, 0x1000_0000_0000_0000),
            (128 * 512 + 8, 0x2000_0000_0000_0000),
            (128 * 512 + 40, 0x3001_0000_0000_0000),
        ],
        8,
    );
    new[264 * 512..272 * 512].fill(8);
    for (kind, extent, data) in [("vmfsSparse", old, 9_u8), ("seSparse", new, 8)] {
        let (name, path) = (format!("{kind}-extent.vmdk"), bench.path(&format!("{kind}.vmdk")));
        std::fs::write(bench.path(&name), extent).unwrap();
        let line = format!("RW 8192 {} \"{name}\"", kind.to_uppercase());
        let text_of = format!(
            "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n{line}\n"
        );
        std::fs::write(&path, text_of).unwrap();
        let expected = bench.read_by_qemu(&path, "vmdk");
        assert!(expected.contains(&data), "{kind}: QEMU reads nothing of it");
        let read = whole(&open(&path));
        // QEMU shows an extent of the older kind twice, one behind the other.
        assert_eq!(read.len(), 8192 * 512, "{kind}");
        assert!(expected.starts_with(&read) && read.contains(&data), "{kind}");
    }
}
