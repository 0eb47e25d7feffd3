//! Changes of small volumes, refused and done; mkfs.fat, mtools and fsck.fat have their say in tests/interop/fat.rs.

use std::sync::Arc;

use super::*;
use crate::ErrorKind;
use crate::block::MemoryDisk;
use crate::fs::fat::FatRule;
use crate::fs::{NewFat, NewFile, NewTimes, make_fat, resolve};

const TIME: Time = Time { seconds: 1_700_000_001, nanoseconds: 500_000_000 };

/// A FAT16 of 4 MiB, or a FAT32 of 34, with a few files.
fn volume(size: usize) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new(size));
    let file = |path: &str, content: &[u8]| NewFile { path: path.into(), content: content.to_vec() };
    let files = [
        file("EFI/BOOT/BOOTX64.EFI", &[7; 9000]),
        file("EFI/debian/grub.cfg", b"set root"),
        file("loader/loader.conf", b"timeout 0"),
    ];
    let options = NewFat { label: "ESP".into(), serial: 1, seconds: 0, hidden_sectors: 0 };
    make_fat(&*disk, &options, &files).unwrap();
    disk
}

fn open(disk: &Arc<MemoryDisk>) -> FatWriter {
    FatWriter::open(Arc::clone(disk) as Arc<dyn BlockWrite>, TIME).unwrap()
}

fn find(files: &FatWriter, path: &str) -> NodeId {
    resolve(files.files(), path.as_bytes(), false).unwrap().unwrap_or_else(|| panic!("{path}")).id
}

fn names(files: &Fat, path: &str) -> Vec<String> {
    let node = resolve(files, path.as_bytes(), false).unwrap().unwrap();
    let mut names: Vec<String> =
        files.entries(&node).map(|own| String::from_utf8(own.unwrap().name).unwrap()).collect();
    names.sort();
    names
}

fn read(files: &Fat, path: &str) -> Vec<u8> {
    let node = resolve(files, path.as_bytes(), false).unwrap().unwrap();
    let content = files.content(&node).unwrap();
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn refusal(done: Result<impl std::fmt::Debug>) -> FatRefusal {
    let error = done.unwrap_err();
    error.cause::<FatRefusal>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[test]
fn changes_are_seen_at_once_and_on_the_disk_after_the_commit() {
    for size in [4 << 20, 34 << 20] {
        let disk = volume(size);
        let before = disk.to_bytes();
        let mut files = open(&disk);
        let root = NodeId::new(0);
        let made = files.make_directory(root, "Übung".as_bytes()).unwrap();
        let file = files.create_file(made, b"file.txt").unwrap();
        assert_eq!(files.write_range(file, 3, &mut &b"abc"[..]).unwrap(), 3);
        files.append_content(file, &mut &b"def"[..]).unwrap();
        files.rename(root, b"efi", made, b"inner").unwrap();
        files.remove_tree(root, b"LOADER").unwrap();
        let check = |files: &Fat| {
            assert_eq!(read(files, "übung/FILE.TXT"), b"\0\0\0abcdef");
            assert_eq!(read(files, "Übung/inner/debian/grub.cfg"), b"set root");
            assert_eq!(names(files, "/"), ["Übung"]);
        };
        check(files.files());
        let (table, data) = (files.layout().table, files.layout().data as usize);
        let used = |bytes: &[u8]| bytes[..data].to_vec();
        assert!(used(&disk.to_bytes()) == used(&before), "nothing but free clusters was written");
        files.commit().unwrap();
        check(files.files());
        check(&Fat::open(Arc::clone(&disk) as Arc<dyn BlockRead>).unwrap());
        let bytes = disk.to_bytes();
        let copy = |start: u64| bytes[start as usize..(start + table.len()) as usize].to_vec();
        assert!(
            files.geometry.tables.len() == 2
                && copy(files.geometry.tables[0]) == copy(files.geometry.tables[1])
        );
        // What was seen is on the disk, and all is whole.
        let free = open(&disk).clusters.free;
        assert_eq!(files.clusters.free, free);
        let count = disk.to_bytes();
        files.commit().unwrap();
        assert!(count == disk.to_bytes());
    }
}

#[test]
fn times_and_attributes_are_set() {
    let disk = volume(4 << 20);
    let mut files = open(&disk);
    let file = find(&files, "EFI/debian/grub.cfg");
    let time = |seconds| Some(Time { seconds, nanoseconds: 0 });
    let times = NewTimes {
        accessed: time(1_600_000_000),
        modified: time(1_500_000_001),
        created: time(1_400_000_001),
    };
    files.set_times(file, times).unwrap();
    files.set_mode(file, 0o555).unwrap();
    let node = files.files().node(file).unwrap();
    assert_eq!((node.mode, node.modified.seconds), (0o555, 1_500_000_000));
    assert_eq!(
        (node.accessed.seconds, node.created.unwrap().seconds),
        (1_600_000_000 / 86_400 * 86_400, 1_400_000_001)
    );
    files.set_mode(file, 0o755).unwrap();
    assert_eq!(files.files().attribute_bits(&node).unwrap() & 1, 0);
    for mode in [0o644, 0o700, 0o777, 0o4755, 0o575] {
        assert_eq!(refusal(files.set_mode(file, mode)), FatRefusal::Mode, "{mode:o}");
    }
    let folder = find(&files, "EFI");
    files.set_mode(folder, 0o755).unwrap();
    assert_eq!(refusal(files.set_mode(folder, 0o555)), FatRefusal::Mode);
    files.set_owner(file, Some(0), None).unwrap();
    assert_eq!(refusal(files.set_owner(file, None, Some(5))), FatRefusal::Owner);
    // What is new is of now, and what is written is changed now.
    let made = files.create_file(folder, b"NEW").unwrap();
    let node = files.files().node(made).unwrap();
    assert_eq!((node.modified.seconds, node.created), (1_700_000_000, Some(TIME)));
    files.set_len(file, 3).unwrap();
    assert_eq!(files.files().node(file).unwrap().modified.seconds, 1_700_000_000);
    files.set_times(NodeId::new(0), times).unwrap();
    files.commit().unwrap();
}

#[test]
fn short_names_are_names_too() {
    let disk = volume(4 << 20);
    let mut files = open(&disk);
    let folder = find(&files, "EFI/debian");
    files.create_file(folder, b"some long name").unwrap();
    for name in [&b"SOMELO~1"[..], b"Some Long NAME"] {
        assert_eq!(refusal(files.create_file(folder, name)), FatRefusal::Exists);
    }
    // A short name that is the long one of another file would lead to both.
    files.create_file(folder, b"SomeLo~2").unwrap();
    files.create_file(folder, b"some long name too").unwrap();
    assert_eq!(find(&files, "EFI/debian/SOMELO~3"), find(&files, "EFI/debian/some long name too"));
    files.rename(folder, b"SOMELO~1", folder, b"SOME LONG NAME").unwrap();
    files.rename(folder, b"grub.cfg", folder, b"GRUB.CFG").unwrap();
    assert_eq!(
        names(files.files(), "EFI/debian"),
        ["GRUB.CFG", "SOME LONG NAME", "SomeLo~2", "some long name too"]
    );
    files.commit().unwrap();
    open(&disk);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let disk = volume(4 << 20);
    let mut files = open(&disk);
    let (root, efi, boot) = (NodeId::new(0), find(&files, "EFI"), find(&files, "EFI/BOOT"));
    let file = find(&files, "EFI/BOOT/BOOTX64.EFI");
    assert_eq!(refusal(files.create_file(root, b"efi")), FatRefusal::Exists);
    assert_eq!(refusal(files.create_file(file, b"a")), FatRefusal::NotADirectory);
    assert!(matches!(refusal(files.make_directory(root, b"a?")), FatRefusal::Name(_)));
    assert_eq!(refusal(files.remove(root, b"EFI")), FatRefusal::NotEmpty);
    assert_eq!(refusal(files.remove(root, b"NO")), FatRefusal::NotFound);
    assert_eq!(refusal(files.rename(root, b"EFI", boot, b"EFI")), FatRefusal::IntoItself);
    assert_eq!(refusal(files.rename(root, b"EFI", efi, b"EFI")), FatRefusal::IntoItself);
    assert_eq!(refusal(files.rename(boot, b"BOOTX64.EFI", root, b"EFI")), FatRefusal::IsADirectory);
    assert_eq!(refusal(files.rename(root, b"loader", boot, b"BOOTX64.EFI")), FatRefusal::NotADirectory);
    assert_eq!(refusal(files.rename(root, b"loader", efi, b"BOOT")), FatRefusal::NotEmpty);
    assert_eq!(refusal(files.write_range(efi, 0, &mut &b"a"[..])), FatRefusal::IsADirectory);
    assert_eq!(refusal(files.write_range(file, (1 << 32) - 1, &mut &b"a"[..])), FatRefusal::TooLarge);
    assert_eq!(refusal(files.set_len(file, 1 << 32)), FatRefusal::TooLarge);
    assert_eq!(files.write_range(file, 99_999, &mut &b""[..]).unwrap(), 0);
    let before = disk.to_bytes();
    files.commit().unwrap();
    assert!(disk.to_bytes() == before);
    // What fails half-way is not written.
    let error = refusal(files.write_content(file, &MemoryDisk::from_bytes(vec![3; 5 << 20])));
    assert_eq!(error, FatRefusal::NoSpace);
    assert_eq!(files.commit().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(read(open(&disk).files(), "EFI/BOOT/BOOTX64.EFI"), [7; 9000]);
}

#[test]
fn what_is_removed_makes_room_after_the_commit() {
    let disk = volume(4 << 20);
    let mut files = open(&disk);
    let root = NodeId::new(0);
    let big = MemoryDisk::from_bytes(vec![3; 3 << 20]);
    for _ in 0..3 {
        let file = files.create_file(root, b"BIG").unwrap();
        files.write_content(file, &big).unwrap();
        // Never on the disk: its clusters are free at once.
        files.remove(root, b"BIG").unwrap();
    }
    let file = files.create_file(root, b"BIG").unwrap();
    files.write_content(file, &big).unwrap();
    files.commit().unwrap();
    files.remove(root, b"BIG").unwrap();
    files.commit().unwrap();
    let file = files.create_file(root, b"BIG").unwrap();
    files.write_content(file, &big).unwrap();
    files.commit().unwrap();
    assert_eq!(read(open(&disk).files(), "BIG"), vec![3; 3 << 20]);
}

#[test]
fn the_root_directory_of_fat16_is_full_at_some_time() {
    let disk = volume(4 << 20);
    let mut files = open(&disk);
    let mut count = 0;
    let error = loop {
        match files.create_file(NodeId::new(0), format!("file number {count}").as_bytes()) {
            Ok(_) => count += 1,
            error => break refusal(error),
        }
    };
    assert!(count > 100 && matches!(error, FatRefusal::DirectoryFull(_)), "{count} {error:?}");
    assert!(files.commit().is_ok(), "nothing was half done");
    assert_eq!(names(open(&disk).files(), "/").len(), count + 2);
}

#[test]
fn a_volume_that_is_broken_is_refused() {
    let disk = volume(4 << 20);
    let bytes = disk.to_bytes();
    let entry = |name: &[u8]| bytes.windows(11).position(|window| window == name).unwrap();
    let broken = |at: usize, new: &[u8]| {
        let disk = MemoryDisk::from_bytes(bytes.clone());
        disk.write_at(new, at as u64).unwrap();
        let error = FatWriter::open(Arc::new(disk), TIME).unwrap_err();
        error.cause::<FatRule>().unwrap_or_else(|| panic!("{error:?}")).clone()
    };
    let (boot, grub) = (entry(b"BOOTX64 EFI"), entry(b"GRUB    CFG"));
    let cluster = |at: usize| u16::from_le_bytes([bytes[at + 26], bytes[at + 27]]);
    assert!(matches!(broken(grub + 26, &cluster(boot).to_le_bytes()), FatRule::CrossLink(_)));
    assert!(matches!(broken(grub + 26, &[0, 0]), FatRule::ShortChain { .. }));
    assert!(matches!(broken(grub + 26, &[0xff, 0xef]), FatRule::NoCluster(_)));
    let dots = bytes.windows(11).position(|window| window == b"..         ").unwrap();
    assert!(matches!(broken(dots + 26, &[9, 0]), FatRule::Dots(_)));
    assert!(matches!(broken(dots, b"A"), FatRule::Dots(_)));
    let table = open(&disk).layout().table.offset() as usize;
    let link = table + usize::from(cluster(boot)) * 2;
    assert!(matches!(broken(link, &cluster(boot).to_le_bytes()), FatRule::CrossLink(_)));
    assert!(matches!(broken(link, &[0, 0]), FatRule::Chain { .. }));
    let cut = MemoryDisk::from_bytes(bytes[..3 << 20].to_vec());
    assert!(FatWriter::open(Arc::new(cut), TIME).is_err());
}

#[test]
fn no_volume_makes_a_change_panic() {
    let whole = volume(4 << 20).to_bytes();
    let end = 600 << 10;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let layout = open(&volume(4 << 20)).layout().clone();
    let (table, data) = (layout.table.offset() as usize, layout.data as usize);
    let mut opened = 0;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..=random(4) {
            let (from, to) =
                [(0, 64), (table, table + 200), (data - 16_384, data - 16_000), (data, end)][random(4)];
            bytes[from + random(to - from)] = [0, 0xff, 1, random(256) as u8][random(4)];
        }
        let Ok(mut files) = FatWriter::open(Arc::new(MemoryDisk::from_bytes(bytes)), TIME) else { continue };
        opened += 1;
        let root = NodeId::new(0);
        let _ = files.rename(root, b"EFI", root, b"a longer name than before");
        let _ = files.remove_tree(root, b"loader");
        if let Ok(made) = files.make_directory(root, b"new") {
            let _ =
                files.create_file(made, b"file").map(|file| files.append_content(file, &mut &[1; 5000][..]));
        }
        if let Ok(Some(node)) = resolve(files.files(), b"EFI/BOOT/BOOTX64.EFI", false)
            && node.kind == NodeKind::File
        {
            let _ = files.set_len(node.id, 700);
        }
        let _ = files.commit();
    }
    assert!(opened > 30, "{opened}");
}
