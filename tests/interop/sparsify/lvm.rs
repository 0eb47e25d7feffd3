//! LVM2 in a partition, with a filesystem on a logical volume that lies in two pieces.
//!
//! ```text
//! GPT │ physical volume: label, metadata │ root, 15 extents │ swap, 10 │ root, 10 │ nobody's … │ GPT
//! ```

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{GONE, SUMS, Tried, has, lived_in, mounted, number};
use crate::support::folder;
use crate::support::peer::{Peer, peer};

const MIB: u64 = 1 << 20;
const EXTENT: u64 = 4 * MIB;
/// Where the partition begins, and the first extent in there.
const PARTITION: u64 = MIB;
const FIRST: u64 = MIB;
/// Extents of the physical volume.
const EXTENTS: u64 = 50;
/// Those of the filesystem: the first and how many, in the order of its bytes.
const ROOT: [(u64, u64); 2] = [(0, 15), (25, 10)];
const SWAP: (u64, u64) = (15, 10);

/// A loop device over a file; none in the end.
struct Loop {
    losetup: Peer,
    device: String,
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.losetup.run(["-d", &self.device]);
    }
}

/// Makes physical volume, volume group and logical volumes in the file `image`, without a device mapper.
fn make(image: &Path) {
    let losetup = peer("losetup").expect("asked for before");
    let device = losetup.must(["-f", "--show", image.to_str().expect("UTF-8")]).trim().to_owned();
    let held = Loop { losetup, device };
    let config = format!(
        "devices {{ use_devicesfile = 0 filter = [ \"a|^{}$|\", \"r|.*|\" ] }} backup {{ backup = 0 archive = 0 }}",
        held.device
    );
    let run = |program: &str, words: &[&str]| {
        let own = ["--driverloaded", "n", "--config", &config];
        peer(program).expect("asked for before").must([&own[..], words].concat());
    };
    run("pvcreate", &["--dataalignment", "1m", &held.device]);
    run("vgcreate", &["-s", "4m", "vg", &held.device]);
    let new = ["-an", "-Zn", "-Wn"];
    run("lvcreate", &[&new[..], &["-l", "15", "-n", "root", "vg"]].concat());
    run("lvcreate", &[&new[..], &["-l", "10", "-n", "swap", "vg"]].concat());
    run("lvextend", &["-l", "+10", "vg/root"]);
}

/// Calls `each` with where each piece of the filesystem is: in its own file, on the disk, how many bytes.
fn pieces(mut each: impl FnMut(u64, u64, u64)) {
    let mut at = 0;
    for (first, count) in ROOT {
        each(at, PARTITION + FIRST + first * EXTENT, count * EXTENT);
        at += count * EXTENT;
    }
}

fn copy(from: &fs::File, at: u64, to: &fs::File, there: u64, len: u64) {
    let mut bytes = vec![0; len as usize];
    from.read_exact_at(&mut bytes, at).expect("bytes");
    to.write_all_at(&bytes, there).expect("a write");
}

#[test]
fn logical_volumes_lose_what_was_deleted_and_the_group_what_nobody_has() {
    if !has(&[
        "mke2fs", "dumpe2fs", "e2fsck", "mkswap", "sgdisk", "losetup", "pvcreate", "lvcreate", "lvextend",
    ]) {
        return;
    }
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let (root, physical, image) = (path("root"), path("physical"), path("disk"));
    let (files, _) = lived_in(&root, 25 * EXTENT, &["mke2fs", "-q", "-F", "-t", "ext4"]);
    let told = peer("dumpe2fs").expect("a peer").must(["-h", root.to_str().expect("UTF-8")]);
    let free = number(&told, "Free blocks") * number(&told, "Block size");
    // Everything that nobody has is full of what must go.
    let len = FIRST + EXTENTS * EXTENT + MIB;
    fs::write(&physical, &GONE.repeat(len as usize / GONE.len() + 1)[..len as usize]).expect("room");
    let open = |path: &Path| fs::File::options().read(true).write(true).open(path).expect("a file");
    open(&physical).write_all_at(&vec![0; FIRST as usize], 0).expect("a write");
    // Behind the last extent is nobody's, and stays.
    open(&physical).write_all_at(&vec![0; MIB as usize], len - MIB).expect("a write");
    make(&physical);
    let swap = path("swap");
    fs::File::create(&swap).and_then(|file| file.set_len(SWAP.1 * EXTENT)).expect("room");
    peer("mkswap").expect("a peer").must([swap.to_str().expect("UTF-8")]);
    fs::File::create(&image).and_then(|file| file.set_len(PARTITION + len + MIB)).expect("room");
    let sectors = format!("1:{}:{}", PARTITION / 512, (PARTITION + len) / 512 - 1);
    peer("sgdisk").expect("a peer").must(["-n", &sectors, "-t", "1:8e00", image.to_str().expect("UTF-8")]);
    let disk = open(&image);
    copy(&open(&physical), 0, &disk, PARTITION, len);
    copy(&open(&swap), 0, &disk, PARTITION + FIRST + SWAP.0 * EXTENT, 4096);
    pieces(|at, there, len| copy(&open(&root), at, &disk, there, len));
    drop(disk);
    let unallocated = (EXTENTS - 35) * EXTENT;
    let unused = free + unallocated + SWAP.1 * EXTENT - 4096;
    let metadata = fs::read(&image).expect("an image")[..(PARTITION + FIRST) as usize].to_vec();
    Tried { image: &image, unused, skipped: 0 }.each(&|raw| {
        let again = path("again");
        let file = fs::File::create(&again).expect("room");
        pieces(|at, there, len| copy(&open(raw), there, &file, at, len));
        drop(file);
        assert_eq!(mounted(&again, ",ro", SUMS), files);
        peer("e2fsck").expect("a judge").must(["-fn", again.to_str().expect("UTF-8")]);
        assert!(fs::read(raw).expect("a result")[..metadata.len()] == metadata);
    });
}
