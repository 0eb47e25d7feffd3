//! Sizes as QEMU prints and reads them.

use super::failure::Failure;

/// Suffixes of sizes, each 2¹⁰ times the one before.
const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Three significant digits and a unit: "1.94 MiB".
pub(super) fn for_people(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut power = 0;
    // From 1000 on the next unit is taken, so that there are never four digits.
    while value >= 1000.0 && power + 1 < SUFFIXES.len() {
        value /= 1024.0;
        power += 1;
    }
    format!("{} {}B", three_digits(value), SUFFIXES[power])
}

/// As `%0.3g` in C, for values from 0 to below 1000.
fn three_digits(value: f64) -> String {
    let whole_digits = if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let mut decimals = 3 - whole_digits;
    // Below 1 the zeroes in front are not significant; 1000 / 1024 is the least there is.
    if value > 0.0 && value < 1.0 {
        decimals += 1;
    }
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Why a text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SizeFault {
    /// It is none.
    Malformed,
    /// It does not fit.
    TooLarge,
}

/// What follows the complaint about a size.
pub(super) const HINT: &str = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
                               and exabytes, respectively.\n";

/// The number of bytes that the parameter `name` is given as.
pub(super) fn of_parameter(name: &str, value: &str) -> Result<u64, Failure> {
    let out_of_range = || Failure::new(format!("Value '{value}' is out of range for parameter '{name}'"));
    let negative = value.strip_prefix('-').is_some_and(|rest| parse(rest).is_ok());
    parse(value).map_err(|fault| match fault {
        SizeFault::TooLarge => out_of_range(),
        SizeFault::Malformed if negative => out_of_range(),
        SizeFault::Malformed => {
            let message = format!("Parameter '{name}' expects a non-negative number below 2^64");
            Failure::new(message).hint(HINT)
        }
    })
}

/// A size: decimal with an optional fraction, or hexadecimal, with an optional suffix, of which none is `unit` bytes.
///
/// Suffixes (either case): b, k, m, g, t, p, e. A fraction needs a suffix; a hexadecimal number has neither.
pub(super) fn parse(text: &str) -> Result<u64, SizeFault> {
    let text = text.trim_start();
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return hexadecimal(digits);
    }
    let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let multiplier = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        "e" => 1_u64 << 60,
        _ => return Err(SizeFault::Malformed),
    };
    let bare = whole.is_empty() && fraction.is_empty();
    let pointless =
        fraction.contains('.') || (multiplier == 1 && fraction.bytes().any(|digit| digit != b'0'));
    if bare || pointless {
        return Err(SizeFault::Malformed);
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| SizeFault::TooLarge)?,
    };
    // The fraction is a floating-point number in QEMU too.
    let part: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().unwrap_or(0.0) };
    let part = (part * multiplier as f64 + 0.5) as u64;
    whole.checked_mul(multiplier).and_then(|bytes| bytes.checked_add(part)).ok_or(SizeFault::TooLarge)
}

/// The number that an option wants, from 0 to 2⁶³ − 1; `what` is the option's name in messages.
pub(super) fn argument(what: &str, text: &str) -> Result<u64, Failure> {
    argument_within(what, text, 0, i64::MAX as u64)
}

/// The same, for a number from `least` to `most`.
pub(super) fn argument_within(what: &str, text: &str, least: u64, most: u64) -> Result<u64, Failure> {
    let outside = || Failure::new(format!("Invalid {what} specified. Must be between {least} and {most}."));
    match parse(text) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) | Err(SizeFault::TooLarge) => Err(outside()),
        Err(SizeFault::Malformed) if is_negative(text) => Err(outside()),
        Err(SizeFault::Malformed) => Err(Failure::new(format!("Invalid {what} specified: '{text}'."))),
    }
}

/// The virtual size of an image, up to 2^63 - 1 bytes.
pub(super) fn of_image(text: &str) -> Result<u64, Failure> {
    let range = || {
        let largest = i64::MAX;
        Failure::new(format!("Invalid image size specified. Must be between 0 and {largest}."))
    };
    if is_negative(text) {
        return Err(range());
    }
    match parse(text) {
        Ok(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        Ok(_) | Err(SizeFault::TooLarge) => Err(range()),
        Err(SizeFault::Malformed) => Err(Failure::new(format!("Invalid image size specified: '{text}'."))),
    }
}

/// Whether it is a number below zero: then it is out of range, but not with a suffix.
fn is_negative(text: &str) -> bool {
    let digits = text.trim_start().strip_prefix('-').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The integer from `least` to `most` that an option wants: as strtoull(3) reads it, where a "-" in front means 2⁶⁴
/// minus what follows and a "0" an octal number.
pub(super) fn integer(what: &str, text: &str, least: u64, most: u64) -> Result<u64, Failure> {
    let malformed = || Failure::new(format!("Invalid {what} specified: '{text}'."));
    let outside = || Failure::new(format!("Invalid {what} specified. Must be between {least} and {most}."));
    let number = text.trim_start();
    let negative = number.starts_with('-');
    let number = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (radix, digits) = match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if number.starts_with('0') => (8, number),
        None => (10, number),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(malformed());
    }
    let number = u64::from_str_radix(digits, radix).map_err(|_| outside())?;
    let number = if negative { number.wrapping_neg() } else { number };
    if (least..=most).contains(&number) { Ok(number) } else { Err(outside()) }
}

fn hexadecimal(digits: &str) -> Result<u64, SizeFault> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(SizeFault::Malformed);
    }
    u64::from_str_radix(digits, 16).map_err(|_| SizeFault::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = [0, 1, 999, 1000, 1023, 1024, 197_120, 2_032_128, 10 << 20, u64::MAX].map(for_people);
        let expected = [
            "0 B",
            "1 B",
            "999 B",
            "0.977 KiB",
            "0.999 KiB",
            "1 KiB",
            "192 KiB",
            "1.94 MiB",
            "10 MiB",
            "16 EiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn integers_are_read_as_the_c_library_reads_them() {
        let read = |text| integer("count", text, 0, 100).map_err(|failure| failure.message);
        for (text, number) in [("7", 7), ("+7", 7), (" 0x1f", 31), ("010", 8), ("0", 0), ("-0", 0)] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        assert_eq!(read("-18446744073709551615"), Ok(1));
        for text in ["101", "-1", "99999999999999999999"] {
            assert_eq!(read(text).unwrap_err(), "Invalid count specified. Must be between 0 and 100.");
        }
        for text in ["", "-", "1k", "08", "0x", "7 ", "--7", "1.0"] {
            assert_eq!(read(text).unwrap_err(), format!("Invalid count specified: '{text}'."));
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse("1.5k"), Ok(1536));
        assert_eq!(parse("10G"), Ok(10 << 30));
        assert_eq!(parse("0x200"), Ok(512));
        assert_eq!(parse("512b"), Ok(512));
        assert_eq!(parse("1.0"), Ok(1));
        for wrong in ["", "k", "1.5", "1.5b", "1kB", "0x", "0x1k", "ten", "1.2.3k", "-1"] {
            assert_eq!(parse(wrong), Err(SizeFault::Malformed), "{wrong:?}");
        }
        assert_eq!(parse("99999999999999999999"), Err(SizeFault::TooLarge));
        assert_eq!(parse("16E"), Err(SizeFault::TooLarge));
    }
}
