//! The parts of a reply, right and wrong, and any bytes at all.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn range(offset: u64, len: u64) -> ByteRange {
    ByteRange::new(offset, len).unwrap()
}

#[test]
fn heads_are_told_apart_by_their_magic() {
    let simple = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 2];
    assert_eq!(ReplyHeader::from_bytes(simple), Ok((ReplyHeader::Simple { error: 5 }, 0x102)));
    let chunk = [0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 2, 1, 0, 0, 0, 0, 0, 0, 3];
    let expected = ReplyHeader::Chunk { kind: 0x8002, done: true };
    assert_eq!(ReplyHeader::from_bytes(chunk), Ok((expected, 0x0100_0000_0000_0003)));
    assert_eq!(ReplyHeader::from_bytes([0x25; 16]), Err(Violation::ReplyMagic { magic: 0x2525_2525 }));
}

#[test]
fn chunks_have_the_lengths_of_their_kinds() {
    let wrong = |kind, len| Err(Violation::ChunkLen { kind, len });
    assert_eq!(Content::of(0, true, 0), Ok(Content::Nothing));
    assert_eq!(Content::of(0, false, 0), Err(Violation::ChunkKind { kind: 0 }));
    assert_eq!(Content::of(0, true, 1), wrong(0, 1));
    assert_eq!(Content::of(1, false, 9), Ok(Content::Data { len: 1 }));
    assert_eq!(Content::of(1, false, 8), wrong(1, 8));
    assert_eq!(Content::of(2, false, 12), Ok(Content::Hole));
    assert_eq!(Content::of(2, false, 13), wrong(2, 13));
    assert_eq!(Content::of(5, false, 12), Ok(Content::Status { len: 12 }));
    for len in [0, 4, 11, 13, u32::MAX] {
        assert_eq!(Content::of(5, true, len), wrong(5, len));
    }
    assert_eq!(Content::of(0x8001, true, 6), Ok(Content::Error { len: 6 }));
    assert_eq!(Content::of(0x8001, true, 5), wrong(0x8001, 5));
    assert_eq!(Content::of(0x8001, true, 1 << 20), wrong(0x8001, 1 << 20));
    // What is not known is a failure if it says so, and else cannot be made sense of.
    assert_eq!(Content::of(0xffff, true, 6), Ok(Content::Error { len: 6 }));
    assert_eq!(Content::of(6, true, 12), Err(Violation::ChunkKind { kind: 6 }));
}

#[test]
fn failures_have_the_systems_number_and_words() {
    let error = failure(0x8001, b"\0\0\0\x1c\0\x04full").unwrap();
    assert_eq!((error.system.raw_os_error(), error.words.as_str()), (Some(28), "full"));
    // Unknown numbers are input/output errors; what follows the words is of no interest.
    let error = failure(0x8002, b"\0\0\x10\0\0\0\0\0\0\0\0\0\0\x01").unwrap();
    assert_eq!((error.system.raw_os_error(), error.words.as_str()), (Some(5), ""));
    assert_eq!(
        failure(0x8001, b"\0\0\0\x05\0\x05full").unwrap_err(),
        Violation::ChunkLen { kind: 0x8001, len: 10 }
    );
    assert_eq!(failure(0x8001, b"\0\0\0\0\0\0").unwrap_err(), Violation::NoFailure);
}

#[test]
fn status_covers_no_more_than_was_asked_for() {
    let payload = |id: u32, entries: &[(u32, u32)]| {
        let numbers = std::iter::once(id).chain(entries.iter().flat_map(|&(len, flags)| [len, flags]));
        numbers.flat_map(u32::to_be_bytes).collect::<Vec<u8>>()
    };
    let asked = range(1000, 100);
    let told = status(&payload(7, &[(40, 0), (100, 3)]), 7, asked).unwrap();
    assert_eq!(told, [(range(1000, 40), 0), (range(1040, 60), 3)]);
    assert_eq!(status(&payload(7, &[(40, 0)]), 7, asked).unwrap(), [(range(1000, 40), 0)]);
    assert_eq!(status(&payload(8, &[(40, 0)]), 7, asked), Err(Violation::ContextId { id: 8 }));
    assert_eq!(status(&payload(7, &[(40, 0), (0, 0)]), 7, asked), Err(Violation::EmptyStatus));
    let beyond = status(&payload(7, &[(u32::MAX, 0), (1, 0)]), 7, asked);
    assert_eq!(beyond, Err(Violation::NotAskedFor { offset: 1100, len: 1 }));
}

#[test]
fn facts_of_an_export_are_checked() {
    let size = |size: u64| info(&[&[0, 0], &size.to_be_bytes()[..], &[0, 5]].concat());
    assert_eq!(size(1 << 62), Ok(Info::Export { size: 1 << 62, flags: 5 }));
    assert_eq!(size(1 << 63), Err(Violation::Size { size: 1 << 63 }));
    let blocks = |smallest: u32, largest: u32| {
        info(&[&[0, 3], &smallest.to_be_bytes()[..], &[0; 4], &largest.to_be_bytes()].concat())
    };
    assert_eq!(blocks(512, u32::MAX), Ok(Info::Blocks { smallest: 512, largest: u32::MAX }));
    for (smallest, largest) in [(0, 512), (3, 512), (1 << 17, 1 << 20), (512, 511)] {
        assert_eq!(blocks(smallest, largest), Err(Violation::BlockSizes { smallest, largest }));
    }
    assert_eq!(info(&[0, 0, 1]), Err(Violation::InfoLen { kind: 0, len: 3 }));
    assert_eq!(info(&[0]), Err(Violation::InfoLen { kind: 0, len: 1 }));
    assert_eq!(info(&[0, 2, b'x']), Ok(Info::Other));
}

#[test]
fn bytes_come_once_and_from_what_was_asked_for() {
    let mut received = Received::nothing_of(range(100, 10));
    assert_eq!(received.take(105, 2), Ok(5..7));
    assert_eq!(received.take(100, 5), Ok(0..5));
    assert_eq!(received.check(), Err(Violation::Missing { missing: 3 }));
    for (offset, len) in [(99, 1), (107, 4), (u64::MAX, 2), (110, 1), (107, 0)] {
        assert_eq!(received.take(offset, len), Err(Violation::NotAskedFor { offset, len }));
    }
    for (offset, len) in [(106, 2), (100, 1), (104, 1), (100, 10)] {
        assert_eq!(received.take(offset, len), Err(Violation::Twice { offset }));
    }
    assert_eq!(received.take(107, 3), Ok(7..10));
    assert_eq!((received.check(), received.places.len()), (Ok(()), 1));
    let mut scattered = Received::nothing_of(range(0, 1 << 20));
    let all: Result<Vec<_>, _> = (0..1 << 19).map(|index| scattered.take(index * 2, 1)).collect();
    assert_eq!(all, Err(Violation::Scattered { most: MAX_PLACES }));
}

proptest! {
    /// Whatever comes, nothing panics, and what is accepted lies within what was asked for.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), start in any::<[u8; 16]>()) {
        let _ = ReplyHeader::from_bytes(start);
        let _ = info(&bytes);
        let _ = failure(0x8001, &bytes);
        let asked = range(u64::MAX - 1000, 1000);
        for context in [0, u32::from_be_bytes([start[0], start[1], start[2], start[3]])] {
            if let Ok(told) = status(&bytes, context, asked) {
                prop_assert!(told.iter().all(|(range, _)| asked.contains(*range) && !range.is_empty()));
            }
        }
    }

    /// As a list of bytes that have come.
    #[test]
    fn what_arrived_is_as_in_a_list(takes in prop::collection::vec((0u64..40, 0u64..12), 0..20)) {
        let (mut received, mut model) = (Received::nothing_of(range(4, 32)), [false; 52]);
        for (offset, len) in takes {
            let places = offset as usize..(offset + len) as usize;
            let inside = len > 0 && offset >= 4 && offset + len <= 36;
            let fresh = inside && !model[places.clone()].contains(&true);
            prop_assert_eq!(received.take(offset, len).is_ok(), fresh);
            if !fresh {
                break;
            }
            model[places].fill(true);
            let missing = model[4..36].iter().filter(|here| !**here).count() as u64;
            prop_assert_eq!(received.check().is_ok(), missing == 0);
        }
    }
}
