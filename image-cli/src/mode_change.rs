//! Modes as chmod(1) takes them: octal digits, or what is added, taken away or set for whom.
//!
//! ```text
//! 0755     u=rwx,go=rx     +x     g-w,o=     u+s     g=u     a+X: execution, for directories and what is executed already
//! ```
//! POSIX.1-2024, chmod, "extended description". Without a letter before the sign, it is for all, but for what `umask 022` takes away.
//! As GNU's, octal digits leave set-user-ID and set-group-ID of directories as they are.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::str::FromStr;

/// What is not given where nobody is named.
const UMASK: u32 = 0o022;

/// Permissions that are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange(Vec<Clause>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Clause {
    Set(u32),
    Symbolic { who: u32, sign: char, letters: String },
}

/// Why a text is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: write octal digits (0644), or like u+x,go-w")]
pub struct ModeError(String);

impl FromStr for ModeChange {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let wrong = || ModeError(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
            return bits.map(|bits| Self(vec![Clause::Set(bits)])).ok_or_else(wrong);
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clause).collect();
        Ok(Self(clauses.ok_or_else(wrong)?.concat()))
    }
}

fn clause(text: &str) -> Option<Vec<Clause>> {
    let begin = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(begin);
    let mut mask = 0;
    for letter in who.chars() {
        mask |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let who = if who.is_empty() { 0o7777 & !UMASK } else { mask };
    let mut clauses = Vec::new();
    while let Some(sign) = rest.chars().next() {
        let behind = rest.get(1..)?;
        let end = behind.find(['+', '-', '=']).unwrap_or(behind.len());
        let (letters, next) = behind.split_at(end);
        let is_copied = matches!(letters, "u" | "g" | "o");
        if !is_copied && !letters.chars().all(|letter| "rwxXst".contains(letter)) {
            return None;
        }
        clauses.push(Clause::Symbolic { who, sign, letters: letters.to_owned() });
        rest = next;
    }
    Some(clauses)
}

impl ModeChange {
    /// What `mode` becomes, of a directory or another file.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let step = |mode: u32, clause: &Clause| {
            let Clause::Symbolic { who, sign, letters } = clause else {
                let Clause::Set(bits) = clause else { return mode };
                return if is_directory { *bits | mode & 0o6000 } else { *bits };
            };
            let is_executed = is_directory || mode & 0o111 != 0;
            let bits = letters.chars().fold(0, |bits, letter| {
                bits | match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_executed => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => times_all(mode >> 6),
                    'g' => times_all(mode >> 3),
                    'o' => times_all(mode),
                    _ => 0,
                }
            });
            match sign {
                '+' => mode | bits & who,
                '-' => mode & !(bits & who),
                // The sticky bit is nobody's own.
                _ => mode & !(who & if is_directory { 0o777 | bits & 0o7000 } else { 0o7777 }) | bits & who,
            }
        };
        self.0.iter().fold(mode, step)
    }
}

/// The lowest three bits for user, group and others.
fn times_all(bits: u32) -> u32 {
    let bits = bits & 7;
    bits << 6 | bits << 3 | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_chmod() {
        for (text, before, is_directory, after) in [
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u=rwx,go=rx", 0o600, false, 0o755),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("o=", 0o777, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("u+rw-x", 0o700, false, 0o600),
            ("g=rx", 0o2770, true, 0o2750),
            ("+w", 0o444, false, 0o644),
            ("a+w", 0o444, false, 0o666),
            ("g=u", 0o640, false, 0o660),
            ("0755", 0o2770, true, 0o2755),
        ] {
            let change: ModeChange = text.parse().unwrap();
            assert_eq!(change.apply(before, is_directory), after, "{text} of {before:o}");
        }
        for wrong in ["", "888", "17777", "u", "x+r", "u+q", "0644,u+x"] {
            assert!(wrong.parse::<ModeChange>().is_err(), "{wrong}");
        }
    }
}
