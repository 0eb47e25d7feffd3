//! The end of changes: what is written, and in which order.
//!
//! ```text
//! the journal's copies ─► changed blocks ─┬─ among them the journal's superblock: nothing waits any more
//!                                         └─ and the superblock: counts, unmounted, no orphans
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::Ext4Writer;
use crate::block::BlockRead;
use crate::error::Result;
use crate::fs::ext4::Ext4;
use crate::fs::ext4::checksum::{START, crc32c};
use crate::fs::ext4::features::{self, Feature, Features};
use crate::fs::ext4::field::{put, u16_at, u32_at};
use crate::fs::ext4::journal;
use crate::fs::ext4::superblock::{CHECKSUM_AT, LEN, STATE_CLEAN};

/// Where the superblock counts what is free, is told when it was written, and lists orphans.
const FREE_BLOCKS: (usize, usize) = (0x0c, 0x158);
const FREE_INODES: usize = 0x10;
const WRITTEN: (usize, usize) = (0x30, 0x274);
const LAST_ORPHAN: usize = 0xe8;

impl Ext4Writer {
    pub(super) fn write_out(&mut self) -> Result<()> {
        let (blocks, inodes) = self.count_free()?;
        let superblock = self.fs.superblock();
        let counts_differ =
            superblock.free_block_count != blocks || u64::from(superblock.free_inode_count) != inodes;
        if !self.is_dirty && !counts_differ && self.fs.blocks().changed_len() == 0 {
            return Ok(());
        }
        if let Some(sequence) = self.fs.replayed().map(|replayed| replayed.next) {
            journal::end(&self.fs, sequence)?;
        }
        self.end_superblock(blocks, inodes)?;
        let size = self.fs.superblock().block_size;
        let disk = Arc::clone(&self.disk);
        self.fs
            .blocks()
            .each_to_write(&mut |block, content| disk.write_at(content, block.saturating_mul(size)))?;
        self.disk.flush()?;
        self.fs = Ext4::open(Arc::clone(&self.disk) as Arc<dyn BlockRead>)?;
        self.is_dirty = false;
        Ok(())
    }

    /// The free blocks and inodes of all groups.
    pub(super) fn count_free(&self) -> Result<(u64, u64)> {
        let superblock = self.fs.superblock();
        let (mut blocks, mut inodes) = (0_u64, 0_u64);
        for number in 0..superblock.group_count() {
            let group = self.fs.group(number)?;
            blocks = blocks.saturating_add(group.free_blocks.saturating_mul(superblock.blocks_per_cluster()));
            inodes = inodes.saturating_add(group.free_inodes);
        }
        Ok((blocks, inodes))
    }

    /// What the superblock says when all is written: counts, unmounted, no orphans, nothing waits in the journal.
    pub(super) fn end_superblock(&mut self, blocks: u64, inodes: u64) -> Result<()> {
        let is_wide = self.fs.superblock().has(features::WIDE);
        let seconds = u64::try_from(self.time.seconds).unwrap_or(0);
        self.edit_superblock(|own| {
            put(own, FREE_BLOCKS.0, &(blocks as u32).to_le_bytes());
            if is_wide {
                put(own, FREE_BLOCKS.1, &((blocks >> 32) as u32).to_le_bytes());
            }
            put(own, FREE_INODES, &(inodes as u32).to_le_bytes());
            put(own, WRITTEN.0, &(seconds as u32).to_le_bytes());
            put(own, WRITTEN.1, &[(seconds >> 32) as u8]);
            put(own, LAST_ORPHAN, &[0; 4]);
            let state = u16_at(own, 0x3a) | STATE_CLEAN;
            put(own, 0x3a, &state.to_le_bytes());
        })?;
        self.set_feature(features::RECOVER, false)?;
        self.set_feature(features::ORPHAN_PRESENT, false)
    }

    /// Says in the superblock that it has `feature`, or has not.
    pub(super) fn set_feature(&mut self, feature: Feature, is_set: bool) -> Result<()> {
        let (at, bits) = Features::place_of(feature);
        self.edit_superblock(|own| {
            let others = u32_at(own, at) & !bits;
            let bits = if is_set { others | bits } else { others };
            put(own, at, &bits.to_le_bytes());
        })
    }

    /// Changes the superblock, and makes its checksum.
    fn edit_superblock(&mut self, edit: impl FnOnce(&mut [u8])) -> Result<()> {
        let superblock = self.fs.superblock();
        let has_sum = superblock.has(features::METADATA_CSUM);
        let (number, at) = superblock.own_place();
        self.fs.blocks().change(number, |block| {
            let Some(own) = block.get_mut(at..at.saturating_add(LEN)) else { return };
            edit(own);
            if has_sum {
                let sum = crc32c(START, &[own.get(..CHECKSUM_AT).unwrap_or_default()]);
                put(own, CHECKSUM_AT, &sum.to_le_bytes());
            }
        })
    }
}
