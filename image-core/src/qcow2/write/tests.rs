//! An image that is written in place, against a plain disk; and what a crash at any moment leaves of it.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use proptest::prelude::*;

use super::compressed::tests::{clusters_around, compress, compressible};
use super::*;
use crate::block::{FileDisk, MemoryDisk, Operation, Preallocation};
use crate::convert::{Options, Sink, convert};
use crate::qcow2::check::check;
use crate::qcow2::{Codec, Compression, Geometry, NewImage, Qcow2Sink, TablePlace};

/// The smallest disk that has several L2 tables, whatever the cluster size.
pub(crate) const SIZE: u64 = 3 << 19;

/// What an image is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) cluster_bits: u32,
    pub(crate) refcount_order: u32,
    pub(crate) extended: bool,
    pub(crate) version: Version,
}

impl Kind {
    pub(crate) fn geometry(self) -> Geometry {
        Geometry::new(self.cluster_bits, self.refcount_order, self.extended).unwrap()
    }

    /// A new image of `size` zeroes.
    pub(crate) fn image(self, size: u64) -> Arc<MemoryDisk> {
        let file = Arc::new(MemoryDisk::new(0));
        let image = NewImage::in_clusters(size, self.geometry()).unwrap();
        let mut sink = Qcow2Sink::new(file.clone(), image.with_version(self.version).unwrap()).unwrap();
        sink.finish().unwrap();
        file
    }
}

pub(crate) fn kinds() -> impl Strategy<Value = Kind> {
    (9..=21_u32, 0..=6_u32, any::<bool>(), any::<bool>()).prop_map(|(cluster_bits, order, extended, old)| {
        let extended = extended && cluster_bits >= 14;
        let version = if old && !extended { Version::V2 } else { Version::V3 };
        let refcount_order = if version == Version::V2 { 4 } else { order };
        Kind { cluster_bits, refcount_order, extended, version }
    })
}

/// Lets refcounts be late, where the version has that.
pub(crate) fn make_lazy(file: &MemoryDisk) {
    let header = Header::read(file).unwrap();
    if header.version == Version::V3 {
        let features = header.features.compatible | layout::COMPATIBLE_LAZY_REFCOUNTS;
        // Between the incompatible and the autoclear features.
        file.write_at(&features.to_be_bytes(), layout::INCOMPATIBLE_FEATURES_OFFSET + 8).unwrap();
    }
}

/// Something that is done to a disk.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(u64, usize, u8),
    /// Compressed: all clusters that it touches.
    Pack(u64, u64, u8),
    Zero(u64, u64, ZeroMode),
    Resize(u64),
    Flush,
    Reopen,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Offsets and lengths that are often, not always, at the borders of something.
    let offset = || prop_oneof![(0..SIZE / 4096).prop_map(|block| block * 4096), 0..SIZE];
    let len = || prop_oneof![Just(4096_u64), Just(65536), 1..200_000_u64];
    let mode = prop_oneof![Just(ZeroMode::Punch), Just(ZeroMode::Keep)];
    let step = prop_oneof![
        6 => (offset(), len(), 1..=255_u8).prop_map(|(at, len, byte)| {
            Step::Write(at, len.min(SIZE - at) as usize, byte)
        }),
        3 => (offset(), len(), 1..=255_u8).prop_map(|(at, len, byte)| Step::Pack(at, len.min(SIZE - at), byte)),
        3 => (offset(), len(), mode).prop_map(|(at, len, mode)| Step::Zero(at, len.min(SIZE - at), mode)),
        1 => prop_oneof![Just(SIZE), 1..2 * SIZE].prop_map(|size| Step::Resize(size.next_multiple_of(512))),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..24)
}

pub(crate) fn open(file: &Arc<MemoryDisk>, backing: Option<&Arc<MemoryDisk>>) -> Qcow2Writer {
    let header = Header::read(&**file).unwrap();
    let backing = backing.cloned().map(|disk| disk as Arc<dyn BlockRead>);
    Qcow2Writer::new(file.clone(), header, backing, None).unwrap()
}

pub(crate) fn content(disk: &dyn BlockRead) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn apply(step: &Step, disk: &Qcow2Writer, model: &mut Vec<u8>) {
    match *step {
        Step::Pack(at, len, byte) => {
            let size = disk.image().geometry().cluster_size();
            let range = clusters_around(at, len, size, disk.size());
            let bytes = compressible(byte, range.end - range.start);
            compress(disk, &bytes, range.start);
            model[range.start as usize..range.end as usize].copy_from_slice(&bytes);
        }
        Step::Write(at, len, byte) => {
            let len = len.min(disk.size().saturating_sub(at) as usize);
            let at = at.min(disk.size());
            // Not all the same: a piece that lands elsewhere shows.
            let bytes: Vec<u8> = (0..len).map(|index| byte ^ (index / 512) as u8).collect();
            disk.write_at(&bytes, at).unwrap();
            model[at as usize..at as usize + len].copy_from_slice(&bytes);
        }
        Step::Zero(at, len, mode) => {
            let len = len.min(disk.size().saturating_sub(at));
            let at = at.min(disk.size());
            disk.write_zeroes(ByteRange::new(at, len).unwrap(), mode).unwrap();
            model[at as usize..(at + len) as usize].fill(0);
        }
        Step::Resize(size) => {
            disk.resize(size).unwrap();
            model.resize(size as usize, 0);
        }
        Step::Flush => disk.flush().unwrap(),
        Step::Reopen => {}
    }
}

/// Corruptions and leaks that are found in the image.
pub(crate) fn faults(file: &dyn BlockRead) -> (u64, u64) {
    let header = Header::read(file).unwrap();
    let mut told = Vec::new();
    let result = check(file, &header, &mut |finding| told.push(finding.to_string())).unwrap();
    assert_eq!(result.check_errors, 0, "{told:?}");
    told.truncate(4);
    assert_eq!(result.corruptions, 0, "{told:?} …");
    (result.corruptions, result.leaks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn as_a_plain_disk_and_clean_in_the_end(
        kind in kinds(), steps in steps(), backed: bool, lazy: bool,
    ) {
        let file = kind.image(SIZE);
        if lazy {
            make_lazy(&file);
        }
        let mut model = vec![0; SIZE as usize];
        let backing = backed.then(|| Arc::new(MemoryDisk::from_bytes(vec![0xb5; SIZE as usize / 2 + 777])));
        if let Some(backing) = &backing {
            model[..backing.size() as usize].fill(0xb5);
        }
        let mut writer = open(&file, backing.as_ref());
        for step in &steps {
            apply(step, &writer, &mut model);
            if matches!(step, Step::Reopen) {
                writer.close().unwrap();
                writer = open(&file, backing.as_ref());
            }
            prop_assert!(content(&writer) == model, "after {step:?}");
        }
        writer.close().unwrap();
        prop_assert_eq!(faults(&*file), (0, 0));
        prop_assert!(content(&open(&file, backing.as_ref())) == model, "after all");
    }

    #[test]
    fn whatever_is_lost_since_the_last_flush_what_was_flushed_is_there(
        kind in kinds(), steps in steps(), seed: u64, cut in 0.0..1.0_f64, lazy: bool,
    ) {
        let file = kind.image(SIZE);
        if lazy {
            make_lazy(&file);
        }
        let before = Arc::new(MemoryDisk::from_bytes(file.to_bytes()));
        file.record();
        let mut writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        // The content at each flush, and how many operations there were before it began and after it ended.
        let mut flushed = vec![(0, model.clone())];
        for step in &steps {
            apply(step, &writer, &mut model);
            if matches!(step, Step::Reopen) {
                writer.close().unwrap();
                writer = open(&file, None);
            }
            if matches!(step, Step::Flush | Step::Reopen) {
                flushed.push((file.operations().len(), model.clone()));
            }
        }
        writer.flush().unwrap();
        flushed.push((file.operations().len(), model.clone()));
        let operations = file.operations();
        let cut = (operations.len() as f64 * cut) as usize;
        crash(&before, &operations, cut, seed);
        let dirty = Header::read(&*before).unwrap().is_dirty();
        prop_assert!(lazy || !dirty);
        if !dirty {
            prop_assert_eq!(faults(&*before).0, 0);
        }
        // Bytes that nobody wrote since the last flush before the cut are as they were then.
        let at = flushed.iter().rposition(|&(end, _)| end <= cut).unwrap();
        let (_, then) = &flushed[at];
        let touched = touched_since(&steps, at, kind.geometry().cluster_size());
        let after = content(&open(&before, None));
        if dirty {
            prop_assert_eq!(faults(&*before), (0, 0), "repaired when it was opened");
        }
        for (index, (now, then)) in after.iter().zip(then).enumerate() {
            prop_assert!(now == then || touched.iter().any(|range| range.contains(&(index as u64))),
                "byte {index:#x} is {now:#x}, was {then:#x} at the last flush");
        }
    }
}

/// What the steps after flush number `flush` may have changed.
fn touched_since(steps: &[Step], flush: usize, cluster_size: u64) -> Vec<std::ops::Range<u64>> {
    let mut seen = 0;
    let mut ranges = Vec::new();
    for step in steps {
        match *step {
            Step::Flush | Step::Reopen => seen += 1,
            Step::Write(at, len, _) if seen >= flush => ranges.push(at..at + len as u64),
            Step::Pack(at, len, _) if seen >= flush => {
                ranges.push(clusters_around(at, len, cluster_size, u64::MAX));
            }
            Step::Zero(at, len, _) if seen >= flush => ranges.push(at..at + len),
            // What a smaller disk has not, a larger one has as zeroes.
            Step::Resize(size) if seen >= flush => ranges.push(size..u64::MAX),
            _ => {}
        }
    }
    ranges
}

/// Shows to `look` what may be left of a disk of the bytes `start` when `operations` are cut off after each of them: all that was
/// done, and once more what a machine that loses power keeps of it, another part for another `salt`.
pub(crate) fn for_each_crash(
    start: &[u8],
    operations: &[Operation],
    salt: u64,
    mut look: impl FnMut(&Arc<MemoryDisk>, usize),
) {
    for cut in 0..=operations.len() {
        for lost in [None, Some(cut as u64 * salt)] {
            let after = Arc::new(MemoryDisk::from_bytes(start.to_vec()));
            match lost {
                None => operations[..cut].iter().for_each(|operation| after.apply(operation).unwrap()),
                Some(seed) => crash(&after, operations, cut, seed),
            }
            look(&after, cut);
        }
    }
}

/// Does to `disk` what a machine that loses power after `cut` operations may have done: all up to the last flush, and any
/// part of what came behind it. Sizes are kept in order, as a filesystem's journal does.
pub(crate) fn crash(disk: &MemoryDisk, operations: &[Operation], cut: usize, seed: u64) {
    let safe = operations[..cut].iter().rposition(|operation| *operation == Operation::Flush).unwrap_or(0);
    let mut random = seed | 1;
    for (index, operation) in operations[..cut].iter().enumerate() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kept = index <= safe || random >> 63 == 1 || matches!(operation, Operation::Resize(_));
        if kept {
            disk.apply(operation).unwrap();
        }
    }
}

#[test]
fn every_prefix_of_what_is_written_is_an_image() {
    for (cluster_bits, refcount_order, extended) in
        [(9, 6, false), (12, 0, false), (14, 4, true), (16, 4, false)]
    {
        let kind = Kind { cluster_bits, refcount_order, extended, version: Version::V3 };
        let file = kind.image(SIZE);
        let start = file.to_bytes();
        file.record();
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        for number in 0..12_u64 {
            apply(&Step::Write(number * 110_592, 9000, number as u8 + 1), &writer, &mut model);
            apply(&Step::Zero(number * 55_296, 30_000, ZeroMode::Punch), &writer, &mut model);
            apply(&Step::Pack(number * 155_296 % SIZE, 40_000, number as u8 * 20 + 1), &writer, &mut model);
            if number % 4 == 3 {
                let size = if number % 8 == 3 { SIZE / 2 - 512 } else { 3 * SIZE };
                apply(&Step::Resize(size), &writer, &mut model);
            }
            if number % 3 == 2 {
                writer.flush().unwrap();
            }
        }
        writer.close().unwrap();
        let replayed = MemoryDisk::from_bytes(start);
        for operation in file.operations() {
            replayed.apply(&operation).unwrap();
            assert_eq!(faults(&replayed).0, 0, "{kind:?} after {operation:?}");
        }
        assert_eq!(faults(&replayed), (0, 0));
    }
}

#[test]
fn a_file_that_outgrows_its_refcount_table_gets_a_longer_one() {
    // A table of 64 entries of blocks of 64 clusters of 512 bytes counts 2 MiB.
    let kind = Kind { cluster_bits: 9, refcount_order: 6, extended: false, version: Version::V3 };
    let file = kind.image(16 << 20);
    let first = Header::read(&*file).unwrap().refcount_table;
    let writer = open(&file, None);
    let mut model = vec![0; 16 << 20];
    for number in 0..200 {
        apply(&Step::Write(number * 81_920, 65_536, number as u8 + 1), &writer, &mut model);
    }
    writer.close().unwrap();
    let moved = Header::read(&*file).unwrap().refcount_table;
    assert!(moved.count > first.count && moved.offset != first.offset, "{first:?} {moved:?}");
    assert_eq!(faults(&*file), (0, 0));
    assert!(content(&open(&file, None)) == model);
}

#[test]
fn freed_clusters_are_used_again() {
    let kind = Kind { cluster_bits: 16, refcount_order: 4, extended: false, version: Version::V3 };
    let file = kind.image(64 << 20);
    let writer = open(&file, None);
    for round in 1..=8_u8 {
        writer.write_at(&vec![round; 1 << 20], u64::from(round) << 20).unwrap();
        writer.flush().unwrap();
        writer
            .write_zeroes(ByteRange::new(u64::from(round) << 20, 1 << 20).unwrap(), ZeroMode::Punch)
            .unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    // Header, tables, one L2 table, and room for one round.
    assert!(file.size() <= (16 + 8) * 65536, "{} bytes", file.size());
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn an_image_that_would_overwrite_its_own_tables_is_marked_corrupt_instead() {
    let kind = Kind { cluster_bits: 16, refcount_order: 4, extended: false, version: Version::V3 };
    let file = kind.image(1 << 20);
    let writer = open(&file, None);
    writer.write_at(&[1; 65536], 0).unwrap();
    writer.close().unwrap();
    // The L2 entry of the first cluster points to the L1 table, as if it were its own.
    let header = Header::read(&*file).unwrap();
    let mut entry = [0; 8];
    file.read_at(&mut entry, header.l1.offset.0).unwrap();
    let l2 = u64::from_be_bytes(entry) & layout::L1_OFFSET;
    file.write_at(&(header.l1.offset.0 | layout::COPIED).to_be_bytes(), l2).unwrap();
    let before = file.to_bytes();
    let writer = open(&file, None);
    let error = writer.write_at(&[2; 512], 0).unwrap_err();
    assert!(
        matches!(error.cause(), Some(Corrupt::ClusterInRegion { region: Region::L1Table, .. })),
        "{error:?}"
    );
    assert!(Header::read(&*file).unwrap().is_corrupt());
    assert_eq!(file.to_bytes()[65536..], before[65536..], "nothing but the header changed");
    let header = Header::read(&*file).unwrap();
    assert_eq!(Qcow2Writer::new(file, header, None, None).unwrap_err().kind(), crate::ErrorKind::Refused);
}

#[test]
fn no_table_is_put_where_another_one_is() {
    let kind = Kind { cluster_bits: 9, refcount_order: 6, extended: false, version: Version::V3 };
    let l1_end = |size: u64| {
        let header = Header::read(&*kind.image(size)).unwrap();
        (header.l1.offset.0 + u64::from(header.l1.count) * 8).div_ceil(512)
    };
    // The disk that a cluster of the L1 table maps.
    const MAPPED: u64 = 64 * 64 * 512;
    let size = (1..80).map(|clusters| clusters * MAPPED).find(|&size| l1_end(size) == 66).unwrap();
    for missing_block in [false, true] {
        let file = kind.image(size);
        // Smaller by so much, the L1 table ends with the first cluster that the second refcount block counts.
        let header = Header { size: size - MAPPED, ..Header::read(&*file).unwrap() };
        let l1 = TablePlace { count: header.l1.count - 64, ..header.l1 };
        file.write_at(&Header { l1, ..header.clone() }.to_bytes().unwrap(), 0).unwrap();
        let table = header.refcount_table.offset.0;
        let mut block = [0; 8];
        file.read_at(&mut block, table + 8).unwrap();
        // Nobody counts it: as if nothing were there.
        let count = if missing_block { table + 8 } else { u64::from_be_bytes(block) };
        file.write_at(&[0; 8], count).unwrap();
        file.write_at(&[0; 8], u64::from_be_bytes(block) + 8).unwrap();
        let before = file.to_bytes();
        let writer = open(&file, None);
        let error = writer.write_at(&[2; 512], 0).and_then(|()| writer.flush()).unwrap_err();
        let as_expected = match error.cause() {
            Some(Corrupt::RegionsOverlap { one, other: Region::L1Table, .. }) => {
                *one == Region::RefcountBlock
            }
            Some(Corrupt::L2TableInRegion { region: Region::L1Table, .. }) => !missing_block,
            _ => false,
        };
        assert!(as_expected, "{error:?}");
        assert!(Header::read(&*file).unwrap().is_corrupt());
        assert!(file.to_bytes()[512..before.len()] == before[512..], "nothing but the header changed");
    }
}

#[test]
fn writers_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.qcow2");
    let file = Arc::new(FileDisk::create_new(&path, 0).unwrap());
    let mut sink = Qcow2Sink::new(file.clone(), NewImage::new(64 << 20).unwrap()).unwrap();
    sink.finish().unwrap();
    let header = Header::read(&*file).unwrap();
    let writer = Qcow2Writer::new(file.clone(), header, None, None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..200_u64 {
                    // Neighbours in one cluster belong to different threads.
                    let at = (number * 4 + thread) * 16_384 + (number % 3) * 512;
                    writer.write_at(&[thread as u8 + 1; 4096], at).unwrap();
                    let mut back = [0; 4096];
                    writer.read_at(&mut back, at).unwrap();
                    assert_eq!(back, [thread as u8 + 1; 4096]);
                }
            });
        }
    });
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
    let compression = Header::read(&*file).unwrap().compression;
    assert_eq!(compression, Compression::Deflate);
}

#[test]
fn a_smaller_disk_gives_its_clusters_back_and_a_larger_one_has_zeroes() {
    for (cluster_bits, extended) in [(9, false), (16, false), (16, true)] {
        let kind = Kind { cluster_bits, refcount_order: 4, extended, version: Version::V3 };
        let file = kind.image(SIZE);
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        apply(&Step::Write(0, SIZE as usize, 1), &writer, &mut model);
        writer.flush().unwrap();
        for size in [SIZE / 3 / 512 * 512, 1024, 0, 3 * SIZE, SIZE] {
            apply(&Step::Resize(size), &writer, &mut model);
            assert!(content(&writer) == model, "{kind:?} of {size} bytes");
            assert_eq!(Header::read(&*file).unwrap().size, size);
        }
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0));
        let left = file.to_bytes().iter().filter(|&&byte| byte != 0).count();
        assert!(left < SIZE as usize / 8, "{left} bytes are not zero");
        let error = open(&file, None).resize(1000).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    }
}

#[test]
fn an_l1_table_longer_than_a_refcount_block_counts_is_moved_in_one_piece() {
    for (refcount_order, size) in [(4, 600 << 20), (6, 600 << 20), (6, 3 << 30)] {
        let kind = Kind { cluster_bits: 9, refcount_order, extended: false, version: Version::V3 };
        let file = kind.image(SIZE);
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        apply(&Step::Write(4096, 65_536, 7), &writer, &mut model);
        writer.resize(size).unwrap();
        writer.write_at(&[9; 4096], size - 4096).unwrap();
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0), "{kind:?}");
        let writer = open(&file, None);
        let mut end = [0; 4096];
        writer.read_at(&mut end, size - 4096).unwrap();
        assert_eq!(end, [9; 4096]);
        writer.resize(SIZE).unwrap();
        assert!(content(&writer) == model);
    }
}

#[test]
fn after_a_snapshot_a_crash_loses_nothing_of_what_both_have() {
    for cluster_bits in [9, 16] {
        let kind = Kind { cluster_bits, refcount_order: 4, extended: false, version: Version::V3 };
        let file = kind.image(SIZE);
        let writer = open(&file, None);
        let mut model = vec![0; SIZE as usize];
        apply(&Step::Write(0, SIZE as usize / 2, 3), &writer, &mut model);
        writer.close().unwrap();
        let new = NewSnapshot { name: b"one".to_vec(), date: (0, 0) };
        create_snapshot(&*file, &Header::read(&*file).unwrap(), new).unwrap();
        let start = file.to_bytes();
        file.record();
        let writer = open(&file, None);
        // L2 tables are shared: each gets a copy by the first write.
        for number in 0..4 {
            writer.write_at(&[0xee; 1000], number * 200_000).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        let operations = file.operations();
        for_each_crash(&start, &operations, 613, |after, cut| {
            assert_eq!(faults(&**after).0, 0, "{cut} of {}", operations.len());
            let now = content(&open(after, None));
            let differs = |at: usize| now[at] != model[at] && now[at] != 0xee;
            assert_eq!((0..now.len()).find(|&at| differs(at)), None, "{cut} of {}", operations.len());
        });
    }
}

/// An image of compressed clusters.
fn compressed(bytes: &[u8]) -> Arc<MemoryDisk> {
    let file = Arc::new(MemoryDisk::new(0));
    let image = NewImage::new(bytes.len() as u64).unwrap().with_codec(Codec::default(), true).unwrap();
    let mut sink = Qcow2Sink::new(file.clone(), image).unwrap();
    let source = MemoryDisk::from_bytes(bytes.to_vec());
    convert(&source, &mut sink, &Options::default()).unwrap();
    file
}

#[test]
fn what_a_thread_keeps_of_a_compressed_cluster_is_not_shown_once_it_changed() {
    // Alike in length, so that both images have their clusters in the same places.
    let [mut one, other] = [1_u8, 2].map(|byte| vec![byte; 4 * 65_536]);
    let (file, other_file) = (compressed(&one), compressed(&other));
    assert_eq!(file.size(), other_file.size());
    let (writer, other_writer) = (open(&file, None), open(&other_file, None));
    assert!(matches!(writer.image().mapping(GuestOffset(0)).unwrap(), Mapping::Compressed(_)));
    let part = |disk: &dyn BlockRead, at: u64| {
        let mut bytes = [0; 100];
        disk.read_at(&mut bytes, at).unwrap();
        bytes
    };
    for _ in 0..2 {
        assert_eq!(part(&writer, 5000), [1; 100]);
        assert_eq!(part(&other_writer, 5000), [2; 100], "of another image");
    }
    // A part of it, then another image's cluster in between, then what is around the part.
    assert_eq!(part(&writer, 5000), [1; 100]);
    writer.write_at(&[9; 300], 5000).unwrap();
    one[5000..5300].fill(9);
    assert_eq!(part(&writer, 5050), [9; 100]);
    assert_eq!(part(&writer, 4900), [1; 100]);
    writer.flush().unwrap();
    // The places of compressed clusters become those of plain ones.
    for at in [65_536_u64, 131_072, 196_608] {
        assert_eq!(part(&writer, at), [1; 100]);
        writer.write_at(&[at as u8 | 7; 65_536], at).unwrap();
        one[at as usize..at as usize + 65_536].fill(at as u8 | 7);
        writer.flush().unwrap();
        assert!(content(&writer) == one);
    }
    writer.close().unwrap();
    assert!(content(&open(&file, None)) == one);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn no_entry_says_what_a_data_file_could_not_keep() {
    let (file, data) = (Arc::new(MemoryDisk::new(0)), Arc::new(MemoryDisk::new(0)));
    let image = NewImage::new(SIZE).unwrap().with_data_file(b"data", false).unwrap();
    image.create(file.clone(), Some(data.clone()), Preallocation::Off).unwrap();
    let header = Header::read(&*file).unwrap();
    let writer = Qcow2Writer::new(file.clone(), header.clone(), None, Some(data.clone())).unwrap();
    data.record();
    writer.write_at(&[1; 65_536], 0).unwrap();
    // The write gets through, the flush does not.
    data.fail_changes_after(0);
    assert!(writer.flush().is_err());
    let mut entry = [0; 8];
    file.read_at(&mut entry, header.l1.offset.0).unwrap();
    assert_eq!(entry, [0; 8]);
    data.fail_changes_after(u64::MAX);
    writer.flush().unwrap();
    assert!(matches!(data.operations()[..], [Operation::Write { .. }, Operation::Flush]));
    file.read_at(&mut entry, header.l1.offset.0).unwrap();
    assert_ne!(entry, [0; 8]);
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
}
