//! JSON as QEMU reads it: strings stand in single quotes too, and what is wrong is said in its words.
//!
//! ```text
//! {'driver': 'raw', "file": {…}} ─► tokens (stray characters end it) ─► values (what is missing ends it)
//! ```

use serde_json::{Map, Value};

/// How deep objects and lists may lie in each other.
const MAX_DEPTH: usize = 1024;

/// The value that `text` is; the error is what QEMU says.
pub(in crate::qemu_img) fn parse(text: &str) -> Result<Value, String> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err("Expecting a JSON value".to_owned());
    }
    let mut reader = Reader { tokens: &tokens, depth: 0 };
    let value = reader.value().map_err(|fault| format!("JSON parse error, {fault}"))?;
    match reader.tokens.is_empty() {
        true => Ok(value),
        false => Err(MORE_THAN_ONE.to_owned()),
    }
}

const MORE_THAN_ONE: &str = "Expecting at most one JSON value";

/// A part of the text.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// One of `{}[]:,`.
    Mark(char),
    Text(String),
    Number(serde_json::Number),
    /// `true`, `null` or what is none.
    Word(String),
}

/// The parts of `text`. What stands behind a whole value is not looked at closely.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest, mut open) = (Vec::new(), text, 0_i64);
    while let Some(first) = rest.chars().next() {
        let read = token(rest, first);
        let (token, len) = match read {
            Err(_) if open <= 0 && !tokens.is_empty() => return Err(MORE_THAN_ONE.to_owned()),
            read => read.map_err(|fault| format!("JSON parse error, {fault}"))?,
        };
        match token {
            Some(Token::Mark('{' | '[')) => open += 1,
            Some(Token::Mark('}' | ']')) => open -= 1,
            _ => {}
        }
        tokens.extend(token);
        rest = &rest[len..];
    }
    Ok(tokens)
}

/// The part that `text` begins with, if it is no space, and its length.
fn token(text: &str, first: char) -> Result<(Option<Token>, usize), String> {
    Ok(match first {
        ' ' | '\t' | '\r' | '\n' => (None, 1),
        '{' | '}' | '[' | ']' | ':' | ',' => (Some(Token::Mark(first)), 1),
        '"' | '\'' => {
            let end = end_of_string(text, first).map_err(|end| stray(&text[..end]))?;
            (Some(Token::Text(unescaped(&text[1..end])?)), end)
        }
        'a'..='z' => {
            let end = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
            (Some(Token::Word(text[..end].to_owned())), end)
        }
        '-' | '0'..='9' => {
            let end = end_of_number(text).map_err(|end| stray(&text[..end]))?;
            // One that is too large for a number is as good as the largest.
            let number = serde_json::from_str(&text[..end]).unwrap_or_else(|_| u64::MAX.into());
            (Some(Token::Number(number)), end)
        }
        other => return Err(stray(&other.to_string())),
    })
}

fn stray(what: &str) -> String {
    format!("stray '{what}'")
}

/// Where the string ends that `text` begins with, behind its quote; the error is where it breaks off.
fn end_of_string(text: &str, quote: char) -> Result<usize, usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            c if u32::from(c) < 0x20 => return Err(at + 1),
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(text.len())
}

/// What a string is; `text` is all of it behind its first quote.
fn unescaped(text: &str) -> Result<String, String> {
    let (mut value, mut rest) = (String::new(), &text[..text.len() - 1]);
    while let Some((plain, escape)) = rest.split_once('\\') {
        value.push_str(plain);
        let Some(letter) = escape.chars().next() else { break };
        rest = &escape[letter.len_utf8()..];
        value.push(match letter {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '"' | '\'' | '/' | '\\' => letter,
            'u' => {
                let (c, len) = character(rest)?;
                rest = &rest[len..];
                c
            }
            _ => return Err("invalid escape sequence in string".to_owned()),
        });
    }
    value.push_str(rest);
    Ok(value)
}

/// The character whose number, behind its `\u`, `text` begins with, and how long that is: two numbers where it needs them.
fn character(text: &str) -> Result<(char, usize), String> {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let none = || format!("\\u{} is not a valid Unicode character", text.get(..4).unwrap_or(text));
    let first = unit(text).ok_or_else(none)?;
    let second = text[4..].strip_prefix("\\u").and_then(unit);
    match char::decode_utf16([first].into_iter().chain(second)).next() {
        Some(Ok(c)) => Ok((c, if c.len_utf16() == 2 { 10 } else { 4 })),
        _ => Err(none()),
    }
}

/// Where the number ends that `text` begins with; the error is where it breaks off.
fn end_of_number(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Up to the character that is wrong, and with it.
    let broken = |at: usize| at + text[at..].chars().next().map_or(0, char::len_utf8);
    let mut at = usize::from(bytes[0] == b'-');
    let whole = digits(at);
    if whole == at {
        return Err(broken(at));
    }
    if bytes[at] == b'0' && whole > at + 1 {
        return Err(at + 2);
    }
    at = whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == at + 1 {
            return Err(broken(fraction));
        }
        at = fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == at + 1 + sign {
            return Err(broken(exponent));
        }
        at = exponent;
    }
    Ok(at)
}

/// Tokens, from front to back.
struct Reader<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Token, String> {
        let (first, rest) = self.tokens.split_first().ok_or("premature EOI")?;
        self.tokens = rest;
        Ok(first.clone())
    }

    fn value(&mut self) -> Result<Value, String> {
        Ok(match self.next()? {
            Token::Mark('{') => self.nested(Self::object)?,
            Token::Mark('[') => self.nested(Self::list)?,
            Token::Mark(_) => return Err("expecting value".to_owned()),
            Token::Text(text) => Value::String(text),
            Token::Number(number) => Value::Number(number),
            Token::Word(word) => match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return Err(format!("invalid keyword '{word}'")),
            },
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, String> {
        let mut object = Map::new();
        if self.tokens.first() == Some(&Token::Mark('}')) {
            self.next()?;
            return Ok(Value::Object(object));
        }
        loop {
            let Value::String(key) = self.value()? else {
                return Err("key is not a string in object".to_owned());
            };
            if self.next()? != Token::Mark(':') {
                return Err("missing : in object pair".to_owned());
            }
            let value = self.value()?;
            if object.contains_key(&key) {
                return Err("duplicate key".to_owned());
            }
            object.insert(key, value);
            match self.next()? {
                Token::Mark('}') => return Ok(Value::Object(object)),
                Token::Mark(',') => {}
                _ => return Err("expected separator in dict".to_owned()),
            }
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut list = Vec::new();
        if self.tokens.first() == Some(&Token::Mark(']')) {
            self.next()?;
            return Ok(Value::Array(list));
        }
        loop {
            list.push(self.value()?);
            match self.next()? {
                Token::Mark(']') => return Ok(Value::Array(list)),
                Token::Mark(',') => {}
                _ => return Err("expected separator in list".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_quotes_are_quotes() {
        let value = parse(r#" {'a': "it's", "b": 'say "x"', 'c': [1, -2.5, true, null, {}]} "#);
        assert_eq!(
            value,
            Ok(serde_json::json!({"a": "it's", "b": "say \"x\"", "c": [1, -2.5, true, null, {}]}))
        );
        assert_eq!(parse(r"'\'\u00e9\\'"), Ok(serde_json::json!("'\u{e9}\\")));
    }

    #[test]
    fn depth_is_bounded() {
        assert!(parse(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))).is_ok());
        let deep = "[".repeat(1 << 20);
        assert_eq!(parse(&deep), Err("JSON parse error, nested too deeply".to_owned()));
    }
}
