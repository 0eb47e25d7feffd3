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

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image_core::progress::Progress;
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
    /// The bar on the screen: lines are written above it.
    bar: Mutex<Option<ProgressBar>>,
}

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
        Self { mode, quiet: talk.quiet, bar: Mutex::new(None) }
    }

    /// Whether nothing but errors and data is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes to standard output, as text, what the exit code tells too.
    pub(crate) fn verdict(&self, text: &str) -> std::io::Result<()> {
        if self.quiet { Ok(()) } else { self.data(text.as_bytes()) }
    }

    /// Writes data to standard output. A reader that went away is not a failure: it has read enough.
    pub(crate) fn data(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
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

    /// Shows a mistake of the user's, rendered with its place.
    pub(crate) fn mistake(&self, rendered: &str) {
        match self.mode {
            Mode::Json => self.event(&serde_json::json!({ "mistake": plain(rendered) })),
            _ => self.say(&format!("{rendered}\n")),
        }
    }

    /// Shows what may be a mistake of the user's, rendered with its place.
    pub(crate) fn doubt(&self, rendered: &str) {
        match self.mode {
            Mode::Json => self.event(&serde_json::json!({ "warning": plain(rendered) })),
            _ => self.say(&format!("{rendered}\n")),
        }
    }

    /// Begins a stage; it ends when [`Stage::done`] is called, or fails when dropped before.
    pub(crate) fn stage(&self, name: &str) -> Stage<'_> {
        let now = Instant::now();
        let stage =
            Stage { ui: self, name: name.to_owned(), started: now, told: Cell::new(now), ended: false };
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
        stage
    }

    /// Begins counting `total` bytes of `what`.
    pub(crate) fn bytes(&self, what: &str, total: u64) -> Bytes<'_> {
        if self.mode == Mode::Terminal {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            let template = "{msg}  [{wide_bar}] {percent:>3} %  {bytes_per_sec}  {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.to_owned());
            self.show(Some(bar));
        }
        Bytes { ui: self, what: what.to_owned(), total, done: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    fn show(&self, bar: Option<ProgressBar>) {
        if let Ok(mut shown) = self.bar.lock() {
            if let Some(old) = shown.take() {
                old.finish_and_clear();
            }
            *shown = bar;
        }
    }

    /// Writes a line above the bar. Nothing can be done where standard error is closed.
    fn say(&self, text: &str) {
        let write = || drop(writeln!(anstream::stderr().lock(), "{text}"));
        match self.bar.lock().ok().and_then(|bar| bar.clone()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn event(&self, event: &serde_json::Value) {
        self.say(&event.to_string());
    }
}

/// The text without its colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// A part of long work, with a name and a duration.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    ui: &'a Ui,
    name: String,
    started: Instant,
    /// When it was said last what is waited for.
    told: Cell<Instant>,
    ended: bool,
}

/// How often it is said what is waited for, where that makes a line each.
const WAITING_INTERVAL: Duration = Duration::from_secs(30);

impl Stage<'_> {
    /// Says what is waited for, since when and until when; to be called as often as one likes.
    pub(crate) fn waiting(&self, what: &str, spent: Duration, limit: Duration) {
        if self.ui.mode == Mode::Terminal
            && let Ok(bar) = self.ui.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.set_message(format!("{}: waiting for {what}", self.name));
        }
        if self.told.get().elapsed() < WAITING_INTERVAL {
            return;
        }
        self.told.set(Instant::now());
        let (spent, limit) = (spent.as_secs(), limit.as_secs());
        match self.ui.mode {
            Mode::Quiet | Mode::Terminal => {}
            Mode::Json => self.ui.event(&serde_json::json!({
                "stage": self.name, "state": "waiting", "for": what, "seconds": spent, "limit": limit
            })),
            Mode::Plain => {
                self.ui.say(&format!("{}: waiting for {what} ({spent} s of at most {limit} s)", self.name));
            }
        }
    }

    /// It went well.
    pub(crate) fn done(mut self) {
        self.end("done", "\x1b[32m✓\x1b[0m");
    }

    fn end(&mut self, state: &str, mark: &str) {
        self.ended = true;
        self.ui.show(None);
        let seconds = self.started.elapsed().as_secs_f64();
        match self.ui.mode {
            Mode::Quiet => {}
            Mode::Json => self.ui.event(&serde_json::json!({
                "stage": self.name, "state": state, "seconds": (seconds * 1000.0).round() / 1000.0
            })),
            Mode::Plain => self.ui.say(&format!("{} {state}, {seconds:.1} s", self.name)),
            Mode::Terminal => self.ui.say(&format!("{mark} {:<50} {seconds:>7.1} s", self.name)),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end("failed", "\x1b[31m✗\x1b[0m");
        }
    }
}

/// Bytes of long work, counted from any thread.
#[derive(Debug)]
pub(crate) struct Bytes<'a> {
    ui: &'a Ui,
    what: String,
    total: u64,
    done: AtomicU64,
    told: AtomicU64,
}

impl Bytes<'_> {
    /// `count` more are done.
    pub(crate) fn add(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        match self.ui.mode {
            Mode::Quiet => {}
            Mode::Terminal => {
                if let Ok(bar) = self.ui.bar.lock()
                    && let Some(bar) = bar.as_ref()
                {
                    bar.set_position(done);
                }
            }
            Mode::Plain | Mode::Json => {
                let tenth = (u128::from(done) * 10 / u128::from(self.total.max(1))) as u64;
                if self.told.fetch_max(tenth, Ordering::Relaxed) < tenth {
                    self.tell(done, tenth);
                }
            }
        }
    }

    fn tell(&self, done: u64, tenth: u64) {
        if self.ui.mode == Mode::Json {
            self.ui.event(&serde_json::json!({ "what": self.what, "bytes": done, "total": self.total }));
        } else {
            self.ui.say(&format!("{} {} %", self.what, tenth * 10));
        }
    }
}

/// Signals stop whatever is counted.
impl Progress for Bytes<'_> {
    fn advance(&self, bytes: u64) {
        self.add(bytes);
    }

    fn is_cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        self.ui.show(None);
    }
}
