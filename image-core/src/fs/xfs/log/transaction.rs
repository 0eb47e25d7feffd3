//! Transactions: operations of many of them are mixed in the records, and each is put together until its commit.
//!
//! ```text
//! operation   0 transaction │ 4 length │ 8 whose │ 9 flags │ 12 content
//! item        region that says what it is, and of how many regions │ region │ …      each region is one operation, or goes on
//! ```
//! XFS Algorithms & Data Structures, "Log Operations".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;

use super::Log;
use super::head::OpenLog;
use super::record::RecordHeader;
use crate::error::{Error, Result};
use crate::fs::xfs::field::{le16_at, le32_at, part, u8_at, u32_at};
use crate::fs::xfs::overlay::SECTOR;
use crate::fs::xfs::rule::XfsRule;

/// The length of an operation without its content.
const OPERATION_LEN: usize = 12;
const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUED: u8 = 0x04;
const CONTINUES: u8 = 0x08;
const END: u8 = 0x10;
const UNMOUNT: u8 = 0x20;
/// Whose operations there are: a transaction's, the log's own.
const WHOSE: [u8; 2] = [0x69, 0xaa];
/// What a transaction begins with: mark, kind, number, how many items.
const HEADER_LEN: usize = 16;
const MAGIC: u32 = 0x5452_414e;
/// What transactions may have that are not committed yet.
const WAITING_MAX: usize = 256 << 20;

/// Regions that belong together.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) regions: Vec<Vec<u8>>,
}

impl Item {
    /// Its kind.
    pub(super) fn kind(&self) -> u16 {
        le16_at(self.region(0), 0)
    }

    /// The region `index`, empty if there is none.
    pub(super) fn region(&self, index: usize) -> &[u8] {
        self.regions.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.regions.len() >= usize::from(le16_at(self.region(0), 2))
    }
}

/// A transaction, of which all is there if it is shown.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Where it begins.
    pub(super) lsn: u64,
    pub(super) items: Vec<Item>,
    header: Vec<u8>,
}

impl Transaction {
    /// A new region.
    fn add(&mut self, content: &[u8]) -> Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        if self.header.len() < HEADER_LEN {
            self.header.extend(content);
            return match self.header.len() <= HEADER_LEN && le32_at(&self.header, 0) == MAGIC {
                true => Ok(()),
                false => Err(XfsRule::in_log("mark of a transaction", u64::from(le32_at(&self.header, 0)))),
            };
        }
        if self.items.last().is_none_or(Item::is_full) {
            if le16_at(content, 2) == 0 {
                return Err(XfsRule::in_log("item without regions of kind", u64::from(le16_at(content, 0))));
            }
            self.items.push(Item::default());
        }
        if let Some(item) = self.items.last_mut() {
            item.regions.push(content.to_vec());
        }
        Ok(())
    }

    /// The rest of a region.
    fn go_on(&mut self, content: &[u8]) -> Result<()> {
        if self.header.len() < HEADER_LEN {
            return self.add(content);
        }
        let region = self.items.last_mut().and_then(|item| item.regions.last_mut());
        region
            .ok_or_else(|| XfsRule::in_log("operation that goes on with nothing", self.lsn))?
            .extend(content);
        Ok(())
    }
}

/// Shows `visitor` each transaction of `log` that was committed, in the order of their commits.
pub(super) fn each(
    log: &Log<'_>,
    open: &OpenLog,
    visitor: &mut dyn FnMut(&Transaction) -> Result<()>,
) -> Result<()> {
    let mut waiting = Waiting::default();
    let (mut at, mut left) = (open.tail, log.sectors);
    while at != open.head {
        let bytes = log.read(at, 1)?;
        let header = RecordHeader::from_bytes(log, at, &bytes)?
            .ok_or_else(|| XfsRule::in_log("record: none is at sector", at))?;
        left = left
            .checked_sub(header.len())
            .ok_or_else(|| XfsRule::in_log("length: no end from sector", at))?;
        waiting.take(&header, &header.data(log)?, visitor)?;
        at = log.after(at, header.len());
    }
    Ok(())
}

/// Transactions that are not committed yet.
#[derive(Default)]
struct Waiting {
    transactions: HashMap<u32, Transaction>,
    /// Bytes of them.
    len: usize,
}

impl Waiting {
    /// Takes the operations of a record.
    fn take(
        &mut self,
        header: &RecordHeader,
        data: &[u8],
        visitor: &mut dyn FnMut(&Transaction) -> Result<()>,
    ) -> Result<()> {
        let mut at: usize = 0;
        for _ in 0..header.operations {
            if at.saturating_add(OPERATION_LEN) > data.len() {
                break;
            }
            let operation = data.get(at..).unwrap_or_default();
            let end = OPERATION_LEN.saturating_add(u32_at(operation, 4) as usize);
            let wrong = |field| XfsRule::in_log(field, header.sector.saturating_add(at as u64 / SECTOR));
            if !WHOSE.contains(&u8_at(operation, 8)) {
                return Err(wrong("owner of an operation in sector"));
            }
            if end > operation.len() {
                return Err(wrong("length of an operation in sector"));
            }
            let content = part(operation, OPERATION_LEN, end);
            self.operation(header.lsn, u32_at(operation, 0), u8_at(operation, 9), content, visitor)?;
            at = at.saturating_add(end);
        }
        Ok(())
    }

    fn operation(
        &mut self,
        lsn: u64,
        number: u32,
        flags: u8,
        content: &[u8],
        visitor: &mut dyn FnMut(&Transaction) -> Result<()>,
    ) -> Result<()> {
        let Some(transaction) = self.transactions.get_mut(&number) else {
            // Of others the beginning is before the tail.
            if flags & START != 0 {
                let begun = Transaction { lsn, items: Vec::new(), header: Vec::new() };
                self.transactions.insert(number, begun);
            }
            return Ok(());
        };
        self.len = self.len.saturating_add(content.len().saturating_add(OPERATION_LEN));
        if self.len > WAITING_MAX {
            return Err(Error::unsupported("the log has transactions of more than 256 MiB at once"));
        }
        match flags & !END {
            0 | CONTINUED => return transaction.add(content),
            flags if flags & CONTINUES != 0 => return transaction.go_on(content),
            COMMIT => visitor(transaction)?,
            UNMOUNT => (),
            other => return Err(XfsRule::in_log("operation", u64::from(other))),
        }
        self.transactions.remove(&number);
        if self.transactions.is_empty() {
            self.len = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_put_together_until_their_commit() {
        let mut waiting = Waiting::default();
        let mut seen = Vec::new();
        let header = [&MAGIC.to_le_bytes()[..], &[0; 12]].concat();
        let item = [0x3c, 0x12, 2, 0, 9, 9];
        let operations: [(u32, u8, &[u8]); 10] = [
            (5, 0, b"before the tail"),
            (1, START, b""),
            (1, 0, &header),
            (2, START, b""),
            (1, 0, &item),
            (1, CONTINUED, b"begin"),
            (2, CONTINUED, &header[..8]),
            (1, CONTINUES | END, b"ning"),
            (2, CONTINUES | END, &header[8..]),
            (1, COMMIT, b""),
        ];
        for (number, flags, content) in operations {
            let mut visitor = |found: &Transaction| {
                seen.push((found.lsn, found.items[0].regions.clone(), found.items.len()));
                Ok(())
            };
            waiting.operation(u64::from(number), number, flags, content, &mut visitor).unwrap();
        }
        assert_eq!(seen, [(1, vec![item.to_vec(), b"beginning".to_vec()], 1)]);
        assert_eq!(waiting.transactions.keys().collect::<Vec<_>>(), [&2]);
        let mut none = |_: &Transaction| Ok(());
        assert!(waiting.operation(2, 2, 0, &[0; 4], &mut none).is_err(), "an item without regions");
        assert!(waiting.operation(2, 2, 0x40, &[], &mut none).is_err());
    }
}
