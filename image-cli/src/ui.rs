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
//! Each column is a file here: who hears what long work tells, and says it in his way.
//!
//! Data is what a command is called for: a list, a digest, an id, JSON. A verdict is what its exit code tells too.

mod json;
mod pace;
mod plain;
mod quiet;
mod terminal;
mod voice;

use std::io::{IsTerminal, Write};

use goldimg::monitor::Bytes;
use goldimg::{Event, Monitor};

use self::voice::Voice;
use crate::args::{ProgressMode, Talk};
use crate::interrupt;

/// Where and how to talk.
#[derive(Debug)]
pub(crate) struct Ui {
    voice: Box<dyn Voice>,
    /// Whether the exit code is verdict enough.
    quiet: bool,
}

impl Ui {
    pub(crate) fn new(talk: &Talk) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let voice: Box<dyn Voice> = match talk.progress {
            _ if talk.quiet => Box::new(quiet::Quiet),
            ProgressMode::None => Box::new(quiet::Quiet),
            ProgressMode::Json => Box::new(json::Json::default()),
            ProgressMode::Auto if terminal => Box::new(terminal::Terminal::default()),
            ProgressMode::Auto | ProgressMode::Plain => Box::new(plain::Plain::default()),
        };
        Self { voice, quiet: talk.quiet }
    }

    /// Whether nothing but errors and data is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// For work of the engine: it tells here, and signals stop it.
    pub(crate) fn monitor(&self) -> Monitor<'_> {
        Monitor::new(&*self.voice, interrupt::token())
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
        self.voice.report(&Event::Note(text));
    }

    /// Says something that may be a mistake.
    pub(crate) fn warning(&self, text: &str) {
        self.voice.report(&Event::Warning(text));
    }

    /// Says why the program fails.
    pub(crate) fn error(&self, text: &str) {
        self.voice.error(text);
    }
}

/// Writes `bytes`; whether the reader was there. One that went away is not a failure.
fn is_wanted(mut out: impl Write, bytes: &[u8]) -> std::io::Result<bool> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}
