//! What a file has from one of its places on: bytes in the item itself, bytes elsewhere, or zeroes.
//!
//! ```text
//! 8 length unpacked │ 16 compression │ 17 encryption │ 18 other encoding │ 20 kind
//! kind 0   21 the bytes themselves, packed or not
//! kind 1   21 address, or 0 for a hole │ 29 length there │ 37 first byte that counts │ 45 how many count
//! kind 2   the same, set aside and never written
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_file_extent_item).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::compression::{Compression, LIMIT};
use super::field::{round_up, u8_at, u16_at, u64_at};
use super::rule::BtrfsRule;
use super::tree_block::Item;
use crate::block::ByteRange;
use crate::error::{Error, Result};

/// Of an extent without what depends on its kind.
pub(super) const HEAD_LEN: usize = 21;
/// Of an extent whose bytes are elsewhere.
pub(super) const EXTENT_LEN: usize = 53;

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct FileExtent {
    /// Which part, in bytes; it may end behind the end of the file.
    pub(super) range: ByteRange,
    pub(super) place: Place,
}

/// Where a part of a file is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the item, behind its head.
    Inline { item: Item, packed: Option<Compression>, len: u64 },
    /// At this logical address.
    Data(u64),
    /// In something compressed.
    Packed(Packed),
    /// Set aside and never written: zeroes.
    Unwritten,
    /// Nowhere: zeroes.
    Hole,
}

/// An extent that is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) compression: Compression,
    /// Its logical address.
    pub(super) logical: u64,
    /// Its length there.
    pub(super) len: u64,
    /// Its length unpacked.
    pub(super) unpacked: u64,
    /// The first unpacked byte that belongs to the file.
    pub(super) skip: u64,
}

impl FileExtent {
    /// The extent that `item` tells.
    pub(super) fn new(item: &Item, sector_size: u32) -> Result<Self> {
        let (inode, offset) = (item.key.object, item.key.offset);
        let wrong = |what| Error::corrupt(BtrfsRule::Extent { inode, offset, what });
        if u8_at(item, 17) != 0 || u16_at(item, 18) != 0 {
            return Err(Error::unsupported(format!(
                "inode {inode} is encrypted or encoded in an unknown way"
            )));
        }
        let packed = Compression::from_number(u8_at(item, 16)).ok_or_else(|| {
            Error::unsupported(format!("inode {inode} is compressed in an unknown way, {}", u8_at(item, 16)))
        })?;
        let sector = u64::from(sector_size);
        match u8_at(item, 20) {
            0 => Self::inline(item, packed, sector),
            kind @ 1..=2 if item.len() >= EXTENT_LEN => Self::elsewhere(item, packed, sector, kind == 2),
            1..=2 => Err("length"),
            _ => Err("kind"),
        }
        .map_err(wrong)
    }

    fn inline(
        item: &Item,
        packed: Option<Compression>,
        sector: u64,
    ) -> std::result::Result<Self, &'static str> {
        let stored = item.len().checked_sub(HEAD_LEN).ok_or("length")? as u64;
        if item.key.offset != 0 {
            return Err("place");
        }
        let len = if packed.is_some() { u64_at(item, 8) } else { stored };
        if len > LIMIT {
            return Err("length unpacked");
        }
        let place = Place::Inline { item: item.clone(), packed, len };
        Ok(Self { range: ByteRange::whole(round_up(len, sector)), place })
    }

    fn elsewhere(
        item: &Item,
        compression: Option<Compression>,
        sector: u64,
        is_unwritten: bool,
    ) -> std::result::Result<Self, &'static str> {
        let [logical, len, skip, count] = [21, 29, 37, 45].map(|at| u64_at(item, at));
        let is_aligned = |value: u64| value & sector.saturating_sub(1) == 0;
        if ![item.key.offset, logical, len, skip, count].into_iter().all(is_aligned) {
            return Err("alignment");
        }
        let range = ByteRange::new(item.key.offset, count).map_err(|_| "count of bytes")?;
        if count == 0 {
            return Err("count of bytes");
        }
        if logical == 0 {
            return Ok(Self { range, place: Place::Hole });
        }
        let unpacked = if compression.is_some() { u64_at(item, 8) } else { len };
        if skip.checked_add(count).is_none_or(|end| end > round_up(unpacked, sector)) {
            return Err("first byte");
        }
        let place = match compression {
            _ if is_unwritten => Place::Unwritten,
            Some(_) if len > LIMIT || unpacked > LIMIT => return Err("length"),
            Some(compression) => Place::Packed(Packed { compression, logical, len, unpacked, skip }),
            None => Place::Data(logical.checked_add(skip).ok_or("address")?),
        };
        Ok(Self { range, place })
    }
}

/// The address and the length of what is stored for `item`; `None` for holes, and for what is in the item itself.
pub(super) fn stored_extent(item: &Item) -> Option<(u64, u64)> {
    let (kind, start, len) = (u8_at(item, 20), u64_at(item, 21), u64_at(item, 29));
    (kind != 0 && start != 0).then_some((start, len))
}

#[cfg(test)]
mod tests {
    use super::super::key::{EXTENT_DATA, Key};
    use super::*;

    fn item(offset: u64, packed: u8, kind: u8, fields: [u64; 4]) -> Item {
        let mut bytes = vec![0; EXTENT_LEN];
        bytes[8..16].copy_from_slice(&(64_u64 << 10).to_le_bytes());
        bytes[16] = packed;
        bytes[20] = kind;
        for (index, field) in fields.iter().enumerate() {
            bytes[21 + index * 8..29 + index * 8].copy_from_slice(&field.to_le_bytes());
        }
        Item::new(Key::new(257, EXTENT_DATA, offset), bytes.into())
    }

    fn what(item: Item) -> String {
        FileExtent::new(&item, 4096).unwrap_err().to_string()
    }

    #[test]
    fn extents_are_told_by_kind() {
        let extent = |item: Item| FileExtent::new(&item, 4096).unwrap();
        let found = extent(item(4096, 0, 1, [1 << 20, 16384, 4096, 8192]));
        assert_eq!(found.range, ByteRange::new(4096, 8192).unwrap());
        assert!(matches!(found.place, Place::Data(at) if at == (1 << 20) + 4096));
        assert!(matches!(extent(item(0, 0, 2, [4096, 4096, 0, 4096])).place, Place::Unwritten));
        assert!(matches!(extent(item(0, 0, 1, [0, 0, 0, 4096])).place, Place::Hole));
        let found = extent(item(0, 3, 1, [4096, 4096, 8192, 4096]));
        assert!(matches!(found.place, Place::Packed(Packed { skip: 8192, unpacked: 65536, len: 4096, .. })));
        let found = extent(item(0, 0, 0, [0; 4]));
        assert!(matches!(found.place, Place::Inline { packed: None, len: 32, .. }));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let told = |what: &str, offset: &str| {
            format!("the extent of inode 257 at file offset {offset} has an impossible {what}")
        };
        assert_eq!(what(item(4096, 0, 0, [0; 4])), told("place", "0x1000"));
        assert_eq!(what(item(0, 0, 3, [0; 4])), told("kind", "0x0"));
        assert_eq!(what(item(0, 0, 1, [4096, 4096, 4096, 4096])), told("first byte", "0x0"));
        assert_eq!(what(item(0, 0, 1, [4096, 4096, 0, 100])), told("alignment", "0x0"));
        assert_eq!(what(item(0, 3, 1, [4096, 1 << 20, 0, 4096])), told("length", "0x0"));
        assert_eq!(what(item(0, 9, 1, [0; 4])), "inode 257 is compressed in an unknown way, 9");
    }
}
