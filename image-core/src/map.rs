//! The map of a disk: where the bytes of each part come from, in entries as long as they can be.
//!
//! ```text
//! 0                                                                    size
//! │ depth 1, data, base.raw │ depth 0, data, top.qcow2 │ zero, nowhere    │
//! ```
//!
//! Asked for a part at a time, so that a disk divided into millions of entries needs no more memory than one that
//! is whole.

use crate::block::{BlockRead, ByteRange, MapEntry};
use crate::error::{Doing, Result};

/// How much is asked about at first.
const FIRST_WINDOW: u64 = 64 << 20;
/// How much is asked about at most: an empty disk of 2⁶² bytes is mapped in four million steps of this.
const LARGEST_WINDOW: u64 = 1 << 40;
/// Answers with fewer entries make the next window larger, those with more make it smaller.
const FEW: usize = 1024;
const MANY: usize = 8 * FEW;

/// The entries of a part of a disk, in ascending order; neighbours differ. After an error, none.
pub struct Map<'a> {
    disk: &'a dyn BlockRead,
    at: u64,
    end: u64,
    window: u64,
    /// What was answered, the next one last.
    answered: Vec<MapEntry>,
    /// Not yet given out: the next one may follow it without a seam.
    pending: Option<MapEntry>,
}

impl<'a> Map<'a> {
    /// Of the whole disk.
    pub fn new(disk: &'a dyn BlockRead) -> Self {
        Self::of(disk, ByteRange::whole(disk.size()))
    }

    /// Of `range`, as far as it is on the disk.
    pub fn of(disk: &'a dyn BlockRead, range: ByteRange) -> Self {
        let end = range.end().min(disk.size());
        Self { disk, at: range.offset(), end, window: FIRST_WINDOW, answered: Vec::new(), pending: None }
    }

    fn ask(&mut self) -> Result<()> {
        let range = ByteRange::between(self.at, self.end.min(self.at.saturating_add(self.window)));
        self.answered = self.disk.map_entries(range).doing(|| {
            format!("asking what is in the {} bytes at guest offset {:#x}", range.len(), range.offset())
        })?;
        debug_assert_eq!(self.answered.iter().map(|it| it.range.len()).sum::<u64>(), range.len());
        self.window = match self.answered.len() {
            ..FEW => (self.window * 2).min(LARGEST_WINDOW),
            MANY.. => (self.window / 2).max(1 << 20),
            _ => self.window,
        };
        self.answered.reverse();
        self.at = range.end();
        Ok(())
    }
}

impl Iterator for Map<'_> {
    type Item = Result<MapEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(next) = self.answered.pop() else {
                if self.at >= self.end {
                    return self.pending.take().map(Ok);
                }
                if let Err(error) = self.ask() {
                    self.end = self.at;
                    self.pending = None;
                    return Some(Err(error));
                }
                continue;
            };
            let Some(pending) = &mut self.pending else {
                self.pending = Some(next);
                continue;
            };
            if let Err(next) = pending.join(next) {
                return self.pending.replace(next).map(Ok);
            }
        }
    }
}
