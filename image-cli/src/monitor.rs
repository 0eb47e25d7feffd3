//! What long work tells while it goes on, and how it is asked to stop.
//!
//! ```text
//! work ── Stage, Bytes, note, warning ──► Monitor ── Event ──► Reporter: a terminal, plain lines, JSON lines, a test's list
//!  ▲                                         │
//!  └───────────── check ◄── CancellationToken ◄── cancel: from any thread, or a signal's handler
//! ```

mod recorder;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image_core::progress::Progress;

use crate::error::{Error, Result};
use crate::mistake::Mistake;

pub use recorder::Recorder;

/// Something that long work tells.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of the work begins. There is one at a time.
    StageBegun {
        /// What is done, as "make the disk".
        stage: &'a str,
    },
    /// It waits for something outside.
    StageWaiting {
        /// As it began.
        stage: &'a str,
        /// What is waited for.
        what: &'a str,
        /// For how long by now.
        spent: Duration,
        /// For how long at most.
        limit: Duration,
    },
    /// It is over.
    StageEnded {
        /// As it began.
        stage: &'a str,
        /// Whether it went well.
        passed: bool,
        /// How long it took.
        took: Duration,
    },
    /// Bytes begin to be counted. There is one count at a time.
    BytesBegun {
        /// What is done with them, as "converting".
        what: &'a str,
        /// How many there will be.
        total: u64,
    },
    /// More of them are done. Told from any thread, so a smaller count may follow a larger one.
    BytesDone {
        /// As it began.
        what: &'a str,
        /// How many by now.
        done: u64,
        /// How many there will be.
        total: u64,
    },
    /// No more of them will be counted.
    BytesEnded {
        /// As it began.
        what: &'a str,
    },
    /// Something worth knowing.
    Note(&'a str),
    /// Something that may be a mistake.
    Warning(&'a str),
    /// What is wrong with a recipe, or may be, and where.
    Mistake(&'a Mistake),
}

/// Hears what long work tells. It is called from any of the work's threads, and holds the work up for as long as it takes.
pub trait Reporter: Send + Sync {
    /// Takes an event.
    fn report(&self, event: &Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: &Event<'_>) {}
}

/// Asks work to stop. Clones are one token: what was cancelled stays so.
#[derive(Debug, Clone, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all work that has this token to stop, clean up, and fail with [`ErrorKind::Cancelled`](crate::ErrorKind).
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if somebody asked.
    ///
    /// # Errors
    /// Of the kind [`ErrorKind::Cancelled`](crate::ErrorKind).
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// The flag itself, for a signal's handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Where long work tells, and what may ask it to stop.
#[derive(Clone, Copy)]
pub struct Monitor<'a> {
    reporter: &'a dyn Reporter,
    cancel: &'a CancellationToken,
}

impl fmt::Debug for Monitor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("cancel", self.cancel).finish_non_exhaustive()
    }
}

impl<'a> Monitor<'a> {
    /// Tells `reporter`, until `cancel` is cancelled.
    pub fn new(reporter: &'a dyn Reporter, cancel: &'a CancellationToken) -> Self {
        Self { reporter, cancel }
    }

    /// One that the same token stops, and nobody hears: for work that is a small part of what is told already.
    pub(crate) fn unheard(&self) -> Self {
        Self { reporter: &Silent, ..*self }
    }

    /// Who is told.
    pub fn reporter(&self) -> &'a dyn Reporter {
        self.reporter
    }

    /// The token.
    pub fn cancel(&self) -> &'a CancellationToken {
        self.cancel
    }

    /// Fails if the work was asked to stop.
    ///
    /// # Errors
    /// Of the kind [`ErrorKind::Cancelled`](crate::ErrorKind).
    pub fn check(&self) -> Result<()> {
        self.cancel.check()
    }

    /// Says something worth knowing.
    pub fn note(&self, text: &str) {
        self.reporter.report(&Event::Note(text));
    }

    /// Says something that may be a mistake.
    pub fn warning(&self, text: &str) {
        self.reporter.report(&Event::Warning(text));
    }

    /// Shows what is wrong with a recipe, or may be.
    pub fn mistake(&self, mistake: &Mistake) {
        self.reporter.report(&Event::Mistake(mistake));
    }

    /// Begins a stage; it ends when [`Stage::done`] is called, or fails when dropped before.
    pub fn stage(&self, name: &str) -> Stage<'a> {
        self.reporter.report(&Event::StageBegun { stage: name });
        Stage { monitor: *self, name: name.to_owned(), begun: Instant::now(), passed: false }
    }

    /// Begins counting `total` bytes of `what`.
    pub fn bytes(&self, what: &str, total: u64) -> Bytes<'a> {
        self.reporter.report(&Event::BytesBegun { what, total });
        Bytes { monitor: *self, what: what.to_owned(), total, done: AtomicU64::new(0) }
    }
}

/// A part of long work.
#[derive(Debug)]
pub struct Stage<'a> {
    monitor: Monitor<'a>,
    name: String,
    begun: Instant,
    passed: bool,
}

impl Stage<'_> {
    /// Says what is waited for, since when and until when; to be called as often as one likes.
    pub fn waiting(&self, what: &str, spent: Duration, limit: Duration) {
        self.monitor.reporter.report(&Event::StageWaiting { stage: &self.name, what, spent, limit });
    }

    /// The token.
    pub fn cancel(&self) -> &CancellationToken {
        self.monitor.cancel
    }

    /// Fails if the work was asked to stop.
    ///
    /// # Errors
    /// Of the kind [`ErrorKind::Cancelled`](crate::ErrorKind).
    pub fn check(&self) -> Result<()> {
        self.monitor.check()
    }

    /// It went well.
    pub fn done(mut self) {
        self.passed = true;
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let (stage, took) = (self.name.as_str(), self.begun.elapsed());
        self.monitor.reporter.report(&Event::StageEnded { stage, passed: self.passed, took });
    }
}

/// Bytes of long work, counted from any thread.
#[derive(Debug)]
pub struct Bytes<'a> {
    monitor: Monitor<'a>,
    what: String,
    total: u64,
    done: AtomicU64,
}

impl Bytes<'_> {
    /// `count` more are done.
    pub fn add(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        self.monitor.reporter.report(&Event::BytesDone { what: &self.what, done, total: self.total });
    }
}

/// The token stops whatever is counted.
impl Progress for Bytes<'_> {
    fn advance(&self, bytes: u64) {
        self.add(bytes);
    }

    fn is_cancelled(&self) -> bool {
        self.monitor.cancel.is_cancelled()
    }
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        self.monitor.reporter.report(&Event::BytesEnded { what: &self.what });
    }
}

/// A monitor that nobody hears, for tests.
#[cfg(test)]
pub(crate) fn silent() -> Monitor<'static> {
    static NEVER: std::sync::LazyLock<CancellationToken> = std::sync::LazyLock::new(CancellationToken::new);
    Monitor::new(&Silent, &NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_begins_ends_and_a_cancelled_token_stops_all_of_it() {
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        let monitor = Monitor::new(&recorder, &cancel);
        monitor.stage("seal").done();
        let lost = monitor.stage("disk");
        let bytes = monitor.bytes("writing", 10);
        bytes.advance(3);
        bytes.advance(4);
        assert!(!bytes.is_cancelled() && lost.check().is_ok());
        monitor.unheard().note("nobody hears this");
        cancel.clone().cancel();
        assert!(bytes.is_cancelled() && cancel.flag().load(Ordering::Relaxed));
        assert_eq!(lost.check().unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(monitor.unheard().check().unwrap_err().kind(), ErrorKind::Cancelled);
        drop(bytes);
        drop(lost);
        assert_eq!(
            recorder.told(),
            [
                "stage begun: seal",
                "stage done: seal",
                "stage begun: disk",
                "bytes begun: writing: 0 of 10",
                "bytes done: writing: 3 of 10",
                "bytes done: writing: 7 of 10",
                "bytes ended: writing",
                "stage failed: disk",
            ]
        );
    }
}
