//! Extended attributes: items of their inode, found by the hash of their names, which are stored whole.
//!
//! Values are as getxattr(2) tells them, access control lists too. Btrfs documentation, "On-disk format" (XATTR_ITEM).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Btrfs;
use super::directory::names;
use super::key::XATTR_ITEM;
use super::rule::BtrfsRule;
use crate::error::{Doing, Error, Result};
use crate::fs::{Attribute, NodeId};

/// What all values of one inode may have.
const VALUES_LIMIT: usize = 1 << 25;

impl Btrfs {
    /// The extended attributes of the inode `id`, in the order of their hashes.
    pub(super) fn read_attributes(&self, id: NodeId) -> Result<Vec<Attribute>> {
        let NodeId { subvolume: tree, number: object } = id;
        let doing = || format!("reading the attributes of inode {object} of subvolume {tree}");
        self.find_attributes(id).doing(doing)
    }

    fn find_attributes(&self, id: NodeId) -> Result<Vec<Attribute>> {
        let NodeId { subvolume: tree, number: object } = id;
        let wrong = |what| Error::corrupt(BtrfsRule::Item { tree, object, item: "attribute", what });
        let mut all = Vec::new();
        let mut left = VALUES_LIMIT;
        for item in self.subvolume_tree(tree)?.items(self.blocks(), object, XATTR_ITEM) {
            let item = item?;
            left = left.checked_sub(item.len()).ok_or_else(|| wrong("size"))?;
            for found in names(&item).map_err(wrong)? {
                all.push(Attribute { name: found.name.to_vec(), value: found.data.to_vec() });
            }
        }
        Ok(all)
    }
}
