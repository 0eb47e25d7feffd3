//! The system in an image, as it is when it has booted: filesystems, and where they are mounted.
//!
//! ```text
//! disk ─┬─ no table ─► one filesystem
//!       └─ GPT, MBR ─► partitions ─► filesystems ─┬─ has /etc: root, where all others are mounted that it names (mounts.rs)
//!                                                 ├─ has boot menus and no /etc: /boot
//!                                                 └─ EFI system partition: where root says, or systemd puts it (mounts.rs)
//! ```
//!
//! Nothing of it is believed: what is broken is an error of what lies in it, and not of the others.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod mounted;
mod mounts;
mod volume;
mod walk;

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::BlockRead;
use image_core::fs::{Files, Filesystem, FilesystemKind, SubvolumeChoice};
use image_core::partition::{PartitionTable, kind};

use crate::error::{Context, err};
pub(crate) use mounted::Mounted;
use mounts::Mount;
pub(crate) use mounts::volume_named;
pub use volume::Volume;
pub(crate) use volume::is_disc;
pub use walk::{Step, Walk};

/// No file that tells where something is mounted is larger, in bytes.
const LIMIT: u64 = 16 << 20;
/// So many subvolumes are looked into for a system.
const SUBVOLUMES_MAX: usize = 256;

/// What is in an image.
pub struct System {
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
    unmounted: Vec<(usize, Arc<dyn Filesystem>)>,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System").field("table", &self.table).field("volumes", &self.volumes).finish()
    }
}

/// A filesystem, or why it cannot be read.
type Opened = Result<Arc<dyn Filesystem>, String>;

impl System {
    /// What is in `disk`, with every filesystem where a booted system mounts it.
    ///
    /// # Errors
    /// If its partition table is broken, or it cannot be read.
    pub fn open(disk: Arc<dyn BlockRead>) -> crate::Result<Self> {
        let table = PartitionTable::read(&*disk)?;
        let volumes = volume::find(&disk, table.as_ref())?;
        let mut system = Self {
            root: Err(match volumes.is_empty() {
                true => "it has no filesystem that is known here".to_owned(),
                false => "no filesystem that is read here has /etc".to_owned(),
            }),
            files: Mounted::default(),
            unmounted: Vec::new(),
            disk,
            table,
            volumes,
        };
        let opened = system.volumes.iter().map(|volume| open(volume, &system.disk)).collect();
        system.mount(opened);
        Ok(system)
    }

    /// What is in `disk`, which has the same filesystems at the same places as this one: mounted as they are here, whatever their files
    /// say of that by now.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn again(&self, disk: Arc<dyn BlockRead>) -> crate::Result<Self> {
        let mut files = Mounted::default();
        for (folder, index) in self.files.places() {
            let Some(volume) = self.volumes.get(index) else { continue };
            let mut opened = open(volume, &disk);
            if volume.signature.kind == FilesystemKind::Btrfs {
                let own = self.files.readable().find(|(_, own, _)| *own == folder);
                let root = own.and_then(|(.., own)| own.root().ok());
                let choice = SubvolumeChoice::Id(root.map_or(0, |root| root.id.subvolume));
                opened = opened.and_then(|top| top.subvolume(choice).map_err(|error| error.to_string()));
            }
            files.mount(&folder.to_string_lossy(), index, opened);
        }
        let unmounted = self.unmounted().filter_map(|(index, _)| {
            let volume = self.volumes.get(index)?;
            Some((index, open(volume, &disk).ok()?))
        });
        Ok(Self {
            unmounted: unmounted.collect(),
            table: self.table.clone(),
            volumes: self.volumes.clone(),
            root: self.root.clone(),
            files,
            disk,
        })
    }

    /// What is in the filesystem `name` of `disk` alone: the number of a partition, or a label, UUID or logical volume.
    ///
    /// # Errors
    /// As [`open`](Self::open); if there is no such filesystem, or it cannot be read.
    pub fn open_volume(disk: Arc<dyn BlockRead>, name: &str) -> crate::Result<Self> {
        let table = PartitionTable::read(&*disk)?;
        let volumes = volume::find(&disk, table.as_ref())?;
        let index = volume::named(&volumes, name)?;
        Self::alone(disk, table, volumes, index)
    }

    /// As [`open`](Self::open); where there is no system, but one filesystem with files and no other, or a CD's, what is in that.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_any(disk: Arc<dyn BlockRead>) -> crate::Result<Self> {
        let system = Self::open(disk)?;
        let with_files = system.volumes.iter().enumerate().filter(|(_, volume)| volume.has_files());
        // A CD has all of the disk, and partitions in it for firmware.
        let is_disc = |index: &usize| {
            // xorriso makes a partition of its filesystem, too.
            let begins =
                |own: &Volume| own.signature.kind == FilesystemKind::Iso9660 && own.range.offset() == 0;
            system.volumes.get(*index).is_some_and(|own| own.partition.is_none() || begins(own))
        };
        let with_files: Vec<usize> = with_files.map(|(index, _)| index).collect();
        let index = match with_files[..] {
            [index] => index,
            _ => match with_files.iter().find(|index| is_disc(index)) {
                Some(index) => *index,
                None => return Ok(system),
            },
        };
        if system.root.is_ok() || system.filesystem(index).is_none() {
            return Ok(system);
        }
        Self::alone(system.disk, system.table, system.volumes, index)
    }

    /// Volume number `index` at the root, and no other.
    fn alone(
        disk: Arc<dyn BlockRead>,
        table: Option<PartitionTable>,
        volumes: Vec<Volume>,
        index: usize,
    ) -> crate::Result<Self> {
        let mut files = Mounted::default();
        if let Some(volume) = volumes.get(index) {
            let content = open(volume, &disk).map_err(|why| err!("{why}"))?;
            files.mount("/", index, Ok(content));
        }
        Ok(Self { disk, table, volumes, root: Ok(index), files, unmounted: Vec::new() })
    }

    /// Puts each of `opened`, which are as many as there are volumes, where it belongs.
    fn mount(&mut self, opened: Vec<Opened>) {
        let unread: Vec<String> =
            opened.iter().filter_map(|content| content.as_ref().err().cloned()).collect();
        let esps: Vec<bool> = self.volumes.iter().map(is_esp).collect();
        let is_esp = |index: usize| esps.get(index).copied().unwrap_or(false);
        // What is in one that is broken is not known.
        let root_of = |(index, content): (usize, &Opened)| {
            let files = content.as_ref().ok().filter(|_| !is_esp(index))?;
            root_in(files).map(|root| (index, root))
        };
        let mut is_left = vec![true; opened.len()];
        let mut take = |index: usize| is_left.get_mut(index).is_some_and(std::mem::take);
        let mut planned = Vec::new();
        match opened.iter().enumerate().find_map(root_of) {
            Some((index, root)) => {
                take(index);
                self.root = Ok(index);
                self.files.mount("/", index, Ok(root));
                planned = mounts::mounts((index, &self.files), &self.volumes);
            }
            None if !unread.is_empty() => self.root = Err(unread.join("; ")),
            None => {}
        }
        for Mount { folder, index, subvolume } in planned {
            let Some(content) = opened.get(index) else { continue };
            let content = match &subvolume {
                Some(own) if content.as_ref().is_ok_and(|files| files.kind() == FilesystemKind::Btrfs) => {
                    content
                        .clone()
                        .and_then(|files| files.subvolume(own.choice()).map_err(|error| error.to_string()))
                }
                _ if !take(index) => continue,
                _ => content.clone(),
            };
            take(index);
            self.files.mount(&folder, index, content);
        }
        let (esps, others): (Vec<_>, Vec<_>) =
            opened.into_iter().enumerate().partition(|(index, _)| is_esp(*index));
        // Where the EFI system partition is, depends on what is at /boot.
        for (index, content) in others.into_iter().chain(esps) {
            let Some(content) = content.ok().filter(|_| take(index)) else { continue };
            let over = match is_esp(index) {
                true => self.files.mount(mounts::esp_folder(&self.files), index, Ok(content)),
                false if is_boot(&*content) => self.files.mount("/boot", index, Ok(content)),
                false => Some(Ok(content)),
            };
            self.unmounted.extend(over.and_then(Result::ok).map(|content| (index, content)));
        }
    }

    /// Why the root filesystem cannot be read; `None` if it can.
    pub fn unreadable(&self) -> Option<&str> {
        self.root.as_ref().err().map(String::as_str)
    }

    /// The root filesystem's place on the disk.
    pub fn root_volume(&self) -> Option<&Volume> {
        self.root.as_ref().ok().and_then(|index| self.volumes.get(*index))
    }

    /// The files, as a booted system sees them; none if there is no root filesystem.
    pub fn files(&self) -> &dyn Files {
        &self.files
    }

    /// All filesystems as one tree.
    pub(crate) fn mounted(&self) -> &Mounted {
        &self.files
    }

    /// All of the image.
    pub fn disk(&self) -> &Arc<dyn BlockRead> {
        &self.disk
    }

    /// Its partition table, if it has one.
    pub fn table(&self) -> Option<&PartitionTable> {
        self.table.as_ref()
    }

    /// All that is known on the disk, in the order of the table.
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// Filesystems that can be read and that nothing mounts.
    pub(crate) fn unmounted(&self) -> impl Iterator<Item = (usize, &Arc<dyn Filesystem>)> {
        self.unmounted.iter().map(|(index, files)| (*index, files))
    }

    /// The filesystem of `volume` number `index`, if it can be read.
    pub fn filesystem(&self, index: usize) -> Option<&Arc<dyn Filesystem>> {
        let mounted = self.files.readable().map(|(own, _, files)| (own, files));
        mounted.chain(self.unmounted()).find(|(own, _)| *own == index).map(|(_, files)| files)
    }

    /// Where volume number `index` is mounted, be it one that cannot be read.
    pub fn mount_point(&self, index: usize) -> Option<&Path> {
        self.files.folder_of(index)
    }

    /// Where the EFI system partition is mounted; `None` if there is none.
    pub(crate) fn esp(&self) -> Option<&Path> {
        let esps = self.volumes.iter().enumerate().filter(|(_, volume)| is_esp(volume));
        esps.map(|(index, _)| index).find_map(|index| self.mount_point(index))
    }

    /// Why volume number `index` cannot be read; `None` if it can, or is none that holds files.
    pub fn why_unread(&self, index: usize) -> Option<String> {
        if self.filesystem(index).is_some() {
            return None;
        }
        let volume = self.volumes.get(index).filter(|volume| volume.has_files())?;
        let told = self.files.why_unread(index).map(str::to_owned);
        Some(told.unwrap_or_else(|| match open(volume, &self.disk) {
            Err(why) => why,
            Ok(_) => format!("{}: {} cannot be read here", volume.name(), volume.signature.kind),
        }))
    }

    /// What is at `path`, as the first step of no walk; of a link at its end, the link itself unless `follow`. `None` if there is
    /// nothing.
    ///
    /// # Errors
    /// If a folder above it cannot be read, or it is broken.
    pub fn find(&self, path: &Path, follow: bool) -> crate::Result<Option<Step<'_>>> {
        let found = self.files.find(path, follow).with_context(|| shown(path))?;
        Ok(found.map(|found| Step::of(found, Vec::new())))
    }

    /// Every file from `path` on; of a link at its end, the link itself unless `follow`. `None` if there is nothing.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn walk(&self, path: &Path, follow: bool) -> crate::Result<Option<Walk<'_>>> {
        let doing = || shown(path);
        let Some(start) = self.files.real_path(path, follow).with_context(doing)? else { return Ok(None) };
        let found = self.files.find(&start, false).with_context(doing)?;
        Ok(found.map(|found| Walk::new(&self.files, found, start.into_os_string().into_vec())))
    }

    /// The path of the subvolume that its fstab has for the root filesystem.
    pub(crate) fn root_subvolume(&self) -> Option<String> {
        let root = self.filesystem(*self.root.as_ref().ok()?)?;
        mounts::root_subvolume(root)??.path()
    }

    /// The number of the filesystem of `path`, and its path in there.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place(&self, path: &Path, follow: bool) -> crate::Result<Option<(usize, PathBuf)>> {
        Ok(self.files.place_of(path, follow)?)
    }

    /// `path` without links, a link at its end among them if `follow`.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn real_path(&self, path: &Path, follow: bool) -> crate::Result<Option<PathBuf>> {
        Ok(self.files.real_path(path, follow)?)
    }

    /// Where something is mounted at `path`, which leads through no link, or beneath it.
    pub(crate) fn mounted_beneath(&self, path: &Path) -> Option<&Path> {
        self.files.folders().find(|folder| folder.starts_with(path))
    }

    /// Has volume number `index`, which is mounted, be `files` from now on.
    pub(crate) fn replace(&mut self, index: usize, files: Arc<dyn Filesystem>) {
        self.files.replace(index, &files);
    }

    /// Forgets what links said: files were changed.
    pub(crate) fn forget(&self) {
        self.files.forget();
    }

    /// The filesystem of `path`, and its path in there.
    ///
    /// # Errors
    /// If a folder above it cannot be read.
    pub(crate) fn place_of(&self, path: &Path, follow: bool) -> crate::Result<Option<(&Volume, PathBuf)>> {
        let found = self.files.place_of(path, follow)?;
        Ok(found.and_then(|(index, inside)| Some((self.volumes.get(index)?, inside))))
    }
}

/// What a system that lies in `files` has for its root: all of it, or one of its subvolumes; `None` if there is no system in there.
fn root_in(files: &Arc<dyn Filesystem>) -> Option<Arc<dyn Filesystem>> {
    if has_folder(files, "/etc") {
        return Some(Arc::clone(files));
    }
    let paths = files.subvolume_paths().unwrap_or_default();
    let opened = paths.iter().take(SUBVOLUMES_MAX).filter_map(|path| {
        let own = files.subvolume(SubvolumeChoice::Path(path)).ok()?;
        has_folder(&own, "/etc").then_some((path, own))
    });
    let mut found: Vec<(&Vec<u8>, Arc<dyn Filesystem>)> = opened.collect();
    // Snapshots have the same in them: the one whose own fstab says so is the root, else the first by name.
    let says_so = |(path, own): &(&Vec<u8>, Arc<dyn Filesystem>)| {
        let said = mounts::root_subvolume(own);
        said.flatten().is_some_and(|said| said.choice() == SubvolumeChoice::Path(path))
    };
    let at = found.iter().position(says_so).unwrap_or(0);
    (at < found.len()).then(|| found.swap_remove(at).1)
}

/// `path`, as messages show it.
fn shown(path: &Path) -> String {
    format!("looking for {}", path.display())
}

fn open(volume: &Volume, disk: &Arc<dyn BlockRead>) -> Opened {
    let opened = volume.content(disk).and_then(image_core::fs::open);
    opened.map_err(|error| format!("{}: {}", volume.name(), crate::Error::from(error).root_cause()))
}

/// Whether a filesystem is an EFI system partition's.
fn is_esp(volume: &Volume) -> bool {
    volume.partition.as_ref().is_some_and(|partition| partition.is(kind::EFI_SYSTEM))
}

/// Whether a filesystem is one for `/boot`.
fn is_boot(files: &(impl Files + ?Sized)) -> bool {
    ["/grub", "/grub2", "/loader/entries"].iter().any(|folder| has_folder(files, folder))
}

/// Whether there is a folder of that name, and it can be read.
fn has_folder(files: &(impl Files + ?Sized), folder: &str) -> bool {
    files.list(folder.as_ref()).is_ok_and(|names| names.is_some())
}
