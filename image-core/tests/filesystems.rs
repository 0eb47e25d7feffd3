//! Partition tables and filesystems, judged by the programs of others.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, FileDisk, Window};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::free_space::{FreeSpace, WithoutFreeSpace, find_free_space};
use image_core::fs::{
    Ext4, FileKind, Files, FilesystemKind, NewFat, NewFile, Superblock, clamp_inode_times, detect, make_fat,
    open, remove_from_fat,
};
use image_core::partition::{NewPartition, PartitionTable, Scheme, check_protective, kind, write_gpt};
use uuid::{Uuid, uuid};

const MIB: u64 = 1 << 20;
const DISK: Uuid = uuid!("00112233-4455-8677-8899-aabbccddeeff");

/// The program `name`, or `None` after saying aloud that the test is skipped.
fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(found) = folders.map(|folder| folder.join(name)).find(|path| path.is_file()) {
        return Some(found);
    }
    let required = std::env::var_os("GOLDIMG_PEERS").is_some_and(|value| value == "required");
    assert!(!required, "{name} is not installed");
    // Not with `eprintln!`: the test harness would keep it to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name} is not installed");
    None
}

/// What `program` prints when it ends well.
fn judge(program: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).env("LC_ALL", "C").env("TZ", "UTC").output().expect("it runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {text}", program.display());
    text
}

fn new(number: u32, start: u64, end: u64, kind: Uuid, name: &str) -> NewPartition {
    let guid = Uuid::from_u128(u128::from(number) << 64 | 0x8000_8000_0000_0000_0000);
    NewPartition { number, range: ByteRange::between(start * MIB, end * MIB), kind, guid, name: name.into() }
}

/// The layout of a golden image: numbers out of order, with gaps.
fn layout() -> Vec<NewPartition> {
    vec![
        new(14, 1, 4, kind::BIOS_BOOT, "bios"),
        new(15, 4, 68, kind::EFI_SYSTEM, "esp"),
        new(1, 68, 127, kind::LINUX_ROOT_X86_64, "root"),
    ]
}

fn disk(dir: &Path, size: u64) -> (String, FileDisk) {
    let path = dir.join("disk.raw");
    let disk = FileDisk::create_new(&path, size).expect("a new disk");
    (path.to_str().expect("a path of text").to_owned(), disk)
}

#[test]
fn gpt_is_written_as_others_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, disk) = disk(dir.path(), 128 * MIB);
    write_gpt(&disk, DISK, &layout()).unwrap();
    let mut sector = [0; 512];
    disk.read_at(&mut sector, 0).unwrap();
    let protective = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 3, 0];
    assert_eq!(sector[0x1be..0x1ce], protective);
    assert_eq!(check_protective(&disk).unwrap(), []);

    let table = PartitionTable::read(&disk).unwrap().unwrap();
    assert_eq!((table.scheme, table.defects.len()), (Scheme::Gpt { guid: DISK }, 0));
    let mut expected = layout();
    expected.sort_by_key(|each| each.number);
    for (read, written) in table.partitions.iter().zip(&expected) {
        assert_eq!((read.number, read.range, &read.name), (written.number, written.range, &written.name));
        assert_eq!(read.guid, Some(written.guid));
        assert!(read.is(written.kind));
    }
    if let Some(sgdisk) = peer("sgdisk") {
        let said = judge(&sgdisk, &["-v", &path]);
        assert!(said.contains("No problems found"), "{said}");
        let said = judge(&sgdisk, &["-i", "14", &path]);
        assert!(said.contains("(BIOS boot partition)") && said.contains("First sector: 2048 "), "{said}");
    }
    if let Some(sfdisk) = peer("sfdisk") {
        let said = judge(&sfdisk, &["--dump", &path]);
        assert!(said.contains("label-id: 00112233-4455-8677-8899-AABBCCDDEEFF"), "{said}");
        assert!(said.contains("disk.raw1 : start=      139264, size=      120832, type=4F68BCE3"), "{said}");
        assert!(said.contains("disk.raw15 : start=        8192, size=      131072, type=C12A7328"), "{said}");
        assert!(judge(&sfdisk, &["--verify", &path]).contains("No errors detected"));
    }
}

#[test]
fn tables_of_others_are_read_as_they_meant_them() {
    let Some(sfdisk) = peer("sfdisk") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (label, script) in [
        (
            "gpt",
            "label: gpt\nlabel-id: 00112233-4455-8677-8899-AABBCCDDEEFF\nsize=8MiB, type=U, name=\"Größe\"\nsize=16MiB\n",
        ),
        (
            "dos",
            "label: dos\nsize=8MiB, type=83\nsize=60MiB, type=5\n5 : size=8MiB, type=82\n6 : size=16MiB, type=8e\n",
        ),
    ] {
        let path = dir.path().join(format!("{label}.raw"));
        let disk = FileDisk::create_new(&path, 128 * MIB).unwrap();
        let mut child = Command::new(&sfdisk)
            .args(["--quiet", path.to_str().unwrap()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        let sizes: Vec<_> =
            table.partitions.iter().map(|each| (each.number, each.range.len() / MIB)).collect();
        match label {
            "gpt" => {
                assert_eq!(sizes, [(1, 8), (2, 16)]);
                assert_eq!(table.partitions[0].name, "Größe");
                assert!(table.partitions[0].is(kind::EFI_SYSTEM));
                assert_eq!(check_protective(&disk).unwrap(), []);
            }
            _ => {
                assert_eq!(sizes, [(1, 8), (5, 8), (6, 16)]);
                assert!(table.partitions[1].is(kind::LINUX_SWAP));
                assert!(table.partitions[2].is(kind::LINUX_LVM));
                assert_eq!(table.partitions[1].range.offset() % MIB, 0);
            }
        }
    }
}

#[test]
fn fat_is_made_as_others_check_it_and_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    for (size, hidden, offset) in [(33, 8192, 4), (64, 8192, 4), (128, 8192, 4), (600, 2048, 1), (8, 0, 0)] {
        let path = dir.path().join(format!("{size}.raw"));
        let disk = FileDisk::create_new(&path, (size + offset) * MIB).unwrap();
        let window = Window::new(&disk, ByteRange::new(offset * MIB, size * MIB).unwrap()).unwrap();
        let options = NewFat {
            label: "ESP".into(),
            serial: 0x1234_abcd,
            seconds: 1_760_000_000,
            hidden_sectors: hidden,
        };
        let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let files = [
            NewFile { path: "EFI/BOOT/BOOTX64.EFI".into(), content: big.clone() },
            NewFile { path: "EFI/BOOT/grubx64.efi".into(), content: b"grub".into() },
            NewFile { path: "EFI/debian/grub.cfg".into(), content: b"configfile\n".into() },
            NewFile { path: "EFI/debian/a long name.txt".into(), content: Vec::new() },
        ];
        make_fat(&window, &options, &files).unwrap();
        let found = detect(&window).unwrap().unwrap();
        assert_eq!((found.kind, found.uuid.as_deref()), (FilesystemKind::Fat, Some("1234-ABCD")));
        assert_eq!(found.label, "ESP");
        let owned: Arc<dyn BlockRead> = Arc::new(
            Window::new(FileDisk::open(&path).unwrap(), ByteRange::new(offset * MIB, size * MIB).unwrap())
                .unwrap(),
        );
        let read = open(owned).unwrap();
        assert_eq!(read.read("/efi/boot/bootx64.efi".as_ref(), 1 << 30).unwrap().unwrap(), big);
        assert_eq!(read.read("/EFI/none".as_ref(), 1).unwrap(), None);
        let names: Vec<_> =
            read.list("/EFI/debian".as_ref()).unwrap().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a long name.txt", "grub.cfg"]);

        let path = path.to_str().unwrap();
        let slice = dir.path().join("slice.raw");
        let mut bytes = vec![0; (size * MIB) as usize];
        window.read_at(&mut bytes, 0).unwrap();
        std::fs::write(&slice, &bytes).unwrap();
        let slice = slice.to_str().unwrap();
        if let Some(fsck) = peer("fsck.fat") {
            let said = judge(&fsck, &["-n", "-v", slice]);
            let clusters: u64 = said
                .lines()
                .find_map(|line| line.split("files, ").nth(1)?.split('/').nth(1)?.split(' ').next())
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(clusters >= 65_525, size >= 33, "{size} MiB: {clusters} clusters");
            assert!(said.contains(&format!("{hidden} hidden sectors")), "{said}");
        }
        if let Some(mtype) = peer("mtype") {
            let image = format!("{path}@@{offset}M");
            assert_eq!(judge(&mtype, &["-i", &image, "::EFI/debian/grub.cfg"]), "configfile\n");
        }
        if let Some(mdir) = peer("mdir") {
            let image = format!("{path}@@{offset}M");
            let said = judge(&mdir, &["-i", &image, "::EFI/BOOT"]);
            assert!(said.contains("2025-10-09   8:53"), "{said}");
        }
        let again = FileDisk::create_new(dir.path().join(format!("{size}-again.raw")), size * MIB).unwrap();
        make_fat(&again, &options, &files).unwrap();
        let mut second = vec![0; bytes.len()];
        again.read_at(&mut second, 0).unwrap();
        assert!(second == bytes, "{size} MiB: made twice, it differs");
    }
}

#[test]
fn a_file_goes_from_a_fat_with_all_that_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    for size in [8, 33] {
        let path = dir.path().join(format!("{size}.raw"));
        let disk = FileDisk::create_new(&path, size * MIB).unwrap();
        let options = NewFat { label: "ESP".into(), serial: 1, seconds: 1_760_000_000, hidden_sectors: 0 };
        let file = |path: &str, byte: u8| NewFile { path: path.into(), content: vec![byte; 70_000] };
        // The second name takes more than one entry.
        let files = [file("loader/keep", 3), file("loader/random-seed of a machine", 0xa5), file("last", 7)];
        make_fat(&disk, &options, &files).unwrap();
        remove_from_fat(&disk, "/loader/Random-Seed of a machine".as_ref()).unwrap();
        let again = remove_from_fat(&disk, "/loader/random-seed of a machine".as_ref()).unwrap_err();
        assert_eq!(again.to_string(), "removing /loader/random-seed of a machine from the FAT");
        assert!(remove_from_fat(&disk, "/loader".as_ref()).is_err(), "something is in it");

        let read = open(Arc::new(FileDisk::open(&path).unwrap())).unwrap();
        for (kept, byte) in [("/loader/keep", 3), ("/last", 7)] {
            assert!(read.read(kept.as_ref(), 1 << 20).unwrap().unwrap() == [byte; 70_000], "{kept}");
        }
        assert_eq!(read.list("/loader".as_ref()).unwrap().unwrap().len(), 1);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(8).any(|window| window == [0xa5; 8]), "what was in it is there");
        if let Some(fsck) = peer("fsck.fat") {
            judge(&fsck, &["-n", "-V", path.to_str().unwrap()]);
        }
    }
}

#[test]
fn a_label_of_the_root_directory_is_read_wherever_it_is() {
    let [Some(mke2fs), Some(debugfs)] = ["mke2fs", "debugfs"].map(peer) else { return };
    let dir = tempfile::tempdir().unwrap();
    // Small inodes have no room for it: it is in a block of its own.
    for inode_size in ["128", "256"] {
        let path = dir.path().join(inode_size);
        let disk = FileDisk::create_new(&path, 16 * MIB).unwrap();
        let path = path.to_str().unwrap();
        judge(&mke2fs, &["-q", "-F", "-t", "ext4", "-I", inode_size, path]);
        drop(disk);
        let label_of_root = || {
            let fs = Ext4::open(Arc::new(FileDisk::open(Path::new(path)).unwrap())).unwrap();
            fs.attribute(&fs.root().unwrap(), "security.selinux").unwrap()
        };
        assert_eq!(label_of_root(), None);
        let label = "system_u:object_r:root_t:s0";
        for request in ["ea_set / user.other x".into(), format!("ea_set / security.selinux {label}")] {
            judge(&debugfs, &["-w", "-R", &request, path]);
        }
        assert_eq!(label_of_root().as_deref(), Some(label.as_bytes()), "{inode_size}");
    }
}

#[test]
fn inode_times_are_set_and_the_checker_agrees() {
    let (Some(mke2fs), Some(e2fsck), Some(debugfs)) = (peer("mke2fs"), peer("e2fsck"), peer("debugfs"))
    else {
        return;
    };
    const EPOCH: u32 = 1_700_000_000;
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/new"), "new").unwrap();
    std::fs::write(tree.join("etc/old"), "old").unwrap();
    std::os::unix::fs::symlink("new", tree.join("etc/link")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::open(tree.join("etc/old")).unwrap().set_modified(old).unwrap();
    for features in
        ["metadata_csum,64bit", "^metadata_csum,uninit_bg,^64bit", "metadata_csum,metadata_csum_seed"]
    {
        let path = dir.path().join("fs.raw");
        let _ = std::fs::remove_file(&path);
        let disk = FileDisk::create_new(&path, 600 * MIB).unwrap();
        let path = path.to_str().unwrap();
        let tree = tree.to_str().unwrap();
        let arguments =
            ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", features, "-d", tree, path, "150000"];
        judge(&mke2fs, &arguments);
        clamp_inode_times(&disk, EPOCH).unwrap();
        judge(&e2fsck, &["-fn", path]);
        let said = judge(&debugfs, &["-R", "stat /etc/new", path]);
        for name in ["ctime: ", "atime: ", "mtime: ", "crtime: "] {
            assert!(said.contains(&format!("{name}0x{EPOCH:08x}:00000000")), "{features} {name}: {said}");
        }
        let said = judge(&debugfs, &["-R", "stat /etc/old", path]);
        assert!(said.contains(&format!("mtime: 0x{:08x}:00000000", 1_600_000_000)), "{said}");

        let superblock = Superblock::read(&disk).unwrap();
        assert_eq!((superblock.block_size, superblock.block_count), (4096, 150_000));
        assert!(superblock.is_clean && superblock.has_journal);
        let files = open(Arc::new(disk)).unwrap();
        assert_eq!(files.read("/etc/link".as_ref(), 9).unwrap().unwrap(), b"new");
        assert_eq!(files.link_metadata("/etc/link".as_ref()).unwrap().unwrap().kind, FileKind::Link);
        assert_eq!(files.read_link("/etc/link".as_ref()).unwrap().unwrap(), Path::new("new"));
        assert_eq!(files.metadata("/etc/none/x".as_ref()).unwrap(), None);
        assert!(files.read("/etc/new".as_ref(), 2).is_err());
    }
}

#[test]
fn a_broken_copy_of_the_table_is_told_and_the_other_one_used() {
    let dir = tempfile::tempdir().unwrap();
    let (_, disk) = disk(dir.path(), 128 * MIB);
    write_gpt(&disk, DISK, &layout()).unwrap();
    let sound = PartitionTable::read(&disk).unwrap().unwrap();
    for (offset, words) in [
        (512, "there is no GPT header at sector 0x1"),
        (512 + 0x38, "the checksum of the GPT header at sector 0x1 is wrong"),
        (1024, "the checksum of the GPT entries at sector 0x2 is wrong"),
        (128 * MIB - 512, "there is no GPT header at sector 0x3ffff"),
        (128 * MIB - 33 * 512, "the checksum of the GPT entries at sector 0x3ffdf is wrong"),
    ] {
        let mut byte = [0];
        disk.read_at(&mut byte, offset).unwrap();
        disk.write_at(&[byte[0] ^ 1], offset).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        assert_eq!(table.partitions, sound.partitions);
        assert_eq!(table.defects.iter().map(ToString::to_string).collect::<Vec<_>>(), [words]);
        disk.write_at(&byte, offset).unwrap();
    }
    let larger = FileDisk::open_writable(dir.path().join("disk.raw"));
    larger.unwrap().resize(129 * MIB).unwrap();
    let disk = FileDisk::open(dir.path().join("disk.raw")).unwrap();
    let table = PartitionTable::read(&disk).unwrap().unwrap();
    assert_eq!(
        table.defects.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["the backup GPT is at sector 0x3ffff, not in the last one, 0x407ff"]
    );
}

/// The blocks that dumpe2fs calls free.
fn free_blocks(said: &str, per_cluster: u64) -> Vec<u64> {
    let mut blocks = Vec::new();
    for line in said.lines() {
        let Some(list) = line.strip_prefix("  Free blocks: ") else { continue };
        for run in list.split(", ").filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            blocks.extend(
                first.parse::<u64>().expect("a number")
                    ..=last.parse::<u64>().expect("a number") + per_cluster - 1,
            );
        }
    }
    blocks
}

#[test]
fn unused_blocks_are_those_that_dumpe2fs_calls_free() {
    let [Some(mke2fs), Some(dumpe2fs), Some(debugfs)] = ["mke2fs", "dumpe2fs", "debugfs"].map(peer) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let content = dir.path().join("content");
    std::fs::write(&content, vec![7; 3 << 20]).expect("a file");
    for (block_size, features) in [
        ("1024", "^metadata_csum"),
        ("4096", "metadata_csum,64bit"),
        ("1024", "^flex_bg"),
        ("4096", "bigalloc"),
    ] {
        let (path, _) = disk(dir.path(), 64 * MIB);
        let _ = judge(&mke2fs, &["-q", "-F", "-t", "ext4", "-b", block_size, "-O", features, &path]);
        // Holes between files: two are written, and one goes.
        for request in ["write CONTENT a", "write CONTENT b", "write CONTENT c", "rm b"] {
            let request = request.replace("CONTENT", content.to_str().expect("a path of text"));
            let _ = judge(&debugfs, &["-w", "-R", &request, &path]);
        }
        let size: u64 = block_size.parse().expect("a number");
        let ours_free = || open(Arc::new(FileDisk::open(&path).expect("a disk")))?.free_ranges();
        let ranges = ours_free().expect("a sound filesystem");
        let ours: Vec<u64> =
            ranges.iter().flat_map(|range| range.offset() / size..range.end() / size).collect();
        let free = free_blocks(&judge(&dumpe2fs, &[&path]), if features == "bigalloc" { 16 } else { 1 });
        assert!(free.len() > 4000 && ours == free, "{} blocks, not {}", ours.len(), free.len());
        // As long as they can be.
        assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].offset()));
        // Without a journal it must have been unmounted.
        judge(&debugfs, &["-w", "-R", "feature ^has_journal", &path]);
        assert!(ours_free().is_ok());
        judge(&debugfs, &["-w", "-R", "set_super_value state 0", &path]);
        assert!(ours_free().is_err());
        std::fs::remove_file(&path).expect("a file");
    }
}

/// What is free on the disk in the file `path`.
fn survey(path: &str) -> FreeSpace {
    find_free_space(&(Arc::new(FileDisk::open(path).expect("a disk")) as Arc<dyn BlockRead>))
        .expect("a survey")
}

/// A GPT with an ext4 filesystem of two files, of which `gone` was removed and its bytes are still there.
fn lived_in(dir: &Path, debugfs: &Path, mke2fs: &Path) -> (String, FileDisk, Vec<u8>) {
    let tree = dir.join("tree");
    std::fs::create_dir(&tree).expect("a folder");
    let bytes = |seed: u32| -> Vec<u8> {
        (0..300_000_u32).flat_map(|at| (at ^ seed).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
    };
    std::fs::write(tree.join("kept"), bytes(1)).expect("a file");
    std::fs::write(tree.join("gone"), bytes(2)).expect("a file");
    let (path, disk) = disk(dir, 128 * MIB);
    write_gpt(&disk, DISK, &layout()).expect("a table");
    let features =
        ["-q", "-F", "-t", "ext4", "-O", "metadata_csum,64bit", "-E", "offset=71303168", "-b", "4096", "-d"];
    judge(mke2fs, &[&features[..], &[tree.to_str().expect("text"), &path, "59m"]].concat());
    judge(debugfs, &["-w", "-R", "rm /gone", &format!("{path}?offset=71303168")]);
    (path, disk, bytes(2))
}

#[test]
fn free_blocks_of_ext4_become_holes_and_its_files_stay() {
    let (Some(mke2fs), Some(debugfs), Some(e2fsck)) = (peer("mke2fs"), peer("debugfs"), peer("e2fsck"))
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (path, disk, gone) = lived_in(dir.path(), &debugfs, &mke2fs);
    let has_gone = |path: &str| {
        let bytes = std::fs::read(path).expect("a file");
        bytes.chunks_exact(4096).any(|block| block == &gone[8192..8192 + 4096])
    };
    assert!(has_gone(&path), "removing a file leaves its bytes");
    let found = survey(&path);
    assert_eq!(found.skipped, []);
    let root = Window::new(&disk, ByteRange::between(68 * MIB, 127 * MIB)).expect("a partition");
    let superblock = Superblock::read(&root).expect("a superblock");
    // One group, whose bitmap is written.
    let free: u64 = found.unused.iter().map(|range| range.len()).sum();
    assert_eq!(free, superblock.free_block_count * 4096);
    let target = dir.path().join("used-only.raw");
    let sink_disk = FileDisk::create_new(&target, disk.size()).expect("a new disk");
    let source = WithoutFreeSpace::new(&disk, found);
    convert(&source, &mut DiskSink::new(&sink_disk, Zeroes::AlreadyThere), &Options::default())
        .expect("a copy");
    let target = target.to_str().expect("text");
    assert!(!has_gone(target));
    let filesystem = format!("{target}?offset=71303168");
    judge(&e2fsck, &["-f", "-n", &filesystem]);
    let copy = dir.path().join("copy");
    judge(&debugfs, &["-R", &format!("dump /kept {}", copy.display()), &filesystem]);
    assert!(
        std::fs::read(copy).expect("a file") == std::fs::read(dir.path().join("tree/kept")).expect("a file")
    );
}

#[test]
fn bitmaps_that_cannot_be_believed_leave_everything_in_use() {
    let (Some(mke2fs), Some(debugfs)) = (peer("mke2fs"), peer("debugfs")) else { return };
    let wrong = "set_block_group 0 free_blocks_count 17";
    for (commands, said) in [
        (&["set_super_value state 0"][..], "not unmounted"),
        (&["set_super_value state 3"], "errors are recorded"),
        (&[wrong], "the descriptor of group 0 has another checksum"),
        (&[wrong, "set_block_group 0 checksum calc"], "number of free blocks"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, _, _) = lived_in(dir.path(), &debugfs, &mke2fs);
        for command in commands {
            judge(&debugfs, &["-w", "-R", command, &format!("{path}?offset=71303168")]);
        }
        let found = survey(&path);
        assert_eq!(found.unused, []);
        assert!(
            matches!(&found.skipped[..], [(place, why)] if place.offset == 68 * MIB && why.contains(said)),
            "{found:?}"
        );
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (path, disk, _) = lived_in(dir.path(), &debugfs, &mke2fs);
    let bitmap = {
        let mut descriptor = [0; 4];
        disk.read_at(&mut descriptor, 68 * MIB + 4096).expect("a descriptor");
        68 * MIB + u64::from(u32::from_le_bytes(descriptor)) * 4096
    };
    let mut bits = [0; 2];
    disk.read_at(&mut bits, bitmap).expect("a bitmap");
    assert_eq!(bits, [0xff, 0xff]);
    // One block in use is called free, and one that is free in use: the sum is right, the checksum is not.
    disk.write_at(&[0xfe], bitmap).expect("a write");
    let mut last = [0; 1];
    let free = survey(&path);
    assert_eq!(free.unused, [], "the number of free blocks is wrong too");
    let at = (0..1800).find(|at| {
        disk.read_at(&mut last, bitmap + at).expect("a bitmap");
        last == [0]
    });
    disk.write_at(&[1], bitmap + at.expect("free blocks")).expect("a write");
    let found = survey(&path);
    assert!(found.unused.is_empty() && found.skipped[0].1.contains("checksum"), "{found:?}");
}
