//! Disks that grow with storage set aside: what they read as, what the file grows by later, and what a crash leaves.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use super::super::super::header::Version;
use super::super::tests::{Kind, SIZE, Step, apply, content, faults, for_each_crash, make_lazy, open};
use super::*;
use crate::block::{MemoryDisk, is_zero};

const MODES: [Preallocation; 3] = [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full];

fn kinds() -> impl Iterator<Item = Kind> {
    let kinds = [(9, 6, false), (9, 0, false), (12, 4, false), (14, 4, true), (16, 4, false), (21, 3, false)];
    kinds.into_iter().map(|(cluster_bits, refcount_order, extended)| Kind {
        cluster_bits,
        refcount_order,
        extended,
        version: Version::V3,
    })
}

/// Part of the first half is stored, some of it was and is not any more; then it is twice as large.
fn grown(writer: &Qcow2Writer, model: &mut Vec<u8>) -> ByteRange {
    apply(&Step::Write(5000, 300_000, 7), writer, model);
    apply(&Step::Zero(100_000, 90_000, ZeroMode::Punch), writer, model);
    apply(&Step::Write(SIZE - 1536 - 700, 700, 3), writer, model);
    let old = writer.size();
    apply(&Step::Resize(2 * SIZE - 512), writer, model);
    ByteRange::between(old, writer.size())
}

#[test]
fn the_file_is_as_long_as_it_will_get() {
    for kind in kinds() {
        for (mode, lazy) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            // It ends within a cluster, which has something.
            let file = kind.image(SIZE - 1536);
            if lazy {
                make_lazy(&file);
            }
            let mut model = vec![0; SIZE as usize - 1536];
            let writer = open(&file, None);
            let new = grown(&writer, &mut model);
            writer.preallocate(new, mode).unwrap();
            assert!(content(&writer) == model, "{kind:?} {mode}");
            writer.close().unwrap();
            assert_eq!(faults(&*file), (0, 0), "{kind:?} {mode}");
            let len = file.size();
            let writer = open(&file, None);
            assert!(content(&writer) == model, "{kind:?} {mode}");
            apply(&Step::Write(new.offset(), new.len() as usize, 9), &writer, &mut model);
            writer.close().unwrap();
            assert_eq!((file.size(), faults(&*file)), (len, (0, 0)), "{kind:?} {mode}");
            assert!(content(&open(&file, None)) == model, "{kind:?} {mode}");
        }
    }
}

#[test]
fn clusters_with_storage_follow_each_other() {
    for kind in kinds() {
        let file = kind.image(SIZE);
        let writer = open(&file, None);
        writer.resize(2 * SIZE).unwrap();
        writer.preallocate(ByteRange::between(SIZE, 2 * SIZE), Preallocation::Falloc).unwrap();
        writer.close().unwrap();
        let image = open(&file, None);
        let size = kind.geometry().cluster_size();
        let host = |at: u64| match image.image().mapping(GuestOffset(at)).unwrap() {
            Mapping::Allocated(host) | Mapping::Subclusters { cluster: Some(host), .. } => host.offset.0,
            other => panic!("{other:?}"),
        };
        let first = kind.geometry().cluster_start(SIZE);
        for at in (first..2 * SIZE).step_by(size as usize) {
            assert_eq!(host(at) - host(first), at - first, "{kind:?}");
        }
        // Behind them is nothing but the tables for which there was no room before.
        let end = host(first) + kind.geometry().round_up(2 * SIZE) - first;
        let tables = SIZE.div_ceil(kind.geometry().l2_coverage()) + 2;
        assert!((end..=end + tables * size).contains(&file.size()), "{kind:?}");
    }
}

#[test]
fn a_crash_leaves_leaks_at_most() {
    for kind in kinds().filter(|kind| kind.cluster_bits < 21) {
        for mode in MODES {
            let file = kind.image(SIZE - 1536);
            let mut model = vec![0; SIZE as usize - 1536];
            let writer = open(&file, None);
            let new = grown(&writer, &mut model);
            writer.close().unwrap();
            let start = file.to_bytes();
            file.record();
            let writer = open(&file, None);
            writer.preallocate(new, mode).unwrap();
            writer.close().unwrap();
            let step = (file.operations().len() / 60).max(1);
            for_each_crash(&start, &file.operations(), 977, |after: &Arc<MemoryDisk>, cut| {
                if cut % step == 0 {
                    assert_eq!(faults(&**after).0, 0, "{kind:?} {mode} at {cut}");
                    assert!(content(&open(after, None)) == model, "{kind:?} {mode} at {cut}");
                }
            });
        }
    }
}

#[test]
fn no_room_is_left_out_where_refcounts_run_out() {
    // Blocks of 64 refcounts of clusters of 512 bytes, in a table of 64: both are too few, many times.
    let kind = Kind { cluster_bits: 9, refcount_order: 6, extended: false, version: Version::V3 };
    let file = kind.image(SIZE);
    let writer = open(&file, None);
    writer.resize(8 * SIZE).unwrap();
    writer.preallocate(ByteRange::whole(8 * SIZE), Preallocation::Metadata).unwrap();
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
    let needed = 8 * SIZE / 64 * 67;
    assert!(file.size() < needed, "{} of {needed}", file.size());
}

#[test]
fn a_backing_file_is_not_hidden() {
    for kind in kinds() {
        let backing = Arc::new(MemoryDisk::from_bytes(vec![0xab; 2 * SIZE as usize]));
        let file = kind.image(SIZE - 1536);
        let writer = open(&file, Some(&backing));
        let mut model = vec![0xab; SIZE as usize - 1536];
        apply(&Step::Resize(2 * SIZE), &writer, &mut model);
        writer.preallocate(ByteRange::between(SIZE - 1536, 2 * SIZE), Preallocation::Falloc).unwrap();
        assert!(content(&writer) == model && !is_zero(&model), "{kind:?}");
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0), "{kind:?}");
        assert!(content(&open(&file, Some(&backing))) == model, "{kind:?}");
    }
}
