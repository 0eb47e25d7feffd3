//! Changes in place that are stopped at any moment: what was written until then is laid out as an image, with every prefix of the
//! writes, and any of those that no flush had made safe yet. Whoever reads it finds the former files or these, and fsck.fat nothing but
//! clusters that are lost.

use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, MemoryDisk, Operation};
use image_core::fs::FatWriter;

use super::model::{Act, Model, TIME, act, any, content};
use super::{Judge, Tree, is_small, ours, say};
use crate::support::folder;
use crate::support::random::Random;

/// States of each stretch between two flushes of which only a part was written.
const PARTS: usize = 4;
/// Of so many states one is read by mtools.
const READ: usize = 12;

/// Shows `each` the states that a disk of `before` may be in while `operations` are done; the last one is that with all of them.
fn each_state(
    before: &[u8],
    operations: &[Operation],
    random: &mut Random,
    each: &mut dyn FnMut(&str, &MemoryDisk),
) {
    let apply = |bytes: &MemoryDisk, some: &[&Operation]| {
        let disk = MemoryDisk::from_bytes(bytes.to_bytes());
        some.iter().for_each(|operation| disk.apply(operation).unwrap());
        disk
    };
    let mut safe = MemoryDisk::from_bytes(before.to_vec());
    let mut begin = 0;
    for (epoch, stretch) in operations.split_inclusive(|each| *each == Operation::Flush).enumerate() {
        let all: Vec<&Operation> = stretch.iter().filter(|each| **each != Operation::Flush).collect();
        for _ in 0..if all.len() > 1 { PARTS } else { 0 } {
            let some: Vec<&Operation> = all.iter().filter(|_| random.below(2) == 0).copied().collect();
            let when = format!("epoch {epoch}, {} of {} writes", some.len(), all.len());
            each(&when, &apply(&safe, &some));
        }
        // Content is read by nobody yet: of long stretches some are enough.
        let step = (all.len() / 30).max(1);
        for len in (0..all.len()).step_by(step).chain([all.len()]) {
            let when = format!("epoch {epoch}, write {} of {}", begin + len, operations.len());
            each(&when, &apply(&safe, &all[..len]));
        }
        safe = apply(&safe, &all);
        begin += stretch.len();
    }
}

/// Does `acts` while every write is recorded, and judges every state. Answers with how many there were.
fn kill(judge: &Judge, image: &std::path::Path, acts: &[Act], random: &mut Random) -> usize {
    let before = std::fs::read(image).unwrap();
    let memory = Arc::new(MemoryDisk::from_bytes(before.clone()));
    memory.record();
    let mut files = FatWriter::open(Arc::clone(&memory) as Arc<dyn BlockWrite>, TIME).unwrap();
    let as_it_was = ours(Arc::clone(&memory) as Arc<dyn BlockRead>).unwrap();
    let mut model = Model::of(as_it_was.clone());
    for what in acts {
        let done = act(&mut files, what);
        model.hold(what, &done);
    }
    files.commit().unwrap();
    let as_it_is: Tree = model.tree;
    let state = image.with_extension("state");
    let mut done = Vec::new();
    each_state(&before, &memory.operations(), random, &mut |when, disk| {
        let bytes = disk.to_bytes();
        let disk = Arc::new(MemoryDisk::from_bytes(bytes.clone()));
        let found = ours(Arc::clone(&disk) as Arc<dyn BlockRead>).unwrap();
        assert!(found == as_it_was || found == as_it_is, "{when}: something between, after {acts:?}");
        std::fs::write(&state, &bytes).unwrap();
        judge.assert_only_lost(&state, when);
        if done.len() % READ == 7 && !is_small(&bytes) {
            assert!(judge.theirs(&state) == found, "{when}: mtools");
        }
        // What is left can be changed again.
        let again = FatWriter::open(disk as Arc<dyn BlockWrite>, TIME);
        assert!(again.is_ok(), "{when}: {:?}", again.err());
        done.push(found == as_it_is);
    });
    // Some acts change nothing.
    assert!(done.last().is_none_or(|is_done| *is_done) && (!done.is_empty() || as_it_was == as_it_is));
    std::fs::write(image, memory.to_bytes()).unwrap();
    judge.assert_clean(image, "at the end");
    done.len()
}

/// Random rows of operations beneath `top`, on a FAT that is made with `words`.
fn killed(words: &[&str], size: u64, top: &str, seed: u64) {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, size, words);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut count = 0;
    for row in [1, 30, 2, 1, 8, 1, 3] {
        let disk = Arc::new(MemoryDisk::from_bytes(std::fs::read(&image).unwrap()));
        // The same acts are done on a disk that is thrown away, for the model to know them.
        let mut model = Model::of(ours(Arc::clone(&disk) as Arc<dyn BlockRead>).unwrap());
        let mut files = FatWriter::open(disk, TIME).unwrap();
        let mut acts = Vec::new();
        while acts.len() < row {
            let what = any(&mut random, &model, top);
            let done = act(&mut files, &what);
            model.hold(&what, &done);
            if done.is_ok() {
                acts.push(what);
            }
        }
        drop(files);
        count += kill(&judge, &image, &acts, &mut random);
    }
    say(count, &format!("states of a disk: {}", words.join(" ")));
    assert!(count > 100, "{count}");
}

#[test]
fn fat32_changes_in_place_are_all_or_nothing() {
    killed(&["-F", "32", "-s", "1"], 34 << 20, "", 1);
    killed(&["-F", "32", "-s", "1"], 2 << 20, "", 2);
    killed(&["-F", "32", "-s", "4", "-f", "1"], 4 << 20, "", 3);
    killed(&["-F", "32", "-S", "4096", "-s", "1"], 8 << 20, "", 7);
}

#[test]
fn fat12_and_fat16_changes_in_place_beneath_the_root_directory_are_all_or_nothing() {
    killed(&["-F", "12", "-s", "1"], 1_474_560, "EFI", 4);
    killed(&["-F", "16", "-s", "1"], 5 << 20, "EFI", 5);
    killed(&["-F", "16", "-s", "2", "-f", "1"], 5 << 20, "EFI", 6);
}

/// One sector of one directory is written, and nothing else that anybody finds.
#[test]
fn fat_one_file_put_in_place_of_another_is_one_sector() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, 5 << 20, &["-F", "16", "-s", "1"]);
    let before = std::fs::read(&image).unwrap();
    let memory = Arc::new(MemoryDisk::from_bytes(before.clone()));
    let mut files = FatWriter::open(Arc::clone(&memory) as Arc<dyn BlockWrite>, TIME).unwrap();
    memory.record();
    let path = "EFI/BOOT/grubx64.efi".to_owned();
    act(&mut files, &Act::Replace { path, bytes: content(3, 30_000) }).unwrap();
    files.commit().unwrap();
    let flushes: Vec<usize> = {
        let operations = memory.operations();
        operations.split(|each| *each == Operation::Flush).map(<[Operation]>::len).collect()
    };
    // Content and two tables; the sector; two tables.
    assert_eq!(flushes, [3, 1, 2, 0]);
}

/// Nothing leads to the root directory of a FAT16 but its place: each file is the former one or the new one.
#[test]
fn fat16_changes_in_many_sectors_of_the_root_directory_are_made_one_after_the_other() {
    let Some(judge) = Judge::find() else { return };
    let dir = folder();
    let image = dir.path().join("image");
    judge.make(&image, 5 << 20, &["-F", "16", "-s", "1"]);
    let name = |index: usize| format!("a name that takes four entries, {index:02}");
    let mut random = Random(7);
    let mut acts = Vec::new();
    for index in 0..30 {
        acts.push(Act::Make(name(index)));
        acts.push(Act::Replace { path: name(index), bytes: content(index, 700) });
    }
    kill_loosely(&judge, &image, &acts, &mut random);
    acts = (0..30).step_by(2).map(|index| Act::Remove(name(index))).collect();
    acts.extend(
        (1..30).step_by(2).map(|index| Act::Replace { path: name(index), bytes: content(index, 900) }),
    );
    acts.push(Act::Rename("EFI/debian".into(), "EFI/BOOT/debian".into()));
    kill_loosely(&judge, &image, &acts, &mut random);
}

/// As [`kill`], where some files may be the former ones and others the new ones.
fn kill_loosely(judge: &Judge, image: &std::path::Path, acts: &[Act], random: &mut Random) {
    let before = std::fs::read(image).unwrap();
    let memory = Arc::new(MemoryDisk::from_bytes(before.clone()));
    memory.record();
    let old = ours(Arc::clone(&memory) as Arc<dyn BlockRead>).unwrap();
    let mut files = FatWriter::open(Arc::clone(&memory) as Arc<dyn BlockWrite>, TIME).unwrap();
    acts.iter().for_each(|what| act(&mut files, what).unwrap());
    files.commit().unwrap();
    let new = ours(Arc::clone(&memory) as Arc<dyn BlockRead>).unwrap();
    let mut between = 0;
    each_state(&before, &memory.operations(), random, &mut |when, disk| {
        let found = ours(Arc::new(MemoryDisk::from_bytes(disk.to_bytes()))).unwrap();
        for path in found.keys().chain(old.keys()).chain(new.keys()) {
            let own = found.get(path);
            assert!(own == old.get(path) || own == new.get(path), "{when}: {path}");
        }
        between += usize::from(found != old && found != new);
    });
    assert!(between > 0, "it took several sectors");
    std::fs::write(image, memory.to_bytes()).unwrap();
    judge.assert_clean(image, "at the end");
}
