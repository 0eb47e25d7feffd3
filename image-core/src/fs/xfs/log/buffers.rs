//! Buffers while a log is replayed: what they are so far, and which of them will be removed.
//!
//! A buffer that was removed later may be content by now, so nothing is replayed onto it until then. XFS Algorithms & Data
//! Structures, "Buffer Log Item".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use super::Log;
use super::buffer_item::BufferItem;
use crate::error::{Error, Result};
use crate::fs::xfs::overlay::{Overlay, SECTOR};
use crate::fs::xfs::rule::XfsRule;

/// Buffers that were removed: more are not remembered.
const REMOVED_MAX: usize = 1 << 21;

/// What is replayed so far.
pub(super) struct Buffers<'a> {
    pub(super) log: &'a Log<'a>,
    overlay: Overlay,
    /// How many times each buffer, by its first sector and how many it has, will be removed.
    removed: BTreeMap<(u64, u64), u32>,
}

impl<'a> Buffers<'a> {
    /// As they are on the disk of `log`.
    pub(super) fn new(log: &'a Log<'a>) -> Self {
        Self { log, overlay: Overlay::default(), removed: BTreeMap::new() }
    }

    /// All that was put.
    pub(super) fn into_overlay(self) -> Overlay {
        self.overlay
    }

    /// Notes that the buffer at `place` will be removed once more.
    pub(super) fn note_removed(&mut self, place: (u64, u64)) -> Result<()> {
        let count = self.removed.entry(place).or_default();
        *count = count.saturating_add(1);
        match self.removed.len() > REMOVED_MAX {
            true => Err(Error::unsupported(format!("the log removes more than {REMOVED_MAX} buffers"))),
            false => Ok(()),
        }
    }

    /// Notes that the buffer at `place` has been removed.
    pub(super) fn was_removed(&mut self, place: (u64, u64)) {
        let Some(count) = self.removed.get_mut(&place) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.removed.remove(&place);
        }
    }

    /// Whether a buffer will be removed that begins in one of the `count` sectors from `first` on.
    pub(super) fn is_any_removed(&self, first: u64, count: u64) -> bool {
        self.removed.range((first, 0)..(first.saturating_add(count), 0)).next().is_some()
    }

    /// Whether the buffer of `count` sectors from `first` on will be removed.
    pub(super) fn is_removed(&self, first: u64, count: u64) -> bool {
        self.removed.contains_key(&(first, count))
    }

    /// The `count` sectors from `first` on, as they are so far; 64 KiB at most.
    pub(super) fn read(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        let superblock = self.log.superblock;
        let sectors = superblock.block_count.saturating_mul(superblock.block_size) / SECTOR;
        let end = first.saturating_add(count);
        if count == 0 || count > BufferItem::SECTORS_MAX || end > sectors {
            return Err(XfsRule::in_log("buffer at sector", first));
        }
        let mut bytes = vec![0; count.saturating_mul(SECTOR) as usize];
        self.overlay.read_at(self.log.disk, &mut bytes, first.saturating_mul(SECTOR))?;
        Ok(bytes)
    }

    /// Lays `bytes` over the sectors from `first` on.
    pub(super) fn put(&mut self, first: u64, bytes: &[u8]) -> Result<()> {
        self.overlay.put(first, bytes)
    }
}
