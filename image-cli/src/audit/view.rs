//! An image as its rules see it: the partition table, and filesystems by the role they have.
//!
//! ```text
//! disk ─┬─ no table ─► one filesystem
//!       └─ GPT, MBR ─► partitions ─► filesystems ─┬─ has /etc: root, where all others are mounted that it names (mounts.rs)
//!                                                 ├─ has boot menus and no /etc: /boot
//!                                                 └─ EFI system partition: /boot/efi
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod initrds;
mod mounted;
mod mounts;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, Window};
use image_core::fs::{FileKind, Files, FilesystemKind, Signature, detect};
use image_core::partition::{Partition, PartitionTable, kind};

use super::contents::Contents;
use super::looked::{Shared, Watch};
use super::unused::Stale;
use crate::error::err;
use crate::name_pattern;
use initrds::{Initrds, Outcome};
use mounted::Mounted;
use mounts::mounts;
pub(super) use mounts::volume_named;

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
    /// All of it.
    disk: Arc<dyn BlockRead>,
    /// Its partition table, if it has one.
    table: Option<PartitionTable>,
    /// Its filesystems, in the order of the table.
    volumes: Vec<Volume>,
    /// The root filesystem's place in `volumes`, or why there is none.
    root: Result<usize, String>,
    files: Mounted,
    /// Filesystems that can be read and that nothing mounts.
    unmounted: Vec<(usize, Box<dyn Files>)>,
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
    /// Its files.
    pub(super) files: &'a dyn Files,
    /// What people call it.
    pub(super) name: String,
    /// What stands before the paths in it: where it is mounted, or what it is called.
    pub(super) prefix: String,
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
    pub(crate) fn open(disk: Arc<dyn BlockRead>) -> crate::Result<Self> {
        let table = PartitionTable::read(&*disk)?;
        let volumes = volumes(&disk, table.as_ref())?;
        let mut root = Err(match volumes.is_empty() {
            true => "it has no filesystem that is known here".to_owned(),
            false => "no filesystem that is read here has /etc".to_owned(),
        });
        let mut unread = Vec::new();
        let watch = Arc::new(Watch::default());
        let mut files = Mounted::new(Arc::clone(&watch));
        let (mut opened, mut unmounted) = (Vec::new(), Vec::new());
        for (index, volume) in volumes.iter().enumerate() {
            let window: Arc<dyn BlockRead> = Arc::new(volume.window(Arc::clone(&disk))?);
            let is_esp = volume.partition.as_ref().is_some_and(|partition| partition.is(kind::EFI_SYSTEM));
            let mut content = image_core::fs::open(window).map_err(|error| {
                let why = format!("{}: {}", volume.name(), crate::Error::from(error).root_cause());
                unread.push(why.clone());
                why
            });
            // What is in one that is broken is not known.
            if root.is_err() && !is_esp && content.as_ref().is_ok_and(|files| has_folder(&**files, "/etc")) {
                root = Ok(index);
                let _ = files.mount("/", index, content);
                content = Err("it is mounted already".to_owned());
            }
            opened.push((is_esp, Some(content)));
        }
        let mounts = root.as_ref().map_or(Vec::new(), |root| mounts((*root, &files), &volumes));
        for (folder, index) in mounts {
            if let Some((false, content)) = opened.get_mut(index)
                && let Some(content) = content.take()
            {
                let _ = files.mount(&folder, index, content);
            }
        }
        for (index, (is_esp, content)) in opened.into_iter().enumerate() {
            let Some(Ok(content)) = content else { continue };
            let left = match is_esp {
                true => files.mount("/boot/efi", index, Ok(content)),
                false if is_boot(&*content) => files.mount("/boot", index, Ok(content)),
                false => Some(Ok(content)),
            };
            unmounted.extend(left.and_then(Result::ok).map(|content| (index, content)));
        }
        if !unread.is_empty() {
            root = root.map_err(|_| unread.join("; "));
        }
        let files = files;
        Ok(Self {
            disk,
            table,
            volumes,
            root,
            files,
            unmounted,
            watch,
            stale: Shared::default(),
            contents: Shared::default(),
            initrds: Initrds::default(),
        })
    }

    /// Why the root filesystem cannot be read; `None` if it can.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.root.as_ref().err().map(String::as_str)
    }

    /// The root filesystem's place on the disk.
    pub(super) fn root_volume(&self) -> Option<&Volume> {
        self.watch.place(TABLE);
        self.root.as_ref().ok().and_then(|index| self.volumes.get(*index))
    }

    /// The files, as a booted system sees them; none if there is no root filesystem.
    pub(crate) fn root(&self) -> &dyn Files {
        &self.files
    }

    /// All of the image.
    pub(crate) fn disk(&self) -> &Arc<dyn BlockRead> {
        self.watch.place("the disk");
        &self.disk
    }

    /// Its partition table, if it has one.
    pub(crate) fn table(&self) -> Option<&PartitionTable> {
        self.watch.place(TABLE);
        self.table.as_ref()
    }

    /// All that is known on the disk, in the order of the table.
    pub(crate) fn volumes(&self) -> &[Volume] {
        self.watch.place(TABLE);
        &self.volumes
    }

    /// Who notes what is looked at.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The filesystems that a booted system has mounted.
    pub(crate) fn mounted(&self) -> impl Iterator<Item = &Volume> {
        self.files.indices().filter_map(|index| self.volumes.get(index))
    }

    /// Every filesystem that can be read, whether a booted system mounts it or not.
    pub(super) fn readable(&self) -> Vec<Readable<'_>> {
        let unmounted = self.unmounted.iter().map(|(index, files)| (*index, None, &**files));
        let mounted = self.files.readable().map(|(index, folder, files)| (index, Some(folder), files));
        let readable = |(index, folder, files): (usize, Option<&Path>, _)| {
            let volume = self.volumes.get(index)?;
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
        let is_read = |index: usize| {
            let is_unmounted = self.unmounted.iter().any(|(own, _)| *own == index);
            is_unmounted || self.files.readable().any(|(own, _, _)| own == index)
        };
        let others = self
            .volumes
            .iter()
            .enumerate()
            .filter(|(index, volume)| volume.signature.kind != FilesystemKind::Swap && !is_read(*index));
        let told = |(index, volume): (usize, &Volume)| {
            let why = self.files.why_unread(index);
            why.map_or_else(
                || format!("{}: {} cannot be read here", volume.name(), volume.signature.kind),
                str::to_owned,
            )
        };
        others.map(told).collect()
    }

    /// Whether filesystem `index` is mounted by a booted system, be it one that is not read here.
    pub(super) fn is_mounted(&self, index: usize) -> bool {
        self.files.has_index(index)
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

    /// The filesystem of `path`, and its path in there.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of(&self, path: &Path) -> crate::Result<Option<(&Volume, PathBuf)>> {
        let found = self.files.place_of(path)?;
        Ok(found.and_then(|(index, inside)| Some((self.volumes.get(index)?, inside))))
    }

    /// As [`place_of`](Self::place_of), with a link at the end followed too.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of_content(&self, path: &Path) -> crate::Result<Option<(&Volume, PathBuf)>> {
        let found = self.files.place_of_content(path)?;
        Ok(found.and_then(|(index, inside)| Some((self.volumes.get(index)?, inside))))
    }

    /// The path of what is at `inside` of `volume`, as a booted system sees it; `None` if it does not.
    pub(crate) fn path_of(&self, volume: &Volume, inside: &Path) -> Option<PathBuf> {
        let index = self.volumes.iter().position(|own| own.range == volume.range)?;
        self.files.path_of(index, inside)
    }

    /// Whether there is an EFI system partition that can be read.
    pub(super) fn has_esp(&self) -> bool {
        self.watch.place(TABLE);
        self.files.has("/boot/efi")
    }

    /// Whether `/boot` is a filesystem of its own.
    pub(super) fn has_boot(&self) -> bool {
        self.watch.place(TABLE);
        self.files.has("/boot")
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

/// Everything on the disk that is known.
fn volumes(disk: &Arc<dyn BlockRead>, table: Option<&PartitionTable>) -> crate::Result<Vec<Volume>> {
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
