//! An image as its rules see it: the partition table, and filesystems by the role they have.
//!
//! ```text
//! disk ─┬─ no table ─► one filesystem
//!       └─ GPT, MBR ─► partitions ─► filesystems ─┬─ has /etc: root, where all others are mounted that it names (mounts.rs)
//!                                                 ├─ has boot menus and no /etc: /boot
//!                                                 └─ EFI system partition: /boot/efi
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod mounted;
mod mounts;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use image_core::block::{BlockRead, ByteRange, Window};
use image_core::fs::{FileKind, Files, Signature, detect};
use image_core::partition::{Partition, PartitionTable, kind};

use super::unused::Stale;
use mounted::Mounted;
use mounts::mounts;
pub(super) use mounts::volume_named;

/// No file that is looked into is larger, save an initrd.
pub(super) const LIMIT: u64 = 16 << 20;
/// Folders within folders that are walked through.
const DEPTH: usize = 32;
/// Files that are walked through; a broken filesystem may have folders that are in themselves.
const FILES_LIMIT: usize = 4 << 20;

/// An image, opened.
pub(crate) struct View {
    /// All of it.
    pub(super) disk: Arc<dyn BlockRead>,
    /// Its partition table, if it has one.
    pub(super) table: Option<PartitionTable>,
    /// Its filesystems, in the order of the table.
    pub(super) volumes: Vec<Volume>,
    /// The root filesystem's place in `volumes`, or why there is none.
    root: Result<usize, String>,
    files: Mounted,
    /// What is left in unused space, once that was read.
    pub(super) stale: OnceLock<Stale>,
}

/// A filesystem, swap space or the like.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Its partition; `None` for one that is the whole disk.
    pub(crate) partition: Option<Partition>,
    /// Where it is on the disk.
    pub(crate) range: ByteRange,
    /// What it is.
    pub(crate) signature: Signature,
}

impl Volume {
    /// What people call it.
    pub(crate) fn name(&self) -> String {
        self.partition
            .as_ref()
            .map_or_else(|| "the disk".into(), |partition| format!("partition {}", partition.number))
    }

    pub(crate) fn window(&self, disk: Arc<dyn BlockRead>) -> image_core::Result<Window<Arc<dyn BlockRead>>> {
        Window::new(disk, self.range)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("table", &self.table).field("volumes", &self.volumes).finish()
    }
}

impl View {
    /// Opens `disk`.
    ///
    /// # Errors
    /// If its partition table is broken, or it cannot be read.
    pub(crate) fn open(disk: Arc<dyn BlockRead>) -> anyhow::Result<Self> {
        let table = PartitionTable::read(&*disk)?;
        let volumes = volumes(&disk, table.as_ref())?;
        let mut root = Err(match volumes.is_empty() {
            true => "it has no filesystem that is known here".to_owned(),
            false => "no filesystem that is read here has /etc".to_owned(),
        });
        let mut unread = Vec::new();
        let mut files = Mounted::default();
        let mut opened = Vec::new();
        for (index, volume) in volumes.iter().enumerate() {
            let window: Arc<dyn BlockRead> = Arc::new(volume.window(Arc::clone(&disk))?);
            let is_esp = volume.partition.as_ref().is_some_and(|partition| partition.is(kind::EFI_SYSTEM));
            let mut content = image_core::fs::open(window).map_err(|error| {
                let why = format!("{}: {}", volume.name(), anyhow::Error::from(error).root_cause());
                unread.push(why.clone());
                why
            });
            // What is in one that is broken is not known.
            if root.is_err() && !is_esp && content.as_ref().is_ok_and(|files| has_folder(&**files, "/etc")) {
                root = Ok(index);
                files.mount("/", index, content);
                content = Err("it is mounted already".to_owned());
            }
            opened.push((is_esp, Some(content)));
        }
        let mounts = root.as_ref().map_or(Vec::new(), |root| mounts((*root, &files), &volumes));
        for (folder, index) in mounts {
            if let Some((false, content)) = opened.get_mut(index)
                && let Some(content) = content.take()
            {
                files.mount(&folder, index, content);
            }
        }
        for (index, (is_esp, content)) in opened.into_iter().enumerate() {
            match content {
                Some(Ok(content)) if is_esp => files.mount("/boot/efi", index, Ok(content)),
                Some(Ok(content)) if is_boot(&*content) => files.mount("/boot", index, Ok(content)),
                _ => {}
            }
        }
        if !unread.is_empty() {
            root = root.map_err(|_| unread.join("; "));
        }
        Ok(Self { disk, table, volumes, root, files, stale: OnceLock::new() })
    }

    /// Why the root filesystem cannot be read; `None` if it can.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.root.as_ref().err().map(String::as_str)
    }

    /// The root filesystem's place on the disk.
    pub(super) fn root_volume(&self) -> Option<&Volume> {
        self.root.as_ref().ok().and_then(|index| self.volumes.get(*index))
    }

    /// The files, as a booted system sees them; none if there is no root filesystem.
    pub(crate) fn root(&self) -> &dyn Files {
        &self.files
    }

    /// All of the image.
    pub(crate) fn disk(&self) -> &Arc<dyn BlockRead> {
        &self.disk
    }

    /// The filesystems that a booted system has mounted.
    pub(crate) fn mounted(&self) -> impl Iterator<Item = &Volume> {
        self.files.indices().filter_map(|index| self.volumes.get(index))
    }

    /// The filesystem of `path`, and its path in there.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of(&self, path: &Path) -> anyhow::Result<Option<(&Volume, PathBuf)>> {
        let found = self.files.place_of(path)?;
        Ok(found.and_then(|(index, inside)| Some((self.volumes.get(index)?, inside))))
    }

    /// Whether there is an EFI system partition that can be read.
    pub(super) fn has_esp(&self) -> bool {
        self.files.has("/boot/efi")
    }

    /// Whether `/boot` is a filesystem of its own.
    pub(super) fn has_boot(&self) -> bool {
        self.files.has("/boot")
    }

    /// The UUID of the root filesystem.
    pub(super) fn root_uuid(&self) -> Option<&str> {
        self.root_volume().and_then(|volume| volume.signature.uuid.as_deref())
    }

    /// The partitions of the table; none without one.
    pub(super) fn partitions(&self) -> &[Partition] {
        self.table.as_ref().map_or(&[], |table| &table.partitions)
    }

    /// The text of the file `path`; `None` if there is none.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> anyhow::Result<Option<String>> {
        let bytes = self.root().read(path.as_ref(), LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether there is anything at `path`, be it a dangling link.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> anyhow::Result<bool> {
        Ok(self.root().link_metadata(path.as_ref())?.is_some())
    }

    /// The first of `paths` that is there, links followed.
    pub(super) fn first_of(&self, paths: &[&str]) -> anyhow::Result<Option<String>> {
        for path in paths {
            if self.root().metadata(path.as_ref())?.is_some() {
                return Ok(Some((*path).to_owned()));
            }
        }
        Ok(None)
    }

    /// What a pattern means, in the order of names: an absolute path whose names may have one `*` each.
    pub(crate) fn matches(&self, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for folder in found {
                let Some((before, after)) = part.split_once('*') else {
                    if self.exists(folder.join(part))? {
                        next.push(folder.join(part));
                    }
                    continue;
                };
                for entry in self.root().list(&folder)?.unwrap_or_default() {
                    let name = entry.name.to_string_lossy();
                    let middle = name.strip_prefix(before).is_some_and(|rest| rest.ends_with(after));
                    if middle {
                        next.push(folder.join(&entry.name));
                    }
                }
            }
            found = next;
        }
        found.sort();
        Ok(found)
    }

    /// Every file beneath `path` that is no directory, with what it is; links beneath it are not followed.
    pub(super) fn walk(&self, path: impl AsRef<Path>) -> anyhow::Result<Vec<(PathBuf, FileKind)>> {
        let mut found = Vec::new();
        let mut folders = vec![(path.as_ref().to_owned(), 0_usize)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in self.root().list(&folder)?.unwrap_or_default() {
                let inside = folder.join(&entry.name);
                match entry.kind {
                    FileKind::Directory if depth < DEPTH => folders.push((inside, depth.saturating_add(1))),
                    FileKind::Directory => return Err(anyhow!("{} is too deep", inside.display())),
                    other => found.push((inside, other)),
                }
                if found.len().saturating_add(folders.len()) > FILES_LIMIT {
                    return Err(anyhow!("there are more than {FILES_LIMIT} files"));
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}

/// Everything on the disk that is known.
fn volumes(disk: &Arc<dyn BlockRead>, table: Option<&PartitionTable>) -> anyhow::Result<Vec<Volume>> {
    let whole = || (None, ByteRange::between(0, disk.size()));
    let places: Vec<(Option<Partition>, ByteRange)> = match table {
        None => vec![whole()],
        Some(table) => {
            let placed = table.partitions.iter();
            placed.map(|partition| (Some(partition.clone()), partition.range)).collect()
        }
    };
    let mut volumes = Vec::new();
    for (partition, range) in places {
        let window = Window::new(Arc::clone(disk), range)?;
        if let Some(signature) = detect(&window)? {
            volumes.push(Volume { partition, range, signature });
        }
    }
    Ok(volumes)
}

/// Whether a filesystem is one for `/boot`.
fn is_boot(files: &dyn Files) -> bool {
    ["/grub", "/grub2", "/loader/entries"].iter().any(|folder| has_folder(files, folder))
}

/// Whether there is a folder of that name, and it can be read.
fn has_folder(files: &dyn Files, folder: &str) -> bool {
    files.list(folder.as_ref()).is_ok_and(|names| names.is_some())
}
