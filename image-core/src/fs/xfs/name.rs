//! Names: their hashes, and when two of them are the same.
//!
//! XFS Algorithms & Data Structures, "Name Hashes". Where case does not count, that is of the letters of ISO 8859-1.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// How well two names are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    /// But for their case.
    Folded,
}

/// The hash of `name`, folded first if case does not count.
pub(super) fn hash(name: &[u8], is_folded: bool) -> u32 {
    let fold = |byte: u8| if is_folded { lower(byte) } else { byte };
    name.iter().fold(0_u32, |hash, byte| hash.rotate_left(7) ^ u32::from(fold(*byte)))
}

/// Whether `one` is `other`.
pub(super) fn compare(one: &[u8], other: &[u8], is_folded: bool) -> Option<Match> {
    if one == other {
        return Some(Match::Exact);
    }
    let is_same =
        is_folded && one.len() == other.len() && one.iter().zip(other).all(|(a, b)| lower(*a) == lower(*b));
    is_same.then_some(Match::Folded)
}

fn lower(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte | 0x20,
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_turns_the_hash() {
        assert_eq!(hash(b".", false), 0x2e);
        assert_eq!(hash(b"..", false), 0x172e);
        assert_eq!(
            hash(b"abcde", false),
            ((0x61 << 21 ^ 0x62 << 14 ^ 0x63 << 7 ^ 0x64_u32).rotate_left(7)) ^ 0x65
        );
        assert_eq!(hash(b"AbC\xc4", true), hash(b"aBc\xe4", true));
        assert_ne!(hash(b"A", false), hash(b"a", false));
    }

    #[test]
    fn case_counts_unless_it_does_not() {
        assert_eq!(compare(b"Name", b"Name", true), Some(Match::Exact));
        assert_eq!(compare(b"Name", b"nAME", true), Some(Match::Folded));
        assert_eq!(compare(b"Name", b"nAME", false), None);
        assert_eq!(compare(b"Name", b"Names", true), None);
        assert_eq!((lower(0xd7), lower(b'[')), (0xd7, b'['));
    }
}
