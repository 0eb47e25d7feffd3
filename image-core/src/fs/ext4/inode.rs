//! Inodes: what a file is, whose, how large, when, and where its content begins.
//!
//! ```text
//! 0x00 mode │ uid │ size │ times │ links │ flags │ 0x28 block map, extents, target or content, 60 bytes │ … 0x80
//! 0x80 length of what follows │ rest of the checksum │ fractions of times │ time of birth │ project │ attributes … its end
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Index Nodes", "Inode Timestamps"). A field counts only if the inode says
//! that it is that long.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4;
use super::blocks::Block;
use super::checksum::crc32c;
use super::features;
use super::field::{field, u16_at, u32_at, wide};
use super::rule::{Checksummed, Ext4Rule};
use super::superblock::Superblock;
use crate::error::{Doing, Error, Result};
pub(super) use crate::fs::node::{NodeKind, Time};

/// The length of the oldest inodes, and where what came later begins.
pub(super) const OLD_LEN: usize = 128;
/// How much came later, as far as it is known here.
const EXTRA_LEN: usize = 32;
/// The root directory.
pub(super) const ROOT: u32 = 2;

pub(super) const FLAG_ENCRYPTED: u32 = 0x800;
pub(super) const FLAG_INDEX: u32 = 0x1000;
pub(super) const FLAG_HUGE_FILE: u32 = 0x4_0000;
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;
pub(super) const FLAG_VERITY: u32 = 0x10_0000;
pub(super) const FLAG_EA_INODE: u32 = 0x20_0000;
pub(super) const FLAG_INLINE_DATA: u32 = 0x1000_0000;
pub(super) const FLAG_PROJECT_INHERIT: u32 = 0x2000_0000;
pub(super) const FLAG_CASEFOLD: u32 = 0x4000_0000;

/// An inode, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Its number, from 1.
    pub number: u32,
    /// What it is.
    pub kind: NodeKind,
    /// Its permission bits, with set-user-ID and its kin.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its project, for quotas.
    pub project: u32,
    /// Its size in bytes.
    pub size: u64,
    /// How many names it has; a directory with more subdirectories than can be counted has 1.
    pub links: u32,
    /// Its flags, as `lsattr` tells them by letters.
    pub flags: u32,
    /// What is set aside for it, in sectors of 512 bytes.
    pub sectors: u64,
    /// When it was last read.
    pub accessed: Time,
    /// When anything of it was last changed.
    pub changed: Time,
    /// When its content was last changed.
    pub modified: Time,
    /// When it was made, where that is recorded.
    pub created: Option<Time>,
    /// Tells two files apart that had the same number one after the other.
    pub generation: u32,
    /// Of a device: its major and minor number.
    pub device: Option<(u32, u32)>,
    /// The block map, extents, target or content.
    pub(super) block: [u8; 60],
    /// The block of its attributes; 0 for none.
    pub(super) attribute_block: u64,
    /// What is behind its own fields: attributes.
    pub(super) inside: Box<[u8]>,
    /// What its checksums begin with.
    pub(super) seed: u32,
}

impl Inode {
    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether its content, names or target are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.has(FLAG_ENCRYPTED)
    }

    /// The inode `number` that `bytes` are.
    pub(super) fn from_bytes(
        superblock: &Superblock,
        number: u32,
        bytes: &[u8],
    ) -> std::result::Result<Self, Ext4Rule> {
        let wrong = |field, value: u64| Ext4Rule::Inode { inode: number, field, value };
        let said = if bytes.len() > OLD_LEN { usize::from(u16_at(bytes, 0x80)) } else { 0 };
        if said & 3 != 0 || said.saturating_add(OLD_LEN) > bytes.len() {
            return Err(wrong("length", said as u64));
        }
        if !is_sound(superblock, number, bytes) {
            return Err(Ext4Rule::Checksum(Checksummed::Inode(number)));
        }
        let raw_mode = u16_at(bytes, 0x00);
        let kind = NodeKind::from_mode(raw_mode).ok_or_else(|| wrong("mode", u64::from(raw_mode)))?;
        let flags = u32_at(bytes, 0x20);
        // A large inode that says nothing of its length has zeroes there.
        let extra = if bytes.len() > OLD_LEN && said == 0 { EXTRA_LEN } else { said };
        let has = |at: usize| {
            extra.saturating_add(OLD_LEN) >= at.saturating_add(4) && at.saturating_add(4) <= bytes.len()
        };
        let time = |at, extra_at| {
            time_of(u32_at(bytes, at), if has(extra_at) { u32_at(bytes, extra_at) } else { 0 })
        };
        // A directory's upper half was something else once.
        let has_large_size = kind == NodeKind::File || superblock.has(features::LARGE_DIR);
        let size = wide(u32_at(bytes, 0x04), if has_large_size { u32_at(bytes, 0x6c) } else { 0 });
        if i64::try_from(size).is_err() {
            return Err(wrong("size", size));
        }
        let is_huge = superblock.has(features::HUGE_FILE);
        let count = wide(u32_at(bytes, 0x1c), if is_huge { u32::from(u16_at(bytes, 0x74)) } else { 0 });
        let in_blocks = is_huge && flags & FLAG_HUGE_FILE != 0;
        let owner = |low, high| u32::from(u16_at(bytes, low)) | u32::from(u16_at(bytes, high)) << 16;
        let is_device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice);
        let generation = u32_at(bytes, 0x64);
        let high = if superblock.has(features::WIDE) { u32::from(u16_at(bytes, 0x76)) } else { 0 };
        let attributes = if said == 0 { bytes.len() } else { said.saturating_add(OLD_LEN) };
        Ok(Self {
            number,
            kind,
            mode: u32::from(raw_mode & 0o7777),
            uid: owner(0x02, 0x78),
            gid: owner(0x18, 0x7a),
            project: if has(0x9c) { u32_at(bytes, 0x9c) } else { 0 },
            size,
            links: u32::from(u16_at(bytes, 0x1a)),
            flags,
            sectors: if in_blocks { count.saturating_mul(superblock.block_size >> 9) } else { count },
            accessed: time(0x08, 0x8c),
            changed: time(0x0c, 0x84),
            modified: time(0x10, 0x88),
            created: has(0x90).then(|| time(0x90, 0x94)),
            generation,
            device: is_device.then(|| device_of(u32_at(bytes, 0x28), u32_at(bytes, 0x2c))),
            block: field(bytes, 0x28),
            attribute_block: wide(u32_at(bytes, 0x68), high),
            inside: bytes.get(attributes..).unwrap_or_default().into(),
            seed: crc32c(superblock.seed, &[&number.to_le_bytes(), &generation.to_le_bytes()]),
        })
    }
}

/// A time of its two fields: seconds with a sign, then two bits that count rounds of 2³² seconds, and 30 of nanoseconds.
pub(super) fn time_of(low: u32, extra: u32) -> Time {
    let seconds = i64::from(low.cast_signed()).saturating_add(i64::from(extra & 3) << 32);
    Time { seconds, nanoseconds: extra >> 2 }
}

/// A device's numbers: the old way in the first field, 8 bits each; else the new way in the second one, 12 and 20.
fn device_of(old: u32, new: u32) -> (u32, u32) {
    match old {
        0 => ((new & 0xf_ff00) >> 8, new & 0xff | new >> 12 & 0xf_ff00),
        old => (old >> 8 & 0xff, old & 0xff),
    }
}

/// Whether the inode `number` that `bytes` are has its checksum; also where there are none.
fn is_sound(superblock: &Superblock, number: u32, bytes: &[u8]) -> bool {
    let Some(checksum) = superblock.inode_checksum(number, bytes) else { return true };
    let has_upper = checksum_fields(bytes).count() > 1;
    let found = u32::from(u16_at(bytes, 0x7c)) | u32::from(u16_at(bytes, 0x82)) << 16;
    let mask = if has_upper { u32::MAX } else { 0xffff };
    checksum & mask == found & mask
}

impl Superblock {
    /// The checksum of `inode`, the bytes of inode `number`, whose own checksum counts as zero; `None` if this
    /// filesystem has none.
    pub(super) fn inode_checksum(&self, number: u32, inode: &[u8]) -> Option<u32> {
        if !self.has_inode_checksums {
            return None;
        }
        let generation = field::<4>(inode, 0x64);
        let mut seed = crc32c(self.seed, &[&number.to_le_bytes(), &generation]);
        let mut done = 0_usize;
        for at in checksum_fields(inode) {
            seed = crc32c(seed, &[inode.get(done..at).unwrap_or_default(), &[0, 0]]);
            done = at.saturating_add(2);
        }
        Some(crc32c(seed, &[inode.get(done..).unwrap_or_default()]))
    }
}

/// Where an inode has the halves of its checksum, the lower one first: the upper one only in a large inode.
pub(super) fn checksum_fields(inode: &[u8]) -> impl Iterator<Item = usize> {
    let has_upper = inode.len() > OLD_LEN && u16_at(inode, 0x80) >= 4;
    [Some(0x7c), has_upper.then_some(0x82)].into_iter().flatten()
}

impl Ext4 {
    /// Inode `number`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a number that there is not, one that is free, and what breaks another
    /// [`Ext4Rule`]; whatever the disk says.
    pub fn inode(&self, number: u32) -> Result<Inode> {
        let doing = || format!("reading inode {number}");
        let bytes = self.inode_bytes(number).doing(doing)?;
        Inode::from_bytes(self.superblock(), number, &bytes).map_err(Error::corrupt).doing(doing)
    }

    /// The bytes of inode `number`.
    pub(super) fn inode_bytes(&self, number: u32) -> Result<Block> {
        self.blocks().bytes(self.inode_offset(number)?, self.superblock().inode_size)
    }

    /// Where inode `number` is on the disk, in bytes.
    pub(super) fn inode_offset(&self, number: u32) -> Result<u64> {
        let superblock = self.superblock();
        if number == 0 || number > superblock.inode_count {
            return Err(Error::corrupt(Ext4Rule::NoInode(number)));
        }
        let (group, index) = superblock.place_of_inode(number);
        let table = self.group(group)?.inode_table;
        let inside = index.saturating_mul(superblock.inode_size);
        Ok(table.saturating_mul(superblock.block_size).saturating_add(inside))
    }

    /// The root directory.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn root(&self) -> Result<Inode> {
        self.inode(ROOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_from_1901_to_2446() {
        let time = |low: i32, extra| time_of(low.cast_unsigned(), extra);
        assert_eq!(time(-1, 0), Time { seconds: -1, nanoseconds: 0 });
        assert_eq!(time(i32::MIN, 0), Time { seconds: -(1 << 31), nanoseconds: 0 });
        assert_eq!(time(i32::MIN, 1), Time { seconds: 1 << 31, nanoseconds: 0 });
        assert_eq!(time(i32::MAX, 999_999_999 << 2 | 3).seconds, (1 << 34) - (1 << 31) - 1);
        assert_eq!(time(0, 999_999_999 << 2 | 3).nanoseconds, 999_999_999);
    }

    #[test]
    fn devices_have_their_numbers_in_two_ways() {
        assert_eq!(device_of(0x0801, 0), (8, 1));
        assert_eq!(device_of(0, 0x0801), (8, 1));
        // 259:65537, as mknod writes it.
        assert_eq!(device_of(0, 0x1001_0301), (259, 0x1_0001));
    }
}
