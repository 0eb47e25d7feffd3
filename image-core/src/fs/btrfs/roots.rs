//! Roots of trees: where in the root tree each is told of, subvolumes and others.
//!
//! ```text
//! ROOT_ITEM  tree     160 generation │ 168 root directory │ 176 address │ 208 flags │ 216 references │ 238 level │ 247 UUID
//! DIR_ITEM   the superblock's directory, hash of "default"     the subvolume that is mounted if no other is asked for
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_root_item).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::{Arc, PoisonError};

use super::Btrfs;
use super::checksum::name_hash;
use super::directory::names;
use super::field::{field, u8_at, u16_at, u32_at, u64_at};
use super::key::{DIR_ITEM, FS_TREE, Key, ROOT_ITEM, ROOT_REF, ROOT_TREE, is_subvolume};
use super::rule::BtrfsRule;
use super::superblock::{LEVELS, TreeRoot};
use super::tree::Tree;
use crate::error::{Doing, Error, Result};
use crate::fs::NodeId;

/// Of the oldest root items.
const ROOT_LEN: usize = 239;
/// How many trees are kept.
const TREES_KEPT: usize = 1024;

/// Where a tree is.
#[derive(Debug, Clone, Copy)]
pub(super) struct RootItem {
    pub(super) root: TreeRoot,
    /// The inode of its root directory.
    directory: u64,
    pub(super) is_read_only: bool,
    /// None of one that is being deleted.
    pub(super) references: u32,
    pub(super) uuid: [u8; 16],
}

/// A tree with its root directory.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) tree: Tree,
    item: RootItem,
}

fn root_item(bytes: &[u8]) -> std::result::Result<RootItem, &'static str> {
    if bytes.len() < ROOT_LEN {
        return Err("length");
    }
    let level = u8_at(bytes, 238);
    if level >= LEVELS {
        return Err("level");
    }
    Ok(RootItem {
        root: TreeRoot { block: u64_at(bytes, 176), generation: u64_at(bytes, 160), level },
        directory: u64_at(bytes, 168),
        is_read_only: u64_at(bytes, 208) & 1 != 0,
        references: u32_at(bytes, 216),
        uuid: field(bytes, 247),
    })
}

/// A directory, and a name that a subvolume has in it.
pub(super) fn reference(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = usize::from(u16_at(bytes, 16));
    Some((u64_at(bytes, 0), bytes.get(18..)?.get(..len)?))
}

/// The root of the tree `id` as its item in the root tree, `bytes`, tells it.
pub(super) fn tree_root(id: u64, bytes: &[u8]) -> Result<TreeRoot> {
    Ok(checked_root(id, bytes)?.root)
}

pub(super) fn checked_root(id: u64, bytes: &[u8]) -> Result<RootItem> {
    root_item(bytes)
        .map_err(|what| Error::corrupt(BtrfsRule::Item { tree: ROOT_TREE, object: id, item: "root", what }))
}

impl Btrfs {
    /// Tree `id`, of a subvolume or not.
    fn opened(&self, id: u64) -> Result<Opened> {
        let trees = || self.shared.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = trees().get(&id) {
            return Ok(found.clone());
        }
        let found = self.find_tree(id).doing(|| format!("opening tree {id}"))?;
        let mut trees = trees();
        if trees.len() >= TREES_KEPT {
            trees.clear();
        }
        trees.insert(id, found.clone());
        Ok(found)
    }

    fn find_tree(&self, id: u64) -> Result<Opened> {
        let key = Key::last(id, ROOT_ITEM);
        let found = self.root_tree().at_most(self.blocks(), key)?.filter(|item| item.key.is_alike(key));
        let bytes = found.ok_or_else(|| Error::corrupt(BtrfsRule::NoTree(id)))?;
        let item = checked_root(id, &bytes)?;
        let tree = Tree::new(id, item.root);
        let tree = match self.shared.replayed.overlays.get(&id) {
            Some(overlay) => tree.with_overlay(Arc::clone(overlay)),
            None => tree,
        };
        Ok(Opened { tree, item })
    }

    /// Tree `id`.
    pub(super) fn tree(&self, id: u64) -> Result<Tree> {
        Ok(self.opened(id)?.tree)
    }

    pub(super) fn opened_subvolume(&self, id: u64) -> Result<Opened> {
        let missing = || Error::corrupt(BtrfsRule::NoSubvolume(id));
        if !is_subvolume(id) {
            return Err(missing());
        }
        let opened = match self.opened(id) {
            Err(error) if error.cause() == Some(&BtrfsRule::NoTree(id)) => return Err(missing()),
            other => other?,
        };
        if opened.item.references == 0 { Err(missing()) } else { Ok(opened) }
    }

    /// The tree of the subvolume `id`.
    pub(super) fn subvolume_tree(&self, id: u64) -> Result<Tree> {
        Ok(self.opened_subvolume(id)?.tree)
    }

    /// The root directory of the subvolume `id`.
    pub(super) fn root_of(&self, id: u64) -> Result<NodeId> {
        Ok(NodeId { subvolume: id, number: self.opened_subvolume(id)?.item.directory })
    }

    /// Whether the subvolume `id` is where `name` in `directory` says.
    pub(super) fn is_subvolume_at(&self, directory: NodeId, id: u64, name: &[u8]) -> Result<bool> {
        let key = Key::new(directory.subvolume, ROOT_REF, id);
        let Some(item) = self.root_tree().get(self.blocks(), key)? else { return Ok(false) };
        if reference(&item) != Some((directory.number, name)) {
            return Ok(false);
        }
        match self.opened_subvolume(id) {
            Err(error) if error.cause() == Some(&BtrfsRule::NoSubvolume(id)) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// The subvolume that is mounted if no other is asked for.
    pub(super) fn default_subvolume(&self) -> Result<u64> {
        let (directory, name) = (self.blocks().superblock.root_directory, b"default");
        let item = self.root_tree().get(self.blocks(), Key::new(directory, DIR_ITEM, name_hash(name)))?;
        let Some(item) = item else { return Ok(FS_TREE) };
        let wrong = |what| {
            Error::corrupt(BtrfsRule::Item {
                tree: ROOT_TREE,
                object: directory,
                item: "default subvolume",
                what,
            })
        };
        let names = names(&item).map_err(wrong)?;
        Ok(names.iter().find(|found| found.name == name).map_or(FS_TREE, |found| found.target.object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_items_have_a_level_and_references() {
        let mut bytes = vec![0; ROOT_LEN];
        bytes[168] = 1;
        bytes[208] = 1;
        bytes[216] = 3;
        bytes[238] = 7;
        let item = root_item(&bytes).unwrap();
        assert_eq!((item.root.level, item.references, item.is_read_only, item.uuid), (7, 3, true, [0; 16]));
        bytes[238] = 8;
        assert_eq!(root_item(&bytes).unwrap_err(), "level");
        assert_eq!(root_item(&bytes[1..]).unwrap_err(), "length");
    }

    #[test]
    fn references_have_a_name() {
        let mut bytes = vec![0; 18];
        bytes[1] = 1;
        bytes[16] = 2;
        bytes.extend(b"ab");
        assert_eq!(reference(&bytes), Some((256, &b"ab"[..])));
        bytes.pop();
        assert_eq!(reference(&bytes), None);
    }
}
