//! Filesystems as one tree: each path is asked of the one that is mounted deepest above it.

use std::path::{Path, PathBuf};

use image_core::Result;
use image_core::fs::{Entry, Files, Metadata};

/// Filesystems, and where they are mounted. Links do not lead from one into another.
#[derive(Default)]
pub(super) struct Mounted {
    /// The deepest first.
    places: Vec<(PathBuf, Box<dyn Files>)>,
}

impl Mounted {
    /// Mounts `files` at the folder `place`; the first one there stays.
    pub(super) fn mount(&mut self, place: &str, files: Box<dyn Files>) {
        if !self.has(place) {
            self.places.push((place.into(), files));
            self.places.sort_by_key(|(place, _)| std::cmp::Reverse(place.components().count()));
        }
    }

    /// Whether something is mounted at `place` itself.
    pub(super) fn has(&self, place: &str) -> bool {
        self.places.iter().any(|(own, _)| own == Path::new(place))
    }

    /// The filesystem of `path`, and its path in there.
    fn at<'a>(&self, path: &'a Path) -> Option<(&dyn Files, PathBuf)> {
        self.places.iter().find_map(|(place, files)| {
            let inside: &'a Path = path.strip_prefix(place).ok()?;
            Some((&**files, Path::new("/").join(inside)))
        })
    }
}

impl Files for Mounted {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.at(path).map_or(Ok(None), |(files, path)| files.metadata(&path))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.at(path).map_or(Ok(None), |(files, path)| files.link_metadata(&path))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.at(path).map_or(Ok(None), |(files, path)| files.read(&path, limit))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.at(path).map_or(Ok(None), |(files, path)| files.read_link(&path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        self.at(path).map_or(Ok(None), |(files, path)| files.list(&path))
    }
}
