//! Extents → batches: what must be read, cut into equal work.

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

/// Cuts a disk into batches, front to back.
pub(super) struct Planner<'a> {
    source: &'a dyn BlockRead,
    size: u64,
    unit: u64,
    batch_len: u64,
    window: u64,
    /// What is before is known.
    asked: u64,
    /// Data that is known and in no batch yet, the next one last.
    data: Vec<ByteRange>,
    /// What is before is in a batch.
    planned: u64,
}

impl<'a> Planner<'a> {
    /// For all of `source`, in multiples of `unit` bytes, at most `batch_len` of them at a time.
    pub(super) fn new(source: &'a dyn BlockRead, unit: u64, batch_len: u64) -> Self {
        Self {
            source,
            size: source.size(),
            unit,
            batch_len,
            window: WINDOW,
            asked: 0,
            data: Vec::new(),
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
        let start = self.planned;
        let mut room = self.batch_len;
        // The end of the last unit in the batch.
        let mut end = start;
        if start >= self.size {
            return Ok(false);
        }
        loop {
            let Some(next) = self.data.last_mut() else {
                if room == 0 {
                    break;
                }
                if self.asked >= self.size || self.asked - start >= MAX_BATCH_RANGE {
                    end = self.asked;
                    break;
                }
                self.ask()?;
                continue;
            };
            let first_new_unit = end.max(next.offset() / self.unit * self.unit);
            if room == 0 && next.offset() >= end {
                break;
            }
            let taken = ByteRange::between(next.offset(), next.end().min(first_new_unit + room));
            let taken_end = taken.end().next_multiple_of(self.unit);
            room -= taken_end.saturating_sub(first_new_unit);
            end = end.max(taken_end);
            batch.data.push(taken);
            if taken.end() < next.end() {
                *next = ByteRange::between(taken.end(), next.end());
            } else {
                self.data.pop();
            }
        }
        self.planned = end.min(self.size);
        batch.range = ByteRange::between(start, self.planned);
        Ok(true)
    }

    fn ask(&mut self) -> Result<()> {
        let range = ByteRange::between(self.asked, self.size.min(self.asked + self.window));
        let extents = self.source.extents(range).doing(|| {
            format!("asking what is in the {} bytes at guest offset {:#x}", range.len(), range.offset())
        })?;
        debug_assert_eq!(extents.range(), range, "extents cover exactly what was asked");
        self.data
            .extend(extents.iter().filter(|extent| !extent.kind.reads_as_zero()).map(|extent| extent.range));
        self.data.reverse();
        self.asked = range.end();
        self.window = if self.data.is_empty() { WINDOW_IN_HOLES } else { WINDOW };
        Ok(())
    }
}
