//! Snapshots against copies of the disk; and what a crash at any moment leaves of an image while they change.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use proptest::prelude::*;

use super::super::tests::{Kind, SIZE, Step, apply, content, crash, faults, kinds, open, steps};
use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, ByteRange, MemoryDisk, ZeroMode};
use crate::qcow2::layout::COPIED;
use crate::qcow2::{Qcow2, Qcow2Writer, Version};

/// Something that is done to an image with snapshots.
#[derive(Debug, Clone)]
enum Act {
    Steps(Vec<Step>),
    Create,
    Apply(usize),
    Delete(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => steps().prop_map(|mut steps| {
            steps.truncate(6);
            Act::Steps(steps)
        }),
        3 => Just(Act::Create),
        1 => (0..4_usize).prop_map(Act::Apply),
        2 => (0..4_usize).prop_map(Act::Delete),
    ];
    prop::collection::vec(act, 2..12)
}

fn new_snapshot(name: &str) -> NewSnapshot {
    NewSnapshot { name: name.into(), date: (1_700_000_000, 5) }
}

/// The disk that the snapshot at `index` holds.
fn then(file: &Arc<MemoryDisk>, index: usize) -> Vec<u8> {
    let header = Header::read(&**file).unwrap();
    let (snapshots, _) = snapshot::list(&**file, &header).unwrap();
    let header = snapshots[index].header(&header).unwrap();
    content(&Qcow2::new(file.clone(), header, None, None).unwrap())
}

/// Does `act`; `false` where the image's refcounts are too narrow for it.
fn act_out(act: &Act, file: &Arc<MemoryDisk>, model: &mut Vec<u8>, saved: &mut Vec<Vec<u8>>) -> bool {
    let header = Header::read(&**file).unwrap();
    let done = match *act {
        Act::Steps(ref steps) => {
            let mut writer = open(file, None);
            for step in steps {
                // Version 2 does not record the sizes of snapshots, and so does not change them.
                if header.version == Version::V2 && matches!(step, Step::Resize(_)) {
                    continue;
                }
                apply(step, &writer, model);
                if matches!(step, Step::Reopen) {
                    writer.close().unwrap();
                    writer = open(file, None);
                }
            }
            writer.close().unwrap();
            return true;
        }
        Act::Create => {
            let done = create_snapshot(&**file, &header, new_snapshot("one"));
            if done.is_ok() {
                saved.push(model.clone());
            }
            done
        }
        Act::Apply(index) | Act::Delete(index) if index >= saved.len() => return true,
        Act::Apply(index) => {
            let done = apply_snapshot(&**file, &header, index);
            if done.is_ok() {
                model.clone_from(&saved[index]);
            }
            done
        }
        Act::Delete(index) => {
            let done = delete_snapshot(&**file, &header, index);
            if done.is_ok() {
                saved.remove(index);
            }
            done
        }
    };
    match done {
        Ok(now) => {
            assert_eq!(now, Header::read(&**file).unwrap(), "what is returned is what is there");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(format!("{error:?}").contains("wider ones are needed"), "{error:?}");
            assert_eq!(Header::read(&**file).unwrap(), header, "nothing has changed");
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn snapshots_hold_what_was_there(kind in kinds(), acts in acts()) {
        let file = kind.image(SIZE);
        let (mut model, mut saved) = (vec![0; SIZE as usize], Vec::new());
        for act in &acts {
            act_out(act, &file, &mut model, &mut saved);
            prop_assert_eq!(faults(&*file), (0, 0), "after {:?}", act);
            prop_assert!(content(&open(&file, None)) == model, "after {:?}", act);
            for (index, saved) in saved.iter().enumerate() {
                prop_assert!(then(&file, index) == *saved, "snapshot {} after {:?}", index, act);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_crash_leaves_what_was_before_or_what_is_after(
        kind in kinds(), acts in acts(), last in prop_oneof![
            Just(Act::Create), Just(Act::Apply(0)), Just(Act::Delete(0)), Just(Act::Delete(1))
        ], seed: u64,
    ) {
        let file = kind.image(SIZE);
        let (mut model, mut saved) = (vec![0; SIZE as usize], Vec::new());
        for act in &acts {
            act_out(act, &file, &mut model, &mut saved);
        }
        let (start, before, before_saved) = (file.to_bytes(), model.clone(), saved.clone());
        file.record();
        act_out(&last, &file, &mut model, &mut saved);
        let operations = file.operations();
        for cut in 0..=operations.len() {
            for lost in [None, Some(seed ^ cut as u64)] {
                let after = Arc::new(MemoryDisk::from_bytes(start.clone()));
                match lost {
                    // All before the cut arrived.
                    None => operations[..cut].iter().for_each(|operation| after.apply(operation).unwrap()),
                    Some(seed) => crash(&after, &operations, cut, seed),
                }
                prop_assert_eq!(faults(&*after).0, 0, "{:?} of {:?}", cut, operations.len());
                let now = content(&open(&after, None));
                let header = Header::read(&*after).unwrap();
                let (snapshots, _) = snapshot::list(&*after, &header).unwrap();
                let states = (0..snapshots.len()).map(|index| then(&after, index)).collect::<Vec<_>>();
                prop_assert!(
                    (now == before && states == before_saved) || (now == model && states == saved),
                    "neither before nor after: {} of {}", cut, operations.len()
                );
            }
        }
    }
}

const KIND: Kind = Kind { cluster_bits: 16, refcount_order: 4, extended: false, version: Version::V3 };

#[test]
fn ids_go_on_and_fields_are_kept() {
    let file = KIND.image(SIZE);
    let mut header = Header::read(&*file).unwrap();
    for name in ["a", "b", "c"] {
        header = create_snapshot(&*file, &header, new_snapshot(name)).unwrap();
    }
    header = delete_snapshot(&*file, &header, 1).unwrap();
    header = create_snapshot(&*file, &header, new_snapshot("b")).unwrap();
    let (snapshots, _) = snapshot::list(&*file, &header).unwrap();
    let names: Vec<_> =
        snapshots.iter().map(|snapshot| [snapshot.id.clone(), snapshot.name.clone()]).collect();
    assert_eq!(names, [[b"1", b"a"], [b"3", b"c"], [b"4", b"b"]].map(|pair| pair.map(|text| text.to_vec())));
    assert_eq!((snapshots[2].date, snapshots[2].disk_size), ((1_700_000_000, 5), Some(SIZE)));
    assert_eq!(snapshot::find(&snapshots, b"3").unwrap().name, b"c");
    assert_eq!(snapshot::find(&snapshots, b"b").unwrap().id, b"4");
    assert_eq!(snapshot::find(&snapshots, b"x"), None);
}

#[test]
fn going_back_gives_the_old_size_too() {
    let file = KIND.image(SIZE);
    let mut model = vec![0; SIZE as usize];
    let writer = open(&file, None);
    apply(&Step::Write(0, 200_000, 7), &writer, &mut model);
    writer.close().unwrap();
    let header = Header::read(&*file).unwrap();
    let header = create_snapshot(&*file, &header, new_snapshot("small")).unwrap();
    // The image grows: one L2 table is enough for both sizes.
    let mut bytes = file.to_bytes();
    bytes[24..32].copy_from_slice(&(SIZE * 2).to_be_bytes());
    let file = Arc::new(MemoryDisk::from_bytes(bytes));
    let header = Header { size: SIZE * 2, ..header };
    let header = apply_snapshot(&*file, &header, 0).unwrap();
    assert_eq!(header.size, SIZE);
    assert!(content(&open(&file, None)) == model);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn damaged_tables_are_refused_and_left_alone() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    writer.write_at(&[1; 65536], 0).unwrap();
    writer.close().unwrap();
    let header = Header::read(&*file).unwrap();
    let mut entry = [0; 8];
    file.read_at(&mut entry, header.l1.offset.0).unwrap();
    let l2 = u64::from_be_bytes(entry) & !COPIED;
    for bad in [
        header.l1.offset.0 | COPIED,
        header.refcount_table.offset.0 | COPIED,
        1 << 58,
        0x200,
        1 << 62 | COPIED,
    ] {
        file.write_at(&bad.to_be_bytes(), l2).unwrap();
        let before = file.to_bytes();
        let error = create_snapshot(&*file, &header, new_snapshot("x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad:#x}: {error:?}");
        assert!(file.to_bytes() == before, "{bad:#x}");
    }
}

#[test]
fn a_disk_that_is_full_keeps_what_it_has() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    writer.write_at(&[1; 300_000], 0).unwrap();
    writer.write_zeroes(ByteRange::new(0, 65536).unwrap(), ZeroMode::Punch).unwrap();
    writer.close().unwrap();
    let header = Header::read(&*file).unwrap();
    for allowed in 0..6 {
        file.fail_changes_after(allowed);
        assert!(create_snapshot(&*file, &header, new_snapshot("x")).is_err());
        file.fail_changes_after(u64::MAX);
        assert_eq!(Header::read(&*file).unwrap(), header);
        assert_eq!(faults(&*file), (0, 0));
    }
    let _: Qcow2Writer = open(&file, None);
}
