//! What is told of two disks, and that it does not depend on how they were read.

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::block::{BlockWrite, MemoryDisk};

fn disk(bytes: &[u8]) -> MemoryDisk {
    MemoryDisk::from_bytes(bytes.to_vec())
}

fn with_threads(threads: usize, most: usize) -> Options<'static> {
    Options { threads: NonZeroUsize::new(threads), most, ..Options::default() }
}

/// The blocks that differ, one by one.
fn naive(one: &[u8], other: &[u8]) -> (Option<u64>, Vec<u64>) {
    let size = one.len().max(other.len());
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or_default();
    let differing: Vec<u64> =
        (0..size).filter(|&at| byte(one, at) != byte(other, at)).map(|at| at as u64).collect();
    let mut blocks: Vec<u64> = differing.iter().map(|at| at / BLOCK).collect();
    blocks.dedup();
    (differing.first().copied(), blocks)
}

#[test]
fn the_first_ranges_are_told_and_no_more() {
    let one = MemoryDisk::new(8 << 20);
    let other = MemoryDisk::new(8 << 20);
    for at in [600, 1024, 5 << 20, 7 << 20] {
        other.write_at(&[1], at).unwrap();
    }
    let range = |start, end| ByteRange::between(start, end);
    let last = |at: u64| range(at << 20, (at << 20) + BLOCK);
    for threads in [1, 4] {
        let found = |most| compare(&one, &other, &with_threads(threads, most)).unwrap();
        let all = found(9);
        assert_eq!(all.ranges, [range(512, 1536), last(5), last(7)]);
        assert_eq!((all.first, all.complete, all.compared), (Some(600), true, 8 << 20));
        assert_eq!(found(3), all, "the disk ends before a fourth");
        let two = found(2);
        assert_eq!((two.ranges.as_slice(), two.complete), (&all.ranges[..2], false));
        let none = found(0);
        assert_eq!((none.first, none.ranges.len(), none.complete), (Some(600), 0, false));
    }
}

#[test]
fn what_both_know_to_be_zeroes_is_not_read() {
    let (one, other) = (MemoryDisk::new(4 << 20), MemoryDisk::new(4 << 20));
    let hole = ByteRange::between(1 << 20, 4 << 20);
    one.fail_reads_in(hole);
    other.fail_reads_in(hole);
    assert!(compare(&one, &other, &Options::default()).unwrap().is_same());
    // Data on one side only is held against zeroes, without reading the other.
    one.fail_reads_in(ByteRange::EMPTY);
    one.write_at(&[5], 2 << 20).unwrap();
    assert_eq!(compare(&one, &other, &Options::default()).unwrap().first, Some(2 << 20));
}

#[test]
fn an_error_is_told_with_its_disk_unless_a_difference_came_first() {
    let data = vec![7; 4 << 20];
    let (one, other) = (disk(&data), disk(&data));
    other.fail_reads_in(ByteRange::between(3 << 20, (3 << 20) + 1));
    for threads in [1, 3] {
        let error = compare(&one, &other, &with_threads(threads, 0)).unwrap_err();
        let failed = error.cause::<Failed>().unwrap();
        assert_eq!((failed.side, failed.offset, failed.reading), (Side::Other, 3 << 20, true));
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    one.write_at(&[8], 1 << 20).unwrap();
    assert_eq!(compare(&one, &other, &with_threads(2, 0)).unwrap().first, Some(1 << 20));
}

#[test]
fn it_stops_on_request() {
    let counter = crate::progress::Counter::default();
    counter.cancel();
    let (one, other) = (MemoryDisk::new(4096), MemoryDisk::new(4096));
    let options = Options { progress: &counter, ..Options::default() };
    assert_eq!(compare(&one, &other, &options).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn strictness_tells_holes_from_zeroes() {
    let one = disk(&[&[1; 4096][..], &[0; 4096]].concat());
    let other = disk(&[&[2; 4096][..], &[0; 4096]].concat());
    assert_eq!(first_difference_of_maps(&one, &other, u64::MAX).unwrap(), None);
    other.write_at(&[3], 6000).unwrap();
    // The hole that follows the data is the last of the one disk, but not of the other.
    assert_eq!(first_difference_of_maps(&one, &other, u64::MAX).unwrap(), Some(4096));
    assert_eq!(first_difference_of_maps(&one, &other, 4096).unwrap(), None);
}

proptest! {
    #[test]
    fn it_finds_what_a_loop_over_the_bytes_finds(
        one in proptest::collection::vec(0..=1_u8, 0..6000),
        changes in proptest::collection::vec((0..6000_usize, 0..=2_u8), 0..6),
        cut in 0..6000_usize,
        threads in 1..4_usize,
    ) {
        let mut other = one.clone();
        other.truncate(cut.max(1));
        for (at, byte) in changes {
            if let Some(place) = other.get_mut(at) {
                *place = byte;
            }
        }
        let (first, blocks) = naive(&one, &other);
        let found = compare(&disk(&one), &disk(&other), &with_threads(threads, usize::MAX)).unwrap();
        prop_assert_eq!(found.first, first);
        let told: Vec<u64> =
            found.ranges.iter().flat_map(|range| range.offset() / BLOCK..range.end().div_ceil(BLOCK)).collect();
        prop_assert_eq!(told, blocks);
        prop_assert!(found.ranges.windows(2).all(|pair| pair[0].end() < pair[1].offset()));
    }
}
