//! ext2, ext3 and ext4: files read by the `ext4-view` crate, the layout and the times of inodes by our own code.

mod attribute;
mod layout;
mod times;
mod unused;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType};

pub use attribute::root_security_attribute;
pub use layout::{Ext4Rule, Superblock};
pub use times::clamp_inode_times;
pub use unused::unused_ranges;

use super::{Entry, FileKind, Files, Metadata};
use crate::block::BlockRead;
use crate::error::{Doing, Error, ErrorKind, Result};

/// More names than a directory is listed for.
const ENTRY_LIMIT: usize = 1 << 20;

struct Reader(Arc<dyn BlockRead>);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_at(dst, start_byte)?)
    }
}

/// The files of an ext filesystem. A journal that was not replayed is taken into account.
pub(super) struct Ext4Files {
    fs: Ext4,
}

impl Ext4Files {
    pub(super) fn open(disk: Arc<dyn BlockRead>) -> Result<Self> {
        let fs =
            Ext4::load(Box::new(Reader(disk))).map_err(error_of).doing(|| "opening the ext4 filesystem")?;
        Ok(Self { fs })
    }
}

fn error_of(error: Ext4Error) -> Error {
    let kind = match error {
        Ext4Error::Io(source) => {
            return match source.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::new(ErrorKind::Io, other),
            };
        }
        Ext4Error::Corrupt(_) => ErrorKind::Corrupt,
        Ext4Error::Incompatible(_) | Ext4Error::Encrypted => ErrorKind::Unsupported,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, error.to_string())
}

/// What is not there is no error.
fn absent<T>(result: std::result::Result<T, Ext4Error>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Ext4Error::NotFound | Ext4Error::NotADirectory | Ext4Error::NotASymlink) => Ok(None),
        Err(error) => Err(error_of(error)),
    }
}

fn kind_of(file_type: FileType) -> FileKind {
    match file_type {
        FileType::Regular => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Special,
    }
}

fn metadata_of(metadata: &ext4_view::Metadata) -> Metadata {
    Metadata {
        kind: kind_of(metadata.file_type()),
        size: metadata.len(),
        mode: u32::from(metadata.mode()),
        uid: metadata.uid(),
        gid: metadata.gid(),
    }
}

impl Files for Ext4Files {
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        Ok(absent(self.fs.metadata(path.as_os_str().as_bytes()))?.as_ref().map(metadata_of))
    }

    fn link_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        Ok(absent(self.fs.symlink_metadata(path.as_os_str().as_bytes()))?.as_ref().map(metadata_of))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let bytes = path.as_os_str().as_bytes();
        match self.metadata(path)? {
            Some(Metadata { kind: FileKind::File, size, .. }) => super::check_limit(path, size, limit)?,
            _ => return Ok(None),
        }
        absent(self.fs.read(bytes)).doing(|| format!("reading {}", path.display()))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>> {
        Ok(absent(self.fs.read_link(path.as_os_str().as_bytes()))?
            .map(|target| PathBuf::from(OsString::from_vec(target.as_ref().to_vec()))))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<Entry>>> {
        let Some(entries) = absent(self.fs.read_dir(path.as_os_str().as_bytes()))? else { return Ok(None) };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.map_err(error_of).doing(|| format!("listing {}", path.display()))?;
            let name = OsString::from_vec(entry.file_name().as_ref().to_vec());
            if name != "." && name != ".." {
                list.push(Entry { name, kind: kind_of(entry.file_type().map_err(error_of)?) });
            }
            if list.len() > ENTRY_LIMIT {
                return Err(Error::corrupt(format!("{} has more than {ENTRY_LIMIT} names", path.display())));
            }
        }
        list.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(list))
    }
}
