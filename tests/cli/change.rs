//! What is said when an image is changed in place.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

fn run(folder: &Path, words: &[&str]) -> Outcome {
    let outcome = goldimg(words).folder(folder).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    outcome
}

/// Makes `disk.qcow2`, and says in its header that it was not closed.
fn unclosed(folder: &Path) {
    run(folder, &["create", "--force", "-o", "lazy_refcounts=on", "disk.qcow2", "4M"]);
    let file = std::fs::File::options().write(true).open(folder.join("disk.qcow2")).expect("an image");
    // Incompatible features.
    file.write_all_at(&1_u64.to_be_bytes(), 72).expect("a write");
}

#[test]
fn a_repair_before_the_work_is_told_once() {
    let folder = folder();
    std::fs::write(folder.path().join("small.raw"), [1; 4096]).expect("room");
    let commands: [&[&str]; 7] = [
        &["resize", "disk.qcow2", "5M"],
        &["snapshot", "-c", "one", "disk.qcow2"],
        &["bitmap", "--add", "disk.qcow2", "b"],
        &["amend", "-o", "refcount_bits=8", "disk.qcow2"],
        &["rebase", "-u", "-b", "", "disk.qcow2"],
        &["rebase", "-b", "", "disk.qcow2"],
        &["convert", "-n", "-O", "qcow2", "small.raw", "disk.qcow2"],
    ];
    for words in commands {
        unclosed(folder.path());
        let outcome = run(folder.path(), words);
        let told = "disk.qcow2 was not closed: its refcounts were counted again";
        assert_eq!(outcome.stderr.matches(told).count(), 1, "{}", outcome.snapshot());
        let outcome = run(folder.path(), &["resize", "--shrink", "disk.qcow2", "3M"]);
        assert!(!outcome.stderr.contains("not closed"), "{}", outcome.snapshot());
    }
    // Who only looks at it repairs nothing.
    unclosed(folder.path());
    for words in [&["info", "disk.qcow2"][..], &["snapshot", "-l", "disk.qcow2"], &["bitmap", "disk.qcow2"]] {
        let outcome = run(folder.path(), words);
        assert!(!outcome.stderr.contains("counted again"), "{}", outcome.snapshot());
    }
}

#[test]
fn version_2_costs_the_bitmaps_and_that_is_told() {
    let folder = folder();
    run(folder.path(), &["create", "disk.qcow2", "4M"]);
    let down = ["amend", "-o", "compat=0.10", "disk.qcow2"];
    let gone = "its persistent bitmaps are gone";
    let outcome = run(folder.path(), &down);
    assert!(!outcome.stderr.contains(gone), "{}", outcome.snapshot());
    run(folder.path(), &["amend", "-o", "compat=1.1", "disk.qcow2"]);
    run(folder.path(), &["bitmap", "--add", "disk.qcow2", "b"]);
    let outcome = run(folder.path(), &down);
    assert_eq!(outcome.stderr.matches(gone).count(), 1, "{}", outcome.snapshot());
}

#[test]
fn a_huge_empty_image_is_made_small_without_writing_its_tables() {
    use std::os::unix::fs::MetadataExt;
    let folder = folder();
    run(folder.path(), &["create", "disk.qcow2", "1P"]);
    run(folder.path(), &["resize", "disk.qcow2", "2P"]);
    run(folder.path(), &["resize", "--shrink", "disk.qcow2", "1M"]);
    run(folder.path(), &["check", "disk.qcow2"]);
    let host = std::fs::metadata(folder.path().join("disk.qcow2")).expect("an image").blocks() * 512;
    // Of its 4 Mi tables of 64 KiB none was ever there.
    assert!(host < 128 << 20, "{host} bytes");
}
