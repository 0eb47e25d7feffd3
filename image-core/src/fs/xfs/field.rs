//! Numbers at places of a structure: what lies outside of the bytes counts as zero, for older structures are shorter.
//!
//! All of XFS is big endian but its checksums and what is in its log items (XFS Algorithms & Data Structures, "Overview").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// The `N` bytes at `at`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// One byte.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Two bytes, big endian.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// Four bytes, big endian.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// Eight bytes, big endian.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// Two bytes, little endian, as log items of the usual machines have them.
pub(super) fn le16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Four bytes, little endian, as checksums are.
pub(super) fn le32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Eight bytes, little endian.
pub(super) fn le64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// The bytes from `start` to `end`; none if they are not all there.
pub(super) fn part(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

/// `bytes` in place of what is at `at`; nothing outside.
pub(super) fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = target.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// As much of `from` as there is room for.
pub(super) fn copy(target: &mut [u8], from: &[u8]) {
    for (target, byte) in target.iter_mut().zip(from) {
        *target = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_zero_and_stays_as_it_is() {
        let mut bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((u8_at(&bytes, 7), u8_at(&bytes, 8)), (8, 0));
        assert_eq!((u16_at(&bytes, 6), u16_at(&bytes, 7)), (0x0708, 0));
        assert_eq!(
            (u32_at(&bytes, 0), le32_at(&bytes, 0), u32_at(&bytes, usize::MAX)),
            (0x0102_0304, 0x0403_0201, 0)
        );
        assert_eq!((u64_at(&bytes, 0), le64_at(&bytes, 0)), (0x0102_0304_0506_0708, 0x0807_0605_0403_0201));
        assert_eq!((le16_at(&bytes, 0), part(&bytes, 6, 9)), (0x0201, &[][..]));
        put(&mut bytes, 7, &[9, 9]);
        put(&mut bytes, 0, &[9]);
        assert_eq!(bytes, [9, 2, 3, 4, 5, 6, 7, 8]);
    }
}
