//! Files of an ext filesystem changed: made, written, moved, removed, whose and when they are; by inode and directory, and without a
//! kernel.
//!
//! ```text
//! disk ─► Ext4 (journal replayed) ► Ext4Writer ► orphans.rs what a mount would do first: what was to go, goes
//!            ▲                           │
//!            │   new contents of blocks  ├─ a name goes, moves ─► directory.rs, rename.rs ─► inode.rs ─► mapping.rs ─► bitmap.rs
//!            └──────── in memory ◄───────┤  a new name         ─► create.rs ─► insert.rs (index.rs, split.rs)
//!                         │              ├─ content            ─► content.rs, stream.rs ─► pour.rs ─► blocks that were free, on the disk
//!                         │              ├─ rights, owner, …   ─► metadata.rs
//!                         │              ├─ attributes         ─► set_attribute.rs ─► attribute_area.rs, value_inode.rs
//!                         ▼              └─ all of them        ─► quota.rs
//! commit           ─► what the journal had to say, changed blocks, the journal's end, counts of the superblock ─► disk: a copy
//! commit_journaled ─► the same through the filesystem's own journal ─► disk: the image itself, all or nothing    journaled.rs
//! ```
//!
//! | a command does           | by                                                                                                |
//! |--------------------------|---------------------------------------------------------------------------------------------------|
//! | copy-in, tar-in          | `create_file`, `make_directory`, `make_symlink`, `make_node`, `make_link`; `write_content` (holes) |
//! |                          | or `write_range` (a stream); then `set_attribute`, `set_flags`, and `set_times` last               |
//! | write, append, edit      | `write` (small), `write_range`, `append_content`                                                   |
//! | truncate                 | `truncate`, `set_len`                                                                              |
//! | rm, rm -r, mv            | `remove`, `remove_tree`, `rename`                                                                  |
//! | chmod, chown, touch      | `set_mode`, `set_owner`, `set_times`                                                               |
//! | chattr, setfattr         | `set_flags`, `set_attribute`, `remove_attribute`                                                   |
//!
//! Inodes are found by [`Ext4::resolve`] and [`Ext4::lookup`] of [`Ext4Writer::files`], which sees every change. Immutable and
//! append-only files are changed too: whoever minds looks at the flags.
//!
//! A change is new contents of blocks over those of the disk, and the reader reads them as if they were there: so each change is made
//! on what the changes before it left, and a mistake half-way leaves the filesystem as it was. Before a commit nothing is written but
//! content that is poured into blocks which were free and which nobody reads.
//! Whoever adds a change composes it from the same parts: an inode's bytes are edited in one place, which makes its checksum; so are a
//! group's descriptor, a bitmap, and an area of names. A change that is refused for its arguments changes nothing; one that fails later,
//! for lack of room above all, may be half done: then a commit is refused, and all is to be done anew on a writer opened anew.
//! What a caller may act on has a name: [`Refusal`].
//!
//! As a kernel leaves them: copies of the superblock and of descriptors, and groups that were never written to. What a mount would
//! refuse is refused (recorded errors, a filesystem in use as its MMP block tells), and so is a feature that is not known to be
//! changed rightly, by its name.
//! Linux kernel documentation, filesystems/ext4. Times are the caller's, so the same changes make the same bytes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod access_list;
mod attribute_area;
pub(super) mod attributes;
mod bitmap;
mod commit;
mod content;
mod create;
pub(super) mod directory;
mod index;
pub(super) mod inode;
mod insert;
mod journaled;
pub(super) mod mapping;
mod metadata;
mod orphans;
mod pour;
mod quota;
mod quota_entry;
mod refusal;
mod rename;
mod runs;
mod set_attribute;
mod split;
mod stream;
mod times;
mod value_inode;

use std::sync::Arc;

pub use create::{NewInode, Ownership, SpecialFile};
pub use metadata::NewTimes;
pub use refusal::Refusal;

use super::field::u32_at;
use super::inode::{Inode, NodeKind, Time};
use super::{Ext4, Features};
use crate::block::{BlockRead, BlockWrite};
use crate::error::{Doing, Error, Result};

/// More bytes of changed blocks are not held: commit before.
const HELD_MAX: u64 = 256 << 20;
/// What the MMP block says of a filesystem that nobody uses.
const MMP_CLEAN: u32 = 0xff4d_4d50;
/// Folders within folders that go with a tree.
const DEPTH_MAX: usize = 1 << 14;

/// An ext filesystem that is being changed.
pub struct Ext4Writer {
    fs: Ext4,
    disk: Arc<dyn BlockWrite>,
    time: Time,
    /// Whether there is anything to write besides changed blocks.
    is_dirty: bool,
    /// Whether a change failed after its first block was changed.
    is_half_done: bool,
}

impl std::fmt::Debug for Ext4Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("fs", &self.fs).field("time", &self.time).finish_non_exhaustive()
    }
}

impl Ext4Writer {
    /// Opens the filesystem that is all of `disk` and that nobody else uses. What is changed gets `time`.
    ///
    /// # Errors
    /// As [`Ext4::open`]; [`Unsupported`](crate::ErrorKind::Unsupported) for recorded errors, and features that are not changed here;
    /// [`InUse`](crate::ErrorKind::InUse) if it says that it is mounted.
    pub fn open(disk: Arc<dyn BlockWrite>, time: Time) -> Result<Self> {
        let doing = || "opening the ext4 filesystem for changes";
        let fs = Ext4::open(Arc::clone(&disk) as Arc<dyn BlockRead>)?;
        refuse(&fs).doing(doing)?;
        let is_dirty = fs.replayed().is_some() || !fs.superblock().is_clean;
        let mut changes = Self { fs, disk, time, is_dirty, is_half_done: false };
        changes.free_orphans().doing(|| "removing what was to go before it was last left")?;
        Ok(changes)
    }

    /// Its files, as they are with all changes.
    pub fn files(&self) -> &Ext4 {
        &self.fs
    }

    /// How many bytes of changed blocks are in memory.
    pub fn held_len(&self) -> u64 {
        self.fs.blocks().changed_len()
    }

    /// Removes `name` from the directory `directory`. What it names goes too, if it has no other name; a directory must be empty.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if there is no such name, or something is in it; [`Corrupt`](crate::ErrorKind::Corrupt)
    /// with an [`Ext4Rule`](super::Ext4Rule); whatever the disk says. What fails half-way is not written: [`commit`](Self::commit)
    /// is refused then.
    pub fn remove(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        let doing = || format!("removing {} from inode {directory}", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.remove_name(directory, name)).doing(doing)
    }

    /// Removes `name` from the directory `directory`, with all that is beneath it.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_tree(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        // Directories that are being emptied: where each has its name.
        let mut way = vec![(directory, name.to_vec())];
        while let Some((directory, name)) = way.last().cloned() {
            let parent = self.fs.inode(directory)?;
            let found = self.fs.lookup(&parent, &name)?;
            let number = found.ok_or(Refusal::NotFound)?;
            let inode = self.fs.inode(number)?;
            let mut inside = None;
            if inode.kind == NodeKind::Directory {
                inside = self.fs.read_directory(&inode).next().transpose()?;
            }
            match inside {
                Some(entry) if way.len() < DEPTH_MAX => way.push((number, entry.name)),
                Some(_) => return Err(Error::unsupported("folders are too deep within each other")),
                None => {
                    self.remove(directory, &name)?;
                    way.pop();
                }
            }
        }
        Ok(())
    }

    /// Makes the regular file `inode` empty. All else about it stays. Of other lengths: [`set_len`](Self::set_len).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is no regular file; else as [`remove`](Self::remove).
    pub fn truncate(&mut self, inode: u32) -> Result<()> {
        self.attempt(|changes| changes.empty(inode)).doing(|| format!("making inode {inode} empty"))
    }

    /// Makes `content`, no more than 16 MiB, that of the regular file `inode`. All else about it stays. More:
    /// [`write_content`](Self::write_content).
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a file that is encrypted or sealed by verity, and where there is too little
    /// room; else as [`truncate`](Self::truncate).
    pub fn write(&mut self, inode: u32, content: &[u8]) -> Result<()> {
        self.attempt(|changes| changes.rewrite(inode, content)).doing(|| format!("writing inode {inode}"))
    }

    /// Makes `new`, owned by root, with the name `name` in the directory `directory`. Answers with its inode.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name that is there, or that no file can have;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a directory that takes no name here, and where there is no room.
    pub fn create(&mut self, directory: u32, name: &[u8], new: &NewInode<'_>) -> Result<u32> {
        let doing = || format!("making {} in inode {directory}", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.make(directory, name, new)).doing(doing)
    }

    /// Writes all changes, and goes on with what is on the disk then. Without changes nothing is written. What is stopped half-way leaves
    /// neither the former nor the latter: for a disk that is a copy, or lies over one. An image itself takes
    /// [`commit_journaled`](Self::commit_journaled).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) after a change that failed half-way; whatever the disk says.
    pub fn commit(&mut self) -> Result<()> {
        let done = match self.is_half_done {
            true => Err(Error::invalid("a change before failed half-way: nothing is written")),
            false => self.write_out(),
        };
        done.doing(|| "writing the changes to the ext4 filesystem")
    }

    /// Does `work`, and remembers if it fails with a part of it done.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.fs.blocks().change_count();
        let done = work(self);
        self.is_half_done |= done.is_err() && self.fs.blocks().change_count() != before;
        done
    }

    /// Refuses to hold more than fits.
    fn check_held(&self) -> Result<()> {
        match self.held_len() > HELD_MAX {
            true => Err(Error::unsupported("these are too many changes at once")),
            false => Ok(()),
        }
    }

    fn directory_inode(&self, number: u32) -> Result<Inode> {
        let inode = self.fs.inode(number)?;
        match inode.kind {
            NodeKind::Directory => Ok(inode),
            _ => Err(Error::invalid(format!("inode {number} is no directory"))),
        }
    }
}

/// Refuses a filesystem that a kernel would not write to, or that is not known to be changed rightly.
pub(super) fn refuse(fs: &Ext4) -> Result<()> {
    let superblock = fs.superblock();
    let unwritten = superblock.features.unwritten();
    if unwritten != Features::default() {
        return Err(Error::unsupported(format!("it uses what is not changed here: {unwritten}")));
    }
    if superblock.has_errors {
        return Err(Error::unsupported("errors are recorded in it"));
    }
    if superblock.mmp_block != 0 {
        let block = fs.blocks().block(superblock.mmp_block)?;
        let sequence = u32_at(&block, 4);
        if sequence != MMP_CLEAN {
            return Err(Error::new(
                crate::ErrorKind::InUse,
                format!(
                    "it is mounted somewhere, or was when that machine stopped (MMP sequence {sequence:#x})"
                ),
            ));
        }
    }
    Ok(())
}
