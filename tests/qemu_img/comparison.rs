//! One row: both programs, what they say and what they leave.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Row;
use super::prepared::{Prepared, split};
use crate::support::folder;
use crate::support::goldimg;
use crate::support::peer::Peer;
use crate::support::program::{Invocation, Outcome};

/// Both are started under this name.
const NAME: &str = "qemu-img";

/// Runs a row; the error shows how it is not as expected.
pub(super) fn compare(prepared: &Prepared, row: &Row) -> Result<(), String> {
    let (theirs, ours) = (copy(prepared.path()), copy(prepared.path()));
    for words in row.words.split(" && ") {
        let words = split(words);
        let run = |invocation: Invocation, folder: &Path| invocation.named(NAME).folder(folder).run();
        let their_outcome = run(prepared.img.command(&words), theirs.path());
        let our_outcome = run(goldimg(&words), ours.path());
        let alike = shown(&their_outcome) == shown(&our_outcome);
        match row.differs {
            None if alike => {}
            None => return Err(both(&their_outcome, &our_outcome)),
            Some((stderr, _)) if row.only_words => {
                let rest_alike =
                    their_outcome.code == our_outcome.code && their_outcome.stdout == our_outcome.stdout;
                if !rest_alike || our_outcome.stderr != stderr || alike {
                    return Err(format!("not as expected:\n{}", both(&their_outcome, &our_outcome)));
                }
            }
            Some((stderr, code)) => {
                let expected = our_outcome.stderr == stderr && our_outcome.code == code;
                return match expected && !alike {
                    true => Ok(()),
                    false => Err(format!("not as expected:\n{}", both(&their_outcome, &our_outcome))),
                };
            }
        }
    }
    let before = files(prepared.path());
    files_alike(&prepared.img, !row.other_map, &before, theirs.path(), ours.path())
        .map_err(|difference| format!("$ {NAME} {}\n{difference}\n", row.words))
}

/// All that a run said. Of progress only the last state is compared: how often it is told depends on the steps that
/// work is done in.
fn shown(outcome: &Outcome) -> (i32, String, &str) {
    let told = |line: &str| line.rsplit('\r').find(|state| !state.is_empty()).unwrap_or_default().to_owned();
    let lines: Vec<String> = outcome.stdout.split('\n').map(told).collect();
    (outcome.code, lines.join("\n"), &outcome.stderr)
}

fn both(theirs: &Outcome, ours: &Outcome) -> String {
    format!("THEIRS {}OURS   {}", theirs.snapshot(), ours.snapshot())
}

/// A copy with the holes, the times and the rights of all that is in it.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = folder();
    let source = from.join(".");
    let status =
        std::process::Command::new("cp").args(["-a", "--sparse=auto"]).arg(source).arg(to.path()).status();
    assert!(status.expect("cp runs").success());
    to
}

/// What tells a file from an untouched one.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

/// The files beneath a folder, by their path in it.
fn files(top: &Path) -> BTreeMap<String, Stamp> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("a file");
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(top).expect("beneath").to_string_lossy().into_owned();
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            found.insert(name, Stamp { size: metadata.size(), modified, mode: metadata.mode() });
        }
    }
    found
}

/// The same files, and the same in those that either run touched.
fn files_alike(
    img: &Peer,
    same_map: bool,
    before: &BTreeMap<String, Stamp>,
    theirs: &Path,
    ours: &Path,
) -> Result<(), String> {
    let (their_files, our_files) = (files(theirs), files(ours));
    let (their_names, our_names) = (their_files.keys(), our_files.keys());
    if !their_names.clone().eq(our_names.clone()) {
        let (theirs, ours): (Vec<_>, Vec<_>) = (their_names.collect(), our_names.collect());
        return Err(format!("files: THEIRS {theirs:?}\n        OURS  {ours:?}"));
    }
    for (name, stamp) in &their_files {
        let untouched = Some(stamp) == before.get(name) && our_files.get(name) == before.get(name);
        if untouched {
            continue;
        }
        if our_files[name].mode != stamp.mode {
            return Err(format!("{name}: mode THEIRS {:o} OURS {:o}", stamp.mode, our_files[name].mode));
        }
        let (theirs, ours) = (theirs.join(name), ours.join(name));
        let (their_bytes, our_bytes) = (read(&theirs), read(&ours));
        if their_bytes != our_bytes {
            images_alike(img, name, same_map, (&theirs, &their_bytes), (&ours, &our_bytes))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("a file")
}

/// Two images: what a guest reads, what it is mapped to, what a check says, and what they are.
fn images_alike(
    img: &Peer,
    name: &str,
    same_map: bool,
    theirs: (&Path, &[u8]),
    ours: (&Path, &[u8]),
) -> Result<(), String> {
    let is_qcow2 = |bytes: &[u8]| bytes.starts_with(b"QFI\xfb");
    if !is_qcow2(theirs.1) || !is_qcow2(ours.1) {
        let at = theirs.1.iter().zip(ours.1).position(|(one, other)| one != other);
        let (theirs, ours) = (theirs.1.len(), ours.1.len());
        return Err(format!("{name}: bytes differ, at {at:?} of {theirs} (theirs), {ours} (ours)"));
    }
    let judged = |words: &[&str], path: &Path| {
        let folder = path.parent().expect("a file's folder");
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let words = words.iter().map(|word| (*word).to_owned()).chain([file]);
        let outcome = img.command(words.collect::<Vec<_>>()).folder(folder).run();
        (outcome.code, normal(&outcome.stdout), outcome.stderr)
    };
    for words in [
        &["map", "-U", "--output=json"][..],
        &["check", "-U", "--output=json"],
        &["info", "-U", "--output=json"],
    ] {
        let (mut theirs, mut ours) = (judged(words, theirs.0), judged(words, ours.0));
        if !same_map && words[0] != "info" {
            // How much is allocated differs with the map; what a check says of it is alike.
            (theirs.1, ours.1) = (serde_json::Value::Null, serde_json::Value::Null);
        }
        if theirs != ours {
            return Err(format!("{name}: {}\nTHEIRS {theirs:#?}\nOURS {ours:#?}", words[0]));
        }
    }
    // Each from its own folder: a data file is looked for there.
    let content = |path: &Path| {
        let folder = path.parent().expect("a file's folder");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let outcome = img.command(["convert", "-U", "-O", "raw", &name, ".content"]).folder(folder).run();
        (outcome.code, outcome.stderr, fs::read(folder.join(".content")).unwrap_or_default())
    };
    let (theirs, ours) = (content(theirs.0), content(ours.0));
    if theirs != ours {
        let at = theirs.2.iter().zip(&ours.2).position(|(one, other)| one != other);
        return Err(format!(
            "{name}: content differs at {at:?}: {} {}, {} {}",
            theirs.0, theirs.1, ours.0, ours.1
        ));
    }
    Ok(())
}

/// Without what two sound images of one content may differ in: where clusters lie in the file, how long it is for that
/// reason, and when a snapshot was made.
fn normal(json: &str) -> serde_json::Value {
    let mut value = serde_json::from_str(json).unwrap_or(serde_json::Value::String(json.to_owned()));
    forget(&mut value);
    value
}

fn forget(value: &mut serde_json::Value) {
    const FREE: [&str; 6] =
        ["offset", "actual-size", "image-end-offset", "fragmented-clusters", "date-sec", "date-nsec"];
    match value {
        serde_json::Value::Object(object) => {
            let is_file = object.get("format").is_some_and(|format| format == "file");
            object.retain(|key, _| !(FREE.contains(&key.as_str()) || is_file && key == "virtual-size"));
            object.values_mut().for_each(forget);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}
