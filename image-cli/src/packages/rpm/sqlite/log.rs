//! The log beside an SQLite file (write-ahead log): pages that are newer than those in the file.
//!
//! ```text
//! header   magic │ 4 format │ 8 size of a page │ 12 number │ 16 salts │ 24 checksum
//! frame    0 page │ 4 pages of the file, of a transaction's last frame │ 8 salts │ 16 checksum │ 24 bytes of the page
//! ```
//!
//! Each checksum goes on from the one before. The first frame whose salts or checksum are others ends the log: it is of an
//! older round or was not written whole. Frames behind the last transaction that was finished do not count.
//! SQLite's documentation "Database File Format", section 4.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;

use super::super::super::field::{Order, part};
use super::super::super::rule::DatabaseRule;
use super::super::super::source::{Content, bytes};

const HEADER_LEN: usize = 32;
const FRAME_LEN: usize = 24;
const FORMAT: u32 = 3_007_000;
/// The magic; its last bit tells the order of the words in checksums.
const MAGIC: u32 = 0x377f_0682;
/// What a log may have at most: each of its frames is kept in mind.
const LOG_MAX: u64 = 1 << 30;

/// The pages that finished transactions wrote.
pub(super) struct Log<'a> {
    content: Box<dyn Content + 'a>,
    pub(super) page_size: u32,
    /// How many pages the file has then.
    pub(super) page_count: u32,
    /// The largest number of a page that is here.
    pub(super) last_page: u32,
    /// Where the bytes of a page are.
    places: HashMap<u32, u64>,
}

/// The sums that go on from frame to frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    order: Order,
    first: u32,
    second: u32,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            self.first = self.first.wrapping_add(self.order.u32(pair, 0)).wrapping_add(self.second);
            self.second = self.second.wrapping_add(self.order.u32(pair, 4)).wrapping_add(self.first);
        }
    }

    fn are_at(self, bytes: &[u8], at: usize) -> bool {
        (self.first, self.second) == (Order::Big.u32(bytes, at), Order::Big.u32(bytes, at.saturating_add(4)))
    }
}

impl<'a> Log<'a> {
    /// The log; `None`, if no transaction in it was finished.
    pub(super) fn open(content: Box<dyn Content + 'a>) -> Result<Option<Self>, DatabaseRule> {
        let size = content.size();
        if size > LOG_MAX {
            return Err(DatabaseRule::TooLong { len: size, limit: LOG_MAX });
        }
        if size < HEADER_LEN as u64 {
            return Ok(None);
        }
        let header = bytes(content.as_ref(), 0, HEADER_LEN)?;
        let page_size = Order::Big.u32(&header, 8);
        let magic = Order::Big.u32(&header, 0);
        let order = if magic & 1 == 0 { Order::Little } else { Order::Big };
        let mut sums = Sums { order, first: 0, second: 0 };
        sums.add(part(&header, 0, 24).unwrap_or_default());
        let is_log =
            magic & !1 == MAGIC && page_size.is_power_of_two() && (512..=1 << 16).contains(&page_size);
        if !is_log || !sums.are_at(&header, 24) {
            return Ok(None);
        }
        if Order::Big.u32(&header, 4) != FORMAT {
            return Err(DatabaseRule::Unsupported("an unknown version of SQLite's log"));
        }
        let mut log = Self { content, page_size, page_count: 0, last_page: 0, places: HashMap::new() };
        log.read_frames(&header, sums)?;
        log.last_page = log.places.keys().copied().max().unwrap_or(0);
        Ok((log.page_count != 0).then_some(log))
    }

    /// Finds the pages of all finished transactions.
    fn read_frames(&mut self, header: &[u8], mut sums: Sums) -> Result<(), DatabaseRule> {
        let frame_len = (self.page_size as usize).saturating_add(FRAME_LEN);
        let mut unfinished = Vec::new();
        let mut offset = HEADER_LEN as u64;
        while offset.saturating_add(frame_len as u64) <= self.content.size() {
            let frame = bytes(self.content.as_ref(), offset, frame_len)?;
            sums.add(part(&frame, 0, 8).unwrap_or_default());
            sums.add(frame.get(FRAME_LEN..).unwrap_or_default());
            let number = Order::Big.u32(&frame, 0);
            if part(&frame, 8, 8) != part(header, 16, 8) || !sums.are_at(&frame, 16) || number == 0 {
                return Ok(());
            }
            unfinished.push((number, offset.saturating_add(FRAME_LEN as u64)));
            let page_count = Order::Big.u32(&frame, 4);
            if page_count != 0 {
                self.page_count = page_count;
                self.places.extend(unfinished.drain(..));
            }
            offset = offset.saturating_add(frame_len as u64);
        }
        Ok(())
    }

    /// Whether page `number` is here.
    pub(super) fn has(&self, number: u32) -> bool {
        self.places.contains_key(&number)
    }

    /// Page `number`, if it is here.
    pub(super) fn page(&self, number: u32) -> Result<Option<Vec<u8>>, DatabaseRule> {
        let Some(offset) = self.places.get(&number) else { return Ok(None) };
        bytes(self.content.as_ref(), *offset, self.page_size as usize).map(Some)
    }
}
