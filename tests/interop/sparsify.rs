//! Images without what is unused in them: each filesystem as the kernel or its own tools left it, and judged by them afterwards.
//!
//! ```text
//! made, filled, half of it deleted ─► goldimg sparsify ─┬─ -o NEW, --in-place ─┬─ raw
//!                                                        └──────────────────────┴─ qcow2 ─► raw
//!                                       ┌─────────────────────────────────────────────────────┘
//!                                       ▼
//!            the same files with the same content, nothing to repair, nothing deleted left, no larger than what is in use
//! ```

mod doubt;
mod fat;
mod log;
mod lvm;
mod qcow2;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::locks::Holder;
use crate::support::peer::{administrator, peer};
use crate::support::{folder, goldimg};

/// What every deleted file is full of.
const GONE: &[u8] = b"GONE-AWAY-";
/// An allocation of the file's own filesystem, and ends of runs, may take so much more.
const SLACK: u64 = 1 << 20;

/// Runs of `goldimg sparsify` on an image.
struct Tried<'a> {
    image: &'a Path,
    /// How many bytes have to be found unused.
    unused: u64,
    /// What has to be told as skipped.
    skipped: usize,
}

impl Tried<'_> {
    /// Each way of doing it; `judge` is asked of each result as a raw image.
    fn each(&self, judge: &dyn Fn(&Path)) {
        let path = |extension: &str| self.image.with_extension(extension);
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let image = text(self.image);
        let must = |words: &[&str]| {
            let outcome = goldimg(words).run();
            assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
            outcome.stdout
        };
        for new in [path("new.raw"), path("new.qcow2")] {
            let told = must(&["sparsify", "--json", &image, "-o", &text(&new)]);
            self.judge(&new, &told, judge);
        }
        // Conversions leave out the same.
        let skipped = path("skipped.raw");
        must(&["convert", "--skip-free", "-O", "raw", &image, &text(&skipped)]);
        must(&["sparsify", &image, "-o", &text(&path("new.raw"))]);
        assert!(fs::read(&skipped).expect("a result") == fs::read(path("new.raw")).expect("a result"));
        [skipped, path("new.raw")].iter().for_each(|file| fs::remove_file(file).expect("a result"));
        // All of it takes space.
        let filled = path("filled.raw");
        fs::write(&filled, fs::read(self.image).expect("an image")).expect("room");
        let qcow2 = path("filled.qcow2");
        must(&["convert", "-S", "0", &image, &text(&qcow2)]);
        for own in [filled, qcow2] {
            // A raw disk of Btrfs and the file of a qcow2 of it can look alike.
            let format = own.extension().and_then(|extension| extension.to_str()).expect("a format");
            let told = must(&["sparsify", "--json", "--in-place", "-f", format, &text(&own)]);
            self.judge(&own, &told, judge);
        }
    }

    fn judge(&self, result: &Path, told: &str, judge: &dyn Fn(&Path)) {
        let told: Value = serde_json::from_str(told).expect("JSON");
        let skipped = told["skipped"].as_array().expect("a list");
        assert_eq!(skipped.len(), self.skipped, "{told}");
        assert_eq!(told["unused_bytes"], self.unused, "{told}");
        let is_raw = result.extension().is_some_and(|extension| extension == "raw");
        let metadata = fs::metadata(result).expect("a result");
        let used = fs::metadata(self.image).expect("an image").len() - self.unused;
        assert!(metadata.blocks() * 512 <= used + SLACK, "{} of {used}", metadata.blocks() * 512);
        let raw = match is_raw {
            true => result.to_owned(),
            false => as_raw(result),
        };
        let bytes = fs::read(&raw).expect("a result");
        let left = bytes.windows(GONE.len()).filter(|window| *window == GONE).count();
        assert!(left == 0 || self.skipped > 0, "{left} marks are left in {}", result.display());
        drop(bytes);
        judge(&raw);
        fs::remove_file(&raw).expect("a result");
        if raw != result {
            fs::remove_file(result).expect("a result");
        }
    }
}

/// The qcow2 `image`, checked and converted by qemu-img where that is there.
fn as_raw(image: &Path) -> PathBuf {
    let raw = image.with_extension("converted");
    let words = [image, &raw].map(|path| path.to_str().expect("UTF-8"));
    match peer("qemu-img") {
        Some(qemu_img) => {
            qemu_img.must(["check", "-f", "qcow2", words[0]]);
            qemu_img.must(["convert", "-f", "qcow2", "-O", "raw", words[0], words[1]]);
        }
        None => assert_eq!(goldimg(["convert", "-O", "raw", words[0], words[1]]).run().code, 0),
    }
    raw
}

/// Runs `words` of a shell with `image` mounted on `$m`.
fn mounted(image: &Path, options: &str, words: &str) -> String {
    let unshare = peer("unshare").expect("asked for before");
    let place = image.parent().expect("a folder").join("mounted");
    fs::create_dir_all(&place).expect("a folder");
    let (image, m) = (image.display(), place.display());
    let command = format!("set -eu; m={m}; mount -o loop{options} {image} $m; {words}; umount $m");
    unshare.must(["--mount", "--propagation", "private", "sh", "-c", &command])
}

/// Words that print every file below `$m` with its digest.
const SUMS: &str = "(cd $m && find . -type f -exec sha256sum {} + | sort -k2)";

/// Words that fill `$m` with files, of which every second one is to go, in five folders.
fn fill() -> String {
    let mark = std::str::from_utf8(GONE).expect("text");
    format!(
        "python3 -c 'import os, random, sys
r = random.Random(7)
for i in range(40):
    folder = sys.argv[1] + \"/d%d\" % (i % 5)
    os.makedirs(folder, exist_ok=True)
    n = r.randrange(5000, 1000000)
    kept = r.randbytes(n)
    gone = (b\"{mark}%08d;\" % i * (n // 10))[:n]
    open(folder + \"/%s%d\" % (\"gone\" if i % 2 else \"kept\", i), \"wb\").write(gone if i % 2 else kept)
' $m; sync -f $m"
    )
}

/// The mounted filesystem `image` that `make` made, filled and with half deleted; its files, and a copy from before it was
/// unmounted.
fn lived_in(image: &Path, size: u64, make: &[&str]) -> (String, PathBuf) {
    let program = peer(make[0]).expect("asked for before");
    fs::File::create(image).and_then(|file| file.set_len(size)).expect("a file");
    program.must([&make[1..], &[image.to_str().expect("UTF-8")]].concat());
    let dirty = image.with_extension("dirty");
    // What XFS deletes is free a little later: all of it is waited for.
    let free = "$(($(stat -f -c '%f * %S' $m)))";
    let words = format!(
        "{}; wanted={free}; b=$(stat -f -c %S $m); \
         for f in $m/*/gone*; do wanted=$((wanted + ($(stat -c %s $f) + b - 1) / b * b)); done; \
         rm $m/*/gone*; sync -f $m; i=0; \
         while [ {free} -lt $wanted ] && [ $i -lt 300 ]; do i=$((i + 1)); sleep 0.1; done; sync -f $m; \
         {SUMS}; cp --sparse=always {} {}",
        fill(),
        image.display(),
        dirty.display()
    );
    (mounted(image, "", &words), dirty)
}

/// The size of the blocks that are free, times how many they are.
fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).expect(key);
    line.trim_start_matches([':', '=', ' ']).split_whitespace().next().expect(key).parse().expect(key)
}

/// Asks whether everything is there that the test needs.
fn has(peers: &[&str]) -> bool {
    administrator("the kernel mounts nothing").is_some()
        && peers.iter().chain(&["unshare", "python3"]).all(|name| peer(name).is_some())
}

#[test]
fn ext4_loses_what_was_deleted_and_nothing_else() {
    if !has(&["mke2fs", "dumpe2fs", "e2fsck"]) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("ext4");
    for make in
        [&["mke2fs", "-q", "-F", "-t", "ext4"][..], &["mke2fs", "-q", "-F", "-t", "ext4", "-O", "bigalloc"]]
    {
        let (files, dirty) = lived_in(&image, 128 << 20, make);
        let judge = |raw: &Path| {
            assert_eq!(mounted(raw, ",ro", SUMS), files);
            peer("e2fsck").expect("a judge").must(["-fn", raw.to_str().expect("UTF-8")]);
        };
        let told =
            |path: &Path| peer("dumpe2fs").expect("a peer").must(["-h", path.to_str().expect("UTF-8")]);
        let free = |text: &str| number(text, "Free blocks") * number(text, "Block size");
        Tried { image: &image, unused: free(&told(&image)), skipped: 0 }.each(&judge);
        // What waits in the journal counts: as many are free as when a kernel has replayed it.
        assert!(told(&dirty).contains("needs_recovery"));
        let replayed = dirty.with_extension("replayed");
        fs::copy(&dirty, &replayed).expect("room");
        mounted(&replayed, "", ":");
        assert_ne!(free(&told(&dirty)), free(&told(&replayed)), "the journal changes nothing");
        let judge = |raw: &Path| {
            assert_eq!(mounted(raw, "", SUMS), files);
            peer("e2fsck").expect("a judge").must(["-fn", raw.to_str().expect("UTF-8")]);
        };
        Tried { image: &dirty, unused: free(&told(&replayed)), skipped: 0 }.each(&judge);
    }
}

#[test]
fn xfs_loses_what_was_deleted_and_nothing_else() {
    if !has(&["mkfs.xfs", "xfs_db", "xfs_repair"]) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("xfs");
    let (files, dirty) = lived_in(&image, 320 << 20, &["mkfs.xfs", "-q", "-f"]);
    let judge = |raw: &Path| {
        // With a log to replay, it is mounted first.
        assert_eq!(mounted(raw, "", SUMS), files);
        peer("xfs_repair").expect("a judge").must(["-n", raw.to_str().expect("UTF-8")]);
    };
    let free = |path: &Path| -> u64 {
        let groups = (0..4).map(|group| {
            let words =
                ["-r", "-c", &format!("agf {group}"), "-c", "print freeblks", path.to_str().expect("UTF-8")];
            number(&peer("xfs_db").expect("a peer").must(words), "freeblks")
        });
        groups.sum::<u64>() * 4096
    };
    Tried { image: &image, unused: free(&image), skipped: 0 }.each(&judge);
    let replayed = dirty.with_extension("replayed");
    fs::copy(&dirty, &replayed).expect("room");
    mounted(&replayed, "", ":");
    assert_ne!(free(&dirty), free(&replayed), "the log changes nothing");
    Tried { image: &dirty, unused: free(&replayed), skipped: 0 }.each(&judge);
}

#[test]
fn version_4_of_xfs_loses_what_was_deleted() {
    if !has(&["mkfs.xfs", "xfs_db", "xfs_repair"]) {
        return;
    }
    // No kernel has to mount it: files are put there as it is made.
    let dir = folder();
    let image = dir.path().join("xfs4");
    fs::File::create(&image).and_then(|file| file.set_len(320 << 20)).expect("a file");
    let name = image.to_str().expect("UTF-8");
    let make = ["-q", "-f", "-m", "crc=0", name];
    let mut bytes = GONE.repeat(1000);
    bytes.truncate(4096);
    peer("mkfs.xfs").expect("a peer").must(make);
    let free: u64 = (0..4)
        .map(|group| {
            let words = ["-r", "-c", &format!("agf {group}"), "-c", "print freeblks", name];
            number(&peer("xfs_db").expect("a peer").must(words), "freeblks")
        })
        .sum();
    // In the middle of a group there is nothing.
    let file = fs::File::options().write(true).open(&image).expect("an image");
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 60 << 20).expect("a write");
    drop(file);
    Tried { image: &image, unused: free * 4096, skipped: 0 }.each(&|raw| {
        peer("xfs_repair").expect("a judge").must(["-n", raw.to_str().expect("UTF-8")]);
    });
}

#[test]
fn btrfs_loses_what_was_deleted_and_nothing_else() {
    if !has(&["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let dir = folder();
    for (name, make) in [
        ("dup", &["mkfs.btrfs", "-q", "-f", "-m", "dup", "-d", "single"][..]),
        ("single", &["mkfs.btrfs", "-q", "-f", "-m", "single", "-d", "single"]),
        ("mixed", &["mkfs.btrfs", "-q", "-f", "--mixed"]),
    ] {
        let image = dir.path().join(name);
        let (files, _) = lived_in(&image, 400 << 20, make);
        let told = peer("btrfs").expect("a peer").must([
            "inspect-internal",
            "dump-super",
            image.to_str().expect("UTF-8"),
        ]);
        let used = unused_of_btrfs(&image, number(&told, "dev_item.total_bytes"), number(&told, "nodesize"));
        Tried { image: &image, unused: used, skipped: 0 }.each(&|raw| {
            assert_eq!(mounted(raw, "", SUMS), files);
            peer("btrfs").expect("a judge").must(["check", raw.to_str().expect("UTF-8")]);
            let scrubbed = mounted(raw, "", "btrfs scrub start -B $m");
            assert!(scrubbed.contains("no errors found"), "{scrubbed}");
        });
    }
}

/// What is unused of the filesystem `image` on `size` bytes, with tree blocks of `node` bytes, as its trees tell that `btrfs` prints: all but the first MiB, the
/// place of the second superblock, and what extents have, each as often as its chunk has places.
fn unused_of_btrfs(image: &Path, size: u64, node: u64) -> u64 {
    let trees = |tree: &str| {
        let words = ["inspect-internal", "dump-tree", "-t", tree, image.to_str().expect("UTF-8")];
        peer("btrfs").expect("a peer").must(words)
    };
    let numbers = |line: &str| -> Vec<u64> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    let mut chunks: Vec<(u64, u64, u64)> = Vec::new();
    let mut start = 0;
    for line in trees("chunk").lines() {
        if line.contains("CHUNK_ITEM") {
            // item 1 key (FIRST_CHUNK_TREE CHUNK_ITEM 22020096) itemoff …
            start = numbers(line)[1];
        } else if line.trim().starts_with("length ") {
            chunks.push((start, numbers(line)[0], 0));
        } else if line.trim().starts_with("num_stripes ") {
            chunks.last_mut().expect("a chunk").2 = numbers(line)[0];
        }
    }
    let mut used = 0;
    for line in trees("extent").lines().filter(|line| line.contains("item ")) {
        let of = numbers(line);
        let len = match line {
            _ if line.contains(" EXTENT_ITEM ") => of[2],
            _ if line.contains(" METADATA_ITEM ") => node,
            _ => continue,
        };
        let within = |chunk: &&(u64, u64, u64)| (chunk.0..chunk.0 + chunk.1).contains(&of[1]);
        used += len * chunks.iter().find(within).expect("a chunk").2;
    }
    // Chunks give away neither of the two.
    size - used - (1 << 20) - (64 << 10)
}

#[test]
fn swap_space_keeps_its_first_page() {
    let Some(mkswap) = peer("mkswap") else { return };
    let dir = folder();
    let image = dir.path().join("swap");
    fs::write(&image, &GONE.repeat((8 << 20) / GONE.len() + 1)[..8 << 20]).expect("room");
    mkswap.must(["-L", "swap", image.to_str().expect("UTF-8")]);
    let first = fs::read(&image).expect("an image")[..4096].to_vec();
    // The boot sectors before its header are its own; what is behind it is none of ours.
    let clean: Vec<u8> = first[..1024].iter().map(|_| 0).chain(first[1024..].iter().copied()).collect();
    let mut bytes = fs::read(&image).expect("an image");
    bytes[..4096].copy_from_slice(&clean);
    fs::write(&image, bytes).expect("room");
    Tried { image: &image, unused: (8 << 20) - 4096, skipped: 0 }.each(&|raw| {
        let result = fs::read(raw).expect("a result");
        assert!(result[..4096] == clean && result[4096..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn an_image_in_use_is_refused() {
    let Some(qemu_io) = peer("qemu-io") else { return };
    let dir = folder();
    let image = dir.path().join("used.qcow2");
    let name = image.to_str().expect("UTF-8");
    assert_eq!(goldimg(["create", name, "16M"]).run().code, 0);
    let refused = || goldimg(["sparsify", "--in-place", name]).run();
    let mut user = Command::new(qemu_io.path());
    let holder = Holder::new(user.args(["-f", "qcow2", name]), &image, &[(100, 101)]);
    let outcome = refused();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("stop the program that uses it"), "{}", outcome.snapshot());
    drop(holder);
    assert_eq!(refused().code, 0);
}
