//! Dates and times: seven bytes in records, seventeen digits where there is room.
//!
//! ```text
//! 7    year since 1900 │ month │ day │ hour │ minute │ second │ zone         17   YYYYMMDDhhmmsscc │ zone
//! ```
//! ECMA-119, 8.4.26.1 and 9.1.5. The zone is in quarters of an hour east of Greenwich.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::fs::Time;
use crate::fs::field::u8_at;

/// Of the short form, and of the long one, in bytes.
pub(super) const SHORT: usize = 7;
pub(super) const LONG: usize = 17;
/// Zones farther from Greenwich do not count.
const ZONE_MAX: i64 = 52;

/// The time of `bytes` in the short form; `None` if it is not set.
pub(super) fn short(bytes: &[u8]) -> Option<Time> {
    let part = |at| i64::from(u8_at(bytes, at));
    let seconds = seconds(part(0).saturating_add(1900), [1, 2, 3, 4, 5].map(part), u8_at(bytes, 6))?;
    Some(Time { seconds, nanoseconds: 0 })
}

/// The time of `bytes` in the long form; `None` if it is not set.
pub(super) fn long(bytes: &[u8]) -> Option<Time> {
    let number = |at: usize, len: usize| {
        let digits = bytes.get(at..at.saturating_add(len))?;
        digits.iter().try_fold(0_i64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| i64::from(digit & 0xf))?;
            Some(number.saturating_mul(10).saturating_add(digit))
        })
    };
    let rest = [number(4, 2)?, number(6, 2)?, number(8, 2)?, number(10, 2)?, number(12, 2)?];
    let seconds = seconds(number(0, 4)?, rest, u8_at(bytes, 16))?;
    let hundredths = number(14, 2)? as u32;
    Some(Time { seconds, nanoseconds: hundredths.saturating_mul(10_000_000) })
}

/// Days to the calendar by the usual 400-year reckoning from 1 March.
fn seconds(year: i64, rest: [i64; 5], zone: u8) -> Option<i64> {
    let [month, day, hour, minute, second] = rest;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let is_early = month <= 2;
    let year = year.saturating_sub(i64::from(is_early));
    let shifted = if is_early { month.saturating_add(9) } else { month.saturating_sub(3) };
    let day_of_year = shifted.saturating_mul(153).saturating_add(2) / 5;
    let leap_days = (year / 4).saturating_sub(year / 100).saturating_add(year / 400);
    let days = [year.saturating_mul(365), leap_days, day_of_year, day, -719_469];
    let days = days.iter().fold(0_i64, |sum, days| sum.saturating_add(*days));
    let zone = i64::from(zone.cast_signed());
    let zone = if zone.abs() <= ZONE_MAX { zone } else { 0 };
    let parts = [
        days.saturating_mul(86_400),
        hour.saturating_mul(3600),
        minute.saturating_mul(60),
        second,
        zone.saturating_mul(-900),
    ];
    Some(parts.iter().fold(0_i64, |sum, part| sum.saturating_add(*part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert_eq!(short(&[70, 1, 1, 0, 0, 0, 0]).unwrap().seconds, 0);
        assert_eq!(short(&[124, 2, 29, 12, 30, 15, 4]).unwrap().seconds, 1_709_209_815 - 3600);
        assert_eq!(short(&[99, 12, 31, 23, 59, 59, 0xf0]).unwrap().seconds, 946_684_799 + 4 * 3600);
        assert_eq!((short(&[0; 7]), long(&[b'0'; 17]), long(b"")), (None, None, None));
        let time = long(b"2024030100000099\0").unwrap();
        assert_eq!((time.seconds, time.nanoseconds), (1_709_251_200, 990_000_000));
        assert_eq!(long(b"1900010100000000\0").unwrap().seconds, -2_208_988_800);
    }
}
