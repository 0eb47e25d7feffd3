//! Which system a tree of files is, as it says itself.
//!
//! ```text
//! ID=debian
//! PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"      in quotes of either kind, with backslashes as in a shell
//! # comment
//! ```
//! os-release(5): assignments that a shell would take, without any expansion.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::source::{Source, text};
use super::text::text_of;

/// The first that is there counts, and the other not at all.
pub(crate) const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// What a system says about itself; `None` for what it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct OsRelease {
    /// A word for the system, such as `debian`; without it, `linux` is meant.
    pub id: Option<String>,
    /// Its version as a word, such as `12`.
    pub version_id: Option<String>,
    /// Its name for people.
    pub pretty_name: Option<String>,
    /// The version's name as a word, such as `bookworm`.
    pub version_codename: Option<String>,
    /// The name of the edition for people.
    pub variant: Option<String>,
}

/// What the tree in `source` says about itself; `None`, if there is no such file.
///
/// # Errors
/// The file cannot be read, or it or one of its values is too long. A line that is no assignment is passed over.
pub fn os_release(source: &dyn Source) -> Result<Option<OsRelease>, DatabaseError> {
    for path in PATHS {
        if let Some(text) = text(source, path)? {
            return parse(&text).of(path).map(Some);
        }
    }
    Ok(None)
}

/// What `text`, which is in such a file, says.
///
/// # Errors
/// One of its values is too long.
pub(crate) fn parse(text: &[u8]) -> Result<OsRelease, DatabaseRule> {
    let mut release = OsRelease::default();
    for line in text.split(|byte| *byte == b'\n') {
        // What is at its end may be quoted.
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = line.split_at_checked(equals).unwrap_or_default();
        let place = match name {
            b"ID" => &mut release.id,
            b"VERSION_ID" => &mut release.version_id,
            b"PRETTY_NAME" => &mut release.pretty_name,
            b"VERSION_CODENAME" => &mut release.version_codename,
            b"VARIANT" => &mut release.variant,
            _ => continue,
        };
        if let Some(value) = unquoted(value.get(1..).unwrap_or_default()) {
            // As in a shell, the last one stays.
            *place = Some(text_of(&value)?);
        }
    }
    Ok(release)
}

/// A word of a shell without its quotes; `None`, if a quote is not closed or something follows.
fn unquoted(word: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut quote: Option<u8> = None;
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(b'\''), b'\'') | (Some(b'"'), b'"') => quote = None,
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'\\') => value.push(bytes.next()?),
            (Some(b'"'), b'\\') => {
                let next = bytes.next()?;
                // Before anything else it stands for itself.
                if !matches!(next, b'"' | b'\\' | b'$' | b'`') {
                    value.push(byte);
                }
                value.push(next);
            }
            // Behind the word, there can only be a comment.
            (None, b' ' | b'\t') => {
                return matches!(bytes.find(|byte| !b" \t".contains(byte)), None | Some(b'#'))
                    .then_some(value);
            }
            _ => value.push(byte),
        }
    }
    quote.is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(value: &str) -> Option<String> {
        parse(format!("ID=x\n \tVARIANT={value}\r\n#VARIANT=no\nVARIANT\n").as_bytes()).unwrap().variant
    }

    #[test]
    fn values_are_words_of_a_shell() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("\"\"", ""),
            (r#""a \"b\" \$c \\ \` \n""#, r#"a "b" $c \ ` \n"#),
            (r#"'a \n $b "'"#, r#"a \n $b ""#),
            ("a\"b c\"'d'e", "ab cde"),
            (r"a\ b", "a b"),
            ("a\\ ", "a "),
            ("a ", "a"),
            ("a   # comment", "a"),
            ("a#b", "a#b"),
            ("x=y", "x=y"),
        ];
        for (value, expected) in cases {
            assert_eq!(variant(value).as_deref(), Some(expected), "{value}");
        }
        for value in ["\"open", "'open", "two words", "\\", "\"a\\"] {
            assert_eq!(variant(value), None, "{value}");
        }
    }

    #[test]
    fn the_last_assignment_stays_and_other_bytes_are_replaced() {
        let release = parse(b"\xff\nID=a\nID='b'\nPRETTY_NAME=\"\xff\"\n export ID=c").unwrap();
        assert_eq!((release.id.as_deref(), release.pretty_name.as_deref()), (Some("b"), Some("\u{fffd}")));
    }
}
