//! Intents in the log: what was to be done in later transactions, and those that say that it was.
//!
//! ```text
//! extents    0 kind, regions, how many │ 8 number │ 16 inode …      done: 8 number
//! exchange   0 kind, regions │ 8 number │ 16 inode │ 24 inode       done: 8 number
//! attribute  0 kind, regions │ 8 number │ 16 inode                  done: 8 number
//! ```
//!
//! A kernel does what is left of them as it mounts. Here those of free space, reverse mappings and shared blocks do not matter;
//! what others were about to change is not read, for it may be half done. XFS Algorithms & Data Structures, "Log Items".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeSet, HashMap};

use super::transaction::Item;
use crate::error::{Error, Result};
use crate::fs::xfs::field::{le16_at, le64_at};

/// Kinds of intents, each followed by that of its end.
const EXTENTS: u16 = 0x1244;
const ATTRIBUTE: u16 = 0x1246;
const EXCHANGE: u16 = 0x1248;
/// Intents that are not done: more are not remembered.
const WAITING_MAX: usize = 1 << 20;

/// Intents that are not done yet, by kind and number, each with its inodes.
#[derive(Debug, Default)]
pub(super) struct Intents {
    waiting: HashMap<(u16, u64), Vec<u64>>,
}

/// Inodes of which something is half done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::fs::xfs) struct Unfinished {
    content: BTreeSet<u64>,
    attributes: BTreeSet<u64>,
}

impl Intents {
    /// Takes `item`, if it is an intent or the end of one.
    pub(super) fn take(&mut self, item: &Item) -> Result<()> {
        let (kind, head) = (item.kind(), item.region(0));
        let number = le64_at(head, 8);
        match kind {
            EXTENTS | ATTRIBUTE => {
                self.waiting.insert((kind, number), vec![le64_at(head, 16)]);
            }
            EXCHANGE => {
                self.waiting.insert((kind, number), vec![le64_at(head, 16), le64_at(head, 24)]);
            }
            0x1245 | 0x1247 | 0x1249 => {
                self.waiting.remove(&(kind.saturating_sub(1), number));
            }
            _ => (),
        }
        match self.waiting.len() > WAITING_MAX {
            true => Err(Error::unsupported("the log has too many intents that are not done")),
            false => Ok(()),
        }
    }

    /// What is half done at the log's end.
    pub(super) fn end(self) -> Unfinished {
        let mut left = Unfinished::default();
        for ((kind, _), inodes) in self.waiting {
            if kind != ATTRIBUTE {
                left.content.extend(&inodes);
            }
            // Attributes are exchanged, too.
            if kind != EXTENTS {
                left.attributes.extend(&inodes);
            }
        }
        left
    }
}

impl Unfinished {
    /// Refuses the content of `inode`, if its extents are half changed.
    pub(in crate::fs::xfs) fn check_content(&self, inode: u64) -> Result<()> {
        refuse(self.content.contains(&inode), inode, "extents")
    }

    /// Refuses the attributes of `inode`, if they are half changed.
    pub(in crate::fs::xfs) fn check_attributes(&self, inode: u64) -> Result<()> {
        refuse(self.attributes.contains(&inode), inode, "attributes")
    }
}

fn refuse(is_left: bool, inode: u64, what: &str) -> Result<()> {
    match is_left {
        true => {
            let what = format!(
                "a change of the {what} of inode {inode} is half done in the log, which is not finished here"
            );
            Err(Error::unsupported(what))
        }
        false => Ok(()),
    }
}

/// Whether an item is an intent, or the end of one, that is remembered here.
pub(super) fn is_intent(item: &Item) -> bool {
    (EXTENTS..=EXCHANGE.saturating_add(1)).contains(&le16_at(item.region(0), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: u16, numbers: [u64; 3]) -> Item {
        let mut head = kind.to_le_bytes().to_vec();
        head.extend([1, 0, 0, 0, 0, 0]);
        numbers.iter().for_each(|number| head.extend(number.to_le_bytes()));
        Item { regions: vec![head] }
    }

    #[test]
    fn what_was_not_done_is_refused() {
        let mut intents = Intents::default();
        let items = [
            item(EXTENTS, [1, 131, 0]),
            item(EXTENTS, [2, 132, 0]),
            item(ATTRIBUTE, [1, 133, 0]),
            item(EXCHANGE, [1, 134, 135]),
            item(EXTENTS + 1, [1, 0, 0]),
        ];
        for item in &items {
            assert!(is_intent(item));
            intents.take(item).unwrap();
        }
        assert!(!is_intent(&item(0x123c, [0; 3])));
        let left = intents.end();
        let refused = |inode| (left.check_content(inode).is_err(), left.check_attributes(inode).is_err());
        assert_eq!(
            [131, 132, 133, 134, 135].map(refused),
            [(false, false), (true, false), (false, true), (true, true), (true, true)]
        );
    }
}
