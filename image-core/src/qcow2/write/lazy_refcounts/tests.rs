//! Counts that wait: what is on disk meanwhile, and what a crash at any moment leaves.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use super::super::super::layout;
use super::super::tests::{Kind, SIZE, Step, apply, content, faults, for_each_crash, make_lazy, open};
use super::super::{
    Amendment, BitmapChange, NewSnapshot, amend, change_backing_file, change_bitmaps, create_snapshot,
};
use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, FileDisk, MemoryDisk, Operation, ZeroMode};
use crate::qcow2::Version;

const KIND: Kind = Kind { cluster_bits: 16, refcount_order: 4, extended: false, version: Version::V3 };

fn lazy(kind: Kind) -> Arc<MemoryDisk> {
    let file = kind.image(SIZE);
    make_lazy(&file);
    file
}

/// What changes metadata.
type Change = fn(&Arc<MemoryDisk>, &Header) -> Result<Header>;

/// Whether any of `operations` writes into `place`.
fn writes_into(operations: &[Operation], place: std::ops::Range<u64>) -> bool {
    operations.iter().any(|operation| match operation {
        Operation::Write { offset, .. } => place.contains(offset),
        _ => false,
    })
}

#[test]
fn counts_are_written_when_the_image_is_closed_and_not_before() {
    let file = lazy(KIND);
    let header = Header::read(&*file).unwrap();
    let mut entry = [0; 8];
    file.read_at(&mut entry, header.refcount_table.offset.0).unwrap();
    let block = u64::from_be_bytes(entry);
    let block = block..block + 65_536;
    file.record();
    let writer = open(&file, None);
    let mut model = vec![0; SIZE as usize];
    // What changes no count needs no mark.
    writer.flush().unwrap();
    assert!(!Header::read(&*file).unwrap().is_dirty());
    for number in 0..8 {
        apply(&Step::Write(number * 150_000, 70_000, number as u8 + 1), &writer, &mut model);
        writer.flush().unwrap();
        assert!(Header::read(&*file).unwrap().is_dirty());
    }
    apply(&Step::Resize(SIZE / 2), &writer, &mut model);
    assert!(!writes_into(&file.operations(), block.clone()));
    let marks = |operation: &&Operation| match operation {
        Operation::Write { offset, .. } => *offset == layout::INCOMPATIBLE_FEATURES_OFFSET,
        _ => false,
    };
    assert_eq!(file.operations().iter().filter(marks).count(), 1, "it is marked once");
    writer.close().unwrap();
    assert!(writes_into(&file.operations(), block));
    assert!(!Header::read(&*file).unwrap().is_dirty());
    assert_eq!(faults(&*file), (0, 0));
    assert!(content(&open(&file, None)) == model);
}

#[test]
fn every_prefix_of_what_is_written_is_repaired_when_it_is_opened() {
    for (cluster_bits, refcount_order, extended) in
        [(9, 6, false), (12, 0, false), (14, 4, true), (16, 4, false)]
    {
        let file = lazy(Kind { cluster_bits, refcount_order, extended, version: Version::V3 });
        let start = file.to_bytes();
        file.record();
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        // How many operations there were when the content was flushed.
        let mut flushed = vec![(0, model.clone())];
        for number in 0..10_u64 {
            apply(&Step::Write(number * 110_592, 9000, number as u8 + 1), &writer, &mut model);
            apply(&Step::Zero(number * 55_296, 30_000, ZeroMode::Punch), &writer, &mut model);
            if number % 5 == 4 {
                let size = if number == 4 { SIZE / 2 } else { 3 * SIZE };
                apply(&Step::Resize(size), &writer, &mut model);
            }
            writer.flush().unwrap();
            flushed.push((file.operations().len(), model.clone()));
        }
        writer.close().unwrap();
        let operations = file.operations();
        let mut dirty = 0;
        for_each_crash(&start, &operations, 77, |after, cut| {
            let was_dirty = Header::read(&**after).unwrap().is_dirty();
            dirty += usize::from(was_dirty);
            let writer = open(after, None);
            assert!(!Header::read(&**after).unwrap().is_dirty());
            if was_dirty {
                assert_eq!(faults(&**after), (0, 0), "{cut} of {}", operations.len());
            } else {
                assert_eq!(faults(&**after).0, 0, "{cut} of {}", operations.len());
            }
            if let Some((_, then)) = flushed.iter().find(|(end, _)| *end == cut) {
                assert!(content(&writer) == *then, "{cut} of {}", operations.len());
            }
        });
        assert!(dirty > operations.len(), "{dirty} of {}", operations.len());
    }
}

#[test]
fn who_changes_metadata_repairs_first() {
    let dirty = || {
        let file = lazy(KIND);
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        apply(&Step::Write(1000, 500_000, 9), &writer, &mut model);
        writer.flush().unwrap();
        drop(writer);
        let header = Header::read(&*file).unwrap();
        assert!(header.is_dirty());
        (file, header, model)
    };
    let changes: [Change; 4] = [
        |file, header| create_snapshot(&**file, header, NewSnapshot { name: b"x".to_vec(), date: (0, 0) }),
        |file, header| {
            let add = BitmapChange::Add { name: b"x".to_vec(), granularity_bits: None };
            change_bitmaps(&**file, header, &[add])
        },
        |file, header| {
            let disk: Arc<dyn BlockWrite> = file.clone();
            amend(&disk, header, Amendment { refcount_bits: Some(64), ..Amendment::default() })
        },
        |file, header| change_backing_file(&**file, header, None),
    ];
    for change in changes {
        let (file, header, model) = dirty();
        let now = change(&file, &header).unwrap();
        assert!(!now.is_dirty());
        assert_eq!(now, Header::read(&*file).unwrap());
        assert_eq!(faults(&*file), (0, 0));
        assert!(content(&open(&file, None)) == model);
    }
}

#[test]
fn damage_beside_wrong_counts_is_refused() {
    let file = lazy(KIND);
    let writer = open(&file, None);
    writer.write_at(&[1; 65_536], 0).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let header = Header::read(&*file).unwrap();
    let mut entry = [0; 8];
    file.read_at(&mut entry, header.l1.offset.0).unwrap();
    let l2 = u64::from_be_bytes(entry) & layout::L1_OFFSET;
    // Far past the end.
    file.write_at(&(1_u64 << 40 | layout::COPIED).to_be_bytes(), l2 + 8).unwrap();
    let error = Qcow2Writer::new(file.clone(), header, None, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(format!("{error:?}").contains("1 errors are left"), "{error:?}");
    assert!(Header::read(&*file).unwrap().is_dirty());
    // Marked corrupt as well, nothing is tried.
    let features = layout::INCOMPATIBLE_DIRTY | layout::INCOMPATIBLE_CORRUPT;
    file.write_at(&features.to_be_bytes(), layout::INCOMPATIBLE_FEATURES_OFFSET).unwrap();
    let before = file.to_bytes();
    let header = Header::read(&*file).unwrap();
    assert_eq!(Qcow2Writer::new(file.clone(), header, None, None).unwrap_err().kind(), ErrorKind::Refused);
    assert!(file.to_bytes() == before);
}

#[test]
fn an_image_with_many_late_counts_keeps_few_of_them_in_memory() {
    // A block of 64 counts of 64 bits for each 32 KiB of the file: 16,384 of them are 8 MiB.
    let kind = Kind { cluster_bits: 9, refcount_order: 6, extended: false, version: Version::V3 };
    let file = lazy(kind);
    let folder = tempfile::tempdir().unwrap();
    let sparse = Arc::new(FileDisk::create_new(folder.path().join("a"), file.size()).unwrap());
    sparse.write_at(&file.to_bytes(), 0).unwrap();
    let writer = Qcow2Writer::new(sparse.clone(), Header::read(&*file).unwrap(), None, None).unwrap();
    for _ in 0..17_000 * 64 {
        writer.state().allocator.allocate(&*sparse, 1).unwrap();
    }
    assert!(writer.state().allocator.holds_much());
    writer.flush().unwrap();
    assert!(Header::read(&*sparse).unwrap().is_dirty());
    assert!(!writer.state().allocator.holds_much());
    // Nothing refers to any of it.
    drop(writer);
    let header = Header::read(&*sparse).unwrap();
    Qcow2Writer::new(sparse.clone(), header, None, None).unwrap().close().unwrap();
    assert_eq!(faults(&*sparse), (0, 0));
}
