//! What is said with `--quiet`: errors, and the data that was asked for; no table of what the exit code tells.

use std::fs;
use std::path::Path;

use super::subcommands;
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg, project};

/// Subcommands that answer with data, and a call of each.
const DATA: &[&[&str]] = &[
    &["bitmap", "sound.qcow2"],
    &["cache", "list", "--json", "--cache-dir", "none"],
    &["cat", "system.raw", "/etc/passwd"],
    &["completions", "bash"],
    &["convert", "--force", "--hash", "sha256", "sound.qcow2", "copy.raw"],
    &["find", "system.raw", "/etc"],
    &["info", "sound.qcow2"],
    &["inspect", "system.raw"],
    &["ls", "-l", "system.raw"],
    &["map", "sound.qcow2"],
    &["measure", "sound.qcow2"],
    &["plan", "minimal.toml"],
    &["schema"],
    &["snapshot", "sound.qcow2"],
    &["stat", "system.raw", "/etc"],
    &["tar-out", "system.raw", "-"],
    &["upload", "--plan", "--audit", "off", "--cloud", "one", "new.qcow2"],
];

/// Subcommands whose exit code is the answer: a call of each, the code, and what is said of an error.
const VERDICTS: &[(&[&str], i32, &str)] = &[
    (&["audit", "sound.qcow2"], 1, "error: sound.qcow2: "),
    (&["check", "sound.qcow2"], 0, ""),
    (&["check", "leaking.qcow2"], 3, ""),
    (&["check", "-r", "leaks", "repaired.qcow2"], 0, ""),
    (&["check-recipe", "minimal.toml"], 0, ""),
    (&["check-recipe", "wrong.toml"], 64, "error: "),
    (&["compare", "sound.qcow2", "leaking.qcow2"], 0, ""),
    (&["compare", "sound.qcow2", "other.raw"], 1, ""),
];

/// Subcommands that change something and have nothing to say.
const DEEDS: &[&[&str]] = &[
    &["amend", "-o", "lazy_refcounts=on", "new.qcow2"],
    &["chmod", "system.raw", "600", "/etc/passwd"],
    &["chown", "system.raw", "1:1", "/etc/passwd"],
    &["commit", "--allow-backing", "over.qcow2"],
    &["convert", "--force", "sound.qcow2", "copy.raw"],
    &["copy-in", "system.raw", "minimal.toml", "/etc"],
    &["copy-out", "system.raw", "/etc/passwd", "."],
    &["create", "--force", "new.qcow2", "1M"],
    &["dd", "if=sound.qcow2", "of=dd.raw", "count=1"],
    &["edit", "system.raw", "/etc/passwd", "-e", "s/root/toor/"],
    &["ln", "system.raw", "/etc/passwd", "/link"],
    &["mkdir", "system.raw", "/opt", "/srv2"],
    &["mv", "system.raw", "/link", "/opt"],
    &["rebase", "--allow-backing", "-b", "", "over.qcow2"],
    &["resize", "new.qcow2", "2M"],
    &["rm", "-r", "system.raw", "/opt"],
    &["script", "system.raw", "changes"],
    &["sparsify", "--in-place", "system.raw"],
    &["tar-in", "system.raw", "tree.tar", "/srv2"],
    &["touch", "system.raw", "/new"],
    &["truncate", "-s", "1K", "system.raw", "/new"],
    &["write", "--content", "x", "system.raw", "/new"],
];

/// Those that other tests call with `--quiet`, since they need more than a folder; and one that tells what it measures,
/// which is never the same twice.
const ELSEWHERE: &[&str] = &["bench", "build", "customize", "diff", "images", "seal", "test"];

/// Images that are sound and others, recipes, and a cloud that is never called.
fn prepare(folder: &Path) {
    let path = |name: &str| folder.join(name);
    let must = |words: &[&str]| {
        let outcome = goldimg(words).folder(folder).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    };
    must(&["create", "sound.qcow2", "1M"]);
    must(&["snapshot", "-c", "first", "sound.qcow2"]);
    must(&["bitmap", "--add", "sound.qcow2", "b"]);
    must(&["create", "new.qcow2", "1M"]);
    fs::create_dir_all(path("tree/etc")).expect("room");
    fs::write(path("tree/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("room");
    fs::write(path("changes"), "mkdir /srv\nrm -r /srv\n").expect("room");
    let mke2fs = peer("mke2fs").expect("mke2fs makes the image of a system");
    let made = mke2fs.command(["-q", "-t", "ext4", "-d", "tree", "system.raw", "16M"]).folder(folder).run();
    assert_eq!(made.code, 0, "{}", made.snapshot());
    must(&["tar-out", "system.raw", "/etc", "tree.tar"]);
    must(&["create", "-b", "new.qcow2", "over.qcow2"]);
    must(&["create", "leaking.qcow2", "1M"]);
    // Cluster 100 is counted, by an entry of 16 bits in the first block of refcounts, and used by nobody.
    let mut image = fs::read(path("leaking.qcow2")).expect("an image");
    let number = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().expect("eight bytes")) as usize;
    let block = number(number(48));
    image[block + 2 * 100 + 1] = 1;
    image.resize(101 * 65_536, 0);
    for name in ["leaking.qcow2", "repaired.qcow2"] {
        fs::write(path(name), &image).expect("room");
    }
    fs::write(path("other.raw"), [1; 512]).expect("room");
    fs::copy(project().join("recipes/minimal.toml"), path("minimal.toml")).expect("a recipe");
    fs::write(path("wrong.toml"), "name = 1\n").expect("room");
    let cloud = "clouds: {one: {auth: {auth_url: 'http://127.0.0.1:1/v3', token: x, project_id: y}, \
                 auth_type: token, image_endpoint_override: 'http://127.0.0.1:1'}}";
    fs::write(path("clouds.yaml"), cloud).expect("room");
}

/// An upload has a name while it is under way that no other one has.
fn without_names(text: &str) -> String {
    let mut parts = text.split("being uploaded ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

fn run(folder: &Path, words: &[&str], more: &[&str]) -> Outcome {
    goldimg(words.iter().chain(more)).folder(folder).env("HOME", folder).run()
}

#[test]
fn data_is_said_and_verdicts_and_deeds_are_not() {
    let folder = folder();
    let folder = folder.path();
    prepare(folder);
    for words in DATA {
        let (aloud, quiet) = (run(folder, words, &[]), run(folder, words, &["-q"]));
        let said = without_names(&quiet.stdout);
        assert_eq!((quiet.code, said), (0, without_names(&aloud.stdout)), "{}", quiet.snapshot());
        assert!(!quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{}", quiet.snapshot());
    }
    for (words, code, said) in VERDICTS {
        let quiet = run(folder, words, &["-q"]);
        assert_eq!((quiet.code, quiet.stdout.as_str()), (*code, ""), "{}", quiet.snapshot());
        assert_eq!(quiet.stderr.is_empty(), said.is_empty(), "{}", quiet.snapshot());
        assert!(quiet.stderr.starts_with(said), "{}", quiet.snapshot());
        // Only a progress bar is not wanted.
        let aloud = run(folder, words, &["--progress", "none"]);
        assert!(!aloud.stdout.is_empty(), "{}", aloud.snapshot());
    }
    for words in DEEDS {
        let quiet = run(folder, words, &["-q"]);
        let said = (quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str());
        assert_eq!(said, (0, "", ""), "{}", quiet.snapshot());
    }
}

#[test]
fn what_each_subcommand_says_is_decided() {
    let first = |words: &&[&'static str]| words[0];
    let mut decided: Vec<&str> = DATA.iter().chain(DEEDS).map(first).collect();
    decided.extend(VERDICTS.iter().map(|(words, ..)| words[0]).chain(ELSEWHERE.iter().copied()));
    let missing: Vec<String> =
        subcommands().into_iter().filter(|name| !decided.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "with --quiet, do they answer with data? {missing:?}");
}
