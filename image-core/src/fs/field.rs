//! Numbers at places of a structure: what lies outside of the bytes counts as zero.
//!
//! FAT is little endian (Microsoft, "FAT: General Overview of On-Disk Format", 1.03); ISO 9660 has most numbers in both orders
//! (ECMA-119, 7).
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

/// The `len` bytes at `at`, or as many of them as there are.
pub(super) fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_zero() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!((u8_at(&bytes, 4), u16_at(&bytes, 3), u32_at(&bytes, 1)), (5, 0x0504, 0x0504_0302));
        assert_eq!((u8_at(&bytes, 5), u16_at(&bytes, 4), u32_at(&bytes, usize::MAX)), (0, 0, 0));
        assert_eq!(
            (part(&bytes, 3, 9), part(&bytes, 9, 1), part(&bytes, 1, 2)),
            (&[4, 5][..], &[][..], &[2, 3][..])
        );
    }
}
