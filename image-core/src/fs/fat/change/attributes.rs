//! Times of entries, and whether they may be written to.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::FatWriter;
use super::refusal::FatRefusal;
use crate::error::{Doing, Result};
use crate::fs::fat::entry::READ_ONLY;
use crate::fs::fat::times::date_and_time;
use crate::fs::field::{put, u8_at};
use crate::fs::{NewTimes, NodeId};

/// Permissions that everything has, and those that go where a file is read-only.
const READ_AND_EXECUTE: u16 = 0o555;
const WRITE: u16 = 0o222;
const OWNER_WRITE: u16 = 0o200;

impl FatWriter {
    /// Sets times of `node`: to two seconds when it was changed, to the day when it was read. What lies outside of 1980 to 2107
    /// becomes the nearest time; the root directory has none.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file).
    pub fn set_times(&mut self, node: NodeId, times: NewTimes) -> Result<()> {
        let doing = || format!("setting the times of the entry at {:#x}", node.number);
        self.attempt(|changes| {
            if node.number == 0 {
                return Ok(());
            }
            changes.entry(node.number)?;
            changes.edit_slot(node.number, |slot| {
                let mut put_at = |at: usize, value: u16| put(slot, at, &value.to_le_bytes());
                if let Some((date, clock, _)) = times.modified.map(date_and_time) {
                    put_at(22, clock);
                    put_at(24, date);
                }
                if let Some((date, _, _)) = times.accessed.map(date_and_time) {
                    put_at(18, date);
                }
                if let Some((date, clock, hundredths)) = times.created.map(date_and_time) {
                    put_at(14, clock);
                    put_at(16, date);
                    put(slot, 13, &[hundredths]);
                }
            })
        })
        .doing(doing)
    }

    /// Says whether `node` is read-only, which for a directory means nothing to most systems.
    ///
    /// # Errors
    /// [`FatRefusal::Mode`] for the root directory; else as [`create_file`](Self::create_file).
    pub fn set_read_only(&mut self, node: NodeId, is_read_only: bool) -> Result<()> {
        let doing = || format!("setting attributes of the entry at {:#x}", node.number);
        self.attempt(|changes| {
            if node.number == 0 {
                return Err(FatRefusal::Mode.into());
            }
            changes.entry(node.number)?;
            changes.edit_slot(node.number, |slot| {
                let old = u8_at(slot, 11);
                put(slot, 11, &[if is_read_only { old | READ_ONLY } else { old & !READ_ONLY }]);
            })
        })
        .doing(doing)
    }

    /// Sets the permission bits of `node`, as far as a FAT has them and as `vfat` does it with `umask=022`: 0555 makes a file
    /// read-only, 0755 takes that away; a directory has 0755.
    ///
    /// # Errors
    /// [`FatRefusal::Mode`] for any others; else as [`create_file`](Self::create_file).
    pub fn set_mode(&mut self, node: NodeId, mode: u16) -> Result<()> {
        let is_directory = node.number == 0 || self.entry(node.number)?.is_directory();
        let is_writable = mode & WRITE == OWNER_WRITE;
        let is_right = mode & !WRITE == READ_AND_EXECUTE && (is_writable || mode & WRITE == 0);
        match (is_right, is_directory) {
            (false, _) => Err(FatRefusal::Mode.into()),
            (true, true) if !is_writable => Err(FatRefusal::Mode.into()),
            (true, true) => Ok(()),
            (true, false) => self.set_read_only(node, !is_writable),
        }
    }

    /// Sets owner or group of `node`: there are none but root.
    ///
    /// # Errors
    /// [`FatRefusal::Owner`] for anybody else.
    pub fn set_owner(&mut self, _: NodeId, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        match (uid.unwrap_or(0), gid.unwrap_or(0)) {
            (0, 0) => Ok(()),
            _ => Err(FatRefusal::Owner.into()),
        }
    }
}
