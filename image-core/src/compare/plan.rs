//! Extents of two disks → batches of what must be read of either.

use std::collections::VecDeque;

use super::{Failed, Side};
use crate::block::{BlockRead, ByteRange, Extent};
use crate::error::Result;

/// The bytes that are read of one disk for a batch, at most.
pub(super) const BATCH_LEN: u64 = 512 * 1024;

/// How much of a disk is asked about at a time: bounds the list of its extents.
const WINDOW: u64 = 64 << 20;

/// The same after nothing but zeroes: a disk may be said to be very large, and be empty.
const LARGEST_WINDOW: u64 = 1 << 40;

/// A batch ends after this much even if there was nothing to read, so that the work can be stopped.
const MAX_BATCH_RANGE: u64 = 1 << 30;

/// What must be read for a part of the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) range: ByteRange,
    /// Whether there may be something else than zeroes on the one and on the other; at least one.
    pub(super) one: bool,
    pub(super) other: bool,
}

/// What a worker does at a time.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// All of it, zeroes that are not read among it.
    pub(super) range: ByteRange,
    /// What is read, ascending.
    pub(super) parts: Vec<Part>,
}

/// Goes through two disks, front to back.
pub(super) struct Plan<'a> {
    one: Cursor<'a>,
    other: Cursor<'a>,
    at: u64,
    end: u64,
}

impl<'a> Plan<'a> {
    /// For both disks, to the end of the longer one.
    pub(super) fn new(one: &'a dyn BlockRead, other: &'a dyn BlockRead) -> Self {
        let (one, other) = (Cursor::new(one, Side::One), Cursor::new(other, Side::Other));
        let end = one.size.max(other.size);
        Self { one, other, at: 0, end }
    }

    /// Makes `batch` the next one; `false` at the end.
    pub(super) fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.parts.clear();
        let start = self.at;
        let mut room = BATCH_LEN;
        while self.at < self.end && room > 0 && self.at - start < MAX_BATCH_RANGE {
            let part = self.part(room).inspect_err(|_| self.at = self.end)?;
            if part.one || part.other {
                room -= part.range.len();
                batch.parts.push(part);
            }
            self.at = part.range.end();
        }
        batch.range = ByteRange::between(start, self.at);
        Ok(!batch.range.is_empty())
    }

    /// What is next, with at most `room` bytes to read.
    fn part(&mut self, room: u64) -> Result<Part> {
        let (one, one_end) = self.one.at(self.at)?;
        let (other, other_end) = self.other.at(self.at)?;
        let read = one || other;
        let end = self.end.min(one_end).min(other_end);
        let end = if read { end.min(self.at + room) } else { end };
        Ok(Part { range: ByteRange::between(self.at, end), one, other })
    }
}

/// One disk's extents, as far as they are known.
struct Cursor<'a> {
    disk: &'a dyn BlockRead,
    side: Side,
    size: u64,
    known: VecDeque<Extent>,
    asked: u64,
    window: u64,
}

impl<'a> Cursor<'a> {
    fn new(disk: &'a dyn BlockRead, side: Side) -> Self {
        Self { disk, side, size: disk.size(), known: VecDeque::new(), asked: 0, window: WINDOW }
    }

    /// Whether there may be data at `offset`, which never goes back, and where that answer ends.
    fn at(&mut self, offset: u64) -> Result<(bool, u64)> {
        if offset >= self.size {
            return Ok((false, u64::MAX));
        }
        while self.known.front().is_some_and(|extent| extent.range.end() <= offset) {
            self.known.pop_front();
        }
        if self.known.is_empty() {
            let start = offset.max(self.asked);
            let window = ByteRange::between(start, self.size.min(start.saturating_add(self.window)));
            let extents = self.disk.extents(window);
            let extents = extents.map_err(|error| Failed::asking(self.side, start, error))?;
            self.known.extend(extents.iter());
            let zero = self.known.iter().all(|extent| extent.kind.reads_as_zero());
            self.window = if zero { (self.window * 4).min(LARGEST_WINDOW) } else { WINDOW };
            self.asked = window.end();
        }
        Ok(self
            .known
            .front()
            .map_or((true, self.size), |extent| (!extent.kind.reads_as_zero(), extent.range.end())))
    }
}
