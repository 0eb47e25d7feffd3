//! A file that was not there before: an inode set aside, filled in, and named.
//!
//! What a kernel would give it: the project and the flags that are handed down by its directory. It is root's, for all to read.
//! Linux kernel documentation, filesystems/ext4 ("Index Nodes", "Symbolic Links").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::inode::{ACCESSED, CHANGED, CREATED, MODIFIED, put_size, put_time};
use super::insert::NewEntry;
use super::mapping::{MAP_AT, put_empty};
use crate::error::{Error, Result};
use crate::fs::ext4::features;
use crate::fs::ext4::field::put;
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_PROJECT_INHERIT, Inode, OLD_LEN};

/// A link's target that is shorter than this is where blocks would be told.
const FAST_LEN: usize = 60;
/// How much of a new inode is its own where the superblock does not say.
const EXTRA_LEN: u16 = 32;
/// Flags that are handed down: secrm, unrm, sync, nodump, noatime, journalled data, notail, DAX; of links only nodump and noatime.
const TO_FILES: u32 = 0x200_c0cb;
const TO_LINKS: u32 = 0xc0;

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewInode<'a> {
    /// An empty regular file with these permission bits.
    File(u16),
    /// A symbolic link to this target.
    Link(&'a [u8]),
}

impl Ext4Writer {
    pub(super) fn make(&mut self, directory: u32, name: &[u8], new: &NewInode<'_>) -> Result<u32> {
        let parent = self.directory_inode(directory)?;
        self.check_name(&parent, name)?;
        let size = self.fs.superblock().block_size;
        if let NewInode::Link(target) = new
            && (target.is_empty() || target.len() as u64 >= size.min(4096) || target.contains(&0))
        {
            return Err(Error::invalid("no link can lead there"));
        }
        let home = self.fs.superblock().place_of_inode(directory).0;
        let number = self.allocate_inode(home)?;
        self.put_new(number, &parent, new)?;
        let inode = self.fs.inode(number)?;
        self.charge(&inode, 0, 1)?;
        if let NewInode::Link(target) = new
            && target.len() >= FAST_LEN
        {
            let runs = self.grow(number, 0, 1)?;
            self.fill(&runs, target)?;
        }
        let kind = if matches!(new, NewInode::File(_)) { 1 } else { 7 };
        self.insert(&parent, &NewEntry { name, inode: number, kind })?;
        self.touch(directory)?;
        Ok(number)
    }

    /// Fills in inode `number`, which is all new.
    fn put_new(&mut self, number: u32, parent: &Inode, new: &NewInode<'_>) -> Result<()> {
        self.zero_inode(number)?;
        let time = self.time;
        let superblock = self.fs.superblock();
        let has_extents = superblock.has(features::EXTENTS);
        let room = superblock.inode_size.saturating_sub(OLD_LEN as u64);
        let wanted = if superblock.extra_len == 0 { EXTRA_LEN } else { superblock.extra_len };
        let extra = u64::from(wanted).min(room) as u16;
        let inherits = superblock.has(features::PROJECT) && parent.has(FLAG_PROJECT_INHERIT);
        self.edit_inode(number, |_, bytes| {
            let mode: u16 = match new {
                NewInode::File(mode) => 0o100_000 | mode & 0o7777,
                NewInode::Link(_) => 0o120_777,
            };
            put(bytes, 0x00, &mode.to_le_bytes());
            put(bytes, 0x1a, &[1, 0]);
            let fast = match new {
                NewInode::Link(target) if target.len() < FAST_LEN => Some(*target),
                _ => None,
            };
            let mut flags = parent.flags & if matches!(new, NewInode::File(_)) { TO_FILES } else { TO_LINKS };
            put_empty(bytes, has_extents && fast.is_none());
            if let Some(target) = fast {
                put(bytes, MAP_AT, target);
            } else if has_extents {
                flags |= FLAG_EXTENTS;
            }
            if let NewInode::Link(target) = new {
                put_size(bytes, target.len() as u64);
            }
            put(bytes, 0x20, &flags.to_le_bytes());
            if room > 0 {
                put(bytes, 0x80, &extra.to_le_bytes());
                if inherits && extra >= EXTRA_LEN {
                    put(bytes, 0x9c, &parent.project.to_le_bytes());
                }
            }
            for place in [ACCESSED, CHANGED, MODIFIED, CREATED] {
                put_time(bytes, place, time);
            }
        })
    }
}
