//! Filesystems as one tree: each path is asked of the one that is mounted deepest above it, when its links are followed.
//!
//! ```text
//! /root/.ssh/x ─► /root is a link to var/roothome ─► /var/roothome/.ssh/x ─► the filesystem at /var: /roothome/.ssh/x
//! ```
//!
//! What is beneath a filesystem that cannot be read is an error, and not absent.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image_core::block::BlockRead;
use image_core::fs::{self, Entry, FileKind, Files, Filesystem, Metadata, Node};
use image_core::{Error, Result};

use crate::links::{Last, resolve};

/// Filesystems, and where they are mounted.
#[derive(Default)]
pub(crate) struct Mounted {
    /// The deepest first.
    places: Vec<Place>,
    /// The folder that was asked for last, and where it is: files of one folder are asked for one after the other.
    last: Mutex<Option<(PathBuf, Option<PathBuf>)>>,
}

struct Place {
    folder: PathBuf,
    /// The number of the filesystem, whatever it counts.
    index: usize,
    /// Its files, or why they cannot be read.
    files: Opened,
}

/// A filesystem, or why it cannot be read.
type Opened = std::result::Result<Arc<dyn Filesystem>, String>;

/// A file that was found.
#[derive(Clone)]
pub(crate) struct Found<'a> {
    /// The number of its filesystem, whatever it counts.
    pub(crate) volume: usize,
    pub(crate) fs: &'a Arc<dyn Filesystem>,
    pub(crate) node: Node,
}

impl Place {
    fn files(&self) -> Result<&Arc<dyn Filesystem>> {
        match &self.files {
            Ok(files) => Ok(files),
            Err(why) => Err(Error::unsupported(format!("{}: {why}", self.folder.display()))),
        }
    }
}

impl Mounted {
    /// Mounts `files`, the filesystem `index`, at `folder`; the first one there stays, and another is given back.
    pub(super) fn mount(&mut self, folder: &str, index: usize, files: Opened) -> Option<Opened> {
        if self.has(folder) {
            return Some(files);
        }
        self.places.push(Place { folder: folder.into(), index, files });
        self.places.sort_by_key(|place| std::cmp::Reverse(place.folder.components().count()));
        *self.last() = None;
        None
    }

    /// Has the filesystem `index` be `files` from now on.
    pub(super) fn replace(&mut self, index: usize, files: &Arc<dyn Filesystem>) {
        for place in self.places.iter_mut().filter(|place| place.index == index) {
            place.files = Ok(Arc::clone(files));
        }
        self.forget();
    }

    /// Forgets what links said: files were changed.
    pub(super) fn forget(&self) {
        *self.last() = None;
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, Option<PathBuf>)>> {
        // Nothing in there is ever half done.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each is mounted, with its number, the ones above others first.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.places.iter().rev().map(|place| (place.folder.as_path(), place.index))
    }

    /// All filesystems that can be read: their numbers, where they are mounted, and themselves.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (usize, &Path, &Arc<dyn Filesystem>)> {
        self.places.iter().rev().filter_map(|place| {
            place.files.as_ref().ok().map(|files| (place.index, place.folder.as_path(), files))
        })
    }

    /// Why the mounted filesystem `index` cannot be read.
    pub(super) fn why_unread(&self, index: usize) -> Option<&str> {
        let place = self.places.iter().find(|place| place.index == index)?;
        place.files.as_ref().err().map(String::as_str)
    }

    /// Where filesystem `index` is mounted, be it one that cannot be read.
    pub(crate) fn folder_of(&self, index: usize) -> Option<&Path> {
        self.places.iter().rev().find(|place| place.index == index).map(|place| place.folder.as_path())
    }

    /// The filesystem of `path`, which leads through no link and need not be there: its number, and where it is mounted.
    pub(crate) fn holder(&self, path: &Path) -> Option<(usize, &Path)> {
        self.at(path).map(|(place, _)| (place.index, place.folder.as_path()))
    }

    /// The number of the filesystem of `path`, and its path in there; of a link at its end, the link itself unless `follow`.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of(&self, path: &Path, follow: bool) -> Result<Option<(usize, PathBuf)>> {
        let Some(path) = self.without_links(path, follow)? else { return Ok(None) };
        Ok(self.at(&path).map(|(place, inside)| (place.index, inside)))
    }

    /// What is at `path`; of a link at its end, the link itself unless `follow`. `None` if there is nothing.
    ///
    /// # Errors
    /// If a folder above it cannot be read, or it is broken.
    pub(crate) fn find(&self, path: &Path, follow: bool) -> Result<Option<Found<'_>>> {
        let Some(path) = self.without_links(path, follow)? else { return Ok(None) };
        let Some((place, inside)) = self.at(&path) else { return Ok(None) };
        let files = place.files()?;
        let node = fs::resolve(files, inside.as_os_str().as_bytes(), false)?;
        Ok(node.map(|node| Found { volume: place.index, fs: files, node }))
    }

    /// Where filesystems are mounted.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| place.folder.as_path())
    }

    /// The filesystem whose root is at `path` beneath `start`, both without links, or why it cannot be read; `None` if there is none.
    pub(super) fn root_at(&self, start: &[u8], path: &[u8]) -> Option<(usize, Result<&Arc<dyn Filesystem>>)> {
        if self.places.len() < 2 {
            return None;
        }
        let path = Path::new(OsStr::from_bytes(start)).join(OsStr::from_bytes(path));
        let place = self.places.iter().find(|place| place.folder == path)?;
        Some((place.index, place.files()))
    }

    /// The path of what is at `inside` of the filesystem `index`, unless something is mounted over it.
    pub(crate) fn path_of(&self, index: usize, inside: &Path) -> Option<PathBuf> {
        let place = self.places.iter().find(|place| place.index == index)?;
        let path = place.folder.join(inside.strip_prefix("/").unwrap_or(inside));
        self.at(&path).is_some_and(|(found, _)| found.index == index).then_some(path)
    }

    /// Whether something is mounted at `place` itself.
    pub(crate) fn has(&self, place: impl AsRef<Path>) -> bool {
        self.places.iter().any(|own| own.folder == place.as_ref())
    }

    /// The filesystem of `path`, which leads through no link, and its path in there.
    fn at(&self, path: &Path) -> Option<(&Place, PathBuf)> {
        self.places.iter().find_map(|place| {
            let inside = path.strip_prefix(&place.folder).ok()?;
            Some((place, Path::new("/").join(inside)))
        })
    }

    /// `path` without links, a link at its end among them if `follow`; `None` where links lead round in circles.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(super) fn real_path(&self, path: &Path, follow: bool) -> Result<Option<PathBuf>> {
        self.without_links(path, follow)
    }

    /// `path` without links, or without any but the last name; `None` where links lead round in circles.
    fn without_links(&self, path: &Path, follow: bool) -> Result<Option<PathBuf>> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return self.followed(path);
        };
        let known = self.last().as_ref().filter(|(asked, _)| asked == folder).map(|(_, found)| found.clone());
        let found = match known {
            Some(found) => found,
            None => {
                let found = self.followed(folder)?;
                *self.last() = Some((folder.to_owned(), found.clone()));
                found
            }
        };
        let Some(folder) = found else { return Ok(None) };
        let inside = folder.join(name);
        match follow && self.link(&inside)?.is_some() {
            true => self.followed(&inside),
            false => Ok(Some(inside)),
        }
    }

    /// What the link `path`, in a folder without links, says; `None` for what is none.
    fn link(&self, path: &Path) -> Result<Option<PathBuf>> {
        // Whatever was mounted there hides it.
        if self.has(path) {
            return Ok(None);
        }
        let Some((place, inside)) = self.at(path) else { return Ok(None) };
        let files = place.files()?;
        match files.link_metadata(&inside)? {
            Some(found) if found.kind == FileKind::Link => Files::read_link(files, &inside),
            _ => Ok(None),
        }
    }

    fn followed(&self, path: &Path) -> Result<Option<PathBuf>> {
        resolve(path, Last::Follow, |path| self.link(path))
    }

    /// Asks the filesystem of `path` about it.
    fn ask<T>(
        &self,
        path: &Path,
        follow: bool,
        question: impl FnOnce(&dyn Files, &Path) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let Some(real) = self.without_links(path, follow)? else { return Ok(None) };
        self.at(&real).map_or(Ok(None), |(place, inside)| question(place.files()?, &inside))
    }
}

impl Files for Mounted {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.ask(path, true, |files, path| files.metadata(path))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.ask(path, false, |files, path| files.link_metadata(path))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.ask(path, true, |files, path| files.read(path, limit))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.ask(path, false, |files, path| files.read_link(path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        self.ask(path, true, |files, path| files.list(path))
    }

    fn content(&self, path: &Path) -> Result<Option<Box<dyn BlockRead>>> {
        self.ask(path, true, |files, path| files.content(path))
    }
}
