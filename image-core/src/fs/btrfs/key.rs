//! Keys: what all items of all trees are sorted by.
//!
//! ```text
//! 0 object, 8 bytes │ 8 kind │ 9 offset, 8 bytes      sorted by object, then kind, then offset
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_disk_key); the kinds are those of the kernel's btrfs_tree.h.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::field::{u8_at, u64_at};

/// Of a key on the disk.
pub(super) const KEY_LEN: usize = 17;

/// Kinds of items.
pub(super) const INODE_ITEM: u8 = 1;
pub(super) const INODE_REF: u8 = 12;
pub(super) const INODE_EXTREF: u8 = 13;
pub(super) const XATTR_ITEM: u8 = 24;
pub(super) const DIR_LOG_INDEX: u8 = 72;
pub(super) const DIR_ITEM: u8 = 84;
pub(super) const DIR_INDEX: u8 = 96;
pub(super) const EXTENT_DATA: u8 = 108;
pub(super) const EXTENT_CSUM: u8 = 128;
pub(super) const ROOT_ITEM: u8 = 132;
pub(super) const ROOT_BACKREF: u8 = 144;
pub(super) const ROOT_REF: u8 = 156;
pub(super) const EXTENT_ITEM: u8 = 168;
pub(super) const METADATA_ITEM: u8 = 169;
pub(super) const CHUNK_ITEM: u8 = 228;

/// Trees by their numbers, and the objects of some items.
pub(super) const ROOT_TREE: u64 = 1;
pub(super) const EXTENT_TREE: u64 = 2;
pub(super) const CHUNK_TREE: u64 = 3;
pub(super) const FS_TREE: u64 = 5;
pub(super) const CSUM_TREE: u64 = 7;
pub(super) const LOG_TREE: u64 = -6_i64 as u64;
pub(super) const CSUM_OBJECT: u64 = -10_i64 as u64;
/// The first object of a subvolume: its root directory. The object of all chunks, too.
pub(super) const FIRST_OBJECT: u64 = 256;
/// The inode of a directory that stands for a subvolume that is not there.
pub(super) const EMPTY_DIRECTORY: u64 = 2;

/// What an item is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const MIN: Self = Self::new(0, 0, 0);
    pub(super) const MAX: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    pub(super) const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    /// The last one of `kind` that `object` may have.
    pub(super) const fn last(object: u64, kind: u8) -> Self {
        Self::new(object, kind, u64::MAX)
    }

    /// The key at `at`.
    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        let part = |inside: usize| at.saturating_add(inside);
        Self::new(u64_at(bytes, at), u8_at(bytes, part(8)), u64_at(bytes, part(9)))
    }

    /// The key before it.
    pub(super) fn previous(self) -> Option<Self> {
        let Self { object, kind, offset } = self;
        if let Some(offset) = offset.checked_sub(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = kind.checked_sub(1) {
            return Some(Self::last(object, kind));
        }
        Some(Self::last(object.checked_sub(1)?, u8::MAX))
    }

    /// The key behind it.
    pub(super) fn next(self) -> Option<Self> {
        let Self { object, kind, offset } = self;
        if let Some(offset) = offset.checked_add(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = kind.checked_add(1) {
            return Some(Self::new(object, kind, 0));
        }
        Some(Self::new(object.checked_add(1)?, 0, 0))
    }

    /// Whether it is of the same object and kind as `other`.
    pub(super) fn is_alike(self, other: Self) -> bool {
        self.object == other.object && self.kind == other.kind
    }
}

/// Whether tree `id` is of a subvolume. The upper 16 bits of larger numbers are levels of quota groups.
pub(super) fn is_subvolume(id: u64) -> bool {
    id == FS_TREE || (FIRST_OBJECT..1 << 48).contains(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_have_neighbours() {
        let key = Key::new(5, 1, 0);
        assert_eq!(key.previous(), Some(Key::new(5, 0, u64::MAX)));
        assert_eq!(Key::new(5, 0, 0).previous(), Some(Key::new(4, 255, u64::MAX)));
        assert_eq!(Key::MIN.previous(), None);
        assert_eq!(Key::last(5, 255).next(), Some(Key::new(6, 0, 0)));
        assert_eq!(Key::MAX.next(), None);
        assert_eq!(key.previous().and_then(Key::next), Some(key));
        assert!(Key::new(5, 1, 9) < Key::new(5, 2, 0) && Key::new(5, 255, 9) < Key::new(6, 0, 0));
    }

    #[test]
    fn trees_of_subvolumes_are_told_from_others() {
        assert!(is_subvolume(5) && is_subvolume(256) && is_subvolume(70_000));
        assert!(!is_subvolume(7) && !is_subvolume(LOG_TREE) && !is_subvolume(1 << 48 | 256));
    }
}
