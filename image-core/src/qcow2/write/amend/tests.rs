//! Amended images: as they were for the guest, sound, and so after a crash at any moment.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use super::super::backing::change_backing_file;
use super::super::snapshots::{NewSnapshot, create_snapshot, delete_snapshot};
use super::super::tests::{Kind, SIZE, Step, apply, content, faults, open};
use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, ByteRange, MemoryDisk, ZeroMode};
use crate::qcow2::{Qcow2, layout};

/// An image with data and marked zeroes, and what it reads as.
fn written(kind: Kind) -> (Arc<MemoryDisk>, Vec<u8>) {
    let file = kind.image(SIZE);
    let writer = open(&file, None);
    let mut model = vec![0; SIZE as usize];
    apply(&Step::Write(1000, 700_000, 5), &writer, &mut model);
    apply(&Step::Zero(65_536, 131_072, ZeroMode::Keep), &writer, &mut model);
    apply(&Step::Zero(327_680, 65_536, ZeroMode::Punch), &writer, &mut model);
    writer.close().unwrap();
    (file, model)
}

/// Amends, and replays every prefix of what was written.
fn amended(file: &Arc<MemoryDisk>, model: &[u8], amendment: Amendment) -> Header {
    let before = MemoryDisk::from_bytes(file.to_bytes());
    file.record();
    let disk: Arc<dyn BlockWrite> = file.clone();
    let header = amend(&disk, &Header::read(&**file).unwrap(), amendment).unwrap();
    assert_eq!(Header::read(&**file).unwrap(), header);
    for operation in file.operations() {
        before.apply(&operation).unwrap();
        assert_eq!(faults(&before).0, 0, "{amendment:?} after {operation:?}");
        let copy = Arc::new(MemoryDisk::from_bytes(before.to_bytes()));
        assert!(content(&open(&copy, None)) == model, "{amendment:?} after {operation:?}");
    }
    assert_eq!(faults(&**file), (0, 0), "{amendment:?}");
    header
}

fn kind(cluster_bits: u32, refcount_order: u32) -> Kind {
    Kind { cluster_bits, refcount_order, extended: false, version: Version::V3 }
}

#[test]
fn refcounts_get_every_width() {
    for cluster_bits in [9, 16] {
        let (file, model) = written(kind(cluster_bits, 4));
        for bits in [1, 64, 2, 32, 4, 8, 16] {
            let amendment = Amendment { refcount_bits: Some(bits), ..Amendment::default() };
            assert_eq!(amended(&file, &model, amendment).geometry.refcount_bits(), bits);
        }
        let writer = open(&file, None);
        writer.write_at(&[8; 100_000], 900_000).unwrap();
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0));
    }
}

#[test]
fn a_width_that_cannot_say_what_is_counted_is_refused_and_nothing_changes() {
    let (file, _) = written(kind(16, 4));
    let new = NewSnapshot { name: b"one".to_vec(), date: (0, 0) };
    let header = create_snapshot(&*file, &Header::read(&*file).unwrap(), new).unwrap();
    let before = file.to_bytes();
    let disk: Arc<dyn BlockWrite> = file.clone();
    let narrow = Amendment { refcount_bits: Some(1), ..Amendment::default() };
    let error = amend(&disk, &header, narrow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(file.to_bytes() == before);
    let odd = Amendment { refcount_bits: Some(3), ..Amendment::default() };
    assert_eq!(amend(&disk, &header, odd).unwrap_err().kind(), ErrorKind::Invalid);
}

/// The disk, and those that the snapshots hold.
fn disks(file: &Arc<MemoryDisk>, backing: Option<&Arc<MemoryDisk>>) -> Vec<Vec<u8>> {
    let header = Header::read(&**file).unwrap();
    let (snapshots, _) = snapshot::list(&**file, &header).unwrap();
    let then = snapshots.iter().map(|snapshot| snapshot.header(&header).unwrap());
    let headers: Vec<Header> = std::iter::once(header.clone()).chain(then).collect();
    let backing = || backing.cloned().map(|disk| disk as Arc<dyn BlockRead>);
    headers
        .into_iter()
        .map(|header| content(&Qcow2::new(file.clone(), header, backing(), None).unwrap()))
        .collect()
}

/// An image with marked zeroes of every kind, two snapshots and a bitmap.
fn with_snapshots(cluster_bits: u32, backing: Option<&Arc<MemoryDisk>>) -> Arc<MemoryDisk> {
    let file = kind(cluster_bits, 4).image(SIZE);
    if backing.is_some() {
        change_backing_file(&*file, &Header::read(&*file).unwrap(), Some((b"b", None))).unwrap();
    }
    let snapshot = |name: &[u8]| {
        let new = NewSnapshot { name: name.to_vec(), date: (0, 0) };
        create_snapshot(&*file, &Header::read(&*file).unwrap(), new).unwrap();
    };
    let write = |at: u64| {
        let writer = open(&file, backing);
        writer.write_at(&[at as u8 | 1; 100_000], at).unwrap();
        for (step, mode) in [(0, ZeroMode::Keep), (40_000, ZeroMode::Punch), (300_000, ZeroMode::Keep)] {
            writer.write_zeroes(ByteRange::new(at + step, 35_000).unwrap(), mode).unwrap();
        }
        writer.close().unwrap();
    };
    write(0);
    write(600_000);
    snapshot(b"one");
    write(620_000);
    snapshot(b"two");
    // Shared with both, with one, and with none.
    write(900_000);
    let add = BitmapChange::Add { name: b"b".to_vec(), granularity_bits: None };
    change_bitmaps(&*file, &Header::read(&*file).unwrap(), &[add]).unwrap();
    file
}

#[test]
fn version_2_keeps_snapshots_and_drops_bitmaps() {
    let backing = Arc::new(MemoryDisk::from_bytes(vec![7; SIZE as usize]));
    for (cluster_bits, backing) in [(9, None), (9, Some(&backing)), (12, Some(&backing)), (16, None)] {
        let file = with_snapshots(cluster_bits, backing);
        let expected = disks(&file, backing);
        assert_eq!((expected.len(), faults(&*file)), (3, (0, 0)));
        let before = Arc::new(MemoryDisk::from_bytes(file.to_bytes()));
        file.record();
        let disk: Arc<dyn BlockWrite> = file.clone();
        let to_2 = Amendment { version: Some(Version::V2), ..Amendment::default() };
        let header = amend(&disk, &Header::read(&*file).unwrap(), to_2).unwrap();
        assert_eq!(header.version, Version::V2);
        assert!(!header.extensions.iter().any(|extension| matches!(extension, Extension::Bitmaps(_))));
        for operation in file.operations() {
            before.apply(&operation).unwrap();
            assert_eq!(faults(&*before).0, 0);
            assert!(disks(&before, backing) == expected, "{cluster_bits}: {operation:?}");
        }
        assert_eq!(faults(&*file), (0, 0));
        // All of it can be written and dropped again.
        let header = delete_snapshot(&*file, &header, 0).unwrap();
        delete_snapshot(&*file, &header, 0).unwrap();
        let writer = open(&file, backing);
        writer.write_at(&[1; SIZE as usize], 0).unwrap();
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0));
    }
}

#[test]
fn bitmaps_that_nobody_believes_are_no_part_of_version_2() {
    let file = with_snapshots(12, None);
    file.write_at(&[0; 8], layout::AUTOCLEAR_FEATURES_OFFSET).unwrap();
    let header = Header::read(&*file).unwrap();
    assert!(header.bitmaps().is_none());
    assert!(header.extensions.iter().any(|extension| matches!(extension, Extension::Bitmaps(_))));
    let disk: Arc<dyn BlockWrite> = file.clone();
    let to_2 = Amendment { version: Some(Version::V2), ..Amendment::default() };
    let header = amend(&disk, &header, to_2).unwrap();
    assert!(!header.extensions.iter().any(|extension| matches!(extension, Extension::Bitmaps(_))));
}

#[test]
fn what_version_2_cannot_say_of_a_snapshot_is_refused() {
    let file = with_snapshots(16, None);
    let writer = open(&file, None);
    writer.resize(2 * SIZE).unwrap();
    writer.close().unwrap();
    let before = file.to_bytes();
    let disk: Arc<dyn BlockWrite> = file.clone();
    let to_2 = Amendment { version: Some(Version::V2), ..Amendment::default() };
    let error = amend(&disk, &Header::read(&*file).unwrap(), to_2).unwrap_err();
    assert_eq!(error.cause(), Some(&Version2Rule::Snapshots), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(file.to_bytes() == before);
}

#[test]
fn versions_change_both_ways_and_zeroes_stay_zeroes() {
    for cluster_bits in [9, 16] {
        let (file, model) = written(kind(cluster_bits, 4));
        let to = |version| Amendment { version: Some(version), ..Amendment::default() };
        let lazy = |lazy| Amendment { lazy_refcounts: Some(lazy), ..Amendment::default() };
        assert!(amended(&file, &model, lazy(true)).has_lazy_refcounts());
        let disk: Arc<dyn BlockWrite> = file.clone();
        let header = Header::read(&*file).unwrap();
        let both = Amendment { lazy_refcounts: Some(true), ..to(Version::V2) };
        assert!(amend(&disk, &header, both).is_err(), "version 2 has none");
        assert!(!amended(&file, &model, lazy(false)).has_lazy_refcounts());
        amended(&file, &model, lazy(true));
        assert_eq!(amended(&file, &model, to(Version::V2)).version, Version::V2);
        assert_eq!(amended(&file, &model, to(Version::V3)).version, Version::V3);
    }
    // Over a backing file, marked zeroes become clusters of them.
    let file = kind(16, 4).image(SIZE);
    let backing = Arc::new(MemoryDisk::from_bytes(vec![7; SIZE as usize]));
    let header =
        change_backing_file(&*file, &Header::read(&*file).unwrap(), Some((b"b", Some("raw")))).unwrap();
    let mut model = vec![7; SIZE as usize];
    let writer = open(&file, Some(&backing));
    apply(&Step::Zero(65_536, 131_072, ZeroMode::Punch), &writer, &mut model);
    writer.close().unwrap();
    let disk: Arc<dyn BlockWrite> = file.clone();
    amend(&disk, &header, Amendment { version: Some(Version::V2), ..Amendment::default() }).unwrap();
    assert!(content(&open(&file, Some(&backing))) == model);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn over_another_backing_file_the_image_reads_the_same() {
    let long = vec![3; SIZE as usize];
    let mut short = vec![3; SIZE as usize / 3 + 77];
    short[70_000..200_000].fill(9);
    let half: Vec<u8> = (0..SIZE as usize).map(|at| if at < 500_000 { 0 } else { 3 }).collect();
    for version in [Version::V3, Version::V2] {
        for extended in [false, true] {
            if extended && version == Version::V2 {
                continue;
            }
            for (old, new) in [(&long, &short), (&short, &long), (&half, &long), (&long, &half)] {
                let kind = Kind { cluster_bits: 16, refcount_order: 4, extended, version };
                let file = kind.image(SIZE);
                let disk = |bytes: &Vec<u8>| Arc::new(MemoryDisk::from_bytes(bytes.clone()));
                let (old, new) = (disk(old), disk(new));
                let writer = open(&file, Some(&old));
                writer.write_at(&[1; 10_000], 300_000).unwrap();
                writer.write_zeroes(ByteRange::new(0, 131_072).unwrap(), ZeroMode::Punch).unwrap();
                let model = content(&writer);
                let mut told = 0;
                let mut done = |bytes: u64| {
                    told += bytes;
                    Ok(())
                };
                writer.copy_from_backing(Some(&*new), extended, &mut done).unwrap();
                assert_eq!(told, SIZE);
                writer.close_with_backing_file(Some((b"new", Some("raw")))).unwrap();
                assert_eq!(Header::read(&*file).unwrap().backing_name.as_deref(), Some(&b"new"[..]));
                assert!(content(&open(&file, Some(&new))) == model, "{kind:?}");
                let writer = open(&file, Some(&new));
                writer.copy_from_backing(None, false, &mut |_| Ok(())).unwrap();
                writer.close_with_backing_file(None).unwrap();
                assert!(content(&open(&file, None)) == model, "{kind:?}");
                assert_eq!(faults(&*file), (0, 0));
                let writer = open(&file, None);
                writer.make_empty().unwrap();
                writer.close().unwrap();
                assert!(content(&open(&file, None)).iter().all(|&byte| byte == 0));
                assert_eq!(faults(&*file), (0, 0));
                assert!(file.size() < 8 * 65_536, "{}", file.size());
            }
        }
    }
}
