//! `goldimg measure` beside `qemu-img measure`, number for number; and beside what `goldimg convert` then writes.

use std::path::Path;

use crate::support::peer::{peer, qemu_10};
use crate::support::{folder, goldimg};

const OPTIONS: [&str; 13] = [
    "cluster_size=64k",
    "cluster_size=512",
    "cluster_size=2M",
    "cluster_size=4k,refcount_bits=1",
    "cluster_size=4k,refcount_bits=64",
    "refcount_bits=8",
    "compat=0.10",
    "cluster_size=128k,compat=1.1",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "preallocation=metadata",
    "preallocation=falloc",
    "backing_file=x,,y,backing_fmt=raw",
];

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn images(folder: &Path) -> Option<[&'static str; 4]> {
    let (img, io) = (qemu_10("qemu-img")?, peer("qemu-io")?);
    let run = |words: &[&str]| {
        let outcome = img.command(words).folder(folder).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    };
    run(&["create", "-q", "-f", "raw", "a.raw", "70M"]);
    let commands = ["-c", "write -P 1 1000k 300k", "-c", "write -P 2 40M 3M", "-c", "write 69M 5k"];
    assert_eq!(io.command([&["-f", "raw"], &commands[..], &["a.raw"]].concat()).folder(folder).run().code, 0);
    run(&["convert", "-c", "-f", "raw", "-O", "qcow2", "a.raw", "packed.qcow2"]);
    run(&["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "metadata.qcow2", "30M"]);
    run(&["convert", "-f", "raw", "-O", "qcow2", "a.raw", "marked.qcow2"]);
    run(&["bitmap", "--add", "-g", "4k", "marked.qcow2", "one"]);
    run(&["bitmap", "--add", "marked.qcow2", "a longer name"]);
    Some(["a.raw", "packed.qcow2", "metadata.qcow2", "marked.qcow2"])
}

#[test]
fn the_numbers_are_those_of_qemu_img() {
    let folder = folder();
    let (Some(images), Some(img)) = (images(folder.path()), qemu_10("qemu-img")) else { return };
    let sizes = ["0", "1", "1000", "1G", "123456789", "7T"].map(|size| ["--size", size].to_vec());
    let subjects = sizes.into_iter().chain(images.map(|image| vec![image]));
    let mut compared = 0;
    for subject in subjects {
        for options in OPTIONS {
            let common = [&["-O", "qcow2", "-o", options][..], &subject].concat();
            let theirs = img.command([&["measure", "--output=json"], &common[..]].concat());
            let theirs = theirs.folder(folder.path()).run();
            let ours = goldimg([&["measure", "--json"], &common[..]].concat()).folder(folder.path()).run();
            if theirs.code == 0 {
                assert_eq!(json(&ours.stdout), json(&theirs.stdout), "{}", ours.snapshot());
                compared += 1;
            } else {
                assert_ne!(ours.code, 0, "{}{}", ours.snapshot(), theirs.snapshot());
            }
        }
        let theirs = img.command([&["measure", "--output=json"], &subject[..]].concat());
        let ours = goldimg([&["measure", "--json"], &subject[..]].concat());
        let (theirs, ours) = (theirs.folder(folder.path()).run(), ours.folder(folder.path()).run());
        assert_eq!(json(&ours.stdout), json(&theirs.stdout), "{}", ours.snapshot());
    }
    assert!(compared >= 115, "{compared} of 130");
}

#[test]
fn the_exact_size_is_what_convert_writes() {
    let folder = folder();
    if images(folder.path()).is_none() {
        return;
    }
    for words in [&["-c"][..], &["-c", "-o", "compression_type=zstd"], &["-o", "cluster_size=4k"]] {
        let convert = [&["convert", "-q", "-O", "qcow2"], words, &["a.raw", "new.qcow2"]].concat();
        assert_eq!(goldimg(convert).folder(folder.path()).run().code, 0);
        let file = folder.path().join("new.qcow2");
        let written = file.metadata().unwrap().len();
        std::fs::remove_file(file).unwrap();
        let measure = goldimg([&["measure", "--json", "--exact"], words, &["a.raw"]].concat());
        let measured = json(&measure.folder(folder.path()).run().stdout);
        assert_eq!(measured["exact"], written, "{words:?}");
        assert!(written <= measured["required"].as_u64().unwrap());
    }
}
