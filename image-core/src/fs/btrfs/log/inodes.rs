//! Inodes of the log, the attributes and names that they do not have any more, and how many names they have left.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;

use super::super::directory::names;
use super::super::field::{put, round_up, u32_at, u64_at};
use super::super::inode::INODE_LEN;
use super::super::key::{INODE_EXTREF, INODE_ITEM, INODE_REF, Key, XATTR_ITEM};
use super::super::tree_block::Item;
use super::Replay;
use super::references::references;
use crate::error::Result;

const GENERATION: usize = 0;
const SIZE: usize = 16;
const ALLOCATED: usize = 24;
const LINKS: usize = 40;
const MODE: usize = 52;
const FORMAT: u32 = 0o17_0000;
const DIRECTORY: u32 = 0o4_0000;
const FILE: u32 = 0o10_0000;

/// How many names the inode that `item` is says that it has.
pub(super) fn links(item: &[u8]) -> u32 {
    u32_at(item, LINKS)
}

fn format_of(item: &[u8]) -> u32 {
    u32_at(item, MODE) & FORMAT
}

/// What a directory's entries say that an inode is.
pub(super) fn entry_kind(item: &[u8]) -> u8 {
    match format_of(item) >> 12 {
        0x8 => 1,
        0x4 => 2,
        0x2 => 3,
        0x6 => 4,
        0x1 => 5,
        0xc => 6,
        0xa => 7,
        _ => 0,
    }
}

impl Replay<'_> {
    /// The inode `number` of the subvolume.
    pub(super) fn inode(&self, number: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.item(Key::new(number, INODE_ITEM, 0))?.map(|item| item.to_vec()))
    }

    /// Changes the size of the directory `number`.
    pub(super) fn resize(&mut self, number: u64, change: impl FnOnce(u64) -> u64) -> Result<()> {
        let mut inode = self.inode(number)?.ok_or_else(|| self.wrong("directory"))?;
        let size = change(u64_at(&inode, SIZE));
        put(&mut inode, SIZE, &size.to_le_bytes());
        self.put(Key::new(number, INODE_ITEM, 0), &inode)
    }

    /// Takes `less` from what is set aside for the inode `number`, and adds `more`.
    pub(super) fn set_aside(&mut self, number: u64, less: u64, more: u64) -> Result<()> {
        let mut inode = self.inode(number)?.ok_or_else(|| self.wrong("extent of no inode"))?;
        let allocated = u64_at(&inode, ALLOCATED).saturating_sub(less).saturating_add(more);
        put(&mut inode, ALLOCATED, &allocated.to_le_bytes());
        self.put(Key::new(number, INODE_ITEM, 0), &inode)
    }

    /// Sets an inode to what `logged` says, and removes what it does not have any more.
    pub(super) fn replay_inode(&mut self, logged: &Item) -> Result<()> {
        let number = logged.key.object;
        if logged.len() < INODE_LEN {
            return Err(self.wrong("inode"));
        }
        self.remove_attributes(number)?;
        if format_of(logged) == DIRECTORY {
            self.remove_names(number, false)?;
        }
        let inode = match self.inode(number)? {
            Some(known) => merged(known, logged),
            None => created(logged),
        };
        self.put(logged.key, &inode)?;
        if format_of(logged) == FILE {
            let end = round_up(u64_at(&inode, SIZE), u64::from(self.blocks.superblock.sector_size));
            let dropped = self.drop_extents(number, end, u64::MAX)?;
            self.set_aside(number, dropped, 0)?;
        }
        self.touched.insert(number);
        Ok(())
    }

    /// Removes the attributes of the inode `number` that the log does not have.
    fn remove_attributes(&mut self, number: u64) -> Result<()> {
        let mut key = Key::new(number, XATTR_ITEM, 0);
        while let Some(item) = self.item_from(key)? {
            let logged = self.logged(item.key)?;
            let logged = names(logged.as_deref().unwrap_or_default()).map_err(|what| self.wrong(what))?;
            let known = names(&item).map_err(|what| self.wrong(what))?;
            let stays = |name: &[u8]| logged.iter().any(|logged| logged.name == name);
            let kept: Vec<_> =
                known.iter().filter(|known| stays(known.name)).map(|known| known.bytes).collect();
            if kept.len() != known.len() {
                self.put_or_remove(item.key, &kept.concat())?;
            }
            let Some(next) = item.key.next() else { break };
            key = next;
            if !key.is_alike(item.key) {
                break;
            }
        }
        Ok(())
    }

    /// Counts the names of all inodes of which some came or went, as their references tell them. What has none left is deleted,
    /// a directory with what is in it.
    pub(super) fn count_links(&mut self) -> Result<()> {
        let mut deleted = BTreeSet::new();
        while let Some(number) = self.touched.pop_last() {
            let Some(mut inode) = self.inode(number)? else { continue };
            let mut count: u32 = 0;
            for kind in [INODE_REF, INODE_EXTREF] {
                for item in self.tree.items(self.blocks, number, kind) {
                    let item = item?;
                    let found = references(&item).ok_or_else(|| self.wrong("reference"))?;
                    count = count.saturating_add(u32::try_from(found.len()).unwrap_or(u32::MAX));
                }
            }
            if links(&inode) != count {
                put(&mut inode, LINKS, &count.to_le_bytes());
                self.put(Key::new(number, INODE_ITEM, 0), &inode)?;
            }
            if count == 0 && format_of(&inode) == DIRECTORY && deleted.insert(number) {
                self.remove_names(number, true)?;
            }
        }
        Ok(())
    }
}

/// What becomes of the inode `known` when the log has `logged`.
fn merged(known: Vec<u8>, logged: &[u8]) -> Vec<u8> {
    if u64_at(logged, GENERATION) == 0 {
        // It was logged for a name only; of a file, perhaps with the size that it had.
        let mut inode = known;
        if format_of(&inode) == FILE && format_of(logged) == FILE && u64_at(logged, SIZE) != 0 {
            put(&mut inode, SIZE, logged.get(SIZE..ALLOCATED).unwrap_or_default());
        }
        return inode;
    }
    let mut inode = logged.to_vec();
    // Extents and names count themselves.
    put(&mut inode, ALLOCATED, known.get(ALLOCATED..ALLOCATED.saturating_add(8)).unwrap_or_default());
    if format_of(logged) == DIRECTORY {
        let size = if format_of(&known) == DIRECTORY { u64_at(&known, SIZE) } else { 0 };
        put(&mut inode, SIZE, &size.to_le_bytes());
    }
    inode
}

/// A new inode that the log has as `logged`.
fn created(logged: &[u8]) -> Vec<u8> {
    let mut inode = logged.to_vec();
    put(&mut inode, ALLOCATED, &[0; 8]);
    if format_of(logged) == DIRECTORY {
        put(&mut inode, SIZE, &[0; 8]);
    }
    inode
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(generation: u64, size: u64, allocated: u64, mode: u32) -> Vec<u8> {
        let mut bytes = vec![0; INODE_LEN];
        put(&mut bytes, GENERATION, &generation.to_le_bytes());
        put(&mut bytes, SIZE, &size.to_le_bytes());
        put(&mut bytes, ALLOCATED, &allocated.to_le_bytes());
        put(&mut bytes, MODE, &mode.to_le_bytes());
        bytes
    }

    #[test]
    fn an_inode_becomes_what_the_log_says_but_counts_itself() {
        let known = inode(7, 100, 4096, FILE | 0o644);
        assert_eq!(merged(known.clone(), &inode(9, 200, 1, FILE | 0o600)), inode(9, 200, 4096, FILE | 0o600));
        assert_eq!(merged(known.clone(), &inode(0, 0, 1, FILE)), known);
        assert_eq!(merged(known, &inode(0, 50, 1, FILE)), inode(7, 50, 4096, FILE | 0o644));
        let known = inode(7, 100, 0, DIRECTORY);
        assert_eq!(merged(known, &inode(9, 200, 0, DIRECTORY | 1)), inode(9, 100, 0, DIRECTORY | 1));
        assert_eq!(created(&inode(9, 200, 0, DIRECTORY)), inode(9, 0, 0, DIRECTORY));
        assert_eq!(created(&inode(9, 200, 8, FILE)), inode(9, 200, 0, FILE));
        assert_eq!((entry_kind(&inode(0, 0, 0, FILE)), entry_kind(&inode(0, 0, 0, 0o14_0000))), (1, 6));
    }
}
