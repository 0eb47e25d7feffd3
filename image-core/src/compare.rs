//! Comparison of two disks: what differs, on all cores; what both know to be zeroes is not read.
//!
//! ```text
//! one:    │ data │ hole │ data │ data │ hole │            plan: neighbouring parts with one treatment each
//! other:  │ data │ data │ hole │ data │ hole │ hole │           (plan.rs), in batches
//!           both   other  one    both    –      –         read, compared in blocks (blocks.rs)
//!             └──────┴──────┴──────┴── in order ──► differing ranges
//! ```
//!
//! - A disk that ends earlier is followed by zeroes.
//! - Differences are told in blocks of 512 bytes; only the first one is told by the byte.
//! - What is told is the same for any number of workers, and so is the error where one of the disks cannot be read.

mod blocks;
mod plan;
mod strict;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};
use crate::progress::Progress;

pub use strict::first_difference_of_maps;

/// Differences are told in blocks of so many bytes.
pub const BLOCK: u64 = 512;

/// How to compare.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many workers; `None` is one for each core.
    pub threads: Option<NonZeroUsize>,
    /// How many differing ranges to tell; the comparison ends when they are known. With 0 it ends at the first byte
    /// that differs.
    pub most: usize,
    /// Told of what is done; can stop the work.
    pub progress: &'a dyn Progress,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { threads: None, most: usize::MAX, progress: &() }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The first byte that differs.
    pub first: Option<u64>,
    /// The first ranges that differ, in whole blocks (but for the end of the disk), ascending, with equal blocks
    /// between them.
    pub ranges: Vec<ByteRange>,
    /// Whether these are all.
    pub complete: bool,
    /// The bytes that were looked at, holes among them.
    pub compared: u64,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.first.is_none()
    }
}

/// One of the two disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    One,
    /// The second.
    Other,
}

/// What could not be done to one of the disks.
#[derive(Debug, thiserror::Error)]
#[error("{} at guest offset {offset:#x}", if *.reading { "reading" } else { "asking what there is" })]
pub struct Failed {
    /// Which disk.
    pub side: Side,
    /// Where, in bytes.
    pub offset: u64,
    /// Whether its bytes were being read, or only its extents asked for.
    pub reading: bool,
    source: Error,
}

impl Failed {
    fn asking(side: Side, offset: u64, source: Error) -> Error {
        Error::new(source.kind(), Self { side, offset, reading: false, source })
    }

    fn reading(side: Side, offset: u64, source: Error) -> Error {
        Error::new(source.kind(), Self { side, offset, reading: true, source })
    }
}

/// Compares `one` with `other`.
///
/// ```
/// use image_core::block::{BlockWrite, ByteRange, MemoryDisk};
/// use image_core::compare::{Options, compare};
///
/// let (one, other) = (MemoryDisk::new(1 << 20), MemoryDisk::new(2 << 20));
/// assert!(compare(&one, &other, &Options::default())?.is_same());
/// other.write_at(b"x", 70_000)?;
/// let found = compare(&one, &other, &Options::default())?;
/// assert_eq!((found.first, found.ranges), (Some(70_000), vec![ByteRange::between(69_632, 70_144)]));
/// # Ok::<(), image_core::Error>(())
/// ```
///
/// # Errors
/// What a disk says (cause: [`Failed`]), if nothing before it ended the comparison;
/// [`Cancelled`](crate::ErrorKind::Cancelled) if `progress` says so.
pub fn compare(one: &dyn BlockRead, other: &dyn BlockRead, options: &Options) -> Result<Comparison> {
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok());
    let state = State {
        plan: plan::Plan::new(one, other),
        taken: 0,
        waiting: BTreeMap::new(),
        told: 0,
        found: Comparison::default(),
        ended: None,
    };
    let shared = Shared { state: Mutex::new(state), most: options.most, progress: options.progress };
    std::thread::scope(|scope| {
        for _ in 1..threads.map_or(1, NonZeroUsize::get) {
            scope.spawn(|| shared.work(one, other));
        }
        shared.work(one, other);
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.ended {
        Some(Err(error)) => Err(error),
        Some(Ok(())) => Ok(state.found),
        None => Ok(Comparison { complete: true, ..state.found }),
    }
}

/// What was found in one batch.
#[derive(Debug, Default)]
struct Found {
    first: Option<u64>,
    ranges: Vec<ByteRange>,
    compared: u64,
}

struct Shared<'a> {
    state: Mutex<State<'a>>,
    most: usize,
    progress: &'a dyn Progress,
}

struct State<'a> {
    plan: plan::Plan<'a>,
    taken: u64,
    /// Batches that are done before their turn.
    waiting: BTreeMap<u64, Result<Found>>,
    told: u64,
    found: Comparison,
    /// Why there is nothing more to do: enough is known, or something failed.
    ended: Option<Result<()>>,
}

impl<'a> Shared<'a> {
    /// Takes batches until there are none.
    fn work(&self, one: &dyn BlockRead, other: &dyn BlockRead) {
        let mut batch = plan::Batch::default();
        let mut buffers = blocks::Buffers::default();
        loop {
            let mut state = self.lock();
            if state.ended.is_some() || self.progress.is_cancelled() {
                state.ended.get_or_insert_with(|| Err(Error::cancelled()));
                return;
            }
            let ticket = state.taken;
            let planned = state.plan.next(&mut batch);
            if let Ok(false) = planned {
                return;
            }
            state.taken += 1;
            drop(state);
            let done = planned.and_then(|_| buffers.compare(&batch, one, other));
            let mut state = self.lock();
            state.waiting.insert(ticket, done);
            state.tell(self.most);
            drop(state);
            self.progress.advance(batch.range.len());
        }
    }

    // What the lock guards is whole at any time; a panic of a worker is passed on by the scope.
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    /// Tells what batches found whose turn it is.
    fn tell(&mut self, most: usize) {
        while self.ended.is_none()
            && let Some(done) = self.waiting.remove(&self.told)
        {
            self.told += 1;
            match done {
                Ok(found) => self.add(found, most),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }

    fn add(&mut self, found: Found, most: usize) {
        let all = &mut self.found;
        all.first = all.first.or(found.first);
        all.compared += found.compared;
        for range in found.ranges {
            let full = all.ranges.len() >= most;
            match all.ranges.last_mut() {
                Some(last) if last.end() == range.offset() => {
                    *last = ByteRange::between(last.offset(), range.end());
                }
                // The one before has come to its end now.
                _ if full => {
                    self.ended = Some(Ok(()));
                    return;
                }
                _ => all.ranges.push(range),
            }
        }
    }
}

#[cfg(test)]
mod tests;
