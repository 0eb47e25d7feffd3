//! A guest from its start to its end: what it says is followed, and what it will never say is told.
//!
//! ```text
//! report.log ─┬─ unpacked so many bytes ─► told to the monitor; the time begins anew
//!             ├─ done ───────────────────► waited for until it is off
//!             └─ failed ─────────────────► the error
//! console.log ─ a panic ─────────────────► the error, with the console's last lines
//! QEMU ────────┬ ended ──────────────────► the error
//!              ├ at rest ────────────────► it hangs
//!              └ at work without a word for long ► it is lost
//! ```
//! No clock ends a guest that gets on, however slow the machine is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::machine::{CONSOLE, Machine, REPORT};
use super::order::Said;
use crate::error::{Advise, Context, Error, bail, err};
use crate::monitor::{Monitor, Stage};
use crate::printable::printable;
use crate::qemu::{Deadline, Idle};

/// How often it is looked what the guest says.
const LOOK: Duration = Duration::from_millis(20);
/// Work without a word, less what others took of the processor. Small steps are told, and each takes seconds at most.
const SILENT: Duration = Duration::from_secs(900);
/// A guest that could work and does not, for so long, waits for something that will not come.
const AT_REST: Duration = Duration::from_secs(60);
/// What one guest says at most, in bytes.
const LIMIT: u64 = 64 << 20;
/// Lines of the console that are shown.
const TAIL: usize = 12;
/// Of those behind a panic.
const AFTERMATH: usize = 3;
/// What of the console they are looked for in, in bytes.
const TAIL_BYTES: usize = 16 << 10;
/// What begins the kernel's last words.
const PANIC: &str = "Kernel panic - not syncing";

/// What came of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// From the start of QEMU to the first word of process 1.
    pub(super) began: Duration,
    pub(super) removed: u64,
    pub(super) unpacked: u64,
}

/// Waits for the guest in `machine`, which writes into `folder`, to come to its end.
///
/// # Errors
/// What it failed at, as a [`Fault`](super::Fault); if it panics, hangs, or ends without a word; if the work is stopped.
pub(super) fn watch(machine: &mut Machine, folder: &Path, monitor: Monitor<'_>) -> crate::Result<Ended> {
    let stage = monitor.stage("change files in a guest");
    let pid = machine.pid();
    let mut guest = Guest {
        console: Log::new(folder.join(CONSOLE)),
        report: Log::new(folder.join(REPORT)),
        pid,
        started: Instant::now(),
        began: None,
        deadline: Deadline::new(pid, SILENT),
        rest: Idle::new(pid),
    };
    let ended = guest.watch(machine, &stage)?;
    stage.done();
    Ok(ended)
}

struct Guest {
    console: Log,
    report: Log,
    /// QEMU's.
    pid: u32,
    started: Instant,
    began: Option<Duration>,
    deadline: Deadline,
    rest: Idle,
}

impl Guest {
    fn watch(&mut self, machine: &mut Machine, stage: &Stage<'_>) -> crate::Result<Ended> {
        let mut done = None;
        loop {
            // In this order: what was said before the end is there then.
            let has_ended = machine.ended()?.is_some();
            let has_spoken = self.console.follow()? | self.report.follow()?;
            while let Some(line) = self.report.line() {
                match serde_json::from_slice(&line) {
                    Ok(Said::Began) => self.began = Some(self.started.elapsed()),
                    Ok(Said::Unpacked(_)) => {}
                    Ok(Said::Done { removed, unpacked }) => {
                        let began = self.began.unwrap_or_default();
                        done = Some(Ended { began, removed, unpacked });
                    }
                    Ok(Said::Failed(fault)) => return Err(fault.into_error()),
                    Err(_) => bail!("the guest says what is not understood: {}", shown(&line)),
                }
            }
            if let Some(ended) = done.filter(|_| has_ended) {
                return Ok(ended);
            }
            if self.console.has(PANIC) {
                // What comes behind the first words tells why; QEMU ends then.
                while machine.ended()?.is_none() && !self.rest_is_over(stage, false)? {}
                self.console.follow()?;
                return Err(self.with_last_words(err!("the image's kernel panics in the guest")));
            }
            if has_ended {
                let error = err!("the guest ended without a word (QEMU: {})", machine.complaint());
                return Err(self.with_last_words(error));
            }
            if self.rest_is_over(stage, has_spoken)? {
                return match done {
                    // It has unmounted everything, and does not find the switch.
                    Some(ended) => Ok(ended),
                    None => Err(self.with_last_words(err!("the guest hangs"))),
                };
            }
        }
    }

    /// Waits a little; whether the guest rests, or works without a word, for too long.
    fn rest_is_over(&mut self, stage: &Stage<'_>, has_spoken: bool) -> crate::Result<bool> {
        if has_spoken {
            self.deadline = Deadline::new(self.pid, SILENT);
        }
        self.rest.observe(has_spoken);
        stage.check()?;
        let awaited =
            if self.began.is_some() { "the guest to unpack the changes" } else { "the guest's kernel" };
        stage.waiting(awaited, self.deadline.spent(), self.deadline.limit());
        std::thread::sleep(LOOK);
        Ok(self.rest.time() >= AT_REST || self.deadline.is_over())
    }

    fn with_last_words(&self, error: Error) -> Error {
        let words = self.console.tail();
        match words.is_empty() {
            true => error,
            false => error.with_hint(format!("what its console said last:\n{}", words.join("\n"))),
        }
    }
}

/// A file that grows.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    read: u64,
    /// Of a line that has no end yet, and what is behind it.
    rest: Vec<u8>,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new() }
    }

    /// Reads what is new; whether there was anything.
    fn follow(&mut self) -> crate::Result<bool> {
        // QEMU makes it.
        let Ok(file) = File::open(&self.path) else { return Ok(false) };
        let before = self.read;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = file.read_at(&mut buffer, self.read).context("reading what the guest says")?;
            self.read += len as u64;
            self.rest.extend_from_slice(&buffer[..len]);
            if self.read > LIMIT {
                return Err(err!("the guest says more than {LIMIT} bytes")).hint(|| "it may be in a loop");
            }
            if len == 0 {
                return Ok(self.read > before);
            }
        }
    }

    /// The next whole line, without blanks around it.
    fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(line.to_vec());
            }
        }
    }

    /// Whether these words were said.
    fn has(&self, words: &str) -> bool {
        self.rest.windows(words.len()).any(|own| own == words.as_bytes())
    }

    /// The last lines, escaped; of a panic those that led to it, for the traces behind it tell less.
    fn tail(&self) -> Vec<String> {
        let from = self.rest.len().saturating_sub(TAIL_BYTES);
        let lines: Vec<String> = self.rest[from..]
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .map(|line| shown(line.trim_ascii()))
            .filter(|line| !line.is_empty())
            .collect();
        let panic = lines.iter().position(|line| line.contains(PANIC));
        let end = panic.map_or(lines.len(), |at| lines.len().min(at + 1 + AFTERMATH));
        lines[end.saturating_sub(TAIL)..end].to_vec()
    }
}

fn shown(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::new(path.clone());
        assert!(!log.follow().unwrap() && log.line().is_none() && log.tail().is_empty());
        std::fs::write(&path, "\r\none\r\ntw").unwrap();
        assert!(log.follow().unwrap());
        assert_eq!((log.line().as_deref(), log.line()), (Some(b"one".as_slice()), None));
        std::fs::write(&path, "\r\none\r\ntwo\nKernel panic - not\u{1b} syncing\nend").unwrap();
        assert!(log.follow().unwrap() && !log.follow().unwrap());
        assert!(log.has("two") && !log.has(PANIC));
        let tail = log.tail();
        assert_eq!((tail.len(), tail[0].as_str(), tail[2].as_str()), (3, "two", "end"));
        assert!(!tail[1].contains('\u{1b}'));
        let traces = "trace\n".repeat(40);
        std::fs::write(&path, format!("why\nKernel panic - not syncing: it\n{traces}")).unwrap();
        let mut log = Log::new(path);
        assert!(log.follow().unwrap());
        assert_eq!(log.tail(), ["why", "Kernel panic - not syncing: it", "trace", "trace", "trace"]);
    }
}
