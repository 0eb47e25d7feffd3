//! A disk as the blocks of a filesystem, with what its journal still has to say laid over it.
//!
//! ```text
//! block ─► changed and not written yet? ── yes ─► its new content
//!              │ no
//!              ▼
//!          in the overlay? ── yes ─► its last copy in the journal
//!              │ no
//!              ▼
//!          page of 64 KiB ─► kept, as long as others are not asked for more recently
//! ```
//!
//! What describes files is read in pages, for inodes and names lie together; what is in files is read past them. The pages
//! take 8 MiB at most.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};
use crate::fs::pages::Pages;

/// A page in bytes: the largest block.
const PAGE: u64 = 64 << 10;

/// Each block of the journal's own begins with it.
pub(super) const JOURNAL_MAGIC: u32 = 0xc03b_3998;

/// A block's last copy in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// The block that is replaced.
    pub(super) block: u64,
    /// The block on the disk that has its content.
    pub(super) place: u64,
    /// Whether its first four bytes are the journal's mark, which stands there as zeroes.
    pub(super) is_escaped: bool,
}

/// The blocks of a filesystem.
pub(super) struct Blocks {
    disk: Arc<dyn BlockRead>,
    block_size: u64,
    /// By block.
    overlay: Vec<Copy>,
    pages: Mutex<Pages>,
    /// What blocks are to be, of a filesystem that is being changed.
    changed: Mutex<BTreeMap<u64, Arc<[u8]>>>,
    change_count: AtomicU64,
}

/// A block that was read, or the rest of one.
#[derive(Debug, Clone)]
pub(super) struct Block {
    page: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.page.get(self.start..self.end).unwrap_or_default()
    }
}

impl Block {
    /// The part of it from `start` to `end`, cut at its own end.
    pub(super) fn part(&self, start: usize, end: usize) -> Self {
        let place = |at: usize| self.start.saturating_add(at).min(self.end);
        Self { page: Arc::clone(&self.page), start: place(start), end: place(end) }
    }
}

/// `bytes` as a block.
impl From<&[u8]> for Block {
    fn from(bytes: &[u8]) -> Self {
        Self { page: bytes.into(), start: 0, end: bytes.len() }
    }
}

impl Blocks {
    /// Blocks of `block_size` bytes on `disk`, with `copies`, each of another block, laid over them.
    pub(super) fn new(disk: Arc<dyn BlockRead>, block_size: u64, mut copies: Vec<Copy>) -> Self {
        copies.sort_unstable_by_key(|copy| copy.block);
        Self {
            disk,
            block_size,
            overlay: copies,
            pages: Mutex::default(),
            changed: Mutex::default(),
            change_count: AtomicU64::new(0),
        }
    }

    /// Block `block`.
    pub(super) fn block(&self, block: u64) -> Result<Block> {
        self.bytes(block.saturating_mul(self.block_size), self.block_size)
    }

    /// The `len` bytes at `offset`, all in one block.
    pub(super) fn bytes(&self, offset: u64, len: u64) -> Result<Block> {
        match self.changed_at(offset, len) {
            Some(block) => Ok(block),
            None => self.bytes_under(offset, len),
        }
    }

    /// As [`bytes`](Self::bytes), without changes.
    pub(super) fn bytes_under(&self, offset: u64, len: u64) -> Result<Block> {
        let number = offset >> PAGE.trailing_zeros();
        let page = self.page(number)?;
        let start = (offset & PAGE.saturating_sub(1)) as usize;
        let end = start.saturating_add(len as usize);
        if end > page.len() {
            return Err(Error::invalid(format!("{len} bytes at {offset:#x} are outside the disk")));
        }
        Ok(Block { page, start, end })
    }

    fn page(&self, number: u64) -> Result<Arc<[u8]>> {
        if let Some(page) = self.pages().find(number) {
            return Ok(page);
        }
        let offset = number.saturating_mul(PAGE);
        let len = self.disk.size().saturating_sub(offset).min(PAGE);
        let mut bytes = vec![0; len as usize];
        // Changes lie over the pages, and may be forgotten again.
        self.read_under(&mut bytes, offset)?;
        let page: Arc<[u8]> = bytes.into();
        self.pages().keep(number, Arc::clone(&page));
        Ok(page)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        // Nothing in there is ever half done.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<[u8]>>> {
        // Nothing in there is ever half done.
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `len` bytes at `offset`, if their block was changed.
    fn changed_at(&self, offset: u64, len: u64) -> Option<Block> {
        let changed = self.changed();
        let page = Arc::clone(changed.get(&offset.checked_div(self.block_size)?)?);
        let start = offset.checked_rem(self.block_size)? as usize;
        let end = start.saturating_add(len as usize);
        (end <= page.len()).then_some(Block { page, start, end })
    }

    /// Has `change` change what is in block `block`, for all who read it from now on; the disk stays as it is.
    pub(super) fn change(&self, block: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        self.change_count.fetch_add(1, Ordering::Relaxed);
        let known = self.changed().remove(&block);
        let mut content: Arc<[u8]> = match known {
            Some(content) => content,
            None => Arc::from(&*self.block(block)?),
        };
        change(Arc::make_mut(&mut content));
        self.changed().insert(block, content);
        Ok(())
    }

    /// How many times a block was changed.
    pub(super) fn change_count(&self) -> u64 {
        self.change_count.load(Ordering::Relaxed)
    }

    /// Forgets a change of block `block`: nobody reads it any more.
    pub(super) fn forget(&self, block: u64) {
        self.changed().remove(&block);
    }

    /// Forgets all that is known of `count` blocks from `first` on: they were written, or nobody reads them any more.
    pub(super) fn forget_all(&self, first: u64, count: u64) {
        let end = first.saturating_add(count);
        let mut changed = self.changed();
        let gone: Vec<u64> = changed.range(first..end).map(|(block, _)| *block).collect();
        gone.iter().for_each(|block| drop(changed.remove(block)));
        drop(changed);
        let page = |block: u64| block.saturating_mul(self.block_size) >> PAGE.trailing_zeros();
        let mut pages = self.pages();
        (page(first)..=page(end)).for_each(|number| pages.forget(number));
    }

    /// The blocks that were changed, in their order.
    pub(super) fn changed_blocks(&self) -> Vec<u64> {
        self.changed().keys().copied().collect()
    }

    /// How many bytes of changed blocks there are.
    pub(super) fn changed_len(&self) -> u64 {
        (self.changed().len() as u64).saturating_mul(self.block_size)
    }

    /// What is to be written, each block's number with its content, in their order: what the journal has to say first, so that a
    /// block may be there twice.
    pub(super) fn each_to_write(&self, write: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        self.each_copy(write)?;
        let changed: Vec<(u64, Arc<[u8]>)> =
            self.changed().iter().map(|(block, content)| (*block, Arc::clone(content))).collect();
        changed.iter().try_for_each(|(block, content)| write(*block, content))
    }

    /// What the journal has to say, each block's number with its content.
    pub(super) fn each_copy(&self, write: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        for copy in &self.overlay {
            let mut content = vec![0; self.block_size as usize];
            self.read_under(&mut content, copy.block.saturating_mul(self.block_size))?;
            write(copy.block, &content)?;
        }
        Ok(())
    }

    /// The blocks from `first` to `end` that the journal has something to say of.
    pub(super) fn covered(&self, first: u64, end: u64) -> impl Iterator<Item = u64> {
        let from = self.overlay.partition_point(|copy| copy.block < first);
        self.overlay.iter().skip(from).map(|copy| copy.block).take_while(move |block| *block < end)
    }

    /// Fills `buf` from `offset` on, past the pages.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.read_under(buf, offset)?;
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(());
        }
        let end = offset.saturating_add(buf.len() as u64);
        let first = offset.checked_div(self.block_size).unwrap_or(0);
        for (block, content) in changed.range(first..end.div_ceil(self.block_size.max(1))) {
            let start = block.saturating_mul(self.block_size);
            let into = start.saturating_sub(offset) as usize;
            let from = offset.saturating_sub(start) as usize;
            super::field::copy(
                buf.get_mut(into..).unwrap_or_default(),
                content.get(from..).unwrap_or_default(),
            );
        }
        Ok(())
    }

    /// As [`read_at`](Self::read_at), without changes.
    fn read_under(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.disk.read_at(buf, offset)?;
        let end = offset.saturating_add(buf.len() as u64);
        let size = self.block_size;
        let first = offset.checked_div(size).unwrap_or(0);
        let from = self.overlay.partition_point(|copy| copy.block < first);
        for copy in self.overlay.iter().skip(from) {
            let start = copy.block.saturating_mul(size);
            if start >= end {
                break;
            }
            let mut content = vec![0; size as usize];
            self.disk
                .read_at(&mut content, copy.place.saturating_mul(size))
                .doing(|| format!("reading block {:#x} in the journal", copy.block))?;
            if copy.is_escaped {
                super::field::put(&mut content, 0, &JOURNAL_MAGIC.to_be_bytes());
            }
            // Where the two overlap, in either's own bytes.
            let into = start.saturating_sub(offset) as usize;
            let from = offset.saturating_sub(start) as usize;
            let target = buf.get_mut(into..).unwrap_or_default();
            super::field::copy(target, content.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// Whether the journal has anything to say of the blocks from `first` to `end`.
    pub(super) fn is_covered(&self, first: u64, end: u64) -> bool {
        self.covered(first, end).next().is_some()
    }

    /// The disk itself, without what is laid over it.
    pub(super) fn disk(&self) -> &Arc<dyn BlockRead> {
        &self.disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, MemoryDisk};

    #[test]
    fn what_the_journal_says_is_read_in_place_of_the_disk() {
        let disk = MemoryDisk::new(200 << 10);
        disk.write_at(&[1; 4096], 0).unwrap();
        disk.write_at(&[7; 1024], 150 << 10).unwrap();
        let disk: Arc<dyn BlockRead> = Arc::new(disk);
        assert_eq!(&Blocks::new(Arc::clone(&disk), 1024, Vec::new()).block(1).unwrap()[..2], [1, 1]);
        let copy = |block, is_escaped| Copy { block, place: 150, is_escaped };
        let blocks = Blocks::new(disk, 1024, vec![copy(199, false), copy(1, true)]);
        assert_eq!(&blocks.block(1).unwrap()[..6], [0xc0, 0x3b, 0x39, 0x98, 7, 7]);
        assert_eq!(&blocks.block(199).unwrap()[..2], [7, 7]);
        assert_eq!(blocks.block(2).unwrap()[0], 1);
        let mut buf = [0; 4];
        blocks.read_at(&mut buf, 1026).unwrap();
        assert_eq!(buf, [0x39, 0x98, 7, 7]);
        blocks.read_at(&mut buf, 1022).unwrap();
        assert_eq!(buf, [1, 1, 0xc0, 0x3b]);
        blocks.read_at(&mut buf, 2046).unwrap();
        assert_eq!(buf, [7, 7, 1, 1]);
        assert!(blocks.is_covered(0, 2) && !blocks.is_covered(2, 199) && blocks.is_covered(2, 200));
        assert!(blocks.block(200).is_err());
    }
}
