//! Where an ext4 filesystem has what: superblock, group descriptors, checksums.
//!
//! ```text
//! 1024  superblock        block 1 (0 if blocks are larger)  group descriptors
//! group: [superblock copy │ descriptors │ reserved] block bitmap │ inode bitmap │ inode table │ data
//! ```
//!
//! Linux kernel documentation, filesystems/ext4 ("Layout"). Offsets are in bytes.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use uuid::Uuid;

use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// Where the superblock is, and how long.
const SUPERBLOCK_OFFSET: u64 = 1024;
const SUPERBLOCK_LEN: usize = 1024;
/// More descriptors than are read at once: those of 64 TiB.
const DESCRIPTOR_LIMIT: u64 = 64 << 20;

const COMPATIBLE_HAS_JOURNAL: u32 = 0x4;
const INCOMPATIBLE_META_BG: u32 = 0x10;
const INCOMPATIBLE_64BIT: u32 = 0x80;
const INCOMPATIBLE_CSUM_SEED: u32 = 0x2000;
const READ_ONLY_GDT_CSUM: u32 = 0x10;
const READ_ONLY_BIGALLOC: u32 = 0x200;
const READ_ONLY_METADATA_CSUM: u32 = 0x400;

/// Errors were found, and not mended yet.
const STATE_ERRORS: u16 = 0x2;

/// The group's inode table and inode bitmap were never written.
const GROUP_INODE_UNINIT: u16 = 0x1;
/// The group's block bitmap was never written.
const GROUP_BLOCK_UNINIT: u16 = 0x2;

/// CRC-32C as ext4 uses it: inverted at its start, not at its end.
const CRC32C: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x1cf9_6d7c,
    residue: 0,
});

/// A rule that an ext4 filesystem breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4Rule {
    /// The superblock's mark must be there.
    #[error("there is no ext4 superblock")]
    NoSuperblock,
    /// Sizes must make sense.
    #[error("the superblock has an impossible {field}: {value:#x}")]
    Superblock {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// All blocks must be on the disk.
    #[error("the filesystem has {blocks} blocks, which this disk of {size} bytes does not hold")]
    LargerThanDisk {
        /// As the superblock says.
        blocks: u64,
        /// Of the disk.
        size: u64,
    },
    /// A group's tables must be in the filesystem.
    #[error("the {what} of group {group} is at block {block:#x}, outside the filesystem")]
    OutsideFilesystem {
        /// Which group.
        group: u64,
        /// Which table.
        what: &'static str,
        /// Where it is said to be.
        block: u64,
    },
    /// A block bitmap must be what its group says.
    #[error("the block bitmap of group {group} has {what} than the group says")]
    Bitmap {
        /// Which group.
        group: u64,
        /// What differs.
        what: &'static str,
    },
}

/// What a superblock says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The size of a block in bytes: a power of two from 1024 to 65536.
    pub block_size: u64,
    /// All blocks.
    pub block_count: u64,
    /// The blocks that nothing is in.
    pub free_block_count: u64,
    /// All inodes.
    pub inode_count: u32,
    /// The inodes that are free.
    pub free_inode_count: u32,
    /// Its UUID.
    pub uuid: Uuid,
    /// Whether it was unmounted (state bit 0) and has no journal to replay.
    pub is_clean: bool,
    /// Whether it has a journal.
    pub has_journal: bool,
    first_data_block: u64,
    blocks_per_group: u64,
    inodes_per_group: u64,
    inode_size: u64,
    descriptor_size: u64,
    has_meta_bg: bool,
    has_uninit_groups: bool,
    has_clusters: bool,
    has_errors: bool,
    /// What inode checksums begin with; `None` if there are none.
    checksum_seed: Option<u32>,
}

/// Where a group has its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_table: u64,
    /// How many inodes at the table's beginning may be in use.
    pub(super) inodes_in_use: u64,
    /// Whether the block bitmap is to be read: else only the group's own tables are in use.
    pub(super) has_block_bitmap: bool,
    /// Of the block bitmap; the upper half is 0 in small descriptors.
    pub(super) block_bitmap_checksum: u32,
    pub(super) free_blocks: u64,
}

impl Superblock {
    /// The superblock of the filesystem on `disk`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`]; whatever the disk says.
    pub fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Self> {
        let doing = || "reading the ext4 superblock";
        let end = SUPERBLOCK_OFFSET.saturating_add(SUPERBLOCK_LEN as u64);
        if disk.size() < end {
            return Err(Error::corrupt(Ext4Rule::NoSuperblock)).doing(doing);
        }
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        disk.read_at(&mut bytes, SUPERBLOCK_OFFSET).doing(doing)?;
        Self::from_bytes(&bytes, disk.size()).map_err(Error::corrupt).doing(doing)
    }

    fn from_bytes(bytes: &[u8], disk_size: u64) -> std::result::Result<Self, Ext4Rule> {
        let u16_at = |at| u16::from_le_bytes(field(bytes, at));
        let u32_at = |at| u32::from_le_bytes(field(bytes, at));
        let wide = |low, high| u64::from(u32_at(low)) | u64::from(u32_at(high)) << 32;
        if u16_at(0x38) != 0xef53 {
            return Err(Ext4Rule::NoSuperblock);
        }
        let check = |ok: bool, field, value: u64| match ok {
            true => Ok(value),
            false => Err(Ext4Rule::Superblock { field, value }),
        };
        let log_block_size = check(u32_at(0x18) <= 6, "block size", u64::from(u32_at(0x18)))?;
        let block_size = 1024 << log_block_size;
        let (incompatible, read_only) = (u32_at(0x60), u32_at(0x64));
        let is_64bit = incompatible & INCOMPATIBLE_64BIT != 0;
        let high = |low, high| if is_64bit { wide(low, high) } else { u64::from(u32_at(low)) };
        let block_count = high(0x04, 0x150);
        if block_count.checked_mul(block_size).is_none_or(|size| size > disk_size) {
            return Err(Ext4Rule::LargerThanDisk { blocks: block_count, size: disk_size });
        }
        let blocks_per_group = u64::from(u32_at(0x20));
        check(
            (1..=block_size.saturating_mul(8)).contains(&blocks_per_group),
            "group size",
            blocks_per_group,
        )?;
        let inodes_per_group = u64::from(u32_at(0x28));
        check(
            (1..=block_size.saturating_mul(8)).contains(&inodes_per_group),
            "number of inodes",
            inodes_per_group,
        )?;
        let inode_size = if u32_at(0x4c) == 0 { 128 } else { u64::from(u16_at(0x58)) };
        let sane_inode = inode_size.is_power_of_two() && (128..=block_size).contains(&inode_size);
        check(sane_inode, "inode size", inode_size)?;
        let descriptor_size = if is_64bit { u64::from(u16_at(0xfe)) } else { 32 };
        let sane_descriptor = descriptor_size.is_power_of_two() && (32..=1024).contains(&descriptor_size);
        check(sane_descriptor, "descriptor size", descriptor_size)?;
        let first_data_block =
            check(u64::from(u32_at(0x14)) < block_count, "first block", u64::from(u32_at(0x14)))?;
        let uuid = Uuid::from_bytes(field(bytes, 0x68));
        let seed = match incompatible & INCOMPATIBLE_CSUM_SEED != 0 {
            true => u32_at(0x270),
            false => CRC32C.checksum(uuid.as_bytes()),
        };
        Ok(Self {
            block_size,
            block_count,
            free_block_count: high(0x0c, 0x158),
            inode_count: u32_at(0x00),
            free_inode_count: u32_at(0x10),
            uuid,
            // Bit 2 of the incompatible features: the journal has something to replay.
            is_clean: u16_at(0x3a) & 1 != 0 && incompatible & 0x4 == 0,
            has_journal: u32_at(0x5c) & COMPATIBLE_HAS_JOURNAL != 0,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inode_size,
            descriptor_size,
            has_meta_bg: incompatible & INCOMPATIBLE_META_BG != 0,
            has_errors: u16_at(0x3a) & STATE_ERRORS != 0,
            has_uninit_groups: read_only & (READ_ONLY_GDT_CSUM | READ_ONLY_METADATA_CSUM) != 0,
            has_clusters: read_only & READ_ONLY_BIGALLOC != 0,
            checksum_seed: (read_only & READ_ONLY_METADATA_CSUM != 0).then_some(seed),
        })
    }

    /// The size of the filesystem in bytes.
    pub fn size(&self) -> u64 {
        self.block_count.saturating_mul(self.block_size)
    }

    /// Whether its bitmaps count clusters of blocks (bigalloc).
    pub(super) fn has_clusters(&self) -> bool {
        self.has_clusters
    }

    /// The blocks of `group`.
    pub(super) fn blocks_of(&self, group: u64) -> std::ops::Range<u64> {
        let first = self.first_data_block.saturating_add(group.saturating_mul(self.blocks_per_group));
        first..first.saturating_add(self.blocks_per_group).min(self.block_count)
    }

    /// The size of an inode in bytes.
    pub(super) fn inode_size(&self) -> u64 {
        self.inode_size
    }

    /// The first inode of `group`, counted from 1.
    pub(super) fn first_inode(&self, group: u64) -> u64 {
        group.saturating_mul(self.inodes_per_group).saturating_add(1)
    }

    /// The groups' tables, each checked to lie within the filesystem.
    pub(super) fn groups(&self, disk: &(impl BlockRead + ?Sized)) -> Result<Vec<Group>> {
        let doing = || "reading the ext4 group descriptors";
        if self.has_meta_bg {
            return Err(Error::unsupported("the descriptors are spread over the filesystem (meta_bg)"))
                .doing(doing);
        }
        let blocks = self.block_count.saturating_sub(self.first_data_block);
        let count = blocks.div_ceil(self.blocks_per_group.max(1));
        let len = count.saturating_mul(self.descriptor_size);
        let offset = self.first_data_block.saturating_add(1).saturating_mul(self.block_size);
        if len > DESCRIPTOR_LIMIT {
            return Err(Error::unsupported(format!("{count} groups are too many to read"))).doing(doing);
        }
        ByteRange::new(offset, len).and_then(|range| range.check_within(disk.size())).doing(doing)?;
        let mut bytes = vec![0; len as usize];
        disk.read_at(&mut bytes, offset).doing(doing)?;
        let descriptors = bytes.chunks_exact(self.descriptor_size as usize);
        (0..)
            .zip(descriptors)
            .map(|(group, bytes)| self.group(group, bytes))
            .collect::<Result<_>>()
            .doing(doing)
    }

    fn group(&self, group: u64, bytes: &[u8]) -> Result<Group> {
        let part = |at| u64::from(u32::from_le_bytes(field(bytes, at)));
        let high = |at| if self.descriptor_size >= 64 { part(at) << 32 } else { 0 };
        let flags = u16::from_le_bytes(field(bytes, 0x12));
        let unused_high = if self.descriptor_size >= 64 { u16::from_le_bytes(field(bytes, 0x32)) } else { 0 };
        let unused = u64::from(u16::from_le_bytes(field(bytes, 0x1c))) | u64::from(unused_high) << 16;
        let inodes_in_use = match self.has_uninit_groups {
            false => self.inodes_per_group,
            true if flags & GROUP_INODE_UNINIT != 0 => 0,
            true => self.inodes_per_group.saturating_sub(unused),
        };
        let block_bitmap = part(0x00) | high(0x20);
        let inode_table = part(0x08) | high(0x28);
        let table_blocks = self.inodes_per_group.saturating_mul(self.inode_size).div_ceil(self.block_size);
        for (what, block, len) in
            [("block bitmap", block_bitmap, 1), ("inode table", inode_table, table_blocks)]
        {
            if block < self.first_data_block || block.saturating_add(len) > self.block_count {
                return Err(Error::corrupt(Ext4Rule::OutsideFilesystem { group, what, block }));
            }
        }
        let has_block_bitmap = !(self.has_uninit_groups && flags & GROUP_BLOCK_UNINIT != 0);
        let halves = |low, high: usize| {
            let half = |at| u32::from(u16::from_le_bytes(field(bytes, at)));
            half(low) | if self.descriptor_size >= 64 { half(high) << 16 } else { 0 }
        };
        let block_bitmap_checksum = halves(0x18, 0x38);
        let free_blocks = u64::from(halves(0x0c, 0x2c));
        Ok(Group {
            block_bitmap,
            inode_table,
            inodes_in_use,
            has_block_bitmap,
            block_bitmap_checksum,
            free_blocks,
        })
    }

    /// Whether errors are recorded in it.
    pub(super) fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Whether `bitmap`, of a group's blocks, has the checksum that `group` says; also where there are none.
    pub(super) fn is_bitmap_sound(&self, group: &Group, bitmap: &[u8]) -> bool {
        let bits = bitmap.get(..(self.blocks_per_group >> 3) as usize);
        let (Some(seed), Some(bits)) = (self.checksum_seed, bits) else { return true };
        let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
        digest.update(bits);
        // Small descriptors have room for half of it.
        let mask = if self.descriptor_size >= 64 { u32::MAX } else { 0xffff };
        digest.finalize() & mask == group.block_bitmap_checksum & mask
    }

    /// The checksum of `inode`, the bytes of inode `number`, whose own checksum counts as zero; `None` if this
    /// filesystem has none.
    pub(super) fn inode_checksum(&self, number: u32, inode: &[u8]) -> Option<u32> {
        // A CRC goes on from where another stopped if it begins with that one's value, reflected.
        let mut digest = CRC32C.digest_with_initial(self.checksum_seed?.reverse_bits());
        digest.update(&number.to_le_bytes());
        // The generation.
        digest.update(&field::<4>(inode, 0x64));
        let mut summed = inode.to_vec();
        for at in checksum_fields(inode) {
            if let Some(bytes) = summed.get_mut(at..at.saturating_add(2)) {
                bytes.fill(0);
            }
        }
        digest.update(&summed);
        Some(digest.finalize())
    }
}

/// Where an inode has the halves of its checksum, the lower one first: the upper one only in a large inode.
pub(super) fn checksum_fields(inode: &[u8]) -> impl Iterator<Item = usize> {
    let has_upper = inode.len() > 128 && u16::from_le_bytes(field(inode, 0x80)) >= 4;
    [Some(0x7c), has_upper.then_some(0x82)].into_iter().flatten()
}

pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
