//! Filesystems: told apart, read without a kernel, and made.
//!
//! ```text
//! Window (a partition) ─► detect ─► which, its UUID, its label
//!                      └► open   ─► Filesystem: nodes, names, content     ext2/3/4, XFS, Btrfs, FAT, ISO 9660
//!                                      └► Files: the same by paths, links followed
//! make_fat ─► an EFI system partition     remove_from_fat ─► a file less
//! ext4     ─► files changed, what belongs to none wiped, the times of inodes        iso9660 ─► small CDs
//! fat      ─► files changed, what belongs to none wiped
//! ```
//!
//! Everything here is read as untrusted bytes. Links are followed inside the filesystem and never leave it.

pub mod btrfs;
mod detect;
mod ext4;
mod fat;
mod field;
mod files;
mod filesystem;
pub mod iso9660;
mod iso9660_volume;
mod name_cache;
mod node;
mod page_cache;
mod pages;
mod path;
mod read_full;
mod swap;
mod xfs;

use std::sync::Arc;

pub use btrfs::Btrfs;
pub use detect::{FilesystemKind, Signature, detect};
pub use ext4::{
    Checksummed, Content, DirectoryEntry, Ext4, Ext4Rule, Ext4Writer, Features, Finding, Inode, Inodes,
    NewInode, NewTimes, Ownership, ReadDirectory, Refusal, Replayed, SpecialFile, Superblock, Walk,
    WalkEntry, clamp_inode_times, scrub as scrub_ext4, wipe_content as wipe_ext4_content,
};
pub use fat::{
    CodePage, Fat, FatRefusal, FatRule, FatWriter, NewFat, NewFile, make_fat, remove_from_fat, scrub_fat,
};
pub use files::{Entry, Files, Metadata};
pub use filesystem::{Entries, Filesystem};
pub use iso9660_volume::{BootEntry, Iso, IsoReadRule};
pub use node::{
    Attribute, Condition, FileKind, Node, NodeEntry, NodeId, NodeKind, SubvolumeChoice, Time, Usage,
};
pub use path::resolve;
pub use swap::free_ranges_of_swap;
pub use xfs::{Xfs, XfsRule, XfsStructure};

use crate::block::BlockRead;
use crate::error::{Error, Result};

/// The filesystem on `disk`.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a filesystem that is not read here, or none;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for one that is broken.
pub fn open(disk: Arc<dyn BlockRead>) -> Result<Arc<dyn Filesystem>> {
    match detect(&*disk)? {
        Some(found) if found.kind.is_ext() => Ok(Arc::new(Ext4::open(disk)?)),
        Some(Signature { kind: FilesystemKind::Fat, .. }) => Ok(Arc::new(Fat::open(disk)?)),
        Some(Signature { kind: FilesystemKind::Xfs, .. }) => Ok(Arc::new(Xfs::open(disk)?)),
        Some(Signature { kind: FilesystemKind::Iso9660, .. }) => Ok(Arc::new(Iso::open(disk)?)),
        Some(Signature { kind: FilesystemKind::Btrfs, .. }) => Ok(Arc::new(Btrfs::open(disk)?)),
        Some(found) => Err(Error::unsupported(format!("{} cannot be read here", found.kind))),
        None => Err(Error::unsupported("there is no filesystem that is known here")),
    }
}
