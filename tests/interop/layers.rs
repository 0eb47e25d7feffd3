//! `rebase`, `commit` and `amend` beside those of qemu-img: the same content, the same facts, sound for its check.

use std::path::Path;

use crate::support::peer::{Peer, peer};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// A folder with two chains of images, `old ◄ middle ◄ top`, and `new`, where they differ from each other.
fn chains(img: &Peer, io: &Peer) -> tempfile::TempDir {
    let folder = folder();
    let run = |peer: &Peer, words: &[&str]| {
        let outcome = peer.command(words).folder(folder.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    };
    for name in ["ours", "theirs"] {
        let name = |part: &str| format!("{name}-{part}");
        let [old, new, middle, top] = ["old", "new", "middle", "top"].map(name);
        run(img, &["create", "-q", "-f", "raw", &old, "12M"]);
        run(io, &["-f", "raw", "-c", "write -P 1 0 6M", &old]);
        run(img, &["create", "-q", "-f", "qcow2", &new, "20M"]);
        run(io, &["-f", "qcow2", "-c", "write -P 1 0 3M", "-c", "write -P 9 4M 10M", &new]);
        run(img, &["create", "-q", "-f", "qcow2", "-b", &old, "-F", "raw", &middle]);
        run(io, &["-f", "qcow2", "-c", "write -P 2 1M 1M", "-c", "write -z 2M 512k", &middle]);
        run(
            img,
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                "cluster_size=4k",
                "-b",
                &middle,
                "-F",
                "qcow2",
                &top,
                "16M",
            ],
        );
        let writes = ["-c", "write -P 3 100k 9k", "-c", "write -z 5M 300k", "-c", "write -P 4 14M 1M"];
        run(io, &[&["-f", "qcow2"], &writes[..], &[&top]].concat());
    }
    folder
}

fn both(folder: &Path, img: &Peer, words: &[&str]) -> [Outcome; 2] {
    let named = |who: &str| words.iter().map(|word| word.replace("WHO", who)).collect::<Vec<_>>();
    let ours = [
        vec![words[0].to_owned(), "-q".to_owned(), "--allow-backing".to_owned()],
        named("ours")[1..].to_vec(),
    ];
    let ours = goldimg(ours.concat()).folder(folder).run();
    let theirs = [vec![words[0].to_owned(), "-q".to_owned()], named("theirs")[1..].to_vec()].concat();
    [ours, img.command(theirs).folder(folder).run()]
}

#[test]
fn what_an_image_reads_as_stays_or_goes_down_as_with_qemu_img() {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    let cases: [&[&[&str]]; 8] = [
        &[&["rebase", "-b", "WHO-new", "-F", "qcow2", "WHO-top"]],
        &[&["rebase", "-b", "WHO-old", "-F", "raw", "WHO-top"]],
        &[&["rebase", "-b", "", "WHO-top"]],
        &[&["rebase", "-u", "-b", "WHO-new", "-F", "qcow2", "WHO-top"]],
        &[&["commit", "WHO-top"]],
        &[&["commit", "-d", "WHO-top"]],
        &[&["commit", "WHO-top"], &["commit", "WHO-middle"]],
        &[&["commit", "-b", "WHO-old", "WHO-top"]],
    ];
    for case in cases {
        let folder = chains(&img, &io);
        for words in case {
            let [ours, theirs] = both(folder.path(), &img, words);
            assert_eq!((ours.code, theirs.code), (0, 0), "{}{}", ours.snapshot(), theirs.snapshot());
        }
        for part in ["top", "middle", "old", "new"] {
            let format = if part == "old" { "raw" } else { "qcow2" };
            let [one, other] = ["ours", "theirs"].map(|who| format!("{who}-{part}"));
            // Where QEMU writes zeroes out, they are only marked here.
            let strict = case[0][0] == "commit" && !case[0].contains(&"-b");
            let words = ["compare", "-f", format, "-F", format, &one, &other];
            let outcome =
                img.command(words.into_iter().chain(strict.then_some("-s"))).folder(folder.path()).run();
            assert_eq!(outcome.code, 0, "{case:?}: {}", outcome.snapshot());
            if format == "qcow2" {
                let outcome = img.command(["check", "-q", &one]).folder(folder.path()).run();
                assert_eq!(outcome.code, 0, "{case:?}: {}", outcome.snapshot());
            }
        }
    }
}

#[test]
fn amended_images_have_the_facts_of_those_that_qemu_img_amends() {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    for options in [
        &["compat=0.10"][..],
        &["compat=0.10", "compat=1.1", "lazy_refcounts=on", "lazy_refcounts=off"],
        &["refcount_bits=64", "refcount_bits=1", "refcount_bits=16"],
    ] {
        let folder = chains(&img, &io);
        for option in options {
            let [ours, theirs] = both(folder.path(), &img, &["amend", "-o", option, "WHO-top"]);
            assert_eq!((ours.code, theirs.code), (0, 0), "{}{}", ours.snapshot(), theirs.snapshot());
            let facts = ["ours", "theirs"].map(|who| {
                let words = ["info", "--output=json", &format!("{who}-top")].map(str::to_owned);
                let text = img.command(words).folder(folder.path()).run().stdout.replace(who, "WHO");
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                (
                    json["format-specific"].clone(),
                    json["backing-filename"].clone(),
                    json["virtual-size"].clone(),
                )
            });
            assert_eq!(facts[0], facts[1], "{option}");
            let outcome = img.command(["check", "-q", "ours-top"]).folder(folder.path()).run();
            assert_eq!(outcome.code, 0, "{option}: {}", outcome.snapshot());
            let words = ["compare", "-f", "qcow2", "-F", "qcow2", "ours-top", "theirs-top"];
            let outcome = img.command(words).folder(folder.path()).run();
            assert_eq!(outcome.code, 0, "{option}: {}", outcome.snapshot());
        }
    }
}

#[test]
fn a_file_that_an_image_names_is_not_written_unless_allowed() {
    let (Some(img), Some(io)) = (peer("qemu-img"), peer("qemu-io")) else { return };
    let folder = chains(&img, &io);
    let old = std::fs::read(folder.path().join("ours-middle")).unwrap();
    let outcome = goldimg(["commit", "ours-top"]).folder(folder.path()).run();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("hint: --allow-backing opens files"), "{}", outcome.snapshot());
    assert!(std::fs::read(folder.path().join("ours-middle")).unwrap() == old);
}
