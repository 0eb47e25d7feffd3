//! The superblock: three places, one of which is enough.
//!
//! ```text
//! 64 KiB │ 64 MiB │ 256 GiB     4 KiB each; a kernel reads the first one
//!
//! 0x00 checksum │ 0x20 filesystem │ 0x30 own address │ 0x40 mark, generation, roots │ 0x90 sizes │ 0xc4 kind of checksum
//! 0xc9 device │ 0x12b label │ 0x23b UUID of metadata │ 0x32b system chunks, 2 KiB │ …
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_super_block).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::checksum::ChecksumKind;
use super::features;
use super::field::{field, u8_at, u16_at, u32_at, u64_at};
use super::rule::{BtrfsRule, Checksummed};
use crate::block::BlockRead;
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"_BHRfS_M";
/// Of a superblock, in bytes.
const LEN: usize = 4096;
/// Where it is, the one that counts first.
pub(super) const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// The largest sector and the largest node.
const SIZE_MAX: u32 = 64 << 10;
/// Trees have no more levels.
pub(super) const LEVELS: u8 = 8;

/// A tree's first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeRoot {
    /// Its logical address.
    pub(super) block: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// What the superblock says.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// What every tree block has as its filesystem.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) generation: u64,
    pub(super) root: TreeRoot,
    pub(super) chunk_root: TreeRoot,
    /// `None` if there is no log.
    pub(super) log_root: Option<TreeRoot>,
    pub(super) total_bytes: u64,
    pub(super) bytes_used: u64,
    /// The object whose names the root tree has.
    pub(super) root_directory: u64,
    pub(super) device_count: u64,
    /// The number of the device that it is on, how large that is, and what of it chunks have.
    pub(super) device: u64,
    pub(super) device_size: u64,
    pub(super) device_used: u64,
    /// Whether it is the one that counts first.
    pub(super) is_first: bool,
    /// Features without which nothing may be written.
    pub(super) unknown_read_only: u64,
    pub(super) sector_size: u32,
    pub(super) node_size: u32,
    pub(super) checksum: ChecksumKind,
    pub(super) system_chunks: Vec<u8>,
}

impl Superblock {
    /// The superblock of the filesystem on `disk`: the first one; if that is broken, of the others the newest.
    pub(super) fn read(disk: &dyn BlockRead) -> Result<Self> {
        let mut broken = None;
        let mut newest: Option<Self> = None;
        for (index, place) in PLACES.into_iter().enumerate() {
            match Self::read_from(disk, place) {
                Ok(found) if index == 0 => return Ok(found),
                Ok(found) if newest.as_ref().is_none_or(|known| known.generation < found.generation) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        newest.ok_or_else(|| broken.unwrap_or_else(|| Error::corrupt(BtrfsRule::NoSuperblock)))
    }

    fn read_from(disk: &dyn BlockRead, place: u64) -> Result<Self> {
        if disk.size() < place.saturating_add(LEN as u64) {
            return Err(Error::corrupt(BtrfsRule::NoSuperblock));
        }
        let mut bytes = vec![0; LEN];
        disk.read_at(&mut bytes, place)?;
        Self::from_bytes(&bytes, place)
    }

    fn from_bytes(bytes: &[u8], place: u64) -> Result<Self> {
        let wrong = |field, value| Error::corrupt(BtrfsRule::Superblock { field, value });
        if field(bytes, 0x40) != MAGIC {
            return Err(Error::corrupt(BtrfsRule::NoSuperblock));
        }
        let number = u16_at(bytes, 0xc4);
        let checksum = ChecksumKind::from_number(number)
            .ok_or_else(|| Error::unsupported(format!("its checksums are of an unknown kind, {number}")))?;
        if !checksum.is_of(bytes, bytes.get(0x20..LEN).unwrap_or_default()) {
            return Err(Error::corrupt(BtrfsRule::Checksum(Checksummed::Superblock)));
        }
        if u64_at(bytes, 0x30) != place {
            return Err(wrong("address", u64_at(bytes, 0x30)));
        }
        let incompatible = u64_at(bytes, 0xbc);
        refuse_unread(incompatible, u64_at(bytes, 0x38))?;
        let (sector_size, node_size) = (u32_at(bytes, 0x90), u32_at(bytes, 0x94));
        if !sector_size.is_power_of_two() || !(2048..=SIZE_MAX).contains(&sector_size) {
            return Err(wrong("sector size", u64::from(sector_size)));
        }
        if !node_size.is_power_of_two() || node_size < sector_size.max(4096) || node_size > SIZE_MAX {
            return Err(wrong("node size", u64::from(node_size)));
        }
        let generation = u64_at(bytes, 0x48);
        let root = |block, generation, level| match u8_at(bytes, level) {
            level if level < LEVELS => Ok(TreeRoot { block: u64_at(bytes, block), generation, level }),
            level => Err(wrong("level", u64::from(level))),
        };
        let log_root = root(0x60, generation.saturating_add(1), 0xc8);
        let chunks_len = u32_at(bytes, 0xa0) as usize;
        let system_chunks = bytes.get(0x32b..0xb2b).and_then(|array| array.get(..chunks_len));
        let has_metadata_uuid = incompatible & features::METADATA_UUID != 0;
        Ok(Self {
            metadata_uuid: field(bytes, if has_metadata_uuid { 0x23b } else { 0x20 }),
            generation,
            root: root(0x50, generation, 0xc6)?,
            chunk_root: root(0x58, u64_at(bytes, 0xa4), 0xc7)?,
            log_root: if u64_at(bytes, 0x60) == 0 { None } else { Some(log_root?) },
            total_bytes: u64_at(bytes, 0x70),
            bytes_used: u64_at(bytes, 0x78),
            root_directory: u64_at(bytes, 0x80),
            device_count: u64_at(bytes, 0x88),
            device: u64_at(bytes, 0xc9),
            device_size: u64_at(bytes, 0xd1),
            device_used: u64_at(bytes, 0xd9),
            is_first: PLACES.first() == Some(&place),
            unknown_read_only: u64_at(bytes, 0xb4) & !features::KNOWN_READ_ONLY,
            sector_size,
            node_size,
            checksum,
            system_chunks: system_chunks
                .ok_or_else(|| wrong("length of system chunks", chunks_len as u64))?
                .to_vec(),
        })
    }
}

fn refuse_unread(incompatible: u64, flags: u64) -> Result<()> {
    let unread = features::unread(incompatible);
    if !unread.is_empty() {
        return Err(Error::unsupported(format!("it has unsupported features: {}", unread.join(", "))));
    }
    let half_done = features::half_done(flags);
    if !half_done.is_empty() {
        return Err(Error::unsupported(format!("it was left half changed: {}", half_done.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    fn made(place: u64, generation: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        bytes[0x30..0x38].copy_from_slice(&place.to_le_bytes());
        bytes[0x40..0x48].copy_from_slice(&MAGIC);
        bytes[0x48..0x50].copy_from_slice(&generation.to_le_bytes());
        bytes[0x90..0x94].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[0x94..0x98].copy_from_slice(&16384_u32.to_le_bytes());
        change(&mut bytes);
        let sum = ChecksumKind::Crc32c.sum(&bytes[0x20..]);
        bytes[..32].copy_from_slice(&sum);
        bytes
    }

    fn disk(first: &[u8], second: &[u8]) -> MemoryDisk {
        let mut all = vec![0; (64 << 20) + LEN];
        all[64 << 10..(64 << 10) + LEN].copy_from_slice(first);
        all[64 << 20..].copy_from_slice(second);
        MemoryDisk::from_bytes(all)
    }

    #[test]
    fn the_first_one_counts_and_others_only_if_it_is_broken() {
        let (first, second) = (made(PLACES[0], 7, |_| ()), made(PLACES[1], 9, |_| ()));
        assert_eq!(Superblock::read(&disk(&first, &second)).unwrap().generation, 7);
        let mut broken = first.clone();
        broken[0x48] ^= 1;
        assert_eq!(Superblock::read(&disk(&broken, &second)).unwrap().generation, 9);
        let error = Superblock::read(&disk(&broken, &first)).unwrap_err();
        assert_eq!(error.to_string(), "the superblock has another checksum than it says");
    }

    #[test]
    fn what_is_not_read_is_told_by_name() {
        let error = Superblock::from_bytes(&made(0, 7, |bytes| bytes[0xbd] = 0x50), 0).unwrap_err();
        assert_eq!(error.to_string(), "it has unsupported features: zoned, raid_stripe_tree");
        let error = Superblock::from_bytes(&made(0, 7, |bytes| bytes[0x3c] = 0x40), 0).unwrap_err();
        assert_eq!(error.to_string(), "it was left half changed: changing_bg_tree");
        let error = Superblock::from_bytes(&made(0, 7, |bytes| bytes[0x95] = 0x41), 0).unwrap_err();
        assert_eq!(error.to_string(), "the superblock has an impossible node size: 0x4100");
        let error = Superblock::from_bytes(&made(0, 7, |bytes| bytes[0xc6] = 8), 0).unwrap_err();
        assert_eq!(error.to_string(), "the superblock has an impossible level: 0x8");
    }
}
