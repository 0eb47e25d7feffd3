//! Permissions, owners and times of files.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image_core::fs::{NewTimes, NodeKind, Time};

use super::place::not_there;
use super::{Editor, FILE_MODE};
use crate::mode_change::ModeChange;

impl Editor {
    /// Sets the permissions of `path`, links followed; with `recursive` also of all beneath it, without links.
    ///
    /// # Errors
    /// If it is not there.
    pub fn set_mode(&mut self, path: &Path, change: &ModeChange, recursive: bool) -> crate::Result<()> {
        for path in self.all(path, true, recursive)? {
            let place = self.place(&path, false)?;
            let Some(node) = place.node.as_ref().filter(|node| node.kind != NodeKind::Link) else { continue };
            let mode = change.apply(node.mode, node.kind == NodeKind::Directory);
            let id = node.id;
            self.writer(&place)?.set_mode(id, mode as u16)?;
        }
        self.system.forget();
        Ok(())
    }

    /// Sets user or group, or both, of `path`, a link at its end followed unless `no_dereference`; with `recursive` also of all
    /// beneath it, links among them.
    ///
    /// # Errors
    /// If it is not there.
    pub fn set_owner(
        &mut self,
        path: &Path,
        owner: (Option<u32>, Option<u32>),
        recursive: bool,
        no_dereference: bool,
    ) -> crate::Result<()> {
        for path in self.all(path, !no_dereference, recursive)? {
            let place = self.place(&path, false)?;
            let Some(node) = &place.node else { continue };
            let id = node.id;
            self.writer(&place)?.set_owner(id, owner.0, owner.1)?;
        }
        self.system.forget();
        Ok(())
    }

    /// Sets when `path` was last read and changed, links followed. A file that is not there is made, unless `only_existing`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn touch(&mut self, path: &Path, time: Time, only_existing: bool) -> crate::Result<()> {
        let place = self.place(path, true)?;
        let id = match &place.node {
            Some(node) => node.id,
            None if only_existing => return Ok(()),
            None => self.create_file(&place, FILE_MODE)?,
        };
        let times = NewTimes { accessed: Some(time), modified: Some(time), ..NewTimes::default() };
        self.writer(&place)?.set_times(id, times)?;
        self.system.forget();
        Ok(())
    }

    /// `path` without the links that lead to it, and what is beneath it.
    fn all(&self, path: &Path, follow: bool, recursive: bool) -> crate::Result<Vec<PathBuf>> {
        let absolute = Path::new("/").join(path);
        let start = self.system.real_path(&absolute, follow)?.ok_or_else(|| not_there(path))?;
        let walk = self.system.walk(&start, false)?.ok_or_else(|| not_there(path))?;
        let mut paths = Vec::new();
        for step in walk.no_deeper_than(if recursive { usize::MAX } else { 0 }) {
            step.node?;
            paths.push(match step.path.is_empty() {
                true => start.clone(),
                false => start.join(OsStr::from_bytes(&step.path)),
            });
        }
        Ok(paths)
    }
}
