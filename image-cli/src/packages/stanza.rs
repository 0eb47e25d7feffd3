//! Texts of stanzas: lines of a name and a value, ended by an empty line.
//!
//! ```text
//! Package: bash                       P:musl
//! Status: install ok installed        V:1.2.4-r2
//! Description: GNU shell
//!  continued by what begins with a blank
//!                                     (an empty line: the next stanza)
//! ```
//! deb-control(5) and deb822(5); the database of apk has the same form, with names of one letter whose case counts.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::DatabaseRule;

/// The values of the fields that were asked for, without blanks around them.
pub(super) struct Stanza<'a, const N: usize> {
    pub(super) values: [Option<&'a [u8]>; N],
    /// Where it begins, for errors.
    pub(super) line: u64,
}

impl<const N: usize> Stanza<'_, N> {
    /// The error of this stanza.
    pub(super) fn wrong(&self, what: &'static str) -> DatabaseRule {
        DatabaseRule::Line { line: self.line, what }
    }
}

/// The stanzas of a text, and of each the fields with certain names.
pub(super) struct Stanzas<'a, const N: usize> {
    rest: &'a [u8],
    line: u64,
    names: [&'static str; N],
    has_case: bool,
}

impl<'a, const N: usize> Stanzas<'a, N> {
    /// Of `text` the fields `names`; `has_case` tells whether upper and lower case are different names.
    pub(super) fn new(text: &'a [u8], names: [&'static str; N], has_case: bool) -> Self {
        Self { rest: text, line: 0, names, has_case }
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..).unwrap_or_default();
        self.line = self.line.saturating_add(1);
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Which of the names a line has, and its value.
    fn field(&self, line: &'a [u8]) -> Result<Option<(usize, &'a [u8])>, DatabaseRule> {
        let wrong = |what| DatabaseRule::Line { line: self.line, what };
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or_else(|| wrong("has a field without a colon"))?;
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(wrong("has a field without a name"));
        }
        let is_this = |wanted: &&'static str| match self.has_case {
            true => name == wanted.as_bytes(),
            false => name.eq_ignore_ascii_case(wanted.as_bytes()),
        };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        Ok(self.names.iter().position(is_this).map(|index| (index, value)))
    }

    fn step(&mut self) -> Result<Option<Stanza<'a, N>>, DatabaseRule> {
        let mut values = [None; N];
        let mut start = None;
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                match start {
                    Some(_) => break,
                    None => continue,
                }
            }
            // It goes on with a value, and none that is of use here has more than one line.
            if matches!(line.first(), Some(b' ' | b'\t')) && start.is_some() {
                continue;
            }
            start.get_or_insert(self.line);
            let Some((index, value)) = self.field(line)? else { continue };
            if values.get_mut(index).is_some_and(|place| place.replace(value).is_some()) {
                return Err(DatabaseRule::Line { line: self.line, what: "has a field for the second time" });
            }
        }
        Ok(start.map(|line| Stanza { values, line }))
    }
}

impl<'a, const N: usize> Iterator for Stanzas<'a, N> {
    type Item = Result<Stanza<'a, N>, DatabaseRule>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8]) -> Result<Vec<[Option<&[u8]>; 2]>, DatabaseRule> {
        Stanzas::new(text, ["A", "B"], false).map(|stanza| stanza.map(|stanza| stanza.values)).collect()
    }

    #[test]
    fn stanzas_are_taken_apart_at_empty_lines() {
        let text = b"\n\na: 1\nB:\t2 \r\nC: x\n A: 9\n\t\n\r\n\nB : 3\n 4\n\nA:";
        let expected: [[Option<&[u8]>; 2]; 3] =
            [[Some(b"1"), Some(b"2")], [None, Some(b"3")], [Some(b""), None]];
        assert_eq!(values(text).unwrap(), expected);
        assert!(values(b"\n\n").unwrap().is_empty());
    }

    #[test]
    fn a_line_without_form_is_told_with_its_number() {
        for (text, line) in
            [(&b"A: 1\nnothing\n"[..], 2), (b"\n:1", 2), (b"A: 1\nB: 1\na: 1", 3), (b"\0\xff", 1)]
        {
            let error = values(text).unwrap_err();
            assert!(matches!(error, DatabaseRule::Line { line: at, .. } if at == line), "{error}");
        }
    }
}
