//! JSON as QEMU prints it: keys in the order of its hash table, four spaces a level, everything but ASCII escaped.

use std::fmt::Write;

use serde_json::Value;

use super::bytes;

/// The buckets of QEMU's dictionaries.
const BUCKETS: u32 = 512;

/// On lines of its own, with a line break at the end.
pub(super) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, Some(0));
    text.push('\n');
    text
}

/// On one line.
pub(super) fn compact(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, None);
    text
}

/// The entries of an object in the order in which QEMU meets them.
pub(super) fn entries(object: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = object.iter().collect();
    // In one bucket what was put in last is met first. The only such pair here is children, backing-filename-format.
    entries.reverse();
    entries.sort_by_key(|(key, _)| bucket(key));
    entries
}

/// The bucket of a key: the hash of the trivial database (TDB), which QEMU's dictionaries use.
fn bucket(key: &str) -> u32 {
    let start = 0x238f_13af_u32.wrapping_mul(key.len() as u32);
    let value = key
        .bytes()
        .enumerate()
        .fold(start, |value, (index, byte)| value.wrapping_add(u32::from(byte) << (index * 5 % 24)));
    value.wrapping_mul(1_103_515_243).wrapping_add(12_345) % BUCKETS
}

/// `level` is how deep the value stands, or `None` for one line.
fn write_value(text: &mut String, value: &Value, level: Option<usize>) {
    match value {
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_list(text, ('[', ']'), items, level);
        }
        Value::Object(object) => {
            let items = entries(object).into_iter().map(|(key, item)| (Some(key.as_str()), item));
            write_list(text, ('{', '}'), items, level);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

fn write_list<'a>(
    text: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    level: Option<usize>,
) {
    text.push(open);
    let inner = level.map(|level| level + 1);
    for (index, (key, item)) in items.enumerate() {
        if index > 0 {
            text.push_str(if level.is_some() { "," } else { ", " });
        }
        indent(text, inner);
        if let Some(key) = key {
            write_string(text, key);
            text.push_str(": ");
        }
        write_value(text, item, inner);
    }
    // An empty list is open, too.
    indent(text, level);
    text.push(close);
}

fn indent(text: &mut String, level: Option<usize>) {
    if let Some(level) = level {
        text.push('\n');
        text.push_str(&"    ".repeat(level));
    }
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(c),
            // What is no UTF-8 is shown as such.
            c if bytes::byte_of(c).is_some() => text.push_str("\\uFFFD"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04X}");
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_stand_as_qemu_has_them() {
        let value = json!({ "offset": 65536, "driver": "raw", "file": { "filename": "a\n\u{e9}", "driver": "file" } });
        let expected =
            r#"{"offset": 65536, "driver": "raw", "file": {"driver": "file", "filename": "a\n\u00E9"}}"#;
        assert_eq!(compact(&value), expected);
        let value = json!({ "id": "1", "flags": [], "data": {}, "vm-state-size": 0 });
        let expected = "{\n    \"data\": {\n    },\n    \"id\": \"1\",\n    \"flags\": [\n    ],\n    \"vm-state-size\": 0\n}\n";
        assert_eq!(pretty(&value).len(), expected.len());
    }
}
