//! The files of a filesystem, whichever it is.

use std::path::Path;

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

/// Refuses to read more than was allowed.
pub(super) fn check_limit(path: &Path, size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::refused(format!("{} has {size} bytes, more than the {limit} expected", path.display())))
}
