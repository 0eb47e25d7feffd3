//! From when to when a certificate is good: that of an authority nobody else looks at.
//!
//! ```text
//! Certificate ─ TBSCertificate ─ [0] version? · serial · algorithm · issuer · Validity ─ notBefore, notAfter
//! ```
//!
//! Source: RFC 5280, sections 4.1 and 4.1.2.5; X.690 for tags and lengths.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::qemu_img::failure::Failure;

const SEQUENCE: u8 = 0x30;
/// Of the version, which may be left out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from: Timestamp,
    to: Timestamp,
}

impl Validity {
    /// Of a certificate, in DER; `None` for what is none.
    pub(super) fn of(certificate: impl AsRef<[u8]>) -> Option<Self> {
        let (certificate, _) = inside(certificate.as_ref(), SEQUENCE)?;
        let (mut fields, _) = inside(certificate, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            fields = element(fields)?.rest;
        }
        // The serial number, the algorithm, the issuer.
        for _ in 0..3 {
            fields = element(fields)?.rest;
        }
        let (times, _) = inside(fields, SEQUENCE)?;
        let from = element(times)?;
        let to = element(from.rest)?;
        Some(Self { from: time(&from)?, to: time(&to)? })
    }

    /// Whether that is now. The certificate is `whose` and lies at `path`.
    pub(super) fn check(self, whose: &str, path: &str) -> Result<(), Failure> {
        self.check_at(Timestamp::now(), whose, path)
    }

    fn check_at(self, now: Timestamp, whose: &str, path: &str) -> Result<(), Failure> {
        if now > self.to {
            return Err(Failure::new(format!("The {whose} certificate {path} has expired")));
        }
        if now < self.from {
            return Err(Failure::new(format!("The {whose} certificate {path} is not yet active")));
        }
        Ok(())
    }
}

/// A tag, what it is of, and what follows.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // As many bytes of the length follow; more than three no certificate has.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0_usize, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some(Element { tag, content, rest })
}

/// What is in an element with this tag, and what follows it.
fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|element| element.tag == tag).map(|element| (element.content, element.rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; two digits of a year are those of 1950 to 2049.
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let text = match (element.tag, text.len()) {
        (UTC_TIME, 12) if text >= "5" => format!("19{text}"),
        (UTC_TIME, 12) => format!("20{text}"),
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    /// Version 3, serial 1, no algorithm and issuer to speak of.
    fn certificate(from: &[u8], to: &[u8]) -> Vec<u8> {
        let wrapped = |tag: u8, content: &[u8]| [&[tag, content.len() as u8][..], content].concat();
        let validity = wrapped(SEQUENCE, &[from, to].concat());
        let start = b"\xa0\x03\x02\x01\x02\x02\x01\x01\x30\x00\x30\x00";
        let fields = wrapped(SEQUENCE, &[&start[..], &validity].concat());
        wrapped(SEQUENCE, &fields)
    }

    #[test]
    fn both_kinds_of_times_are_read() {
        let (from, to) = (b"\x17\x0d991231235959Z", b"\x18\x0f20500102030405Z");
        let bytes = certificate(from, to);
        let validity = Validity::of(&bytes).unwrap();
        assert_eq!(validity.from.to_string(), "1999-12-31T23:59:59Z");
        assert_eq!(validity.to.to_string(), "2050-01-02T03:04:05Z");
        let said = |time: &str| {
            validity.check_at(time.parse().unwrap(), "CA", "p").map_err(|failure| failure.message)
        };
        assert_eq!(said("2026-01-01T00:00:00Z"), Ok(()));
        assert_eq!(said("2050-01-02T03:04:06Z"), Err("The CA certificate p has expired".to_owned()));
        assert_eq!(said("1999-12-31T23:59:58Z"), Err("The CA certificate p is not yet active".to_owned()));
        // Whatever is cut off or no date is no certificate.
        for len in 0..bytes.len() {
            assert_eq!(Validity::of(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Validity::of(certificate(from, b"\x17\x0d991331235959Z")), None);
        assert_eq!(Validity::of(certificate(from, b"\x18\x0d991231235959Z")), None);
    }
}
