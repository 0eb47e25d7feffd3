//! The ring of a journal, read once from where it begins to the first block that does not go on.
//!
//! ```text
//! descriptor ─► its copies ┐
//! revocation ──────────────┼─► waiting ── commit ─► counts; the next transaction
//!                          └─► no commit: never was
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;

use super::tags::Form;
use super::{ASYNC_COMMIT, COMPATIBLE_CHECKSUM, Journal};
use crate::error::{Error, Result};
use crate::fs::ext4::blocks::Copy;
use crate::fs::ext4::blocks::JOURNAL_MAGIC;
use crate::fs::ext4::checksum::{START, crc32_be, crc32c};
use crate::fs::ext4::field::{be32_at, field};
use crate::fs::ext4::rule::{Checksummed, Ext4Rule};

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOCATION: u32 = 5;
/// Blocks of which copies, and those of which revocations, are remembered: in some 30 MB.
const BLOCKS_MAX: usize = 450_000;
/// The length of a commit: some kernels sum up no more.
const COMMIT_LEN: usize = 60;
/// Where it has its checksum.
const SUM_AT: usize = 0x10;

/// What was read.
pub(super) struct ReplayedLog {
    pub(super) copies: Vec<Copy>,
    pub(super) transactions: u32,
    /// The number of the transaction that would have been next.
    pub(super) next: u32,
}

/// A copy in the journal.
#[derive(Debug, Clone, core::marker::Copy)]
struct Place {
    index: u32,
    sequence: u32,
    checksum: u32,
    is_escaped: bool,
}

/// What waits for its commit.
#[derive(Default)]
struct Waiting {
    copies: Vec<(u64, Place)>,
    revoked: Vec<u64>,
    /// A block whose checksum is another one: of an older journal, or broken.
    doubted: Option<u32>,
}

/// What a commit says of its transaction.
enum Verdict {
    Counts,
    /// The journal ends before it.
    End,
}

struct Log<'a> {
    journal: &'a Journal<'a>,
    form: Form,
    copies: HashMap<u64, Place>,
    /// The last transaction that revoked a block.
    revoked: HashMap<u64, u32>,
    waiting: Waiting,
    /// Of all blocks of the transaction so far (version 1).
    sum: u32,
    /// Whether a transaction had such a checksum.
    was_summed: bool,
    last_time: u64,
}

/// Reads all of `journal`.
pub(super) fn replay(journal: &Journal<'_>) -> Result<ReplayedLog> {
    let mut log = Log {
        journal,
        form: Form::of(journal),
        copies: HashMap::new(),
        revoked: HashMap::new(),
        waiting: Waiting::default(),
        sum: START,
        was_summed: false,
        last_time: 0,
    };
    let next = log.read()?;
    log.copies.retain(|block, place| {
        log.revoked.get(block).is_none_or(|revoked| is_after(place.sequence, *revoked))
    });
    let copies = log.copies.iter().map(|(block, place)| log.copy(*block, *place)).collect::<Result<_>>()?;
    Ok(ReplayedLog { copies, transactions: next.wrapping_sub(journal.sequence), next })
}

/// Whether transaction `one` comes after `other`: their numbers start again at 0.
fn is_after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

impl Log<'_> {
    /// Reads to the end; answers with the number of the transaction that is not there.
    fn read(&mut self) -> Result<u32> {
        let (mut at, mut sequence) = (self.journal.start, self.journal.sequence);
        // A ring of descriptors alone would never end.
        let mut left = self.journal.last.saturating_sub(self.journal.first);
        while let Some(rest) = left.checked_sub(1) {
            left = rest;
            let index = at;
            let block = self.journal.read(index)?;
            if be32_at(&block, 0) != JOURNAL_MAGIC || be32_at(&block, 8) != sequence {
                break;
            }
            at = self.journal.after(at);
            match be32_at(&block, 4) {
                DESCRIPTOR => {
                    let count = self.descriptor(index, &block, sequence, at)?;
                    for _ in 0..count {
                        at = self.journal.after(at);
                    }
                    left = left.saturating_sub(count);
                }
                REVOCATION => {
                    self.doubt(index, &block);
                    let listed = self.form.revoked(&block);
                    self.waiting.revoked.extend(listed);
                }
                COMMIT => match self.commit(index, &block)? {
                    Verdict::End => break,
                    Verdict::Counts => {
                        self.copy_from_backing(sequence)?;
                        sequence = sequence.wrapping_add(1);
                    }
                },
                _ => break,
            }
            self.check_room()?;
        }
        Ok(sequence)
    }

    fn check_room(&self) -> Result<()> {
        let waiting = self.waiting.copies.len().max(self.waiting.revoked.len());
        if self.copies.len().max(self.revoked.len()).max(waiting) > BLOCKS_MAX {
            return Err(Error::unsupported(format!(
                "the journal has copies of more than {BLOCKS_MAX} blocks"
            )));
        }
        Ok(())
    }

    fn doubt(&mut self, index: u32, block: &[u8]) {
        if self.waiting.doubted.is_none() && !self.form.is_sound(block) {
            self.waiting.doubted = Some(index);
        }
    }

    /// Takes a descriptor, whose copies begin at `at`; answers with how many those are.
    fn descriptor(&mut self, index: u32, block: &[u8], sequence: u32, mut at: u32) -> Result<u32> {
        self.doubt(index, block);
        let tags = self.form.tags(block);
        let is_summed = self.journal.compatible & COMPATIBLE_CHECKSUM != 0;
        if is_summed {
            self.sum = crc32_be(self.sum, block);
        }
        for tag in &tags {
            if is_summed {
                self.sum = crc32_be(self.sum, &self.journal.read(at)?);
            }
            let place = Place { index: at, sequence, checksum: tag.checksum, is_escaped: tag.is_escaped };
            self.waiting.copies.push((tag.block, place));
            at = self.journal.after(at);
        }
        Ok(tags.len() as u32)
    }

    /// Whether a commit is what it says.
    fn commit(&mut self, index: u32, block: &[u8]) -> Result<Verdict> {
        let broken =
            |index| Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::JournalBlock(u64::from(index)))));
        let time = u64::from_be_bytes(field(block, 0x30));
        // What was written before the last transaction is of an older journal.
        let is_older = time < self.last_time;
        if let Some(index) = self.waiting.doubted {
            return if is_older { Ok(Verdict::End) } else { broken(index) };
        }
        let is_sound =
            match (self.journal.has_block_checksums(), self.journal.compatible & COMPATIBLE_CHECKSUM) {
                (true, _) => self.is_commit_sound(block),
                (false, 0) => true,
                (false, _) => self.is_transaction_sound(block),
            };
        if !is_sound {
            let may_be_late = self.journal.has(ASYNC_COMMIT);
            return if is_older || may_be_late { Ok(Verdict::End) } else { broken(index) };
        }
        self.last_time = time;
        Ok(Verdict::Counts)
    }

    fn is_commit_sound(&self, block: &[u8]) -> bool {
        let before = block.get(..SUM_AT).unwrap_or_default();
        [block.len(), COMMIT_LEN].into_iter().any(|end| {
            let behind = block.get(SUM_AT.saturating_add(4)..end).unwrap_or_default();
            crc32c(self.journal.seed, &[before, &[0; 4], behind]) == be32_at(block, SUM_AT)
        })
    }

    /// By the checksum of all its blocks, or none if none had one so far.
    fn is_transaction_sound(&mut self, block: &[u8]) -> bool {
        let [kind, len] = field(block, 0x0c);
        let found = be32_at(block, SUM_AT);
        let is_summed = kind == 1 && len == 4 && found == self.sum;
        self.was_summed |= is_summed;
        is_summed || kind == 0 && len == 0 && found == 0 && !self.was_summed
    }

    /// What waited counts.
    fn copy_from_backing(&mut self, sequence: u32) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        // The filesystem may have been made larger.
        let fs = self.journal.fs;
        let blocks = fs.blocks().disk().size().checked_div(fs.superblock().block_size).unwrap_or(0);
        for (block, place) in waiting.copies {
            if block >= blocks {
                return Err(Ext4Rule::in_journal("block", block));
            }
            self.copies.insert(block, place);
        }
        self.revoked.extend(waiting.revoked.into_iter().map(|block| (block, sequence)));
        self.sum = START;
        Ok(())
    }

    /// A copy that counts, checked.
    fn copy(&self, block: u64, place: Place) -> Result<Copy> {
        if self.journal.has_block_checksums() {
            let content = self.journal.read(place.index)?;
            if !self.form.is_copy_sound(&content, place.sequence, place.checksum) {
                return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::JournalBlock(u64::from(
                    place.index,
                )))));
            }
        }
        Ok(Copy { block, place: self.journal.place_of(place.index)?, is_escaped: place.is_escaped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted_round_and_round() {
        assert!(is_after(2, 1) && !is_after(1, 1) && !is_after(1, 2));
        assert!(is_after(0, u32::MAX) && !is_after(u32::MAX, 0));
    }
}
