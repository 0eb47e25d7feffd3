//! What a rule looks at.

use std::path::{Path, PathBuf};

use image_core::fs::Files;

use super::expected::Expected;
use super::header::Facts;
use super::view::View;
use crate::monitor::Monitor;

/// What is looked at: an image, and what was asked for.
#[derive(Debug)]
pub struct Subject<'a> {
    pub(super) facts: &'a Facts,
    pub(super) view: &'a View,
    pub(super) expected: &'a Expected,
    /// What is told of reading many files, and what stops it.
    pub(super) monitor: Monitor<'a>,
}

/// What rules of callers may look at: the files of the booted system, that is of all filesystems that it mounts.
impl Subject<'_> {
    /// The files.
    pub fn files(&self) -> &dyn Files {
        self.view.root()
    }

    /// The text of the file `path`, links followed; none if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or is larger than such files are.
    pub fn text(&self, path: impl AsRef<Path>) -> crate::Result<Option<String>> {
        self.view.text(path)
    }

    /// Whether there is anything at `path`.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn exists(&self, path: impl AsRef<Path>) -> crate::Result<bool> {
        self.view.exists(path)
    }

    /// The paths that `pattern` fits: an absolute path, whose names may have `*`.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn matches(&self, pattern: &str) -> crate::Result<Vec<PathBuf>> {
        self.view.matches(pattern)
    }
}

impl Subject<'_> {
    /// What is known of the image without reading its disk.
    pub(super) fn facts(&self) -> &Facts {
        self.view.watch().place("the header of the image");
        self.facts
    }

    /// What was asked for, where that decides.
    pub(super) fn asked(&self) -> &Expected {
        self.view.watch().place("what was asked for");
        self.expected
    }

    /// Whether `path` is meant to stay, alone or with a folder it is in.
    pub(super) fn is_kept(&self, path: &Path) -> bool {
        self.expected.keeps(path)
    }

    /// Whether `path` was asked for by its name, or is meant to stay.
    pub(super) fn is_asked_for(&self, path: &Path) -> bool {
        self.expected.asks_for(path)
    }
}
