//! Tables of a file, a page at a time, as many pages as fit: however large a table says it is, little of it is in memory.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::rule::Corrupt;
use crate::block::{BlockRead, ByteRange, Cluster, ClusterCache};
use crate::error::{Doing, Result};

/// The bytes of a page.
const PAGE: u64 = 16 * 1024;

/// The bytes of pages that are kept.
const CACHE_BYTES: u64 = 8 << 20;

/// A part of a file that is a table, or several.
pub(super) struct Table {
    file: Arc<dyn BlockRead>,
    what: &'static str,
    pages: ClusterCache<u64>,
}

impl Table {
    /// What `file` has, called `what` where something is wrong with it.
    pub(super) fn new(file: Arc<dyn BlockRead>, what: &'static str) -> Self {
        Self { file, what, pages: ClusterCache::new(CACHE_BYTES, PAGE) }
    }

    /// The `N` bytes at `offset` of the file, an entry for guest offset `guest`.
    pub(super) fn entry<const N: usize>(&self, offset: u64, guest: u64) -> Result<[u8; N]> {
        let outside =
            || Corrupt::TableOutside { guest, what: self.what, offset, file_size: self.file.size() };
        let end = offset.checked_add(N as u64).filter(|end| *end <= self.file.size()).ok_or_else(outside)?;
        let first = offset.checked_div(PAGE).unwrap_or_default();
        let page_start = first.saturating_mul(PAGE);
        if end > page_start.saturating_add(PAGE) {
            // Between two pages: no table that is where it should be has such an entry.
            let mut bytes = [0; N];
            self.read(&mut bytes, offset, guest)?;
            return Ok(bytes);
        }
        let page = self.page(first, guest)?;
        let at = offset.saturating_sub(page_start) as usize;
        let entry = page.get(at..).and_then(|rest| rest.first_chunk());
        Ok(*entry.ok_or_else(outside)?)
    }

    /// As [`entry`](Self::entry), and how many entries from there on are the same: of `most`, as far as that costs nothing.
    pub(super) fn run<const N: usize>(&self, offset: u64, most: u64, guest: u64) -> Result<([u8; N], u64)> {
        let first = self.entry(offset, guest)?;
        let index = offset.checked_div(PAGE).unwrap_or_default();
        let page = self.page(index, guest)?;
        let at = offset.saturating_sub(index.saturating_mul(PAGE)) as usize;
        let rest = page.get(at..).unwrap_or_default().chunks_exact(N);
        let count = rest.take_while(|entry| **entry == first).take(most as usize).count();
        Ok((first, (count as u64).max(1)))
    }

    fn page(&self, index: u64, guest: u64) -> Result<Cluster> {
        if let Some(page) = self.pages.find(index) {
            return Ok(page);
        }
        let start = index.saturating_mul(PAGE);
        let range = ByteRange::between(start, start.saturating_add(PAGE).min(self.file.size()));
        let mut bytes = vec![0; range.len() as usize];
        self.read(&mut bytes, start, guest)?;
        let page: Cluster = bytes.into();
        self.pages.put(index, page.clone());
        Ok(page)
    }

    fn read(&self, bytes: &mut [u8], offset: u64, guest: u64) -> Result<()> {
        self.file
            .read_at(bytes, offset)
            .doing(|| format!("reading the {} for guest offset {guest:#x}", self.what))
    }
}
