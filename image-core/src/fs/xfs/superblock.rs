//! The superblock: how large everything is, and where the root directory and the log are.
//!
//! ```text
//! disk   group 0: superblock │ free space │ inodes │ … blocks │ group 1: a copy │ … │ group n, which may be shorter
//!
//! block of a file   group << log2(blocks of a group, rounded up) │ block in the group
//! inode             group << … │ block in the group << log2(inodes of a block) │ which of them
//! ```
//! XFS Algorithms & Data Structures, "Superblocks".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::checksum::is_sound;
use super::features;
use super::field::{field, part, u8_at, u16_at, u32_at, u64_at};
use super::rule::{XfsRule, XfsStructure};
use crate::error::{Error, Result};

/// The smallest sector.
#[cfg(test)]
const LEN: usize = 512;
/// The largest sector.
pub(super) const SECTOR_MAX: usize = 32768;
/// Where its checksum is.
const SUM_AT: usize = 224;

/// Blocks of the smallest group.
const GROUP_MIN: u64 = 64;

/// Of version 4: versionnum and features2.
const MORE_BITS: u16 = 0x8000;
const ASCII_CI: u16 = 0x4000;
const DIRECTORY_V2: u16 = 0x2000;
const LOG_V2: u16 = 0x0400;
const FTYPE_V4: u32 = 0x200;
/// Features that only writers have to know: the tree of free inodes, and its counts, are two more.
const REVERSE_MAP: u32 = 0x2;
const REFLINK: u32 = 0x4;
const KNOWN_READ_ONLY: u32 = 0xf;

/// A realtime section on the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Realtime {
    /// Its first block.
    start: u64,
    block_count: u64,
    /// Blocks of a group, and how far left a group's number is.
    group_blocks: u64,
    group_shift: u32,
}

/// The superblock, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) block_size: u64,
    pub(super) block_count: u64,
    pub(super) sector_size: u64,
    pub(super) inode_size: u64,
    /// How far left a block's number is in that of an inode.
    inode_shift: u32,
    pub(super) group_blocks: u64,
    pub(super) group_count: u64,
    /// How far left a group's number is in that of a block.
    group_shift: u32,
    /// A block of a directory in bytes, and how many blocks that are.
    pub(super) directory_block_size: u64,
    pub(super) directory_block_count: u64,
    pub(super) root: u64,
    /// The first block of the log, 0 if it is on another disk; how many it has.
    pub(super) log_start: u64,
    pub(super) log_blocks: u64,
    /// What log records are rounded up to, in bytes.
    pub(super) has_log_v2: bool,
    pub(super) log_incompatible: u32,
    /// What metadata says it belongs to.
    pub(super) uuid: [u8; 16],
    /// The user's, which the log says it belongs to.
    pub(super) user_uuid: [u8; 16],
    /// Whether there are checksums (version 5).
    pub(super) has_sums: bool,
    /// Whether directories say what a name names.
    pub(super) has_kinds: bool,
    /// Whether names are found whatever their case, of ASCII.
    pub(super) is_case_folded: bool,
    pub(super) free_blocks: u64,
    /// Whether files may share blocks, and whether it is written down whose blocks are.
    pub(super) has_reflink: bool,
    pub(super) has_reverse_map: bool,
    /// Features without which nothing may be written.
    pub(super) unknown_read_only: u32,
    pub(super) realtime: Option<Realtime>,
}

impl Superblock {
    /// Reads the superblock from the first sector of a disk of `disk_size` bytes, or what there is of it. One that the log changed
    /// has an older checksum.
    pub(super) fn from_bytes(bytes: &[u8], disk_size: u64, is_replayed: bool) -> Result<Self> {
        let wrong = |field, value| Error::corrupt(XfsRule::Superblock { field, value });
        if part(bytes, 0, 4) != b"XFSB" {
            return Err(Error::corrupt(XfsRule::NoSuperblock));
        }
        let version = u16_at(bytes, 100);
        let has_sums = match version & 0xf {
            4 => false,
            5 => true,
            other => return Err(Error::unsupported(format!("it is of version {other}, older than 4"))),
        };
        let sector_size = power(bytes, 102, 2, 9..=15).ok_or_else(|| wrong("sector size", 0))?;
        if has_sums && !is_replayed && !is_sound(part(bytes, 0, sector_size as usize), SUM_AT) {
            return Err(Error::corrupt(XfsRule::Checksum(XfsStructure::Superblock)));
        }
        let incompatible = if has_sums { u32_at(bytes, 216) } else { 0 };
        features::check(incompatible)?;
        if version & DIRECTORY_V2 == 0 && !has_sums {
            return Err(Error::unsupported("it has directories of version 1"));
        }
        if u8_at(bytes, 126) != 0 {
            return Err(wrong("state: it was not made to the end", 1));
        }
        // Some kernels wrote the second field instead.
        let more = if version & MORE_BITS != 0 { u32_at(bytes, 200) | u32_at(bytes, 204) } else { 0 };
        let block_size =
            power(bytes, 4, 4, 9..=16).ok_or_else(|| wrong("block size", u64::from(u32_at(bytes, 4))))?;
        let directory_shift = u32::from(u8_at(bytes, 192));
        let directory_block_size = block_size.checked_shl(directory_shift).filter(|size| *size <= 1 << 16);
        let user_uuid = field(bytes, 32);
        let found = Self {
            block_size,
            block_count: u64_at(bytes, 8),
            sector_size,
            inode_size: power(bytes, 104, 2, 8..=11)
                .ok_or_else(|| wrong("inode size", u64::from(u16_at(bytes, 104))))?,
            inode_shift: u32::from(u8_at(bytes, 123)),
            group_blocks: u64::from(u32_at(bytes, 84)),
            group_count: u64::from(u32_at(bytes, 88)),
            group_shift: u32::from(u8_at(bytes, 124)),
            directory_block_size: directory_block_size
                .ok_or_else(|| wrong("directory block size", u64::from(directory_shift)))?,
            directory_block_count: 1_u64.checked_shl(directory_shift).unwrap_or(1),
            root: u64_at(bytes, 56),
            log_start: u64_at(bytes, 48),
            log_blocks: u64::from(u32_at(bytes, 96)),
            has_log_v2: has_sums || version & LOG_V2 != 0,
            log_incompatible: if has_sums { u32_at(bytes, 220) } else { 0 },
            uuid: if incompatible & features::META_UUID != 0 { field(bytes, 248) } else { user_uuid },
            user_uuid,
            has_sums,
            has_kinds: incompatible & features::FTYPE != 0 || !has_sums && more & FTYPE_V4 != 0,
            is_case_folded: version & ASCII_CI != 0,
            free_blocks: u64_at(bytes, 144),
            has_reflink: has_sums && u32_at(bytes, 212) & REFLINK != 0,
            has_reverse_map: has_sums && u32_at(bytes, 212) & REVERSE_MAP != 0,
            unknown_read_only: if has_sums { u32_at(bytes, 212) & !KNOWN_READ_ONLY } else { 0 },
            realtime: realtime(bytes, incompatible),
        };
        found.check(disk_size)?;
        Ok(found)
    }

    fn check(&self, disk_size: u64) -> Result<()> {
        let wrong = |field, value| Error::corrupt(XfsRule::Superblock { field, value });
        let per_block = self.block_size.checked_div(self.inode_size).unwrap_or(0);
        if per_block.checked_ilog2() != Some(self.inode_shift) {
            return Err(wrong("number of inodes in a block", u64::from(self.inode_shift)));
        }
        let rounded = self.group_blocks.checked_next_power_of_two().unwrap_or(0);
        if self.group_blocks < GROUP_MIN || rounded.checked_ilog2() != Some(self.group_shift) {
            return Err(wrong("number of blocks in a group", self.group_blocks));
        }
        let most = self.group_blocks.saturating_mul(self.group_count);
        let least = self.group_blocks.saturating_mul(self.group_count.saturating_sub(1));
        if self.block_count > most || self.block_count <= least {
            return Err(wrong("number of blocks", self.block_count));
        }
        let size = self.block_count.checked_mul(self.block_size);
        if size.is_none_or(|size| size > disk_size) {
            return Err(Error::corrupt(XfsRule::LargerThanDisk {
                blocks: self.block_count,
                size: disk_size,
            }));
        }
        if self.log_start != 0 && !self.has_blocks(self.log_start, self.log_blocks.max(1)) {
            return Err(wrong("place of the log", self.log_start));
        }
        Ok(())
    }

    /// Where block `number`, as files have them, is on the disk, in blocks; `None` if it is in no group.
    pub(super) fn place_of(&self, number: u64, count: u64) -> Option<u64> {
        let group = number.checked_shr(self.group_shift)?;
        let inside = number & !u64::MAX.checked_shl(self.group_shift)?;
        let end = inside.checked_add(count)?;
        let place = group.checked_mul(self.group_blocks)?.checked_add(inside)?;
        let is_inside = group < self.group_count && end <= self.group_blocks;
        (is_inside && place.checked_add(count)? <= self.block_count).then_some(place)
    }

    /// Whether the `count` blocks from `number` on, as files have them, are there.
    pub(super) fn has_blocks(&self, number: u64, count: u64) -> bool {
        self.place_of(number, count).is_some()
    }

    /// The number that files have for block `block` of group `group`; `None` if it has none.
    pub(super) fn number_of(&self, group: u64, block: u64) -> Option<u64> {
        let high = u64::from(u32::try_from(group).ok()?).checked_shl(self.group_shift)?;
        (block < self.group_blocks).then_some(high | block)
    }

    /// The number of the first inode in block `number`, as files have them.
    pub(super) fn first_inode_of(&self, number: u64) -> u64 {
        number.checked_shl(self.inode_shift).unwrap_or(0)
    }

    /// Where inode `number` is on the disk, in bytes; `None` if it cannot be anywhere.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let block = self.place_of(number.checked_shr(self.inode_shift)?, 1)?;
        let index = number & !u64::MAX.checked_shl(self.inode_shift)?;
        let inside = index.checked_mul(self.inode_size)?;
        block.checked_mul(self.block_size)?.checked_add(inside)
    }

    /// Where block `number` of realtime files is on this disk, in blocks; `None` if it is not.
    pub(super) fn realtime_place_of(&self, number: u64, count: u64) -> Option<u64> {
        let realtime = self.realtime?;
        let group = number.checked_shr(realtime.group_shift)?;
        let inside = number & !u64::MAX.checked_shl(realtime.group_shift)?;
        let linear = group.checked_mul(realtime.group_blocks)?.checked_add(inside)?;
        let is_inside = inside.checked_add(count)? <= realtime.group_blocks;
        (is_inside && linear.checked_add(count)? <= realtime.block_count)
            .then(|| realtime.start.saturating_add(linear))
    }
}

/// The realtime section, if it is behind the data on the same disk.
fn realtime(bytes: &[u8], incompatible: u32) -> Option<Realtime> {
    let start = u64_at(bytes, 288);
    let is_here = incompatible & features::METADIR != 0 && incompatible & features::ZONE_GAPS == 0;
    (is_here && start != 0 && bytes.len() > 288).then(|| Realtime {
        start,
        block_count: u64_at(bytes, 16),
        group_blocks: u64::from(u32_at(bytes, 276)).saturating_mul(u64::from(u32_at(bytes, 80))),
        group_shift: u32::from(u8_at(bytes, 280)),
    })
}

/// The field of `len` bytes at `at`, if it is a power of two with one of `logs` as its logarithm.
fn power(bytes: &[u8], at: usize, len: usize, logs: std::ops::RangeInclusive<u32>) -> Option<u64> {
    let value = if len == 2 { u64::from(u16_at(bytes, at)) } else { u64::from(u32_at(bytes, at)) };
    (value.is_power_of_two() && logs.contains(&value.trailing_zeros())).then_some(value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fs::xfs::checksum::sum;

    /// Of two groups with 1000 and 500 blocks of 4096 bytes.
    pub(in crate::fs::xfs) fn bytes() -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"XFSB");
        put(4, &4096_u32.to_be_bytes());
        put(8, &1500_u64.to_be_bytes());
        put(32, &[7; 16]);
        put(56, &128_u64.to_be_bytes());
        put(84, &1000_u32.to_be_bytes());
        put(88, &2_u32.to_be_bytes());
        put(100, &0xb4a5_u16.to_be_bytes());
        put(102, &512_u16.to_be_bytes());
        put(104, &512_u16.to_be_bytes());
        put(120, &[12, 9, 9, 3, 10]);
        put(216, &0x1_u32.to_be_bytes());
        seal(bytes)
    }

    /// The same, of version 4: without checksums.
    pub(in crate::fs::xfs) fn version_4() -> Vec<u8> {
        let mut bytes = bytes();
        bytes[100..102].copy_from_slice(&0xb4a4_u16.to_be_bytes());
        bytes
    }

    fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
        let right = sum(&bytes, SUM_AT);
        bytes[SUM_AT..SUM_AT + 4].copy_from_slice(&right.to_le_bytes());
        bytes
    }

    #[test]
    fn numbers_lead_to_places_in_their_group() {
        let found = Superblock::from_bytes(&bytes(), 1500 << 12, false).unwrap();
        assert_eq!(found.place_of(999, 1), Some(999));
        assert_eq!(found.place_of(999, 2), None);
        assert_eq!(found.place_of(1024, 500), Some(1000));
        assert_eq!(found.place_of(1024, 501), None);
        assert_eq!(found.place_of(2048, 1), None);
        assert_eq!(found.place_of(u64::MAX, u64::MAX), None);
        assert_eq!(found.inode_offset(129), Some((16 << 12) + 512));
        assert_eq!(found.inode_offset((1024 + 499) << 3), Some(1499 << 12));
        assert_eq!(found.inode_offset((1024 + 500) << 3), None);
        assert_eq!(found.realtime_place_of(0, 1), None);
    }

    #[test]
    fn a_realtime_section_may_be_on_the_same_disk() {
        let mut bytes = bytes();
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(16, &150_u64.to_be_bytes());
        put(80, &1_u32.to_be_bytes());
        put(216, &0x301_u32.to_be_bytes());
        put(276, &100_u32.to_be_bytes());
        put(280, &[7]);
        put(288, &1400_u64.to_be_bytes());
        let found = Superblock::from_bytes(&seal(bytes), 1500 << 12, false).unwrap();
        assert_eq!(found.realtime_place_of(5, 95), Some(1405));
        assert_eq!(found.realtime_place_of(5, 96), None, "behind its group");
        assert_eq!(found.realtime_place_of(128 + 49, 1), Some(1549));
        assert_eq!(found.realtime_place_of(128 + 50, 1), None);
        assert_eq!(found.realtime_place_of(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cause = |at: usize, field: &[u8], size| {
            let mut bytes = bytes();
            bytes[at..at + field.len()].copy_from_slice(field);
            Superblock::from_bytes(&seal(bytes), size, false).unwrap_err().to_string()
        };
        let whole = 1500 << 12;
        assert_eq!(cause(0, b"YFSB", whole), "there is no XFS superblock");
        assert_eq!(cause(100, &[0xb4, 0xa3], whole), "it is of version 3, older than 4");
        assert!(cause(4, &[0, 0, 0x18, 0], whole).contains("block size"));
        assert!(cause(192, &[5], whole).contains("directory block size"));
        assert!(cause(123, &[4], whole).contains("inodes in a block"));
        assert!(cause(124, &[9], whole).contains("blocks in a group"));
        assert!(cause(88, &[0, 0, 0, 3], whole).contains("number of blocks"));
        assert!(cause(48, &[0, 0, 0, 0, 0, 0, 8, 0], whole).contains("place of the log"));
        assert!(cause(126, &[1], whole).contains("not made to the end"));
        assert!(cause(300, &[0], whole - 1).contains("does not hold"));
        assert!(cause(217, &[1], whole).contains("0x10000"));
        let mut changed = bytes();
        changed[300] = 1;
        assert!(Superblock::from_bytes(&changed, whole, false).unwrap_err().to_string().contains("checksum"));
        assert!(Superblock::from_bytes(&bytes()[..100], whole, false).is_err());
    }
}
