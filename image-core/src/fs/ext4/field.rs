//! Numbers at places of a structure: what lies outside of the bytes counts as zero, for older structures are shorter.
//!
//! All of ext4 is little endian but its journal (Linux kernel documentation, filesystems/ext4, "Overview" and "Journal").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// The `N` bytes at `at`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Two bytes, little endian.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Four bytes, little endian.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Four bytes, big endian, as the journal has them.
pub(super) fn be32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// A number in two halves.
pub(super) fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
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
        let mut bytes = [1, 2, 3, 4, 5];
        assert_eq!(
            (u16_at(&bytes, 3), u32_at(&bytes, 1), be32_at(&bytes, 0)),
            (0x0504, 0x0504_0302, 0x0102_0304)
        );
        assert_eq!((u16_at(&bytes, 4), u32_at(&bytes, usize::MAX)), (0, 0));
        put(&mut bytes, 4, &[9, 9]);
        put(&mut bytes, 0, &[9]);
        assert_eq!(bytes, [9, 2, 3, 4, 5]);
        assert_eq!(wide(1, 2), 0x2_0000_0001);
    }
}
