//! A hash of Berkeley DB: buckets of pages, on each pairs of a number and a header; long headers go on on pages of their own.
//!
//! ```text
//! page 0   … │ 12 magic │ 16 version │ 20 size of a page │ 24 cipher │ 25 kind │ 26 flags │ 32 last page │ 72 last bucket │ 96 places
//! page     8 number │ 16 next page │ 20 entries │ 22 bytes, of a long one │ 25 kind │ 26 places of the entries …… entries
//! entry    0 kind │ 1 bytes       or, of a long one,   0 kind │ 4 first page │ 8 length
//! ```
//!
//! Numbers are in the order of the machine that wrote them. Bucket b begins at page b + places[⌈log₂(b + 1)⌉]: each doubling of
//! the buckets is one run of pages.
//! Berkeley DB 5.3, its documentation of hashes and the layout of its pages.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::{Order, part, u8_at};
use super::super::rule::DatabaseRule;
use super::super::source::{Content, bytes};
use super::{Budget, Packages};

const MAGIC: u32 = 0x0006_1561;
/// Of page 0, what is of use here.
const META_LEN: usize = 512;
/// Where the entries' places begin.
const PAGE_START: usize = 26;
/// Where the buckets' places are, how many, and their bytes.
const PLACES: usize = 96;
const PLACE_COUNT: u32 = 32;
const PLACES_LEN: usize = 128;

const KIND_NEW: u8 = 0;
const KIND_UNSORTED: u8 = 2;
const KIND_OVERFLOW: u8 = 7;
const KIND_META: u8 = 8;
const KIND_SORTED: u8 = 13;

const ENTRY_HERE: u8 = 1;
const ENTRY_LONG: u8 = 3;
/// Of a long entry, on its page.
const LONG_LEN: usize = 12;

fn wrong(page: u32, what: &'static str) -> DatabaseRule {
    DatabaseRule::Berkeley { page, what }
}

/// Gives `packages` every header of the file.
pub(super) fn read(content: &dyn Content, packages: &mut Packages) -> Result<(), DatabaseRule> {
    let mut hash = Hash::open(content)?;
    for bucket in 0..=hash.last_bucket {
        hash.read_bucket(bucket, packages)?;
    }
    Ok(())
}

struct Hash<'a> {
    content: &'a dyn Content,
    order: Order,
    page_size: u32,
    page_count: u32,
    last_bucket: u32,
    places: Vec<u8>,
    /// Pages that can still be read: none is in two places.
    pages_left: u32,
    budget: Budget,
}

impl<'a> Hash<'a> {
    fn open(content: &'a dyn Content) -> Result<Self, DatabaseRule> {
        let size = content.size();
        if size < META_LEN as u64 {
            return Err(wrong(0, "fewer bytes than the first page"));
        }
        let meta = bytes(content, 0, META_LEN)?;
        let order = [Order::Little, Order::Big].into_iter().find(|order| order.u32(&meta, 12) == MAGIC);
        let order = order.ok_or(wrong(0, "no mark of a hash"))?;
        if u8_at(&meta, 25) != KIND_META {
            return Err(wrong(0, "another kind than the first of a hash"));
        }
        if !matches!(order.u32(&meta, 16), 8 | 9) {
            return Err(DatabaseRule::Unsupported("an unknown version of Berkeley DB's hashes"));
        }
        if u8_at(&meta, 24) != 0 {
            return Err(DatabaseRule::Unsupported("encryption of Berkeley DB"));
        }
        // Checksums of pages, and a file in parts: rpm asks for neither.
        if u8_at(&meta, 26) != 0 {
            return Err(DatabaseRule::Unsupported("checksums or partitions of Berkeley DB"));
        }
        let page_size = order.u32(&meta, 20);
        if !page_size.is_power_of_two() || !(512..=1 << 16).contains(&page_size) {
            return Err(wrong(0, "an impossible size of pages"));
        }
        let page_count = size.checked_div(u64::from(page_size)).unwrap_or(0).min(u64::from(u32::MAX)) as u32;
        let last_bucket = order.u32(&meta, 72);
        if last_bucket >= page_count || order.u32(&meta, 32) >= page_count {
            return Err(wrong(0, "more pages than the file"));
        }
        let places = part(&meta, PLACES, PLACES_LEN).unwrap_or_default().to_vec();
        let (pages_left, budget) = (page_count, Budget(size));
        Ok(Self { content, order, page_size, page_count, last_bucket, places, pages_left, budget })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, DatabaseRule> {
        if number == 0 || number >= self.page_count {
            return Err(wrong(number, "a number outside the file"));
        }
        self.pages_left = self.pages_left.checked_sub(1).ok_or(wrong(number, "more than one place"))?;
        let offset = u64::from(number).saturating_mul(u64::from(self.page_size));
        let page = bytes(self.content, offset, self.page_size as usize)?;
        // A page that was never written is all zeros.
        let is_new = u8_at(&page, 25) == KIND_NEW && page.iter().all(|byte| *byte == 0);
        if !is_new && self.order.u32(&page, 8) != number {
            return Err(wrong(number, "another number than its own"));
        }
        Ok(page)
    }

    fn read_bucket(&mut self, bucket: u32, packages: &mut Packages) -> Result<(), DatabaseRule> {
        let doubling = bucket.saturating_add(1).checked_next_power_of_two().map_or(32, u32::trailing_zeros);
        let place = self.order.u32(&self.places, doubling.min(PLACE_COUNT).saturating_mul(4) as usize);
        let mut number = bucket.saturating_add(place);
        loop {
            let page = self.page(number)?;
            match u8_at(&page, 25) {
                KIND_NEW if self.order.u32(&page, 8) == 0 => return Ok(()),
                KIND_UNSORTED | KIND_SORTED => self.read_pairs(number, &page, packages)?,
                _ => return Err(wrong(number, "another kind than those of a bucket")),
            }
            number = self.order.u32(&page, 16);
            if number == 0 {
                return Ok(());
            }
        }
    }

    fn read_pairs(&mut self, number: u32, page: &[u8], packages: &mut Packages) -> Result<(), DatabaseRule> {
        let count = usize::from(self.order.u16(page, 20));
        let places_len = count.saturating_mul(2);
        let places = part(page, PAGE_START, places_len).ok_or(wrong(number, "more entries than bytes"))?;
        if !count.is_multiple_of(2) {
            return Err(wrong(number, "a number without a header"));
        }
        let start = PAGE_START.saturating_add(places_len);
        // Entries are put in from the end of the page on.
        let mut end = page.len();
        for pair in places.chunks_exact(4) {
            let mut entry = |at| {
                let place = usize::from(self.order.u16(pair, at));
                let entry = page.get(place..end).filter(|entry| !entry.is_empty() && place >= start);
                end = place;
                entry.ok_or(wrong(number, "an entry outside its place"))
            };
            let (key, value) = (entry(0)?, entry(2)?);
            let record = match key.split_first() {
                Some((&ENTRY_HERE, key)) if key.len() == 4 => self.order.u32(key, 0),
                _ => return Err(wrong(number, "a key that is no number")),
            };
            // Record 0 is the number that the next package gets.
            if record != 0 {
                let header = self.value(number, value)?;
                packages.take(u64::from(record), &header)?;
            }
        }
        Ok(())
    }

    /// The bytes of an entry, wherever they are.
    fn value(&mut self, number: u32, entry: &[u8]) -> Result<Vec<u8>, DatabaseRule> {
        match entry.split_first() {
            Some((&ENTRY_HERE, value)) => {
                let takes = self.budget.takes(value.len() as u64);
                takes.then(|| value.to_vec()).ok_or(wrong(number, "more headers than bytes"))
            }
            Some((&ENTRY_LONG, _)) if entry.len() == LONG_LEN => {
                let len = self.order.u32(entry, 8);
                if !self.budget.takes(u64::from(len)) {
                    return Err(wrong(number, "headers that are too long, or overlap"));
                }
                self.long_value(self.order.u32(entry, 4), len as usize)
            }
            _ => Err(wrong(number, "an entry of an unknown kind")),
        }
    }

    /// The `len` bytes of an entry whose pages begin at page `first`.
    fn long_value(&mut self, first: u32, len: usize) -> Result<Vec<u8>, DatabaseRule> {
        let mut value = Vec::with_capacity(len);
        let mut number = first;
        while value.len() < len {
            let page = self.page(number)?;
            let here = usize::from(self.order.u16(&page, 22));
            if u8_at(&page, 25) != KIND_OVERFLOW || here == 0 {
                return Err(wrong(number, "another kind than those of a long entry"));
            }
            let bytes = part(&page, PAGE_START, here).ok_or(wrong(number, "more bytes than its own"))?;
            value.extend_from_slice(bytes);
            number = self.order.u32(&page, 16);
        }
        match value.len() == len {
            true => Ok(value),
            false => Err(wrong(first, "a long entry of another length than it says")),
        }
    }
}
