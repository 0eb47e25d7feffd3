//! One row: both programs, what they say and what they leave.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use image_core::block::{BlockRead, ByteRange, FileDisk};

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
    if row.words.contains("info ") {
        // What a filesystem has set aside for a file changes until the file is written out.
        [theirs.path(), ours.path()].into_iter().for_each(write_out);
    }
    for words in row.words.split(" && ") {
        let words = split(words);
        let run = |invocation: Invocation, folder: &Path| invocation.named(NAME).folder(folder).run();
        let their_outcome = run(prepared.img.command(&words), theirs.path());
        let our_outcome = run(our_program(&words, row.allowed), ours.path());
        let alike = shown(&their_outcome) == shown(&our_outcome);
        match row.differs {
            None if alike => {}
            None => return Err(both(&their_outcome, &our_outcome)),
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

fn our_program(words: &[String], allowed: bool) -> Invocation {
    match allowed {
        true => goldimg(words).env("GOLDIMG_ALLOW_BACKING", "anywhere"),
        false => goldimg(words),
    }
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

fn write_out(top: &Path) {
    for name in files(top).into_keys() {
        fs::File::open(top.join(name))
            .and_then(|file| file.sync_all())
            .expect("a file that can be written out");
    }
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
        if Bytes::of(&theirs) != Bytes::of(&ours) {
            images_alike(img, name, same_map, &theirs, &ours)?;
        }
    }
    Ok(())
}

/// The bytes of a file, which may be exabytes of holes.
#[derive(PartialEq, Eq)]
struct Bytes {
    size: u64,
    /// The blocks that are not all zero, by their offset.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Bytes {
    const BLOCK: u64 = 64 << 10;

    fn of(path: &Path) -> Self {
        let file = FileDisk::open(path).expect("a file");
        let (size, mut blocks) = (file.size(), BTreeMap::new());
        for extent in file.extents(ByteRange::whole(size)).expect("its holes").iter() {
            if extent.kind.reads_as_zero() {
                continue;
            }
            let first = extent.range.offset() / Self::BLOCK * Self::BLOCK;
            for offset in (first..extent.range.end()).step_by(Self::BLOCK as usize) {
                let mut block = vec![0; Self::BLOCK.min(size - offset) as usize];
                file.read_at(&mut block, offset).expect("its bytes");
                if block.iter().any(|&byte| byte != 0) {
                    blocks.insert(offset, block);
                }
            }
        }
        Self { size, blocks }
    }

    /// The first block that differs.
    fn differs(&self, other: &Self) -> Option<u64> {
        let offsets = self.blocks.keys().chain(other.blocks.keys()).copied();
        offsets.filter(|offset| self.blocks.get(offset) != other.blocks.get(offset)).min()
    }
}

fn is_qcow2(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"QFI\xfb"
}

/// Two images: what a guest reads, what it is mapped to, what a check says, and what they are.
fn images_alike(img: &Peer, name: &str, same_map: bool, theirs: &Path, ours: &Path) -> Result<(), String> {
    if !is_qcow2(theirs) || !is_qcow2(ours) {
        let (theirs, ours) = (Bytes::of(theirs), Bytes::of(ours));
        let at = theirs.differs(&ours);
        return Err(format!(
            "{name}: bytes differ, from {at:?} of {} (theirs), {} (ours)",
            theirs.size, ours.size
        ));
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
        let (mut theirs, mut ours) = (judged(words, theirs), judged(words, ours));
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
        let content = folder.join(".content");
        (outcome.code, outcome.stderr, content.exists().then(|| Bytes::of(&content)))
    };
    let (theirs, ours) = (content(theirs), content(ours));
    if theirs != ours {
        let at = theirs.2.as_ref().zip(ours.2.as_ref()).and_then(|(theirs, ours)| theirs.differs(ours));
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
