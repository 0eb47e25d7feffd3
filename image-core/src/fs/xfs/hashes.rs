//! Trees of hashes: of the names in a directory, and of those of attributes.
//!
//! ```text
//! node   header │ last hash beneath, block │ last hash beneath, block │ …      level, one less with each node
//!                                └─► leaf: header │ hash … │ hash …  ─► the next leaf
//! ```
//! XFS Algorithms & Data Structures, "Directory and Attribute Internal Nodes".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::blocks::Block;
use super::field::{part, u16_at, u32_at};
use super::header::HASHES;
use super::inode::Fork;
use super::rule::{XfsRule, XfsStructure};
use crate::error::{Error, Result};

/// The deepest tree.
const LEVELS_MAX: u16 = 5;
const NODE: u16 = 0xfebe;
const NODE_V5: u16 = 0x3ebe;
/// The length of a hash with its block, or its address.
const ENTRY_LEN: usize = 8;
/// Before the entries, and since version 5.
const OLD_HEADER_LEN: usize = 16;
const HEADER_LEN: usize = 64;

/// Where a tree is.
pub(super) struct HashTree<'a> {
    pub(super) fs: &'a Xfs,
    pub(super) fork: &'a Fork,
    /// Its root, and how many blocks each of its blocks is.
    pub(super) root: u64,
    pub(super) count: u64,
    /// What its blocks are called: of an inode, by number.
    pub(super) structure: fn(u64, u64) -> XfsStructure,
}

/// A block of a tree, which is no node.
pub(super) struct HashLeaf {
    pub(super) bytes: Block,
    pub(super) mark: u16,
    /// The next leaf; 0 for none.
    pub(super) next: u64,
}

impl HashTree<'_> {
    /// The leaf that has `hash` first, or would have it; `None` if all hashes are less.
    pub(super) fn find(&self, hash: u32) -> Result<Option<HashLeaf>> {
        let mut number = self.root;
        let mut above = None;
        loop {
            let leaf = self.block(number)?;
            if !matches!(leaf.mark, NODE | NODE_V5) {
                return match above {
                    None | Some(1) => Ok(Some(leaf)),
                    Some(_) => Err(XfsRule::foreign(self.named(number), "mark")),
                };
            }
            let header_len = self.header_len();
            let counts_at = counts_at(header_len);
            let (count, level) = (
                usize::from(u16_at(&leaf.bytes, counts_at)),
                u16_at(&leaf.bytes, counts_at.saturating_add(2)),
            );
            let is_next = above.is_none_or(|above: u16| above.checked_sub(1) == Some(level));
            if level == 0 || level > LEVELS_MAX || !is_next {
                return Err(XfsRule::foreign(self.named(number), "level"));
            }
            let entries = self.entries(&leaf.bytes, header_len, count, number)?;
            let index = entries.partition_point(|entry| u32_at(entry, 0) < hash);
            let Some(entry) = entries.get(index) else { return Ok(None) };
            number = u64::from(u32_at(entry, 4));
            above = Some(level);
        }
    }

    /// The `count` entries of `bytes` behind its header.
    pub(super) fn entries<'b>(
        &self,
        bytes: &'b [u8],
        header_len: usize,
        count: usize,
        number: u64,
    ) -> Result<&'b [[u8; ENTRY_LEN]]> {
        let end = count.saturating_mul(ENTRY_LEN).saturating_add(header_len);
        let entries = part(bytes, header_len, end).as_chunks().0;
        match entries.len() == count {
            true => Ok(entries),
            false => Err(XfsRule::foreign(self.named(number), "number of entries")),
        }
    }

    /// The entries of a leaf of a directory's tree.
    pub(super) fn leaf_entries<'b>(&self, leaf: &'b HashLeaf) -> Result<&'b [[u8; ENTRY_LEN]]> {
        let header_len = self.header_len();
        let count = usize::from(u16_at(&leaf.bytes, counts_at(header_len)));
        self.entries(&leaf.bytes, header_len, count, self.root)
    }

    /// The block `number`, checked.
    pub(super) fn block(&self, number: u64) -> Result<HashLeaf> {
        let found = self.fs.fork_block(self.fork, number, self.count)?;
        let (place, bytes) = found.ok_or_else(|| self.missing(number))?;
        HASHES.check(self.fs, &bytes, place, Some(self.fork.inode), self.named(number))?;
        let (mark, next) = (u16_at(&bytes, 8), u64::from(u32_at(&bytes, 0)));
        Ok(HashLeaf { bytes, mark, next })
    }

    fn header_len(&self) -> usize {
        if self.fs.superblock().has_sums { HEADER_LEN } else { OLD_HEADER_LEN }
    }

    fn named(&self, number: u64) -> XfsStructure {
        (self.structure)(self.fork.inode, number)
    }

    fn missing(&self, number: u64) -> Error {
        XfsRule::foreign(self.named(number), "place: nothing is stored there, which")
    }
}

/// Where the counts are in a header of `header_len` bytes: behind what all blocks of a tree begin with.
fn counts_at(header_len: usize) -> usize {
    if header_len == HEADER_LEN { 56 } else { 12 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::MemoryDisk;
    use crate::fs::xfs::inode::Form;
    use crate::fs::xfs::superblock::tests::version_4;

    /// A tree of one node and two leaves, in the blocks from 10 on, of which each `change` changes one byte.
    fn find(hash: u32, change: &[(usize, u8)]) -> Result<Option<(u64, usize)>> {
        let mut disk = version_4();
        disk.resize(1500 << 12, 0);
        let mut put = |block: usize, at: usize, field: &[u8]| {
            let start = (block << 12) + at;
            disk[start..start + field.len()].copy_from_slice(field);
        };
        put(10, 8, &[0xfe, 0xbe, 0, 0, 0, 2, 0, 1]);
        put(10, 16, &[0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0, 2]);
        put(11, 3, &[2, 0, 0, 0, 0, 0xd2, 0xff, 0, 0, 0, 2]);
        put(11, 16, &[0, 0, 0, 10, 0, 0, 0, 7, 0, 0, 0, 20, 0, 0, 0, 8]);
        put(12, 8, &[0xd2, 0xff, 0, 0, 0, 1]);
        for (at, byte) in change {
            put(10, *at, &[*byte]);
        }
        let fs = Xfs::open(Arc::new(MemoryDisk::from_bytes(disk)))?;
        // One extent: three blocks from block 10 on.
        let extent = (10_u128 << 21 | 3).to_be_bytes();
        let (form, bytes) = (Form::Extents, extent.into());
        let fork = Fork { inode: 131, form, bytes, count: 1, is_realtime: false, may_share: false };
        let tree = HashTree { fs: &fs, fork: &fork, root: 0, count: 1, structure: XfsStructure::Directory };
        let Some(leaf) = tree.find(hash)? else { return Ok(None) };
        Ok(Some((leaf.next, tree.leaf_entries(&leaf)?.len())))
    }

    #[test]
    fn a_hash_leads_to_its_leaf() {
        assert_eq!(find(0, &[]).unwrap(), Some((2, 2)));
        assert_eq!(find(20, &[]).unwrap(), Some((2, 2)));
        assert_eq!(find(21, &[]).unwrap(), Some((0, 1)));
        assert_eq!(find(41, &[]).unwrap(), None);
    }

    #[test]
    fn nodes_that_lead_into_themselves_are_refused() {
        let cause = |change: &[(usize, u8)]| find(0, change).unwrap_err().to_string();
        assert!(cause(&[(23, 0)]).contains("another level"), "its own child");
        assert!(cause(&[(15, 6)]).contains("another level"), "too deep");
        assert!(cause(&[(15, 0)]).contains("another level"));
        assert!(cause(&[(15, 2)]).contains("another mark"), "a leaf too early");
        assert!(cause(&[(12, 0xff)]).contains("number of entries"));
        assert!(cause(&[(23, 9)]).contains("nothing is stored there"));
    }
}
