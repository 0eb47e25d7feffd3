//! How long to wait for a guest: time that a busy machine kept from it does not count.

use std::fs;
use std::time::{Duration, Instant};

/// However busy the machine is, after this many times the limit it is enough.
const AT_MOST: u32 = 4;

/// A limit for one process, from now on.
#[derive(Debug)]
pub(crate) struct Deadline {
    pid: u32,
    limit: Duration,
    started: Instant,
    /// What the process had waited for a processor when the limit began.
    delayed: Duration,
}

impl Deadline {
    /// Waits for process `pid` during `limit`.
    pub(crate) fn new(pid: u32, limit: Duration) -> Self {
        Self { pid, limit, started: Instant::now(), delayed: delay(pid) }
    }

    pub(crate) fn is_over(&self) -> bool {
        let elapsed = self.started.elapsed();
        elapsed > self.limit && (elapsed > self.limit * AT_MOST || self.spent() > self.limit)
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The time that passed, less the time that the process waited for a processor.
    pub(crate) fn spent(&self) -> Duration {
        self.started.elapsed().saturating_sub(delay(self.pid).saturating_sub(self.delayed))
    }
}

/// How long the busiest thread of the process was ready to run and had no processor: a guest with one processor is
/// one thread. Zero where the kernel does not count it.
pub(crate) fn delay(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let counters = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        parse(&text)
    });
    counters.max().map_or(Duration::ZERO, |(_, waited)| waited)
}

/// The time on a processor and the time waiting for one (Documentation/scheduler/sched-stats.rst).
fn parse(schedstat: &str) -> Option<(Duration, Duration)> {
    let mut numbers = schedstat.split_ascii_whitespace().map_while(|number| number.parse().ok());
    Some((Duration::from_nanos(numbers.next()?), Duration::from_nanos(numbers.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_read() {
        let ns = Duration::from_nanos;
        assert_eq!(parse("46876410 18692275 164\n"), Some((ns(46_876_410), ns(18_692_275))));
        assert_eq!(parse("0 55142 1"), Some((ns(0), ns(55142))));
        assert_eq!(parse(""), None);
        assert_eq!(parse("12"), None);
    }

    #[test]
    fn waiting_ends() {
        let pid = std::process::id();
        assert!(!Deadline::new(pid, Duration::from_secs(3600)).is_over());
        // A limit of nothing is over as soon as any time was spent.
        let none = Deadline::new(u32::MAX, Duration::ZERO);
        while none.spent().is_zero() {}
        assert!(none.is_over());
    }
}
