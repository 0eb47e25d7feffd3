//! Bitmaps against a model; what a crash leaves of them; and writes that they follow.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use proptest::prelude::*;

use super::super::compressed::tests::clusters_around;
use super::super::tests::{Kind, SIZE, Step, apply, content, crash, faults, kinds, open, steps};
use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, MemoryDisk, ZeroMode};

const KIND: Kind = Kind { cluster_bits: 12, refcount_order: 4, extended: false, version: Version::V3 };

fn add(name: &str, granularity_bits: u8) -> BitmapChange {
    BitmapChange::Add { name: name.into(), granularity_bits: Some(granularity_bits) }
}

fn change(file: &MemoryDisk, changes: &[BitmapChange]) -> Result<Header> {
    let header = Header::read(file).unwrap();
    let now = change_bitmaps(file, &header, changes)?;
    assert_eq!(now, Header::read(file).unwrap(), "what is returned is what is there");
    Ok(now)
}

/// Names, flags and what is marked, of each bitmap.
fn state(file: &dyn BlockRead) -> Vec<(Vec<u8>, u32, Vec<ByteRange>)> {
    let header = Header::read(file).unwrap();
    let bitmaps = bitmap::list(file, &header).unwrap();
    let bits = |bitmap: &Bitmap| Bits::read(file, &header, bitmap).unwrap().ranges();
    bitmaps.iter().map(|bitmap| (bitmap.name.clone(), bitmap.flags, bits(bitmap))).collect()
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

#[test]
fn bits_are_set_for_all_that_is_touched() {
    let file = KIND.image(SIZE + 512);
    let header = Header::read(&*file).unwrap();
    let mut bits = Bits::new(&header, 16).unwrap();
    assert_eq!(bits.len(), SIZE / 65536 + 1);
    for (start, end) in [(0, 1), (65_535, 65_537), (5 << 16, 21 << 16), (SIZE - 1, SIZE + 4096)] {
        bits.set(range(start, end));
    }
    assert_eq!(bits.ranges(), [range(0, 2 << 16), range(5 << 16, 21 << 16), range(SIZE - 65536, SIZE + 512)]);
    let mut fine = Bits::new(&header, 9).unwrap();
    fine.set(range(512, 1024));
    let mut merged = bits.clone();
    merged.merge(&fine).unwrap();
    assert_eq!(merged, bits);
    fine.merge(&bits).unwrap();
    assert_eq!(fine.ranges(), bits.ranges());
    let other = Bits::new(&Header { size: SIZE, ..header.clone() }, 9).unwrap();
    assert_eq!(fine.merge(&other).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Bits::new(&header, 8).is_err() && Bits::new(&header, 32).is_err());
    assert!(Bits::new(&Header { size: 1 << 42, ..header }, 9).is_err(), "a GiB of bits");
}

#[test]
fn changes_are_made_in_order_and_together() {
    let file = KIND.image(SIZE);
    let name = |name: &str| name.as_bytes().to_vec();
    change(&file, &[add("a", 16), add("b", 12), BitmapChange::Disable(name("b"))]).unwrap();
    assert_eq!(state(&*file), [(name("a"), BITMAP_AUTO, vec![]), (name("b"), 0, vec![])]);
    let writer = open(&file, None);
    writer.write_at(&[1; 100], 70_000).unwrap();
    writer.write_zeroes(range(1 << 20, (1 << 20) + 1), ZeroMode::Punch).unwrap();
    writer.close().unwrap();
    let written = vec![range(65536, 131_072), range(1 << 20, (1 << 20) + 65536)];
    assert_eq!(state(&*file), [(name("a"), BITMAP_AUTO, written.clone()), (name("b"), 0, vec![])]);
    let merge = BitmapChange::MergeOwn { name: name("b"), source: name("a") };
    change(&file, &[merge, BitmapChange::Clear(name("a")), BitmapChange::Enable(name("b"))]).unwrap();
    assert_eq!(state(&*file), [(name("a"), BITMAP_AUTO, vec![]), (name("b"), BITMAP_AUTO, written.clone())]);
    // All or nothing.
    let before = file.to_bytes();
    for (changes, rule) in [
        (vec![BitmapChange::Remove(name("a")), add("b", 16)], BitmapRule::Exists("b".into())),
        (vec![BitmapChange::Clear(name("x"))], BitmapRule::Missing("x".into())),
        (vec![add("", 16)], BitmapRule::NameLen(0)),
    ] {
        let error = change(&file, &changes).unwrap_err();
        assert_eq!(error.cause(), Some(&rule));
        assert!(file.to_bytes() == before);
    }
    change(&file, &[BitmapChange::Remove(name("a"))]).unwrap();
    assert_eq!(state(&*file), [(name("b"), BITMAP_AUTO, written)]);
    assert_eq!(faults(&*file), (0, 0));
    let header = change(&file, &[BitmapChange::Remove(name("b"))]).unwrap();
    assert!(header.bitmaps().is_none() && header.features.autoclear == 0);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn an_image_that_is_not_closed_has_bitmaps_that_nobody_believes() {
    let file = KIND.image(SIZE);
    change(&file, &[add("on", 16), add("off", 16), BitmapChange::Disable(b"off".to_vec())]).unwrap();
    let writer = open(&file, None);
    writer.write_at(&[1; 100], 0).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let flags: Vec<_> = state(&*file).into_iter().map(|(_, flags, _)| flags).collect();
    assert_eq!(flags, [BITMAP_AUTO | BITMAP_IN_USE, 0]);
    for refused in [BitmapChange::Clear(b"on".to_vec()), BitmapChange::Disable(b"on".to_vec())] {
        let error = change(&file, &[refused]).unwrap_err();
        assert_eq!(error.cause(), Some(&BitmapRule::Inconsistent("on".into())));
    }
    // Later writes do not make it right again.
    let writer = open(&file, None);
    writer.write_at(&[1; 100], 65536).unwrap();
    writer.close().unwrap();
    assert_eq!(state(&*file)[0].1, BITMAP_AUTO | BITMAP_IN_USE);
    change(&file, &[BitmapChange::Remove(b"on".to_vec())]).unwrap();
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn bitmaps_follow_the_size_of_the_disk() {
    let file = KIND.image(SIZE);
    change(&file, &[add("on", 9), add("off", 9), BitmapChange::Disable(b"off".to_vec())]).unwrap();
    let writer = open(&file, None);
    writer.resize(SIZE * 64).unwrap();
    writer.write_at(&[1; 512], SIZE * 63).unwrap();
    writer.write_at(&[1; 512], 0).unwrap();
    writer.close().unwrap();
    let ranges: Vec<_> = state(&*file).into_iter().map(|(_, flags, ranges)| (flags, ranges)).collect();
    let written = vec![range(0, 512), range(SIZE * 63, SIZE * 63 + 512)];
    assert_eq!(ranges, [(BITMAP_AUTO, written), (0, vec![])]);
    let writer = open(&file, None);
    writer.resize(SIZE).unwrap();
    writer.close().unwrap();
    assert_eq!(state(&*file)[0].2, [range(0, 512)]);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn what_is_cut_off_stays_unmarked_when_the_disk_grows_again() {
    // With and without a bitmap that follows writes: what is remembered of them is not all that changes.
    for others in [vec![], vec![BitmapChange::Disable(b"marked".to_vec())]] {
        let file = KIND.image(SIZE);
        change(&file, &[add("marked", 9)]).unwrap();
        let writer = open(&file, None);
        writer.write_at(&[1; 512], SIZE - 512).unwrap();
        writer.write_at(&[1; 512], 512).unwrap();
        writer.close().unwrap();
        change(&file, &others).unwrap();
        let writer = open(&file, None);
        writer.resize(SIZE / 2).unwrap();
        writer.resize(SIZE * 8).unwrap();
        writer.close().unwrap();
        assert_eq!(state(&*file)[0].2, [range(512, 1024)]);
        assert_eq!(faults(&*file), (0, 0));
    }
}

#[test]
fn bitmaps_are_copied_with_all_that_they_say() {
    let source = KIND.image(SIZE);
    change(&source, &[add("a", 9), add("b", 16), add("c", 12)]).unwrap();
    let writer = open(&source, None);
    writer.write_at(&[1; 5000], 100_000).unwrap();
    writer.close().unwrap();
    change(&source, &[BitmapChange::Disable(b"b".to_vec())]).unwrap();
    let header = Header::read(&*source).unwrap();
    let list = bitmap::list(&*source, &header).unwrap();
    let copy = |list: &[Bitmap], target: &MemoryDisk| {
        let to = Header::read(target).unwrap();
        copy_bitmaps((&*source, &header), list, target, to)
    };
    for cluster_bits in [9, 12, 16] {
        let target = Kind { cluster_bits, ..KIND }.image(SIZE);
        copy(&list, &target).unwrap();
        assert_eq!(state(&*target), state(&*source));
        assert_eq!(faults(&*target), (0, 0));
    }
    let smaller = KIND.image(SIZE / 2);
    assert_eq!(copy(&list, &smaller).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(state(&*smaller).is_empty());
    // Two names, one table.
    let shared = [list[0].clone(), Bitmap { name: b"again".to_vec(), ..list[0].clone() }];
    let target = KIND.image(SIZE);
    assert_eq!(copy(&shared, &target).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(state(&*target).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_is_marked_and_nothing_else(kind in kinds(), steps in steps(), granularity in 9..=20_u8) {
        prop_assume!(kind.version == Version::V3);
        let file = kind.image(SIZE);
        change(&file, &[add("a", granularity)]).unwrap();
        let mut model = vec![0; SIZE as usize];
        let mut expected = Bits::new(&Header::read(&*file).unwrap(), granularity).unwrap();
        let mut writer = open(&file, None);
        for step in &steps {
            let size = writer.size();
            match *step {
                Step::Write(at, len, _) => expected.set(range(at.min(size), (at + len as u64).min(size))),
                Step::Pack(at, len, _) => {
                    let clusters = clusters_around(at, len, kind.geometry().cluster_size(), size);
                    expected.set(range(clusters.start, clusters.end));
                }
                Step::Zero(at, len, _) => expected.set(range(at.min(size), (at + len).min(size))),
                Step::Resize(size) => expected.resize(size),
                Step::Reopen => {
                    writer.close().unwrap();
                    writer = open(&file, None);
                }
                Step::Flush => {}
            }
            apply(step, &writer, &mut model);
        }
        writer.close().unwrap();
        prop_assert_eq!(state(&*file)[0].2.clone(), expected.ranges());
        prop_assert_eq!(state(&*file)[0].1, BITMAP_AUTO);
        prop_assert_eq!(faults(&*file), (0, 0));
        prop_assert!(content(&open(&file, None)) == model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_crash_leaves_the_bitmaps_before_or_after(kind in kinds(), seed: u64, which in 0..4_usize) {
        prop_assume!(kind.version == Version::V3);
        let file = kind.image(SIZE);
        change(&file, &[add("a", 9), add("b", 16)]).unwrap();
        let writer = open(&file, None);
        writer.write_at(&[3; 5000], 100_000).unwrap();
        writer.close().unwrap();
        let (start, before) = (file.to_bytes(), state(&*file));
        file.record();
        let last = [
            BitmapChange::Clear(b"a".to_vec()),
            BitmapChange::Remove(b"a".to_vec()),
            add("c", 12),
            BitmapChange::MergeOwn { name: b"b".to_vec(), source: b"a".to_vec() },
        ];
        change(&file, &last[which..=which]).unwrap();
        let (after, operations) = (state(&*file), file.operations());
        for cut in 0..=operations.len() {
            for lost in [false, true] {
                let disk = Arc::new(MemoryDisk::from_bytes(start.clone()));
                match lost {
                    false => operations[..cut].iter().for_each(|operation| disk.apply(operation).unwrap()),
                    true => crash(&disk, &operations, cut, seed ^ cut as u64),
                }
                prop_assert_eq!(faults(&*disk).0, 0);
                let now = state(&*disk);
                prop_assert!(now == before || now == after, "{} of {}", cut, operations.len());
            }
        }
    }
}

#[test]
fn no_crash_leaves_a_bitmap_that_is_believed_and_does_not_know_what_was_written() {
    let file = KIND.image(SIZE);
    change(&file, &[add("a", 16)]).unwrap();
    // Allocated: what is written next goes to the file at once.
    let writer = open(&file, None);
    writer.write_at(&[1; 300_000], 0).unwrap();
    writer.close().unwrap();
    change(&file, &[BitmapChange::Clear(b"a".to_vec())]).unwrap();
    let (start, before) = (file.to_bytes(), content(&open(&file, None)));
    file.record();
    file.flush().unwrap();
    let writer = open(&file, None);
    writer.write_at(&[9; 100_000], 70_000).unwrap();
    writer.close().unwrap();
    let operations = file.operations();
    for cut in 0..=operations.len() {
        for seed in 0..16 {
            let disk = Arc::new(MemoryDisk::from_bytes(start.clone()));
            crash(&disk, &operations, cut, seed * 7919 + cut as u64);
            let Some((_, flags, ranges)) = state(&*disk).pop() else { continue };
            let changed = content(&open(&disk, None)) != before;
            assert!(!changed || flags & BITMAP_IN_USE != 0 || !ranges.is_empty(), "{cut}, {seed}");
        }
    }
}
