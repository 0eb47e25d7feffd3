//! A tree block, checked: items with their data, or pointers to blocks of the next lower level.
//!
//! ```text
//! header, 101 bytes   0 checksum │ 32 filesystem │ 48 own address │ 80 generation │ 88 tree │ 96 count │ 100 level
//! level 0             key, place and size of its data │ key, … │ … free … │ data │ data
//! else                key, address, generation │ key, … │ … free …
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_header, btrfs_leaf, btrfs_node).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Deref;
use std::sync::Arc;

use super::field::{u8_at, u32_at, u64_at};
use super::key::{KEY_LEN, Key};

pub(super) const HEADER_LEN: usize = 101;
/// Of an item's key with the place and size of its data.
const ITEM_LEN: usize = 25;
/// Of a key with a pointer.
const POINTER_LEN: usize = 33;

/// Checked bytes of a tree block.
#[derive(Debug)]
pub(super) struct TreeBlock {
    bytes: Arc<[u8]>,
    pub(super) block: u64,
    pub(super) generation: u64,
    /// The tree that it was written for.
    pub(super) owner: u64,
    pub(super) level: u8,
    count: usize,
}

/// What leads from a block to one of the next lower level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointer {
    /// The first key that is there.
    pub(super) key: Key,
    pub(super) block: u64,
    pub(super) generation: u64,
}

/// An item: its key and its data.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) key: Key,
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl Item {
    /// One that is not in a tree block.
    pub(super) fn new(key: Key, bytes: Arc<[u8]>) -> Self {
        let end = bytes.len();
        Self { key, bytes, start: 0, end }
    }
}

impl Deref for Item {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl TreeBlock {
    /// The tree block that `bytes` are, whose keys ascend and whose items lie in it; else the field that makes no sense.
    pub(super) fn new(bytes: Arc<[u8]>) -> Result<Self, &'static str> {
        let level = u8_at(&bytes, 100);
        let count = u32_at(&bytes, 96) as usize;
        let (block, generation, owner) = (u64_at(&bytes, 48), u64_at(&bytes, 80), u64_at(&bytes, 88));
        let this = Self { bytes, block, generation, owner, level, count };
        let room = this.bytes.len().saturating_sub(HEADER_LEN);
        if count.saturating_mul(this.entry_len()) > room || count == 0 && level > 0 {
            return Err("count of items");
        }
        let keys = (0..count).map_while(|slot| this.key(slot));
        if !keys.is_sorted_by(|one, other| one < other) {
            return Err("order of keys");
        }
        if level == 0 && (0..count).any(|slot| this.item(slot).is_none()) {
            return Err("place of an item");
        }
        Ok(this)
    }

    fn entry_len(&self) -> usize {
        if self.level == 0 { ITEM_LEN } else { POINTER_LEN }
    }

    fn entry(&self, slot: usize) -> Option<&[u8]> {
        let at = slot.checked_mul(self.entry_len())?.checked_add(HEADER_LEN)?;
        self.bytes.get(at..).filter(|_| slot < self.count)
    }

    /// The key in `slot`.
    pub(super) fn key(&self, slot: usize) -> Option<Key> {
        Some(Key::at(self.entry(slot)?, 0))
    }

    /// The last key in it.
    pub(super) fn last_key(&self) -> Option<Key> {
        self.key(self.count.checked_sub(1)?)
    }

    /// The pointer in `slot` of a block that is above others.
    pub(super) fn pointer(&self, slot: usize) -> Option<Pointer> {
        let entry = self.entry(slot).filter(|_| self.level > 0)?;
        let (block, generation) = (u64_at(entry, KEY_LEN), u64_at(entry, KEY_LEN.saturating_add(8)));
        Some(Pointer { key: Key::at(entry, 0), block, generation })
    }

    /// The item in `slot` of a block of level 0.
    pub(super) fn item(&self, slot: usize) -> Option<Item> {
        let entry = self.entry(slot).filter(|_| self.level == 0)?;
        let (place, size) = (u32_at(entry, KEY_LEN), u32_at(entry, KEY_LEN.saturating_add(4)));
        let start = (place as usize).checked_add(HEADER_LEN)?;
        let end = start.checked_add(size as usize)?;
        let table_end = self.count.checked_mul(ITEM_LEN)?.checked_add(HEADER_LEN)?;
        let is_inside = table_end <= start && end <= self.bytes.len();
        is_inside.then(|| Item { key: Key::at(entry, 0), bytes: Arc::clone(&self.bytes), start, end })
    }

    /// The first slot whose key is not below `key`.
    pub(super) fn slot_from(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle) {
                Some(found) if found < key => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        low
    }

    /// The last slot whose key is not above `key`.
    pub(super) fn slot_at_most(&self, key: Key) -> Option<usize> {
        let slot = self.slot_from(key);
        if self.key(slot) == Some(key) { Some(slot) } else { slot.checked_sub(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(keys: &[u64], place: u32) -> Arc<[u8]> {
        let mut bytes = vec![0; 4096];
        bytes[96] = keys.len() as u8;
        for (slot, object) in keys.iter().enumerate() {
            let at = HEADER_LEN + slot * ITEM_LEN;
            bytes[at..at + 8].copy_from_slice(&object.to_le_bytes());
            bytes[at + 17..at + 21].copy_from_slice(&place.to_le_bytes());
            bytes[at + 21] = 3;
        }
        bytes.into()
    }

    #[test]
    fn slots_are_found_by_key() {
        let block = TreeBlock::new(leaf(&[3, 5, 9], 2000)).unwrap();
        let key = |object| Key::new(object, 0, 0);
        assert_eq!([1, 3, 4, 9, 10].map(|object| block.slot_from(key(object))), [0, 0, 1, 2, 3]);
        let at_most = [1, 3, 4, 9, 10].map(|object| block.slot_at_most(key(object)));
        assert_eq!(at_most, [None, Some(0), Some(0), Some(2), Some(2)]);
        assert_eq!(block.item(1).unwrap().len(), 3);
        assert!(block.item(3).is_none() && block.pointer(0).is_none());
        assert_eq!(block.last_key(), Some(key(9)));
    }

    #[test]
    fn items_lie_within_and_keys_ascend() {
        assert_eq!(TreeBlock::new(leaf(&[3, 3], 2000)).unwrap_err(), "order of keys");
        assert_eq!(TreeBlock::new(leaf(&[3, 5], 49)).unwrap_err(), "place of an item");
        assert!(TreeBlock::new(leaf(&[3, 5], 50)).is_ok());
        assert!(TreeBlock::new(leaf(&[3, 5], 4096 - 101 - 3)).is_ok());
        assert_eq!(TreeBlock::new(leaf(&[3, 5], 4096 - 101 - 2)).unwrap_err(), "place of an item");
        assert_eq!(TreeBlock::new(leaf(&[3, 5], u32::MAX)).unwrap_err(), "place of an item");
        let mut full = leaf(&[], 0).to_vec();
        full[96] = 160;
        assert_eq!(TreeBlock::new(full.into()).unwrap_err(), "count of items");
    }
}
