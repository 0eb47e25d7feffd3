//! The line in which batches wait for their turn at the sink.
//!
//! ```text
//!            committed │ waiting for their turn        │ taken
//! tickets:   0 1 2 3 4 │ 5 (being worked on) 6 ✓ 7 ✓ 8 │ …  at most `ahead` of them
//! ```
//!
//! One lock guards what is planned and what waits; it is never held while reading, encoding or writing.
//! The sink has a lock of its own, which only the worker takes that set `committing`.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{self, Batch};
use super::digests::Digests;
use super::planner::Planner;
use super::sink::Sink;
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What was done, in bytes of the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) read: u64,
    pub(super) stored: u64,
}

/// What all workers share.
pub(super) struct Line<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
    sink: Mutex<&'a mut dyn Sink>,
    source: &'a dyn BlockRead,
    digests: &'a Digests<'a>,
    progress: &'a dyn Progress,
    /// How many batches may be taken before the first of them is committed.
    ahead: usize,
}

struct State<'a> {
    planner: Planner<'a>,
    /// The batches from ticket `committed` on: `None` while being worked on.
    waiting: VecDeque<Option<Result<Batch>>>,
    committed: u64,
    committing: bool,
    spare: Vec<Batch>,
    totals: Totals,
    /// No more batches: all are planned, or something failed.
    ended: bool,
    failed: Option<Error>,
}

impl<'a> Line<'a> {
    /// A line from `planner` to `sink` for so many workers, on batches of so many bytes.
    pub(super) fn new(
        planner: Planner<'a>,
        sink: &'a mut dyn Sink,
        digests: &'a Digests<'a>,
        progress: &'a dyn Progress,
        threads: usize,
    ) -> Self {
        // Enough that one slow batch does not stop the others; few where batches are large.
        let ahead = if planner.batch_len() > batch::BATCH_LEN { threads + 2 } else { 2 * threads + 4 };
        let source = planner.source();
        let state = State {
            planner,
            waiting: VecDeque::with_capacity(ahead),
            committed: 0,
            committing: false,
            spare: Vec::with_capacity(ahead),
            totals: Totals::default(),
            ended: false,
            failed: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            sink: Mutex::new(sink),
            source,
            digests,
            progress,
            ahead,
        }
    }

    /// The next batch to work on, with its ticket; waits while too many are ahead. `None`: go home.
    pub(super) fn take(&self) -> Option<(u64, Batch)> {
        let mut state = self.lock();
        loop {
            if self.progress.is_cancelled() {
                self.end(&mut state, Some(Error::cancelled()));
            }
            if state.ended {
                return None;
            }
            if state.waiting.len() < self.ahead {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = state.spare.pop().or_else(|| self.digests.returned()).unwrap_or_default();
        match state.planner.next(&mut batch) {
            Ok(true) => {
                let ticket = state.committed + state.waiting.len() as u64;
                state.waiting.push_back(None);
                Some((ticket, batch))
            }
            Ok(false) => {
                self.end(&mut state, None);
                None
            }
            Err(error) => {
                self.end(&mut state, None);
                state.waiting.push_back(Some(Err(error)));
                self.commit(state);
                None
            }
        }
    }

    /// Takes the batch back, worked on or failed; gives to the sink what can be given.
    pub(super) fn deliver(&self, ticket: u64, done: Result<Batch>) {
        let mut state = self.lock();
        let position = (ticket - state.committed) as usize;
        state.waiting[position] = Some(done);
        self.commit(state);
    }

    /// Commits the batches whose turn it is, unless another worker is doing so.
    fn commit<'b>(&'b self, mut state: MutexGuard<'b, State<'a>>) {
        if state.committing {
            return;
        }
        state.committing = true;
        while state.failed.is_none()
            && let Some(done) = state.waiting.front_mut().and_then(Option::take)
        {
            state.waiting.pop_front();
            state.committed += 1;
            drop(state);
            let result = done.and_then(|batch| self.put(batch));
            state = self.lock();
            match result {
                Ok((totals, spare)) => {
                    state.totals.read += totals.read;
                    state.totals.stored += totals.stored;
                    state.spare.extend(spare);
                }
                Err(error) => self.end(&mut state, Some(error)),
            }
            // Who waits for room sleeps until there is some to work with: a wake-up costs as much as a small batch.
            if state.waiting.len() <= self.ahead / 2 {
                self.changed.notify_all();
            }
        }
        state.committing = false;
    }

    /// Gives one batch to the sink and the digests; returns it if it can be used again at once.
    fn put(&self, batch: Batch) -> Result<(Totals, Option<Batch>)> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = batch.put_into(self.source, &mut **sink)?;
        let totals = Totals { read: batch.data.iter().map(|range| range.len()).sum(), stored };
        self.progress.advance(batch.range.len());
        Ok((totals, self.digests.feed(batch)))
    }

    /// What was done, when all workers are home.
    pub(super) fn finish(self) -> Result<Totals> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(state.failed.is_some() || state.waiting.is_empty(), "batches wait for ever");
        state.failed.map_or(Ok(state.totals), Err)
    }

    /// Ends the line if the thread panics while the returned value lives.
    pub(super) fn end_on_panic(&self) -> impl Drop {
        struct EndOnPanic<'b, 'a>(&'b Line<'a>);
        impl Drop for EndOnPanic<'_, '_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    let mut state = self.0.lock();
                    state.committing = false;
                    self.0.end(&mut state, Some(Error::invalid("a worker panicked")));
                }
            }
        }
        EndOnPanic(self)
    }

    fn end(&self, state: &mut State<'_>, error: Option<Error>) {
        state.ended = true;
        if state.failed.is_none() {
            state.failed = error;
        }
        self.changed.notify_all();
    }

    // A panic elsewhere is told by `end_on_panic`; what the lock guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
