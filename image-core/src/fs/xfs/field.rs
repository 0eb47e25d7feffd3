//! Numbers at places of a structure: what lies outside of the bytes counts as zero, for older structures are shorter.
//!
//! All of XFS is big endian but its checksums and what is in its log items (XFS Algorithms & Data Structures, "Overview").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub(super) use crate::fs::field::{
    be16_at as u16_at, be32_at as u32_at, be64_at as u64_at, copy, field, put, u8_at, u16_at as le16_at,
    u32_at as le32_at, u64_at as le64_at,
};

/// The bytes from `start` to `end`; none if they are not all there.
pub(super) fn part(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
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
