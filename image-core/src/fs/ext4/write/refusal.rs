//! What a change is refused for that a caller may act on, by name: found in an error by `error.cause::<Refusal>()`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::error::{Error, ErrorKind};

/// Why a change cannot be made. In brackets what rename(2) and its kin say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No block is free (ENOSPC).
    #[error("there is no room left in the filesystem")]
    NoSpace,
    /// No inode is free (ENOSPC).
    #[error("there is no inode left in the filesystem")]
    NoInodes,
    /// The inode's attributes have no room for one more (ENOSPC).
    #[error("there is no room left for attributes of this inode")]
    NoRoomForAttribute,
    /// The inode has as many names as it can have, or the directory as many directories (EMLINK).
    #[error("it has as many links as it can have")]
    TooManyLinks,
    /// The name is there (EEXIST).
    #[error("the name is there already")]
    Exists,
    /// There is no such name or attribute (ENOENT, ENODATA).
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
    /// The file would be larger than one can be here (EFBIG).
    #[error("the file would be larger than a file of this filesystem can be")]
    TooLarge,
    /// It has no journal of its own, so changes in place are not all or nothing.
    #[error("the filesystem has no journal")]
    NoJournal,
    /// The changes do not fit into its journal at once.
    #[error("the changes need {needed} blocks of the journal, which has {room}")]
    JournalTooSmall {
        /// Blocks that these changes need.
        needed: u64,
        /// Blocks that there are.
        room: u64,
    },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::NoSpace
            | Refusal::NoInodes
            | Refusal::NoRoomForAttribute
            | Refusal::TooManyLinks
            | Refusal::TooLarge
            | Refusal::NoJournal
            | Refusal::JournalTooSmall { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, refusal)
    }
}
