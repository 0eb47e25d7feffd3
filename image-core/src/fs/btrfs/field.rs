//! Numbers at places of a structure: what lies outside of the bytes counts as zero, for older structures are shorter.
//!
//! All of Btrfs is little endian (Btrfs documentation, "On-disk format").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub(super) use crate::fs::field::{copy, field, put, u8_at, u16_at, u32_at, u64_at};

/// `value` rounded down to a multiple of `step`, a power of two.
pub(super) fn round_down(value: u64, step: u64) -> u64 {
    value & !step.saturating_sub(1)
}

/// `value` rounded up to a multiple of `step`, a power of two; at most the last multiple that there is.
pub(super) fn round_up(value: u64, step: u64) -> u64 {
    round_down(value.saturating_add(step.saturating_sub(1)), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_zero_and_stays_as_it_is() {
        let mut bytes = [1, 2, 3, 4, 5];
        assert_eq!((u8_at(&bytes, 4), u16_at(&bytes, 3), u32_at(&bytes, 1)), (5, 0x0504, 0x0504_0302));
        assert_eq!((u8_at(&bytes, 5), u16_at(&bytes, 4), u64_at(&bytes, usize::MAX)), (0, 0, 0));
        put(&mut bytes, 4, &[9, 9]);
        put(&mut bytes, 0, &[9]);
        assert_eq!(copy(&mut bytes, &[7]), 1);
        assert_eq!(bytes, [7, 2, 3, 4, 5]);
    }

    #[test]
    fn rounding_never_overflows() {
        assert_eq!((round_up(1, 4096), round_up(4096, 4096), round_down(4097, 4096)), (4096, 4096, 4096));
        assert_eq!(round_up(u64::MAX, 4096), u64::MAX - 4095);
    }
}
