//! Looking for secrets in a stream of bytes.
//!
//! ```text
//! bytes ─► pieces, each with the end of the one before ─► marks (all at once) ─► is it one? ─► Secret
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::io::{self, Read};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{keys, tokens};

/// So much is read at once.
const PIECE: usize = 256 << 10;
/// So much of what stands before a mark is looked at, and behind it.
const BEFORE: usize = 2 << 10;
const BEHIND: usize = 4 << 10;
/// A text in UTF-16 is looked into up to this length.
const WIDE_LIMIT: u64 = 4 << 20;

/// What kind of secret something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Secret {
    /// A private key, and how it is written.
    Key(&'static str),
    /// A token or a password.
    Token(&'static str),
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Search {
    finder: AhoCorasick,
}

impl Search {
    pub(super) fn new() -> crate::Result<Self> {
        let keys = keys::MARKS.iter().map(|mark| mark.text);
        let tokens = tokens::MARKS.iter().map(|mark| mark.start);
        // Leftmost, for then many bytes are looked at in one step.
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(keys.chain(tokens).chain([tokens::ADDRESS]))?;
        Ok(Self { finder })
    }

    /// Every kind of secret in `from`; tokens only `with_tokens`.
    pub(super) fn stream(&self, from: &mut dyn Read, with_tokens: bool) -> io::Result<BTreeSet<Secret>> {
        let mut found = BTreeSet::new();
        let mut bytes = Vec::new();
        let mut judged = 0;
        loop {
            let had = bytes.len();
            from.take(PIECE as u64).read_to_end(&mut bytes)?;
            if had == 0 && matches!(bytes.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                from.take(WIDE_LIMIT).read_to_end(&mut bytes)?;
                let text = narrow(&bytes);
                self.judge(text.as_bytes(), 0, text.len(), with_tokens, &mut found);
                return Ok(found);
            }
            let is_end = bytes.len().saturating_sub(had) < PIECE;
            let end = if is_end { bytes.len() } else { bytes.len().saturating_sub(BEHIND) };
            self.judge(&bytes, judged, end, with_tokens, &mut found);
            if is_end {
                return Ok(found);
            }
            let start = end.saturating_sub(BEFORE);
            bytes.drain(..start);
            judged = end.saturating_sub(start);
        }
    }

    /// Judges each mark that begins from `start` to `end`.
    fn judge(&self, bytes: &[u8], start: usize, end: usize, with_tokens: bool, found: &mut BTreeSet<Secret>) {
        for hit in self.finder.find_iter(bytes.get(start..).unwrap_or_default()) {
            let at = start.saturating_add(hit.start());
            if at >= end {
                return;
            }
            let (before, text) = bytes.split_at(at);
            let before = before.get(before.len().saturating_sub(BEFORE)..).unwrap_or_default();
            let index = hit.pattern().as_usize();
            found.extend(match keys::MARKS.get(index) {
                Some(mark) => (mark.is)(before, text).map(Secret::Key),
                None if with_tokens => {
                    let index = index.saturating_sub(keys::MARKS.len());
                    let is_address = index == tokens::MARKS.len();
                    let address = || tokens::has_password(before, text).then_some("a password in an address");
                    if is_address { address() } else { tokens::token(index, before, text) }.map(Secret::Token)
                }
                None => None,
            });
        }
    }
}

/// A text in UTF-16, whose first two bytes say in which order its bytes are.
fn narrow(bytes: &[u8]) -> String {
    let is_big = bytes.first() == Some(&0xfe);
    let pairs = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk::<2>());
    let units = pairs.map(|pair| if is_big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) });
    char::decode_utf16(units.skip(1)).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::shaped;
    use super::*;

    fn found(bytes: &[u8]) -> Vec<Secret> {
        Search::new().unwrap().stream(&mut &*bytes, true).unwrap().into_iter().collect()
    }

    #[test]
    fn a_key_is_found_wherever_it_lies() {
        let key = shaped("PRIVATE KEY");
        let is_key = [Secret::Key("a private key")];
        for at in [0, 1, PIECE - BEHIND - 20, PIECE - BEHIND, PIECE - 300, PIECE - 16, PIECE, 3 * PIECE - 100]
        {
            let mut bytes = vec![b'\n'; at];
            bytes.extend(key.as_bytes());
            assert_eq!(found(&bytes), is_key, "at {at}, at the end");
            bytes.resize(at + 2 * PIECE, 0);
            assert_eq!(found(&bytes), is_key, "at {at}");
        }
        assert_eq!(found(&vec![b'x'; 2 * PIECE]), []);
    }

    #[test]
    fn texts_that_are_not_utf_8_are_looked_into() {
        let text = format!("caf\u{e9} https://ann:hunter2@example.com/\n{}", shaped("RSA PRIVATE KEY"));
        let both = [Secret::Key("a private key"), Secret::Token("a password in an address")];
        let latin: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
        assert_eq!(found(&latin), both);
        for big in [false, true] {
            let units = std::iter::once('\u{feff}').chain(text.chars()).map(|letter| letter as u16);
            let wide: Vec<u8> =
                units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            assert_eq!(found(&wide), both, "{big}");
        }
    }

    #[test]
    fn tokens_are_looked_for_where_that_is_asked() {
        let text = b"https://ann:hunter2@example.com/";
        let search = Search::new().unwrap();
        assert_eq!(search.stream(&mut &text[..], false).unwrap().len(), 0);
        assert_eq!(search.stream(&mut &text[..], true).unwrap().len(), 1);
    }
}
