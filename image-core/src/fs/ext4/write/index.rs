//! A directory that gets an index: when the names of its only block have no room for one more.
//!
//! ```text
//! block 0   . │ .. │ names          becomes   block 0   . │ .. │ index: 1        block 1   names
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Hash Tree Directories").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::insert::{NewEntry, kind_at};
use crate::error::Result;
use crate::fs::ext4::directory::{Areas, entry_at, wrong};
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::hash::NameHash;
use crate::fs::ext4::inode::{FLAG_INDEX, FLAG_INLINE_DATA, Inode};
use crate::fs::ext4::{features, htree, lookup};

/// `.` and `..`, of which each has 12 bytes there.
const DOTS: [&[u8]; 2] = [b".", b".."];

impl Ext4Writer {
    /// Gives the directory `parent` an index, if it has one block, and may have one. Answers with whether it has one now.
    pub(super) fn make_index(&mut self, parent: &Inode) -> Result<bool> {
        let superblock = self.fs.superblock();
        let hash = NameHash::new(superblock.hash_version, superblock.has_unsigned_hash, superblock.hash_seed);
        let may = superblock.has(features::DIR_INDEX)
            && hash.is_some()
            && parent.size == superblock.block_size
            && !parent.has(FLAG_INLINE_DATA)
            && !parent.has(FLAG_INDEX);
        if !may {
            return Ok(false);
        }
        let (version, has_sums) = (superblock.hash_version, superblock.has(features::METADATA_CSUM));
        let Some(names) = self.names_to_index(parent)? else { return Ok(false) };
        let entries: Vec<NewEntry<'_>> =
            names.iter().map(|(name, inode, kind)| NewEntry { name, inode: *inode, kind: *kind }).collect();
        self.append_names(parent, &entries)?;
        let root = self.directory_block(parent, 0)?;
        self.edit_inode(parent.number, |_, bytes| {
            let flags = u32_at(bytes, 0x20) | FLAG_INDEX;
            put(bytes, 0x20, &flags.to_le_bytes());
        })?;
        self.fs.blocks().change(root, |block| {
            htree::put_root(block, version, has_sums);
            if has_sums {
                htree::put_checksum(parent.seed, block, htree::ROOT_ENTRIES);
            }
        })?;
        Ok(true)
    }

    /// The names of the only block of `parent` but `.` and `..`, with their inodes and kinds; `None` if it does not begin with those
    /// two as an index must, has no others, or has one that cannot be hashed here.
    #[allow(clippy::type_complexity, reason = "three words for each name, used once")]
    fn names_to_index(&self, parent: &Inode) -> Result<Option<Vec<(Vec<u8>, u32, u8)>>> {
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        let Some((_, area)) = Areas::new(&self.fs, parent).step(&self.fs, parent)? else { return Ok(None) };
        let mut names = Vec::new();
        let mut at = 0;
        for index in 0_usize.. {
            if at >= area.len() {
                break;
            }
            let entry = entry_at(&self.fs, parent, &area, at).map_err(|what| wrong(parent, 0, what))?;
            let is_dots = DOTS.get(index).is_some_and(|dots| entry.name == *dots);
            let is_in_place = is_dots && at == index.saturating_mul(12) && entry.inode != 0;
            if index < DOTS.len() && !is_in_place {
                return Ok(None);
            }
            if lookup::is_folded(parent) && !entry.name.is_ascii() {
                return Ok(None);
            }
            if index >= DOTS.len() && entry.inode != 0 {
                names.push((entry.name.to_vec(), entry.inode, kind_at(&area, at, has_kinds)));
            }
            at = entry.next;
        }
        Ok(Some(names).filter(|names| !names.is_empty()))
    }
}
