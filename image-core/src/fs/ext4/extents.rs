//! Extents: a tree of runs whose root is in the inode.
//!
//! ```text
//! inode   header │ index │ index …            entries of 12 bytes, four in the inode
//!                     └─► block: header │ index …           each level one less deep
//!                                          └─► block: header │ extent │ extent … │ CRC
//! extent  0 first block, in the file │ 4 how many; more than 32768: so many fewer, never written │ 6 place, 48 bits
//! index   0 first block, in the file │ 4 block of the node, 48 bits
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extent Tree"). What a node says lies between the index that leads to it and
//! the next one, and entries ascend: so no node with entries is reached twice.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::blocks::Block;
use super::checksum::crc32c;
use super::field::{u16_at, u32_at, wide};
use super::inode::Inode;
use super::rule::{Checksummed, Ext4Rule};
use super::run::{Leaf, Part, Place, Run, Visit, check};
use super::{Ext4, features};
use crate::error::{Error, Result};

pub(super) const MAGIC: u16 = 0xf30a;
/// The length of an entry, and of the header.
pub(super) const ENTRY_LEN: usize = 12;
/// The deepest tree that can be needed.
pub(super) const DEPTH_LIMIT: u16 = 5;
/// The longest run that was written; a longer one is one that was not, by this much shorter.
pub(super) const WRITTEN_MAX: u64 = 32768;
/// Blocks are counted in a file with 32 bits.
const BLOCKS_MAX: u64 = 1 << 32;

/// A node of the tree, its header checked.
struct Node {
    bytes: Block,
    depth: u16,
    count: usize,
}

impl Node {
    fn from_bytes(inode: &Inode, bytes: Block, depth: Option<u16>) -> std::result::Result<Self, Ext4Rule> {
        let wrong = |what| Ext4Rule::Extents { inode: inode.number, what };
        if u16_at(&bytes, 0) != MAGIC {
            return Err(wrong("mark"));
        }
        let found = u16_at(&bytes, 6);
        if found > DEPTH_LIMIT || depth.is_some_and(|depth| depth != found) {
            return Err(wrong("depth"));
        }
        let (count, most) = (usize::from(u16_at(&bytes, 2)), usize::from(u16_at(&bytes, 4)));
        let room = bytes.len().saturating_sub(ENTRY_LEN).checked_div(ENTRY_LEN).unwrap_or(0);
        if count > most || most > room || (count == 0 && found > 0) {
            return Err(wrong("number of entries"));
        }
        Ok(Self { bytes, depth: found, count })
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.get(ENTRY_LEN..).unwrap_or_default().chunks_exact(ENTRY_LEN).take(self.count)
    }

    /// Behind all entries that there is room for.
    fn is_sound(&self, inode: &Inode) -> bool {
        let end = usize::from(u16_at(&self.bytes, 4)).saturating_add(1).saturating_mul(ENTRY_LEN);
        let (Some(summed), Some(_)) = (self.bytes.get(..end), self.bytes.get(end..end.saturating_add(4)))
        else {
            return false;
        };
        crc32c(inode.seed, &[summed]) == u32_at(&self.bytes, end)
    }

    /// The runs of a leaf, which lie in `covers`.
    fn runs(&self, fs: &Ext4, inode: &Inode, covers: &Range<u64>) -> Result<Vec<Run>> {
        let wrong = |what| Error::corrupt(Ext4Rule::Extents { inode: inode.number, what });
        let mut next = covers.start;
        let mut runs = Vec::with_capacity(self.count);
        for entry in self.entries() {
            let first = u64::from(u32_at(entry, 0));
            let len = u64::from(u16_at(entry, 4));
            let block = wide(u32_at(entry, 8), u32::from(u16_at(entry, 6)));
            let (count, is_written) = match len.checked_sub(WRITTEN_MAX) {
                None | Some(0) => (len, true),
                Some(rest) => (rest, false),
            };
            let end = first.saturating_add(count);
            if first < next || end > covers.end || count == 0 {
                return Err(wrong("order"));
            }
            next = end;
            check(fs, inode, block, count)?;
            let place = if is_written { Place::Data(block) } else { Place::Unwritten(block) };
            runs.push(Run { first, count, place });
        }
        Ok(runs)
    }
}

/// The leaf of the tree that answers for `block` of `inode`.
pub(super) fn leaf_of(fs: &Ext4, inode: &Inode, block: u64) -> Result<Leaf> {
    let wrong = |what| Error::corrupt(Ext4Rule::Extents { inode: inode.number, what });
    if block >= BLOCKS_MAX {
        return Ok(Leaf { covers: BLOCKS_MAX..u64::MAX, runs: Vec::new() });
    }
    let mut covers = 0..BLOCKS_MAX;
    let mut node = Node::from_bytes(inode, Block::from(&inode.block[..]), None).map_err(Error::corrupt)?;
    while node.depth > 0 {
        // The last index that begins at or before the block, and the one behind it.
        let mut found = None;
        let mut last = None;
        for entry in node.entries() {
            let first = u64::from(u32_at(entry, 0));
            if first < covers.start || last.is_some_and(|last| first <= last) || first >= covers.end {
                return Err(wrong("order"));
            }
            last = Some(first);
            if first > block {
                covers.end = first;
                break;
            }
            found = Some((first, wide(u32_at(entry, 4), u32::from(u16_at(entry, 8)))));
        }
        let Some((first, place)) = found else { return Ok(Leaf { covers, runs: Vec::new() }) };
        covers.start = first;
        node = node_at(fs, inode, place, node.depth.saturating_sub(1))?;
    }
    let runs = node.runs(fs, inode, &covers)?;
    Ok(Leaf { covers, runs })
}

/// The node in block `place`.
fn node_at(fs: &Ext4, inode: &Inode, place: u64, depth: u16) -> Result<Node> {
    check(fs, inode, place, 1)?;
    let node = Node::from_bytes(inode, fs.blocks().block(place)?, Some(depth)).map_err(Error::corrupt)?;
    if fs.superblock().has(features::METADATA_CSUM) && !node.is_sound(inode) {
        return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Extents(inode.number, place))));
    }
    Ok(node)
}

/// Every node and run of the tree, in order.
pub(super) fn each_part(fs: &Ext4, inode: &Inode, visit: &mut Visit<'_>) -> Result<()> {
    let root = Node::from_bytes(inode, Block::from(&inode.block[..]), None).map_err(Error::corrupt)?;
    beneath(fs, inode, &root, 0..BLOCKS_MAX, visit)
}

fn beneath(fs: &Ext4, inode: &Inode, node: &Node, covers: Range<u64>, visit: &mut Visit<'_>) -> Result<()> {
    if node.depth == 0 {
        return node.runs(fs, inode, &covers)?.into_iter().try_for_each(|run| visit.see(Part::Run(run)));
    }
    let entries: Vec<(u64, u64)> = node
        .entries()
        .map(|entry| (u64::from(u32_at(entry, 0)), wide(u32_at(entry, 4), u32::from(u16_at(entry, 8)))))
        .collect();
    let mut next = covers.start;
    for (index, (first, place)) in entries.iter().enumerate() {
        let end = entries.get(index.saturating_add(1)).map_or(covers.end, |(first, _)| *first);
        if *first < next || end <= *first || end > covers.end {
            return Err(Error::corrupt(Ext4Rule::Extents { inode: inode.number, what: "order" }));
        }
        next = end;
        let below = node_at(fs, inode, *place, node.depth.saturating_sub(1))?;
        visit.see(Part::Node { block: *place, is_last: below.depth == 0 })?;
        beneath(fs, inode, &below, *first..end, visit)?;
    }
    Ok(())
}
