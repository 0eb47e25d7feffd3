//! Changes in place that are stopped at any moment: what was written until then is laid out as an image, with every prefix of the
//! writes, and any of those that no flush had made safe yet. Replayed by e2fsck, by the kernel and by our reader, it is the filesystem
//! as it was or as it is to be.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use image_core::block::{BlockWrite, MemoryDisk, Operation};
use image_core::fs::{Ext4Writer, Ownership, Refusal};

use super::operations::{TIME, act, any, content, disk, paths};
use super::witness::{Judge, ours, say};
use crate::support::folder;
use crate::support::peer::peer;
use crate::support::random::Random;

/// States of each stretch between two flushes of which only a part was written.
const PARTS: usize = 5;
/// Of so many states one is mounted by the kernel.
const MOUNTED: usize = 40;

/// What the reader tells of a filesystem, but for what e2fsck counts.
fn told(image: &Path) -> BTreeMap<String, String> {
    ours(image)
}

/// Holds the disk `bytes` against what was before and what is to be. Answers with whether it is the latter.
fn judge_state(
    judge: &Judge,
    image: &Path,
    bytes: &[u8],
    expected: [&BTreeMap<String, String>; 2],
    is_mounted: bool,
    when: &str,
) -> bool {
    std::fs::write(image, bytes).unwrap();
    let path = image.to_str().unwrap();
    let found = told(image);
    assert!(expected.contains(&&found), "{when}: our reader finds something between");
    if is_mounted {
        let theirs = judge.tell_image(image, "rw");
        let names = |lines: &BTreeMap<String, String>| lines.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(&found), "{when}: the kernel");
        std::fs::write(image, bytes).unwrap();
    }
    let e2fsck = peer("e2fsck").unwrap();
    let replayed = e2fsck.run(["-y", "-E", "journal_only", path]);
    assert!(replayed.code <= 1, "{when}: {}", replayed.snapshot());
    let clean = e2fsck.run(["-fn", path]);
    assert_eq!(clean.code, 0, "{when}: {}", clean.snapshot());
    let after = told(image);
    assert!(after == found, "{when}: e2fsck finds another filesystem than our reader");
    found == *expected[1]
}

/// The states that a disk of `before` may be in while `operations` are done.
fn states(before: &[u8], operations: &[Operation], random: &mut Random) -> Vec<(String, Vec<u8>)> {
    let mut states = Vec::new();
    let mut safe = before.to_vec();
    let apply = |bytes: &[u8], some: &[&Operation]| {
        let disk = MemoryDisk::from_bytes(bytes.to_vec());
        some.iter().for_each(|operation| disk.apply(operation).unwrap());
        disk.to_bytes()
    };
    let mut begin = 0;
    for (epoch, stretch) in operations.split_inclusive(|each| *each == Operation::Flush).enumerate() {
        let all: Vec<&Operation> = stretch.iter().filter(|each| **each != Operation::Flush).collect();
        // Each prefix of a short one, and some of a long one.
        let step = (all.len() / 24).max(1);
        for len in (0..=all.len()).step_by(step).chain([all.len()]) {
            states.push((
                format!("epoch {epoch}, write {} of {}", begin + len, operations.len()),
                apply(&safe, &all[..len]),
            ));
        }
        for _ in 0..PARTS {
            let some: Vec<&Operation> = all.iter().filter(|_| random.below(2) == 0).copied().collect();
            states.push((
                format!("epoch {epoch}, {} of {} writes", some.len(), all.len()),
                apply(&safe, &some),
            ));
        }
        safe = apply(&safe, &all);
        begin += stretch.len();
    }
    states.push(("all".into(), safe));
    states
}

/// Makes random changes to `image` while every write is recorded, and judges every state. Answers with how many there were.
fn kill(judge: &Judge, image: &Path, seed: u64, count: usize) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let before = std::fs::read(image).unwrap();
    let memory = Arc::new(MemoryDisk::from_bytes(before.clone()));
    memory.record();
    let mut files = Ext4Writer::open(Arc::clone(&memory) as Arc<dyn BlockWrite>, TIME).unwrap();
    let known = paths(&files);
    for _ in 0..count {
        let (path, what) = any(&mut random, &known, seed);
        if !path.is_empty() {
            let _ = act(&mut files, &path, &what);
        }
    }
    files.commit_journaled().unwrap();
    assert_eq!(files.files().check().unwrap(), []);
    let state = image.with_extension("state");
    std::fs::write(&state, &before).unwrap();
    let as_it_was = told(&state);
    std::fs::write(&state, memory.to_bytes()).unwrap();
    let as_it_is = told(&state);
    assert_ne!(as_it_was, as_it_is);
    let states = states(&before, &memory.operations(), &mut random);
    let mut done = Vec::new();
    for (index, (when, bytes)) in states.iter().enumerate() {
        let is_mounted = index % MOUNTED == 7;
        done.push(judge_state(judge, &state, bytes, [&as_it_was, &as_it_is], is_mounted, when));
    }
    // Both are seen, and never the former after the latter in whole prefixes.
    assert!(done.contains(&true) && done.contains(&false) && done.last() == Some(&true));
    std::fs::write(image, memory.to_bytes()).unwrap();
    states.len()
}

fn killed(combinations: &[&[&str]]) {
    let Some(judge) = Judge::find() else { return };
    for (seed, words) in (1..).zip(combinations) {
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "12M", words);
        judge.fill_image(&image, "rw", &["kinds"]);
        let count = kill(&judge, &image, seed, 40) + kill(&judge, &image, seed + 100, 12);
        say(count, &format!("states of a disk: {}", words.join(" ")));
        assert!(count > 60, "{count}");
    }
}

#[test]
fn ext4_changes_in_place_are_all_or_nothing() {
    killed(&[
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-b", "4096", "-N", "2048", "-J", "size=4"],
        &["-t", "ext4", "-b", "1024", "-O", "orphan_file,fast_commit,inline_data,ea_inode"],
    ]);
}

#[test]
#[ignore = "make test-filesystems runs it: it takes minutes"]
fn ext4_changes_in_place_without_checksums_are_all_or_nothing() {
    killed(&[
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit,uninit_bg"],
    ]);
}

/// A journal whose changes were not in their place yet is played first, and that too may stop at any moment.
#[test]
fn ext4_changes_in_place_of_a_waiting_journal_are_all_or_nothing() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
    judge.make(&image, "12M", &["-t", "ext4", "-b", "1024"]);
    let script = "import os,sys,subprocess\nos.chdir(sys.argv[1])\n\
                  for i in range(60): open(f'n{i}','w').write('kept')\n\
                  os.sync()\nfor i in range(0, 60, 2): os.unlink(f'n{i}')\n\
                  os.sync(); subprocess.run(['cp', sys.argv[2], sys.argv[3]], check=True)\n";
    let script_path = dir.path().join("script.py");
    std::fs::write(&script_path, script).unwrap();
    let run = format!("python3 {} $M {} {}", script_path.display(), image.display(), copy.display());
    judge.with_mount(&image, "rw,data=journal", &run);
    let count = kill(&judge, &copy, 9, 30);
    say(count, "states of a disk with a waiting journal");
}

#[test]
fn ext4_changes_that_do_not_fit_into_a_journal_are_refused_and_stay() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, "64M", &["-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "30000"]);
    let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
    let root = files.files().root().unwrap().number;
    for index in 0..8000 {
        let name = format!("{index}");
        files.create_file(root, name.as_bytes(), &Ownership::root(0o644, TIME)).unwrap();
    }
    let before = std::fs::read(&image).unwrap();
    let error = files.commit_journaled().unwrap_err();
    let Some(Refusal::JournalTooSmall { needed, room }) = error.cause() else { panic!("{error:?}") };
    assert!(needed > room && files.journal_room().unwrap() == Some(*room));
    assert!(before == std::fs::read(&image).unwrap(), "nothing was written");
    files.commit().unwrap();
    super::changed::assert_clean(&image, "written otherwise");
}

/// A large file goes through in pieces, and a small one into a large filesystem at once.
#[test]
fn ext4_a_file_of_4_kib_is_put_in_place_in_milliseconds() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, "2G", &["-t", "ext4"]);
    judge.with_mount(
        &image,
        "rw",
        "for d in $(seq 40); do mkdir $M/$d; (cd $M/$d; seq 500 | xargs touch); done",
    );
    let mut best = u128::MAX;
    for round in 0..5 {
        let started = Instant::now();
        let mut files = Ext4Writer::open(disk(&image), TIME).unwrap();
        let folder = files.files().resolve(b"7", false).unwrap().unwrap().number;
        let name = format!("new-{round}");
        let inode = files.create_file(folder, name.as_bytes(), &Ownership::root(0o600, TIME)).unwrap();
        files.write_range(inode, 0, &mut &content(7, 4096)[..]).unwrap();
        files.commit_journaled().unwrap();
        best = best.min(started.elapsed().as_micros());
    }
    super::changed::assert_clean(&image, "in place");
    say(best as usize, "microseconds, for one file of 4 KiB (not files)");
    assert!(best < 500_000, "{best} microseconds");
}
