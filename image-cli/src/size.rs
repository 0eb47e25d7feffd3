//! Sizes as people write them: "10G" is 10 × 2³⁰ bytes, as in qemu-img.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The suffixes, each 2¹⁰ times the one before.
const SUFFIXES: &[u8] = b"KMGTPE";

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Size(pub u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    #[error(
        "{0:?} is not a size: write a number of bytes, or one with K, M, G, T, P or E behind it, like \"10G\""
    )]
    /// It is not written as a size is.
    Malformed(String),
    /// No disk is that large.
    #[error("{0:?} is more than 2^63 - 1 bytes")]
    TooLarge(String),
}

impl FromStr for Size {
    type Err = SizeError;

    /// Digits, perhaps a fraction ("1.5G"), perhaps one of b K M G T P E in either case, perhaps followed by "iB".
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let malformed = || SizeError::Malformed(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let shift = match suffix.strip_suffix("iB").unwrap_or(suffix).as_bytes() {
            [] if suffix.is_empty() => 0,
            b"b" | b"B" => 0,
            [letter] => {
                let letter = letter.to_ascii_uppercase();
                let power = SUFFIXES.iter().position(|known| *known == letter).ok_or_else(malformed)?;
                10 * (power as u32 + 1)
            }
            _ => return Err(malformed()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        // Nineteen digits of a fraction are more than any size can show.
        if fraction.len() > 19 || fraction.is_empty() {
            return Err(malformed());
        }
        let whole: u128 = whole.parse().map_err(|_| malformed())?;
        let numerator: u128 = fraction.parse().map_err(|_| malformed())?;
        let part = (numerator << shift) / 10u128.pow(fraction.len() as u32);
        if numerator != 0 && shift == 0 {
            return Err(malformed());
        }
        let bytes = whole.checked_mul(1 << shift).and_then(|bytes| bytes.checked_add(part));
        match bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
            Some(bytes) => Ok(Self(bytes as u64)),
            None => Err(SizeError::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for Size {
    /// With three significant digits, as in "1.21 GiB".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut power = 0;
        // 999.5 would be shown as 1000, with four digits.
        while value >= 999.5 && power + 1 < SUFFIXES.len() {
            value /= 1024.0;
            power += 1;
        }
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        write!(f, "{value:.digits$} {}iB", char::from(SUFFIXES[power]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_img_reads_them() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0).ok();
        assert_eq!(bytes("0"), Some(0));
        assert_eq!(bytes("512"), Some(512));
        assert_eq!(bytes("512b"), Some(512));
        assert_eq!(bytes("64k"), Some(65536));
        assert_eq!(bytes("10G"), Some(10 << 30));
        assert_eq!(bytes("10GiB"), Some(10 << 30));
        assert_eq!(bytes("1.5G"), Some(3 << 29));
        assert_eq!(bytes("7E"), Some(7 << 60));
        for wrong in ["", "G", "-1", "1.G", "1.5", "10GB", "10Gi", "ten", "1 G", "8E", "99999999999999999999"]
        {
            assert_eq!(bytes(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = |bytes: u64| Size(bytes).to_string();
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(65536), "64.0 KiB");
        assert_eq!(shown(1_300_000_000), "1.21 GiB");
        assert_eq!(shown(10 << 30), "10.0 GiB");
        assert_eq!(shown(1023 << 10), "1.00 MiB");
        assert_eq!(shown(u64::MAX), "16.0 EiB");
    }
}
