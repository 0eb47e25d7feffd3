//! All of a filesystem counted anew, and held against what it says of itself: whether it is consistent.
//!
//! ```text
//! groups ─► tables ────────────────┐
//! inode bitmaps ─► inodes in use ──┼─► blocks ─► used, each block once ─► held against the block bitmaps
//!                     │            │
//!                     └► directories ─► names of each inode ─► held against its links, `..` against where its name is
//! ```
//!
//! What a directory's index, quotas and the copies of the superblock say is not looked at. Memory: a bit for each block where not all
//! around it are in use, four bytes for each inode, some 40 for each directory.
//! Linux kernel documentation, filesystems/ext4, and what e2fsck(8) holds against each other in its five passes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod bitmaps;
mod finding;
mod names;
pub(super) mod used_blocks;

use std::collections::HashMap;

pub use finding::Finding;

use super::attributes::{HEADER_LEN, MAGIC, Value, entries, wrong};
use super::field::{u16_at, u32_at, wide};
use super::groups::Group;
use super::inode::{FLAG_EA_INODE, Inode, NodeKind, ROOT};
use super::layout::is_set;
use super::mapping::each_part;
use super::rule::Ext4Rule;
use super::run::{Part, Place};
use super::{Ext4, features};
use crate::error::{Error, ErrorKind, Result};
use names::Names;
use used_blocks::UsedBlocks;

/// So many findings are told; whoever repairs has them all told by e2fsck.
const FINDINGS_MAX: usize = 20;
/// The inode that lists bad blocks, and the one that has the blocks for descriptors to come.
const BAD_BLOCKS: u32 = 1;
const RESIZE: u32 = 7;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Fsck {
    pub(super) used_blocks: UsedBlocks,
    pub(super) findings: Vec<Finding>,
    names: Names,
    /// How many users each block of attributes has, and counts.
    blocks: HashMap<u64, (u64, u64)>,
    /// Likewise of attributes that are inodes.
    values: HashMap<u32, (u64, u64)>,
}

impl Ext4 {
    /// Counts all anew; what is told differently in two places, twenty of those at most. None: it is consistent.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for descriptors of groups that cannot be read, [`Unsupported`](crate::ErrorKind::Unsupported)
    /// for a list of bad blocks; whatever the disk says.
    pub fn check(&self) -> Result<Vec<Finding>> {
        Ok(Fsck::run(self)?.findings)
    }

    /// The inodes of `group` that are in use, by its bitmap.
    pub(super) fn inodes_in_use(&self, number: u64, group: &Group) -> Result<Vec<u32>> {
        if !group.has_inode_bitmap {
            return Ok(Vec::new());
        }
        let superblock = self.superblock();
        let bitmap = self.blocks().block(group.inode_bitmap)?;
        let first = superblock.first_inode_of(number);
        let used = (0..superblock.inodes_per_group).filter(|bit| is_set(&bitmap, *bit));
        Ok(used.filter_map(|bit| u32::try_from(first.saturating_add(bit)).ok()).collect())
    }
}

impl Fsck {
    /// Counts all of `fs`.
    pub(super) fn run(fs: &Ext4) -> Result<Self> {
        let mut fsck = Self::default();
        let mut groups = Vec::new();
        for number in 0..fs.superblock().group_count() {
            let group = fs.group(number)?;
            for range in fs.superblock().tables_of(number, &group) {
                fsck.mark(0, range.start, range.end.saturating_sub(range.start));
            }
            groups.push(group);
        }
        if fs.superblock().mmp_block != 0 {
            fsck.mark(0, fs.superblock().mmp_block, 1);
        }
        for (number, group) in (0..).zip(&groups) {
            for inode in fs.inodes_in_use(number, group)? {
                let met = fsck.meet(fs, inode);
                fsck.note(met)?;
            }
        }
        for (number, group) in (0..).zip(&groups) {
            bitmaps::compare(fs, number, group, &mut fsck)?;
        }
        fsck.compare_references();
        let names = std::mem::take(&mut fsck.names);
        names.compare(fs, &mut |finding| fsck.find(finding));
        Ok(fsck)
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// What a file's own damage is a finding, and what the disk says is an error.
    fn note(&mut self, met: Result<()>) -> Result<()> {
        match met {
            Err(error) if error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::Invalid => {
                let links =
                    std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
                let words: Vec<String> = links.map(ToString::to_string).collect();
                self.find(Finding::Damaged(words.join(": ")));
                Ok(())
            }
            other => other,
        }
    }

    fn mark(&mut self, inode: u32, first: u64, count: u64) {
        if let Some(block) = self.used_blocks.mark(first, count) {
            self.find(Finding::BlockTwice { inode, block });
        }
    }

    /// Counts what is inode `number`'s.
    fn meet(&mut self, fs: &Ext4, number: u32) -> Result<()> {
        let superblock = fs.superblock();
        let bytes = fs.inode_bytes(number)?;
        let is_reserved = number < superblock.first_inode && number != ROOT;
        let map = bytes.get(0x28..0x64).unwrap_or_default();
        if number == RESIZE {
            // All beneath it are blocks behind the descriptors, which are used.
            let list = u64::from(u32_at(map, 52));
            if list != 0 && superblock.has_blocks(list, 1) {
                self.mark(number, list, 1);
            }
            return Ok(());
        }
        if number == BAD_BLOCKS && map.iter().any(|byte| *byte != 0) {
            return Err(Error::unsupported("it has a list of bad blocks"));
        }
        if is_reserved && u16_at(&bytes, 0) == 0 {
            return Ok(());
        }
        let inode = fs.inode(number)?;
        let mut claimed = Vec::new();
        each_part(fs, &inode, &mut |part| {
            claimed.push(match part {
                Part::Node { block, .. } => (block, 1),
                Part::Run(run) => match run.place {
                    Place::Data(block) | Place::Unwritten(block) => (block, run.count),
                    Place::Hole => (0, 0),
                },
            });
            Ok(())
        })?;
        for (first, count) in claimed {
            self.mark(number, first, count);
        }
        self.meet_attributes(fs, &inode, &bytes)?;
        if inode.has(FLAG_EA_INODE) {
            // How many use it is where others have their times.
            let says = wide(u32_at(&bytes, 0x24), u32_at(&bytes, 0x0c));
            self.values.entry(number).or_default().1 = says;
            return Ok(());
        }
        let has_no_name = is_reserved
            || superblock.quota_inodes.contains(&number)
            || number == superblock.orphan_inode
            || number == superblock.journal_inode;
        if !has_no_name {
            self.names.inode(fs, &inode);
        }
        if inode.kind == NodeKind::Directory { self.names.directory(fs, &inode) } else { Ok(()) }
    }

    fn meet_attributes(&mut self, fs: &Ext4, inode: &Inode, _bytes: &[u8]) -> Result<()> {
        let mut values = Vec::new();
        let mut note = |area: &[u8], all: &[u8]| -> Result<()> {
            for entry in entries(area, all).map_err(|what| wrong(inode, what))? {
                if let Value::Inode(number, _) = entry.value {
                    values.push(number);
                }
            }
            Ok(())
        };
        if let Some(area) = inode.inside.strip_prefix(&MAGIC) {
            note(area, area)?;
        }
        let number = inode.attribute_block;
        if let Some(block) = fs.attribute_block(inode)? {
            if let Some(known) = self.blocks.get_mut(&number) {
                known.0 = known.0.saturating_add(1);
            } else {
                self.mark(inode.number, number, 1);
                self.blocks.insert(number, (1, u64::from(u32_at(&block, 4))));
                note(block.get(HEADER_LEN..).unwrap_or_default(), &block)?;
            }
        }
        for number in values {
            if !fs.superblock().has(features::EA_INODE) {
                return Err(Error::corrupt(Ext4Rule::Attributes { inode: inode.number, what: "inode" }));
            }
            let users = &mut self.values.entry(number).or_default().0;
            *users = users.saturating_add(1);
        }
        Ok(())
    }

    fn compare_references(&mut self) {
        let blocks = self.blocks.iter().map(|(block, counts)| (*block, *counts));
        let values = self.values.iter().map(|(inode, counts)| (u64::from(*inode), *counts));
        let mut wrong: Vec<Finding> = blocks
            .chain(values)
            .filter(|(_, (counted, says))| counted != says)
            .map(|(what, (counted, says))| Finding::References { what, says, counted })
            .collect();
        wrong.sort_by_key(|finding| format!("{finding:?}"));
        wrong.into_iter().for_each(|finding| self.find(finding));
    }
}
