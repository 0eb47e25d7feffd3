//! Names of records without Rock Ridge, as Linux shows them.
//!
//! ```text
//! plain    README.TXT;1 ─► readme.txt        DATA.;1 ─► data        A;2 ─► a.2        (mount -o map=normal)
//! Joliet   UTF-16, big endian, without ;1 and without dots at its end
//! ```
//! ECMA-119, 7.5 and 7.6; Joliet Specification, "Joliet File Names".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// A plain name as it is shown.
pub(super) fn plain(stored: &[u8]) -> Vec<u8> {
    let stored = stored.strip_suffix(b".;1").or_else(|| stored.strip_suffix(b";1")).unwrap_or(stored);
    let shown = stored.iter().take_while(|byte| **byte != 0).map(|byte| match byte {
        b';' | b'/' => b'.',
        byte => byte.to_ascii_lowercase(),
    });
    shown.collect()
}

/// A name of Joliet as it is shown. A half of a pair of surrogates without the other is U+FFFD.
pub(super) fn joliet(stored: &[u8]) -> Vec<u8> {
    let (pairs, _) = stored.as_chunks::<2>();
    let letters = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).take_while(|letter| *letter != 0);
    let name: String = char::decode_utf16(letters).map(|found| found.unwrap_or('\u{fffd}')).collect();
    let mut name = if name.len() > 2 { name.strip_suffix(";1").unwrap_or(&name) } else { &name };
    while name.len() > 1
        && let Some(shorter) = name.strip_suffix('.')
    {
        name = shorter;
    }
    name.as_bytes().to_vec()
}

/// Whether a file can have this name.
pub(super) fn may_be(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_linux_shows_them() {
        for (stored, shown) in [
            (&b"README.TXT;1"[..], "readme.txt"),
            (b"DATA.;1", "data"),
            (b"DATA.", "data."),
            (b"A.B;12", "a.b.12"),
            (b"SUB_DIR", "sub_dir"),
        ] {
            assert_eq!(plain(stored), shown.as_bytes());
        }
        for (name, shown) in
            [("Größe 😀.txt;1", "Größe 😀.txt"), ("Ünder..", "Ünder"), (";1", ";1"), (".", ".")]
        {
            let stored: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
            assert_eq!(String::from_utf8(joliet(&stored)).unwrap(), shown);
        }
    }
}
