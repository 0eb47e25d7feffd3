//! How full a filesystem is.
//!
//! Blocks of the log count neither as free nor as used, and some free ones are never given away: they are what allocation groups
//! need to write down what is free. XFS Algorithms & Data Structures, "Superblocks" and "AG Free Space Block".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::field::u32_at;
use crate::error::{Doing, Result};
use crate::fs::Usage;

/// Blocks of each group that stay free.
const SET_ASIDE: u64 = 8;

/// What the free space headers of all groups say, in blocks.
#[derive(Default)]
struct FreeSpace {
    free: u64,
    /// Those of the trees of free space, which count as free and never are.
    trees: u64,
}

impl Xfs {
    /// Bytes in all and free ones, as a kernel tells them that mounts it read-only.
    pub(super) fn fullness(&self) -> Result<Usage> {
        let superblock = self.superblock();
        // A kernel reads the groups' headers as it mounts only for one of these reasons. A superblock's own count is right only
        // if the log was closed.
        let groups = match self.is_log_dirty() || superblock.has_reflink {
            true => self.count_free()?,
            false => FreeSpace::default(),
        };
        let counted = if self.is_log_dirty() { groups.free } else { superblock.free_blocks };
        let log = if superblock.log_start == 0 { 0 } else { superblock.log_blocks };
        let kept = superblock.group_count.saturating_mul(SET_ASIDE).saturating_add(groups.trees);
        Ok(Usage {
            size: superblock.block_count.saturating_sub(log).saturating_mul(superblock.block_size),
            free: counted.saturating_sub(kept).saturating_mul(superblock.block_size),
        })
    }

    fn count_free(&self) -> Result<FreeSpace> {
        let superblock = self.superblock();
        let mut all = FreeSpace::default();
        for group in 0..superblock.group_count {
            let doing = || format!("counting what is free in group {group}");
            let bytes = self.free_space_header(group).doing(doing)?;
            let value = |at| u64::from(u32_at(&bytes, at));
            // Free ones, those in the list of blocks for trees, and those of the trees themselves.
            let (free, listed, trees) = (value(52), value(48), value(60));
            all.free = all.free.saturating_add(free).saturating_add(listed).saturating_add(trees);
            // The root of the tree of reverse mappings does not count.
            let reverse = if superblock.has_reverse_map { value(80).saturating_sub(1) } else { 0 };
            all.trees = all.trees.saturating_add(trees.saturating_sub(reverse));
        }
        Ok(all)
    }
}
