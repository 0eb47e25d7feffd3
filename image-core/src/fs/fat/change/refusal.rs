//! What a change of a FAT is refused for that a caller may act on, by name: found in an error by `error.cause::<FatRefusal>()`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::error::{Error, ErrorKind};

/// Why a change cannot be made. In brackets what a kernel says for `vfat`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FatRefusal {
    /// No cluster is free (ENOSPC).
    #[error(
        "there is no room left in the filesystem: what these changes remove makes room once they are written"
    )]
    NoSpace,
    /// The directory takes no more entries (ENOSPC): of the root directory of FAT12 and FAT16 there are as many as when it was made.
    #[error("there is no room left in the directory, which has {0} entries at most")]
    DirectoryFull(u64),
    /// The name is there (EEXIST), in whatever case.
    #[error("the name is there already")]
    Exists,
    /// There is no such name (ENOENT).
    #[error("there is no such name")]
    NotFound,
    /// Something is in the directory (ENOTEMPTY).
    #[error("the directory is not empty")]
    NotEmpty,
    /// It must be a directory (ENOTDIR).
    #[error("it is no directory")]
    NotADirectory,
    /// It must not be a directory (EISDIR).
    #[error("it is a directory")]
    IsADirectory,
    /// A directory cannot be beneath itself (EINVAL).
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// A file has less than 4 GiB (EFBIG).
    #[error("the file would be larger than a file of a FAT can be")]
    TooLarge,
    /// No file of a FAT can have this name (EINVAL).
    #[error("no file of a FAT can have this name: {0}")]
    Name(&'static str),
    /// A FAT has no owners: all is root's (EPERM).
    #[error("a FAT has no owners: all in it is root's")]
    Owner,
    /// A FAT has one permission, which is to write: 0755 or 0555 for a file, 0755 for a directory (EPERM).
    #[error("a FAT has no permissions but to write: 0755, or 0555 for a file that is read-only")]
    Mode,
    /// A FAT has files and directories (EPERM).
    #[error("a FAT has files and directories, no links and no devices")]
    Kind,
}

impl From<FatRefusal> for Error {
    fn from(refusal: FatRefusal) -> Self {
        let kind = match refusal {
            FatRefusal::NoSpace
            | FatRefusal::DirectoryFull(_)
            | FatRefusal::TooLarge
            | FatRefusal::Owner
            | FatRefusal::Mode
            | FatRefusal::Kind => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, refusal)
    }
}
