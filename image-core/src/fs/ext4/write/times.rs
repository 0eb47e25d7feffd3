//! Times that an inode can hold: seconds with a sign and two more bits, in a small inode without them and without fractions.
//!
//! ```text
//! small   1901-12-13 ───────── 2038-01-19
//! large   1901-12-13 ───────────────────────────────── 2446-05-10, to the nanosecond
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Inode Timestamps").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::fs::ext4::field::u16_at;
use crate::fs::ext4::inode::{OLD_LEN, Time};

const FIRST: i64 = i32::MIN as i64;
const LAST: i64 = (1 << 34) + i32::MIN as i64 - 1;
const LAST_SMALL: i64 = i32::MAX as i64;
/// How long an inode's own fields must be for the fractions of all its times.
const EXTRA_LEN: u16 = 0x18;

/// `time`, or the nearest that the inode `bytes` can hold.
pub(super) fn clamp(bytes: &[u8], time: Time) -> Time {
    let is_large = bytes.len() > OLD_LEN && u16_at(bytes, 0x80) >= EXTRA_LEN;
    let last = if is_large { LAST } else { LAST_SMALL };
    let seconds = time.seconds.clamp(FIRST, last);
    let is_inside = seconds == time.seconds && time.nanoseconds < 1_000_000_000;
    Time { seconds, nanoseconds: if is_inside { time.nanoseconds } else { 0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_at_what_an_inode_holds() {
        let mut large = [0; 256];
        large[0x80] = 32;
        let time = |seconds| Time { seconds, nanoseconds: 7 };
        assert_eq!(clamp(&large, time(LAST)), time(LAST));
        assert_eq!(clamp(&large, time(LAST + 1)), Time { seconds: LAST, nanoseconds: 0 });
        assert_eq!(clamp(&[0; 128], time(1 << 31)).seconds, LAST_SMALL);
        assert_eq!(clamp(&large, time(i64::MIN)).seconds, -(1 << 31));
        assert_eq!(LAST, 15_032_385_535);
    }
}
