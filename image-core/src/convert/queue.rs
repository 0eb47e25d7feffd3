//! The queue in which batches wait for their turn at the sink.
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

use super::batch::{self, Batch, Target};
use super::digests::Digests;
use super::planner::Planner;
use super::sink::Encoder;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What was done, in bytes of the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) read: u64,
    pub(super) stored: u64,
}

/// What all workers share.
pub(super) struct OrderedQueue<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
    target: Mutex<Target<'a>>,
    digests: &'a Digests<'a>,
    progress: &'a dyn Progress,
}

struct State<'a> {
    planner: Planner<'a>,
    /// How many batches may be taken before the first of them is committed.
    ahead: usize,
    /// How many workers wait for that.
    asleep: usize,
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

impl<'a> OrderedQueue<'a> {
    /// A queue from `planner` to `target` for one worker.
    pub(super) fn new(
        planner: Planner<'a>,
        target: Target<'a>,
        digests: &'a Digests<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        let state = State {
            planner,
            ahead: 1,
            asleep: 0,
            waiting: VecDeque::new(),
            committed: 0,
            committing: false,
            spare: Vec::new(),
            totals: Totals::default(),
            ended: false,
            failed: None,
        };
        let (state, target) = (Mutex::new(state), Mutex::new(target));
        Self { state, changed: Condvar::new(), target, digests, progress }
    }

    /// Whether there are more batches than those that were taken.
    pub(super) fn has_more(&self) -> bool {
        !self.lock().planner.is_done()
    }

    /// Makes room for so many workers; returns encoders for all but the first. After a failure none.
    pub(super) fn add_workers(&self, threads: usize) -> Vec<Option<Box<dyn Encoder>>> {
        let encoders: Result<Vec<_>> = {
            let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
            (1..threads).map(|_| target.encoder()).collect()
        };
        let mut state = self.lock();
        // Enough that one slow batch does not stop the others; few where batches are large.
        state.ahead =
            if state.planner.batch_len() > batch::BATCH_LEN { threads + 2 } else { 2 * threads + 4 };
        encoders.unwrap_or_else(|error| {
            self.end(&mut state, Some(error));
            Vec::new()
        })
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
            if state.waiting.len() < state.ahead {
                break;
            }
            state.asleep += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
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
    pub(super) fn complete(&self, ticket: u64, done: Result<Batch>) {
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
            if state.asleep > 0 && state.waiting.len() <= state.ahead / 2 {
                self.changed.notify_all();
            }
        }
        state.committing = false;
    }

    /// Gives one batch to the sink and the digests; returns it if it can be used again at once.
    fn put(&self, batch: Batch) -> Result<(Totals, Option<Batch>)> {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = batch.put_into(&mut target)?;
        let totals = Totals { read: batch.data.iter().map(|range| range.len()).sum(), stored };
        self.progress.advance(batch.range.len());
        Ok((totals, self.digests.feed(batch)))
    }

    /// What was done, when all workers are home.
    pub(super) fn finish(self) -> Result<Totals> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(state.failed.is_some() || state.waiting.is_empty(), "batches wait for ever");
        let totals = state.failed.map_or(Ok(state.totals), Err)?;
        self.target.into_inner().unwrap_or_else(PoisonError::into_inner).end()?;
        Ok(totals)
    }

    /// Ends the line if the thread panics while the returned value lives.
    pub(super) fn end_on_panic(&self) -> impl Drop {
        struct EndOnPanic<'b, 'a>(&'b OrderedQueue<'a>);
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
        if state.asleep > 0 {
            self.changed.notify_all();
        }
    }

    // A panic elsewhere is told by `end_on_panic`; what the lock guards is whole at any time.
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
