//! Extents of the log: each takes the place of what a file had there.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::extent::{EXTENT_LEN, HEAD_LEN};
use super::super::field::{put, round_up, u8_at, u64_at};
use super::super::key::{EXTENT_DATA, Key};
use super::super::tree_block::Item;
use super::Replay;
use crate::error::Result;

/// Where an extent has its address, its first byte that counts, and how many count.
const ADDRESS: usize = 21;
const SKIP: usize = 37;
const COUNT: usize = 45;

/// The part of a file that an extent is for.
struct Span {
    start: u64,
    end: u64,
    is_inline: bool,
    /// Whether it is not a hole.
    is_stored: bool,
}

fn span(item: &Item) -> Option<Span> {
    let start = item.key.offset;
    let (len, is_inline, is_stored) = match u8_at(item, 20) {
        0 if item.len() >= HEAD_LEN => (u64_at(item, 8), true, true),
        1..=2 if item.len() >= EXTENT_LEN => (u64_at(item, COUNT), false, u64_at(item, ADDRESS) != 0),
        _ => return None,
    };
    Some(Span { start, end: start.checked_add(len)?, is_inline, is_stored })
}

impl Replay<'_> {
    /// Sets the extent that `logged` is.
    pub(super) fn replay_extent(&mut self, logged: &Item) -> Result<()> {
        let number = logged.key.object;
        let span = span(logged).ok_or_else(|| self.wrong("extent"))?;
        if self.inode(number)?.is_none() {
            return Err(self.wrong("extent of no inode"));
        }
        if self.item(logged.key)?.is_some_and(|known| *known == **logged) {
            return Ok(());
        }
        let sector = u64::from(self.blocks.superblock.sector_size);
        let end = if span.is_inline { round_up(span.end, sector) } else { span.end };
        let dropped = self.drop_extents(number, span.start, end)?;
        self.put(logged.key, logged)?;
        let added = if span.is_stored { span.end.saturating_sub(span.start) } else { 0 };
        self.set_aside(number, dropped, added)
    }

    /// Removes what the file `number` has from `start` to `end`; how many bytes were set aside for that.
    pub(super) fn drop_extents(&mut self, number: u64, start: u64, end: u64) -> Result<u64> {
        let mut dropped: u64 = 0;
        let first = Key::new(number, EXTENT_DATA, start);
        let before = self.tree.at_most(self.blocks, first)?.filter(|item| item.key.is_alike(first));
        let mut next = before.or(self.item_from(first)?);
        while let Some(item) = next.filter(|item| item.key.offset < end) {
            let span = span(&item).ok_or_else(|| self.wrong("extent"))?;
            if span.end > start || span.start >= start {
                let from = span.start.max(start);
                if span.is_stored {
                    dropped = dropped.saturating_add(span.end.min(end).saturating_sub(from));
                }
                self.cut(&item, &span, start, end)?;
            }
            let Some(key) = item.key.next().filter(|key| key.is_alike(item.key)) else { break };
            next = self.item_from(key)?;
        }
        Ok(dropped)
    }

    /// Leaves of an extent what is before `start` and from `end` on.
    fn cut(&mut self, item: &Item, span: &Span, start: u64, end: u64) -> Result<()> {
        let has_head = span.start < start;
        if span.is_inline {
            // It is for the first sector and cannot be cut.
            return if has_head { Err(self.wrong("extent within another")) } else { self.remove(item.key) };
        }
        if span.end > end {
            let mut tail = item.to_vec();
            let skip = u64_at(item, SKIP).saturating_add(end.saturating_sub(span.start));
            put(&mut tail, SKIP, &skip.to_le_bytes());
            put(&mut tail, COUNT, &span.end.saturating_sub(end).to_le_bytes());
            self.put(Key { offset: end, ..item.key }, &tail)?;
        }
        if !has_head {
            return self.remove(item.key);
        }
        let mut head = item.to_vec();
        put(&mut head, COUNT, &start.saturating_sub(span.start).to_le_bytes());
        self.put(item.key, &head)
    }
}
