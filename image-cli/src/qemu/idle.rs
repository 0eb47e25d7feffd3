//! Has a guest come to rest? It could run and does next to nothing: what it was going to do by itself is done.
//!
//! ```text
//! time without what a busy machine kept from it   ├─ window ─┼─ window ─┼─ window ─┤
//! of which it worked                              │▓▓▓▓▓▓▓▓▓▓│▓░░░░░░░░░│▓░░░░░░░░░│
//! at rest for                                           0          5 s       10 s
//! ```
//! Measured by what QEMU takes of a processor, never by a clock alone: a guest that gets none is not at rest. A word on
//! the console ends a rest too.

use std::fs;
use std::time::{Duration, Instant};

use super::deadline;

/// Idle is counted in pieces of this length.
const WINDOW: Duration = Duration::from_secs(5);
/// A guest that idles takes up to a tenth of a processor when it is emulated; one that boots takes all of it.
const AT_MOST_PERCENT: u128 = 25;
/// What proc_pid_stat(5) counts in: USER_HZ, which is part of the kernel's interface.
const TICKS_A_SECOND: u64 = 100;

/// The rest of one process.
#[derive(Debug)]
pub(crate) struct Idle {
    pid: u32,
    window: Window,
    rest: Duration,
}

/// What the process had come to at one time.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    /// What it had waited for a processor, and what it had worked. Where the kernel does not tell, it never rests.
    delayed: Duration,
    worked: Option<Duration>,
}

impl Window {
    fn open(pid: u32) -> Self {
        Self { began: Instant::now(), delayed: deadline::delay(pid), worked: worked(pid) }
    }

    /// For how long the process could work from here to `end`, and whether it rested; `None` before that was long
    /// enough to tell.
    fn judge(&self, end: &Self) -> Option<(Duration, bool)> {
        let delayed = end.delayed.saturating_sub(self.delayed);
        let could = end.began.duration_since(self.began).saturating_sub(delayed);
        let rests = end.worked.zip(self.worked).is_some_and(|(end, begin)| {
            end.saturating_sub(begin).as_nanos() * 100 < could.as_nanos() * AT_MOST_PERCENT
        });
        (could >= WINDOW).then_some((could, rests))
    }
}

impl Idle {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, window: Window::open(pid), rest: Duration::ZERO }
    }

    /// Looks at the process; to be called more often than once in a window. `has_spoken` tells whether the guest said
    /// anything since the last call.
    pub(crate) fn observe(&mut self, has_spoken: bool) {
        if !has_spoken && self.window.began.elapsed() < WINDOW {
            return;
        }
        self.take(Window::open(self.pid), has_spoken);
    }

    fn take(&mut self, now: Window, has_spoken: bool) {
        if has_spoken {
            (self.rest, self.window) = (Duration::ZERO, now);
        } else if let Some((time, rests)) = self.window.judge(&now) {
            (self.rest, self.window) = (if rests { self.rest + time } else { Duration::ZERO }, now);
        }
    }

    /// For how long the process has been at rest.
    pub(crate) fn time(&self) -> Duration {
        self.rest
    }
}

/// How long all threads of the process, past ones included, have been on a processor.
fn worked(pid: u32) -> Option<Duration> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// utime and stime (proc_pid_stat(5), fields 14 and 15). The second field is a name in parentheses, with anything in it.
fn parse(stat: &str) -> Option<Duration> {
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split_ascii_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = fields.next()?.checked_add(fields.next()?)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / TICKS_A_SECOND)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 131 0 0 0 250 50 7 8 20 0 1 0 11 0 0 18446744073709551615";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("7 (a) S 1 7 7"), None);
        assert_eq!(parse(""), None);
        assert!(worked(std::process::id()).is_some());
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// What a process has come to after these seconds, of which it waited for a processor, and worked.
    fn after(begin: Window, passed: u64, delayed: u64, worked: u64) -> Window {
        Window {
            began: begin.began + seconds(passed),
            delayed: begin.delayed + seconds(delayed),
            worked: begin.worked.map(|before| before + seconds(worked)),
        }
    }

    #[test]
    fn who_could_work_and_does_not_is_at_rest() {
        let begin = Window::open(std::process::id());
        let judged = |passed, delayed, worked| begin.judge(&after(begin, passed, delayed, worked));
        assert_eq!(judged(10, 0, 1), Some((seconds(10), true)));
        assert_eq!(judged(10, 0, 5), Some((seconds(10), false)));
        // Too short to tell, however long it takes.
        assert_eq!(judged(4, 0, 0), None);
        assert_eq!(judged(100, 96, 0), None);
        // What it got of a busy machine it used.
        assert_eq!(judged(100, 90, 8), Some((seconds(10), false)));
        // Where nothing is counted, nobody is said to rest.
        let blind = Window { worked: None, ..begin };
        assert_eq!(blind.judge(&after(begin, 10, 0, 0)), Some((seconds(10), false)));
    }

    #[test]
    fn rest_adds_up_and_ends_with_work_or_a_word() {
        let mut rest = Idle::new(std::process::id());
        let mut take = |passed, worked, has_spoken| {
            rest.take(after(rest.window, passed, 0, worked), has_spoken);
            rest.time()
        };
        assert_eq!(take(5, 0, false), seconds(5));
        assert_eq!(take(1, 0, false), seconds(5));
        assert_eq!(take(6, 1, false), seconds(11));
        assert_eq!(take(5, 5, false), Duration::ZERO);
        assert_eq!(take(5, 0, false), seconds(5));
        assert_eq!(take(1, 0, true), Duration::ZERO);
        assert_eq!(take(4, 0, false), Duration::ZERO);
    }
}
