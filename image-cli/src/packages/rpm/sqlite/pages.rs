//! The pages of an SQLite file: from the file itself, or from its log if that has a newer one.
//!
//! ```text
//! SQLite format 3 0 │ 16 size of a page │ 19 who can read it │ 20 spare bytes of a page │ 24 changes │ 28 pages │ 56 text │ 92 changes
//! ```
//! SQLite's documentation "Database File Format", section 1.3.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::super::field::Order::Big;
use super::super::super::field::u8_at;
use super::super::super::rule::DatabaseRule;
use super::super::super::source::{Content, bytes};
use super::log::Log;

/// Before the b-tree of page 1.
pub(super) const HEADER_LEN: usize = 100;
const MARK: &[u8; 16] = b"SQLite format 3\0";
/// What must be left of a page.
const USABLE_MIN: usize = 480;

/// The pages of a file.
pub(super) struct Pages<'a> {
    content: Box<dyn Content + 'a>,
    log: Option<Log<'a>>,
    page_size: u32,
    /// Without the spare bytes at a page's end.
    pub(super) usable: usize,
    count: u32,
}

impl<'a> Pages<'a> {
    /// The pages of `content`, each as `log` has it, if it has it.
    pub(super) fn open(content: Box<dyn Content + 'a>, log: Option<Log<'a>>) -> Result<Self, DatabaseRule> {
        let size = content.size();
        let first = match &log {
            Some(log) if log.has(1) => log.page(1)?.unwrap_or_default(),
            _ if size < HEADER_LEN as u64 => return Err(wrong(1, "fewer bytes than its header")),
            _ => bytes(content.as_ref(), 0, HEADER_LEN)?,
        };
        if !first.starts_with(MARK) {
            return Err(wrong(1, "no mark of SQLite"));
        }
        if u8_at(&first, 19) > 2 {
            return Err(DatabaseRule::Unsupported("an unknown version of SQLite's format"));
        }
        if Big.u32(&first, 56) > 1 {
            return Err(DatabaseRule::Unsupported("text in UTF-16 in an SQLite file"));
        }
        let page_size = match Big.u16(&first, 16) {
            1 => 1 << 16,
            size => u32::from(size),
        };
        if !page_size.is_power_of_two() || page_size < 512 {
            return Err(wrong(1, "an impossible size of pages"));
        }
        if log.as_ref().is_some_and(|log| log.page_size != page_size) {
            return Err(wrong(1, "another size of pages than its log"));
        }
        let usable = (page_size as usize).saturating_sub(usize::from(u8_at(&first, 20)));
        if usable < USABLE_MIN {
            return Err(wrong(1, "too many spare bytes"));
        }
        let stored = size.div_ceil(u64::from(page_size)).min(u64::from(u32::MAX)) as u32;
        let said = Big.u32(&first, 28);
        let count = match &log {
            Some(log) => log.page_count,
            // Old programs change the file without saying how many pages there are then.
            None if said != 0 && Big.u32(&first, 24) == Big.u32(&first, 92) => said,
            None => stored,
        };
        let possible = stored.max(log.as_ref().map_or(0, |log| log.last_page));
        match count <= possible {
            true => Ok(Self { content, log, page_size, usable, count }),
            false => Err(wrong(1, "more pages than the file")),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What they have together, in bytes.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.count).saturating_mul(u64::from(self.page_size))
    }

    /// Page `number`, without its spare bytes.
    pub(super) fn page(&self, number: u32) -> Result<Vec<u8>, DatabaseRule> {
        if number == 0 || number > self.count {
            return Err(wrong(number, "a number outside the file"));
        }
        let logged = self.log.as_ref().map(|log| log.page(number)).transpose()?.flatten();
        let mut page = match logged {
            Some(page) => page,
            None => {
                let offset = u64::from(number).saturating_sub(1).saturating_mul(u64::from(self.page_size));
                if offset.saturating_add(u64::from(self.page_size)) > self.content.size() {
                    return Err(wrong(number, "fewer bytes than a page"));
                }
                bytes(self.content.as_ref(), offset, self.page_size as usize)?
            }
        };
        page.truncate(self.usable);
        Ok(page)
    }
}

/// That page `page` has `what` it cannot have.
pub(super) fn wrong(page: u32, what: &'static str) -> DatabaseRule {
    DatabaseRule::Sqlite { page, what }
}
