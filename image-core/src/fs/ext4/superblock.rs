//! The superblock: how large all is, what is used of ext4, and how it was left.
//!
//! ```text
//! 0 ─────── 1024 ───────────────── 2048
//!   boot    │ superblock            │ …        always at byte 1024, whatever the size of a block
//!   code    │ magic at 0x38, CRC at 0x3fc
//! ```
//!
//! Linux kernel documentation, filesystems/ext4 ("Super Block"). Offsets are in bytes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use uuid::Uuid;

use super::checksum::{START, crc32c};
use super::features::{self, Features};
use super::field::{field, u16_at, u32_at, wide};
use super::rule::{Checksummed, Ext4Rule};
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};

/// Where the superblock is, and how long.
pub(super) const OFFSET: u64 = 1024;
pub(super) const LEN: usize = 1024;
/// Where its checksum is.
pub(super) const CHECKSUM_AT: usize = 0x3fc;

/// It was unmounted.
pub(super) const STATE_CLEAN: u16 = 0x1;
/// Errors were found, and not mended yet.
const STATE_ERRORS: u16 = 0x2;
/// Names are hashed as unsigned bytes.
const FLAG_UNSIGNED_HASH: u32 = 0x2;
/// The operating system that made it: Linux, whose inodes alone have checksums.
const LINUX: u32 = 0;

/// What a superblock says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The size of a block in bytes: a power of two from 1024 to 65536.
    pub block_size: u64,
    /// All blocks.
    pub block_count: u64,
    /// The blocks that nothing is in.
    pub free_block_count: u64,
    /// The blocks that only the administrator may fill.
    pub reserved_block_count: u64,
    /// The size of a cluster in bytes: what is set aside at a time (bigalloc); else that of a block.
    pub cluster_size: u64,
    /// All inodes.
    pub inode_count: u32,
    /// The inodes that are free.
    pub free_inode_count: u32,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its label; may be empty.
    pub label: String,
    /// What it uses of ext4.
    pub features: Features,
    /// Whether it was unmounted (state bit 0) and has no journal to replay.
    pub is_clean: bool,
    /// Whether errors are recorded in it.
    pub has_errors: bool,
    /// Whether it has a journal.
    pub has_journal: bool,
    /// When it was made, in seconds since 1970; 0 where that is not known.
    pub made: u64,
    /// When it was last written to, likewise.
    pub written: u64,
    /// Its own word for whether it was unmounted; where there is a journal, that tells more.
    pub(super) was_unmounted: bool,
    pub(super) first_data_block: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u64,
    pub(super) inode_size: u64,
    pub(super) first_inode: u32,
    pub(super) descriptor_size: u64,
    pub(super) first_meta_group: u64,
    pub(super) backup_groups: [u32; 2],
    pub(super) journal_inode: u32,
    pub(super) journal_uuid: Uuid,
    /// Blocks behind the descriptors, for those of a larger filesystem.
    pub(super) reserved_descriptor_blocks: u64,
    /// The first inode of the list of those that were to go.
    pub(super) last_orphan: u32,
    /// The file that lists more of them, and where quotas of users, groups and projects are; 0 for none.
    pub(super) orphan_inode: u32,
    pub(super) quota_inodes: [u32; 3],
    /// Where it says who uses it.
    pub(super) mmp_block: u64,
    /// How much of a new inode is its own, behind the oldest part.
    pub(super) extra_len: u16,
    /// The clusters that no file can have, as counted when it was made; 0 if they were not.
    pub(super) overhead: u64,
    pub(super) hash_seed: [u32; 4],
    /// How names are hashed in directories that do not say so themselves.
    pub(super) hash_version: u8,
    pub(super) has_unsigned_hash: bool,
    pub(super) has_inode_checksums: bool,
    /// What checksums begin with, whether or not there are any.
    pub(super) seed: u32,
}

impl Superblock {
    /// The superblock of the filesystem on `disk`, as it is there: a journal is not regarded.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`]; whatever the disk says.
    pub fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Self> {
        let doing = || "reading the ext4 superblock";
        if disk.size() < OFFSET.saturating_add(LEN as u64) {
            return Err(Error::corrupt(Ext4Rule::NoSuperblock)).doing(doing);
        }
        let mut bytes = vec![0; LEN];
        disk.read_at(&mut bytes, OFFSET).doing(doing)?;
        Self::from_bytes(&bytes, disk.size()).map_err(Error::corrupt).doing(doing)
    }

    /// What `bytes` say, of a filesystem on a disk of `disk_size` bytes.
    pub(super) fn from_bytes(bytes: &[u8], disk_size: u64) -> std::result::Result<Self, Ext4Rule> {
        let half = |at| u64::from(u32_at(bytes, at));
        if u16_at(bytes, 0x38) != 0xef53 {
            return Err(Ext4Rule::NoSuperblock);
        }
        let features = Features {
            compatible: u32_at(bytes, 0x5c),
            incompatible: u32_at(bytes, 0x60),
            read_only: u32_at(bytes, 0x64),
        };
        let has_checksums = features.has(features::METADATA_CSUM);
        let (has_quota, has_mmp) = (features.has(features::QUOTA), features.has(features::MMP));
        let summed = bytes.get(..CHECKSUM_AT).unwrap_or_default();
        if has_checksums && crc32c(START, &[summed]) != u32_at(bytes, CHECKSUM_AT) {
            return Err(Ext4Rule::Checksum(Checksummed::Superblock));
        }
        let is_wide = features.has(features::WIDE);
        let count =
            |low, high| if is_wide { wide(u32_at(bytes, low), u32_at(bytes, high)) } else { half(low) };
        let block_size = 1024 << check(half(0x18) <= 6, "block size", half(0x18))?;
        let uuid = Uuid::from_bytes(field(bytes, 0x68));
        let time = |at, high: usize| half(at) | u64::from(field::<1>(bytes, high)[0]) << 32;
        let superblock = Self {
            block_size,
            block_count: count(0x04, 0x150),
            free_block_count: count(0x0c, 0x158),
            reserved_block_count: count(0x08, 0x154),
            cluster_size: match features.has(features::BIGALLOC) {
                true => 1024 << check(half(0x1c) <= 20, "cluster size", half(0x1c))?,
                false => block_size,
            },
            inode_count: u32_at(bytes, 0x00),
            free_inode_count: u32_at(bytes, 0x10),
            uuid,
            label: text(&field::<16>(bytes, 0x78)),
            features,
            is_clean: u16_at(bytes, 0x3a) & STATE_CLEAN != 0 && !features.has(features::RECOVER),
            has_errors: u16_at(bytes, 0x3a) & STATE_ERRORS != 0,
            was_unmounted: u16_at(bytes, 0x3a) & STATE_CLEAN != 0,
            has_journal: features.has(features::HAS_JOURNAL),
            made: time(0x108, 0x276),
            written: time(0x30, 0x274),
            first_data_block: half(0x14),
            blocks_per_group: half(0x20),
            inodes_per_group: half(0x28),
            // The first revision has neither field.
            inode_size: if half(0x4c) == 0 { 128 } else { u64::from(u16_at(bytes, 0x58)) },
            first_inode: if half(0x4c) == 0 { 11 } else { u32_at(bytes, 0x54) },
            descriptor_size: if is_wide { u64::from(u16_at(bytes, 0xfe)) } else { 32 },
            first_meta_group: half(0x104),
            backup_groups: [u32_at(bytes, 0x24c), u32_at(bytes, 0x250)],
            journal_inode: u32_at(bytes, 0xe0),
            journal_uuid: Uuid::from_bytes(field(bytes, 0xd0)),
            reserved_descriptor_blocks: u64::from(u16_at(bytes, 0xce)),
            last_orphan: u32_at(bytes, 0xe8),
            orphan_inode: if features.has(features::ORPHAN_FILE) { u32_at(bytes, 0x280) } else { 0 },
            quota_inodes: [0x240, 0x244, 0x26c].map(|at| if has_quota { u32_at(bytes, at) } else { 0 }),
            mmp_block: if has_mmp { wide(u32_at(bytes, 0x168), u32_at(bytes, 0x16c)) } else { 0 },
            extra_len: u16_at(bytes, 0x15e),
            overhead: half(0x248),
            hash_seed: [0xec, 0xf0, 0xf4, 0xf8].map(|at| u32_at(bytes, at)),
            hash_version: field::<1>(bytes, 0xfc)[0],
            has_unsigned_hash: u32_at(bytes, 0x160) & FLAG_UNSIGNED_HASH != 0,
            has_inode_checksums: has_checksums && u32_at(bytes, 0x48) == LINUX,
            seed: match features.has(features::CSUM_SEED) {
                true => u32_at(bytes, 0x270),
                false => crc32c(START, &[uuid.as_bytes()]),
            },
        };
        superblock.check(disk_size)?;
        Ok(superblock)
    }

    fn check(&self, disk_size: u64) -> std::result::Result<(), Ext4Rule> {
        if self.block_count.checked_mul(self.block_size).is_none_or(|size| size > disk_size) {
            return Err(Ext4Rule::LargerThanDisk { blocks: self.block_count, size: disk_size });
        }
        let first = self.first_data_block;
        check(first < self.block_count, "first block", first)?;
        // A bitmap is a block of bits, one for each cluster or inode.
        let bits = self.block_size.saturating_mul(8);
        let per_cluster = self.cluster_size.checked_div(self.block_size).unwrap_or(0);
        check(per_cluster > 0, "cluster size", self.cluster_size)?;
        let most = bits.saturating_mul(per_cluster);
        check((1..=most).contains(&self.blocks_per_group), "group size", self.blocks_per_group)?;
        check((1..=bits).contains(&self.inodes_per_group), "number of inodes", self.inodes_per_group)?;
        let inodes = self.group_count().saturating_mul(self.inodes_per_group);
        check(inodes == u64::from(self.inode_count), "number of inodes", u64::from(self.inode_count))?;
        let size = self.inode_size;
        check(size.is_power_of_two() && (128..=self.block_size).contains(&size), "inode size", size)?;
        let size = self.descriptor_size;
        check(size.is_power_of_two() && (32..=1024).contains(&size), "descriptor size", size)?;
        Ok(())
    }

    /// The size of the filesystem in bytes.
    pub fn size(&self) -> u64 {
        self.block_count.saturating_mul(self.block_size)
    }

    /// The bytes that something is in.
    pub fn used_size(&self) -> u64 {
        self.block_count.saturating_sub(self.free_block_count).saturating_mul(self.block_size)
    }

    /// The block that the superblock itself is in, and where in there.
    pub(super) fn own_place(&self) -> (u64, usize) {
        let (block, at) = (OFFSET.checked_div(self.block_size), OFFSET.checked_rem(self.block_size));
        (block.unwrap_or(0), at.unwrap_or(0) as usize)
    }

    /// The size of an inode in bytes.
    pub fn inode_size(&self) -> u64 {
        self.inode_size
    }

    /// How many groups there are.
    pub(super) fn group_count(&self) -> u64 {
        self.block_count.saturating_sub(self.first_data_block).div_ceil(self.blocks_per_group.max(1))
    }

    /// Whether it has `feature`.
    pub(super) fn has(&self, feature: features::Feature) -> bool {
        self.features.has(feature)
    }

    /// The blocks of `group`.
    pub(super) fn blocks_of(&self, group: u64) -> std::ops::Range<u64> {
        let first = self.first_data_block.saturating_add(group.saturating_mul(self.blocks_per_group));
        first..first.saturating_add(self.blocks_per_group).min(self.block_count)
    }

    /// The group of inode `number`, and its index in there.
    pub(super) fn place_of_inode(&self, number: u32) -> (u64, u64) {
        let index = u64::from(number).saturating_sub(1);
        let (group, inside) =
            (index.checked_div(self.inodes_per_group), index.checked_rem(self.inodes_per_group));
        (group.unwrap_or(0), inside.unwrap_or(0))
    }

    /// The group of block `block`.
    pub(super) fn group_of(&self, block: u64) -> u64 {
        block.saturating_sub(self.first_data_block).checked_div(self.blocks_per_group).unwrap_or(0)
    }

    /// The first inode of `group`, counted from 1.
    pub(super) fn first_inode_of(&self, group: u64) -> u64 {
        group.saturating_mul(self.inodes_per_group).saturating_add(1)
    }

    /// Whether `count` blocks from `first` on may be an inode's: within the filesystem, behind the superblock.
    pub(super) fn has_blocks(&self, first: u64, count: u64) -> bool {
        first > self.first_data_block && first.checked_add(count).is_some_and(|end| end <= self.block_count)
    }
}

fn check(ok: bool, field: &'static str, value: u64) -> std::result::Result<u64, Ext4Rule> {
    match ok {
        true => Ok(value),
        false => Err(Ext4Rule::Superblock { field, value }),
    }
}

/// Text up to its first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ext4::field::put;

    /// Of an ext2 of 8 MiB with blocks of 1 KiB in one group.
    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        put(&mut bytes, 0x38, &0xef53_u16.to_le_bytes());
        let fields =
            [(0x00, 2048), (0x04, 8192), (0x0c, 7000), (0x10, 2000), (0x14, 1), (0x20, 8192), (0x28, 2048)];
        for (at, value) in fields.into_iter().chain([(0x4c, 1), (0x54, 11), (0x58, 128)]) {
            put(&mut bytes, at, &u32::to_le_bytes(value));
        }
        put(&mut bytes, 0x3a, &[1]);
        put(&mut bytes, 0x78, b"label\0rest");
        bytes
    }

    #[test]
    fn a_superblock_is_checked_before_anything_is_believed() {
        let size = 8 << 20;
        let good = Superblock::from_bytes(&bytes(), size).unwrap();
        assert_eq!((good.block_size, good.group_count(), good.label.as_str()), (1024, 1, "label"));
        assert!(good.is_clean && !good.has_errors && !good.has_journal);
        assert_eq!((good.size(), good.used_size()), (8 << 20, 1192 << 10));
        assert!(good.has_blocks(2, 8190) && !good.has_blocks(2, 8191) && !good.has_blocks(1, 1));
        assert!(!good.has_blocks(u64::MAX, 2));
        let rule = |at, value: u32| {
            let mut bytes = bytes();
            put(&mut bytes, at, &value.to_le_bytes());
            Superblock::from_bytes(&bytes, size).unwrap_err()
        };
        assert_eq!(rule(0x38, 0), Ext4Rule::NoSuperblock);
        assert_eq!(rule(0x04, 8193), Ext4Rule::LargerThanDisk { blocks: 8193, size });
        for (at, value, field) in [
            (0x18, 7, "block size"),
            (0x14, 8192, "first block"),
            (0x20, 0, "group size"),
            (0x20, 8193, "group size"),
            (0x28, 0, "number of inodes"),
            (0x28, 8193, "number of inodes"),
            (0x00, 2047, "number of inodes"),
            (0x58, 64, "inode size"),
            (0x58, 2048, "inode size"),
            (0x58, 192, "inode size"),
        ] {
            let error = rule(at, value);
            assert!(matches!(error, Ext4Rule::Superblock { field: found, .. } if found == field), "{error}");
        }
        assert_eq!(rule(0x64, 0x400), Ext4Rule::Checksum(Checksummed::Superblock));
        assert!(matches!(rule(0x60, 0x80), Ext4Rule::Superblock { field: "descriptor size", value: 0 }));
    }
}
