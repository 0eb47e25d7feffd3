//! The journal: what was promised to the filesystem, and is not in its place yet. It is replayed into memory, never onto the disk.
//!
//! ```text
//! journal inode (8): superblock │ ring of blocks from `first` on ………………………………………………………… │ fast commits
//!                                  start ─► descriptor │ copy │ copy │ revoke │ commit │ descriptor …
//!                                           which blocks the copies are of      the end of transaction n, then n + 1
//! ```
//!
//! A transaction counts if its commit is there; of several copies of a block the last one counts, unless it was revoked in the same
//! transaction or a later one. What a kernel would refuse to mount is refused here; what it takes for the journal's end is the end.
//! Linux kernel documentation, filesystems/ext4 ("Journal (jbd2)"). All numbers are big endian.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod fast_commit;
mod log;
mod record;
mod tags;

use uuid::Uuid;

use super::Ext4;
use super::blocks::{Copy, JOURNAL_MAGIC};
use super::checksum::{START, crc32c};
use super::field::{be32_at, field};
use super::inode::NodeKind;
use super::mapping::Runs;
use super::rule::{Checksummed, Ext4Rule};
use super::run::{Place, Run};
use crate::error::{Doing, Error, Result};

/// The journal's superblock has this many bytes.
pub(super) const SUPERBLOCK_LEN: usize = 1024;
/// More pieces than a journal lies in.
const RUNS_MAX: usize = 1 << 16;

/// Whole transactions have one checksum.
const COMPATIBLE_CHECKSUM: u32 = 0x1;
const WIDE: u32 = 0x2;
const ASYNC_COMMIT: u32 = 0x4;
const CHECKSUM_V2: u32 = 0x8;
const CHECKSUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
/// Revoking, and the others.
const KNOWN: u32 = 0x3f;
/// CRC-32C: the only kind of checksum that there is of versions 2 and 3.
const CRC32C: u8 = 4;
/// Blocks of fast commits where a journal does not say how many it has.
const FAST_BLOCKS: u32 = 256;

/// What was replayed from a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions that were not in their place yet.
    pub transactions: u32,
    /// Blocks that are read from the journal.
    pub blocks: usize,
    /// The number of the transaction that comes next.
    pub(super) next: u32,
}

/// A journal: where it lies, and what its superblock says.
pub(super) struct Journal<'a> {
    fs: &'a Ext4,
    runs: Vec<Run>,
    /// The ring: its first block, and the one behind its last.
    first: u32,
    last: u32,
    /// Where fast commits begin, and end.
    fast: Option<(u32, u32)>,
    start: u32,
    sequence: u32,
    compatible: u32,
    incompatible: u32,
    /// What checksums begin with.
    seed: u32,
    uuid: Uuid,
}

/// The copies that the journal of `fs` has of blocks, and what was replayed; `None` if there is nothing to play.
pub(super) fn replay(fs: &Ext4) -> Result<Option<(Vec<Copy>, Replayed)>> {
    let doing = || "replaying the ext4 journal";
    let superblock = fs.superblock();
    if superblock.journal_inode == 0 {
        let uuid = superblock.journal_uuid;
        let what = format!("its journal is on another disk ({uuid}), and has changes that are not in it");
        return Err(Error::unsupported(what)).doing(doing);
    }
    let journal = Journal::open(fs).doing(doing)?;
    if journal.start == 0 {
        return Ok(None);
    }
    let log = log::replay(&journal).doing(doing)?;
    if let Some((first, end)) = journal.fast {
        let count = fast_commit::count(&journal, first, end, log.next).doing(doing)?;
        if count > 0 {
            let what = format!(
                "the journal has {count} fast commits that are not in the filesystem, which are not replayed here"
            );
            return Err(Error::unsupported(what)).doing(doing);
        }
    }
    let replayed =
        Replayed { transactions: log.transactions, blocks: log.copies.len(), next: log.next.wrapping_add(1) };
    Ok(Some((log.copies, replayed)))
}

/// Has the journal's superblock say that nothing waits, and that the next transaction is number `sequence`.
pub(super) fn end(fs: &Ext4, sequence: u32) -> Result<()> {
    let journal = Journal::open(fs)?;
    let (place, has_sums) = (journal.place_of(0)?, journal.has_block_checksums());
    fs.blocks().change(place, |block| edit_start(block, 0, sequence, has_sums))
}

/// Says in the journal's superblock, which `block` begins with, that transaction `sequence` begins at `start`.
fn edit_start(block: &mut [u8], start: u32, sequence: u32, has_sums: bool) {
    super::field::put(block, 0x18, &sequence.to_be_bytes());
    super::field::put(block, 0x1c, &start.to_be_bytes());
    if has_sums {
        super::field::put(block, 0xfc, &[0; 4]);
        let sum = crc32c(START, &[block.get(..SUPERBLOCK_LEN).unwrap_or_default()]);
        super::field::put(block, 0xfc, &sum.to_be_bytes());
    }
}

impl<'a> Journal<'a> {
    pub(super) fn open(fs: &'a Ext4) -> Result<Self> {
        let inode = fs.inode(fs.superblock().journal_inode)?;
        let block_size = fs.superblock().block_size;
        if inode.kind != NodeKind::File || inode.links == 0 {
            return Err(Ext4Rule::in_journal("inode", u64::from(inode.number)));
        }
        let count = inode.size.checked_div(block_size).unwrap_or(0);
        let mut runs = Vec::new();
        for run in Runs::new(fs, &inode, 0..count) {
            runs.push(run?);
            if runs.len() > RUNS_MAX {
                return Err(Error::unsupported("the journal lies in too many pieces"));
            }
        }
        let mut journal = Self {
            fs,
            runs,
            first: 0,
            last: u32::try_from(count).unwrap_or(u32::MAX),
            fast: None,
            start: 0,
            sequence: 0,
            compatible: 0,
            incompatible: 0,
            seed: START,
            uuid: Uuid::nil(),
        };
        let bytes = journal.read(0)?;
        journal.believe(bytes.get(..SUPERBLOCK_LEN).unwrap_or_default())?;
        Ok(journal)
    }

    /// Takes what the journal's superblock says.
    fn believe(&mut self, bytes: &[u8]) -> Result<()> {
        let value = |at| be32_at(bytes, at);
        let kind = value(0x04);
        if value(0) != JOURNAL_MAGIC || !matches!(kind, 3 | 4) {
            return Err(Ext4Rule::in_journal("mark", u64::from(value(0))));
        }
        if u64::from(value(0x0c)) != self.fs.superblock().block_size {
            return Err(Ext4Rule::in_journal("block size", u64::from(value(0x0c))));
        }
        // The first version has no features.
        if kind == 4 {
            (self.compatible, self.incompatible) = (value(0x24), value(0x28));
        }
        self.uuid = Uuid::from_bytes(field(bytes, 0x30));
        let unknown = self.incompatible & !KNOWN;
        if unknown != 0 || value(0x2c) != 0 && kind == 4 {
            let what = format!(
                "the journal has features that are not known here ({unknown:#x}, {:#x})",
                value(0x2c)
            );
            return Err(Error::unsupported(what));
        }
        if self.has_block_checksums() {
            let summed =
                [bytes.get(..0xfc).unwrap_or_default(), &[0; 4], bytes.get(0x100..).unwrap_or_default()];
            let [kind] = field::<1>(bytes, 0x50);
            if kind != CRC32C || crc32c(START, &summed) != value(0xfc) {
                return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Journal)));
            }
            self.seed = crc32c(START, &[&field::<16>(bytes, 0x30)]);
        }
        let len = value(0x10);
        if len > self.last || len < 2 {
            return Err(Ext4Rule::in_journal("length", u64::from(len)));
        }
        (self.first, self.last) = (value(0x14), len);
        if self.incompatible & FAST_COMMIT != 0 {
            let fast = if value(0x54) == 0 { FAST_BLOCKS } else { value(0x54) };
            self.last = len
                .checked_sub(fast)
                .ok_or_else(|| Ext4Rule::in_journal("number of fast blocks", u64::from(fast)))?;
            self.fast = Some((self.last.saturating_add(1), len));
        }
        (self.sequence, self.start) = (value(0x18), value(0x1c));
        let is_ring = self.first > 0 && self.first < self.last;
        if !is_ring || self.start != 0 && !(self.first..self.last).contains(&self.start) {
            return Err(Ext4Rule::in_journal("start", u64::from(self.start)));
        }
        Ok(())
    }

    /// Whether each block of it has a checksum.
    fn has_block_checksums(&self) -> bool {
        self.incompatible & (CHECKSUM_V2 | CHECKSUM_V3) != 0
    }

    fn has(&self, feature: u32) -> bool {
        self.incompatible & feature != 0
    }

    /// Where block `index` of the journal is on the disk.
    fn place_of(&self, index: u32) -> Result<u64> {
        let index = u64::from(index);
        let at = self.runs.partition_point(|run| run.end() <= index);
        match self.runs.get(at) {
            Some(Run { first, place: Place::Data(block), .. }) if *first <= index => {
                Ok(block.saturating_add(index.saturating_sub(*first)))
            }
            _ => Err(Ext4Rule::in_journal("block that is not stored", index)),
        }
    }

    /// Block `index` of the journal.
    fn read(&self, index: u32) -> Result<Vec<u8>> {
        let size = self.fs.superblock().block_size;
        let place = self.place_of(index)?;
        let mut bytes = vec![0; size as usize];
        let doing = || format!("reading block {index} of the journal");
        self.fs.blocks().disk().read_at(&mut bytes, place.saturating_mul(size)).doing(doing)?;
        Ok(bytes)
    }

    /// The block of the ring behind `index`.
    fn after(&self, index: u32) -> u32 {
        let next = index.saturating_add(1);
        if next >= self.last { self.first } else { next }
    }
}
