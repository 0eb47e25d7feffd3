//! Block maps, as ext2 and ext3 have them: lists of blocks, and blocks of such lists.
//!
//! ```text
//! inode   0 ── 11 direct │ 12 ─► list │ 13 ─► list of lists │ 14 ─► list of lists of lists
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Direct/Indirect Block Addressing"). 0 is a hole, of all that would be beneath it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4;
use super::field::u32_at;
use super::inode::Inode;
use super::run::{Leaf, Part, Place, Run, Visit, check};
use crate::error::Result;

/// How many blocks the inode itself lists.
pub(super) const DIRECT: u64 = 12;
/// How many levels of lists there are behind them.
pub(super) const LEVELS: u32 = 3;

/// The leaf of the map that answers for `block` of `inode`.
pub(super) fn leaf_of(fs: &Ext4, inode: &Inode, block: u64) -> Result<Leaf> {
    if block < DIRECT {
        let runs = runs(fs, inode, &inode.block[..48], 0)?;
        return Ok(Leaf { covers: 0..DIRECT, runs });
    }
    let per_list = fs.superblock().block_size >> 2;
    // How many blocks one pointer of the level leads to, and where the first of them is in the file.
    let mut start = DIRECT;
    for level in 1..=LEVELS {
        let span = per_list.saturating_pow(level);
        if block < start.saturating_add(span) {
            let at = DIRECT.saturating_add(u64::from(level)).saturating_sub(1).saturating_mul(4);
            let pointer = u32_at(&inode.block, at as usize);
            return descend(fs, inode, block, Tree { pointer, level, start });
        }
        start = start.saturating_add(span);
    }
    Ok(Leaf { covers: start..u64::MAX, runs: Vec::new() })
}

/// Every list and run of the map, in order.
pub(super) fn each_part(fs: &Ext4, inode: &Inode, visit: &mut Visit<'_>) -> Result<()> {
    for run in runs(fs, inode, &inode.block[..48], 0)? {
        visit.see(Part::Run(run))?;
    }
    let per_list = fs.superblock().block_size >> 2;
    let mut start = DIRECT;
    for level in 1..=LEVELS {
        let at = DIRECT.saturating_add(u64::from(level)).saturating_sub(1).saturating_mul(4);
        let pointer = u32_at(&inode.block, at as usize);
        beneath(fs, inode, &Tree { pointer, level, start }, visit)?;
        start = start.saturating_add(per_list.saturating_pow(level));
    }
    Ok(())
}

fn beneath(fs: &Ext4, inode: &Inode, tree: &Tree, visit: &mut Visit<'_>) -> Result<()> {
    if tree.pointer == 0 {
        return Ok(());
    }
    let block = u64::from(tree.pointer);
    check(fs, inode, block, 1)?;
    let list = fs.blocks().block(block)?;
    let below = tree.level.saturating_sub(1);
    visit.see(Part::Node { block, is_last: below == 0 })?;
    if below == 0 {
        return runs(fs, inode, &list, tree.start)?.into_iter().try_for_each(|run| visit.see(Part::Run(run)));
    }
    let step = (fs.superblock().block_size >> 2).saturating_pow(below);
    for (index, pointer) in (0_u64..).zip(list.as_chunks::<4>().0) {
        let start = tree.start.saturating_add(index.saturating_mul(step));
        beneath(fs, inode, &Tree { pointer: u32::from_le_bytes(*pointer), level: below, start }, visit)?;
    }
    Ok(())
}

/// A pointer and what it leads to: `level` lists of lists, for the blocks of the file from `start` on.
struct Tree {
    pointer: u32,
    level: u32,
    start: u64,
}

fn descend(fs: &Ext4, inode: &Inode, block: u64, mut tree: Tree) -> Result<Leaf> {
    let per_list = fs.superblock().block_size >> 2;
    loop {
        let span = per_list.saturating_pow(tree.level);
        let covers = tree.start..tree.start.saturating_add(span);
        if tree.pointer == 0 {
            return Ok(Leaf { covers, runs: Vec::new() });
        }
        check(fs, inode, u64::from(tree.pointer), 1)?;
        let list = fs.blocks().block(u64::from(tree.pointer))?;
        let below = tree.level.saturating_sub(1);
        if below == 0 {
            return Ok(Leaf { runs: runs(fs, inode, &list, tree.start)?, covers });
        }
        let step = per_list.saturating_pow(below);
        let index = block.saturating_sub(tree.start).checked_div(step).unwrap_or(0);
        tree = Tree {
            pointer: u32_at(&list, index.saturating_mul(4) as usize),
            level: below,
            start: tree.start.saturating_add(index.saturating_mul(step)),
        };
    }
}

/// The runs of a list of blocks, the first of which is block `start` of the file.
fn runs(fs: &Ext4, inode: &Inode, list: &[u8], start: u64) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (first, pointer) in (start..).zip(list.as_chunks::<4>().0) {
        let block = u64::from(u32::from_le_bytes(*pointer));
        if block == 0 {
            continue;
        }
        check(fs, inode, block, 1)?;
        match runs.last_mut() {
            Some(Run { first: begun, count, place: Place::Data(place) })
                if begun.saturating_add(*count) == first && place.saturating_add(*count) == block =>
            {
                *count = count.saturating_add(1);
            }
            _ => runs.push(Run { first, count: 1, place: Place::Data(block) }),
        }
    }
    Ok(runs)
}
