//! Which blocks a fork of an inode has: runs of them, from extents in the inode or from a tree whose root is there.
//!
//! ```text
//! inode   level, count │ first block, first block … │ number of a node, … of a node     as much room for numbers as for blocks
//!                                                          └─► block: header │ first blocks │ numbers     one level less
//!                                                                                               └─► block: header │ extents
//! ```
//!
//! A leaf answers for a range of an inode's own blocks, so holes are skipped in one step however large. What a node says lies
//! between the entry that leads to it and the next one: what a tree that leads into itself can cost is no more than its entries.
//! XFS Algorithms & Data Structures, "B+tree Extent List".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::Xfs;
use super::blocks::Block;
use super::field::{part, u16_at, u64_at};
use super::header::EXTENTS;
use super::inode::{Fork, Form};
use super::rule::{XfsRule, XfsStructure};
use super::run::{BLOCKS_END, EXTENT_LEN, Extent, Leaf, Place, Run, hole};
use crate::error::{Error, Result};

/// The deepest tree that can be needed.
const LEVELS_MAX: u16 = 9;
/// The length of a first block, and of a number.
const KEY_LEN: usize = 8;
/// Before the entries of the root, of nodes, and of nodes since version 5.
const ROOT_HEADER_LEN: usize = 4;
const OLD_HEADER_LEN: usize = 24;
const HEADER_LEN: usize = 72;

/// The runs of a fork, in order and without gaps.
pub(super) struct Runs<'a> {
    fs: &'a Xfs,
    fork: &'a Fork,
    leaf: Option<Leaf>,
    range: Range<u64>,
    /// Blocks of data so far.
    stored: u64,
}

impl<'a> Runs<'a> {
    /// Those of the blocks in `range`, counted in the fork.
    pub(super) fn new(fs: &'a Xfs, fork: &'a Fork, range: Range<u64>) -> Self {
        Self { fs, fork, leaf: None, range, stored: 0 }
    }

    fn step(&mut self) -> Result<Run> {
        let block = self.range.start;
        let leaf = match self.leaf.take() {
            Some(leaf) if leaf.covers.contains(&block) => leaf,
            _ => leaf_of(self.fs, self.fork, block)?,
        };
        let run = leaf.at(block).within(&self.range).unwrap_or_else(|| hole(block, self.range.end));
        self.leaf = Some(leaf);
        if run.place != Place::Hole {
            self.stored = self.stored.saturating_add(run.count);
        }
        // Only files share blocks, with each other or within one.
        if !self.fork.may_share && self.stored > self.fs.superblock().block_count {
            return Err(Error::corrupt(XfsRule::TooManyBlocks(self.fork.inode)));
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

/// The leaf that answers for `block` of `fork`.
pub(super) fn leaf_of(fs: &Xfs, fork: &Fork, block: u64) -> Result<Leaf> {
    let covers = 0..BLOCKS_END;
    match fork.form {
        _ if !covers.contains(&block) => Ok(Leaf { covers: block..u64::MAX, runs: Vec::new() }),
        Form::Extents => {
            let len = fork.count.saturating_mul(EXTENT_LEN as u64);
            if len > fork.bytes.len() as u64 {
                return Err(wrong(fork, "number"));
            }
            let runs = runs(fs, fork, part(&fork.bytes, 0, len as usize), &covers)?;
            Ok(Leaf { covers, runs })
        }
        Form::Tree => descend(fs, fork, block),
        Form::Local | Form::Other => Err(wrong(fork, "form")),
    }
}

fn wrong(fork: &Fork, what: &'static str) -> Error {
    Error::corrupt(XfsRule::Extents { inode: fork.inode, what })
}

/// The runs that `bytes`, extents, are; they lie in `covers`.
fn runs(fs: &Xfs, fork: &Fork, bytes: &[u8], covers: &Range<u64>) -> Result<Vec<Run>> {
    let mut next = covers.start;
    let mut runs = Vec::with_capacity(bytes.len() / EXTENT_LEN);
    for bytes in bytes.chunks_exact(EXTENT_LEN) {
        let Extent { first, count, number, is_written } = Extent::from_bytes(bytes);
        let end = first.saturating_add(count);
        if first < next || end > covers.end || count == 0 {
            return Err(wrong(fork, "order"));
        }
        next = end;
        let place = match fork.is_realtime {
            true => fs.superblock().realtime_place_of(number, count),
            false => fs.superblock().place_of(number, count),
        };
        let outside = || match fork.is_realtime {
            true => Error::unsupported("realtime: its content is on a device of its own"),
            false => Error::corrupt(XfsRule::Block { inode: fork.inode, block: number }),
        };
        let place = place.ok_or_else(outside)?;
        runs.push(Run {
            first,
            count,
            place: if is_written { Place::Data(place) } else { Place::Unwritten },
        });
    }
    Ok(runs)
}

/// A node of the tree, or its root.
struct Node<'a> {
    entries: &'a [u8],
    level: u16,
    count: usize,
}

impl<'a> Node<'a> {
    /// The node that has its level and count at `at`, and its entries from `entries_at` on.
    fn new(fork: &Fork, bytes: &'a [u8], at: usize, entries_at: usize) -> Result<Self> {
        let (level, count) = (u16_at(bytes, at), usize::from(u16_at(bytes, at.saturating_add(2))));
        let entries = bytes.get(entries_at..).unwrap_or_default();
        // Extents are as long as a first block and a number.
        if count > entries.len() / EXTENT_LEN || count == 0 && level > 0 {
            return Err(wrong(fork, "number of entries"));
        }
        Ok(Self { entries, level, count })
    }

    fn first_of(&self, index: usize) -> Option<u64> {
        (index < self.count).then(|| u64_at(self.entries, index.saturating_mul(KEY_LEN)))
    }

    /// The number of the node that has `block`, and what it answers for.
    fn lead(&self, block: u64, covers: &Range<u64>) -> (u64, Range<u64>) {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.first_of(middle).is_some_and(|first| first <= block) {
                true => low = middle.saturating_add(1),
                false => high = middle,
            }
        }
        let index = low.saturating_sub(1);
        // What comes before the first entry is a hole.
        let start = if index == 0 { covers.start } else { self.first_of(index).unwrap_or(covers.start) };
        let end = self.first_of(low.max(1)).unwrap_or(covers.end);
        let numbers_at = (self.entries.len() / EXTENT_LEN).saturating_mul(KEY_LEN);
        let number = u64_at(self.entries, numbers_at.saturating_add(index.saturating_mul(KEY_LEN)));
        (number, start.max(covers.start)..end.min(covers.end))
    }
}

/// Follows the tree of `fork` to the leaf for `block`.
fn descend(fs: &Xfs, fork: &Fork, block: u64) -> Result<Leaf> {
    let root = Node::new(fork, &fork.bytes, 0, ROOT_HEADER_LEN)?;
    if root.level == 0 || root.level > LEVELS_MAX {
        return Err(wrong(fork, "level"));
    }
    let (mut number, mut covers) = root.lead(block, &(0..BLOCKS_END));
    let mut level = root.level;
    loop {
        level = level.saturating_sub(1);
        if !covers.contains(&block) {
            return Err(wrong(fork, "order"));
        }
        let bytes = node_block(fs, fork, number)?;
        let entries_at = if fs.superblock().has_sums { HEADER_LEN } else { OLD_HEADER_LEN };
        let node = Node::new(fork, &bytes, 4, entries_at)?;
        if node.level != level {
            return Err(wrong(fork, "level"));
        }
        if level == 0 {
            let len = node.count.saturating_mul(EXTENT_LEN);
            let runs = runs(fs, fork, part(node.entries, 0, len), &covers)?;
            return Ok(Leaf { covers, runs });
        }
        (number, covers) = node.lead(block, &covers);
    }
}

/// Block `number` of the tree of `fork`, checked.
fn node_block(fs: &Xfs, fork: &Fork, number: u64) -> Result<Block> {
    let superblock = fs.superblock();
    let outside = || Error::corrupt(XfsRule::Block { inode: fork.inode, block: number });
    let place = superblock.place_of(number, 1).ok_or_else(outside)?;
    let bytes = fs.blocks().blocks(place, 1)?;
    let structure = XfsStructure::Extents(fork.inode, number);
    let mark: &[u8] = if superblock.has_sums { b"BMA3" } else { b"BMAP" };
    if !bytes.starts_with(mark) {
        return Err(XfsRule::foreign(structure, "mark"));
    }
    // Two files that exchanged their content may have kept each other's blocks.
    EXTENTS.check(fs, &bytes, place, None, structure)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork() -> Fork {
        Fork {
            inode: 131,
            form: Form::Tree,
            bytes: Box::default(),
            count: 0,
            is_realtime: false,
            may_share: false,
        }
    }

    #[test]
    fn a_node_leads_to_the_entry_before_a_block() {
        // Room for three, of which two are used.
        let mut bytes = vec![0, 1, 0, 2];
        for value in [10_u64, 20, 0, 100, 200, 0] {
            bytes.extend(value.to_be_bytes());
        }
        let node = Node::new(&fork(), &bytes, 0, 4).unwrap();
        assert_eq!(node.lead(5, &(0..50)), (100, 0..20));
        assert_eq!(node.lead(10, &(0..50)), (100, 0..20));
        assert_eq!(node.lead(19, &(8..50)), (100, 8..20));
        assert_eq!(node.lead(20, &(0..50)), (200, 20..50));
        assert_eq!(node.lead(u64::MAX, &(0..50)), (200, 20..50));
    }

    #[test]
    fn a_node_has_no_more_entries_than_room() {
        let full = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(Node::new(&fork(), &full, 0, 4).is_ok());
        assert!(Node::new(&fork(), &full[..19], 0, 4).is_err());
        assert!(Node::new(&fork(), &[0, 1, 0, 0], 0, 4).is_err(), "a node without entries");
        assert!(Node::new(&fork(), &[0, 0, 0, 0], 0, 4).is_ok(), "a leaf without entries");
    }
}
