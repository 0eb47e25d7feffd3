//! Finding a name in a directory: by its hash, or among those in an inode.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::directory::{HASH_LEN, HASHES_AT, STEP, entry_at, wrong};
use super::field::u32_at;
use super::hashes::{HashLeaf, HashTree};
use super::inode::{Form, Inode};
use super::name::{Match, compare, hash};
use super::rule::{XfsRule, XfsStructure};
use super::short_form;
use crate::error::Result;

/// Marks of leaves of a directory's tree: a single one, and one of several; before and since version 5.
const LEAVES: [u16; 4] = [0xd2f1, 0xd2ff, 0x3df1, 0x3dff];
/// More leaves than names with one hash fill.
const SAME_HASH_LIMIT: usize = 1 << 12;

/// What was found so far.
struct Search<'a> {
    fs: &'a Xfs,
    inode: &'a Inode,
    name: &'a [u8],
    hash: u32,
    is_folded: bool,
    /// The first name that is the same but for its case.
    folded: Option<u64>,
}

impl Xfs {
    /// The inode that `name` names in the directory `inode`. Where case does not count, a name that is the same is preferred.
    pub(super) fn find(&self, inode: &Inode, name: &[u8]) -> Result<Option<u64>> {
        let superblock = self.superblock();
        let is_folded = superblock.is_case_folded;
        let mut search =
            Search { fs: self, inode, name, hash: hash(name, is_folded), is_folded, folded: None };
        if inode.content.form == Form::Local {
            let bytes = inode.content.bytes.get(..inode.size as usize).unwrap_or_default();
            let entries =
                short_form::entries(bytes, superblock.has_kinds).map_err(|what| wrong(inode, 0, what))?;
            let exact = entries.iter().find_map(|entry| search.take(entry.name, entry.inode));
            return Ok(exact.or(search.folded));
        }
        if inode.size == superblock.directory_block_size {
            let block = self.name_block(inode, 0)?;
            if block.is_single {
                let hashes = block.hashes().as_chunks().0;
                return Ok(search.among(hashes)?.0.or(search.folded));
            }
        }
        search.in_tree()
    }
}

impl Search<'_> {
    /// Looks through the leaves of the tree that may have the hash.
    fn in_tree(&mut self) -> Result<Option<u64>> {
        let superblock = self.fs.superblock();
        let tree = HashTree {
            fs: self.fs,
            fork: &self.inode.content,
            root: HASHES_AT.checked_div(superblock.block_size).unwrap_or(0),
            count: superblock.directory_block_count,
            structure: XfsStructure::Directory,
        };
        let mut next = tree.find(self.hash)?;
        for _ in 0..SAME_HASH_LIMIT {
            let Some(leaf) = next else { return Ok(self.folded) };
            self.check_mark(&leaf)?;
            let (found, goes_on) = self.among(tree.leaf_entries(&leaf)?)?;
            if found.is_some() || !goes_on || leaf.next == 0 {
                return Ok(found.or(self.folded));
            }
            next = Some(tree.block(leaf.next)?);
        }
        Err(wrong(self.inode, 0, "too many leaves of one hash"))
    }

    fn check_mark(&self, leaf: &HashLeaf) -> Result<()> {
        match LEAVES.contains(&leaf.mark) {
            true => Ok(()),
            false => Err(XfsRule::foreign(XfsStructure::Directory(self.inode.number, 0), "mark")),
        }
    }

    /// What the name names, if that is told by `hashes`, which ascend; and whether there may be more of the same hash behind them.
    fn among(&mut self, hashes: &[[u8; HASH_LEN]]) -> Result<(Option<u64>, bool)> {
        let start = hashes.partition_point(|entry| u32_at(entry, 0) < self.hash);
        for entry in hashes.iter().skip(start) {
            if u32_at(entry, 0) != self.hash {
                return Ok((None, false));
            }
            let address = u32_at(entry, 4);
            // Of a name that was removed.
            if address == 0 {
                continue;
            }
            let found = self.at(u64::from(address).saturating_mul(STEP as u64))?;
            if found.is_some() {
                return Ok((found, false));
            }
        }
        Ok((None, true))
    }

    /// Holds the name against the one at `offset`, in bytes.
    fn at(&mut self, offset: u64) -> Result<Option<u64>> {
        let size = self.fs.superblock().directory_block_size;
        let number = offset.checked_div(size).unwrap_or(0);
        let at = offset.checked_rem(size).unwrap_or(0) as usize;
        let block = self.fs.name_block(self.inode, number)?;
        if at < block.start {
            return Err(wrong(self.inode, number, "a hash of no name"));
        }
        let entry = entry_at(&block.bytes, at, block.end, self.fs.superblock().has_kinds)
            .map_err(|what| wrong(self.inode, number, what))?;
        Ok(self.take(entry.name, entry.inode))
    }

    fn take(&mut self, name: &[u8], inode: u64) -> Option<u64> {
        match compare(name, self.name, self.is_folded)? {
            Match::Exact => Some(inode),
            Match::Folded => {
                self.folded.get_or_insert(inode);
                None
            }
        }
    }
}
