//! Hashes of Berkeley DB.

use super::super::field::Order;
use super::{Files, key, numbered};

const PATH: &str = "/var/lib/rpm/Packages";
const PAGE: usize = 512;

/// A file that is being made.
struct Hash {
    order: Order,
    bytes: Vec<u8>,
}

impl Hash {
    fn put16(&mut self, at: usize, number: usize) {
        let bytes = (number as u16).to_le_bytes();
        let bytes = if self.order == Order::Big { [bytes[1], bytes[0]] } else { bytes };
        self.bytes[at..at + 2].copy_from_slice(&bytes);
    }

    fn put32(&mut self, at: usize, number: u32) {
        let bytes = if self.order == Order::Big { number.to_be_bytes() } else { number.to_le_bytes() };
        self.bytes[at..at + 4].copy_from_slice(&bytes);
    }

    /// Page `number`, empty.
    fn page(&mut self, number: usize, kind: u8) -> usize {
        let at = number * PAGE;
        self.bytes.resize(self.bytes.len().max(at + PAGE), 0);
        self.put32(at + 8, number as u32);
        self.bytes[at + 25] = kind;
        at
    }

    /// The next pair of the page at `at`.
    fn pair(&mut self, at: usize, key: u32, value: &[u8]) {
        let order = self.order;
        let key = if order == Order::Big { key.to_be_bytes() } else { key.to_le_bytes() };
        for entry in [&[&[1][..], &key].concat()[..], value] {
            let count = usize::from(order.u16(&self.bytes, at + 20));
            let end = match count {
                0 => PAGE,
                _ => usize::from(order.u16(&self.bytes, at + 24 + 2 * count)),
            };
            let place = end - entry.len();
            self.bytes[at + place..at + end].copy_from_slice(entry);
            self.put16(at + 26 + 2 * count, place);
            self.put16(at + 20, count + 1);
            self.put16(at + 22, place);
        }
    }

    /// An entry whose `value` is on pages of its own, behind all others.
    fn long(&mut self, value: &[u8]) -> Vec<u8> {
        let first = self.bytes.len() / PAGE;
        let chunks = value.chunks(PAGE - 26);
        let last = first + chunks.len() - 1;
        for (number, chunk) in (first..).zip(chunks) {
            let at = self.page(number, 7);
            self.put32(at + 16, if number == last { 0 } else { number as u32 + 1 });
            self.put16(at + 22, chunk.len());
            self.bytes[at + 26..at + 26 + chunk.len()].copy_from_slice(chunk);
        }
        let words = [first as u32, value.len() as u32];
        let words =
            words.map(|word| if self.order == Order::Big { word.to_be_bytes() } else { word.to_le_bytes() });
        [&[3, 0, 0, 0][..], &words.concat()].concat()
    }
}

/// A file of five buckets with these headers. Pages 1, 2 are buckets 0, 1; 3, 4 are 2, 3; 5 to 8 are for 4 to 7; 9 goes on
/// behind bucket 1.
fn file(order: Order, headers: &[Vec<u8>]) -> Vec<u8> {
    let mut hash = Hash { order, bytes: Vec::new() };
    hash.page(0, 8);
    for (at, word) in
        [(12, 0x61561), (16, 9), (20, PAGE as u32), (72, 4), (96, 1), (100, 1), (104, 1), (108, 1)]
    {
        hash.put32(at, word);
    }
    for number in [1, 2, 3, 5, 9] {
        hash.page(number, if number == 3 { 2 } else { 13 });
    }
    hash.put32(2 * PAGE + 16, 9);
    hash.pair(PAGE, 0, &[1, 0, 0, 0, 9]);
    for (index, header) in headers.iter().enumerate() {
        let at = [1, 2, 3, 5, 9][index % 5] * PAGE;
        let value = if header.len() < 300 { [&[1], &header[..]].concat() } else { hash.long(header) };
        hash.pair(at, index as u32 + 1, &value);
    }
    let last = (hash.bytes.len() / PAGE) as u32 - 1;
    hash.put32(32, last);
    hash.bytes
}

#[test]
fn every_bucket_is_read() {
    let (mut headers, told): (Vec<_>, Vec<_>) =
        (0..50).map(|number| numbered(number, number as usize * 40)).unzip();
    headers.push(key());
    for order in [Order::Little, Order::Big] {
        let files = Files::default().with(PATH, file(order, &headers));
        assert_eq!(files.told(), told);
        files.survive(2000, 2);
    }
}

#[test]
fn pages_that_lead_back_end() {
    let good = file(Order::Little, &[numbered(1, 2000).0]);
    let error = |changes: &[(usize, u8)]| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[*at] = *byte;
        }
        Files::default().with(PATH, bytes).error()
    };
    // A bucket that goes on with itself, and one that has another's pages.
    assert!(error(&[(9 * PAGE + 16, 2)]).contains("more than one place"));
    // The long entry's first page leads to itself.
    assert!(error(&[(10 * PAGE + 16, 10)]).contains("another length than it says"));
    assert!(error(&[(10 * PAGE + 22, 0), (10 * PAGE + 23, 0)]).contains("another kind"));
    assert!(error(&[(96, 0)]).contains("page 0 of the Berkeley DB file has a number outside the file"));
    assert!(error(&[(24, 1)]).contains("encryption"));
    assert!(error(&[(26, 1)]).contains("checksums"));
    assert!(error(&[(16, 10)]).contains("unknown version"));
    assert!(error(&[(25, 9)]).contains("another kind than the first of a hash"));
    assert!(error(&[(5 * PAGE + 25, 0)]).contains("another kind than those of a bucket"));
}
