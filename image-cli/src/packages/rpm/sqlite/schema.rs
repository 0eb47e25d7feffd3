//! The table of all tables: where the table `Packages` is, and which of its columns is `blob`.
//!
//! ```text
//! CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)
//!                          0                                      1
//! ```
//! SQLite's documentation "Database File Format", section 2.6, and of the language, "CREATE TABLE".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::super::rule::DatabaseRule;
use super::super::Budget;
use super::pages::Pages;
use super::record::{Value, column};
use super::table;

const TABLE: &[u8] = b"Packages";
const COLUMN: &[u8] = b"blob";

/// The first page of the table's tree, and the number of its column.
pub(super) fn find(pages: &mut Pages<'_>) -> Result<(u32, usize), DatabaseRule> {
    let mut found = None;
    let mut budget = Budget(pages.size());
    table::for_each_row(pages, 1, &mut budget, &mut |_, _, row| {
        let text = |index| match column(row, index) {
            Some(Value::Text(text)) => text,
            _ => &[],
        };
        if text(0) == b"table" && text(1).eq_ignore_ascii_case(TABLE) {
            let root = match column(row, 3) {
                Some(Value::Number(root)) => u32::try_from(root).ok(),
                _ => None,
            };
            found = root.zip(column_of(text(4)));
        }
        Ok(())
    })?;
    found.ok_or(DatabaseRule::NoTable)
}

/// Which of the columns that `sql` makes is the one of the headers.
fn column_of(sql: &[u8]) -> Option<usize> {
    let open = sql.iter().position(|byte| *byte == b'(')?;
    let definitions = sql.get(open..)?.get(1..)?;
    let mut depth = 0_usize;
    let mut quote = None;
    // A comma between columns is outside of quotes and parentheses.
    let ends_column = |byte: &u8| {
        match (quote, *byte) {
            (Some(end), byte) if byte == end => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quote = Some(*byte),
            (None, b'[') => quote = Some(b']'),
            (None, b'(') => depth = depth.saturating_add(1),
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b',') => return depth == 0,
            _ => {}
        }
        false
    };
    let is_this = |definition: &[u8]| {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'(' | b')');
        let name = definition.trim_ascii_start().split(is_end).next().unwrap_or_default();
        let name = match name {
            [b'\'', name @ .., b'\''] | [b'"', name @ .., b'"'] | [b'`', name @ .., b'`'] => name,
            [b'[', name @ .., b']'] => name,
            name => name,
        };
        name.eq_ignore_ascii_case(COLUMN)
    };
    definitions.split(ends_column).position(is_this)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_is_found_in_what_made_the_table() {
        let rpm = b"CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)";
        assert_eq!(column_of(rpm), Some(1));
        assert_eq!(column_of(b"CREATE TABLE t(a DECIMAL(1,2), 'x,y' t DEFAULT ('('), \"BLOB\")"), Some(2));
        assert_eq!(column_of(b"CREATE TABLE t(\n[blob] BLOB\n, b)"), Some(0));
        assert_eq!(column_of(b"CREATE TABLE t(a, blobs)"), None);
        assert_eq!(column_of(b"CREATE TABLE t"), None);
    }
}
