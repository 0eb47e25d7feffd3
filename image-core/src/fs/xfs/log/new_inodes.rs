//! New inodes in the log: a chunk of them, all free, which is not written down one by one.
//!
//! ```text
//! 0 kind, regions │ 4 group │ 8 first block in it │ 12 how many │ 16 size of an inode │ 20 blocks │ 24 generation      big endian
//! ```
//! XFS Algorithms & Data Structures, "Inode Creation Item".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::buffers::Buffers;
use super::transaction::Item;
use crate::error::Result;
use crate::fs::xfs::field::{put, u32_at};
use crate::fs::xfs::inode::MAGIC;
use crate::fs::xfs::overlay::SECTOR;
use crate::fs::xfs::rule::XfsRule;

/// The most inodes of a chunk that are made at once.
const COUNT_MAX: u64 = 4096;

/// Lays the inodes of `item` over the disk, unless they were removed again.
pub(super) fn replay(buffers: &mut Buffers<'_>, item: &Item) -> Result<()> {
    let superblock = buffers.log.superblock;
    let head = item.region(0);
    let value = |at| u64::from(u32_at(head, at));
    let (group, block, count, size, blocks) = (value(4), value(8), value(12), value(16), value(20));
    let first = superblock.number_of(group, block);
    let place = first.and_then(|first| superblock.place_of(first, blocks));
    let len = count.saturating_mul(superblock.inode_size);
    let is_right = size == superblock.inode_size
        && (1..=COUNT_MAX).contains(&count)
        && len <= blocks.saturating_mul(superblock.block_size);
    let (Some(first), Some(place)) = (first, place.filter(|_| is_right)) else {
        return Err(XfsRule::in_log("chunk of new inodes at block", block));
    };
    let sector = place.saturating_mul(superblock.block_size) / SECTOR;
    if buffers.is_any_removed(sector, len / SECTOR) {
        return Ok(());
    }
    let mut inode = vec![0; superblock.inode_size as usize];
    put(&mut inode, 0, MAGIC);
    put(&mut inode, 4, &[3]);
    put(&mut inode, 92, head.get(24..28).unwrap_or_default());
    put(&mut inode, 96, &[0xff; 4]);
    put(&mut inode, 160, &superblock.uuid);
    let mut chunk = Vec::with_capacity(len as usize);
    let number = superblock.first_inode_of(first);
    for index in 0..count {
        put(&mut inode, 152, &number.saturating_add(index).to_be_bytes());
        chunk.extend_from_slice(&inode);
    }
    buffers.put(sector, &chunk)
}
