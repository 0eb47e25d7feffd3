//! What a crash at any moment leaves of an image while its backing file changes, or all that it says goes.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use super::super::tests::{Kind, SIZE, content, faults, for_each_crash, make_lazy, open};
use super::*;
use crate::block::{MemoryDisk, Operation};
use crate::qcow2::Mapping;

/// What the image of each prefix of `operations`, whole or with what was not flushed lost, is over the backing file that
/// it names: always `expected`. `dirty` ones are repaired by opening them.
fn every_crash(
    start: &[u8],
    operations: &[Operation],
    backing: impl Fn(&Header) -> Option<Arc<MemoryDisk>>,
    expected: &[u8],
) {
    for_each_crash(start, operations, 1013, |after, cut| {
        let header = Header::read(&**after).unwrap();
        if !header.is_dirty() {
            assert_eq!(faults(&**after).0, 0, "{cut} of {}", operations.len());
        }
        let writer = open(after, backing(&header).as_ref());
        assert!(content(&writer) == expected, "{cut} of {}, {:?}", operations.len(), header.backing_name);
        assert_eq!(faults(&**after).0, 0, "{cut} of {}", operations.len());
    });
}

/// An image over `old`, with data, zeroes and what shows through; and what it reads as.
fn layered(kind: Kind, lazy: bool, old: &Arc<MemoryDisk>) -> (Arc<MemoryDisk>, Vec<u8>) {
    let file = kind.image(SIZE);
    if lazy {
        make_lazy(&file);
    }
    change_backing_file(&*file, &Header::read(&*file).unwrap(), Some((b"old", Some("raw")))).unwrap();
    let writer = open(&file, Some(old));
    writer.write_at(&[1; 30_000], 300_000).unwrap();
    writer.write_zeroes(ByteRange::new(0, 131_072).unwrap(), ZeroMode::Punch).unwrap();
    let model = content(&writer);
    writer.close().unwrap();
    (file, model)
}

fn kinds() -> Vec<(Kind, bool)> {
    let kind = |cluster_bits, extended, version| Kind { cluster_bits, refcount_order: 4, extended, version };
    vec![
        (kind(12, false, Version::V2), false),
        (kind(12, false, Version::V3), false),
        (kind(14, true, Version::V3), false),
        (kind(16, false, Version::V3), true),
    ]
}

/// How many clusters of the disk are compressed.
fn compressed_clusters(writer: &Qcow2Writer) -> usize {
    let starts = (0..SIZE).step_by(writer.image().geometry().cluster_size() as usize);
    let mappings = starts.map(|start| writer.image().mapping(GuestOffset(start)).unwrap());
    mappings.filter(|mapping| matches!(mapping, Mapping::Compressed(_))).count()
}

#[test]
fn a_rebase_that_is_cut_off_leaves_the_disk_as_it_was() {
    let disk = |bytes: Vec<u8>| Arc::new(MemoryDisk::from_bytes(bytes));
    for (kind, lazy) in kinds() {
        let old = disk(vec![3; SIZE as usize - 1_000]);
        let mut other = vec![3; SIZE as usize / 2];
        other[70_000..270_000].fill(9);
        let new = disk(other);
        for (with_new, compress) in [(true, false), (false, false), (true, true), (false, true)] {
            let (file, model) = layered(kind, lazy, &old);
            let start = file.to_bytes();
            file.record();
            let writer = open(&file, Some(&old));
            let name = with_new.then_some((&b"new"[..], Some("raw")));
            let target = with_new.then_some(&*new as &dyn BlockRead);
            writer.copy_from_backing(target, compress, &mut |_| Ok(())).unwrap();
            assert_eq!(compressed_clusters(&writer) > 0, compress);
            writer.close_with_backing_file(name).unwrap();
            let named = |header: &Header| match header.backing_name.as_deref() {
                Some(b"old") => Some(old.clone()),
                Some(b"new") => Some(new.clone()),
                _ => None,
            };
            every_crash(&start, &file.operations(), named, &model);
            assert_eq!(faults(&*file), (0, 0));
        }
    }
}

#[test]
fn an_image_that_is_emptied_over_what_it_said_stays_the_same_disk() {
    for (kind, lazy) in kinds() {
        let old = Arc::new(MemoryDisk::from_bytes(vec![3; SIZE as usize]));
        let (file, model) = layered(kind, lazy, &old);
        let start = file.to_bytes();
        // All that the image says has been committed.
        let backing = Arc::new(MemoryDisk::from_bytes(model.clone()));
        file.record();
        let writer = open(&file, Some(&backing));
        writer.make_empty().unwrap();
        writer.close().unwrap();
        every_crash(&start, &file.operations(), |_| Some(backing.clone()), &model);
        assert_eq!(faults(&*file), (0, 0));
    }
}
