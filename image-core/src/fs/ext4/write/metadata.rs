//! Rights, owner, times and flags of an inode.
//!
//! As chmod(2), chown(2), utimensat(2) and FS_IOC_SETFLAGS do them for root, with what goes along: an access control list follows
//! the mode, set-user-ID and capabilities go with another owner, quotas are counted for the new one.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::access_list;
use super::inode::{ACCESSED, CHANGED, CREATED, MODIFIED, put_time};
use super::times::clamp;
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::attributes::ACCESS_LIST;
use crate::fs::ext4::field::{put, u16_at};
use crate::fs::ext4::inode::{FLAG_EA_INODE, Inode, NodeKind, ROOT, Time};

/// Flags that a caller may set: secrm, unrm, sync, immutable, append, nodump, noatime, journalled data, notail, dirsync, topdir, DAX,
/// and that projects are handed down.
const SETTABLE: u32 = 0x2203_c0fb;
/// Set-user-ID, set-group-ID, and the right of the group to execute, with which alone the latter counts.
const SET_USER: u16 = 0o4000;
const SET_GROUP: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o0010;

/// The times of an inode that are to be set; `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewTimes {
    /// When it was last read.
    pub accessed: Option<Time>,
    /// When its content was last changed.
    pub modified: Option<Time>,
    /// When it was made; left out where the inode has no room for it.
    pub created: Option<Time>,
}

impl Ext4Writer {
    /// Sets the permission bits of `inode`, with set-user-ID and its kin. An access control list is brought into line.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for an inode of the filesystem's own; [`Corrupt`](crate::ErrorKind::Corrupt) with an
    /// [`Ext4Rule`](crate::fs::Ext4Rule); whatever the disk says.
    pub fn set_mode(&mut self, inode: u32, mode: u16) -> Result<()> {
        self.attempt(|changes| changes.change_mode(inode, mode))
            .doing(|| format!("setting the mode of inode {inode}"))
    }

    /// Sets the owner of `inode`, its group, or both. As chown(2) does, this takes set-user-ID, set-group-ID and
    /// `security.capability` from what is no directory: whoever wants them sets them afterwards.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for an owner whose quota is not counted yet; else as
    /// [`set_mode`](Self::set_mode).
    pub fn set_owner(&mut self, inode: u32, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.attempt(|changes| changes.change_owner(inode, uid, gid))
            .doing(|| format!("setting the owner of inode {inode}"))
    }

    /// Sets times of `inode`. What lies outside of what it can hold (1901 to 2446, in a small inode 2038) becomes the nearest time.
    ///
    /// # Errors
    /// As [`set_mode`](Self::set_mode).
    pub fn set_times(&mut self, inode: u32, times: NewTimes) -> Result<()> {
        let set = |changes: &mut Self| {
            changes.changeable(inode)?;
            let now = changes.time;
            changes.edit_inode(inode, |_, bytes| {
                for (place, time) in
                    [(ACCESSED, times.accessed), (MODIFIED, times.modified), (CREATED, times.created)]
                {
                    if let Some(time) = time {
                        put_time(bytes, place, clamp(bytes, time));
                    }
                }
                put_time(bytes, CHANGED, now);
            })
        };
        self.attempt(set).doing(|| format!("setting the times of inode {inode}"))
    }

    /// Sets the flags of `inode`, as `chattr` names them by letters: those that a caller may set are as in `flags` then, and the
    /// others must be in it as they are.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for another one of those; else as [`set_mode`](Self::set_mode).
    pub fn set_flags(&mut self, inode: u32, flags: u32) -> Result<()> {
        let set = |changes: &mut Self| {
            let other = (changes.changeable(inode)?.flags ^ flags) & !SETTABLE;
            if other != 0 {
                return Err(Error::unsupported(format!("the flags {other:#x} cannot be set or taken here")));
            }
            let now = changes.time;
            changes.edit_inode(inode, |_, bytes| {
                put(bytes, 0x20, &flags.to_le_bytes());
                put_time(bytes, CHANGED, now);
            })
        };
        self.attempt(set).doing(|| format!("setting the flags of inode {inode}"))
    }

    /// Inode `number`, if it is one that callers may change: the root directory, or no one of the filesystem's own.
    pub(super) fn changeable(&self, number: u32) -> Result<Inode> {
        let inode = self.fs.inode(number)?;
        let is_own = number != ROOT && number < self.fs.superblock().first_inode;
        match is_own || inode.has(FLAG_EA_INODE) || inode.links == 0 {
            true => Err(Error::invalid(format!("inode {number} is the filesystem's own, or free"))),
            false => Ok(inode),
        }
    }

    fn change_mode(&mut self, number: u32, mode: u16) -> Result<()> {
        let inode = self.changeable(number)?;
        if let Some(list) = self.stored_attribute(&inode, ACCESS_LIST, b"")? {
            let list = access_list::with_mode(&list, mode);
            self.replace_attribute(&inode, (ACCESS_LIST, b""), Some(&list))?;
        }
        self.put_mode(number, mode)
    }

    /// Sets the permission bits of inode `number`, and nothing else.
    pub(super) fn put_mode(&mut self, number: u32, mode: u16) -> Result<()> {
        let now = self.time;
        self.edit_inode(number, |_, bytes| {
            let mode = u16_at(bytes, 0) & 0o170_000 | mode & 0o7777;
            put(bytes, 0, &mode.to_le_bytes());
            put_time(bytes, CHANGED, now);
        })
    }

    fn change_owner(&mut self, number: u32, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let before = self.changeable(number)?;
        if before.kind != NodeKind::Directory {
            self.replace_attribute(&before, (access_list::SECURITY, b"capability"), None)?;
        }
        let before = self.fs.inode(number)?;
        let mut mode = before.mode as u16;
        if before.kind != NodeKind::Directory {
            mode &= !SET_USER;
            if mode & GROUP_EXECUTE != 0 {
                mode &= !SET_GROUP;
            }
        }
        let after =
            Inode { uid: uid.unwrap_or(before.uid), gid: gid.unwrap_or(before.gid), ..before.clone() };
        let space = i64::try_from(before.sectors.saturating_mul(512)).unwrap_or(i64::MAX);
        let count = 1_i64.saturating_add(self.count_values(&before)?);
        self.charge(&before, space.saturating_neg(), count.saturating_neg())?;
        self.charge(&after, space, count)?;
        self.edit_inode(number, |_, bytes| put_owner(bytes, after.uid, after.gid))?;
        self.put_mode(number, mode)
    }
}

/// Sets the owner of the inode `bytes`.
pub(super) fn put_owner(bytes: &mut [u8], uid: u32, gid: u32) {
    for (id, low, high) in [(uid, 0x02, 0x78), (gid, 0x18, 0x7a)] {
        put(bytes, low, &(id as u16).to_le_bytes());
        put(bytes, high, &((id >> 16) as u16).to_le_bytes());
    }
}
