//! Times in inodes: two halves that end in 2038, or since bigtime nanoseconds in one number that end in 2486.
//!
//! XFS Algorithms & Data Structures, "Inode Timestamps".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::field::{u32_at, u64_at};
use crate::fs::Time;

const NANOSECONDS: u64 = 1_000_000_000;
/// Where the count of nanoseconds begins: in December 1901.
const EPOCH: i64 = -(1 << 31);

/// The time at `at` of an inode, which `is_big` or not.
pub(super) fn time_at(inode: &[u8], at: usize, is_big: bool) -> Time {
    if is_big {
        let count = u64_at(inode, at);
        let seconds = EPOCH.saturating_add((count / NANOSECONDS).cast_signed());
        return Time { seconds, nanoseconds: (count % NANOSECONDS) as u32 };
    }
    let nanoseconds = u32_at(inode, at.saturating_add(4));
    Time { seconds: i64::from(u32_at(inode, at).cast_signed()), nanoseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_count_from_before_1970() {
        let small = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5];
        assert_eq!(time_at(&small, 0, false), Time { seconds: -1, nanoseconds: 5 });
        assert_eq!(time_at(&[0; 8], 0, true), Time { seconds: -0x8000_0000, nanoseconds: 0 });
        let last = Time { seconds: 16_299_260_425, nanoseconds: 709_551_615 };
        assert_eq!(time_at(&[0xff; 8], 0, true), last);
    }
}
