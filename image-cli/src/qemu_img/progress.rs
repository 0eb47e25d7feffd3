//! Progress as `-p` shows it: a line that is written over and over, on standard output. Without `-p` a line on standard
//! error tells of it whenever the signal SIGUSR1 asks.
//!
//! ```text
//! start or ready ─► of(bytes) ─► advance … ─► complete ─► the line ends, whatever became of the work
//! ```

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use image_core::progress::Progress;
use signal_hook::consts::SIGUSR1;

use super::say;

/// It is told again after so many ten-thousandths more.
const STEP: u64 = 200;

/// A share of the work in percent, if that is asked for. The line ends with it, after a failure too.
#[derive(Debug)]
pub(super) struct Percent {
    shown: bool,
    total: u64,
    done: AtomicU64,
    /// What was told last, in ten-thousandths.
    told: AtomicU64,
    /// Whether a signal asks for it.
    asked: Arc<AtomicBool>,
}

impl Percent {
    /// Begins, and says so; what there is to do is not known yet.
    pub(super) fn start(shown: bool) -> Self {
        let percent = Self::ready(shown);
        percent.tell(0);
        percent
    }

    /// The same, without saying so.
    pub(super) fn ready(shown: bool) -> Self {
        let asked = Arc::default();
        if !shown {
            // Where it cannot be listened to it ends the program, as any signal.
            let _ = signal_hook::flag::register(SIGUSR1, Arc::clone(&asked));
        }
        Self { shown, total: 1, done: AtomicU64::new(0), told: AtomicU64::new(0), asked }
    }

    /// There are `total` bytes to do, and none is done.
    pub(super) fn of(&mut self, total: u64) {
        self.total = total.max(1);
        self.tell(0);
    }

    /// All of it is done.
    pub(super) fn complete(&self) {
        self.tell(10_000);
    }

    fn tell(&self, share: u64) {
        self.write(&format!("{}\r", shown(share)));
    }

    /// Nothing can be done where standard output is closed.
    fn write(&self, text: &str) {
        if self.shown {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

/// A share in ten-thousandths.
fn shown(share: u64) -> String {
    format!("    ({}.{:02}/100%)", share / 100, share % 100)
}

impl Drop for Percent {
    fn drop(&mut self) {
        self.write("\n");
    }
}

impl Progress for Percent {
    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let share = (u128::from(done) * 10_000 / u128::from(self.total)) as u64;
        if self.asked.swap(false, Ordering::Relaxed) {
            say(&format!("{}\n", shown(share.min(10_000))));
        }
        let told = self.told.load(Ordering::Relaxed);
        if share >= told + STEP && self.told.fetch_max(share, Ordering::Relaxed) == told {
            self.tell(share.min(10_000));
        }
    }
}
