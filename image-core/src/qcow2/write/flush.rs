//! The order in which changed tables go to the file, so that a crash at any moment leaves leaks at most.
//!
//! ```text
//!  1  guest bytes, refcount blocks        │ counts only rose: at worst something is counted that nobody uses
//!  ───────────────────────────── flush ───┤
//!  2  refcount table, then the header     │ only where it grew; what it names is safe already
//!  ───────────────────────────── flush ───┤
//!  3  L2 tables                           │ what they refer to is safe and counted
//!  ───────────────────────────── flush ───┤
//!  4  L1 entries                          │ only for new L2 tables
//!  ───────────────────────────── flush ───┘
//!  5  counts fall, in memory: nothing on disk refers to what is freed any more. Step 1 of the next commit writes them.
//! ```
//!
//! Within a step any part may be lost or late. A step that has nothing to write has no flush. With lazy refcounts the
//! header says first that counts are not right (see `lazy_refcounts.rs`); they and step 2 then wait until the image is closed.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use super::super::header::Header;
use super::super::layout::{self, RefcountTableField};
use super::{Qcow2Writer, State, allocate};
use crate::block::{BlockRead, BlockWrite, ByteRange};
use crate::error::{Doing, Result};

/// Bytes of changed L2 tables that are held before they are committed unasked.
const MOST_CHANGED: u64 = 4 << 20;
/// Freed places that are held before they are committed unasked.
const MOST_FREED: usize = 65_536;

/// What waits for the next commit, besides changed tables.
#[derive(Debug, Default)]
pub(super) struct Pending {
    l1: BTreeSet<u64>,
    freed: Vec<ByteRange>,
}

impl Pending {
    /// The L1 entry at `index` changed.
    pub(super) fn l1_changed(&mut self, index: u64) {
        self.l1.insert(index);
    }

    /// Nothing will refer to the clusters that `place` touches once the tables are on disk: one use less of each.
    pub(super) fn free(&mut self, place: ByteRange) {
        self.freed.push(place);
    }
}

impl Qcow2Writer {
    /// Brings everything to the file, in order; but for the counts where they may be late.
    pub(super) fn flush_metadata(&self, state: &mut State) -> Result<()> {
        self.flush_all(state, self.refcounts_are_lazy())
    }

    /// Brings everything to the file, in order, the counts too.
    pub(super) fn flush_with_refcounts(&self, state: &mut State) -> Result<()> {
        self.flush_all(state, false)
    }

    fn flush_all(&self, state: &mut State, refcounts_are_lazy: bool) -> Result<()> {
        self.write_staged(state)?;
        self.guard_refcounts(state)?;
        let file = &*self.file;
        if refcounts_are_lazy {
            self.mark_dirty(state)?;
        }
        if !refcounts_are_lazy || state.allocator.holds_much() {
            state.allocator.write_blocks(file)?;
        }
        // Overwritten guest bytes are not counted as changes, so this one is never left out.
        file.flush()?;
        if let Some(data_file) = &self.data_file {
            data_file.flush()?;
        }
        if !refcounts_are_lazy {
            self.flush_refcount_table(state)?;
        }
        self.flush_l2()?;
        self.flush_l1(state)?;
        self.free(state)
    }

    /// Commits early when much has changed.
    pub(super) fn flush_if_large(&self, state: &mut State) -> Result<()> {
        let count = self.image.tables().changed().len() as u64;
        let changed = count.saturating_mul(self.image.geometry().cluster_size());
        if changed > MOST_CHANGED || state.pending.freed.len() > MOST_FREED {
            self.flush_metadata(state)?;
        }
        Ok(())
    }

    fn flush_l2(&self) -> Result<()> {
        let tables = self.image.tables();
        for (host, bytes) in &*tables.changed() {
            allocate::write_growing(&*self.file, bytes, host.0)
                .doing(|| format!("writing the L2 table at {host}"))?;
        }
        if tables.changed().is_empty() {
            return Ok(());
        }
        tables.changes_are_written();
        self.file.flush()
    }

    fn flush_refcount_table(&self, state: &mut State) -> Result<()> {
        let file = &*self.file;
        if state.allocator.write_table(file)? {
            file.flush()?;
        }
        let left = state.allocator.take_moved_from();
        if left.is_empty() {
            return Ok(());
        }
        let place = state.allocator.table_place();
        let field = RefcountTableField { offset: place.offset.0.into(), clusters: place.count.into() };
        file.write_at(field.as_bytes(), layout::REFCOUNT_TABLE_FIELD_OFFSET)
            .doing(|| "writing the place of the refcount table")?;
        file.flush()?;
        // The old place is none of the tables' any more, and may become anything.
        self.image.set_header(Header { refcount_table: place, ..Header::clone(&self.image.header()) });
        for old in left {
            let len = u64::from(old.count).saturating_mul(self.image.geometry().cluster_size());
            state.pending.free(ByteRange::new(old.offset.0, len)?);
        }
        Ok(())
    }

    fn flush_l1(&self, state: &mut State) -> Result<()> {
        let file = &*self.file;
        if state.pending.l1.is_empty() {
            return Ok(());
        }
        let start = self.image.header().l1.offset.0;
        for &index in &state.pending.l1 {
            let entry = self.image.l1().at(index);
            let at = start.saturating_add(index.saturating_mul(8));
            file.write_at(&entry.0.to_be_bytes(), at).doing(|| format!("writing L1 entry {index:#x}"))?;
        }
        file.flush()?;
        state.pending.l1.clear();
        Ok(())
    }

    /// Counts fall; what is not used any more is given back to the filesystem.
    fn free(&self, state: &mut State) -> Result<()> {
        let file = &*self.file;
        let geometry = self.image.geometry();
        let mut discards = ByteRange::whole(0);
        let freed = std::mem::take(&mut state.pending.freed);
        if !freed.is_empty() {
            self.image.forget_decompressed();
        }
        for place in freed {
            let last = geometry.cluster_index(place.end().saturating_sub(1));
            for cluster in geometry.cluster_index(place.offset())..=last {
                if state.allocator.remove(file, cluster)? > 0 {
                    continue;
                }
                let start = cluster.saturating_mul(geometry.cluster_size());
                let range = ByteRange::new(start, geometry.cluster_size())?;
                if discards.end() == range.offset() {
                    discards = ByteRange::between(discards.offset(), range.end());
                } else {
                    self.punch(discards)?;
                    discards = range;
                }
            }
        }
        self.punch(discards)
    }

    fn punch(&self, range: ByteRange) -> Result<()> {
        match range.intersection(ByteRange::whole(self.file.size())) {
            Some(range) => self.file.discard(range),
            None => Ok(()),
        }
    }
}
