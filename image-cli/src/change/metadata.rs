//! All that a file has besides its content, made what it is elsewhere.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::path::Path;

use image_core::fs::{NewTimes, Node, NodeKind};

use super::Editor;
use super::place::{inode_of, not_there};

impl Editor {
    /// Gives `path`, itself if it is a link, the rights, owner and time of the last change that `like` has, and `attributes` in place of its own.
    ///
    /// # Errors
    /// If it is not there, or cannot have them.
    pub(crate) fn set_metadata(
        &mut self,
        path: &Path,
        like: &Node,
        attributes: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> crate::Result<()> {
        let place = self.place(path, false)?;
        let node = place.node.as_ref().ok_or_else(|| not_there(path))?;
        let inode = inode_of(node)?;
        let (uid, gid) = (node.uid != like.uid, node.gid != like.gid);
        let is_link = node.kind == NodeKind::Link;
        let writer = self.writer(&place)?;
        if uid || gid {
            writer.set_owner(inode, Some(like.uid), Some(like.gid))?;
        }
        if !is_link {
            writer.set_mode(inode, like.mode as u16)?;
        }
        let own = writer.files().inode(inode)?;
        let own: BTreeMap<Vec<u8>, Vec<u8>> =
            writer.files().attributes(&own)?.into_iter().map(|own| (own.name, own.value)).collect();
        for name in own.keys().filter(|name| !attributes.contains_key(*name)) {
            writer.remove_attribute(inode, name)?;
        }
        for (name, value) in attributes.iter().filter(|(name, value)| own.get(*name) != Some(value)) {
            writer.set_attribute(inode, name, value)?;
        }
        writer.set_times(inode, NewTimes { modified: Some(like.modified), ..NewTimes::default() })?;
        self.system.forget();
        Ok(())
    }
}
