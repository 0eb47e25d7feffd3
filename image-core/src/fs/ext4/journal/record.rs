//! A transaction written into an empty journal, from the beginning of its ring on.
//!
//! ```text
//! descriptor │ copy │ copy │ … │ descriptor │ copy │ … │ commit          not read before the journal's superblock says that it begins
//! ```
//! A copy that begins with the journal's mark has zeroes there, and is told to. In the form that the journal has: its features are not
//! changed. Linux kernel documentation, filesystems/ext4 ("Journal (jbd2)").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::tags::{ESCAPED, Form, HEADER_LEN, LAST, SAME_UUID, TAIL_LEN};
use super::{COMPATIBLE_CHECKSUM, Journal, edit_start};
use crate::error::Result;
use crate::fs::ext4::blocks::JOURNAL_MAGIC;
use crate::fs::ext4::checksum::{START, crc32_be, crc32c};
use crate::fs::ext4::field::put;
use crate::fs::ext4::inode::Time;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
/// Behind the first tag.
const UUID_LEN: usize = 16;
/// In a commit: the kind of its checksum and its length, where it is, the time.
const KIND_AT: usize = 0x0c;
const SUM_AT: usize = 0x10;
const TIME_AT: usize = 0x30;
/// CRC-32 over all blocks of the transaction, four bytes.
const CRC32: [u8; 2] = [1, 4];

/// What writes a block of the disk.
pub(in super::super) type WriteBlock<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

impl Journal<'_> {
    /// How many blocks a transaction may have.
    pub(in super::super) fn room(&self) -> u64 {
        // The block behind it ends the reading.
        u64::from(self.last.saturating_sub(self.first).saturating_sub(1))
    }

    /// How many blocks a transaction with copies of `count` blocks has.
    pub(in super::super) fn needed(&self, count: u64) -> u64 {
        count.saturating_add(count.div_ceil(self.per_descriptor() as u64)).saturating_add(1)
    }

    fn per_descriptor(&self) -> usize {
        let size = self.fs.superblock().block_size as usize;
        let room = size.saturating_sub(HEADER_LEN).saturating_sub(UUID_LEN).saturating_sub(TAIL_LEN);
        room.checked_div(Form::of(self).tag_len()).unwrap_or(1).max(1)
    }

    /// The number of the transaction that comes next.
    pub(in super::super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The first block of the ring.
    pub(in super::super) fn first(&self) -> u32 {
        self.first
    }

    /// Where the journal's superblock is, and what it is to be if transaction `sequence` begins at `start`; 0 if nothing waits.
    pub(in super::super) fn superblock(&self, start: u32, sequence: u32) -> Result<(u64, Vec<u8>)> {
        let mut block = self.read(0)?;
        edit_start(&mut block, start, sequence, self.has_block_checksums());
        Ok((self.place_of(0)?, block))
    }

    /// Writes transaction `sequence` with what `blocks` have now.
    pub(in super::super) fn record(
        &self,
        blocks: &[u64],
        sequence: u32,
        time: Time,
        write: WriteBlock<'_>,
    ) -> Result<()> {
        let form = Form::of(self);
        let mut sum = START;
        let mut at = self.first;
        for piece in blocks.chunks(self.per_descriptor()) {
            let mut descriptor = self.header(DESCRIPTOR, sequence);
            let mut copies = Vec::new();
            let mut end = HEADER_LEN;
            for (index, block) in piece.iter().enumerate() {
                let mut copy = self.fs.blocks().block(*block)?.to_vec();
                let is_escaped = copy.starts_with(&JOURNAL_MAGIC.to_be_bytes());
                if is_escaped {
                    put(&mut copy, 0, &[0; 4]);
                }
                let mut flags = if is_escaped { ESCAPED } else { 0 };
                flags |= if index > 0 { SAME_UUID } else { 0 };
                flags |= if index.saturating_add(1) == piece.len() { LAST } else { 0 };
                let checksum = form.copy_checksum(&copy, sequence);
                form.put_tag(&mut descriptor, end, *block, flags, checksum)?;
                end = end.saturating_add(form.tag_len());
                if index == 0 {
                    put(&mut descriptor, end, self.uuid.as_bytes());
                    end = end.saturating_add(UUID_LEN);
                }
                copies.push(copy);
            }
            form.put_tail(&mut descriptor);
            for block in std::iter::once(&descriptor).chain(&copies) {
                sum = crc32_be(sum, block);
                write(self.place_of(at)?, block)?;
                at = self.after(at);
            }
        }
        let mut commit = self.header(COMMIT, sequence);
        let seconds = u64::try_from(time.seconds).unwrap_or(0);
        put(&mut commit, TIME_AT, &seconds.to_be_bytes());
        put(&mut commit, TIME_AT.saturating_add(8), &time.nanoseconds.to_be_bytes());
        if self.has_block_checksums() {
            let sum = crc32c(self.seed, &[&commit]);
            put(&mut commit, SUM_AT, &sum.to_be_bytes());
        } else if self.compatible & COMPATIBLE_CHECKSUM != 0 {
            put(&mut commit, KIND_AT, &CRC32);
            put(&mut commit, SUM_AT, &sum.to_be_bytes());
        }
        write(self.place_of(at)?, &commit)
    }

    fn header(&self, kind: u32, sequence: u32) -> Vec<u8> {
        let mut block = vec![0; self.fs.superblock().block_size as usize];
        for (at, word) in [(0, JOURNAL_MAGIC), (4, kind), (8, sequence)] {
            put(&mut block, at, &u32::to_be_bytes(word));
        }
        block
    }
}
