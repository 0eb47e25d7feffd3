//! Attributes whose file goes: a block that several files share, values that are inodes; and content that is an attribute.
//!
//! ```text
//! file ─┬─ in the inode ─► value here, or an inode that counts its users
//!       └─ block, which counts its users ─► likewise; its values are used by the block, once
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extended Attributes"). How many use a value that is an inode is where others have
//! their time of change and their version.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use crate::error::{Error, Result};
use crate::fs::ext4::attributes::{CONTENT, ENTRY_LEN, HEADER_LEN, MAGIC, SYSTEM, Value, entries, wrong};
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::field::{field, put, u16_at, u32_at, wide};
use crate::fs::ext4::inode::{FLAG_EA_INODE, Inode};
use crate::fs::ext4::{Ext4, features};

/// Where a block of attributes counts its users, and has its checksum.
const USERS_AT: usize = 4;
const CHECKSUM_AT: usize = 16;

/// Where an inode's bytes have the value that is its content's rest; the second number is where its entry is.
pub(in super::super) struct InlineValue {
    pub(in super::super) start: usize,
    pub(in super::super) len: usize,
    entry: usize,
}

/// The place of what of an inode's content does not fit where its blocks would be told; `None` where there is no such value.
pub(in super::super) fn inline_value(fs: &Ext4, inode: &Inode) -> Result<Option<InlineValue>> {
    let Some(area) = inode.inside.strip_prefix(&MAGIC) else { return Ok(None) };
    let size = fs.superblock().inode_size as usize;
    let first = size.saturating_sub(area.len());
    let mut at = 0_usize;
    for entry in entries(area, area).map_err(|what| wrong(inode, what))? {
        if entry.prefix == SYSTEM && entry.name == CONTENT {
            let place = usize::from(u16_at(area, at.saturating_add(2)));
            let len = u32_at(area, at.saturating_add(8)) as usize;
            return Ok(Some(InlineValue {
                start: first.saturating_add(place),
                len,
                entry: first.saturating_add(at),
            }));
        }
        at = at.saturating_add(ENTRY_LEN.saturating_add(entry.name.len())).next_multiple_of(4);
    }
    Ok(None)
}

/// Makes the value at `value` of the inode `bytes` empty; the others keep their places.
pub(super) fn clear_inline(bytes: &mut [u8], value: &InlineValue) {
    let end = value.start.saturating_add(value.len);
    bytes.get_mut(value.start..end).unwrap_or_default().fill(0);
    put(bytes, value.entry.saturating_add(2), &[0; 2]);
    put(bytes, value.entry.saturating_add(8), &[0; 4]);
}

impl InlineValue {
    /// Takes it and its entry out of the inode `bytes`; the entries behind it move up.
    pub(super) fn remove(&self, bytes: &mut [u8]) {
        clear_inline(bytes, self);
        let len = ENTRY_LEN.saturating_add(CONTENT.len()).next_multiple_of(4);
        // Up to the end of the list: four zeroes.
        let mut end = self.entry.saturating_add(len);
        while u32_at(bytes, end) != 0 {
            let name = usize::from(field::<1>(bytes, end)[0]);
            end = end.saturating_add(ENTRY_LEN.saturating_add(name)).next_multiple_of(4);
        }
        if end <= bytes.len() {
            bytes.copy_within(self.entry.saturating_add(len)..end, self.entry);
            bytes.get_mut(end.saturating_sub(len)..end).unwrap_or_default().fill(0);
        }
    }
}

/// The values of `area` that are inodes.
fn inodes_in(inode: &Inode, area: &[u8], all: &[u8]) -> Result<Vec<u32>> {
    let found = entries(area, all).map_err(|what| wrong(inode, what))?;
    let numbers = found.into_iter().filter_map(|entry| match entry.value {
        Value::Inode(number, _) => Some(number),
        Value::Here(_) => None,
    });
    Ok(numbers.collect())
}

impl Ext4Writer {
    /// Gives back what `inode` has of attributes. Answers with how many values of its are inodes.
    pub(super) fn release_attributes(&mut self, inode: &Inode) -> Result<i64> {
        let mut count = 0_usize;
        if let Some(area) = inode.inside.strip_prefix(&MAGIC) {
            let own = inodes_in(inode, area, area)?;
            count = own.len();
            own.into_iter().try_for_each(|number| self.release_value(inode, number))?;
        }
        let number = inode.attribute_block;
        if let Some(block) = self.fs.attribute_block(inode)? {
            let shared = inodes_in(inode, block.get(HEADER_LEN..).unwrap_or_default(), &block)?;
            count = count.saturating_add(shared.len());
            let users = u32_at(&block, USERS_AT);
            if users > 1 {
                self.put_users(number, users.saturating_sub(1))?;
            } else {
                shared.into_iter().try_for_each(|number| self.release_value(inode, number))?;
                let cluster = self.cluster_of(number);
                self.free_clusters(vec![(cluster, 1)])?;
                self.fs.blocks().forget(number);
            }
        }
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Says how many use `block`, which has attributes.
    pub(super) fn put_users(&mut self, block: u64, users: u32) -> Result<()> {
        let (seed, has_sums) = (self.fs.superblock().seed, self.fs.superblock().has(features::METADATA_CSUM));
        self.fs.blocks().change(block, |bytes| {
            put(bytes, USERS_AT, &users.to_le_bytes());
            if has_sums {
                put_block_checksum(seed, block, bytes);
            }
        })
    }

    /// One user less of the value that is inode `number`.
    pub(super) fn release_value(&mut self, user: &Inode, number: u32) -> Result<()> {
        let value = self.fs.inode(number)?;
        if !value.has(FLAG_EA_INODE) || number < self.fs.superblock().first_inode {
            return Err(wrong(user, "inode of a value"));
        }
        let bytes = self.fs.inode_bytes(number)?;
        let users = wide(u32_at(&bytes, 0x24), u32_at(&bytes, 0x0c));
        if users > 1 {
            let users = users.saturating_sub(1);
            return self.edit_inode(number, |_, bytes| {
                put(bytes, 0x24, &(users as u32).to_le_bytes());
                put(bytes, 0x0c, &((users >> 32) as u32).to_le_bytes());
            });
        }
        if users == 0 {
            return Err(Error::corrupt(format!(
                "nobody uses inode {number}, which inode {} uses",
                user.number
            )));
        }
        let clusters = self.clusters_of(&value)?;
        self.free_clusters(clusters)?;
        self.free_inode(number, false)
    }
}

/// Makes the checksum of `block`, which has attributes and is number `number`.
pub(in super::super) fn put_block_checksum(seed: u32, number: u64, block: &mut [u8]) {
    put(block, CHECKSUM_AT, &[0; 4]);
    let sum = crc32c(seed, &[&number.to_le_bytes(), block]);
    put(block, CHECKSUM_AT, &sum.to_le_bytes());
}
