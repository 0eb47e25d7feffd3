//! Files that were not there before: an inode set aside, filled in, and named.
//!
//! ```text
//! directory   a block with . and ..          link   target where blocks would be told, or in a block
//! device      its numbers there              file   no blocks yet
//! ```
//! What a kernel would give it by itself: the project and the flags that are handed down by its directory. All else (owner, rights,
//! times) is the caller's, and so are set-group-ID and access control lists that a directory hands down.
//! Linux kernel documentation, filesystems/ext4 ("Index Nodes", "Symbolic Links").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::inode::{ACCESSED, CHANGED, CREATED, MODIFIED, put_size, put_time};
use super::insert::NewEntry;
use super::mapping::{MAP_AT, put_empty};
use super::metadata::put_owner;
use super::refusal::Refusal;
use super::times::clamp;
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::features;
use crate::fs::ext4::field::put;
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_PROJECT_INHERIT, Inode, NodeKind, OLD_LEN, Time};

/// A link's target that is shorter than this is where blocks would be told.
const FAST_LEN: usize = 60;
/// How much of a new inode is its own where the superblock does not say.
const EXTRA_LEN: u16 = 32;
/// Flags that are handed down: secrm, unrm, sync, nodump, noatime, journalled data, notail, DAX; to directories also dirsync, the
/// project's and that case does not count; to what is neither file nor directory only nodump and noatime.
const TO_FILES: u32 = 0x200_c0cb;
const TO_DIRECTORIES: u32 = 0x6201_c0cb;
const TO_OTHERS: u32 = 0xc0;

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewInode<'a> {
    /// An empty regular file with these permission bits.
    File(u16),
    /// A symbolic link to this target.
    Link(&'a [u8]),
}

/// A file that has neither content nor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialFile {
    /// A character device: its major and minor number.
    CharacterDevice(u32, u32),
    /// A block device, likewise.
    BlockDevice(u32, u32),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// Whose a new file is, its rights and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Its permission bits, with set-user-ID and its kin; a link has 0o777 whatever this says.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was last read.
    pub accessed: Time,
    /// When its content was last changed. What happens to it later changes this.
    pub modified: Time,
    /// When it was made.
    pub created: Time,
}

impl Ownership {
    /// Root's, made at `time`.
    pub fn root(mode: u16, time: Time) -> Self {
        Self { mode, uid: 0, gid: 0, accessed: time, modified: time, created: time }
    }
}

/// What is where blocks would be told.
pub(super) enum Target<'a> {
    Map,
    Here(&'a [u8]),
}

/// The fields of a new inode. The times are those of [`Ownership`].
pub(super) struct Fields<'a> {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) flags: u32,
    pub(super) project: u32,
    pub(super) target: Target<'a>,
    pub(super) times: [Time; 3],
}

/// A device's numbers where blocks would be told: the old way if they are small, else the new way.
fn device(major: u32, minor: u32) -> Option<[u8; 8]> {
    let mut bytes = [0; 8];
    if major < 256 && minor < 256 {
        put(&mut bytes, 0, &(major << 8 | minor).to_le_bytes());
        return Some(bytes);
    }
    let number = minor & 0xff | major << 8 | (minor & !0xff) << 12;
    put(&mut bytes, 4, &number.to_le_bytes());
    (major < 1 << 12 && minor < 1 << 20).then_some(bytes)
}

impl Ext4Writer {
    /// Makes an empty regular file with the name `name` in the directory `directory`. Answers with its inode.
    ///
    /// # Errors
    /// [`Refusal::Exists`] for a name that is there, [`Refusal::NoInodes`] and [`Refusal::NoSpace`];
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name that no file can have; [`Unsupported`](crate::ErrorKind::Unsupported) for a
    /// directory that takes no name here; [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`](crate::fs::Ext4Rule); whatever
    /// the disk says.
    pub fn create_file(&mut self, directory: u32, name: &[u8], own: &Ownership) -> Result<u32> {
        self.making(directory, name, |changes| {
            changes.make_named(directory, name, NodeKind::File, Target::Map, own)
        })
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    /// [`Refusal::TooManyLinks`] if the directory that it would be in has too many; else as [`create_file`](Self::create_file).
    pub fn make_directory(&mut self, directory: u32, name: &[u8], own: &Ownership) -> Result<u32> {
        self.making(directory, name, |changes| {
            let number = changes.make_named(directory, name, NodeKind::Directory, Target::Map, own)?;
            changes.count_directory(directory, true)?;
            Ok(number)
        })
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a target that is empty, or as long as a block or longer; else as
    /// [`create_file`](Self::create_file).
    pub fn make_symlink(
        &mut self,
        directory: u32,
        name: &[u8],
        target: &[u8],
        own: &Ownership,
    ) -> Result<u32> {
        let own = Ownership { mode: 0o777, ..*own };
        self.making(directory, name, |changes| {
            changes.make_named(directory, name, NodeKind::Link, Target::Here(target), &own)
        })
    }

    /// Makes a device, a pipe or a socket.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for numbers that no device has; else as [`create_file`](Self::create_file).
    pub fn make_node(
        &mut self,
        directory: u32,
        name: &[u8],
        what: SpecialFile,
        own: &Ownership,
    ) -> Result<u32> {
        self.making(directory, name, |changes| {
            let (kind, numbers) = match what {
                SpecialFile::CharacterDevice(major, minor) => {
                    (NodeKind::CharacterDevice, device(major, minor))
                }
                SpecialFile::BlockDevice(major, minor) => (NodeKind::BlockDevice, device(major, minor)),
                SpecialFile::Pipe => (NodeKind::Pipe, Some([0; 8])),
                SpecialFile::Socket => (NodeKind::Socket, Some([0; 8])),
            };
            let numbers = numbers.ok_or_else(|| Error::invalid("no device has these numbers"))?;
            changes.make_named(directory, name, kind, Target::Here(&numbers), own)
        })
    }

    fn making(
        &mut self,
        directory: u32,
        name: &[u8],
        work: impl FnOnce(&mut Self) -> Result<u32>,
    ) -> Result<u32> {
        let doing = || format!("making {} in inode {directory}", String::from_utf8_lossy(name));
        self.attempt(work).doing(doing)
    }

    pub(super) fn make(&mut self, directory: u32, name: &[u8], new: &NewInode<'_>) -> Result<u32> {
        let own = |mode| Ownership::root(mode, self.time);
        match new {
            NewInode::File(mode) => {
                self.make_named(directory, name, NodeKind::File, Target::Map, &own(*mode))
            }
            NewInode::Link(target) => {
                self.make_named(directory, name, NodeKind::Link, Target::Here(target), &own(0o777))
            }
        }
    }

    fn make_named(
        &mut self,
        directory: u32,
        name: &[u8],
        kind: NodeKind,
        target: Target<'_>,
        own: &Ownership,
    ) -> Result<u32> {
        let parent = self.directory_inode(directory)?;
        self.check_name(&parent, name)?;
        if kind == NodeKind::Directory && !self.takes_directory(&parent) {
            return Err(Refusal::TooManyLinks.into());
        }
        let size = self.fs.superblock().block_size;
        let mut long_target = None;
        let mut fast = target;
        if let (NodeKind::Link, Target::Here(target)) = (kind, &fast) {
            if target.is_empty() || target.len() as u64 >= size.min(4096) || target.contains(&0) {
                return Err(Error::invalid("no link can lead there"));
            }
            if target.len() >= FAST_LEN {
                long_target = Some(*target);
                fast = Target::Map;
            }
        }
        let home = self.fs.superblock().place_of_inode(directory).0;
        let number = self.allocate_inode(home, kind == NodeKind::Directory)?;
        let inherits = self.fs.superblock().has(features::PROJECT) && parent.has(FLAG_PROJECT_INHERIT);
        let fields = Fields {
            mode: kind_bits(kind) | own.mode & 0o7777,
            uid: own.uid,
            gid: own.gid,
            flags: parent.flags & handed_down(kind),
            project: if inherits { parent.project } else { 0 },
            target: fast,
            times: [own.accessed, own.modified, own.created],
        };
        self.put_new(number, &fields)?;
        let inode = self.fs.inode(number)?;
        self.charge(&inode, 0, 1)?;
        if let Some(target) = long_target {
            let runs = self.grow(number, 0, 1)?;
            self.fill(&runs, target)?;
            self.edit_inode(number, |_, bytes| put_size(bytes, target.len() as u64))?;
        }
        if kind == NodeKind::Directory {
            self.put_dots(&inode, directory)?;
        }
        self.insert(&parent, &NewEntry { name, inode: number, kind: entry_kind(kind) })?;
        self.touch(directory)?;
        Ok(number)
    }

    /// Gives the new directory `inode` its first block.
    fn put_dots(&mut self, inode: &Inode, parent: u32) -> Result<()> {
        let kind =
            if self.fs.superblock().has(features::FILETYPE) { entry_kind(NodeKind::Directory) } else { 0 };
        let dots = [
            NewEntry { name: b".", inode: inode.number, kind },
            NewEntry { name: b"..", inode: parent, kind },
        ];
        self.append_names(inode, &dots)?;
        self.edit_inode(inode.number, |_, bytes| put(bytes, 0x1a, &[2, 0]))
    }

    /// Fills in inode `number`, which is all new.
    pub(super) fn put_new(&mut self, number: u32, new: &Fields<'_>) -> Result<()> {
        self.zero_inode(number)?;
        let time = self.time;
        let superblock = self.fs.superblock();
        let has_extents = superblock.has(features::EXTENTS);
        let room = superblock.inode_size.saturating_sub(OLD_LEN as u64);
        let wanted = if superblock.extra_len == 0 { EXTRA_LEN } else { superblock.extra_len };
        let extra = u64::from(wanted).min(room) as u16;
        self.edit_inode(number, |_, bytes| {
            put(bytes, 0x00, &new.mode.to_le_bytes());
            put_owner(bytes, new.uid, new.gid);
            put(bytes, 0x1a, &[1, 0]);
            let mut flags = new.flags;
            match new.target {
                Target::Map => {
                    put_empty(bytes, has_extents);
                    flags |= if has_extents { FLAG_EXTENTS } else { 0 };
                }
                Target::Here(target) => {
                    put_empty(bytes, false);
                    put(bytes, MAP_AT, target);
                    if NodeKind::from_mode(new.mode) == Some(NodeKind::Link) {
                        put_size(bytes, target.len() as u64);
                    }
                }
            }
            put(bytes, 0x20, &flags.to_le_bytes());
            if room > 0 {
                put(bytes, 0x80, &extra.to_le_bytes());
                if extra >= EXTRA_LEN {
                    put(bytes, 0x9c, &new.project.to_le_bytes());
                }
            }
            let [accessed, modified, created] = new.times;
            for (place, time) in
                [(ACCESSED, accessed), (CHANGED, time), (MODIFIED, modified), (CREATED, created)]
            {
                put_time(bytes, place, clamp(bytes, time));
            }
        })
    }
}

fn handed_down(kind: NodeKind) -> u32 {
    match kind {
        NodeKind::File => TO_FILES,
        NodeKind::Directory => TO_DIRECTORIES,
        _ => TO_OTHERS,
    }
}

/// The upper four bits of a mode (inode(7)).
fn kind_bits(kind: NodeKind) -> u16 {
    match kind {
        NodeKind::Pipe => 0o01_0000,
        NodeKind::CharacterDevice => 0o02_0000,
        NodeKind::Directory => 0o04_0000,
        NodeKind::BlockDevice => 0o06_0000,
        NodeKind::File => 0o10_0000,
        NodeKind::Link => 0o12_0000,
        NodeKind::Socket => 0o14_0000,
    }
}

/// A kind as entries of directories say it.
pub(super) fn entry_kind(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => 1,
        NodeKind::Directory => 2,
        NodeKind::CharacterDevice => 3,
        NodeKind::BlockDevice => 4,
        NodeKind::Pipe => 5,
        NodeKind::Socket => 6,
        NodeKind::Link => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_mknod_writes_them() {
        assert_eq!(device(8, 1), Some([1, 8, 0, 0, 0, 0, 0, 0]));
        assert_eq!(device(259, 0x1_0001), Some([0, 0, 0, 0, 1, 3, 1, 0x10]));
        assert_eq!(device(1 << 12, 0), None);
        assert_eq!(device(0, 1 << 20), None);
    }
}
