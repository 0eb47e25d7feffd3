//! Replaying transactions: first what was removed is found, then all else is laid over the disk, in the order of the commits.
//!
//! ```text
//! transaction ─► buffers, new inodes ─► inodes ─► buffers that were removed
//! ```
//!
//! A buffer that was removed later may be content by now, so nothing is replayed onto it until then. What is on the disk may be
//! newer than the log: then it says so, and stays. XFS Algorithms & Data Structures, "Log Items".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::buffer_item::BufferItem;
use super::buffers::Buffers;
use super::head::OpenLog;
use super::intents::{Intents, is_intent};
use super::transaction::{Item, Transaction, each};
use super::{Log, Replayed, inode_item, new_inodes};
use crate::error::Result;

const INODE: u16 = 0x123b;
const BUFFER: u16 = 0x123c;
const NEW_INODES: u16 = 0x123f;
/// A log that is being replayed.
struct Replay<'a> {
    buffers: Buffers<'a>,
    intents: Intents,
}

/// All of `log` between its tail and its head.
pub(super) fn replay(log: &Log<'_>, open: &OpenLog) -> Result<Replayed> {
    let mut replay = Replay { buffers: Buffers::new(log), intents: Intents::default() };
    each(log, open, &mut |transaction| replay.note_removed(transaction))?;
    each(log, open, &mut |transaction| replay.play(transaction))?;
    Ok(Replayed { overlay: replay.buffers.into_overlay(), unfinished: replay.intents.end() })
}

impl Replay<'_> {
    fn note_removed(&mut self, transaction: &Transaction) -> Result<()> {
        for item in transaction.items.iter().filter(|item| item.kind() == BUFFER) {
            let buffer = BufferItem::from_item(item)?;
            if buffer.is_removal() {
                self.buffers.note_removed(buffer.place())?;
            }
        }
        Ok(())
    }

    fn play(&mut self, transaction: &Transaction) -> Result<()> {
        let lsn = transaction.lsn;
        for item in &transaction.items {
            match item.kind() {
                BUFFER => self.buffer(item, lsn)?,
                NEW_INODES => new_inodes::replay(&mut self.buffers, item)?,
                _ if is_intent(item) => self.intents.take(item)?,
                _ => (),
            }
        }
        for item in transaction.items.iter().filter(|item| item.kind() == INODE) {
            inode_item::replay(&mut self.buffers, item, lsn)?;
        }
        for item in transaction.items.iter().filter(|item| item.kind() == BUFFER) {
            let buffer = BufferItem::from_item(item)?;
            if buffer.is_removal() {
                self.buffers.was_removed(buffer.place());
            }
        }
        Ok(())
    }

    fn buffer(&mut self, item: &Item, lsn: u64) -> Result<()> {
        let buffer = BufferItem::from_item(item)?;
        let (first, count) = buffer.place();
        if !buffer.is_replayed() || self.buffers.is_removed(first, count) {
            return Ok(());
        }
        let mut bytes = self.buffers.read(first, count)?;
        if buffer.is_newer(self.buffers.log.superblock, &bytes, lsn) {
            return Ok(());
        }
        buffer.lay_over(&mut bytes)?;
        self.buffers.put(first, &bytes)
    }
}
