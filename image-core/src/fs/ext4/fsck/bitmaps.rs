//! What the bitmaps of a group and its counts say, held against what was counted.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::{Finding, Fsck};
use crate::error::Result;
use crate::fs::ext4::Ext4;
use crate::fs::ext4::field::u16_at;
use crate::fs::ext4::groups::Group;
use crate::fs::ext4::layout::is_set;

/// Compares group `number`.
pub(super) fn compare(fs: &Ext4, number: u64, group: &Group, fsck: &mut Fsck) -> Result<()> {
    let superblock = fs.superblock();
    let bitmap = fs.block_bitmap(number, group)?;
    if group.has_block_bitmap && !superblock.is_bitmap_sound(group, &bitmap) {
        fsck.find(Finding::Damaged(format!("the block bitmap of group {number} has another checksum")));
    }
    let blocks = superblock.blocks_of(number);
    let per_cluster = superblock.blocks_per_cluster();
    let bits = blocks.end.saturating_sub(blocks.start).div_ceil(per_cluster);
    let mut used = vec![0_u8; bitmap.len()];
    mark(fsck, blocks.start, blocks.end, per_cluster, &mut used);
    let (mut free, mut free_but_used, mut used_but_free) = (0_u64, 0_u64, 0_u64);
    for bit in 0..bits {
        let (says, is) = (is_set(&bitmap, bit), is_set(&used, bit));
        free = free.saturating_add(u64::from(!says));
        free_but_used = free_but_used.saturating_add(u64::from(says && !is));
        used_but_free = used_but_free.saturating_add(u64::from(!says && is));
    }
    if free_but_used > 0 {
        fsck.find(Finding::FreeButUsed { group: number, count: free_but_used });
    }
    if used_but_free > 0 {
        fsck.find(Finding::UsedButFree { group: number, count: used_but_free });
    }
    count(fsck, number, "free blocks", group.free_blocks, free);
    let inodes = fs.inodes_in_use(number, group)?;
    if group.has_inode_bitmap {
        let bitmap = fs.blocks().block(group.inode_bitmap)?;
        if !superblock.is_inode_bitmap_sound(group, &bitmap) {
            fsck.find(Finding::Damaged(format!("the inode bitmap of group {number} has another checksum")));
        }
    }
    let free = superblock.inodes_per_group.saturating_sub(inodes.len() as u64);
    count(fsck, number, "free inodes", group.free_inodes, free);
    let mut directories = 0_u64;
    for inode in inodes {
        let is_one = u16_at(&fs.inode_bytes(inode)?, 0) >> 12 == 4;
        directories = directories.saturating_add(u64::from(is_one));
    }
    count(fsck, number, "directories", group.directories, directories);
    Ok(())
}

/// Sets the bits of clusters in which a block is somebody's.
fn mark(fsck: &Fsck, start: u64, end: u64, per_cluster: u64, used: &mut [u8]) {
    let mut at = start;
    let used_blocks = &fsck.used_blocks;
    let mut set = |from: u64, upto: u64| {
        let first = from.saturating_sub(start).checked_div(per_cluster).unwrap_or(0);
        let last = upto.saturating_sub(start).div_ceil(per_cluster);
        (first..last).for_each(|bit| crate::fs::ext4::layout::set(used, bit));
    };
    for (first, count) in used_blocks.free_in(start..end) {
        set(at, first.max(at));
        at = first.saturating_add(count);
    }
    set(at, end.max(at));
}

fn count(fsck: &mut Fsck, group: u64, what: &'static str, says: u64, counted: u64) {
    if says != counted {
        fsck.find(Finding::Count { group, what, says, counted });
    }
}
