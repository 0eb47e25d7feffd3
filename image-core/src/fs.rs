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
mod files;
mod filesystem;
pub mod iso9660;
mod node;
mod path;

use std::sync::Arc;

pub use detect::{FilesystemKind, Signature, detect};
pub use ext4::{
    Checksummed, Content, DirectoryEntry, Ext4, Ext4Rule, Ext4Writer, Features, Finding, Inode, Inodes,
    NewInode, NewTimes, Ownership, ReadDirectory, Refusal, Replayed, SpecialFile, Superblock, Walk,
    WalkEntry, clamp_inode_times, free_ranges, scrub as scrub_ext4, wipe_content as wipe_ext4_content,
};
pub use fat::{NewFat, NewFile, make_fat, remove_from_fat, scrub_fat};
pub use files::{Entry, FileKind, Files, Metadata};
pub use filesystem::{Entries, Filesystem};
pub use node::{Attribute, Node, NodeEntry, NodeId, NodeKind, Time, Usage};
pub use path::resolve;

use crate::block::BlockRead;
use crate::error::{Error, Result};

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
