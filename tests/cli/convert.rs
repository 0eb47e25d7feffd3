//! `goldimg convert` as its user sees it: what it refuses, what it prints, and that it leaves nothing half done.

use std::fs;
use std::path::Path;

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// Runs `goldimg convert` in `folder`.
fn convert(folder: &Path, arguments: &[&str]) -> Outcome {
    goldimg(["convert"].iter().chain(arguments)).folder(folder).run()
}

/// The names in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A folder with a source of text, holes and an odd length.
fn folder_with_source() -> tempfile::TempDir {
    let folder = folder();
    let text: String = (0..40_000).map(|line| format!("{line} and more\n")).collect();
    let file = fs::File::create(folder.path().join("a.raw")).expect("a new file");
    std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 300_000).expect("room");
    file.set_len(5_000_000).expect("room");
    folder
}

#[test]
fn what_is_there_is_not_overwritten_unless_forced() {
    let folder = folder_with_source();
    fs::write(folder.path().join("b.qcow2"), "precious").expect("room");
    let outcome = convert(folder.path(), &["a.raw", "b.qcow2"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(outcome.stderr, "error: b.qcow2 exists\n\nhint: --force replaces it\n");
    assert_eq!(fs::read(folder.path().join("b.qcow2")).expect("still there"), b"precious");
    assert_eq!(convert(folder.path(), &["-q", "--force", "a.raw", "b.qcow2"]).code, 0);
    assert!(fs::read(folder.path().join("b.qcow2")).expect("an image").starts_with(b"QFI\xfb\0\0\0\x03"));
    for same in ["a.raw", "./a.raw"] {
        let outcome = convert(folder.path(), &["--force", "a.raw", same]);
        assert!(outcome.stderr.contains("is both source and target"), "{}", outcome.snapshot());
        assert_eq!(outcome.code, 1);
    }
}

#[test]
fn wrong_usage_is_told_with_what_would_be_right() {
    let folder = folder_with_source();
    for (arguments, error) in [
        (vec!["-O", "raw", "-c"], "-c has no meaning for a raw target"),
        (
            vec!["-o", "cluster_size=3000"],
            "-o cluster_size=3000: it must be a power of two from 512 to 2097152",
        ),
        (vec!["-o", "clustersize=64k"], "-o clustersize=64k: there is no such option"),
        (vec!["-o", "compat=0.10,compression_type=zstd"], "version 2 (compat 0.10) has no other compression"),
        (vec!["-o", "compression_type=lzma"], "-o compression_type=lzma: there is no such compression"),
        (vec!["-c", "--level", "10"], "deflate has levels 1 to 9, not 10"),
        (vec!["-S", "100"], "-S 100: at least 512, or 0"),
    ] {
        let outcome = convert(folder.path(), &[arguments.as_slice(), &["a.raw", "b.qcow2"]].concat());
        assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains(error), "{}", outcome.snapshot());
    }
    assert_eq!(names(folder.path()), ["a.raw"]);
}

#[test]
fn a_compression_without_c_is_warned_of() {
    let folder = folder_with_source();
    let warning = "warning: without -c nothing is compressed";
    for (arguments, warned) in [
        (vec!["-o", "compression_type=zstd"], true),
        (vec!["-c", "-o", "compression_type=zstd"], false),
        (vec!["-o", "cluster_size=64k"], false),
    ] {
        let outcome =
            convert(folder.path(), &[arguments.as_slice(), &["--force", "a.raw", "b.qcow2"]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        assert_eq!(outcome.stderr.contains(warning), warned, "{}", outcome.snapshot());
    }
}

#[test]
fn digests_are_those_of_the_file_and_of_what_it_holds() {
    let (Some(sum), Some(md5)) = (peer("sha512sum"), peer("md5sum")) else { return };
    let folder = folder_with_source();
    let of = |peer: &crate::support::peer::Peer, name: &str| {
        peer.must([folder.path().join(name)]).split_whitespace().next().unwrap_or_default().to_owned()
    };
    for (arguments, target) in [(vec!["-c"], "b.qcow2"), (vec!["-S", "0"], "b.raw"), (vec![], "c.raw")] {
        let words = ["-q", "--json", "--hash", "sha512,md5", "--content-hash", "md5,sha512", "a.raw", target];
        let outcome = convert(folder.path(), &[arguments.as_slice(), &words].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        let json: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(json["digests"]["sha512"], of(&sum, target), "{target}");
        assert_eq!(json["digests"]["md5"], of(&md5, target), "{target}");
        assert_eq!(json["content_digests"]["md5"], of(&md5, "a.raw"), "{target}");
        assert_eq!(json["content_digests"]["sha512"], of(&sum, "a.raw"), "{target}");
        let len = fs::metadata(folder.path().join(target)).expect("the target").len();
        assert_eq!(json["target"]["file_size"], len);
    }
    // The lines without --json are what sha512sum itself checks.
    let outcome = convert(folder.path(), &["-q", "--hash", "sha512", "a.raw", "d.qcow2"]);
    fs::write(folder.path().join("sums"), &outcome.stdout).expect("room");
    let checked = sum.command(["-c", "sums"]).folder(folder.path()).run();
    assert_eq!((checked.stdout.as_str(), checked.code), ("d.qcow2: OK\n", 0));
}

#[test]
fn standard_output_gets_every_byte() {
    let Some(sum) = peer("sha256sum") else { return };
    let folder = folder_with_source();
    let shell = "\"$0\" convert -q -O raw a.raw - | cmp - a.raw";
    let Some(sh) = peer("sh") else { return };
    let program = goldimg([""]).path();
    let outcome =
        sh.command(["-c".as_ref(), shell.as_ref(), program.as_os_str()]).folder(folder.path()).run();
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let outcome =
        convert(folder.path(), &["-O", "raw", "--hash", "sha256", "--progress", "plain", "a.raw", "-"]);
    let expected = sum.must([folder.path().join("a.raw")]);
    let hex = expected.split_whitespace().next().unwrap_or_default();
    assert!(outcome.stderr.contains(&format!("SHA256 (-) = {hex}")), "{}", outcome.stderr);
}

#[test]
fn a_damaged_source_is_an_error_with_its_place_and_no_target() {
    let folder = folder_with_source();
    assert_eq!(convert(folder.path(), &["-q", "-c", "a.raw", "b.qcow2"]).code, 0);
    // The first compressed cluster begins with a kind of block that deflate does not have.
    let path = folder.path().join("b.qcow2");
    let mut bytes = fs::read(&path).expect("an image");
    bytes[65_536..65_600].fill(0xff);
    fs::write(&path, bytes).expect("room");
    let outcome = convert(folder.path(), &["-q", "-O", "raw", "b.qcow2", "c.raw"]);
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("guest offset 0x40000"), "{}", outcome.snapshot());
    assert_eq!(names(folder.path()), ["a.raw", "b.qcow2"]);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let folder = folder();
    // Hours of hashing zeroes.
    fs::File::create(folder.path().join("a.raw")).and_then(|file| file.set_len(8 << 40)).expect("room");
    let outcome = goldimg(["convert", "-q", "--content-hash", "sha512", "a.raw", "b.qcow2"])
        .folder(folder.path())
        .run_interrupted(|| names(folder.path()).len() == 2);
    assert_eq!(outcome.code, 130, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("stopped on request"), "{}", outcome.snapshot());
    assert_eq!(names(folder.path()), ["a.raw"]);
}

/// Removes `gone` from the filesystem in a.raw without its bytes going.
#[test]
fn free_blocks_are_left_out_where_that_is_asked_for() {
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).expect("a folder");
    let noise: Vec<u8> = (0..500_000_u32).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(tree.join("gone"), &noise).expect("room");
    fs::write(tree.join("kept"), &noise[..50_000]).expect("room");
    let (Some(mke2fs), Some(debugfs)) = (peer("mke2fs"), peer("debugfs")) else { return };
    let run = |program: &Peer, arguments: &[&str]| {
        let outcome = program.command(arguments).folder(folder.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    };
    run(&mke2fs, &["-q", "-F", "-t", "ext4", "-d", "tree", "a.raw", "16m"]);
    run(&debugfs, &["-w", "-R", "rm /gone", "a.raw"]);
    let has_gone = |name: &str| {
        let bytes = fs::read(folder.path().join(name)).expect("an image");
        bytes.chunks(1024).any(|block| block == &noise[1_024_000..1_025_024])
    };
    let whole = convert(folder.path(), &["a.raw", "whole.raw"]);
    assert!(whole.code == 0 && has_gone("whole.raw"), "{}", whole.snapshot());
    let less = convert(folder.path(), &["--skip-free", "a.raw", "less.raw"]);
    assert!(less.code == 0 && !has_gone("less.raw"), "{}", less.snapshot());
    assert!(less.stderr.contains("free space left out: "), "{}", less.snapshot());
    run(&debugfs, &["-w", "-R", "set_super_value state 2", "a.raw"]);
    let unclean = convert(folder.path(), &["--skip-free", "-O", "raw", "a.raw", "unclean"]);
    assert!(unclean.code == 0 && has_gone("unclean"), "{}", unclean.snapshot());
    assert!(
        unclean.stderr.contains("all of the ext4 on the disk, at offset 0x0, is taken as in use: "),
        "{}",
        unclean.snapshot()
    );
}
