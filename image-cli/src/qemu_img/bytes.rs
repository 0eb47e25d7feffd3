//! Words of the command line and names in images, byte for byte, as text: there are file names that are not UTF-8.
//!
//! ```text
//! b"caf\xe9.raw" ─► "caf" U+EFE9 ".raw" ─► b"caf\xe9.raw"        on the command line, in an image ─► to files, to messages
//! ```
//!
//! A byte that is no part of UTF-8 is the character U+EF00 + byte, of the private use area; and so are, to keep it
//! reversible, the bytes of those characters themselves. All that is printed and every path goes through here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What the byte 0 would be.
const FIRST: u32 = 0xef00;

/// The text that stands for `bytes`.
pub(super) fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let push_bytes =
        |bytes: &[u8], text: &mut String| text.extend(bytes.iter().map(|&byte| standing_for(byte)));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                Some(_) => push_bytes(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text),
                None => text.push(c),
            }
        }
        push_bytes(chunk.invalid(), &mut text);
    }
    text
}

/// The bytes that `text` stands for.
pub(super) fn of_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The path that `text` stands for.
pub(super) fn path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(of_text(text)))
}

/// The byte that `c` stands for, if it is not itself.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c).checked_sub(FIRST)?).ok()?;
    (!byte.is_ascii()).then_some(byte)
}

fn standing_for(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_bytes_has_a_text_and_comes_back() {
        let rows: [&[u8]; 7] = [
            b"",
            "plain, h\u{e9}l\u{1f600}".as_bytes(),
            b"caf\xe9.raw",
            b"\xff\xfe=\xc3",
            // What stands for bytes, as itself; and its first two bytes.
            "\u{ef80}\u{efff}\u{ef7f}\u{f000}".as_bytes(),
            b"\xee\xbe",
            &[0x80, 0, 0x7f, 0xc0, 0xaf, 0xed, 0xa0, 0x80],
        ];
        for bytes in rows {
            assert_eq!(of_text(&to_text(bytes)), bytes, "{:?}", to_text(bytes));
        }
        assert_eq!(to_text(b"caf\xe9"), "caf\u{efe9}");
        assert_eq!(to_text("h\u{e9}".as_bytes()), "h\u{e9}");
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(of_text(&to_text(&all)), all);
    }
}
