//! Substitutions in text, as sed(1) writes them: `s/PATTERN/REPLACEMENT/FLAGS`.
//!
//! Patterns are those of the crate regex (close to `sed -E`); in the replacement `&` is all of the match, `\1` to `\9` its groups. Flags:
//! `g` every match of a line, `i` whatever the case. Each line is looked at by itself, without its end.

use std::str::FromStr;

use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::error::{Advise, err};

/// A substitution.
#[derive(Debug, Clone)]
pub struct Substitution {
    pattern: Regex,
    replacement: Vec<Piece>,
    every: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

impl FromStr for Substitution {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        parse(text)
    }
}

fn parse(text: &str) -> crate::Result<Substitution> {
    let malformed = || {
        Err(err!("{text:?} is no substitution"))
            .hint(|| "write s/PATTERN/REPLACEMENT/, with g or i behind it")
    };
    let Some(rest) = text.strip_prefix('s') else { return malformed() };
    let Some(mark) = rest.chars().next().filter(|mark| !mark.is_alphanumeric() && *mark != '\\') else {
        return malformed();
    };
    let rest = rest.get(mark.len_utf8()..).unwrap_or_default();
    let Some((pattern, rest)) = field(rest, mark) else { return malformed() };
    let Some((replacement, flags)) = field(rest, mark) else { return malformed() };
    if flags.chars().any(|flag| !"giI".contains(flag)) {
        return malformed();
    }
    let regex = RegexBuilder::new(&pattern).case_insensitive(flags.contains(['i', 'I'])).build();
    let regex =
        regex.map_err(|error| err!("{error}")).hint(|| "patterns are extended regular expressions")?;
    Ok(Substitution { replacement: pieces(&replacement), every: flags.contains('g'), pattern: regex })
}

/// What is before the next `mark`, in which one behind a backslash is itself, and what is behind it.
fn field(text: &str, mark: char) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut chars = text.char_indices();
    while let Some((at, own)) = chars.next() {
        if own == mark {
            return Some((found, text.get(at.saturating_add(mark.len_utf8())..)?));
        }
        if own == '\\' {
            let (_, next) = chars.next()?;
            if next != mark {
                found.push('\\');
            }
            found.push(next);
            continue;
        }
        found.push(own);
    }
    None
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    let mut chars = text.chars();
    while let Some(own) = chars.next() {
        let group = match own {
            '&' => Some(0),
            '\\' => match chars.next() {
                Some('n') => {
                    plain.push(b'\n');
                    None
                }
                Some(digit @ '0'..='9') => digit.to_digit(10).map(|digit| digit as usize),
                Some(other) => {
                    plain.extend(other.to_string().bytes());
                    None
                }
                None => None,
            },
            other => {
                plain.extend(other.to_string().bytes());
                None
            }
        };
        if let Some(group) = group {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Group(group));
        }
    }
    pieces.push(Piece::Text(plain));
    pieces
}

impl Substitution {
    /// `text` with it, line by line.
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut found = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let end = line.len().saturating_sub(usize::from(line.ends_with(b"\n")));
            let (own, end) = line.split_at(end);
            let limit = if self.every { 0 } else { 1 };
            found.extend_from_slice(
                &self.pattern.replacen(own, limit, |captures: &Captures<'_>| self.filled(captures)),
            );
            found.extend_from_slice(end);
        }
        found
    }

    fn filled(&self, captures: &Captures<'_>) -> Vec<u8> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Group(group) => {
                captures.get(*group).map(|own| own.as_bytes().to_vec()).unwrap_or_default()
            }
        };
        self.replacement.iter().flat_map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_are_those_of_sed() {
        for (expression, text, expected) in [
            ("s/a/b/", "aa\naa\n", "ba\nba\n"),
            ("s/a/b/g", "aa\naa", "bb\nbb"),
            ("s/^#?(Port) .*/\\1 2222/", "#Port 22\nport 1\n", "Port 2222\nport 1\n"),
            ("s/port/&s/I", "Port\n", "Ports\n"),
            ("s|/usr/bin|/bin|", "/usr/bin/x\n", "/bin/x\n"),
            ("s/\\//:/g", "a/b/c\n", "a:b:c\n"),
            ("s/x$/\\&/", "ax\nx y\n", "a&\nx y\n"),
            ("s/,/\\n/g", "a,b\n", "a\nb\n"),
        ] {
            let own: Substitution = expression.parse().unwrap();
            assert_eq!(String::from_utf8(own.apply(text.as_bytes())).unwrap(), expected, "{expression}");
        }
        for wrong in ["", "s", "s/a", "s/a/b", "y/a/b/", "s/a/b/x", "s/(/b/"] {
            assert!(wrong.parse::<Substitution>().is_err(), "{wrong}");
        }
    }
}
