//! Quotas: what each user, group and project has, told in a file of its own for each of the three.
//!
//! ```text
//! file    block 0: mark, version │ block 1: root of a tree, 256 pointers │ … four levels, a byte of the id each … │ leaf
//! leaf    16 bytes │ entries of 72: id │ limits │ inodes in use │ limits │ bytes in use │ times
//! ```
//! All blocks have 1 KiB. Linux kernel, include/linux/quota.h and Documentation/filesystems/quota.rst; quotactl(2): format
//! QFMT_VFS_V1. An id that is not in its file yet gets an entry (quota_entry.rs); what it had before without one cannot be taken.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::field::{field, put, u16_at, u32_at};
use crate::fs::ext4::inode::{FLAG_EA_INODE, Inode, ROOT};
use crate::fs::ext4::mapping::leaf_of;
use crate::fs::ext4::run::Place;

pub(super) const BLOCK: u64 = 1024;
/// Of users, groups, projects.
const MARKS: [u32; 3] = [0xd9c0_1f11, 0xd9c0_1927, 0xd9c0_3f14];
const VERSION: u32 = 1;
/// Where the tree begins, and how deep it is.
pub(super) const ROOT_BLOCK: u64 = 1;
pub(super) const LEVELS: u32 = 4;
/// Of a leaf.
pub(super) const HEADER_LEN: usize = 16;
pub(super) const ENTRY_LEN: usize = 72;
/// Of an entry: where it counts.
const INODES_AT: usize = 24;
const SPACE_AT: usize = 48;

/// Where a block of the tree has the pointer that leads to `id`.
pub(super) fn pointer_at(id: u32, level: u32) -> usize {
    let byte = id >> 24_u32.saturating_sub(level.saturating_mul(8)) & 0xff;
    (byte as usize).saturating_mul(4)
}

fn no_entry() -> Error {
    Error::unsupported(
        "it has no entry for it, as where quotas were never counted (e2fsck -f counts them anew)",
    )
}

impl Ext4Writer {
    /// Has whoever `inode` belongs to use so many bytes and inodes more.
    pub(super) fn charge(&mut self, inode: &Inode, space: i64, inodes: i64) -> Result<()> {
        let is_counted = inode.number == ROOT || inode.number >= self.fs.superblock().first_inode;
        if !is_counted || inode.has(FLAG_EA_INODE) || (space == 0 && inodes == 0) {
            return Ok(());
        }
        let files = self.fs.superblock().quota_inodes;
        for ((file, mark), id) in files.into_iter().zip(MARKS).zip([inode.uid, inode.gid, inode.project]) {
            if file != 0 {
                let doing = || format!("counting for id {id} in the quota file, inode {file}");
                self.charge_in(file, mark, id, space, inodes).doing(doing)?;
            }
        }
        Ok(())
    }

    fn charge_in(&mut self, number: u32, mark: u32, id: u32, space: i64, inodes: i64) -> Result<()> {
        let file = self.fs.inode(number)?;
        let head = self.quota_block(&file, 0)?;
        if u32_at(&head, 0) != mark || u32_at(&head, 4) != VERSION {
            return Err(Error::unsupported("its format is not supported"));
        }
        let mut place = self.quota_entry(&file, id)?;
        if place.is_none() && space >= 0 && inodes >= 0 {
            self.add_quota_entry(number, id)?;
            place = self.quota_entry(&self.fs.inode(number)?, id)?;
        }
        let (leaf, at) = place.ok_or_else(no_entry)?;
        self.edit_quota(number, leaf, |block| {
            for (at, by) in
                [(INODES_AT, inodes), (SPACE_AT, space)].map(|(own, by)| (at.saturating_add(own), by))
            {
                let count = u64::from_le_bytes(field(block, at)).saturating_add_signed(by);
                put(block, at, &count.to_le_bytes());
            }
        })
    }

    /// The leaf of a quota file that has the entry of `id`, and where in there.
    fn quota_entry(&self, file: &Inode, id: u32) -> Result<Option<(u64, usize)>> {
        let mut number = ROOT_BLOCK;
        for level in 0..LEVELS {
            number = u64::from(u32_at(&self.quota_block(file, number)?, pointer_at(id, level)));
            if number == 0 {
                return Ok(None);
            }
        }
        let leaf = self.quota_block(file, number)?;
        if u16_at(&leaf, 8) == 0 {
            return Err(Error::corrupt("a leaf of the quota file has no entries"));
        }
        let mut entries = leaf.get(HEADER_LEN..).unwrap_or_default().chunks_exact(ENTRY_LEN);
        // One of root that was never set is all zeroes, as free ones are.
        let is_it = |entry: &[u8]| u32_at(entry, 0) == id && entry.iter().any(|byte| *byte != 0);
        let found = entries.position(is_it);
        Ok(found.map(|index| (number, HEADER_LEN.saturating_add(index.saturating_mul(ENTRY_LEN)))))
    }

    /// The block of the filesystem that has block `number` of a quota file, and where in there.
    pub(super) fn quota_place(&self, file: &Inode, number: u64) -> Result<(u64, usize)> {
        let size = self.fs.superblock().block_size;
        let offset = number.saturating_mul(BLOCK);
        if offset.saturating_add(BLOCK) > file.size {
            return Err(Error::corrupt("a pointer in the quota file leads behind its end"));
        }
        let own = offset.checked_div(size).unwrap_or(0);
        match leaf_of(&self.fs, file, own)?.at(own).place {
            Place::Data(block) => Ok((block, offset.checked_rem(size).unwrap_or(0) as usize)),
            _ => Err(Error::corrupt("a pointer in the quota file leads to nothing")),
        }
    }

    pub(super) fn quota_block(&self, file: &Inode, number: u64) -> Result<Vec<u8>> {
        let (block, inside) = self.quota_place(file, number)?;
        let block = self.fs.blocks().block(block)?;
        Ok(block.get(inside..inside.saturating_add(BLOCK as usize)).unwrap_or_default().to_vec())
    }
}
