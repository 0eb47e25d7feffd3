//! Buffers in the log: the parts of a block that a transaction changed.
//!
//! ```text
//! region 0   0 kind, regions │ 4 flags │ 6 sectors │ 8 first sector │ 16 words of the map │ 20 map, a bit for each 128 bytes
//! region n   the bytes of one run of bits, or of its beginning
//! ```
//! XFS Algorithms & Data Structures, "Buffer Log Item".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::transaction::Item;
use crate::error::Result;
use crate::fs::xfs::features::META_UUID;
use crate::fs::xfs::field::{field, le16_at, le32_at, le64_at, part, put, u16_at, u32_at, u64_at};
use crate::fs::xfs::rule::XfsRule;
use crate::fs::xfs::superblock::Superblock;

/// Of inodes, of which nothing but the list of those without names is in the buffer.
const INODES: u16 = 0x1;
const REMOVAL: u16 = 0x2;
/// Of quotas.
const QUOTAS: u16 = 0x1c;
const MAP_AT: usize = 20;
/// Bytes of a bit.
const CHUNK: usize = 128;
/// Bits of a map: of 64 KiB.
const BITS_MAX: usize = 512;

/// A buffer's item.
pub(super) struct BufferItem<'a> {
    item: &'a Item,
    flags: u16,
    first: u64,
    count: u64,
}

impl<'a> BufferItem<'a> {
    /// Sectors of the largest buffer.
    pub(super) const SECTORS_MAX: u64 = 128;

    pub(super) fn from_item(item: &'a Item) -> Result<Self> {
        let head = item.region(0);
        if head.len() < MAP_AT {
            return Err(XfsRule::in_log("length of a buffer's item", head.len() as u64));
        }
        let (flags, count, first) = (le16_at(head, 4), u64::from(le16_at(head, 6)), le64_at(head, 8));
        Ok(Self { item, flags, first, count })
    }

    /// Its first sector on the disk, and how many it has.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.first, self.count)
    }

    pub(super) fn is_removal(&self) -> bool {
        self.flags & REMOVAL != 0
    }

    /// Whether anything of it is read later.
    pub(super) fn is_replayed(&self) -> bool {
        self.flags & (INODES | REMOVAL | QUOTAS) == 0
    }

    /// Whether `bytes`, what is on the disk, is as new as a transaction that begins at `lsn`.
    pub(super) fn is_newer(&self, superblock: &Superblock, bytes: &[u8], lsn: u64) -> bool {
        if !superblock.has_sums {
            return false;
        }
        let Some((lsn_at, uuid_at)) = lsn_place(bytes) else { return false };
        let found = u64_at(bytes, lsn_at);
        field::<16>(bytes, uuid_at) == superblock.uuid && found != 0 && found != u64::MAX && found >= lsn
    }

    /// Puts what was changed in its place in `bytes`.
    pub(super) fn lay_over(&self, bytes: &mut [u8]) -> Result<()> {
        let head = self.item.region(0);
        let bits = (le32_at(head, 16) as usize).saturating_mul(32).min(BITS_MAX);
        let is_set = |bit: usize| bit < bits && le32_at(head, map_at(bit)) >> (bit % 32) & 1 != 0;
        let (mut bit, mut index) = (0, 1);
        while bit < bits {
            if !is_set(bit) {
                bit = bit.saturating_add(1);
                continue;
            }
            let run = (bit..bits).take_while(|bit| is_set(*bit)).count();
            let region = self.item.region(index);
            // One run may be in several regions.
            let chunks = run.min(region.len() / CHUNK);
            let (at, len) = (bit.saturating_mul(CHUNK), chunks.saturating_mul(CHUNK));
            if chunks == 0 || at.saturating_add(len) > bytes.len() {
                return Err(XfsRule::in_log("map of the buffer at sector", self.first));
            }
            put(bytes, at, part(region, 0, len));
            bit = bit.saturating_add(chunks);
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

fn map_at(bit: usize) -> usize {
    (bit / 32).saturating_mul(4).saturating_add(MAP_AT)
}

/// Where a block says how new it is, and which filesystem's it is, by its mark; `None` if it does not.
fn lsn_place(bytes: &[u8]) -> Option<(usize, usize)> {
    Some(match &field::<4>(bytes, 0) {
        // Trees of free space, of reverse mappings, of shared blocks, of inodes.
        b"AB3B" | b"AB3C" | b"ABTB" | b"ABTC" | b"RMB3" | b"R3FC" | b"IAB3" | b"IABT" => (24, 32),
        b"BMA3" | b"BMAP" => (32, 40),
        b"XAGF" => (208, 64),
        b"XAFL" => (24, 8),
        b"XAGI" => (320, 296),
        b"XSLM" => (48, 16),
        b"XDB3" | b"XDD3" | b"XDF3" => (16, 24),
        b"XFSB" => (240, superblock_uuid_at(bytes)),
        _ if matches!(u16_at(bytes, 8), 0x3df1 | 0x3dff | 0x3ebe | 0x3bee) => (24, 32),
        _ => return None,
    })
}

/// Where a superblock says what its metadata belongs to.
fn superblock_uuid_at(bytes: &[u8]) -> usize {
    if u32_at(bytes, 216) & META_UUID != 0 { 248 } else { 32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_lead_to_places() {
        // Bits 1, 2 and 33, the first two in two regions.
        let mut head =
            vec![0x3c, 0x12, 4, 0, 0, 0, 16, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0];
        let regions = |head: &[u8]| vec![head.to_vec(), vec![1; 128], vec![2; 128], vec![3; 128]];
        let item = Item { regions: regions(&head) };
        let buffer = BufferItem::from_item(&item).unwrap();
        assert_eq!(buffer.place(), (8, 16));
        let mut bytes = vec![0; 8192];
        buffer.lay_over(&mut bytes).unwrap();
        let found: Vec<u8> = [0, 128, 256, 384, 33 * 128, 34 * 128].iter().map(|at| bytes[*at]).collect();
        assert_eq!(found, [0, 1, 2, 0, 3, 0]);
        assert!(buffer.lay_over(&mut bytes[..4096]).is_err(), "outside");
        head[20] = 7;
        head[24] = 6;
        let item = Item { regions: regions(&head) };
        assert!(BufferItem::from_item(&item).unwrap().lay_over(&mut bytes).is_err(), "a region is missing");
        head[4] = 2;
        let item = Item { regions: regions(&head) };
        let buffer = BufferItem::from_item(&item).unwrap();
        assert!(buffer.is_removal() && !buffer.is_replayed());
    }
}
