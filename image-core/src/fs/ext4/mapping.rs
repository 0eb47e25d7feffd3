//! Which blocks an inode has: runs of them, whichever way they are written down.
//!
//! ```text
//! inode ─┬─ extents    ─┐                        ┌ data at a block
//!        ├─ block map  ─┼─► leaves ─► runs ──────┤ set aside, never written: zeroes
//!        └─ (content in the inode: content.rs)   └ a hole: zeroes
//! ```
//!
//! A leaf answers for a range of an inode's own blocks, so holes are skipped in one step however large. No inode may have more
//! blocks than its filesystem: that bounds what a tree that leads into itself can cost.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::inode::{FLAG_EXTENTS, FLAG_INLINE_DATA, Inode, NodeKind};
use super::rule::Ext4Rule;
use super::{Ext4, blockmap, extents};
use crate::error::{Error, Result};

/// Where a run's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From this block of the filesystem on.
    Data(u64),
    /// Set aside from this block on and never written: zeroes.
    Unwritten(u64),
    /// Nowhere: zeroes.
    Hole,
}

/// Blocks of an inode that are one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted in the inode.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
    pub(super) place: Place,
}

impl Run {
    pub(super) fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// What of it lies in `range`.
    fn within(self, range: &Range<u64>) -> Option<Self> {
        let first = self.first.max(range.start);
        let count = self.end().min(range.end).saturating_sub(first);
        let skipped = first.saturating_sub(self.first);
        let place = match self.place {
            Place::Data(block) => Place::Data(block.saturating_add(skipped)),
            Place::Unwritten(block) => Place::Unwritten(block.saturating_add(skipped)),
            other => other,
        };
        (count > 0).then_some(Self { first, count, place })
    }
}

/// Runs in ascending order, and the range of the inode's blocks that they answer for: what they leave out is a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) covers: Range<u64>,
    pub(super) runs: Vec<Run>,
}

impl Leaf {
    /// The run that `block`, which it covers, is in, from there on; a hole up to the next one.
    pub(super) fn at(&self, block: u64) -> Run {
        let index = self.runs.partition_point(|run| run.end() <= block);
        let end = self.covers.end;
        match self.runs.get(index) {
            Some(run) if run.first <= block => run.within(&(block..end)),
            Some(next) => Some(hole(block, next.first.min(end))),
            None => Some(hole(block, end)),
        }
        .unwrap_or_else(|| hole(block, end))
    }
}

fn hole(first: u64, end: u64) -> Run {
    Run { first, count: end.saturating_sub(first), place: Place::Hole }
}

/// The runs of an inode, in order and without gaps.
pub(super) struct Runs<'a> {
    fs: &'a Ext4,
    inode: &'a Inode,
    leaf: Option<Leaf>,
    range: Range<u64>,
    /// Blocks of data so far.
    stored: u64,
    /// Leaves so far.
    leaves: u64,
}

impl<'a> Runs<'a> {
    /// Those of the blocks in `range`, counted in the inode.
    pub(super) fn new(fs: &'a Ext4, inode: &'a Inode, range: Range<u64>) -> Self {
        Self { fs, inode, leaf: None, range, stored: 0, leaves: 0 }
    }

    fn step(&mut self) -> Result<Run> {
        let block = self.range.start;
        let leaf = match self.leaf.take() {
            Some(leaf) if leaf.covers.contains(&block) => leaf,
            _ => {
                self.leaves = self.leaves.saturating_add(1);
                leaf_of(self.fs, self.inode, block)?
            }
        };
        let run = leaf.at(block).within(&self.range).unwrap_or_else(|| hole(block, self.range.end));
        self.leaf = Some(leaf);
        if run.place != Place::Hole {
            self.stored = self.stored.saturating_add(run.count);
        }
        // Beside each leaf that is a block there may be a hole that has none.
        let most = self.fs.superblock().block_count;
        if self.stored > most || self.leaves >> 1 > most {
            return Err(Error::corrupt(Ext4Rule::TooManyBlocks(self.inode.number)));
        }
        self.range.start = run.end();
        Ok(run)
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let run = self.step();
        if run.is_err() {
            self.range.start = self.range.end;
        }
        Some(run)
    }
}

/// A part of what an inode has blocks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A block that tells where others are: `is_last` if those are of the content.
    Node { block: u64, is_last: bool },
    /// Content.
    Run(Run),
}

/// Who is shown all parts of an inode; no more of them than a filesystem has blocks.
pub(super) struct Visit<'a> {
    inode: u32,
    left: u64,
    visitor: &'a mut dyn FnMut(Part) -> Result<()>,
}

impl Visit<'_> {
    pub(super) fn see(&mut self, part: Part) -> Result<()> {
        let count = if let Part::Run(run) = part { run.count } else { 1 };
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Error::corrupt(Ext4Rule::TooManyBlocks(self.inode)))?;
        (self.visitor)(part)
    }
}

/// Shows `visitor` every block that `inode` has for its content, in order. Of one with its content inside there are none.
pub(super) fn each_part(fs: &Ext4, inode: &Inode, visitor: &mut dyn FnMut(Part) -> Result<()>) -> Result<()> {
    if !has_map(fs, inode) {
        return Ok(());
    }
    let mut visit = Visit { inode: inode.number, left: fs.superblock().block_count, visitor };
    match inode.has(FLAG_EXTENTS) {
        true => extents::each_part(fs, inode, &mut visit),
        false => blockmap::each_part(fs, inode, &mut visit),
    }
}

/// Whether `inode` has blocks, and where they would be told no content, target or device.
pub(super) fn has_map(fs: &Ext4, inode: &Inode) -> bool {
    match inode.kind {
        _ if inode.has(FLAG_INLINE_DATA) => false,
        NodeKind::File | NodeKind::Directory => true,
        NodeKind::Link => !fs.has_fast_target(inode),
        _ => false,
    }
}

/// The leaf that answers for `block` of `inode`.
pub(super) fn leaf_of(fs: &Ext4, inode: &Inode, block: u64) -> Result<Leaf> {
    match inode.has(FLAG_EXTENTS) {
        true => extents::leaf_of(fs, inode, block),
        false => blockmap::leaf_of(fs, inode, block),
    }
}

/// Refuses blocks that no inode may have.
pub(super) fn check(fs: &Ext4, inode: &Inode, first: u64, count: u64) -> Result<()> {
    let superblock = fs.superblock();
    if superblock.has_blocks(first, count) {
        return Ok(());
    }
    let block = if superblock.has_blocks(first, 1) { superblock.block_count } else { first };
    Err(Error::corrupt(Ext4Rule::Block { inode: inode.number, block }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leaf_leaves_out_is_a_hole() {
        let run = |first, count, place| Run { first, count, place };
        let runs =
            vec![run(10, 5, Place::Data(100)), run(15, 2, Place::Unwritten(105)), run(40, 1, Place::Data(7))];
        let leaf = Leaf { covers: 4..50, runs };
        assert_eq!(leaf.at(4), run(4, 6, Place::Hole));
        assert_eq!(leaf.at(12), run(12, 3, Place::Data(102)));
        assert_eq!(leaf.at(16), run(16, 1, Place::Unwritten(106)));
        assert_eq!(leaf.at(17), run(17, 23, Place::Hole));
        assert_eq!(leaf.at(41), run(41, 9, Place::Hole));
        assert_eq!(run(10, 5, Place::Data(100)).within(&(12..13)), Some(run(12, 1, Place::Data(102))));
        assert_eq!(run(10, 5, Place::Data(100)).within(&(15..20)), None);
    }
}
