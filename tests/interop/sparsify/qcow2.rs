//! In place in a qcow2 that shares what it has: with a backing file, with internal snapshots, with compressed clusters.
//!
//! ```text
//! clusters of 64 KiB   │ ▓▓▓▓▓▓▓▓ │ ▓▓▓░░░░░ │ ░░░░░░░░ │ …      ▓ in use   ░ free, as dumpe2fs tells
//! afterwards           as before    in use: as before   zeroes; whatever else the file shared stays as it was
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{GONE, SUMS, has, lived_in, mounted};
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

const CLUSTER: usize = 64 << 10;
const BLOCK: usize = 4096;

/// A filesystem that was lived in, as a raw file, and what is known of it.
struct Sample {
    raw: PathBuf,
    files: String,
    bytes: Vec<u8>,
    /// Of each block, whether it is free.
    free: Vec<bool>,
}

impl Sample {
    fn make(folder: &Path) -> Self {
        let raw = folder.join("raw");
        let make = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"];
        let (files, _) = lived_in(&raw, 64 << 20, &make);
        let bytes = fs::read(&raw).expect("an image");
        let mut free = vec![false; bytes.len() / BLOCK];
        let told = peer("dumpe2fs").expect("a peer").must([raw.to_str().expect("UTF-8")]);
        for range in told.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
            for range in range.split(", ").filter(|range| !range.is_empty()) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let [first, last]: [usize; 2] = [first, last].map(|number| number.parse().expect("a block"));
                free[first..=last].fill(true);
            }
        }
        Self { raw, files, bytes, free }
    }

    /// Clusters of which all is free, and of which a part is: how many bytes those have that are free.
    fn clusters(&self) -> (Vec<usize>, u64) {
        let mut whole = Vec::new();
        let mut partly = 0;
        for (index, blocks) in self.free.chunks(CLUSTER / BLOCK).enumerate() {
            match blocks.iter().filter(|is_free| **is_free).count() {
                all if all == blocks.len() => whole.push(index),
                some => partly += (some * BLOCK) as u64,
            }
        }
        assert!(whole.len() > 300 && partly > 100_000, "{} and {partly}", whole.len());
        (whole, partly)
    }

    /// Asserts that `image` has all that is in use, and nothing in clusters that are free.
    fn judge(&self, image: &Path) {
        let qemu_img = peer("qemu-img").expect("asked for before");
        let raw = image.with_extension("converted");
        let words = [image, &raw].map(|path| path.to_str().expect("UTF-8"));
        qemu_img.must(["check", "-f", "qcow2", words[0]]);
        qemu_img.must(["convert", "-f", "qcow2", "-O", "raw", words[0], words[1]]);
        let after = fs::read(&raw).expect("a result");
        let blocks = self.bytes.chunks(BLOCK).zip(after.chunks(BLOCK)).zip(&self.free);
        for (index, ((before, after), is_free)) in blocks.enumerate() {
            assert!(*is_free || before == after, "block {index} is in use");
        }
        for index in self.clusters().0 {
            let cluster = &after[index * CLUSTER..][..CLUSTER];
            assert!(cluster.iter().all(|byte| *byte == 0), "cluster {index} is free");
        }
        assert_eq!(mounted(&raw, ",ro", SUMS), self.files);
        peer("e2fsck").expect("a judge").must(["-fn", words[1]]);
    }
}

fn is_possible() -> bool {
    has(&["mke2fs", "dumpe2fs", "e2fsck", "qemu-img"])
}

fn in_place(image: &Path, more: &[&str]) -> Outcome {
    let image = image.to_str().expect("UTF-8");
    goldimg([&["sparsify", "--json", "--in-place", image][..], more].concat()).run()
}

/// How many bytes that are free stayed, and how many the file had before and has now.
fn done(outcome: &Outcome) -> (u64, u64, u64) {
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let number = |key: &str| told["target"][key].as_u64().expect("a number");
    (number("left_bytes"), number("allocated_before"), number("allocated_size"))
}

#[test]
fn a_backing_file_is_hidden_where_nothing_is_and_stays_as_it_is() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let sample = Sample::make(dir.path());
    let path = |name: &str| dir.path().join(name);
    let (other, base, image) = (path("other"), path("base.qcow2"), path("image.qcow2"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    // What is in the image itself, not in its backing file, is every fourth cluster.
    let mut bytes = sample.bytes.clone();
    bytes.chunks_mut(CLUSTER).step_by(4).for_each(|cluster| cluster.fill(0x55));
    fs::write(&other, bytes).expect("room");
    let qemu_img = peer("qemu-img").expect("asked for before");
    qemu_img.must(["convert", "-S", "0", "-O", "qcow2", &text(&other), &text(&base)]);
    qemu_img.must(["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", &text(&image)]);
    qemu_img.must(["rebase", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", &text(&image)]);
    let before = fs::read(&base).expect("the base");
    let refused = in_place(&image, &[]);
    assert!(refused.code != 0 && refused.stderr.contains("--allow-backing"), "{}", refused.snapshot());
    let (left, _, _) = done(&in_place(&image, &["--allow-backing"]));
    // What shows through from the backing file is not in the image.
    assert_eq!(left, 0);
    assert!(fs::read(&base).expect("the base") == before);
    sample.judge(&image);
}

#[test]
fn snapshots_keep_what_is_theirs() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let sample = Sample::make(dir.path());
    let (image, old) = (dir.path().join("image.qcow2"), dir.path().join("old"));
    let [raw_name, name, old_name] = [&sample.raw, &image, &old].map(|path| path.to_str().expect("UTF-8"));
    let qemu_img = peer("qemu-img").expect("asked for before");
    qemu_img.must(["convert", "-S", "0", "-O", "qcow2", raw_name, name]);
    qemu_img.must(["snapshot", "-c", "old", name]);
    let (left, before, after) = done(&in_place(&image, &[]));
    assert_eq!(left, sample.clusters().1);
    // Nothing is given back that the snapshot has; tables of its own are all that the image gets.
    assert!(after <= before + 4 * CLUSTER as u64, "{before} {after}");
    sample.judge(&image);
    qemu_img.must(["convert", "-f", "qcow2", "-l", "old", "-O", "raw", name, old_name]);
    assert!(fs::read(&old).expect("a result") == sample.bytes);
    qemu_img.must(["snapshot", "-d", "old", name]);
    sample.judge(&image);
}

#[test]
fn compressed_clusters_are_given_back_whole() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let sample = Sample::make(dir.path());
    for codec in ["zlib", "zstd"] {
        let image = dir.path().join("image.qcow2");
        let [raw_name, name] = [&sample.raw, &image].map(|path| path.to_str().expect("UTF-8"));
        let options = format!("compression_type={codec}");
        let qemu_img = peer("qemu-img").expect("asked for before");
        qemu_img.must(["convert", "-c", "-S", "0", "-O", "qcow2", "-o", &options, raw_name, name]);
        let compressed = || {
            let told = qemu_img.must(["check", "--output", "json", "-f", "qcow2", name]);
            let told: Value = serde_json::from_str(&told).expect("JSON");
            told["compressed-clusters"].as_u64().unwrap_or_default() as usize
        };
        // What is random is not.
        let all = compressed();
        let (left, before, after) = done(&in_place(&image, &[]));
        assert_eq!(left, sample.clusters().1, "{codec}");
        assert_eq!(compressed() + sample.clusters().0.len(), all, "{codec}");
        // What is deleted can be so small that no cluster of the file is its alone.
        assert!(after <= before, "{codec}: {before} {after}");
        sample.judge(&image);
        // Anew, nothing of it stays.
        let new = dir.path().join("new.qcow2");
        let words = ["sparsify", "--force", name, "-o", new.to_str().expect("UTF-8")];
        assert_eq!(goldimg(words).run().code, 0);
        sample.judge(&new);
        let bytes = fs::read(new.with_extension("converted")).expect("a result");
        assert!(!bytes.windows(GONE.len()).any(|window| window == GONE));
    }
}
