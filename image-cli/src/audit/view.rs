//! An image as its rules see it: its system, and a note of everything that they look at.
//!
//! ```text
//! a rule ─► View ─► System: partition table, filesystems as one tree (system.rs)
//!             └► Watch: what was looked at (looked.rs)
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod initrds;
mod watched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, Window};
use image_core::fs::{FileKind, Files, Filesystem};
use image_core::partition::{Partition, PartitionTable};

use super::contents::Contents;
use super::looked::{Shared, Watch};
use super::unified;
use super::unused::Stale;
use crate::error::err;
use crate::name_pattern;
use crate::system::{System, Volume};
use initrds::Initrds;
pub(super) use initrds::Outcome;
use watched::Watched;

/// No file that is looked into is larger, save an initrd.
pub(super) const LIMIT: u64 = 16 << 20;
/// What tells where filesystems are.
const TABLE: &str = "the partition table";
/// Folders within folders that are walked through.
const DEPTH: usize = 32;
/// Files that are walked through; a broken filesystem may have folders that are in themselves.
const FILES_LIMIT: usize = 4 << 20;

/// An image, opened.
pub(crate) struct View {
    system: Arc<System>,
    /// The files of the system, and a note of each that is asked for.
    files: Watched,
    /// Told of everything that is looked at.
    watch: Arc<Watch>,
    /// What is left in unused space.
    pub(super) stale: Shared<Stale>,
    /// What is in its files.
    pub(super) contents: Shared<Contents>,
    initrds: Initrds,
}

/// A filesystem that can be read.
pub(super) struct Readable<'a> {
    pub(super) volume: &'a Volume,
    pub(super) files: &'a Arc<dyn Filesystem>,
    /// What people call it.
    pub(super) name: String,
    /// What stands before the paths in it: where it is mounted, or what it is called.
    pub(super) prefix: String,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("system", &self.system).finish_non_exhaustive()
    }
}

impl View {
    /// Opens `disk`.
    ///
    /// # Errors
    /// If its partition table is broken, or it cannot be read.
    pub(crate) fn open(disk: Arc<dyn BlockRead>) -> crate::Result<Self> {
        let (system, watch) = (Arc::new(System::open(disk)?), Arc::new(Watch::default()));
        Ok(Self {
            files: Watched::new(Arc::clone(&system), Arc::clone(&watch)),
            system,
            watch,
            stale: Shared::default(),
            contents: Shared::default(),
            initrds: Initrds::default(),
        })
    }

    /// Why the root filesystem cannot be read; `None` if it can.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.system.unreadable()
    }

    /// The root filesystem's place on the disk.
    pub(crate) fn root_volume(&self) -> Option<&Volume> {
        self.watch.place(TABLE);
        self.system.root_volume()
    }

    /// The files, as a booted system sees them; none if there is no root filesystem.
    pub(crate) fn root(&self) -> &dyn Files {
        &self.files
    }

    /// What it is a view of: what is looked at there is not noted.
    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    /// All of the image.
    pub(crate) fn disk(&self) -> &Arc<dyn BlockRead> {
        self.watch.place("the disk");
        self.system.disk()
    }

    /// Its partition table, if it has one.
    pub(crate) fn table(&self) -> Option<&PartitionTable> {
        self.watch.place(TABLE);
        self.system.table()
    }

    /// All that is known on the disk, in the order of the table.
    pub(crate) fn volumes(&self) -> &[Volume] {
        self.watch.place(TABLE);
        self.system.volumes()
    }

    /// Who notes what is looked at.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The filesystems that a booted system has mounted.
    pub(crate) fn mounted(&self) -> impl Iterator<Item = &Volume> {
        let indices = self.system.mounted().readable().map(|(index, _, _)| index);
        indices.filter_map(|index| self.system.volumes().get(index))
    }

    /// Every filesystem that can be read, whether a booted system mounts it or not.
    pub(super) fn readable(&self) -> Vec<Readable<'_>> {
        let unmounted = self.system.unmounted().map(|(index, files)| (index, None, files));
        let mounted =
            self.system.mounted().readable().map(|(index, folder, files)| (index, Some(folder), files));
        let readable = |(index, folder, files): (usize, Option<&Path>, _)| {
            let volume = self.system.volumes().get(index)?;
            let prefix = match folder {
                Some(folder) => folder.to_string_lossy().trim_end_matches('/').to_owned(),
                None => format!("{}: ", volume.name()),
            };
            Some(Readable { volume, files, name: volume.name(), prefix })
        };
        mounted.chain(unmounted).filter_map(readable).collect()
    }

    /// Filesystems that cannot be read, and why.
    pub(super) fn unread(&self) -> Vec<String> {
        self.watch.place(TABLE);
        (0..self.system.volumes().len()).filter_map(|index| self.system.why_unread(index)).collect()
    }

    /// Whether filesystem `index` is mounted by a booted system, be it one that is not read here.
    pub(super) fn is_mounted(&self, index: usize) -> bool {
        self.system.mount_point(index).is_some()
    }

    /// What is in the initrd `path`, or why it is none; `None` if there is no such file.
    pub(super) fn initrd(&self, path: &Path) -> crate::Result<Option<Outcome>> {
        if let Some(known) = self.initrds.known(path) {
            self.watch.path(path);
            return Ok(Some(known));
        }
        let Some(content) = self.root().content(path)? else { return Ok(None) };
        Ok(Some(self.initrds.open(path, content)))
    }

    /// The same of the initrd in the unified kernel image `path`; `None` if it has none.
    pub(super) fn unified_initrd(&self, path: &Path) -> crate::Result<Option<Outcome>> {
        if let Some(known) = self.initrds.known(path) {
            self.watch.path(path);
            return Ok(Some(known));
        }
        let Some(content) = self.root().content(path)? else { return Ok(None) };
        let Some(range) = unified::section(&content, ".initrd")? else { return Ok(None) };
        Ok(Some(self.initrds.open(path, Box::new(Window::new(content, range)?))))
    }

    /// The filesystem of `path`, and its path in there.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of(&self, path: &Path) -> crate::Result<Option<(&Volume, PathBuf)>> {
        self.system.place_of(path, false)
    }

    /// As [`place_of`](Self::place_of), with a link at the end followed too.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of_content(&self, path: &Path) -> crate::Result<Option<(&Volume, PathBuf)>> {
        self.system.place_of(path, true)
    }

    /// Where the EFI system partition is mounted; `None` if there is none. As where else something is mounted, that is no place to look at.
    pub(super) fn esp(&self) -> Option<String> {
        self.system.esp().map(|folder| folder.to_string_lossy().into_owned())
    }

    /// Whether `/boot` is a filesystem of its own.
    pub(super) fn has_boot(&self) -> bool {
        self.watch.place(TABLE);
        self.system.mounted().has("/boot")
    }

    /// The UUID of the root filesystem.
    pub(super) fn root_uuid(&self) -> Option<&str> {
        self.root_volume().and_then(|volume| volume.signature.uuid.as_deref())
    }

    /// The partitions of the table; none without one.
    pub(super) fn partitions(&self) -> &[Partition] {
        self.table().map_or(&[], |table| &table.partitions)
    }

    /// The text of the file `path`; `None` if there is none.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> crate::Result<Option<String>> {
        let bytes = self.root().read(path.as_ref(), LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether there is anything at `path`, be it a dangling link.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> crate::Result<bool> {
        Ok(self.root().link_metadata(path.as_ref())?.is_some())
    }

    /// The first of `paths` that is there, links followed.
    pub(super) fn first_of(&self, paths: &[&str]) -> crate::Result<Option<String>> {
        for path in paths {
            if self.root().metadata(path.as_ref())?.is_some() {
                return Ok(Some((*path).to_owned()));
            }
        }
        Ok(None)
    }

    /// What a pattern means, in the order of names: an absolute path whose names may have `*`.
    pub(crate) fn matches(&self, pattern: &str) -> crate::Result<Vec<PathBuf>> {
        let names = |folder: &Path| {
            let entries = self.root().list(folder)?.unwrap_or_default();
            Ok(entries.into_iter().map(|entry| entry.name).collect())
        };
        name_pattern::paths(pattern, |path| self.exists(path), names)
    }

    /// Every file beneath `path` that is no directory, with what it is; links beneath it are not followed.
    pub(super) fn walk(&self, path: impl AsRef<Path>) -> crate::Result<Vec<(PathBuf, FileKind)>> {
        let mut found = Vec::new();
        let mut folders = vec![(path.as_ref().to_owned(), 0_usize)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in self.root().list(&folder)?.unwrap_or_default() {
                let inside = folder.join(&entry.name);
                match entry.kind {
                    FileKind::Directory if depth < DEPTH => folders.push((inside, depth.saturating_add(1))),
                    FileKind::Directory => return Err(err!("{} is too deep", inside.display())),
                    other => found.push((inside, other)),
                }
                if found.len().saturating_add(folders.len()) > FILES_LIMIT {
                    return Err(err!("there are more than {FILES_LIMIT} files"));
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}
