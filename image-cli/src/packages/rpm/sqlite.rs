//! The headers in an SQLite file: column `blob` of the table `Packages`.
//!
//! ```text
//! page 1 ─► sqlite_schema: type │ name │ tbl_name │ rootpage │ sql
//!                          table  Packages           │          CREATE TABLE … (hnum …, blob …)
//!                                                    └► b-tree of the table ─► record, record, …
//! ```
//!
//! SQLite's documentation "Database File Format", sections 1.3, 1.6 and 2.6. Of the file only these two tables are read.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod log;
mod pages;
mod record;
mod schema;
mod table;

use super::super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::super::source::{Content, Source, bytes, open};
use super::{Budget, Packages};
use log::Log;
use pages::{Pages, wrong};
use record::Value;

/// What a journal of an unfinished transaction begins with.
const JOURNAL_MARK: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Gives `packages` every header of the file at `path`, with what the log beside it has.
pub(super) fn read(
    source: &dyn Source,
    path: &str,
    content: Box<dyn Content + '_>,
    packages: &mut Packages,
) -> Result<(), DatabaseError> {
    refuse_journal(source, &format!("{path}-journal"))?;
    let log_path = format!("{path}-wal");
    let log = match open(source, &log_path)? {
        // Beside an empty file, a log is what stayed behind of another one.
        Some(log) if content.size() != 0 => Log::open(log).of(&log_path)?,
        _ => None,
    };
    read_table(content, log, packages).of(path)
}

/// A transaction that was not finished would have to be taken back first.
fn refuse_journal(source: &dyn Source, path: &str) -> Result<(), DatabaseError> {
    let Some(journal) = open(source, path)? else { return Ok(()) };
    if journal.size() < JOURNAL_MARK.len() as u64 {
        return Ok(());
    }
    match bytes(journal.as_ref(), 0, JOURNAL_MARK.len()).of(path)? == JOURNAL_MARK {
        true => Err(DatabaseRule::Unsupported("the journal of an unfinished transaction")).of(path),
        false => Ok(()),
    }
}

fn read_table(
    content: Box<dyn Content + '_>,
    log: Option<Log<'_>>,
    packages: &mut Packages,
) -> Result<(), DatabaseRule> {
    let mut pages = Pages::open(content, log)?;
    let (root, column) = schema::find(&mut pages)?;
    let mut budget = Budget(pages.size());
    table::for_each_row(&mut pages, root, &mut budget, &mut |page, number, row| match record::column(
        row, column,
    ) {
        Some(Value::Bytes(header)) => packages.take(number as u64, header),
        _ => Err(wrong(page, "a row without a header")),
    })
}
