//! Blocks of an inode that are one behind the other, and where on the disk they are.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::Ext4;
use super::inode::Inode;
use super::rule::Ext4Rule;
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
    pub(super) fn within(self, range: &Range<u64>) -> Option<Self> {
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

pub(super) fn hole(first: u64, end: u64) -> Run {
    Run { first, count: end.saturating_sub(first), place: Place::Hole }
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
    pub(super) inode: u32,
    pub(super) left: u64,
    pub(super) visitor: &'a mut dyn FnMut(Part) -> Result<()>,
}

impl Visit<'_> {
    pub(super) fn see(&mut self, part: Part) -> Result<()> {
        let count = if let Part::Run(run) = part { run.count } else { 1 };
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Error::corrupt(Ext4Rule::TooManyBlocks(self.inode)))?;
        (self.visitor)(part)
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
