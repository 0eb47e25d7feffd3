//! Numbers at places of a structure: what lies outside of the bytes counts as zero, for older structures are shorter.
//!
//! A number is little endian unless its reader says otherwise: ext4, Btrfs and FAT are, but for ext4's journal; XFS is big endian; ISO 9660
//! has most numbers in both orders.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// The `N` bytes at `at`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// One byte.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Two bytes, little endian.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Four bytes, little endian.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Eight bytes, little endian.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Two bytes, big endian.
pub(super) fn be16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// Four bytes, big endian.
pub(super) fn be32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// Eight bytes, big endian.
pub(super) fn be64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// A number in two halves.
pub(super) fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The `len` bytes at `at`, or as many of them as there are.
pub(super) fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}

/// `bytes` in place of what is at `at`; nothing outside.
pub(super) fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = target.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// As much of `from` as there is room for; how much that is.
pub(super) fn copy(target: &mut [u8], from: &[u8]) -> usize {
    let len = target.len().min(from.len());
    if let (Some(target), Some(from)) = (target.get_mut(..len), from.get(..len)) {
        target.copy_from_slice(from);
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_zero_and_stays_as_it_is() {
        let mut bytes = [1, 2, 3, 4, 5];
        assert_eq!((u8_at(&bytes, 4), u16_at(&bytes, 3), u32_at(&bytes, 1)), (5, 0x0504, 0x0504_0302));
        assert_eq!((u8_at(&bytes, 5), u16_at(&bytes, 4), u32_at(&bytes, usize::MAX)), (0, 0, 0));
        assert_eq!((be32_at(&bytes, 0), u64_at(&bytes, usize::MAX)), (0x0102_0304, 0));
        assert_eq!(
            (part(&bytes, 3, 9), part(&bytes, 9, 1), part(&bytes, 1, 2)),
            (&[4, 5][..], &[][..], &[2, 3][..])
        );
        put(&mut bytes, 4, &[9, 9]);
        put(&mut bytes, 0, &[9]);
        assert_eq!(bytes, [9, 2, 3, 4, 5]);
        assert_eq!(copy(&mut bytes, &[7]), 1);
        assert_eq!(bytes, [7, 2, 3, 4, 5]);
        assert_eq!(wide(1, 2), 0x2_0000_0001);
    }

    #[test]
    fn numbers_have_the_order_that_is_asked_for() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((be16_at(&bytes, 6), be16_at(&bytes, 7)), (0x0708, 0));
        assert_eq!(
            (be32_at(&bytes, 0), u32_at(&bytes, 0), be32_at(&bytes, usize::MAX)),
            (0x0102_0304, 0x0403_0201, 0)
        );
        assert_eq!((be64_at(&bytes, 0), u64_at(&bytes, 0)), (0x0102_0304_0506_0708, 0x0807_0605_0403_0201));
    }
}
