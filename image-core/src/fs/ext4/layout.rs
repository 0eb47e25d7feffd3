//! Where a filesystem has its own tables: what is in each group before any file is.
//!
//! ```text
//! group   [superblock copy │ descriptors │ reserved │] …      at its beginning, in some groups
//! bitmaps, inode table                                        wherever its descriptor says (flex_bg: in another group)
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Layout", "Flexible Block Groups", "Meta Block Groups").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::features;
use super::groups::Group;
use super::superblock::Superblock;

impl Superblock {
    /// How many descriptors a block has.
    pub(super) fn descriptors_per_block(&self) -> u64 {
        self.block_size.checked_div(self.descriptor_size).unwrap_or(1).max(1)
    }

    /// The blocks of the superblock, or its copy, and of descriptors at the beginning of `group`.
    pub(super) fn head_of(&self, group: u64) -> Range<u64> {
        let blocks = self.blocks_of(group);
        let has_copy = self.has_superblock(group);
        let per_block = self.descriptors_per_block();
        let mut count = u64::from(has_copy);
        // With clusters, groups of 1 KiB blocks begin at 0 and the superblock is in block 1.
        let moved = self.block_size == 1024 && self.first_data_block == 0 && group == 0;
        count = count.saturating_add(u64::from(moved));
        let first_meta = self.first_meta_group.saturating_mul(per_block);
        if !self.has(features::META_BG) || group < first_meta {
            let usual = self.group_count().div_ceil(per_block);
            let all = if self.has(features::META_BG) { self.first_meta_group } else { usual };
            if has_copy {
                count = count.saturating_add(all).saturating_add(self.reserved_descriptor_blocks);
            }
        } else {
            // In the first two groups of those that a block of descriptors is about, and in the last one.
            let inside = group.checked_rem(per_block).unwrap_or(0);
            let has_it = inside <= 1 || inside == per_block.saturating_sub(1);
            count = count.saturating_add(u64::from(has_it));
        }
        blocks.start..blocks.start.saturating_add(count).min(blocks.end)
    }

    /// The blocks of the tables that `group`, which is number `number`, has: its head, bitmaps and inodes.
    pub(super) fn tables_of(&self, number: u64, group: &Group) -> [Range<u64>; 4] {
        let one = |block: u64| block..block.saturating_add(1);
        let inodes = group.inode_table..group.inode_table.saturating_add(self.table_blocks());
        [self.head_of(number), one(group.block_bitmap), one(group.inode_bitmap), inodes]
    }

    /// The block bitmap of a group that was never written to: its own tables, as far as they are in it, and what is behind its end.
    pub(super) fn first_bitmap(&self, number: u64, group: &Group) -> Vec<u8> {
        let blocks = self.blocks_of(number);
        let per_cluster = self.blocks_per_cluster();
        let mut bitmap = vec![0_u8; self.block_size as usize];
        for range in self.tables_of(number, group) {
            for block in range.start.max(blocks.start)..range.end.min(blocks.end) {
                set(&mut bitmap, block.saturating_sub(blocks.start).checked_div(per_cluster).unwrap_or(0));
            }
        }
        let used = blocks.end.saturating_sub(blocks.start).div_ceil(per_cluster);
        (used..self.block_size.saturating_mul(8)).for_each(|bit| set(&mut bitmap, bit));
        bitmap
    }
}

/// Sets bit `bit` of `bitmap`.
pub(super) fn set(bitmap: &mut [u8], bit: u64) {
    if let Some(byte) = bitmap.get_mut((bit >> 3) as usize) {
        *byte |= 1 << (bit & 7);
    }
}

/// Clears it.
pub(super) fn clear(bitmap: &mut [u8], bit: u64) {
    if let Some(byte) = bitmap.get_mut((bit >> 3) as usize) {
        *byte &= !(1 << (bit & 7));
    }
}

/// Whether bit `bit` is set; also where there is none.
pub(super) fn is_set(bitmap: &[u8], bit: u64) -> bool {
    bitmap.get((bit >> 3) as usize).copied().unwrap_or(0xff) >> (bit & 7) & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_lowest() {
        let mut bitmap = [0; 2];
        set(&mut bitmap, 0);
        set(&mut bitmap, 9);
        set(&mut bitmap, 16);
        assert_eq!(bitmap, [1, 2]);
        assert!(is_set(&bitmap, 9) && !is_set(&bitmap, 8) && is_set(&bitmap, 16));
        clear(&mut bitmap, 9);
        assert_eq!(bitmap, [1, 0]);
    }
}
