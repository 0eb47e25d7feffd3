//! Group descriptors: where each group has its bitmaps and its inodes.
//!
//! ```text
//! superblock │ descriptors of all groups │ …                       usually
//! superblock │ descriptors of a meta group │ … │ of the next │ …     meta_bg: each block of them in the first of its groups
//!
//! group: [superblock copy │ descriptors │ reserved] block bitmap │ inode bitmap │ inode table │ data
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Block Group Descriptors", "Meta Block Groups", "Sparse Super").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::checksum::{crc16, crc32c};
use super::features;
use super::field::{u16_at, u32_at, wide};
use super::rule::{Checksummed, Ext4Rule};
use super::superblock::Superblock;
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};

/// More groups than are held at once: those of 64 TiB in groups of 128 MiB.
const GROUP_LIMIT: u64 = 1 << 19;
/// From here on a descriptor has upper halves.
pub(super) const WIDE_LEN: usize = 64;
/// Where a descriptor has its own checksum.
pub(super) const CHECKSUM_AT: usize = 0x1e;

/// The group's inode table and inode bitmap were never written.
pub(super) const INODE_UNINIT: u16 = 0x1;
/// The group's block bitmap was never written.
pub(super) const BLOCK_UNINIT: u16 = 0x2;

/// Where a group has its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// How many inodes at the table's beginning may be in use.
    pub(super) inodes_in_use: u64,
    /// Whether the block bitmap is to be read: else only the group's own tables are in use.
    pub(super) has_block_bitmap: bool,
    /// Of the block bitmap; the upper half is 0 in small descriptors.
    block_bitmap_checksum: u32,
    pub(super) free_blocks: u64,
    /// Whether the inode bitmap is to be read: else no inode of it is in use.
    pub(super) has_inode_bitmap: bool,
    inode_bitmap_checksum: u32,
    pub(super) free_inodes: u64,
    pub(super) directories: u64,
}

impl Superblock {
    /// Where the descriptor of `group` is on the disk, in bytes.
    pub(super) fn descriptor_offset(&self, group: u64) -> u64 {
        let per_block = self.block_size.checked_div(self.descriptor_size).unwrap_or(1).max(1);
        let (index, inside) = (group.checked_div(per_block), group.checked_rem(per_block));
        let index = index.unwrap_or(0);
        // The block of the superblock itself: the second one of 1 KiB, else the first.
        let own = u64::from(self.block_size == 1024);
        let block = if self.has(features::META_BG) && index >= self.first_meta_group {
            let first = index.saturating_mul(per_block);
            let start = self.blocks_of(first).start;
            // With clusters, groups of 1 KiB blocks begin at 0 and the superblock is in block 1.
            let moved = u64::from(self.block_size == 1024 && index == 0 && self.first_data_block == 0);
            start.saturating_add(u64::from(self.has_superblock(first))).saturating_add(moved)
        } else {
            own.saturating_add(1).saturating_add(index)
        };
        let inside = inside.unwrap_or(0).saturating_mul(self.descriptor_size);
        block.saturating_mul(self.block_size).saturating_add(inside)
    }

    /// Whether `group` begins with a superblock, or a copy of it.
    pub(super) fn has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.has(features::SPARSE_SUPER2) {
            return self.backup_groups.iter().any(|backup| u64::from(*backup) == group);
        }
        let is_power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        group == 1 || !self.has(features::SPARSE_SUPER) || [3, 5, 7].into_iter().any(is_power_of)
    }

    /// All groups of the filesystem on `disk`, each checked to lie within it.
    pub(super) fn groups(&self, disk: &(impl BlockRead + ?Sized)) -> Result<Vec<Group>> {
        let doing = || "reading the ext4 group descriptors";
        let count = self.group_count();
        if count > GROUP_LIMIT {
            return Err(Error::unsupported(format!("{count} groups are too many to read"))).doing(doing);
        }
        let per_block = self.block_size.checked_div(self.descriptor_size).unwrap_or(1).max(1);
        let mut groups = Vec::new();
        let mut block = vec![0; self.block_size as usize];
        for first in (0..count).step_by(per_block as usize) {
            disk.read_at(&mut block, self.descriptor_offset(first)).doing(doing)?;
            let descriptors = block.chunks_exact(self.descriptor_size as usize);
            for (group, bytes) in (first..count).zip(descriptors) {
                groups.push(self.group(group, bytes).doing(doing)?);
            }
        }
        Ok(groups)
    }

    /// What `bytes`, the descriptor of `group`, say.
    pub(super) fn group(&self, group: u64, bytes: &[u8]) -> Result<Group> {
        if !self.is_group_sound(group, bytes) {
            return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Group(group))));
        }
        let is_wide = bytes.len() >= WIDE_LEN;
        let high = |at| if is_wide { u32_at(bytes, at) } else { 0 };
        let high_half = |at| if is_wide { u32::from(u16_at(bytes, at)) << 16 } else { 0 };
        let flags = u16_at(bytes, 0x12);
        let unused = u64::from(u32::from(u16_at(bytes, 0x1c)) | high_half(0x32));
        let has_uninit = self.has(features::GDT_CSUM) || self.has(features::METADATA_CSUM);
        let inodes_in_use = match has_uninit {
            false => self.inodes_per_group,
            true if flags & INODE_UNINIT != 0 => 0,
            true => self.inodes_per_group.saturating_sub(unused),
        };
        let block_bitmap = wide(u32_at(bytes, 0x00), high(0x20));
        let inode_bitmap = wide(u32_at(bytes, 0x04), high(0x24));
        let inode_table = wide(u32_at(bytes, 0x08), high(0x28));
        let table_blocks = self.table_blocks();
        for (what, block, len) in [
            ("block bitmap", block_bitmap, 1),
            ("inode bitmap", inode_bitmap, 1),
            ("inode table", inode_table, table_blocks),
        ] {
            if block < self.first_data_block || block.saturating_add(len) > self.block_count {
                return Err(Error::corrupt(Ext4Rule::OutsideFilesystem { group, what, block }));
            }
        }
        Ok(Group {
            block_bitmap,
            inode_bitmap,
            inode_table,
            inodes_in_use,
            has_block_bitmap: !(has_uninit && flags & BLOCK_UNINIT != 0),
            block_bitmap_checksum: u32::from(u16_at(bytes, 0x18)) | high_half(0x38),
            free_blocks: u64::from(u32::from(u16_at(bytes, 0x0c)) | high_half(0x2c)),
            has_inode_bitmap: !(has_uninit && flags & INODE_UNINIT != 0),
            inode_bitmap_checksum: u32::from(u16_at(bytes, 0x1a)) | high_half(0x3a),
            free_inodes: u64::from(u32::from(u16_at(bytes, 0x0e)) | high_half(0x2e)),
            directories: u64::from(u32::from(u16_at(bytes, 0x10)) | high_half(0x30)),
        })
    }

    fn is_group_sound(&self, group: u64, bytes: &[u8]) -> bool {
        self.group_checksum(group, bytes).is_none_or(|sum| sum == u16_at(bytes, CHECKSUM_AT))
    }

    /// The checksum of `bytes`, the descriptor of `group`; `None` where there are none.
    pub(super) fn group_checksum(&self, group: u64, bytes: &[u8]) -> Option<u16> {
        let number = (group as u32).to_le_bytes();
        let before = bytes.get(..CHECKSUM_AT).unwrap_or_default();
        let behind = bytes.get(CHECKSUM_AT.saturating_add(2)..).unwrap_or_default();
        if self.has(features::METADATA_CSUM) {
            Some(crc32c(self.seed, &[&number, before, &[0, 0], behind]) as u16)
        } else if self.has(features::GDT_CSUM) {
            Some(crc16(&[self.uuid.as_bytes(), &number, before, behind]))
        } else {
            None
        }
    }

    /// Whether `bitmap`, of a group's blocks, has the checksum that `group` says; also where there are none.
    pub(super) fn is_bitmap_sound(&self, group: &Group, bitmap: &[u8]) -> bool {
        let sum = self.bitmap_checksum(bitmap, self.clusters_per_group());
        sum.is_none_or(|sum| sum & self.bitmap_mask() == group.block_bitmap_checksum & self.bitmap_mask())
    }

    /// Likewise `bitmap`, of a group's inodes.
    pub(super) fn is_inode_bitmap_sound(&self, group: &Group, bitmap: &[u8]) -> bool {
        let sum = self.bitmap_checksum(bitmap, self.inodes_per_group);
        sum.is_none_or(|sum| sum & self.bitmap_mask() == group.inode_bitmap_checksum & self.bitmap_mask())
    }

    /// The checksum of a bitmap of `bits` bits; `None` where there are none.
    pub(super) fn bitmap_checksum(&self, bitmap: &[u8], bits: u64) -> Option<u32> {
        let bytes = bitmap.get(..(bits >> 3) as usize)?;
        self.has(features::METADATA_CSUM).then(|| crc32c(self.seed, &[bytes]))
    }

    /// Small descriptors have room for half of it.
    fn bitmap_mask(&self) -> u32 {
        if self.descriptor_size as usize >= WIDE_LEN { u32::MAX } else { 0xffff }
    }

    /// How many blocks a bit of a block bitmap stands for.
    pub(super) fn blocks_per_cluster(&self) -> u64 {
        self.cluster_size.checked_div(self.block_size).unwrap_or(1).max(1)
    }

    /// How many bits a group's block bitmap has.
    pub(super) fn clusters_per_group(&self) -> u64 {
        self.blocks_per_group.checked_div(self.blocks_per_cluster()).unwrap_or(0)
    }

    /// How many blocks a group's inode table has.
    pub(super) fn table_blocks(&self) -> u64 {
        self.inodes_per_group.saturating_mul(self.inode_size).div_ceil(self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ext4::field::put;

    /// Of a filesystem with blocks of 1 KiB and many groups.
    fn superblock(edit: impl FnOnce(&mut Vec<u8>)) -> Superblock {
        let mut bytes = vec![0; 1024];
        put(&mut bytes, 0x38, &0xef53_u16.to_le_bytes());
        let fields =
            [(0x00, 8 * 500), (0x04, 256 * 500), (0x14, 1), (0x20, 256), (0x28, 8), (0x4c, 1), (0x58, 128)];
        for (at, value) in fields {
            put(&mut bytes, at, &u32::to_le_bytes(value));
        }
        edit(&mut bytes);
        Superblock::from_bytes(&bytes, 1 << 40).unwrap()
    }

    #[test]
    fn descriptors_follow_the_superblock_or_lie_in_their_meta_group() {
        let plain = superblock(|_| {});
        assert_eq!(plain.descriptor_offset(0), 2048);
        assert_eq!(plain.descriptor_offset(33), 3072 + 32);
        // Of 32 descriptors each: from the third block on in their own groups.
        let meta = superblock(|bytes| {
            put(bytes, 0x60, &0x10_u32.to_le_bytes());
            put(bytes, 0x64, &1_u32.to_le_bytes());
            put(bytes, 0x104, &2_u32.to_le_bytes());
        });
        assert_eq!(meta.descriptor_offset(33), 3072 + 32);
        assert_eq!(meta.descriptor_offset(64), (1 + 64 * 256) * 1024);
        // A copy of the superblock comes before them only where there is one.
        assert_eq!(meta.descriptor_offset(97), (1 + 96 * 256) * 1024 + 32);
        let copies: Vec<u64> = (0..500).filter(|group| meta.has_superblock(*group)).collect();
        assert_eq!(copies, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
        let two = superblock(|bytes| {
            put(bytes, 0x5c, &0x200_u32.to_le_bytes());
            put(bytes, 0x24c, &1_u32.to_le_bytes());
            put(bytes, 0x250, &499_u32.to_le_bytes());
        });
        assert_eq!((0..500).filter(|group| two.has_superblock(*group)).collect::<Vec<_>>(), [0, 1, 499]);
        assert!((0..500).all(|group| plain.has_superblock(group)));
    }

    #[test]
    fn tables_outside_of_the_filesystem_are_refused() {
        let plain = superblock(|_| {});
        let mut bytes = [0; 32];
        for (at, block) in [(0, 3_u32), (4, 4), (8, 127_999)] {
            put(&mut bytes, at, &block.to_le_bytes());
        }
        assert_eq!(plain.group(0, &bytes).unwrap().inode_table, 127_999);
        put(&mut bytes, 8, &128_000_u32.to_le_bytes());
        let error = plain.group(7, &bytes).unwrap_err();
        let rule = Ext4Rule::OutsideFilesystem { group: 7, what: "inode table", block: 128_000 };
        assert_eq!(error.cause::<Ext4Rule>(), Some(&rule));
    }
}
