//! A row of a table: kinds of its columns, and then their values.
//!
//! ```text
//! length of the kinds │ kind │ kind │ … │ value │ value │ …
//! kind   0 null, 1 … 6 numbers of 1, 2, 3, 4, 6, 8 bytes, 7 a fraction, 8 and 9 the numbers 0 and 1,
//!        even from 12 on bytes, odd from 13 on text
//! ```
//! SQLite's documentation "Database File Format", sections 1.6 ("varint") and 2.1.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a [u8]),
    /// Null, or a fraction.
    Other,
}

/// A number of one to nine bytes at the start of `bytes`, and what follows.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    for index in 0..8 {
        let byte = *bytes.get(index)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index.saturating_add(1)..)?));
        }
    }
    // The ninth has eight bits.
    let byte = *bytes.get(8)?;
    Some((number << 8 | u64::from(byte), bytes.get(9..)?))
}

/// The value of column `index`, counted from 0, of a row; `None`, if the row ends before.
pub(super) fn column(row: &[u8], index: usize) -> Option<Value<'_>> {
    let (kinds_end, rest) = varint(row)?;
    let kinds_end = usize::try_from(kinds_end).ok()?;
    let kinds_len = kinds_end.checked_sub(row.len().checked_sub(rest.len())?)?;
    let (mut kinds, mut values) = rest.split_at_checked(kinds_len)?;
    let mut left = index;
    loop {
        let (kind, next) = varint(kinds)?;
        let (value, behind) = values.split_at_checked(len_of(kind)?)?;
        if left == 0 {
            return Some(value_of(kind, value));
        }
        left = left.saturating_sub(1);
        (kinds, values) = (next, behind);
    }
}

/// How many bytes a value of this kind has.
fn len_of(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => Some(kind as usize),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from(kind.saturating_sub(12) / 2).ok(),
    }
}

fn value_of(kind: u64, value: &[u8]) -> Value<'_> {
    match kind {
        8 => Value::Number(0),
        9 => Value::Number(1),
        1..=6 => {
            let first = value.first().map_or(0, |byte| i64::from(*byte as i8));
            let rest = value.get(1..).unwrap_or_default();
            Value::Number(rest.iter().fold(first, |number, byte| number << 8 | i64::from(*byte)))
        }
        12.. if kind.is_multiple_of(2) => Value::Bytes(value),
        12.. => Value::Text(value),
        _ => Value::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_up_to_nine_bytes() {
        let cases: [(&[u8], u64); 5] = [
            (&[0x7f], 127),
            (&[0x81, 0x00], 128),
            (&[0x80, 0x80, 0x01], 1),
            (&[0xff; 9], u64::MAX),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x05], 5),
        ];
        for (bytes, number) in cases {
            let followed = [bytes, &[9]].concat();
            assert_eq!(varint(&followed), Some((number, &[9][..])), "{bytes:?}");
            assert_eq!(varint(bytes.split_last().unwrap().1), None);
        }
    }

    #[test]
    fn columns_have_values_of_their_kinds() {
        let row = [9, 0, 1, 2, 8, 9, 7, 14, 17, 0xff, 0x01, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c'];
        let values: Vec<_> = (0..9).map(|index| column(&row, index)).collect();
        let expected = [
            Value::Other,
            Value::Number(-1),
            Value::Number(256),
            Value::Number(0),
            Value::Number(1),
            Value::Other,
            Value::Bytes(b"a"),
            Value::Text(b"bc"),
        ];
        assert_eq!(values[..8], expected.map(Some));
        assert_eq!(values[8], None);
        for len in 0..row.len() {
            assert_eq!(column(&row[..len], 7), None);
        }
        assert_eq!(column(&[0, 1], 0), None);
        assert_eq!(column(&[3, 11, 1], 0), None);
    }
}
