//! The log: what was synced after the last transaction, to be laid over the subvolumes as a kernel does when it mounts.
//!
//! ```text
//! superblock ─► log root tree ─► log of a subvolume ─┬─► inodes    1. attributes and names that are gone go; inodes are set
//!                                                    ├─► names     2. those that no reference of the log tells of
//!                                                    └─► the rest  3. references with their names, attributes, extents
//!                                                                  4. links are counted
//! ```
//! The log has an inode's items as they are to be, and for directories the ranges of numbers of which it has all names. Nothing
//! is written: what the replay changes is kept as items that lie over the subvolume's tree. A kernel gives inodes that lose a
//! name thereby, and their directories, the time of the mount; here their times stay as the log or the last transaction has them.
//! The order of the steps is that of the Linux kernel, fs/btrfs/tree-log.c.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod extents;
mod inodes;
mod names;
mod references;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Btrfs;
use super::blocks::Blocks;
use super::key::{
    CSUM_OBJECT, DIR_INDEX, EXTENT_CSUM, EXTENT_DATA, INODE_EXTREF, INODE_ITEM, INODE_REF, Key, LOG_TREE,
    ROOT_ITEM, XATTR_ITEM,
};
use super::roots::tree_root;
use super::rule::BtrfsRule;
use super::tree::{Overlay, Tree};
use super::tree_block::Item;
use crate::error::{Doing, Error, Result};

/// How many bytes of items a replay may change. A kernel's log is that of one transaction, 30 seconds long.
const LIMIT: usize = 1 << 28;
/// What an item takes besides its data.
const ITEM_COST: usize = 64;

/// What the log has changed.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// By subvolume, what lies over its tree.
    pub(super) overlays: HashMap<u64, Arc<Overlay>>,
    /// By address, checksums of sectors one behind the other.
    pub(super) sums: BTreeMap<u64, Box<[u8]>>,
}

/// What the log of `fs`, which is as its last transaction left it, changes; `None` if there is none.
pub(super) fn replay(fs: &Btrfs) -> Result<Option<Replayed>> {
    let blocks = fs.blocks();
    let Some(root) = blocks.superblock.log_root else { return Ok(None) };
    let mut replayed = Replayed::default();
    let mut left = LIMIT;
    for item in Tree::new(LOG_TREE, root).items(blocks, LOG_TREE, ROOT_ITEM) {
        let item = item?;
        let subvolume = item.key.offset;
        let log = Tree::new(LOG_TREE, tree_root(subvolume, &item)?);
        let tree = match fs.subvolume_tree(subvolume) {
            // One that was deleted.
            Err(error) if error.cause() == Some(&BtrfsRule::NoSubvolume(subvolume)) => continue,
            other => other?,
        };
        let mut replay =
            Replay { blocks, log, tree, sums: &mut replayed.sums, touched: BTreeSet::new(), left };
        replay.run().doing(|| format!("replaying the log of subvolume {subvolume}"))?;
        left = replay.left;
        replayed.overlays.insert(subvolume, replay.tree.into_overlay());
    }
    Ok(Some(replayed))
}

/// The replay of one subvolume's log.
struct Replay<'a> {
    blocks: &'a Blocks,
    log: Tree,
    /// The subvolume, as far as it was replayed.
    tree: Tree,
    sums: &'a mut BTreeMap<u64, Box<[u8]>>,
    /// Inodes whose names may have become more or fewer.
    touched: BTreeSet<u64>,
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inodes,
    Names,
    Rest,
}

impl Replay<'_> {
    fn run(&mut self) -> Result<()> {
        for stage in [Stage::Inodes, Stage::Names, Stage::Rest] {
            // A file that had no name yet when it was synced stays without one.
            let mut nameless = None;
            for item in self.log.range(self.blocks, Key::MIN, Key::MAX) {
                let item = item?;
                if item.key.kind == INODE_ITEM && inodes::links(&item) == 0 {
                    nameless = Some(item.key.object);
                }
                if nameless != Some(item.key.object) {
                    self.step(stage, &item)?;
                }
            }
        }
        self.count_links()
    }

    fn step(&mut self, stage: Stage, item: &Item) -> Result<()> {
        match (stage, item.key.kind) {
            (Stage::Inodes, INODE_ITEM) => self.replay_inode(item),
            (Stage::Names, DIR_INDEX) => self.replay_name(item),
            (Stage::Rest, XATTR_ITEM) => self.put(item.key, item),
            (Stage::Rest, INODE_REF | INODE_EXTREF) => self.replay_references(item),
            (Stage::Rest, EXTENT_DATA) => self.replay_extent(item),
            (Stage::Rest, EXTENT_CSUM) if item.key.object == CSUM_OBJECT => self.replay_checksums(item),
            _ => Ok(()),
        }
    }

    fn replay_checksums(&mut self, item: &Item) -> Result<()> {
        self.spend(item.len())?;
        self.sums.insert(item.key.offset, item.to_vec().into());
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::corrupt(BtrfsRule::Log { subvolume: self.tree.id, what })
    }

    fn spend(&mut self, len: usize) -> Result<()> {
        let left = self.left.checked_sub(len.saturating_add(ITEM_COST));
        let message = || Error::unsupported(format!("the log changes more than {LIMIT} bytes of items"));
        self.left = left.ok_or_else(message)?;
        Ok(())
    }

    /// The item with `key` in the subvolume.
    fn item(&self, key: Key) -> Result<Option<Item>> {
        self.tree.get(self.blocks, key)
    }

    /// The first item of the subvolume that has the object and kind of `key`, and its offset or a later one.
    fn item_from(&self, key: Key) -> Result<Option<Item>> {
        self.tree.range(self.blocks, key, Key::last(key.object, key.kind)).next().transpose()
    }

    /// The item with `key` in the log.
    fn logged(&self, key: Key) -> Result<Option<Item>> {
        self.log.get(self.blocks, key)
    }

    /// Sets the item with `key` in the subvolume.
    fn put(&mut self, key: Key, bytes: &[u8]) -> Result<()> {
        self.spend(bytes.len())?;
        self.tree.overlay_mut().insert(key, Some(bytes.into()));
        Ok(())
    }

    /// Removes the item with `key` from the subvolume.
    fn remove(&mut self, key: Key) -> Result<()> {
        self.spend(0)?;
        self.tree.overlay_mut().insert(key, None);
        Ok(())
    }

    /// Sets the item with `key`, or removes it if nothing is left of it.
    fn put_or_remove(&mut self, key: Key, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() { self.remove(key) } else { self.put(key, bytes) }
    }
}
