//! Filesystems of which it is not sure what is free: skipped, told, and left as they are.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{SUMS, has, lived_in, mounted, number};
use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// `goldimg sparsify` of `image` into `new`, which must skip all of it because of `why`.
fn must_skip(image: &Path, new: &Path, why: &str) {
    let words = ["sparsify", "--force", "--json"].map(Path::new);
    let outcome = goldimg(words.into_iter().chain([image, Path::new("-o"), new])).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let skipped = told["skipped"].as_array().expect("a list");
    assert_eq!((skipped.len(), &told["unused_bytes"]), (1, &0.into()), "{told}");
    assert!(outcome.stderr.contains(why), "{}", outcome.snapshot());
    assert!(fs::read(image).expect("an image") == fs::read(new).expect("a result"));
}

#[test]
fn what_is_not_sure_is_skipped_and_told() {
    if !has(&["mke2fs", "debugfs"]) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("ext4");
    let (files, _) = lived_in(&image, 64 << 20, &["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data"]);
    let name = image.to_str().expect("UTF-8");
    let judge = |raw: &Path| assert_eq!(mounted(raw, ",ro", SUMS), files);
    peer("debugfs").expect("a peer").must(["-w", "-R", "set_super_value state 3", name]);
    let new = dir.path().join("new.raw");
    let outcome = goldimg(["sparsify", name, "-o", new.to_str().expect("UTF-8")]).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let told = "all of the ext4 on the disk, at offset 0x0, is taken as in use: \
                looking for unused blocks: errors are recorded in it";
    assert!(outcome.stderr.contains(told), "{}", outcome.snapshot());
    judge(&new);
    // What is left as it is because it was asked for.
    peer("debugfs").expect("a peer").must(["-w", "-R", "set_super_value state 1", name]);
    let ignored = ["sparsify", "--json", "--in-place", "--ignore", "data", name];
    let outcome = goldimg(ignored).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!((&told["unused_bytes"], &told["ignored"][0]["label"]), (&0.into(), &"data".into()));
    let outcome = goldimg(["sparsify", "--in-place", "--ignore", "other", name]).run();
    assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("no filesystem \"other\""), "{}", outcome.snapshot());
}

#[test]
fn tables_that_are_told_to_be_free_are_not() {
    if !has(&["mke2fs", "debugfs", "dumpe2fs"]) {
        return;
    }
    let dir = folder();
    let image = dir.path().join("ext4");
    let name = image.to_str().expect("UTF-8");
    let make = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"];
    lived_in(&image, 64 << 20, &make);
    let told = peer("dumpe2fs").expect("a peer").must([name]);
    let first = |key: &str| number(&told.replace(['-', ','], "\n"), key);
    let (table, free) = (first("Inode table at"), first("Free blocks: "));
    // As many are free as before, and checksums are right: only where the table is says otherwise.
    for words in [format!("freeb {}", table + 3), format!("setb {free}")] {
        peer("debugfs").expect("a peer").must(["-w", "-R", &words, name]);
    }
    let place = (table + 3) * 4096;
    let why = format!("what is at {place:#x} is told as free, and is in use");
    must_skip(&image, &dir.path().join("new.raw"), &why);
}
