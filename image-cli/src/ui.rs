//! All the talking: data to standard output, everything else to standard error.
//!
//! ```text
//!                 terminal            pipe              --progress=json              --quiet
//! stage           ✓ name   12.3 s     name … 12.3 s     {"stage":…,"seconds":…}      –
//! waiting         beside the name     a line each 30 s  {"stage":…,"for":…}          –
//! bytes           a bar               a line each 10 %  {"bytes":…,"total":…}        –
//! note, warning   text                text              {"note":…}                   warnings only
//! error           text                text              text                         text
//! data            on standard output, whatever is said beside it
//! verdict         on standard output, as data                                        –
//! ```
//!
//! Data is what a command is called for: a list, a digest, an id, JSON. A verdict is what its exit code tells too.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use goldimg::mistake::Severity;
use goldimg::monitor::Bytes;
use goldimg::{Event, Monitor, Reporter};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{ProgressMode, Talk};
use crate::interrupt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Terminal,
    Plain,
    Json,
    Quiet,
}

/// Where and how to talk.
#[derive(Debug)]
pub(crate) struct Ui {
    mode: Mode,
    /// Whether the exit code is verdict enough.
    quiet: bool,
    state: Mutex<State>,
}

/// What was told last.
#[derive(Debug, Default)]
struct State {
    /// The bar on the screen: lines are written above it.
    bar: Option<ProgressBar>,
    /// When a stage began, or was last said to wait.
    waiting: Option<Instant>,
    /// How many tenths of all bytes were told.
    tenths: u64,
}

/// How often it is said what is waited for, where that makes a line each.
const WAITING_INTERVAL: Duration = Duration::from_secs(30);

impl Ui {
    pub(crate) fn new(talk: &Talk) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let mode = match talk.progress {
            _ if talk.quiet => Mode::Quiet,
            ProgressMode::None => Mode::Quiet,
            ProgressMode::Json => Mode::Json,
            ProgressMode::Auto if terminal => Mode::Terminal,
            ProgressMode::Auto | ProgressMode::Plain => Mode::Plain,
        };
        Self { mode, quiet: talk.quiet, state: Mutex::default() }
    }

    /// Whether nothing but errors and data is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// For work of the engine: it tells here, and signals stop it.
    pub(crate) fn monitor(&self) -> Monitor<'_> {
        Monitor::new(self, interrupt::token())
    }

    /// Begins counting `total` bytes of `what`.
    pub(crate) fn bytes(&self, what: &str, total: u64) -> Bytes<'_> {
        self.monitor().bytes(what, total)
    }

    /// Writes to standard output, as text, what the exit code tells too.
    pub(crate) fn verdict(&self, text: &str) -> std::io::Result<()> {
        if self.quiet { Ok(()) } else { self.data(text.as_bytes()) }
    }

    /// Writes data to standard output. A reader that went away is not a failure: it has read enough.
    pub(crate) fn data(&self, bytes: &[u8]) -> std::io::Result<()> {
        is_wanted(anstream::stdout().lock(), bytes).map(drop)
    }

    /// Writes data to standard output as it is, whatever a terminal makes of it. Whether the reader is still there.
    pub(crate) fn data_wanted(&self, bytes: &[u8]) -> std::io::Result<bool> {
        is_wanted(std::io::stdout().lock(), bytes)
    }

    /// Writes a line of text to standard output.
    pub(crate) fn line(&self, text: &str) -> std::io::Result<()> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Writes a value to standard output as JSON.
    pub(crate) fn json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        Ok(self.data(text.as_bytes())?)
    }

    /// Says something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => self.event(&serde_json::json!({ "note": text })),
            Mode::Terminal | Mode::Plain => self.say(text),
        }
    }

    /// Says something that may be a mistake.
    pub(crate) fn warning(&self, text: &str) {
        match self.mode {
            Mode::Json => self.event(&serde_json::json!({ "warning": text })),
            _ => self.say(&format!("\x1b[33mwarning:\x1b[0m {text}")),
        }
    }

    /// Says why the program fails.
    pub(crate) fn error(&self, text: &str) {
        match self.mode {
            Mode::Json => self.event(&match text.split_once("\n\nhint: ") {
                Some((error, hint)) => serde_json::json!({ "error": error, "hint": hint }),
                None => serde_json::json!({ "error": text }),
            }),
            _ => self.say(&format!("\x1b[31merror:\x1b[0m {text}")),
        }
    }

    /// Shows a mistake of the user's, or what may be one, rendered with its place.
    fn mistake(&self, severity: Severity, rendered: &str) {
        match (self.mode, severity) {
            (Mode::Json, Severity::Error) => self.event(&serde_json::json!({ "mistake": plain(rendered) })),
            (Mode::Json, Severity::Warning) => self.event(&serde_json::json!({ "warning": plain(rendered) })),
            _ => self.say(&format!("{rendered}\n")),
        }
    }

    fn stage_begun(&self, name: &str) {
        self.state().waiting = Some(Instant::now());
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => self.event(&serde_json::json!({ "stage": name, "state": "started" })),
            Mode::Plain => self.say(&format!("{name} …")),
            Mode::Terminal => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
                    bar.set_style(style);
                }
                bar.set_message(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                self.show(Some(bar));
            }
        }
    }

    fn stage_waiting(&self, name: &str, what: &str, spent: Duration, limit: Duration) {
        let mut state = self.state();
        if self.mode == Mode::Terminal
            && let Some(bar) = &state.bar
        {
            bar.set_message(format!("{name}: waiting for {what}"));
        }
        if state.waiting.is_some_and(|told| told.elapsed() < WAITING_INTERVAL) {
            return;
        }
        state.waiting = Some(Instant::now());
        drop(state);
        let (spent, limit) = (spent.as_secs(), limit.as_secs());
        match self.mode {
            Mode::Quiet | Mode::Terminal => {}
            Mode::Json => self.event(&serde_json::json!({
                "stage": name, "state": "waiting", "for": what, "seconds": spent, "limit": limit
            })),
            Mode::Plain => {
                self.say(&format!("{name}: waiting for {what} ({spent} s of at most {limit} s)"));
            }
        }
    }

    fn stage_ended(&self, name: &str, passed: bool, took: Duration) {
        self.show(None);
        let seconds = took.as_secs_f64();
        let (state, mark) = match passed {
            true => ("done", "\x1b[32m✓\x1b[0m"),
            false => ("failed", "\x1b[31m✗\x1b[0m"),
        };
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => self.event(&serde_json::json!({
                "stage": name, "state": state, "seconds": (seconds * 1000.0).round() / 1000.0
            })),
            Mode::Plain => self.say(&format!("{name} {state}, {seconds:.1} s")),
            Mode::Terminal => self.say(&format!("{mark} {name:<50} {seconds:>7.1} s")),
        }
    }

    fn bytes_begun(&self, what: &str, total: u64) {
        self.state().tenths = 0;
        if self.mode == Mode::Terminal {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            let template = "{msg}  [{wide_bar}] {percent:>3} %  {bytes_per_sec}  {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.to_owned());
            self.show(Some(bar));
        }
    }

    fn bytes_done(&self, what: &str, done: u64, total: u64) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Terminal => {
                if let Some(bar) = &self.state().bar {
                    bar.set_position(done);
                }
            }
            Mode::Plain | Mode::Json => {
                let tenths = (u128::from(done) * 10 / u128::from(total.max(1))) as u64;
                let mut state = self.state();
                if state.tenths >= tenths {
                    return;
                }
                state.tenths = tenths;
                drop(state);
                match self.mode {
                    Mode::Json => {
                        self.event(&serde_json::json!({ "what": what, "bytes": done, "total": total }));
                    }
                    _ => self.say(&format!("{what} {} %", tenths * 10)),
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, bar: Option<ProgressBar>) {
        let mut state = self.state();
        if let Some(old) = state.bar.take() {
            old.finish_and_clear();
        }
        state.bar = bar;
    }

    /// Writes a line above the bar. Nothing can be done where standard error is closed.
    fn say(&self, text: &str) {
        let write = || drop(writeln!(anstream::stderr().lock(), "{text}"));
        let bar = self.state().bar.clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn event(&self, event: &serde_json::Value) {
        self.say(&event.to_string());
    }
}

impl Reporter for Ui {
    fn report(&self, event: &Event<'_>) {
        match *event {
            Event::StageBegun { stage } => self.stage_begun(stage),
            Event::StageWaiting { stage, what, spent, limit } => {
                self.stage_waiting(stage, what, spent, limit)
            }
            Event::StageEnded { stage, passed, took } => self.stage_ended(stage, passed, took),
            Event::BytesBegun { what, total } => self.bytes_begun(what, total),
            Event::BytesDone { what, done, total } => self.bytes_done(what, done, total),
            Event::BytesEnded { .. } => self.show(None),
            Event::Note(text) => self.note(text),
            Event::Warning(text) => self.warning(text),
            Event::Mistake(mistake) => self.mistake(mistake.severity, &mistake.rendered),
            // An engine that tells more than this program knows.
            _ => {}
        }
    }
}

/// Writes `bytes`; whether the reader was there. One that went away is not a failure.
fn is_wanted(mut out: impl Write, bytes: &[u8]) -> std::io::Result<bool> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// The text without its colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
