//! A repair that is cut off at any moment: nothing is worse, and a second one completes it.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use super::super::layout::{
    COPIED, INCOMPATIBLE_DIRTY, INCOMPATIBLE_FEATURES_OFFSET, L1_OFFSET, REFCOUNT_TABLE_FIELD_OFFSET,
};
use super::super::snapshot;
use super::super::write::tests::{Kind, SIZE, content, crash, open};
use super::super::write::{BitmapChange, NewSnapshot, change_bitmaps, create_snapshot};
use super::super::{Qcow2, Version};
use super::*;
use crate::block::MemoryDisk;

/// Where the header has the place of the snapshot table.
const SNAPSHOTS_OFFSET: u64 = 64;

/// A damaged image, as its bytes and what stands where.
struct Damaged {
    file: Arc<MemoryDisk>,
    header: Header,
}

impl Damaged {
    fn number(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    }

    fn put(&self, at: u64, number: u64) {
        self.file.write_at(&number.to_be_bytes(), at).unwrap();
    }

    /// Where the L2 entry of guest cluster `index` of the first table stands.
    fn l2_entry(&self, index: u64) -> u64 {
        let l2 = self.number(self.header.l1.offset.0) & L1_OFFSET;
        l2 + index * self.header.geometry.l2_entry_len()
    }

    fn host(&self, index: u64) -> u64 {
        self.number(self.l2_entry(index)) & L1_OFFSET
    }

    /// Sets the refcount, of 16 bits, of the cluster at `host`.
    fn put_refcount(&self, host: u64, refcount: u16) {
        let (geometry, per_block) = (self.header.geometry, self.header.geometry.refcounts_per_block());
        let cluster = geometry.cluster_index(host);
        let block = self.number(self.header.refcount_table.offset.0 + cluster / per_block * 8);
        self.file.write_at(&refcount.to_be_bytes(), block + cluster % per_block * 2).unwrap();
    }
}

/// An image with data, a snapshot, a bitmap and several refcount blocks.
fn image(cluster_bits: u32, extended: bool) -> Damaged {
    let kind = Kind { cluster_bits, refcount_order: 4, extended, version: Version::V3 };
    let file = kind.image(SIZE);
    let write = |byte: u8, at: u64, len: usize| {
        let writer = open(&file, None);
        writer.write_at(&vec![byte; len], at).unwrap();
        writer.close().unwrap();
    };
    write(1, 0, 700_000);
    let new = NewSnapshot { name: b"one".to_vec(), date: (0, 0) };
    create_snapshot(&*file, &Header::read(&*file).unwrap(), new).unwrap();
    write(2, 4096, 100_000);
    let add = BitmapChange::Add { name: b"b".to_vec(), granularity_bits: None };
    change_bitmaps(&*file, &Header::read(&*file).unwrap(), &[add]).unwrap();
    write(3, 900_000, 50_000);
    let header = Header::read(&*file).unwrap();
    Damaged { file, header }
}

/// The disk and the one that the snapshot holds.
fn disks(file: &Arc<MemoryDisk>) -> [Vec<u8>; 2] {
    let (header, _) = Header::read_to_repair(&**file).unwrap();
    let (snapshots, _) = snapshot::list_to_check(&**file, &header).unwrap();
    let then = snapshots[0].header(&header).unwrap();
    [header, then].map(|header| content(&Qcow2::new(file.clone(), header, None, None).unwrap()))
}

/// How many refcounts are wrong for the worse, or cannot be read.
fn corruptions(file: &MemoryDisk) -> u64 {
    let (header, _) = Header::read_to_repair(file).unwrap();
    Found::look(file, &header, &mut |_| {}).unwrap().result.corruptions
}

/// A way to damage an image.
type Damage = (&'static str, fn(&Damaged));

fn damages() -> Vec<Damage> {
    vec![
        ("a leak", |image| image.put_refcount(image.host(2), 3)),
        ("many leaks and missing references", |image| {
            for cluster in 0..30 {
                image.put_refcount(cluster * image.header.geometry.cluster_size(), cluster as u16 % 5 + 1);
            }
        }),
        ("refcount 0 in use", |image| image.put_refcount(image.host(2), 0)),
        ("no refcount block", |image| image.put(image.header.refcount_table.offset.0, 0)),
        ("a misplaced refcount block", |image| image.put(image.header.refcount_table.offset.0, 0x1200 + 8)),
        ("a refcount block past the end", |image| {
            image.put(image.header.refcount_table.offset.0 + 8, 1 << 32)
        }),
        ("a refcount block shared", |image| {
            let place = image.header.refcount_table.offset.0;
            image.put(place + 8, image.number(place));
        }),
        ("a refcount table past the end", |image| image.put(REFCOUNT_TABLE_FIELD_OFFSET, 1 << 40)),
        ("a misplaced refcount table", |image| image.put(REFCOUNT_TABLE_FIELD_OFFSET, 0x10210)),
        ("a refcount table over the L1 table", |image| {
            image.put(REFCOUNT_TABLE_FIELD_OFFSET, image.header.l1.offset.0);
        }),
        ("no refcount table", |image| image.file.write_at(&[0; 4], REFCOUNT_TABLE_FIELD_OFFSET + 8).unwrap()),
        ("a refcount table that is too long", |image| {
            image.file.write_at(&[0x7f; 4], REFCOUNT_TABLE_FIELD_OFFSET + 8).unwrap();
        }),
        ("a short snapshot", |image| shorten_snapshot(image)),
        ("a snapshot with too much extra data", |image| lengthen_snapshot(image)),
        ("a short snapshot of a dirty image", |image| {
            image.put(
                INCOMPATIBLE_FEATURES_OFFSET,
                image.number(INCOMPATIBLE_FEATURES_OFFSET) | INCOMPATIBLE_DIRTY,
            );
            image.put_refcount(image.host(2), 9);
            shorten_snapshot(image);
        }),
        ("copied flags", |image| {
            for index in 0..8 {
                let at = image.l2_entry(index);
                image.put(at, image.number(at) ^ COPIED);
            }
            let l1 = image.header.l1.offset.0;
            image.put(l1, image.number(l1) ^ COPIED);
        }),
        ("dirty", |image| {
            image.put(
                INCOMPATIBLE_FEATURES_OFFSET,
                image.number(INCOMPATIBLE_FEATURES_OFFSET) | INCOMPATIBLE_DIRTY,
            );
            image.put_refcount(image.host(2), 0);
            image.put_refcount(image.host(3), 9);
        }),
    ]
}

/// Takes the extra data away from the only snapshot, whose id has one byte and whose name three.
fn shorten_snapshot(image: &Damaged) {
    let at = image.header.snapshots.offset.0;
    image.file.write_at(&[0; 4], at + 36).unwrap();
    image.file.write_at(b"1one", at + 40).unwrap();
}

/// Gives the only snapshot 1032 bytes of extra data, in a table that has clusters of its own.
fn lengthen_snapshot(image: &Damaged) {
    let old = image.header.snapshots.offset.0;
    let mut entry = vec![0; 40 + 24 + 4];
    image.file.read_at(&mut entry, old).unwrap();
    assert_eq!(entry[36..40], 24_u32.to_be_bytes());
    entry[36..40].copy_from_slice(&1032_u32.to_be_bytes());
    entry.splice(64..64, (0..1008).map(|index| index as u8 | 1));
    let geometry = image.header.geometry;
    let place = geometry.round_up(image.file.size());
    let len = geometry.round_up(entry.len() as u64);
    image.file.resize(place + len).unwrap();
    image.file.write_at(&entry, place).unwrap();
    image.put(SNAPSHOTS_OFFSET, place);
    image.put_refcount(old, 0);
    for cluster in (place..place + len).step_by(geometry.cluster_size() as usize) {
        image.put_refcount(cluster, 1);
    }
}

#[test]
fn extra_data_of_snapshots_are_cut_where_they_are_too_long() {
    let damaged = image(16, false);
    lengthen_snapshot(&damaged);
    let header = Header::read(&*damaged.file).unwrap();
    let rule = Corrupt::SnapshotExtra { index: 0, len: 1032, limit: 1024 };
    assert_eq!(snapshot::list(&*damaged.file, &header).unwrap_err().cause(), Some(&rule));
    let mut findings = Vec::new();
    let result = check(&*damaged.file, &header, &mut |finding| findings.push(finding.clone())).unwrap();
    assert_eq!((findings, result.corruptions), (vec![Finding::Rule { rule, times: 1 }], 1));
    let repaired = repair(&*damaged.file, Repair::All, &mut |_| {}).unwrap();
    assert!(repaired.left.is_clean() && repaired.corruptions_fixed == 1, "{repaired:?}");
    let (snapshots, _) = snapshot::list(&*damaged.file, &Header::read(&*damaged.file).unwrap()).unwrap();
    let kept: Vec<u8> = (0..1000).map(|index| index as u8 | 1).collect();
    assert_eq!((snapshots[0].extra_len, &snapshots[0].extra[24..]), (1024, &kept[..]));
    assert_eq!(snapshots[0].name, b"one");
}

#[test]
fn places_that_cannot_be_are_taken_from_entries_that_store_nothing() {
    for (cluster_bits, extended) in [(12, false), (14, true), (16, false)] {
        let damaged = image(cluster_bits, extended);
        let expected = disks(&damaged.file);
        let index = 1_400_000 >> cluster_bits;
        let at = damaged.l2_entry(index);
        match extended {
            // Two subclusters of zeroes; and nothing but a place.
            true => {
                damaged.put(at, 0x9200 | COPIED);
                damaged.put(at + 8, 3 << 32);
                damaged.put(at - 16, 0x9200);
            }
            false => {
                damaged.put(at, 0x9200 | COPIED | 1);
                damaged.put(at - 8, 0x9200 | 1);
            }
        }
        let start = damaged.file.to_bytes();
        let header = Header::read(&*damaged.file).unwrap();
        assert!(!check(&*damaged.file, &header, &mut |_| {}).unwrap().is_clean());
        repair(&*damaged.file, Repair::Leaks, &mut |_| {}).unwrap();
        assert_eq!(damaged.number(at) & !COPIED, if extended { 0x9200 } else { 0x9201 }, "leaks only");
        damaged.file.write_at(&start, 0).unwrap();
        damaged.file.record();
        let repaired = repair(&*damaged.file, Repair::All, &mut |_| {}).unwrap();
        assert!(repaired.left.is_clean(), "{repaired:?}");
        assert_eq!((repaired.corruptions_fixed, repaired.leaks_fixed), (2, 0));
        assert!(disks(&damaged.file) == expected);
        let entry = (damaged.number(at), damaged.number(at + 8));
        assert!(entry == (0, 3 << 32) || !extended && entry.0 == 1, "{entry:x?}");
        let operations = damaged.file.operations();
        for cut in 0..=operations.len() {
            let after = Arc::new(MemoryDisk::from_bytes(start.clone()));
            crash(&after, &operations, cut, cut as u64 * 991);
            assert!(repair(&*after, Repair::All, &mut |_| {}).unwrap().left.is_clean());
            assert!(disks(&after) == expected, "{cut} of {}", operations.len());
        }
    }
}

#[test]
fn a_place_that_cannot_be_stays_where_something_is_said_to_be_stored() {
    let damaged = image(14, true);
    let at = damaged.l2_entry(1_400_000 >> 14);
    damaged.put(at, 0x9200 | COPIED);
    // A subcluster of data beside two of zeroes.
    damaged.put(at + 8, 3 << 32 | 4);
    let repaired = repair(&*damaged.file, Repair::All, &mut |_| {}).unwrap();
    assert_eq!(repaired.left.corruptions, 1, "{repaired:?}");
    assert_eq!((damaged.number(at) & !COPIED, damaged.number(at + 8)), (0x9200, 3 << 32 | 4));
}

#[test]
fn a_check_tells_why_there_is_no_refcount_table() {
    for (place, told) in [(1 << 40, "ends past the end"), (0x10210, "cluster boundary"), (0, "the header")] {
        let damaged = image(16, false);
        damaged.put(REFCOUNT_TABLE_FIELD_OFFSET, place);
        let (header, _) = Header::read_to_repair(&*damaged.file).unwrap();
        let mut findings = Vec::new();
        let result =
            check(&*damaged.file, &header, &mut |finding| findings.push(finding.to_string())).unwrap();
        assert!(findings[0].contains("refcount table") && findings[0].contains(told), "{findings:?}");
        // Each cluster in use, and each flag that says there is one reference.
        assert!(result.corruptions > 20 && result.check_errors == 0, "{result:?}");
    }
}

#[test]
fn a_refcount_table_that_is_lost_is_more_than_leaks() {
    let damaged = image(16, false);
    damaged.put(REFCOUNT_TABLE_FIELD_OFFSET, 1 << 40);
    let before = damaged.file.to_bytes();
    let error = repair(&*damaged.file, Repair::Leaks, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Refused);
    assert!(damaged.file.to_bytes() == before);
    // Without it, what else is wrong with the header is told as ever.
    damaged.put(40, 0x10200);
    assert!(matches!(
        Header::read_to_repair(&*damaged.file).unwrap_err().cause(),
        Some(Corrupt::RegionUnaligned { .. })
    ));
}

#[test]
fn a_repair_that_is_cut_off_makes_nothing_worse_and_can_be_done_again() {
    for (cluster_bits, extended) in [(9, false), (12, false), (14, true), (16, false)] {
        for (what, damage) in damages() {
            let damaged = image(cluster_bits, extended);
            let expected = disks(&damaged.file);
            damage(&damaged);
            let (start, worst) = (damaged.file.to_bytes(), corruptions(&damaged.file));
            damaged.file.record();
            let repaired = repair(&*damaged.file, Repair::All, &mut |_| {}).unwrap();
            assert!(repaired.left.is_clean(), "{what}: {repaired:?}");
            let operations = damaged.file.operations();
            assert!(operations.len() > 1, "{what}");
            for cut in 0..=operations.len() {
                for lost in [None, Some(cut as u64 * 991)] {
                    let after = Arc::new(MemoryDisk::from_bytes(start.clone()));
                    match lost {
                        None => operations[..cut].iter().for_each(|done| after.apply(done).unwrap()),
                        Some(seed) => crash(&after, &operations, cut, seed),
                    }
                    let what = format!("{what}, {cluster_bits}, {cut} of {}", operations.len());
                    assert!(disks(&after) == expected, "{what}");
                    assert!(corruptions(&after) <= worst, "{what}: {} of {worst}", corruptions(&after));
                    let again = repair(&*after, Repair::All, &mut |_| {}).unwrap();
                    assert!(again.left.is_clean(), "{what}: {again:?}");
                    assert!(disks(&after) == expected, "{what}, repaired");
                    assert!(!Header::read(&*after).unwrap().is_dirty());
                }
            }
        }
    }
}
