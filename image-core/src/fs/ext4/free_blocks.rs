//! The blocks that nothing is in: where what was removed may still be read.
//!
//! ```text
//! group ─► block bitmap: bit i is block first + group × blocks per group + i (bigalloc: cluster); 0 is free
//!      └─► never written: all but its own tables
//! ```
//!
//! Who leaves blocks out, or clears them, must be sure: what waits in a journal is replayed before, no error is recorded, and each
//! bitmap has its checksum and as many zeroes as its group says, none of them for a table. Without a journal it must have been unmounted.
//! Linux kernel documentation, filesystems/ext4 ("Block and Inode Bitmaps").
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::Ext4;
use super::features;
use super::groups::Group;
use super::layout::is_set;
use super::rule::Ext4Rule;
use crate::block::{ByteRange, Ranges};
use crate::error::{Doing, Error, Result};

impl Ext4 {
    /// The ranges that are in no file and no table, in their order and as long as they can be. With clusters (bigalloc), a
    /// cluster with one block in use is in use.
    pub(super) fn unused(&self) -> Result<Vec<ByteRange>> {
        let superblock = self.superblock();
        let is_lost = superblock.has(features::RECOVER) && !superblock.has_journal;
        if !superblock.was_unmounted || is_lost {
            return Err(Error::unsupported("the filesystem was not unmounted cleanly"));
        }
        if superblock.has_errors {
            return Err(Error::unsupported("errors are recorded in it"));
        }
        let mut ranges = Ranges::default();
        let per_cluster = superblock.blocks_per_cluster();
        for index in 0..superblock.group_count() {
            let group = self.group(index)?;
            let bitmap =
                self.block_bitmap(index, &group).doing(|| format!("the block bitmap of group {index}"))?;
            if group.has_block_bitmap {
                self.check_bitmap(index, &group, &bitmap)?;
            }
            for tables in superblock.tables_of(index, &group) {
                ranges.add_used(self.bytes_of(tables.start, tables.end));
            }
            let blocks = superblock.blocks_of(index);
            // The first block of the run of free ones that is not at its end yet.
            let mut run = None;
            for (bit, block) in (0..).zip(blocks.clone().step_by(per_cluster as usize)) {
                match (is_set(&bitmap, bit), run) {
                    (false, None) => run = Some(block),
                    (true, Some(first)) => {
                        ranges.add(self.bytes_of(first, block));
                        run = None;
                    }
                    _ => (),
                }
            }
            ranges.extend(run.map(|first| self.bytes_of(first, blocks.end)));
        }
        ranges.into_sorted()
    }

    /// Where the blocks from `first` up to `end` are.
    fn bytes_of(&self, first: u64, end: u64) -> ByteRange {
        let size = self.superblock().block_size;
        ByteRange::between(first.saturating_mul(size), end.saturating_mul(size))
    }

    /// Refuses a bitmap that is not what its group says it is.
    fn check_bitmap(&self, index: u64, group: &Group, bitmap: &[u8]) -> Result<()> {
        let superblock = self.superblock();
        let blocks = superblock.blocks_of(index);
        let bits = blocks.end.saturating_sub(blocks.start).div_ceil(superblock.blocks_per_cluster());
        let free = (0..bits).filter(|bit| !is_set(bitmap, *bit)).count();
        let what = match superblock.is_bitmap_sound(group, bitmap) {
            false => "another checksum",
            true if free as u64 != group.free_blocks => "another number of free blocks",
            true => return Ok(()),
        };
        Err(Error::corrupt(Ext4Rule::Bitmap { group: index, what }))
    }
}
