//! The parts of a disk that describe files, read in pages: names and tables lie together and are asked for in small pieces.
//!
//! ```text
//! offset ─► page of 16 KiB ─► among the younger? ── no ─► among the older? ── no ─► read
//! ```
//!
//! When there are enough younger ones they become the older, which are forgotten: what is asked for again stays. All take 4 MiB
//! at most.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::block::{BlockRead, ByteRange};
use crate::error::Result;

/// A page in bytes.
const PAGE: u64 = 16 << 10;
/// How many younger pages are kept; there are as many older ones at most.
const PAGES: usize = 128;

/// A disk, and pages of it that were read.
pub(super) struct PageCache<D> {
    disk: D,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    younger: HashMap<u64, Arc<[u8]>>,
    older: HashMap<u64, Arc<[u8]>>,
}

impl<D: BlockRead> PageCache<D> {
    /// Nothing of `disk` yet.
    pub(super) fn new(disk: D) -> Self {
        Self { disk, pages: Mutex::default() }
    }

    /// The disk itself: for what is large, and asked for once.
    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a range past the end; whatever the disk says.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.disk.size())?;
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let page = self.page(at >> PAGE.trailing_zeros())?;
            let start = (at & PAGE.saturating_sub(1)) as usize;
            let from = page.get(start..).unwrap_or_default();
            let len = rest.len().min(from.len());
            let Some((target, behind)) = rest.split_at_mut_checked(len) else { break };
            target.iter_mut().zip(from).for_each(|(target, byte)| *target = *byte);
            rest = behind;
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    /// Forgets what was read of the `len` bytes at `offset`: they are others now.
    pub(super) fn forget(&self, offset: u64, len: u64) {
        let mut pages = self.pages();
        let end = offset.saturating_add(len).div_ceil(PAGE);
        for number in offset >> PAGE.trailing_zeros()..end {
            pages.younger.remove(&number);
            pages.older.remove(&number);
        }
    }

    fn page(&self, number: u64) -> Result<Arc<[u8]>> {
        if let Some(page) = self.pages().find(number) {
            return Ok(page);
        }
        let offset = number.saturating_mul(PAGE);
        let mut bytes = vec![0; self.disk.size().saturating_sub(offset).min(PAGE) as usize];
        self.disk.read_at(&mut bytes, offset)?;
        let page: Arc<[u8]> = bytes.into();
        self.pages().keep(number, &page);
        Ok(page)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing in there is ever half done.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn find(&mut self, number: u64) -> Option<Arc<[u8]>> {
        if let Some(page) = self.younger.get(&number) {
            return Some(Arc::clone(page));
        }
        let page = self.older.remove(&number)?;
        self.keep(number, &page);
        Some(page)
    }

    fn keep(&mut self, number: u64, page: &Arc<[u8]>) {
        if self.younger.len() >= PAGES {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(number, Arc::clone(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, MemoryDisk};

    #[test]
    fn pieces_are_read_across_pages_and_not_past_the_end() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|at| (at / 7) as u8).collect();
        let cache = PageCache::new(MemoryDisk::from_bytes(bytes.clone()));
        for (offset, len) in [(0, 1), (16_380, 8), (16_384, 16_384), (10, 49_990), (49_999, 1), (50_000, 0)] {
            let mut buf = vec![0; len];
            cache.read(&mut buf, offset as u64).unwrap();
            assert_eq!(buf, bytes[offset..offset + len]);
        }
        assert!(cache.read(&mut [0; 2], 49_999).is_err());
    }

    #[test]
    fn what_is_forgotten_is_read_again() {
        let disk = Arc::new(MemoryDisk::new(50_000));
        let cache = PageCache::new(Arc::clone(&disk));
        let mut buf = vec![0; 50_000];
        cache.read(&mut buf, 0).unwrap();
        disk.write_at(&[7; 50_000], 0).unwrap();
        cache.forget(16_384, 1);
        cache.read(&mut buf, 0).unwrap();
        assert_eq!((buf[16_383], buf[16_384], buf[32_767], buf[32_768]), (0, 7, 7, 0));
        cache.forget(16_383, 33_617);
        cache.read(&mut buf, 0).unwrap();
        assert!(buf == [7; 50_000]);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let mut pages = Pages::default();
        for number in 0..1000 {
            pages.keep(number, &vec![number as u8].into());
            assert_eq!(pages.find(0).unwrap()[0], 0);
        }
        assert!(pages.younger.len() <= PAGES && pages.older.len() <= PAGES);
        assert!(pages.find(999).is_some() && pages.find(500).is_none());
    }
}
