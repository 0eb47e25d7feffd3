//! The b-tree of a table: pages of numbers that lead to others, and pages of rows.
//!
//! ```text
//! page      0 kind │ 3 cells │ 8 last page beneath, if it leads │ places of the cells …… cells
//! leads     page beneath │ largest number in it
//! row       length │ number │ bytes │ page that the rest is on
//! rest      next page │ bytes
//! ```
//!
//! Numbers of rows rise through the whole tree.
//! SQLite's documentation "Database File Format", sections 1.6 ("B-tree Pages") and 1.7 ("Cell Payload Overflow Pages").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::super::field::Order::Big;
use super::super::super::field::{part, u8_at};
use super::super::super::rule::DatabaseRule;
use super::super::Budget;
use super::pages::wrong;
use super::pages::{HEADER_LEN, Pages};
use super::record::varint;

const LEADS: u8 = 5;
const HAS_ROWS: u8 = 13;

/// What is done with a row: the page where it begins, its number, its bytes.
type Take<'a> = dyn FnMut(u32, i64, &[u8]) -> Result<(), DatabaseRule> + 'a;

/// Gives `take` every row of the tree at page `root`, by number. What rows have together is taken off `budget`.
pub(super) fn for_each_row(
    pages: &mut Pages<'_>,
    root: u32,
    budget: &mut Budget,
    take: &mut Take<'_>,
) -> Result<(), DatabaseRule> {
    let left = pages.count();
    let mut walk = Walk { pages, left, last: None, budget, take };
    // Pages that are still to be read, the next one last: no more than there are pages.
    let mut waiting = vec![root];
    while let Some(number) = waiting.pop() {
        let page = walk.page(number)?;
        let start = if number == 1 { HEADER_LEN } else { 0 };
        match u8_at(&page, start) {
            LEADS => walk.come_to_leading(number, &page, start, &mut waiting)?,
            HAS_ROWS => walk.come_to_rows(number, &page, start)?,
            _ => return Err(wrong(number, "another kind than those of a table")),
        }
    }
    Ok(())
}

/// A walk through a tree.
struct Walk<'w, 'p, 't> {
    pages: &'w Pages<'p>,
    /// Pages that can still be read: none is in two places.
    left: u32,
    /// The number of the last row.
    last: Option<i64>,
    budget: &'w mut Budget,
    take: &'w mut Take<'t>,
}

impl Walk<'_, '_, '_> {
    fn page(&mut self, number: u32) -> Result<Vec<u8>, DatabaseRule> {
        self.left = self.left.checked_sub(1).ok_or(wrong(number, "more than one place"))?;
        self.pages.page(number)
    }

    fn come_to_leading(
        &mut self,
        number: u32,
        page: &[u8],
        start: usize,
        waiting: &mut Vec<u32>,
    ) -> Result<(), DatabaseRule> {
        waiting.push(Big.u32(page, start.saturating_add(8)));
        for place in places(number, page, start, 12)?.rev() {
            let cell = part(page, place, 4).ok_or(wrong(number, "a cell outside of it"))?;
            waiting.push(Big.u32(cell, 0));
        }
        match waiting.len() <= self.pages.count() as usize {
            true => Ok(()),
            false => Err(wrong(number, "more pages beneath than there are")),
        }
    }

    fn come_to_rows(&mut self, number: u32, page: &[u8], start: usize) -> Result<(), DatabaseRule> {
        for place in places(number, page, start, 8)? {
            let cell = page.get(place..).unwrap_or_default();
            let (len, cell) = varint(cell).ok_or(wrong(number, "a cell outside of it"))?;
            let (row, cell) = varint(cell).ok_or(wrong(number, "a cell outside of it"))?;
            let row = row as i64;
            if self.last.is_some_and(|last| last >= row) {
                return Err(wrong(number, "rows that are not in order"));
            }
            self.last = Some(row);
            if !self.budget.takes(len) {
                return Err(wrong(number, "rows that are too long, or overlap"));
            }
            let here = len_here(self.pages.usable, len as usize);
            let bytes = cell.get(..here).ok_or(wrong(number, "a row outside of it"))?;
            if here as u64 == len {
                (self.take)(number, row, bytes)?;
                continue;
            }
            let next = part(cell, here, 4).ok_or(wrong(number, "a row outside of it"))?;
            let whole = self.with_rest(bytes, Big.u32(next, 0), len as usize)?;
            (self.take)(number, row, &whole)?;
        }
        Ok(())
    }

    /// A row of `len` bytes that begins with `bytes` and goes on on page `next`.
    fn with_rest(&mut self, bytes: &[u8], mut next: u32, len: usize) -> Result<Vec<u8>, DatabaseRule> {
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(bytes);
        while whole.len() < len {
            let page = self.page(next)?;
            let rest = page.get(4..).unwrap_or_default();
            let wanted = len.saturating_sub(whole.len()).min(rest.len());
            whole.extend_from_slice(rest.get(..wanted).unwrap_or_default());
            next = Big.u32(&page, 0);
        }
        Ok(whole)
    }
}

/// Where the cells of a page are; the page's own header has `header_len` bytes.
fn places(
    number: u32,
    page: &[u8],
    start: usize,
    header_len: usize,
) -> Result<impl DoubleEndedIterator<Item = usize>, DatabaseRule> {
    let count = usize::from(Big.u16(page, start.saturating_add(3)));
    let places = part(page, start.saturating_add(header_len), count.saturating_mul(2));
    let places = places.ok_or(wrong(number, "more cells than bytes"))?;
    Ok(places.chunks_exact(2).map(|place| usize::from(Big.u16(place, 0))))
}

/// How much of a row of `len` bytes is on its own page, of which `usable` bytes are used.
fn len_here(usable: usize, len: usize) -> usize {
    let most = usable.saturating_sub(35);
    if len <= most {
        return len;
    }
    let least = (usable.saturating_sub(12).saturating_mul(32) / 255).saturating_sub(23);
    // So that the last of the other pages is full.
    let filled = len.saturating_sub(least).checked_rem(usable.saturating_sub(4)).unwrap_or(0);
    let filled = least.saturating_add(filled);
    if filled <= most { filled } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_leaves_full_pages() {
        assert_eq!(len_here(4096, 4061), 4061);
        assert_eq!(len_here(4096, 4062), 489);
        assert_eq!(len_here(4096, 489 + 4092), 489);
        assert_eq!(len_here(4096, 489 + 4092 + 3572), 489 + 3572);
        assert_eq!(len_here(4096, 489 + 4092 + 3573), 489);
    }
}
