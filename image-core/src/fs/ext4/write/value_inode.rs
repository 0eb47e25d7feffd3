//! Values of attributes that are inodes (ea_inode): made, and their users counted.
//!
//! How many use one is where others have their time of change and their version, its checksum where others have the time of their
//! last reading. Linux kernel documentation, filesystems/ext4 ("Extended Attributes").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::attribute_area::Stored;
use super::create::{Fields, Target};
use super::inode::put_size;
use crate::error::Result;
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::field::{put, u32_at, wide};
use crate::fs::ext4::inode::{FLAG_EA_INODE, Inode};

/// Where an inode counts those who use it as a value, the lower half first, and has the checksum of the value.
const USERS_AT: (usize, usize) = (0x24, 0x0c);
const SUM_AT: usize = 0x08;

impl Ext4Writer {
    /// An inode with `value`, for an attribute of `user`.
    pub(super) fn new_value(&mut self, user: &Inode, value: &[u8]) -> Result<Stored> {
        let home = self.fs.superblock().place_of_inode(user.number).0;
        let number = self.allocate_inode(home, false)?;
        let fields = Fields {
            mode: 0o100_600,
            uid: user.uid,
            gid: user.gid,
            flags: 0,
            project: user.project,
            target: Target::Map,
            times: [self.time; 3],
        };
        self.put_new(number, &fields)?;
        let sum = crc32c(self.fs.superblock().seed, &[value]);
        // Set before it has blocks: nobody is charged for those but its user.
        self.edit_inode(number, |_, bytes| {
            let flags = u32_at(bytes, 0x20) | FLAG_EA_INODE;
            put(bytes, 0x20, &flags.to_le_bytes());
            put_size(bytes, value.len() as u64);
            put(bytes, USERS_AT.0, &[1, 0, 0, 0]);
            put(bytes, USERS_AT.1, &[0; 4]);
            put(bytes, SUM_AT, &sum.to_le_bytes());
            // A fraction is no part of a checksum, nor of a count.
            put(bytes, 0x84, &[0; 4]);
            put(bytes, 0x8c, &[0; 4]);
        })?;
        let count = (value.len() as u64).div_ceil(self.fs.superblock().block_size);
        let runs = self.grow(number, 0, count)?;
        self.fill(&runs, value)?;
        self.count_value(user, value.len() as u64, true)?;
        Ok(Stored::Inode { number, len: value.len() as u64, sum })
    }

    /// Has `user` have one value of `len` bytes more, or less: whoever uses one is charged as if it had it alone.
    pub(super) fn count_value(&mut self, user: &Inode, len: u64, is_more: bool) -> Result<()> {
        let count = i64::try_from(len.div_ceil(self.fs.superblock().cluster_size)).unwrap_or(i64::MAX);
        let (count, one) = if is_more { (count, 1) } else { (count.saturating_neg(), -1) };
        self.count_clusters(user, count)?;
        self.charge(user, 0, one)
    }

    /// One user more of the value that is inode `number`.
    pub(super) fn use_value(&mut self, number: u32) -> Result<()> {
        let bytes = self.fs.inode_bytes(number)?;
        let users = wide(u32_at(&bytes, USERS_AT.0), u32_at(&bytes, USERS_AT.1)).saturating_add(1);
        self.edit_inode(number, |_, bytes| {
            put(bytes, USERS_AT.0, &(users as u32).to_le_bytes());
            put(bytes, USERS_AT.1, &((users >> 32) as u32).to_le_bytes());
        })
    }
}
