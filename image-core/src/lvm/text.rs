//! Metadata as text: sections within sections, and values.
//!
//! ```text
//! name {                        # a comment
//!     key = 5
//!     key = "text with \"marks\""
//!     key = ["pv0", 0, "pv1", 0]
//!     name { … }
//! }
//! ```
//! lvm.conf(5), "DESCRIPTION": metadata is written in the same language. What is between the marks of a text may have `\"` and `\\`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::LvmRule;

/// Sections within sections: metadata has five.
const DEPTH_MAX: u32 = 16;
/// All keys, values and sections of a text.
const ENTRIES_MAX: u32 = 1 << 20;

/// What is behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
}

/// What is between braces, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) values: Vec<(String, Value)>,
    pub(super) sections: Vec<(String, Section)>,
}

impl Section {
    /// The value of `key`.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.0 == key).map(|value| &value.1)
    }

    /// The text of `key`.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of `key`, if it is not less than 0.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The list of `key`; a single value counts as a list of one.
    pub(super) fn list(&self, key: &str) -> &[Value] {
        match self.value(key) {
            Some(Value::List(list)) => list,
            Some(single) => std::slice::from_ref(single),
            None => &[],
        }
    }

    /// Whether the list of `key` has `text` in it.
    pub(super) fn has(&self, key: &str, text: &str) -> bool {
        self.list(key).iter().any(|value| matches!(value, Value::Text(found) if found == text))
    }

    /// The section `name`.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.0 == name).map(|section| &section.1)
    }
}

/// All that `bytes` say, up to their first zero.
pub(super) fn parse(bytes: &[u8]) -> Result<Section, LvmRule> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let mut parser = Parser { rest: bytes.get(..len).unwrap_or_default(), line: 1, left: ENTRIES_MAX };
    let section = parser.section(0)?;
    match parser.rest.is_empty() {
        true => Ok(section),
        false => Err(parser.wrong("a brace too many")),
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    line: u32,
    /// How many more entries there may be.
    left: u32,
}

impl<'a> Parser<'a> {
    fn wrong(&self, what: &'static str) -> LvmRule {
        LvmRule::Text { line: self.line, what }
    }

    /// One more entry.
    fn count(&mut self) -> Result<(), LvmRule> {
        self.left = self.left.checked_sub(1).ok_or_else(|| self.wrong("too many entries"))?;
        Ok(())
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// The next byte that is no space and in no comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest.first()? {
                b'#' => {
                    let end = self.rest.iter().position(|byte| *byte == b'\n');
                    self.skip(end.unwrap_or(self.rest.len()));
                }
                byte if byte.is_ascii_whitespace() => {
                    self.line = self.line.saturating_add(u32::from(*byte == b'\n'));
                    self.skip(1);
                }
                byte => return Some(*byte),
            }
        }
    }

    /// Takes `byte` if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.skip(1);
        }
        is_next
    }

    /// What is up to a closing brace or the end, neither of which is taken.
    fn section(&mut self, depth: u32) -> Result<Section, LvmRule> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("sections too deep in each other"));
        }
        let mut section = Section::default();
        while let Some(byte) = self.peek() {
            if byte == b'}' {
                break;
            }
            self.count()?;
            let key = if byte == b'"' { self.quoted()? } else { self.word()? };
            if self.take(b'{') {
                let inner = self.section(depth.saturating_add(1))?;
                if !self.take(b'}') {
                    return Err(self.wrong("no closing brace"));
                }
                section.sections.push((key, inner));
            } else if self.take(b'=') {
                section.values.push((key, self.value()?));
            } else {
                return Err(self.wrong("a key without a value"));
            }
        }
        Ok(section)
    }

    fn value(&mut self) -> Result<Value, LvmRule> {
        if !self.take(b'[') {
            return self.single();
        }
        let mut list = Vec::new();
        while !self.take(b']') {
            if !list.is_empty() && !self.take(b',') {
                return Err(self.wrong("a list without an end"));
            }
            self.count()?;
            list.push(self.single()?);
        }
        Ok(Value::List(list))
    }

    fn single(&mut self) -> Result<Value, LvmRule> {
        if self.peek() == Some(b'"') {
            return self.quoted().map(Value::Text);
        }
        let word = self.word()?;
        // Fractions count as text: nothing that is needed has any.
        Ok(word.parse().map_or(Value::Text(word), Value::Number))
    }

    /// What is up to a space or a mark.
    fn word(&mut self) -> Result<String, LvmRule> {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"{}[]=,#\"".contains(byte);
        let len = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        if len == 0 {
            return Err(self.wrong("neither a key nor a value"));
        }
        let word = String::from_utf8_lossy(self.rest.get(..len).unwrap_or_default()).into_owned();
        self.skip(len);
        Ok(word)
    }

    fn quoted(&mut self) -> Result<String, LvmRule> {
        self.skip(1);
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.skip(at.saturating_add(1));
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                b'\\' => match bytes.next() {
                    Some((_, escaped @ (b'"' | b'\\'))) => text.push(*escaped),
                    Some((_, other)) => text.extend([b'\\', *other]),
                    None => break,
                },
                byte => {
                    self.line = self.line.saturating_add(u32::from(*byte == b'\n'));
                    text.push(*byte);
                }
            }
        }
        Err(self.wrong("a text without an end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_values() {
        let text = br#"vg { # "a comment" }
            id = "a\"b\\c" seqno = 12
            status = ["READ", "WRITE"]  empty=[]
            one = -5 part = 1.5
            inner-name.x { "key" = [ 1 , "two" ] }
        }
        version = 1"#;
        let all = parse(text).unwrap();
        let vg = all.section("vg").unwrap();
        assert_eq!((vg.text("id"), vg.number("seqno"), vg.number("one")), (Some("a\"b\\c"), Some(12), None));
        assert!(vg.has("status", "WRITE") && !vg.has("status", "VISIBLE") && vg.list("empty").is_empty());
        assert_eq!(
            (vg.text("part"), all.number("version"), vg.list("seqno").len()),
            (Some("1.5"), Some(1), 1)
        );
        let list = vg.section("inner-name.x").unwrap().list("key");
        assert_eq!(list, [Value::Number(1), Value::Text("two".into())]);
        assert_eq!(parse(b"a = 1\0 b ").unwrap().values.len(), 1);
    }

    #[test]
    fn text_that_is_broken_is_refused() {
        for (text, line, what) in [
            ("a {\n b = 1", 2, "no closing brace"),
            ("a = 1 }", 1, "a brace too many"),
            ("a = \"b\n", 2, "a text without an end"),
            ("a = \"b\\", 1, "a text without an end"),
            ("a = [1 2]", 1, "a list without an end"),
            ("a = [1, ", 1, "neither a key nor a value"),
            ("a", 1, "a key without a value"),
            ("\n= 5", 2, "neither a key nor a value"),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(LvmRule::Text { line, what }), "{text}");
        }
        let deep = "a{".repeat(1000);
        assert!(matches!(parse(deep.as_bytes()), Err(LvmRule::Text { what, .. }) if what.contains("deep")));
        let many = format!("a = [{}0]", "0,".repeat(ENTRIES_MAX as usize));
        assert!(matches!(parse(many.as_bytes()), Err(LvmRule::Text { what, .. }) if what.contains("many")));
    }
}
