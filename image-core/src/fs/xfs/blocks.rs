//! A disk as the blocks of a filesystem, with what its log still has to say laid over it.
//!
//! ```text
//! block ─► page of 64 KiB ─► kept, as long as others are not asked for more recently
//!              │ not kept
//!              ▼
//!          disk, sectors of the log laid over it
//! ```
//!
//! What describes files is read in pages, for inodes and names lie together; what is in files is read past them. The pages
//! take 8 MiB at most.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use super::checksum::is_sound;
use super::overlay::Overlay;
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::pages::Pages;

/// A page in bytes: the largest block.
const PAGE: u64 = 64 << 10;
/// How many sound blocks are remembered.
const SOUND: usize = 1 << 14;

/// The blocks of a filesystem.
pub(super) struct Blocks {
    disk: Arc<dyn BlockRead>,
    block_size: u64,
    overlay: Overlay,
    pages: Mutex<Pages>,
    /// Blocks that have the right checksum: the first, how many bytes from there on, and where among them that is.
    sound: Mutex<HashSet<(u64, usize, usize)>>,
}

/// A block that was read, or several.
#[derive(Debug, Clone)]
pub(super) struct Block {
    page: Arc<[u8]>,
    start: usize,
    end: usize,
    is_replayed: bool,
}

impl Block {
    /// Whether the log has something to say of it: then its checksum is an older one.
    pub(super) fn is_replayed(&self) -> bool {
        self.is_replayed
    }

    /// `bytes` as a block.
    pub(super) fn new(bytes: Vec<u8>, is_replayed: bool) -> Self {
        Self { start: 0, end: bytes.len(), page: bytes.into(), is_replayed }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.page.get(self.start..self.end).unwrap_or_default()
    }
}

impl Blocks {
    /// Blocks of `block_size` bytes on `disk`, with `overlay` laid over them.
    pub(super) fn new(disk: Arc<dyn BlockRead>, block_size: u64, overlay: Overlay) -> Self {
        Self { disk, block_size, overlay, pages: Mutex::default(), sound: Mutex::default() }
    }

    /// The `count` blocks from the one at `place` on.
    pub(super) fn blocks(&self, place: u64, count: u64) -> Result<Block> {
        self.bytes(place.saturating_mul(self.block_size), count.saturating_mul(self.block_size))
    }

    /// The `len` bytes at `offset`, 64 KiB at most.
    pub(super) fn bytes(&self, offset: u64, len: u64) -> Result<Block> {
        let is_replayed = self.overlay.is_over(offset, len);
        let start = offset & PAGE.saturating_sub(1);
        let end = start.saturating_add(len);
        if end > PAGE {
            let mut bytes = vec![0; len.min(PAGE) as usize];
            self.read_at(&mut bytes, offset)?;
            return Ok(Block::new(bytes, is_replayed));
        }
        let page = self.page(offset >> PAGE.trailing_zeros())?;
        if end > page.len() as u64 {
            return Err(Error::invalid(format!("{len} bytes at {offset:#x} are outside the disk")));
        }
        Ok(Block { page, start: start as usize, end: end as usize, is_replayed })
    }

    fn page(&self, number: u64) -> Result<Arc<[u8]>> {
        if let Some(page) = self.pages().find(number) {
            return Ok(page);
        }
        let offset = number.saturating_mul(PAGE);
        let len = self.disk.size().saturating_sub(offset).min(PAGE);
        let mut bytes = vec![0; len as usize];
        self.read_at(&mut bytes, offset)?;
        let page: Arc<[u8]> = bytes.into();
        self.pages().keep(number, Arc::clone(&page));
        Ok(page)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        // Nothing in there is ever half done.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `bytes`, which were read from block `place` on, have their checksum at `sum_at`. That is found out once.
    pub(super) fn is_sound(&self, place: u64, bytes: &Block, sum_at: usize) -> bool {
        if bytes.is_replayed {
            return true;
        }
        let key = (place, bytes.len(), sum_at);
        let known = || self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&key) {
            return true;
        }
        let is_sound = is_sound(bytes, sum_at);
        if is_sound {
            let mut known = known();
            if known.len() >= SOUND {
                known.clear();
            }
            known.insert(key);
        }
        is_sound
    }

    /// Fills `buf` from `offset` on, past the pages.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.overlay.read_at(&*self.disk, buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn blocks_are_read_with_what_is_laid_over_them() {
        let mut bytes = vec![1; 200 << 10];
        bytes[150 << 10] = 7;
        let disk: Arc<dyn BlockRead> = Arc::new(MemoryDisk::from_bytes(bytes));
        let mut overlay = Overlay::default();
        overlay.put(2, &[2; 512]).unwrap();
        let blocks = Blocks::new(disk, 1024, overlay);
        assert_eq!(blocks.blocks(1, 1).unwrap()[511..513], [2, 1]);
        assert_eq!(blocks.blocks(150, 1).unwrap()[..2], [7, 1]);
        assert_eq!(blocks.blocks(60, 10).unwrap().len(), 10 << 10, "from two pages");
        assert_eq!(blocks.blocks(199, 1).unwrap().len(), 1024);
        assert!(blocks.blocks(200, 1).is_err() && blocks.blocks(198, 4).is_err());
    }
}
