//! Progress as `-p` shows it: a line that is written over and over, on standard output.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use image_core::progress::Progress;

/// It is told again after so many ten-thousandths more.
const STEP: u64 = 200;

/// A share of the work in percent, if that is asked for.
#[derive(Debug)]
pub(super) struct Percent {
    shown: bool,
    total: u64,
    done: AtomicU64,
    /// What was told last, in ten-thousandths.
    told: AtomicU64,
}

impl Percent {
    /// Begins, of `total` bytes.
    pub(super) fn start(shown: bool, total: u64) -> Self {
        let percent = Self { shown, total, done: AtomicU64::new(0), told: AtomicU64::new(0) };
        percent.tell(0);
        percent
    }

    /// All of it is done.
    pub(super) fn complete(&self) {
        self.tell(10_000);
    }

    /// Ends the line.
    pub(super) fn end(&self) {
        self.write("\n");
    }

    fn tell(&self, share: u64) {
        self.write(&format!("    ({}.{:02}/100%)\r", share / 100, share % 100));
    }

    /// Nothing can be done where standard output is closed.
    fn write(&self, text: &str) {
        if self.shown {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Progress for Percent {
    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let share = (u128::from(done) * 10_000 / u128::from(self.total.max(1))) as u64;
        let told = self.told.load(Ordering::Relaxed);
        if share >= told + STEP && self.told.fetch_max(share, Ordering::Relaxed) == told {
            self.tell(share.min(10_000));
        }
    }
}
