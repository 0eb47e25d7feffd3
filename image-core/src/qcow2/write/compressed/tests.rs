//! Where compressed clusters go, and what they leave alone.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;

use super::super::tests::{Kind, SIZE, content, faults, for_each_crash, open};
use super::super::{NewSnapshot, create_snapshot};
use super::*;
use crate::ErrorKind;
use crate::block::{BlockWrite, MemoryDisk, Preallocation};
use crate::convert::{Options, convert};
use crate::qcow2::corrupt::Region;
use crate::qcow2::{Compression, Corrupt, Header, HostOffset, NewImage, Qcow2, Qcow2Sink, Version};

const KIND: Kind = Kind { cluster_bits: 16, refcount_order: 4, extended: false, version: Version::V3 };
const CLUSTER: usize = 65_536;

/// The whole clusters of `size` bytes that `len` bytes at `at` touch, on a disk of `disk_size` bytes.
pub(crate) fn clusters_around(at: u64, len: u64, size: u64, disk_size: u64) -> std::ops::Range<u64> {
    let start = if at < disk_size { at / size * size } else { disk_size };
    start..(at + len).next_multiple_of(size).clamp(start, disk_size)
}

/// Bytes that compress into some, many or all of their length.
pub(crate) fn compressible(byte: u8, len: u64) -> Vec<u8> {
    let mut random = u64::from(byte);
    let bytes = (0..len).map(|index| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if index % 256 < u64::from(byte) { (random >> 56) as u8 } else { byte ^ (index / 4096) as u8 }
    });
    bytes.collect()
}

/// Stores `bytes`, whole clusters, compressed where that is shorter.
pub(crate) fn compress(writer: &Qcow2Writer, bytes: &[u8], at: u64) {
    let mut sink = CompressedSink::new(writer, None, Zeroes::Write).unwrap();
    let (mut encoder, size) = (sink.encoder().unwrap().unwrap(), sink.unit_size() as usize);
    for (index, unit) in bytes.chunks(size).enumerate() {
        let range = ByteRange::new(at + (index * size) as u64, unit.len() as u64).unwrap();
        let (mut whole, mut compressed) = (unit.to_vec(), Vec::new());
        whole.resize(size, 0);
        let piece = match encoder.encode(&whole, &mut compressed).unwrap() {
            true => Piece::Compressed(&compressed),
            false => Piece::Plain(unit),
        };
        sink.put(range, piece).unwrap();
    }
    sink.finish().unwrap();
}

/// Bytes that do not compress, then `byte`s: a cluster that compresses into a bit more than `len` bytes.
fn cluster(len: usize, byte: u8) -> Vec<u8> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(byte);
    let mut bytes = vec![byte; CLUSTER];
    for byte in &mut bytes[..len] {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (random >> 56) as u8;
    }
    bytes
}

/// Where the compressed cluster with this number is: its host offset, and up to where its sectors go.
fn place(image: &Qcow2, number: u64) -> (u64, u64) {
    match image.mapping(GuestOffset(number * CLUSTER as u64)).unwrap() {
        Mapping::Compressed(place) => (place.offset.0, place.offset.0 + place.len),
        other => panic!("cluster {number} is {other:?}"),
    }
}

/// How often the host cluster at `offset` is used.
fn count(writer: &Qcow2Writer, offset: u64) -> u64 {
    writer.state().allocator.count(&*writer.file, offset / CLUSTER as u64).unwrap()
}

#[test]
fn they_follow_each_other_byte_by_byte() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    for (number, len) in [(0, 20_000), (1, 30_000), (2, 25_000), (3, 100)] {
        compress(&writer, &cluster(len, number as u8 + 1), number * CLUSTER as u64);
    }
    writer.flush().unwrap();
    let places: Vec<_> = (0..4).map(|number| place(writer.image(), number)).collect();
    let host = places[0].0;
    assert_eq!(host % CLUSTER as u64, 0);
    for pair in places.windows(2) {
        // The place of an entry ends with a sector, the bytes before.
        let gap = pair[0].1 - pair[1].0;
        assert!(pair[1].0 > pair[0].0 && gap < 512, "{places:?}");
    }
    // The third one runs on into the next cluster.
    assert!(places[2].0 < host + CLUSTER as u64 && places[2].1 > host + CLUSTER as u64, "{places:?}");
    assert_eq!((count(&writer, host), count(&writer, host + CLUSTER as u64)), (3, 2));
    assert!(file.size() >= places[3].1, "all sectors are in the file");
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn no_count_is_raised_past_its_limit() {
    for (refcount_order, most) in [(0, 1), (1, 3)] {
        let file = Kind { refcount_order, ..KIND }.image(SIZE);
        let writer = open(&file, None);
        for number in 0..8 {
            compress(&writer, &cluster(100, number as u8 + 1), number * CLUSTER as u64);
        }
        let hosts: Vec<_> = (0..8).map(|number| place(writer.image(), number).0 / CLUSTER as u64).collect();
        let most_shared = hosts.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert_eq!(most_shared, Some(most), "{hosts:?}");
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0));
    }
}

#[test]
fn a_host_cluster_that_became_free_is_not_written_into_its_rest() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    compress(&writer, &cluster(20_000, 1), 0);
    let (host, _) = place(writer.image(), 0);
    writer.flush().unwrap();
    writer.write_zeroes(ByteRange::whole(CLUSTER as u64), crate::block::ZeroMode::Punch).unwrap();
    writer.flush().unwrap();
    assert_eq!(count(&writer, host), 0);
    // It becomes a plain cluster; what is compressed next must not go behind 20,000 bytes of it.
    let plain = vec![7; CLUSTER];
    writer.write_at(&plain, 0).unwrap();
    assert!(matches!(writer.image().mapping(GuestOffset(0)).unwrap(),
        Mapping::Allocated(cluster) if cluster.offset == HostOffset(host)));
    compress(&writer, &cluster(20_000, 2), CLUSTER as u64);
    writer.close().unwrap();
    assert!(content(&open(&file, None))[..CLUSTER] == plain);
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn whatever_was_there_before_is_freed_and_a_snapshot_keeps_it() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    let before: Vec<u8> = [cluster(9000, 1), cluster(70, 2), cluster(CLUSTER, 3)].concat();
    compress(&writer, &before, 0);
    assert!(matches!(
        writer.image().mapping(GuestOffset(2 * CLUSTER as u64)).unwrap(),
        Mapping::Allocated(_)
    ));
    writer.close().unwrap();
    let new = NewSnapshot { name: b"one".to_vec(), date: (0, 0) };
    let header = create_snapshot(&*file, &Header::read(&*file).unwrap(), new).unwrap();
    let after: Vec<u8> = [cluster(5000, 4), cluster(CLUSTER, 5), cluster(60, 6)].concat();
    let writer = open(&file, None);
    // Twice: what is replaced was shared at first, and is its own then.
    compress(&writer, &before, 0);
    compress(&writer, &after, 0);
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
    assert!(content(&open(&file, None))[..3 * CLUSTER] == after);
    let (snapshots, _) = crate::qcow2::snapshot::list(&*file, &header).unwrap();
    let then = Qcow2::new(file.clone(), snapshots[0].header(&header).unwrap(), None, None).unwrap();
    assert!(content(&then)[..3 * CLUSTER] == before);
}

#[test]
fn every_crash_leaves_the_old_or_the_new() {
    for (cluster_bits, refcount_order, extended) in [(9, 1, false), (14, 4, true), (16, 4, false)] {
        let kind = Kind { cluster_bits, refcount_order, extended, version: Version::V3 };
        let file = kind.image(SIZE);
        let writer = open(&file, None);
        let old: Vec<u8> = [cluster(9000, 1), cluster(70, 2), cluster(30_000, 3)].concat();
        compress(&writer, &old, 0);
        writer.close().unwrap();
        let start = file.to_bytes();
        file.record();
        let writer = open(&file, None);
        let new: Vec<u8> = [cluster(7000, 4), cluster(40_000, 5), cluster(80, 6)].concat();
        for at in (0..new.len()).step_by(CLUSTER) {
            compress(&writer, &new[at..at + CLUSTER], at as u64);
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        let operations = file.operations();
        for_each_crash(&start, &operations, 389, |after, cut| {
            assert_eq!(faults(&**after).0, 0, "{cut} of {}", operations.len());
            let now = content(&open(after, None));
            let sound = |at: &usize| now[*at] == old[*at] || now[*at] == new[*at];
            assert_eq!((0..new.len()).find(|at| !sound(at)), None, "{cut} of {}", operations.len());
        });
        assert_eq!(faults(&*file), (0, 0));
    }
}

#[test]
fn the_compression_is_that_of_the_image() {
    let mut disk: Vec<u8> = (0..12).flat_map(|number| cluster(number as usize * 5000, number + 1)).collect();
    // The last cluster is cut by the end of the disk; what is zero stays nothing.
    disk.truncate(disk.len() - 5 * 512);
    disk[3 * CLUSTER..5 * CLUSTER].fill(0);
    let source = MemoryDisk::from_bytes(disk.clone());
    for compression in [Compression::Deflate, Compression::Zstd] {
        let file = Arc::new(MemoryDisk::new(0));
        let image = NewImage::new(disk.len() as u64).unwrap();
        let image = image.with_codec(Codec::new(compression, None).unwrap(), false).unwrap();
        Qcow2Sink::new(file.clone(), image).unwrap().finish().unwrap();
        let writer = open(&file, None);
        let mut sink = CompressedSink::new(&writer, None, Zeroes::Write).unwrap();
        convert(&source, &mut sink, &Options::default()).unwrap();
        assert!(content(&writer) == disk, "{compression}");
        assert_eq!(writer.image().mapping(GuestOffset(4 * CLUSTER as u64)).unwrap(), Mapping::Unallocated);
        place(writer.image(), 11);
        writer.close().unwrap();
        assert_eq!(faults(&*file), (0, 0));
        assert_eq!(Header::read(&*file).unwrap().compression, compression);
        assert!(content(&open(&file, None)) == disk, "{compression}");
        let error = CompressedSink::new(&open(&file, None), Some(99), Zeroes::Write).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn nothing_is_compressed_into_a_data_file() {
    let (file, data) = (Arc::new(MemoryDisk::new(0)), Arc::new(MemoryDisk::new(0)));
    let image = NewImage::new(SIZE).unwrap().with_data_file(b"data", false).unwrap();
    image.create(file.clone(), Some(data.clone()), Preallocation::Off).unwrap();
    let header = Header::read(&*file).unwrap();
    let writer = Qcow2Writer::new(file.clone(), header, None, Some(data)).unwrap();
    let mut sink = CompressedSink::new(&writer, None, Zeroes::Write).unwrap();
    let first = ByteRange::new(CLUSTER as u64, CLUSTER as u64).unwrap();
    for piece in [Piece::Compressed(&[1; 100]), Piece::Plain(&[1; CLUSTER])] {
        let error = sink.put(first, piece).unwrap_err();
        let guest = GuestOffset(CLUSTER as u64);
        assert_eq!(error.cause(), Some(&Unsupported::CompressedInDataFile { guest }));
    }
    writer.close().unwrap();
    assert_eq!(faults(&*file), (0, 0));
}

#[test]
fn tables_are_not_compressed_over() {
    let file = KIND.image(SIZE);
    let writer = open(&file, None);
    compress(&writer, &cluster(100, 1), 0);
    writer.close().unwrap();
    // As if nothing were where the L1 table is.
    let header = Header::read(&*file).unwrap();
    let mut block = [0; 8];
    file.read_at(&mut block, header.refcount_table.offset.0).unwrap();
    let l1 = header.l1.offset.0 / CLUSTER as u64;
    file.write_at(&[0; 2], u64::from_be_bytes(block) + 2 * l1).unwrap();
    let before = file.to_bytes();
    let writer = open(&file, None);
    let mut sink = CompressedSink::new(&writer, None, Zeroes::Write).unwrap();
    let second = ByteRange::new(CLUSTER as u64, CLUSTER as u64).unwrap();
    let error = sink.put(second, Piece::Compressed(&[1; 100])).unwrap_err();
    assert!(
        matches!(error.cause(), Some(Corrupt::ClusterInRegion { region: Region::L1Table, .. })),
        "{error:?}"
    );
    assert!(Header::read(&*file).unwrap().is_corrupt());
    assert!(file.to_bytes()[CLUSTER..] == before[CLUSTER..], "nothing but the header changed");
}
