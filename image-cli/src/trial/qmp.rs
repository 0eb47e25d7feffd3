//! QEMU's control channel on its standard input and output: commands, answers, events.
//!
//! ```text
//! {"execute": "system_powerdown"}  ─►
//!                                  ◄─  {"return": {}}
//!                                  ◄─  {"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}
//! ```
//! The QEMU QMP Reference Manual; one JSON object a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Context, Result, bail, err};
use crate::monitor::CancellationToken;

/// QEMU answers at once, or it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The longest line that is read: answers here are a few thousand bytes.
const LINE_LIMIT: u64 = 4 << 20;

/// Something that happened to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It switched itself off.
    PoweredOff,
    /// It began anew.
    Reset,
}

/// The channel, after the greeting.
#[derive(Debug)]
pub(super) struct Qmp {
    commands: ChildStdin,
    lines: Receiver<Value>,
    events: Vec<Event>,
    cancel: CancellationToken,
}

impl Qmp {
    /// Negotiates with a QEMU that was just started.
    pub(super) fn new(commands: ChildStdin, answers: ChildStdout, cancel: CancellationToken) -> Result<Self> {
        let (sender, lines) = channel();
        // Ends with QEMU, whose end of the pipe is then closed.
        std::thread::spawn(move || {
            let mut reader = BufReader::new(answers);
            let mut line = Vec::new();
            while reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                let Ok(value) = serde_json::from_slice(&line) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let mut qmp = Self { commands, lines, events: Vec::new(), cancel };
        let greeting = qmp.line()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greets with {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and waits for its answer.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.commands.write_all(line.as_bytes()).context("telling QEMU what to do")?;
        loop {
            let mut line = self.line()?;
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = line.get("error") {
                let words = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(err!("{words}").context(format!("QEMU refuses {command}")));
            }
            self.keep(&line);
        }
    }

    /// What happened since the last call.
    pub(super) fn events(&mut self) -> Vec<Event> {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(&line);
        }
        std::mem::take(&mut self.events)
    }

    fn line(&self) -> Result<Value> {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => bail!("QEMU has ended"),
                Err(RecvTimeoutError::Timeout) if started.elapsed() > ANSWER_LIMIT => {
                    bail!("QEMU does not answer")
                }
                Err(RecvTimeoutError::Timeout) => self.cancel.check()?,
            }
        }
    }

    fn keep(&mut self, line: &Value) {
        self.events.extend(event(line));
    }
}

/// The event in a line, if it is one that counts.
fn event(line: &Value) -> Option<Event> {
    let name = line.get("event")?.as_str()?;
    let reason = line.pointer("/data/reason").and_then(Value::as_str).unwrap_or_default();
    match (name, reason) {
        ("SHUTDOWN", "guest-reset") | ("RESET", "guest-reset") => Some(Event::Reset),
        ("SHUTDOWN", "guest-shutdown" | "guest-panic") => Some(Event::PoweredOff),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let of = |name: &str, reason: &str| {
            event(&json!({ "event": name, "data": { "guest": true, "reason": reason }, "timestamp": {} }))
        };
        assert_eq!(of("SHUTDOWN", "guest-shutdown"), Some(Event::PoweredOff));
        assert_eq!(of("SHUTDOWN", "guest-reset"), Some(Event::Reset));
        assert_eq!(of("SHUTDOWN", "host-qmp-quit"), None);
        assert_eq!(of("RTC_CHANGE", ""), None);
        assert_eq!(event(&json!({ "return": {} })), None);
    }
}
