//! Dates and times of entries: the machine's own, which are taken for UTC here.
//!
//! ```text
//! date   year since 1980, 7 bits │ month, 4 │ day, 5          time   hour, 5 bits │ minute, 6 │ half the second, 5
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "Date and Time Formats". A volume does not say in which zone it
//! was written; Linux reads it in the machine's unless mounted with `tz=UTC`. Months and days that there are not count as Linux
//! counts them: day 0 and month 0 as the first, months past 12 as January.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::fs::Time;

/// 1 January 1980, in days since 1970.
const FIRST_DAY: i64 = 3652;
/// 1 January 2108, likewise.
const DAYS_MAX: i64 = 50_403;
/// In seconds.
const DAY: i64 = 86_400;
/// In a second.
const NANOSECONDS: u32 = 1_000_000_000;
const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// `date` and `time`, and hundredths of a second beyond.
pub(super) fn time(date: u16, time: u16, hundredths: u8) -> Time {
    let year = i64::from(date >> 9);
    let month = usize::from(date >> 5 & 0xf).saturating_sub(1);
    let day = i64::from(date & 0x1f).saturating_sub(1).max(0);
    let leap_days = year.saturating_add(3) >> 2;
    let leap_days = leap_days.saturating_sub(i64::from(year > 120));
    let this_year = i64::from(is_leap(year) && (2..12).contains(&month));
    let before = BEFORE_MONTH.get(month).copied().unwrap_or(0);
    let days = [year.saturating_mul(365), leap_days, this_year, before, day, FIRST_DAY];
    let days = days.iter().fold(0_i64, |sum, days| sum.saturating_add(*days));
    let (hours, minutes, halves) =
        (i64::from(time >> 11), i64::from(time >> 5 & 0x3f), i64::from(time & 0x1f));
    let parts = [
        days.saturating_mul(86_400),
        hours.saturating_mul(3600),
        minutes.saturating_mul(60),
        halves.saturating_mul(2),
        i64::from(hundredths / 100),
    ];
    let seconds = parts.iter().fold(0_i64, |sum, part| sum.saturating_add(*part));
    Time { seconds, nanoseconds: u32::from(hundredths % 100).saturating_mul(10_000_000) }
}

/// The date, the time and the hundredths of a second beyond that are nearest to `time`, of 1980 to 2107.
pub(super) fn date_and_time(time: Time) -> (u16, u16, u8) {
    let (first, last) = (FIRST_DAY.saturating_mul(DAY), DAYS_MAX.saturating_mul(DAY).saturating_sub(2));
    let (seconds, nanoseconds) = match time.seconds {
        before if before < first => (first, 0),
        behind if behind >= last => (last, 1_999_999_999),
        inside => (
            inside & !1,
            (time.nanoseconds % NANOSECONDS)
                .saturating_add(((inside & 1) as u32).saturating_mul(NANOSECONDS)),
        ),
    };
    let (mut days, rest) = (seconds.div_euclid(DAY).saturating_sub(FIRST_DAY), seconds.rem_euclid(DAY));
    let mut year = 0_i64;
    loop {
        let len = if is_leap(year) { 366 } else { 365 };
        if days < len {
            break;
        }
        days = days.saturating_sub(len);
        year = year.saturating_add(1);
    }
    // Where 29 February is, all that follows is a day later.
    let before = |month: usize| {
        let plain = BEFORE_MONTH.get(month).copied().unwrap_or(i64::MAX);
        plain.saturating_add(i64::from(is_leap(year) && month >= 2))
    };
    let month = (0..12).rev().find(|month| before(*month) <= days).unwrap_or(0);
    let day = days.saturating_sub(before(month)).saturating_add(1);
    let date = (year << 9) | ((month as i64).saturating_add(1) << 5) | day;
    let halves = rest % 60 / 2;
    let clock = ((rest / 3600) << 11) | ((rest / 60 % 60) << 5) | halves;
    (date as u16, clock as u16, (nanoseconds / 10_000_000) as u8)
}

/// Every fourth year since 1980 but 2100, which is the 120th.
fn is_leap(year: i64) -> bool {
    year & 3 == 0 && year != 120
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: u16, month: u16, day: u16) -> u16 {
        (year - 1980) << 9 | month << 5 | day
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        for (year, month, day, seconds) in [
            (1980, 1, 1, 315_532_800),
            (1980, 2, 29, 320_630_400),
            (1980, 3, 1, 320_716_800),
            (2000, 12, 31, 978_220_800),
            (2024, 2, 29, 1_709_164_800),
            (2024, 3, 1, 1_709_251_200),
            (2100, 2, 28, 4_107_456_000),
            (2100, 3, 1, 4_107_542_400),
            (2107, 12, 31, 4_354_732_800),
        ] {
            assert_eq!(time(date(year, month, day), 0, 0).seconds, seconds, "{year}-{month}-{day}");
        }
        let late = time(date(1980, 1, 1), 23 << 11 | 59 << 5 | 29, 199);
        assert_eq!((late.seconds, late.nanoseconds), (315_532_800 + 86_399, 990_000_000));
        assert_eq!(time(0, 0, 0).seconds, 315_532_800);
        assert_eq!(time(15 << 5, 0, 0).seconds, 315_532_800);
    }

    #[test]
    fn every_day_and_second_is_written_as_it_is_read() {
        for day in FIRST_DAY..DAYS_MAX {
            let seconds = day * DAY + day * 7919 % DAY;
            let (date, clock, hundredths) = date_and_time(Time { seconds, nanoseconds: 0 });
            assert_eq!(time(date, clock, hundredths).seconds, seconds);
            assert_eq!(time(date, clock, 0).seconds, seconds & !1);
        }
        let limits = |seconds| {
            let (date, clock, hundredths) = date_and_time(Time { seconds, nanoseconds: 999_999_999 });
            time(date, clock, hundredths)
        };
        assert_eq!(limits(i64::MIN), Time { seconds: 315_532_800, nanoseconds: 0 });
        assert_eq!(limits(-1).seconds, 315_532_800);
        let last = Time { seconds: 4_354_819_199, nanoseconds: 990_000_000 };
        assert_eq!((limits(i64::MAX), limits(4_354_819_199), limits(4_354_819_200)), (last, last, last));
    }
}
