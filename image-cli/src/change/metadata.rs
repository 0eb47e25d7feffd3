//! All that a file has besides its content, made what it is elsewhere.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::path::Path;

use image_core::fs::{NewTimes, Node, NodeKind};

use super::Editor;
use super::place::not_there;

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
        let node = place.node.clone().ok_or_else(|| not_there(path))?;
        let writer = self.writer(&place)?;
        if (node.uid, node.gid) != (like.uid, like.gid) {
            writer.give_owner(node.id, Some(like.uid), Some(like.gid))?;
        }
        if node.kind != NodeKind::Link {
            writer.give_mode(node.id, like.mode as u16)?;
        }
        writer.put_attributes(node.id, attributes)?;
        writer.give_times(node.id, NewTimes { modified: Some(like.modified), ..NewTimes::default() })?;
        self.system.forget();
        Ok(())
    }
}
