//! LVM2 in partitions: filesystems on logical volumes that lie in two pieces, or in stripes, and groups that are not whole.
//!
//! ```text
//! GPT │ physical volume: label, metadata │ root, 15 extents │ swap, 10 │ root, 10 │ nobody's … │ GPT
//!
//! GPT │ physical volume │ other, 3 │ root, 64 KiB here │ nobody's … │ physical volume │ and 64 KiB there │ nobody's … │ one of another group │ GPT
//! ```

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{GONE, SUMS, Tried, has, lived_in, mounted, number};
use crate::support::folder;
use crate::support::peer::{Peer, peer};

const MIB: u64 = 1 << 20;
const EXTENT: u64 = 4 * MIB;
/// Where the first partition begins, and the first extent in a physical volume.
const PARTITION: u64 = MIB;
const FIRST: u64 = MIB;
/// Extents of the physical volume that is alone.
const EXTENTS: u64 = 50;
/// Those of the filesystem: the first and how many, in the order of its bytes.
const ROOT: [(u64, u64); 2] = [(0, 15), (25, 10)];
const SWAP: (u64, u64) = (15, 10);
/// Extents of each physical volume that is one of several, those of a volume before the striped one, and of each stripe.
const EACH: u64 = 20;
const OTHER: u64 = 3;
const SHARE: u64 = 10;
const STRIPE: u64 = 64 << 10;

/// Loop devices over files; none in the end.
struct Loops {
    losetup: Peer,
    devices: Vec<String>,
}

impl Loops {
    fn over(files: &[&Path]) -> Self {
        let losetup = peer("losetup").expect("asked for before");
        let mut loops = Self { losetup, devices: Vec::new() };
        for file in files {
            let device = loops.losetup.must(["-f", "--show", file.to_str().expect("UTF-8")]);
            loops.devices.push(device.trim().to_owned());
        }
        loops
    }

    /// Runs a program of LVM's, without a device mapper.
    fn run(&self, program: &str, words: &[&str]) {
        let accepted: Vec<String> = self
            .devices
            .iter()
            .map(|device| format!("\"a|^{device}$|\""))
            .chain(["\"r|.*|\"".into()])
            .collect();
        let config = format!(
            "devices {{ use_devicesfile = 0 filter = [ {} ] }} backup {{ backup = 0 archive = 0 }}",
            accepted.join(", ")
        );
        let own = ["--driverloaded", "n", "--config", &config];
        peer(program).expect("asked for before").must([&own[..], words].concat());
    }

    /// Makes them physical volumes of the group `group`.
    fn group(&self, group: &str) {
        let devices: Vec<&str> = self.devices.iter().map(String::as_str).collect();
        devices.iter().for_each(|device| self.run("pvcreate", &["--dataalignment", "1m", device]));
        self.run("vgcreate", &[&["-s", "4m", group][..], &devices].concat());
    }

    /// Makes a logical volume of `extents` that nobody uses while it is made.
    fn volume(&self, name: &str, extents: u64, words: &[&str]) {
        let (extents, new) = (extents.to_string(), ["-an", "-Zn", "-Wn"]);
        self.run("lvcreate", &[&new[..], &["-l", &extents, "-n", name], words].concat());
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.devices {
            self.losetup.run(["-d", device]);
        }
    }
}

/// Calls `each` with where each piece of the filesystem is: in its own file, on the disk, how many bytes.
fn pieces(mut each: impl FnMut(u64, u64, u64)) {
    let mut at = 0;
    for (first, count) in ROOT {
        each(at, PARTITION + FIRST + first * EXTENT, count * EXTENT);
        at += count * EXTENT;
    }
}

/// As [`pieces`], of the filesystem that is in stripes.
fn stripes(mut each: impl FnMut(u64, u64, u64)) {
    for index in 0..2 * SHARE * EXTENT / STRIPE {
        let (partition, before) = match index % 2 {
            0 => (PARTITION, OTHER),
            _ => (PARTITION + partition_len(), 0),
        };
        each(index * STRIPE, partition + FIRST + before * EXTENT + index / 2 * STRIPE, STRIPE);
    }
}

/// Of each physical volume that is one of several.
fn partition_len() -> u64 {
    FIRST + EACH * EXTENT
}

fn open(path: &Path) -> fs::File {
    fs::File::options().read(true).write(true).open(path).expect("a file")
}

fn copy(from: &fs::File, at: u64, to: &fs::File, there: u64, len: u64) {
    let mut bytes = vec![0; len as usize];
    from.read_exact_at(&mut bytes, at).expect("bytes");
    to.write_all_at(&bytes, there).expect("a write");
}

/// A file of `len` bytes that is full of what must go, behind where a physical volume has its metadata.
fn full(path: &Path, len: u64) {
    fs::write(path, &GONE.repeat(len as usize / GONE.len() + 1)[..len as usize]).expect("room");
    open(path).write_all_at(&vec![0; FIRST as usize], 0).expect("a write");
}

/// A disk of `physical` volumes, each in a partition of `len` bytes.
fn disk(image: &Path, physical: &[&Path], len: u64) -> fs::File {
    let count = physical.len() as u64;
    fs::File::create(image).and_then(|file| file.set_len(PARTITION + count * len + MIB)).expect("room");
    let words = (1..=count).flat_map(|number| {
        let start = PARTITION + (number - 1) * len;
        let sectors = format!("{number}:{}:{}", start / 512, (start + len) / 512 - 1);
        ["-n".to_owned(), sectors, "-t".to_owned(), format!("{number}:8e00")]
    });
    let words: Vec<String> = ["-a".to_owned(), "1".to_owned()].into_iter().chain(words).collect();
    let name = image.to_str().expect("UTF-8");
    peer("sgdisk").expect("a peer").must(words.iter().map(String::as_str).chain([name]));
    let disk = open(image);
    for (index, path) in (0..).zip(physical) {
        copy(&open(path), 0, &disk, PARTITION + index * len, len);
    }
    disk
}

/// The filesystem in `pieces` of the disk `raw`, in a file of its own: nothing is missing, and nothing to repair.
fn judge(raw: &Path, again: &Path, files: &str, pieces: fn(&mut dyn FnMut(u64, u64, u64))) {
    let file = fs::File::create(again).expect("room");
    pieces(&mut |at, there, len| copy(&open(raw), there, &file, at, len));
    drop(file);
    assert_eq!(mounted(again, ",ro", SUMS), files);
    peer("e2fsck").expect("a judge").must(["-fn", again.to_str().expect("UTF-8")]);
}

/// Files of a filesystem of `len` bytes that is made in `root`, and how many bytes of it are free.
fn filesystem(root: &Path, len: u64) -> (String, u64) {
    let (files, _) = lived_in(root, len, &["mke2fs", "-q", "-F", "-t", "ext4"]);
    let told = peer("dumpe2fs").expect("a peer").must(["-h", root.to_str().expect("UTF-8")]);
    (files, number(&told, "Free blocks") * number(&told, "Block size"))
}

fn is_possible() -> bool {
    has(&["mke2fs", "dumpe2fs", "e2fsck", "mkswap", "sgdisk", "losetup", "pvcreate", "lvcreate", "lvextend"])
}

#[test]
fn logical_volumes_lose_what_was_deleted_and_the_group_what_nobody_has() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let (root, physical, image) = (path("root"), path("physical"), path("disk"));
    let (files, free) = filesystem(&root, 25 * EXTENT);
    // Everything that nobody has is full of what must go.
    let len = FIRST + EXTENTS * EXTENT + MIB;
    full(&physical, len);
    // Behind the last extent is nobody's, and stays.
    open(&physical).write_all_at(&vec![0; MIB as usize], len - MIB).expect("a write");
    {
        let loops = Loops::over(&[&physical]);
        loops.group("vg");
        loops.volume("root", 15, &["vg"]);
        loops.volume("swap", 10, &["vg"]);
        loops.run("lvextend", &["-l", "+10", "vg/root"]);
    }
    let swap = path("swap");
    fs::File::create(&swap).and_then(|file| file.set_len(SWAP.1 * EXTENT)).expect("room");
    peer("mkswap").expect("a peer").must([swap.to_str().expect("UTF-8")]);
    let disk = disk(&image, &[&physical], len);
    copy(&open(&swap), 0, &disk, PARTITION + FIRST + SWAP.0 * EXTENT, 4096);
    pieces(|at, there, len| copy(&open(&root), at, &disk, there, len));
    drop(disk);
    let unallocated = (EXTENTS - 35) * EXTENT;
    let unused = free + unallocated + SWAP.1 * EXTENT - 4096;
    let metadata = fs::read(&image).expect("an image")[..(PARTITION + FIRST) as usize].to_vec();
    Tried { image: &image, unused, skipped: 0 }.each(&|raw| {
        judge(raw, &path("again"), &files, |each| pieces(each));
        assert!(fs::read(raw).expect("a result")[..metadata.len()] == metadata);
    });
}

#[test]
fn striped_volumes_lose_what_was_deleted_and_a_group_in_doubt_takes_no_other_with_it() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let (root, image) = (path("root"), path("disk"));
    let (files, free) = filesystem(&root, 2 * SHARE * EXTENT);
    let physical: Vec<PathBuf> = ["one", "two", "left", "lost"].map(path).into();
    physical.iter().for_each(|path| full(path, partition_len()));
    let [one, two, left, lost] = &physical[..] else { panic!("another number of files") };
    {
        let loops = Loops::over(&[one, two]);
        loops.group("aa");
        loops.volume("other", OTHER, &["aa", &loops.devices[0]]);
        loops.volume("root", 2 * SHARE, &["-i", "2", "-I", "64k", "aa"]);
    }
    {
        // Of the second one's disks, one is not in the image.
        let loops = Loops::over(&[left, lost]);
        loops.group("zz");
        loops.volume("data", 2, &["zz"]);
    }
    let len = partition_len();
    let disk = disk(&image, &[one, two, left], len);
    let kept = vec![7; (OTHER * EXTENT) as usize];
    disk.write_all_at(&kept, PARTITION + FIRST).expect("a write");
    stripes(|at, there, len| copy(&open(&root), at, &disk, there, len));
    drop(disk);
    let unallocated = (2 * EACH - OTHER - 2 * SHARE) * EXTENT;
    let before = fs::read(&image).expect("an image");
    Tried { image: &image, unused: free + unallocated, skipped: 1 }.each(&|raw| {
        judge(raw, &path("again"), &files, |each| stripes(each));
        let after = fs::read(raw).expect("a result");
        let (ours, in_doubt) = after.split_at((PARTITION + 2 * len) as usize);
        assert!(!ours.windows(GONE.len()).any(|window| window == GONE));
        assert!(ours[(PARTITION + FIRST) as usize..][..kept.len()] == kept);
        assert!(in_doubt == &before[ours.len()..]);
        for start in [PARTITION, PARTITION + len].map(|start| start as usize) {
            assert!(after[start..][..FIRST as usize] == before[start..][..FIRST as usize]);
        }
    });
}
