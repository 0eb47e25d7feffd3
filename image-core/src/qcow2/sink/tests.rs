//! What is written, read back by a few lines that know nothing of how it was written: every reference recounted.

mod dedup;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::super::header::{Compression, Header, Version};
use super::super::refcount::RefcountBlock;
use super::*;
use crate::ErrorKind;
use crate::block::{BlockRead, FileDisk, MemoryDisk};
use crate::convert::{Options, convert};
use crate::qcow2::{Codec, EntryFormat, Geometry, Unsupported};

/// Converts `bytes` with so many threads.
fn written(bytes: &[u8], image: &NewImage, threads: usize) -> Vec<u8> {
    let file = MemoryDisk::new(0);
    let mut sink = Qcow2Sink::new(&file, image.clone()).unwrap();
    let options = Options { threads: NonZeroUsize::new(threads), ..Options::default() };
    convert(&MemoryDisk::from_bytes(bytes.to_vec()), &mut sink, &options).unwrap();
    file.to_bytes()
}

/// An image taken apart.
struct Apart {
    content: Vec<u8>,
    plain: usize,
    compressed: usize,
    /// Where compressed clusters begin: fewer than those where some are shared.
    places: BTreeSet<u64>,
    /// Bytes of compressed clusters, whole sectors, shared ones once.
    compressed_len: usize,
}

/// Reads `file`, and compares every refcount with the references there are.
fn take_apart(file: &[u8]) -> Apart {
    let header = Header::from_bytes(&file[..file.len().min(2 << 20)], file.len() as u64).unwrap();
    let geometry = header.geometry;
    let cluster_size = geometry.cluster_size() as usize;
    let format = EntryFormat { geometry, zero_flag: header.version == Version::V3, data_file: false };
    let entry = |at: usize| u64::from_be_bytes(file[at..at + 8].try_into().unwrap());
    let mut uses = BTreeMap::new();
    let mut refer = |offset: u64, len: u64| {
        for cluster in geometry.cluster_index(offset)..=geometry.cluster_index(offset + len - 1) {
            *uses.entry(cluster).or_insert(0_u64) += 1;
        }
    };
    for (_, range) in header.regions() {
        refer(range.offset(), range.len());
    }
    let content = vec![0; header.size as usize];
    let mut apart = Apart { content, plain: 0, compressed: 0, places: BTreeSet::new(), compressed_len: 0 };
    for l1_index in 0..header.l1.count as usize {
        let guest = l1_index as u64 * geometry.l2_coverage();
        let l1_entry = L1Entry(entry(header.l1.offset.0 as usize + l1_index * 8));
        let Some(table) = l1_entry.decode(geometry, GuestOffset(guest)).unwrap() else { continue };
        assert!(table.copied);
        refer(table.offset.0, geometry.cluster_size());
        for index in 0..geometry.l2_count() as usize {
            let guest = guest as usize + index * cluster_size;
            let l2_entry = L2Entry { descriptor: entry(table.offset.0 as usize + index * 8), subclusters: 0 };
            let bytes = match l2_entry.decode(format, GuestOffset(guest as u64)).unwrap() {
                Mapping::Unallocated => continue,
                Mapping::Allocated(cluster) => {
                    assert!(cluster.copied);
                    refer(cluster.offset.0, geometry.cluster_size());
                    apart.plain += 1;
                    file[cluster.offset.0 as usize..][..cluster_size].to_vec()
                }
                Mapping::Compressed(place) => {
                    refer(place.offset.0, place.len);
                    apart.compressed += 1;
                    if apart.places.insert(place.offset.0) {
                        apart.compressed_len += place.len as usize;
                    }
                    unpack(
                        &file[place.offset.0 as usize..][..place.len as usize],
                        cluster_size,
                        header.compression,
                    )
                }
                other => panic!("{other:?} is not written"),
            };
            let end = apart.content.len().min(guest + cluster_size);
            apart.content[guest..end].copy_from_slice(&bytes[..end - guest]);
            assert!(bytes[end - guest..].iter().all(|byte| *byte == 0), "bytes behind the end of the disk");
        }
    }
    for index in 0..header.refcount_table_len() / 8 {
        let block_offset = entry((header.refcount_table.offset.0 + index * 8) as usize);
        if block_offset != 0 {
            *uses.entry(geometry.cluster_index(block_offset)).or_insert(0) += 1;
        }
    }
    compare_refcounts(file, &header, &uses);
    apart
}

fn compare_refcounts(file: &[u8], header: &Header, uses: &BTreeMap<u64, u64>) {
    let geometry = header.geometry;
    for index in 0..header.refcount_table_len() / 8 {
        let at = (header.refcount_table.offset.0 + index * 8) as usize;
        let offset = u64::from_be_bytes(file[at..at + 8].try_into().unwrap()) as usize;
        if offset == 0 {
            continue;
        }
        let block =
            RefcountBlock::from_bytes(geometry, file[offset..][..geometry.cluster_size() as usize].to_vec());
        for in_block in 0..geometry.refcounts_per_block() {
            let cluster = index * geometry.refcounts_per_block() + in_block;
            assert_eq!(block.count(in_block), uses.get(&cluster).copied().unwrap_or(0), "cluster {cluster}");
        }
    }
    let last = *uses.last_key_value().unwrap().0;
    assert_eq!(last, geometry.cluster_index(file.len() as u64 - 1), "nothing behind the last cluster");
    assert_eq!(uses.len() as u64, last + 1, "no cluster without use");
}

fn unpack(bytes: &[u8], cluster_size: usize, compression: Compression) -> Vec<u8> {
    let mut cluster = Vec::with_capacity(cluster_size);
    match compression {
        Compression::Deflate => {
            // A window of 4 KiB refuses longer distances.
            let mut inflate = flate2::Decompress::new_with_window_bits(false, 12);
            let status =
                inflate.decompress_vec(bytes, &mut cluster, flate2::FlushDecompress::Finish).unwrap();
            assert_eq!(status, flate2::Status::StreamEnd);
        }
        Compression::Zstd => {
            let mut stream = zstd::stream::read::Decoder::new(bytes).unwrap().single_frame();
            std::io::Read::read_to_end(&mut stream, &mut cluster).unwrap();
        }
    }
    assert_eq!(cluster.len(), cluster_size);
    cluster
}

/// A disk of zeroes, text that compresses well and noise that does not, in runs of whole `grain`s.
fn disk(runs: &[(u8, usize)], grain: usize, rest: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes = Vec::new();
    for &(kind, count) in runs.iter().chain(&[(1, 0)]) {
        for at in 0..count * grain {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(match kind {
                0 => 0,
                1 => b"the quick brown fox jumps over it"[(at / 7) % 33],
                _ => (state >> 24) as u8,
            });
        }
    }
    bytes.extend(vec![b'.'; rest]);
    bytes
}

fn new_image(len: usize, bits: u32, order: u32, method: Option<Compression>) -> NewImage {
    let geometry = Geometry::new(bits, order, false).unwrap();
    let image = NewImage::in_clusters(len as u64, geometry).unwrap();
    let codec = Codec::new(method.unwrap_or(Compression::Deflate), None).unwrap();
    image.with_codec(codec, method.is_some()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_image_is_whole_and_the_same_for_any_number_of_workers(
        runs in prop::collection::vec((0..3_u8, 1..12_usize), 0..24), grain in 300..9000_usize, rest in 0..600_usize,
        bits in 9..=17_u32, order in 0..=6_u32, method in 0..3_usize, dedup in any::<bool>(),
    ) {
        let bytes = disk(&runs, grain, rest);
        let method = [None, Some(Compression::Deflate), Some(Compression::Zstd)][method];
        let image = new_image(bytes.len(), bits, order, method).with_dedup(dedup);
        let file = written(&bytes, &image, 1);
        let apart = take_apart(&file);
        prop_assert_eq!(apart.content.len(), bytes.len().next_multiple_of(512));
        prop_assert!(apart.content[..bytes.len()] == bytes);
        prop_assert!(apart.content[bytes.len()..].iter().all(|byte| *byte == 0));
        prop_assert_eq!(file.len() % 512, 0);
        let used = bytes.chunks(1 << bits).filter(|cluster| cluster.iter().any(|byte| *byte != 0)).count();
        prop_assert_eq!(apart.plain + apart.compressed, used);
        prop_assert!(method.is_some() || apart.compressed == 0);
        prop_assert!(dedup || apart.places.len() == apart.compressed);
        for threads in [2, 3, 8] {
            prop_assert!(written(&bytes, &image, threads) == file, "{threads} workers write something else");
        }
    }
}

#[test]
fn gaps_beside_plain_clusters_are_filled() {
    // Text and noise by turns: each plain cluster leaves a gap that the next compressed clusters fill.
    let bytes = disk(&[(1, 1), (2, 1)].repeat(200), 65536, 0);
    let apart_file = written(&bytes, &new_image(bytes.len(), 16, 4, Some(Compression::Zstd)), 2);
    let apart = take_apart(&apart_file);
    assert_eq!((apart.plain, apart.compressed), (200, 200));
    // Were they not filled, it would be 400 clusters.
    let clusters = apart_file.len().div_ceil(65536);
    let compressed_clusters = apart.compressed_len.div_ceil(65536);
    assert!(
        clusters <= 200 + compressed_clusters + 5,
        "{clusters} clusters, {compressed_clusters} of them compressed"
    );
}

#[test]
fn refcount_blocks_are_written_as_the_file_grows() {
    // 512-byte clusters with 64-bit refcounts: a block for each 32 KiB, an L2 table for each 32 KiB.
    let bytes = disk(&[(2, 40), (1, 40), (2, 40)], 65536, 0);
    for method in [None, Some(Compression::Deflate)] {
        let apart = take_apart(&written(&bytes, &new_image(bytes.len(), 9, 6, method), 3));
        assert!(apart.content == bytes);
    }
}

#[test]
fn empty_images_are_as_small_as_qemu_makes_them() {
    for (size, expect) in [(0, 196_608), (1, 196_616), (4 << 30, 196_672), (1 << 40, 3 * 65536 + 16384)] {
        let file = MemoryDisk::new(0);
        let mut sink = Qcow2Sink::new(&file, NewImage::new(size).unwrap()).unwrap();
        sink.finish().unwrap();
        assert_eq!(file.to_bytes().len(), expect, "size {size:#x}");
        let header = Header::read(&file).unwrap();
        assert_eq!(header.size, size.next_multiple_of(512));
    }
}

#[test]
fn version_2_has_no_more_than_version_2_has() {
    let bytes = disk(&[(1, 5), (0, 5), (2, 1)], 65536, 100);
    let image = new_image(bytes.len(), 16, 4, Some(Compression::Deflate)).with_version(Version::V2).unwrap();
    let file = written(&bytes, &image, 2);
    assert_eq!(Header::from_bytes(&file, file.len() as u64).unwrap().version, Version::V2);
    assert_eq!(take_apart(&file).content[..bytes.len()], bytes);
    let v2 = |image: NewImage| image.with_version(Version::V2).map(drop).map_err(|error| error.kind());
    assert_eq!(v2(new_image(0, 16, 3, None)), Err(ErrorKind::Unsupported));
    assert_eq!(v2(new_image(0, 16, 4, Some(Compression::Zstd))), Err(ErrorKind::Unsupported));
}

#[test]
fn what_cannot_be_made_is_refused() {
    assert_eq!(NewImage::new(u64::MAX).unwrap_err().kind(), ErrorKind::Unsupported);
    let small = Geometry::new(9, 4, false).unwrap();
    assert!(NewImage::in_clusters(128 << 30, small).is_ok());
    let error = NewImage::in_clusters((128 << 30) + 1, small).unwrap_err();
    assert!(matches!(error.cause(), Some(Unsupported::VirtualSize { .. })));
    assert_eq!(Codec::new(Compression::Deflate, Some(10)).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Codec::new(Compression::Zstd, Some(0)).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn an_unfinished_image_is_none_whenever_it_stops() {
    let bytes = disk(&[(1, 9), (0, 5), (2, 9)], 65536, 100);
    let image = new_image(bytes.len(), 16, 4, Some(Compression::Deflate));
    let source = MemoryDisk::from_bytes(bytes);
    for changes in 0.. {
        let file = MemoryDisk::new(0);
        file.fail_changes_after(changes);
        let converted = Qcow2Sink::new(&file, image.clone())
            .and_then(|mut sink| convert(&source, &mut sink, &Options::default()).map(drop));
        let Err(error) = converted else {
            assert!(changes > 5, "{changes} changes for all of it");
            break;
        };
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            file.to_bytes().iter().take(65536).all(|byte| *byte == 0),
            "a header after {changes} changes"
        );
    }
}

#[test]
fn an_older_image_is_gone_before_the_new_one_is_written() {
    let file = MemoryDisk::from_bytes(vec![0xee; 1 << 20]);
    let mut sink = Qcow2Sink::new(&file, new_image(1 << 16, 16, 4, None)).unwrap();
    assert!(file.to_bytes()[..65536].iter().all(|byte| *byte == 0));
    sink.put(ByteRange::whole(65536), Piece::Plain(&[1; 65536])).unwrap();
    sink.finish().unwrap();
    assert_eq!(file.size(), 1 << 20, "a disk that need not grow keeps its size");
    assert_eq!(Header::read(&file).unwrap().size, 1 << 16);
}

/// Sizes are exact, so nobody makes an image larger without seeing it; qemu-img 10.0.2 wrote the others.
#[test]
fn images_are_exactly_so_long() {
    let samples: [&[u8]; 4] = [
        include_bytes!("../../deflate/tests/corpus/listing.json"),
        include_bytes!("../../deflate/tests/corpus/machine-code.bin"),
        include_bytes!("../../deflate/tests/corpus/prose.txt"),
        include_bytes!("../../deflate/tests/corpus/source.txt"),
    ];
    let mut bytes = Vec::new();
    for sample in samples {
        bytes.extend_from_slice(sample);
        bytes.resize(bytes.len().next_multiple_of(65_536), 0);
    }
    bytes.resize(bytes.len() + 65_536, 0);
    let found = |method| {
        let file = written(&bytes, &new_image(bytes.len(), 16, 4, method), 2);
        (file.len(), take_apart(&file).compressed_len)
    };
    assert_eq!(found(None), (524_800, 0), "qemu-img: 589,824");
    assert_eq!(found(Some(Compression::Deflate)), (328_192, 49_468), "qemu-img: 377,344");
    assert_eq!(found(Some(Compression::Zstd)), (328_192, 49_129), "qemu-img: 376,320");
}

/// On a filesystem where room is made ahead: none of it is left that no cluster needs.
#[test]
fn what_was_set_aside_and_not_used_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, size| FileDisk::create_new(folder.path().join(name), size).unwrap();
    for len in [65_536, 5 << 20, 40 << 20] {
        let source = file(&format!("source-{len}"), len);
        source.write_at(&vec![7; len as usize], 0).unwrap();
        let target = file(&format!("target-{len}"), 0);
        let mut sink = Qcow2Sink::new(&target, new_image(len as usize, 16, 4, None)).unwrap();
        convert(&source, &mut sink, &Options::default()).unwrap();
        let allocated = target.allocated_size().unwrap();
        assert!(allocated <= target.size().next_multiple_of(4096), "{len}: {allocated} of {}", target.size());
    }
}
