//! Extents → batches: what must be read, cut into equal work, and prefetched by the source before.
//!
//! ```text
//! guest: ──── in a batch ────│── prefetched, 8 MiB of data ─│── known ──│ not asked about
//!                         planned                   prefetched_to      asked
//! ```

use std::collections::VecDeque;

use super::batch::Batch;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Result};

/// How much of the disk is asked about at a time. Bounds the list of extents: 16,384 where every second 4 KiB is a
/// hole. A multiple of every unit size.
const WINDOW: u64 = 64 * 1024 * 1024;

/// How much after nothing but holes.
const WINDOW_IN_HOLES: u64 = 4 * WINDOW;

/// A batch ends after this much even if nothing in it is data, so that progress is told and
/// the work can be stopped: a digest takes a third of a second for it.
const MAX_BATCH_RANGE: u64 = WINDOW_IN_HOLES;

/// How many bytes of data are prefetched before they are in a batch: what a fast disk has in work at a time.
const AHEAD: u64 = 8 * 1024 * 1024;

/// How far data is looked for to be prefetched.
const MAX_AHEAD_RANGE: u64 = 16 * WINDOW_IN_HOLES;

/// Holes up to here are prefetched with the data around them: a call for each run would cost more.
const SMALL_HOLE: u64 = 64 * 1024;

/// Cuts a disk into batches, front to back.
pub(super) struct Planner<'a> {
    source: &'a dyn BlockRead,
    size: u64,
    unit: u64,
    batch_len: u64,
    prefetches: bool,
    window: u64,
    /// What is before is known.
    asked: u64,
    /// Data that is known and in no batch yet.
    data: VecDeque<ByteRange>,
    /// The bytes of that.
    data_len: u64,
    /// What is before is prefetched.
    prefetched_to: u64,
    /// The bytes of data that are prefetched and in no batch yet.
    announced_len: u64,
    /// What is before is in a batch.
    planned: u64,
}

impl<'a> Planner<'a> {
    /// For all of `source`, in multiples of `unit` bytes, at most `batch_len` of them at a time; `prefetches` where data is
    /// read, and not only shared.
    pub(super) fn new(source: &'a dyn BlockRead, unit: u64, batch_len: u64, prefetches: bool) -> Self {
        Self {
            source,
            size: source.size(),
            unit,
            batch_len,
            prefetches,
            window: WINDOW,
            asked: 0,
            data: VecDeque::new(),
            data_len: 0,
            prefetched_to: 0,
            announced_len: 0,
            planned: 0,
        }
    }

    /// Whether all of the disk is in a batch.
    pub(super) fn is_done(&self) -> bool {
        self.planned >= self.size
    }

    /// The bytes of units that a batch holds at most.
    pub(super) fn batch_len(&self) -> u64 {
        self.batch_len
    }

    /// Sets the range and data of `batch` to the next part of the disk; `false` at the end.
    pub(super) fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.data.clear();
        batch.ahead.clear();
        let start = self.planned;
        let limit = start.saturating_add(MAX_BATCH_RANGE);
        let mut room = self.batch_len;
        // The end of the last unit in the batch.
        let mut end = start;
        if start >= self.size {
            return Ok(false);
        }
        self.prefetch(batch);
        loop {
            let Some(next) = self.data.front_mut() else {
                if room == 0 {
                    break;
                }
                if self.asked >= self.size || self.asked >= limit {
                    end = end.max(self.asked.min(limit));
                    break;
                }
                self.ask()?;
                continue;
            };
            let first_new_unit = end.max(next.offset() / self.unit * self.unit);
            if room == 0 && next.offset() >= end {
                break;
            }
            if next.offset() >= limit {
                end = end.max(limit);
                break;
            }
            let taken = ByteRange::between(next.offset(), next.end().min(first_new_unit + room));
            let taken_end = taken.end().next_multiple_of(self.unit);
            room -= taken_end.saturating_sub(first_new_unit);
            end = end.max(taken_end);
            batch.data.push(taken);
            self.data_len -= taken.len();
            self.announced_len = self.announced_len.saturating_sub(taken.len());
            if taken.end() < next.end() {
                *next = ByteRange::between(taken.end(), next.end());
            } else {
                self.data.pop_front();
            }
        }
        self.planned = end.min(self.size);
        batch.range = ByteRange::between(start, self.planned);
        Ok(true)
    }

    /// Sets what `batch` prefetches: nothing while there is much that is prefetched already.
    fn prefetch(&mut self, batch: &mut Batch) {
        if !self.prefetches || self.announced_len > AHEAD / 2 {
            return;
        }
        while self.data_len < AHEAD && self.asked < self.size && self.asked - self.planned < MAX_AHEAD_RANGE {
            // What is wrong there is told when its turn comes.
            if self.ask().is_err() {
                break;
            }
        }
        let first = self.data.partition_point(|range| range.end() <= self.prefetched_to);
        for range in self.data.range(first..) {
            let room = AHEAD - self.announced_len;
            if room == 0 {
                break;
            }
            let start = range.offset().max(self.prefetched_to);
            let part = ByteRange::between(start, range.end().min(start.saturating_add(room)));
            self.prefetched_to = part.end();
            self.announced_len += part.len();
            match batch.ahead.last_mut() {
                Some(last) if part.offset() - last.end() <= SMALL_HOLE => {
                    *last = ByteRange::between(last.offset(), part.end());
                }
                _ => batch.ahead.push(part),
            }
        }
    }

    fn ask(&mut self) -> Result<()> {
        let range = ByteRange::between(self.asked, self.size.min(self.asked + self.window));
        let extents = self.source.extents(range).doing(|| {
            format!("asking what is in the {} bytes at guest offset {:#x}", range.len(), range.offset())
        })?;
        debug_assert_eq!(extents.range(), range, "extents cover exactly what was asked");
        self.window = WINDOW_IN_HOLES;
        for extent in extents.iter().filter(|extent| !extent.kind.reads_as_zero()) {
            self.data.push_back(extent.range);
            self.data_len += extent.range.len();
            self.window = WINDOW;
        }
        self.asked = range.end();
        Ok(())
    }
}
