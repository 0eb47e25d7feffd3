//! An id that gets its entry in a quota file: when something of its is counted for the first time.
//!
//! ```text
//! block 0   … 20 blocks of the file │ 24 first block of none │ 28 first leaf with room      lists: next, before at the front of each
//! root ─► … ─► pointer of the id ─► leaf with room, or a new one
//! ```
//! Linux kernel, fs/quota/quota_tree.h and quotaio_v2.h (structures). The file grows by a block where none of its own is free.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::inode::put_size;
use super::quota::{BLOCK, ENTRY_LEN, HEADER_LEN, LEVELS, ROOT_BLOCK, pointer_at};
use crate::error::{Error, Result};
use crate::fs::ext4::field::{put, u16_at, u32_at};

/// In block 0.
const BLOCKS_AT: usize = 20;
const FREE_BLOCK_AT: usize = 24;
const ROOM_AT: usize = 28;
/// In a leaf: the next one with room, the one before, how many entries it has.
const NEXT_AT: usize = 0;
const BEFORE_AT: usize = 4;
const COUNT_AT: usize = 8;
/// In an entry: a time that makes one of root other than free ones, which are all zeroes.
const TIME_AT: usize = 64;

impl Ext4Writer {
    /// Puts an entry for `id`, which has none, into the quota file `file`.
    pub(super) fn add_quota_entry(&mut self, file: u32, id: u32) -> Result<()> {
        let mut leaf = self.quota_word(file, 0, ROOM_AT)?;
        if leaf == 0 {
            leaf = self.new_quota_block(file)?;
            self.edit_quota(file, 0, |head| put(head, ROOM_AT, &leaf.to_le_bytes()))?;
        }
        let mut number = ROOT_BLOCK;
        for level in 0..LEVELS {
            let at = pointer_at(id, level);
            let mut next = self.quota_word(file, number, at)?;
            let is_last = level.saturating_add(1) == LEVELS;
            if is_last && next != 0 {
                return Err(Error::corrupt("a pointer in the quota file leads to a leaf without its entry"));
            }
            if next == 0 {
                next = if is_last { leaf } else { self.new_quota_block(file)? };
                self.edit_quota(file, number, |block| put(block, at, &next.to_le_bytes()))?;
            }
            number = u64::from(next);
        }
        self.fill_quota_entry(file, leaf, id)
    }

    fn fill_quota_entry(&mut self, file: u32, leaf: u32, id: u32) -> Result<()> {
        let block = self.quota_block(&self.fs.inode(file)?, u64::from(leaf))?;
        let entries = block.get(HEADER_LEN..).unwrap_or_default();
        let free = entries.chunks_exact(ENTRY_LEN).position(|entry| entry.iter().all(|byte| *byte == 0));
        let free = free.ok_or_else(|| Error::corrupt("a leaf of the quota file has no room, and should"))?;
        let at = HEADER_LEN.saturating_add(free.saturating_mul(ENTRY_LEN));
        let count = u16_at(&block, COUNT_AT).saturating_add(1);
        let most = entries.len().checked_div(ENTRY_LEN).unwrap_or(0);
        let (is_full, next) = (usize::from(count) >= most, u32_at(&block, NEXT_AT));
        self.edit_quota(file, u64::from(leaf), |block| {
            put(block, at, &id.to_le_bytes());
            put(block, at.saturating_add(TIME_AT), &[u8::from(id == 0)]);
            put(block, COUNT_AT, &count.to_le_bytes());
            if is_full {
                put(block, NEXT_AT, &[0; 8]);
            }
        })?;
        if !is_full {
            return Ok(());
        }
        self.edit_quota(file, 0, |head| put(head, ROOM_AT, &next.to_le_bytes()))?;
        match next {
            0 => Ok(()),
            next => self.edit_quota(file, u64::from(next), |block| put(block, BEFORE_AT, &[0; 4])),
        }
    }

    /// A block of zeroes of the quota file `file`.
    fn new_quota_block(&mut self, file: u32) -> Result<u32> {
        let free = self.quota_word(file, 0, FREE_BLOCK_AT)?;
        if free != 0 {
            let next = self.quota_word(file, u64::from(free), NEXT_AT)?;
            self.edit_quota(file, 0, |head| put(head, FREE_BLOCK_AT, &next.to_le_bytes()))?;
            self.edit_quota(file, u64::from(free), |block| block.fill(0))?;
            return Ok(free);
        }
        let new = self.quota_word(file, 0, BLOCKS_AT)?;
        let inode = self.fs.inode(file)?;
        let end = u64::from(new).saturating_add(1).saturating_mul(BLOCK);
        let size = self.fs.superblock().block_size;
        let (own, had) = (end.saturating_sub(1).checked_div(size).unwrap_or(0), inode.size.div_ceil(size));
        if own > had {
            return Err(Error::corrupt("the quota file is shorter than it says"));
        }
        if own == had {
            let runs = self.grow(file, own, 1)?;
            self.fill(&runs, &[0])?;
        }
        if end > inode.size {
            self.edit_inode(file, |_, bytes| put_size(bytes, end))?;
        }
        self.edit_quota(file, u64::from(new), |block| block.fill(0))?;
        self.edit_quota(file, 0, |head| put(head, BLOCKS_AT, &new.saturating_add(1).to_le_bytes()))?;
        Ok(new)
    }

    fn quota_word(&self, file: u32, number: u64, at: usize) -> Result<u32> {
        Ok(u32_at(&self.quota_block(&self.fs.inode(file)?, number)?, at))
    }

    /// Changes block `number` of the quota file `file`.
    pub(super) fn edit_quota(&mut self, file: u32, number: u64, edit: impl FnOnce(&mut [u8])) -> Result<()> {
        let (block, inside) = self.quota_place(&self.fs.inode(file)?, number)?;
        let end = inside.saturating_add(BLOCK as usize);
        self.fs.blocks().change(block, |bytes| edit(bytes.get_mut(inside..end).unwrap_or_default()))
    }
}
