//! Being told how far the work is, and saying when to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Told of bytes; never prints. Called from several threads, every few hundred kilobytes.
pub trait Progress: Sync {
    /// `bytes` more of the source are done, zeroes and holes among them.
    fn advance(&self, bytes: u64);

    /// Whether to stop as soon as possible.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl Progress for () {
    fn advance(&self, _bytes: u64) {}
}

/// Counts, and stops the work when the flag is set: what a signal handler or another thread needs.
#[derive(Debug, Default)]
pub struct Counter {
    done: AtomicU64,
    cancelled: AtomicBool,
}

impl Counter {
    /// How many bytes are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Progress for Counter {
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
