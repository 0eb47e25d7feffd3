//! ndb files.

use super::{Files, key, numbered};

const PATH: &str = "/usr/lib/sysimage/rpm/Packages.db";

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65521;
        (low, (high + low) % 65521)
    });
    high << 16 | low
}

/// A file with these headers, the first slot of which is free.
pub(super) fn file(headers: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let marks = [b"RpmP", b"Slot", b"BlbS", b"BlbE"].map(|mark| u32::from_le_bytes(*mark));
    let pages = (headers.len() + 3).div_ceil(256) as u32;
    let mut slots = words(&[marks[0], 0, 7, pages, headers.len() as u32 + 1, 0, 0, 0, marks[1], 0, 0, 0]);
    let mut blobs = Vec::new();
    for (header, number) in headers.iter().zip(1..) {
        let start = blobs.len();
        blobs.extend(words(&[marks[2], number, 7, header.len() as u32]));
        blobs.extend(header);
        while !(blobs.len() + 12).is_multiple_of(16) {
            blobs.push(0);
        }
        let sum = adler32(&blobs[start..]);
        blobs.extend(words(&[sum, header.len() as u32, marks[3]]));
        let blocks = ((blobs.len() - start) / 16) as u32;
        slots.extend(words(&[marks[1], number, pages * 256 + (start / 16) as u32, blocks]));
    }
    while slots.len() < pages as usize * 4096 {
        slots.extend(words(&[marks[1], 0, 0, 0]));
    }
    [slots, blobs].concat()
}

#[test]
fn every_slot_leads_to_a_header() {
    let (headers, told): (Vec<_>, Vec<_>) = (1..300).map(|number| numbered(number, number as usize)).unzip();
    let bytes = file(&[&[key()][..], &headers].concat());
    assert_eq!(Files::default().with(PATH, bytes).told(), told);
    let small = file(&headers[..3]);
    Files::default().with(PATH, small).survive(2000, 2);
}

#[test]
fn headers_are_in_one_place_each() {
    let mut bytes = file(&[numbered(1, 5000).0, numbered(2, 0).0]);
    let slot = bytes[48..64].to_vec();
    bytes[64..80].copy_from_slice(&slot);
    let error = Files::default().with(PATH, bytes).error();
    assert!(error.contains("headers that are too long, or overlap"), "{error}");
}

#[test]
fn a_changed_header_is_told() {
    let mut bytes = file(&[numbered(1, 0).0]);
    bytes[4096 + 150] ^= 1;
    let expected = format!("reading {PATH}: the header of record 1 has another checksum than it says");
    assert_eq!(Files::default().with(PATH, bytes.clone()).error(), expected);
    bytes[4] = 1;
    let error = Files::default().with(PATH, bytes).error();
    assert_eq!(error, format!("reading {PATH}: it uses an unknown version of ndb, which is not supported"));
}
