//! `goldimg compare` and `goldimg map` as their user sees them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{folder, goldimg};

/// A raw file with data from `at` on, and a compressed copy of it.
fn images(folder: &Path) {
    let file = fs::File::create(folder.join("a.raw")).expect("a new file");
    file.set_len(1 << 20).expect("room");
    file.write_all_at(&[b'x'; 65536], 131_072).expect("room");
    let outcome = goldimg(["convert", "-q", "-c", "a.raw", "a.qcow2"]).folder(folder).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
}

#[test]
fn what_differs_is_shown_as_ranges() {
    let folder = folder();
    images(folder.path());
    fs::copy(folder.path().join("a.raw"), folder.path().join("b.raw")).expect("room");
    let other = fs::File::options().write(true).open(folder.path().join("b.raw")).expect("a file");
    other.set_len((1 << 20) + 4096).expect("room");
    let run =
        |words: &[&str]| goldimg(["compare", "-m", "1"].iter().chain(words)).folder(folder.path()).run();
    insta::assert_snapshot!(run(&["a.qcow2", "b.raw"]).snapshot());
    for at in [600, 131_073, 200_000, 1 << 20] {
        other.write_all_at(b"y", at).expect("room");
    }
    insta::assert_snapshot!(run(&["--ranges", "2", "a.qcow2", "b.raw"]).snapshot());
    insta::assert_snapshot!(run(&["--strict", "--json", "a.qcow2", "b.raw"]).snapshot());
    let quiet = run(&["-q", "a.raw", "b.raw"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (1, "", ""));
}

#[test]
fn a_map_is_a_table_or_json() {
    let folder = folder();
    images(folder.path());
    let run = |words: &[&str]| goldimg(["map"].iter().chain(words)).folder(folder.path()).run();
    insta::assert_snapshot!(run(&["a.raw"]).snapshot());
    insta::assert_snapshot!(run(&["a.qcow2"]).snapshot());
    let part = run(&["--json", "-s", "128K", "-l", "100K", "a.raw"]);
    let list: serde_json::Value = serde_json::from_str(&part.stdout).expect("JSON");
    let starts: Vec<_> = list.as_array().expect("a list").iter().map(|it| it["start"].as_u64()).collect();
    assert_eq!(starts, [Some(131_072), Some(196_608)], "{}", part.snapshot());
    let beyond = run(&["--json", "-s", "2M", "a.raw"]);
    assert_eq!((beyond.code, beyond.stdout.as_str()), (0, "[\n]\n"));
}
