//! Changes in place that are all there or not at all, whenever the power fails: through the filesystem's own journal.
//!
//! ```text
//! 1  a journal that waits       its copies home ─► flush ─► nothing waits ─► flush
//! 2  new blocks, free before    ─► home: nobody reads them      3  changed blocks ─► journal, with their commit ─► flush
//! 4  superblock                 ─► needs recovery ─► flush
//! 5  the journal's superblock   ─► the transaction begins here ─► flush            from here on all is there
//! 6  changed blocks             ─► home ─► flush
//! 7  the journal's superblock   ─► nothing waits ─► flush       8  superblock ─► needs no recovery ─► flush
//! ```
//! Before step 5 a kernel, e2fsck or this reader finds the filesystem as it was, from then on as it is to be: either replays the
//! transaction. Linux kernel documentation, filesystems/ext4 ("Journal (jbd2)").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::Ext4Writer;
use super::refusal::Refusal;
use crate::block::{BlockRead, BlockWrite};
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::Ext4;
use crate::fs::ext4::checksum::{START, crc32c};
use crate::fs::ext4::features::{self, Features};
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::journal::{Journal, SUPERBLOCK_LEN};
use crate::fs::ext4::layout::is_set;
use crate::fs::ext4::superblock::{CHECKSUM_AT, LEN, OFFSET};

/// What is to be written, by where it may go.
struct Divided {
    /// Free before these changes.
    new: Vec<u64>,
    /// All others whose content is another than on the disk.
    changed: Vec<u64>,
}

impl Ext4Writer {
    /// How many changed blocks fit into the journal at once; fewer count if they are new. `None` without a journal of its own.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`](crate::fs::Ext4Rule); whatever the disk says.
    pub fn journal_room(&self) -> Result<Option<u64>> {
        match self.own_journal()? {
            Some(journal) => Ok(Some(journal.room())),
            None => Ok(None),
        }
    }

    /// Writes all changes in place so that a kill or a loss of power at any moment leaves all of them or none, and goes on with what
    /// is on the disk then. Without changes nothing is written.
    ///
    /// What is refused by name is not written, and the changes stay: they can be made on a copy instead, with
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`Refusal::NoJournal`] and [`Refusal::JournalTooSmall`]; [`Invalid`](crate::ErrorKind::Invalid) after a change that failed
    /// half-way; whatever the disk says: after that nothing more can be written, and whoever opens it anew finds all or nothing.
    pub fn commit_journaled(&mut self) -> Result<()> {
        let done = match self.is_half_done {
            true => Err(Error::invalid("a change before failed half-way: nothing is written")),
            false => self.write_journaled(),
        };
        done.doing(|| "writing the changes to the ext4 filesystem through its journal")
    }

    /// Whether [`commit_journaled`](Self::commit_journaled) would refuse these changes by name; nothing is written. What is close to
    /// too much counts as that.
    ///
    /// # Errors
    /// [`Refusal::NoJournal`] and [`Refusal::JournalTooSmall`]; whatever the disk says.
    pub fn check_journal(&self) -> Result<()> {
        /// The superblock, and the group descriptors that counts go into.
        const MORE: u64 = 8;
        if !self.is_dirty && self.fs.blocks().changed_len() == 0 {
            return Ok(());
        }
        let journal = self.own_journal()?.ok_or(Refusal::NoJournal)?;
        let changed = (self.to_write()?.changed.len() as u64).saturating_add(MORE);
        let (needed, room) = (journal.needed(changed), journal.room());
        match needed > room {
            true => Err(Refusal::JournalTooSmall { needed, room }.into()),
            false => Ok(()),
        }
    }

    fn own_journal(&self) -> Result<Option<Journal<'_>>> {
        let superblock = self.fs.superblock();
        match superblock.has(features::HAS_JOURNAL) && superblock.journal_inode != 0 {
            true => Journal::open(&self.fs).map(Some),
            false => Ok(None),
        }
    }

    fn write_journaled(&mut self) -> Result<()> {
        let (free_blocks, free_inodes) = self.count_free()?;
        if !self.is_dirty && self.fs.blocks().changed_len() == 0 {
            return Ok(());
        }
        self.own_journal()?.ok_or(Refusal::NoJournal)?;
        self.end_superblock(free_blocks, free_inodes)?;
        // So that it is replayed to its end if that is interrupted.
        self.set_feature(features::RECOVER, true)?;
        let divided = self.to_write()?;
        let journal = self.own_journal()?.ok_or(Refusal::NoJournal)?;
        let (needed, room) = (journal.needed(divided.changed.len() as u64), journal.room());
        if needed > room {
            return Err(Refusal::JournalTooSmall { needed, room }.into());
        }
        let waits = self.fs.replayed().map(|replayed| replayed.next);
        let sequence = waits.unwrap_or(journal.sequence());
        let first = journal.first();
        let fs = self.fs.clone();
        drop(journal);
        // From here on the disk is another one than is known.
        self.is_half_done = true;
        let out = Out { fs: &fs, disk: &*self.disk };
        if waits.is_some() {
            fs.blocks().each_copy(&mut |block, content| out.block(block, content))?;
            out.disk.flush()?;
            out.journal_begins(0, sequence)?;
        }
        divided.new.iter().try_for_each(|block| out.block(*block, &fs.blocks().block(*block)?))?;
        Journal::open(&fs)?
            .record(&divided.changed, sequence, self.time, &mut |block, content| out.block(block, content))?;
        out.disk.flush()?;
        out.needs_recovery(true)?;
        out.journal_begins(first, sequence)?;
        divided.changed.iter().try_for_each(|block| out.block(*block, &fs.blocks().block(*block)?))?;
        out.disk.flush()?;
        out.journal_begins(0, sequence.wrapping_add(1))?;
        out.needs_recovery(false)?;
        self.fs = Ext4::open(Arc::clone(&self.disk) as Arc<dyn BlockRead>)?;
        (self.is_dirty, self.is_half_done) = (false, false);
        Ok(())
    }

    /// Divides what was changed.
    fn to_write(&self) -> Result<Divided> {
        let superblock = self.fs.superblock();
        let (size, blocks) = (superblock.block_size, self.fs.blocks());
        let mut bitmaps: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut divided = Divided { new: Vec::new(), changed: Vec::new() };
        for block in blocks.changed_blocks() {
            let group = superblock.group_of(block);
            let bitmap = match bitmaps.entry(group) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.former_bitmap(group)?),
            };
            let inside = block.saturating_sub(superblock.blocks_of(group).start);
            let bit = inside.checked_div(superblock.blocks_per_cluster()).unwrap_or(0);
            let is_used = is_set(bitmap, bit);
            if !is_used
                && block > superblock.first_data_block
                && !blocks.is_covered(block, block.saturating_add(1))
            {
                divided.new.push(block);
            } else if *blocks.block(block)? != *blocks.bytes_under(block.saturating_mul(size), size)? {
                divided.changed.push(block);
            }
        }
        Ok(divided)
    }
}

/// What is written, step by step.
struct Out<'a> {
    fs: &'a Ext4,
    disk: &'a dyn BlockWrite,
}

impl Out<'_> {
    fn block(&self, block: u64, content: &[u8]) -> Result<()> {
        self.disk.write_at(content, block.saturating_mul(self.fs.superblock().block_size))
    }

    /// Has the journal's superblock say where a transaction begins.
    fn journal_begins(&self, start: u32, sequence: u32) -> Result<()> {
        let (place, block) = Journal::open(self.fs)?.superblock(start, sequence)?;
        let own = block.get(..SUPERBLOCK_LEN).unwrap_or_default();
        self.disk.write_at(own, place.saturating_mul(self.fs.superblock().block_size))?;
        self.disk.flush()
    }

    /// Has the superblock say whether the journal is to be replayed.
    fn needs_recovery(&self, is_needed: bool) -> Result<()> {
        let mut own = vec![0; LEN];
        self.disk.read_at(&mut own, OFFSET)?;
        let (at, bit) = Features::place_of(features::RECOVER);
        let others = u32_at(&own, at) & !bit;
        put(&mut own, at, &(if is_needed { others | bit } else { others }).to_le_bytes());
        if self.fs.superblock().has(features::METADATA_CSUM) {
            let sum = crc32c(START, &[own.get(..CHECKSUM_AT).unwrap_or_default()]);
            put(&mut own, CHECKSUM_AT, &sum.to_le_bytes());
        }
        self.disk.write_at(&own, OFFSET)?;
        self.disk.flush()
    }
}
