//! Filesystems as one tree: each path is asked of the one that is mounted deepest above it.

use std::path::{Path, PathBuf};

use image_core::Result;
use image_core::fs::{Entry, Files, Metadata};

/// Filesystems, and where they are mounted. Links do not lead from one into another.
#[derive(Default)]
pub(super) struct Mounted {
    /// The deepest first.
    places: Vec<Place>,
}

struct Place {
    folder: PathBuf,
    /// The number of the filesystem, whatever it counts.
    index: usize,
    files: Box<dyn Files>,
}

impl Mounted {
    /// Mounts `files`, the filesystem `index`, at `folder`; the first one there stays.
    pub(super) fn mount(&mut self, folder: &str, index: usize, files: Box<dyn Files>) {
        if !self.has(folder) {
            self.places.push(Place { folder: folder.into(), index, files });
            self.places.sort_by_key(|place| std::cmp::Reverse(place.folder.components().count()));
        }
    }

    /// The numbers of all filesystems.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|place| place.index)
    }

    /// The number of the filesystem of `path`, and its path in there.
    pub(super) fn place_of(&self, path: &Path) -> Option<(usize, PathBuf)> {
        self.at(path).map(|(place, inside)| (place.index, inside))
    }

    /// Whether something is mounted at `place` itself.
    pub(super) fn has(&self, place: &str) -> bool {
        self.places.iter().any(|own| own.folder == Path::new(place))
    }

    /// The filesystem of `path`, and its path in there.
    fn at(&self, path: &Path) -> Option<(&Place, PathBuf)> {
        self.places.iter().find_map(|place| {
            let inside = path.strip_prefix(&place.folder).ok()?;
            Some((place, Path::new("/").join(inside)))
        })
    }
}

impl Files for Mounted {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.at(path).map_or(Ok(None), |(place, path)| place.files.metadata(&path))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.at(path).map_or(Ok(None), |(place, path)| place.files.link_metadata(&path))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.at(path).map_or(Ok(None), |(place, path)| place.files.read(&path, limit))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.at(path).map_or(Ok(None), |(place, path)| place.files.read_link(&path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        self.at(path).map_or(Ok(None), |(place, path)| place.files.list(&path))
    }
}
