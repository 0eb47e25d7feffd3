//! `goldimg dd`: blocks of an image, counted as dd(1) counts them.

use std::fs;

use crate::support::{folder, goldimg};

/// 10,000 bytes that are all told apart from their neighbours.
fn content() -> Vec<u8> {
    (0_u32..10_000).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn a_part_of_an_image_becomes_an_image() {
    let folder = folder();
    let run = |words: &[&str]| goldimg(["-q", "dd"].iter().chain(words)).folder(folder.path()).run();
    let must = |words: &[&str]| {
        let outcome = run(words);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        outcome
    };
    let read = |name: &str| fs::read(folder.path().join(name)).expect("a file");
    fs::write(folder.path().join("disk.raw"), content()).expect("room");
    must(&["if=disk.raw", "of=all"]);
    assert_eq!(read("all"), content());
    // `count` is counted from `skip` on, and the last block is cut at the end of the disk.
    must(&["if=disk.raw", "of=some", "bs=1K", "skip=2", "count=3"]);
    assert_eq!(read("some"), content()[2048..5120]);
    must(&["if=disk.raw", "of=last", "bs=3", "skip=3333", "count=9"]);
    assert_eq!(read("last"), content()[9999..]);
    must(&["if=disk.raw", "of=nothing", "count=0"]);
    assert!(read("nothing").is_empty());
    must(&["if=disk.raw", "of=part.qcow2", "bs=512", "skip=1"]);
    must(&["if=part.qcow2", "of=back", "count=1", "skip=18"]);
    assert_eq!(read("back"), [&content()[9728..], &[0; 240]].concat());
    let piped = must(&["if=part.qcow2", "of=-", "bs=16", "skip=1", "count=1"]);
    assert_eq!(piped.stdout.as_bytes(), String::from_utf8_lossy(&content()[528..544]).as_bytes());
}

#[test]
fn what_cannot_be_copied_is_told() {
    let folder = folder();
    fs::write(folder.path().join("disk.raw"), content()).expect("room");
    let run = |words: &[&str]| goldimg(["dd"].iter().chain(words)).folder(folder.path()).run();
    let beyond = run(&["if=disk.raw", "of=out", "skip=20"]);
    assert_eq!(beyond.code, 1, "{}", beyond.snapshot());
    assert!(beyond.stderr.contains("skip=20 of 512 bytes each is behind the end of 10000 bytes"));
    assert!(beyond.stderr.contains("skip=19 is the last block"), "{}", beyond.snapshot());
    assert!(!folder.path().join("out").exists());
    assert_eq!(run(&["if=disk.raw", "of=disk.raw"]).code, 1);
    assert_eq!(fs::read(folder.path().join("disk.raw")).expect("a file"), content());
    let unknown = run(&["if=disk.raw", "of=out", "ibs=1"]);
    assert_eq!(unknown.code, 64, "{}", unknown.snapshot());
    assert!(unknown.stderr.contains("there are bs, count, if, of and skip"), "{}", unknown.snapshot());
    assert_eq!(run(&[]).code, 64);
}
