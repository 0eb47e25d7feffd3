//! The files of a system, and a note of each that was looked at, or looked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::Result;
use image_core::block::BlockRead;
use image_core::fs::{Entry, Files, Metadata};

use super::super::looked::Watch;
use crate::system::System;

/// Files that are watched.
pub(super) struct Watched {
    system: Arc<System>,
    watch: Arc<Watch>,
}

impl Watched {
    /// The files of `system`; `watch` is told of every one.
    pub(super) fn new(system: Arc<System>, watch: Arc<Watch>) -> Self {
        Self { system, watch }
    }

    /// Notes `path` once it has been read.
    fn noted<T>(&self, path: &Path, answer: Result<T>) -> Result<T> {
        answer.inspect(|_| self.watch.path(path))
    }
}

impl Files for Watched {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.noted(path, self.system.files().metadata(path))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.noted(path, self.system.files().link_metadata(path))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.noted(path, self.system.files().read(path, limit))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.noted(path, self.system.files().read_link(path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        self.noted(path, self.system.files().list(path))
    }

    fn content(&self, path: &Path) -> Result<Option<Box<dyn BlockRead>>> {
        self.noted(path, self.system.files().content(path))
    }
}
