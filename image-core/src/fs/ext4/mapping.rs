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
use super::run::{Leaf, Part, Place, Run, Visit, hole};
use super::{Ext4, blockmap, extents};
use crate::error::{Error, Result};

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
