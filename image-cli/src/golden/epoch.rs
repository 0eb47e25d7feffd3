//! The build's date: `SOURCE_DATE_EPOCH`, or now.
//!
//! Everything in an image that has a date has this one, or an earlier one of its own
//! (<https://reproducible-builds.org/specs/source-date-epoch/>).

use image_core::fs::Time;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Advise, err};
use crate::variables::Variables;

/// The variable that fixes the build's date.
pub(crate) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// A date in seconds since 1970, up to 2106: what FAT (from 1980 on), ext4 and TOML can all say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(u32);

impl Epoch {
    /// `seconds` since 1970; `None` after 2106.
    pub(crate) fn new(seconds: u64) -> Option<Self> {
        u32::try_from(seconds).ok().map(Self)
    }

    /// What `SOURCE_DATE_EPOCH` says, or now.
    ///
    /// # Errors
    /// If it is no number of seconds, or one past the year 2106.
    pub fn from_variables(variables: &Variables) -> crate::Result<Self> {
        match variables.value(VARIABLE) {
            Some(text) => Self::parse(&text.to_string_lossy()),
            None => {
                let now = Timestamp::now().as_second();
                u64::try_from(now).ok().and_then(Self::new).ok_or_else(|| {
                    err!("this machine's clock is set to {now} seconds after 1970, which is no date of today")
                })
            }
        }
    }

    fn parse(text: &str) -> crate::Result<Self> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| {
                err!("{VARIABLE} is {text:?}, which is no number of seconds between 1970 and 2106")
            })
            .hint(|| format!("export {VARIABLE}=$(date +%s)"))
            .invalid()
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> u64 {
        u64::from(self.0)
    }

    /// As the time of a file.
    pub(crate) fn time(self) -> Time {
        Time { seconds: i64::from(self.0), nanoseconds: 0 }
    }

    /// The date in UTC, as `20261123`: the version of an image without one.
    pub(crate) fn day(self) -> String {
        self.format("%Y%m%d")
    }

    /// Date and time in UTC, as `2026-11-23 05:00:00`.
    pub(crate) fn date_time(self) -> String {
        self.format("%Y-%m-%d %H:%M:%S")
    }

    fn format(self, how: &str) -> String {
        Timestamp::from_second(i64::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH).strftime(how).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written_in_utc() {
        let epoch = Epoch::parse("1760000000").unwrap();
        assert_eq!(epoch.seconds(), 1_760_000_000);
        assert_eq!(epoch.day(), "20251009");
        assert_eq!(epoch.date_time(), "2025-10-09 08:53:20");
        assert_eq!(Epoch::parse("0").unwrap().day(), "19700101");
        assert_eq!(Epoch::parse("4294967295").unwrap().day(), "21060207");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wrong in ["", "-1", "1.5", "now", "4294967296", "99999999999999999999"] {
            let error = Epoch::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(VARIABLE), "{wrong:?}: {error}");
        }
    }
}
