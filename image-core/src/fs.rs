//! Filesystems: told apart, read without a kernel, and made.
//!
//! ```text
//! Window (a partition) ─► detect ─► which, its UUID, its label
//!                      └► open   ─► Files: list, read, follow links   ext2/3/4, FAT
//! make_fat ─► an EFI system partition     remove_from_fat ─► a file less
//! ext4     ─► files changed, what belongs to none wiped, the times of inodes        iso9660 ─► small CDs
//! ```
//!
//! Everything here is read as untrusted bytes. Links are followed inside the filesystem and never leave it.

mod detect;
mod ext4;
mod fat;
pub mod iso9660;

use std::path::Path;
use std::sync::Arc;

pub use detect::{FilesystemKind, Signature, detect};
pub use ext4::{
    Attribute, Changes, Content, DirectoryEntry, Ext4, Ext4Rule, Features, Finding, Inode, Inodes, New,
    NodeKind, ReadDirectory, Replayed, Step, Summed, Superblock, Time, Walk, clamp_inode_times,
    scrub as scrub_ext4, unused_ranges, wipe_content as wipe_ext4_content,
};
pub use fat::{NewFat, NewFile, make_fat, remove_from_fat, scrub_fat};

use crate::block::BlockRead;
use crate::error::{Error, Result};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Special,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its permission bits, with set-user-ID and its kin; 0o755 in FAT.
    pub mode: u32,
    /// Its owner; 0 in FAT.
    pub uid: u32,
    /// Its group; 0 in FAT.
    pub gid: u32,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as the filesystem has it.
    pub name: std::ffi::OsString,
    /// What it names.
    pub kind: FileKind,
}

/// The files of a filesystem. Paths begin with `/`; what does not exist is `None`, not an error.
pub trait Files: Send + Sync {
    /// What is known of `path`, links followed.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the filesystem is; whatever the disk says.
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>>;

    /// What is known of `path`; of a link, the link itself.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>>;

    /// The content of the regular file `path`, links followed.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata); [`Refused`](crate::ErrorKind::Refused) for more than `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;

    /// Where the link `path` points to; `None` also for what is no link.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    fn read_link(&self, path: &Path) -> Result<Option<std::path::PathBuf>>;

    /// What is in the directory `path`, by name, without `.` and `..`; `None` also for what is no directory.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>>;

    /// The content of the regular file `path`, links followed, as a disk: for what is too large to be read at once.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    fn content(&self, path: &Path) -> Result<Option<Box<dyn BlockRead>>>;
}

/// The files of the filesystem on `disk`.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a filesystem that is not read here, or none;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for one that is broken.
pub fn open(disk: Arc<dyn BlockRead>) -> Result<Box<dyn Files>> {
    match detect(&*disk)? {
        Some(found) if found.kind.is_ext() => Ok(Box::new(Ext4::open(disk)?)),
        Some(Signature { kind: FilesystemKind::Fat, .. }) => Ok(Box::new(fat::FatFiles::open(disk)?)),
        Some(found) => Err(Error::unsupported(format!("{} cannot be read here", found.kind))),
        None => Err(Error::unsupported("there is no filesystem that is known here")),
    }
}

/// Refuses to read more than was allowed.
fn check_limit(path: &Path, size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::refused(format!("{} has {size} bytes, more than the {limit} expected", path.display())))
}
