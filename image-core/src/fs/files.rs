//! The files of a filesystem, whichever it is.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::filesystem::Filesystem;
use super::node::{FileKind, Node, NodeKind};
use super::path::resolve;
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};

/// More names than a directory is listed for.
const ENTRY_LIMIT: usize = 1 << 20;

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

fn find(fs: &(impl Filesystem + ?Sized), path: &Path, follow: bool) -> Result<Option<Node>> {
    resolve(fs, path.as_os_str().as_bytes(), follow)
}

fn metadata_of(node: &Node) -> Metadata {
    let &Node { size, mode, uid, gid, .. } = node;
    Metadata { kind: node.kind.into(), size, mode, uid, gid }
}

impl<F: Filesystem + ?Sized> Files for F {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        Ok(find(self, path, true)?.as_ref().map(metadata_of))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        Ok(find(self, path, false)?.as_ref().map(metadata_of))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let found = find(self, path, true)?;
        let Some(file) = found.filter(|node| node.kind == NodeKind::File) else { return Ok(None) };
        check_limit(path, file.size, limit)?;
        let doing = || format!("reading {}", path.display());
        let mut bytes = vec![0; file.size as usize];
        Filesystem::content(self, &file).doing(doing)?.read_at(&mut bytes, 0).doing(doing)?;
        Ok(Some(bytes))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        let found = find(self, path, false)?;
        let Some(link) = found.filter(|node| node.kind == NodeKind::Link) else { return Ok(None) };
        Ok(Some(PathBuf::from(OsString::from_vec(Filesystem::read_link(self, &link)?))))
    }

    fn content(&self, path: &Path) -> Result<Option<Box<dyn BlockRead>>> {
        let found = find(self, path, true)?;
        let file = found.filter(|node| node.kind == NodeKind::File);
        file.map(|node| Filesystem::content(self, &node)).transpose()
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        let doing = || format!("listing {}", path.display());
        let found = find(self, path, true)?;
        let Some(directory) = found.filter(|node| node.kind == NodeKind::Directory) else { return Ok(None) };
        let mut list = Vec::new();
        for entry in self.entries(&directory) {
            let entry = entry.doing(doing)?;
            let kind = match entry.kind {
                Some(kind) => kind,
                None => self.node(entry.id).doing(doing)?.kind,
            };
            list.push(Entry { name: OsString::from_vec(entry.name), kind: kind.into() });
            if list.len() > ENTRY_LIMIT {
                return Err(Error::corrupt(format!("{} has more than {ENTRY_LIMIT} names", path.display())));
            }
        }
        list.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(list))
    }
}

/// Refuses to read more than was allowed.
pub(super) fn check_limit(path: &Path, size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::refused(format!("{} has {size} bytes, more than the {limit} expected", path.display())))
}
