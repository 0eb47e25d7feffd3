//! How much is told where each thing that is told makes a line.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is said what is waited for.
const WAITING_INTERVAL: Duration = Duration::from_secs(30);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    /// When a stage began, or was last said to wait.
    waiting: Option<Instant>,
    /// How many tenths of all bytes.
    tenths: u64,
}

impl Pace {
    /// A stage begins.
    pub(super) fn stage_begun(&self) {
        self.last().waiting = Some(Instant::now());
    }

    /// Whether it is time to say that it waits.
    pub(super) fn may_say_waiting(&self) -> bool {
        let mut last = self.last();
        let early = last.waiting.is_some_and(|before| before.elapsed() < WAITING_INTERVAL);
        if !early {
            last.waiting = Some(Instant::now());
        }
        !early
    }

    /// Bytes begin to be counted.
    pub(super) fn bytes_begun(&self) {
        self.last().tenths = 0;
    }

    /// How many tenths of `total` bytes are done, if that are more than were told.
    pub(super) fn tenths(&self, done: u64, total: u64) -> Option<u64> {
        let tenths = (u128::from(done) * 10 / u128::from(total.max(1))) as u64;
        let mut last = self.last();
        let more = tenths > last.tenths;
        last.tenths = last.tenths.max(tenths);
        more.then_some(tenths)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_told_once_and_a_stage_that_has_just_begun_does_not_wait() {
        let pace = Pace::default();
        pace.stage_begun();
        assert!(!pace.may_say_waiting());
        for _ in 0..2 {
            pace.bytes_begun();
            let told: Vec<u64> = (0..=100).filter_map(|done| pace.tenths(done, 100)).collect();
            assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        }
        assert!(Pace::default().may_say_waiting());
        assert_eq!(Pace::default().tenths(0, 0), None);
    }
}
