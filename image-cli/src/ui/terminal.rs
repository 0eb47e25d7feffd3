//! A terminal: what goes on is a line that moves, and what is said stands above it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldimg::{Event, Reporter};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::voice::{Voice, error, line, warning};

/// How often a bar is drawn at most, in a second.
const RATE: u8 = 8;
/// How often what shows that a stage goes on moves.
const TICK: Duration = Duration::from_millis(120);

/// Says all of it around a bar.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    /// The bar on the screen: lines are written above it.
    bar: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    fn stage_begun(&self, stage: &str) {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(stage.to_owned());
        bar.enable_steady_tick(TICK);
        self.show(Some(bar));
    }

    fn stage_ended(&self, stage: &str, passed: bool, took: Duration) {
        self.show(None);
        let mark = if passed { "\x1b[32m✓\x1b[0m" } else { "\x1b[31m✗\x1b[0m" };
        self.say(&format!("{mark} {stage:<50} {:>7.1} s", took.as_secs_f64()));
    }

    fn bytes_begun(&self, what: &str, total: u64) {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(RATE));
        let template = "{msg}  [{wide_bar}] {percent:>3} %  {bytes_per_sec}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        self.show(Some(bar));
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, bar: Option<ProgressBar>) {
        let mut shown = self.bar();
        if let Some(old) = shown.take() {
            old.finish_and_clear();
        }
        *shown = bar;
    }

    /// Writes a line above the bar.
    fn say(&self, text: &str) {
        let bar = self.bar().clone();
        match bar {
            Some(bar) => bar.suspend(|| line(text)),
            None => line(text),
        }
    }
}

impl Reporter for Terminal {
    fn report(&self, event: &Event<'_>) {
        match *event {
            Event::StageBegun { stage } => self.stage_begun(stage),
            Event::StageWaiting { stage, what, .. } => {
                if let Some(bar) = &*self.bar() {
                    bar.set_message(format!("{stage}: waiting for {what}"));
                }
            }
            Event::StageEnded { stage, passed, took } => self.stage_ended(stage, passed, took),
            Event::BytesBegun { what, total } => self.bytes_begun(what, total),
            Event::BytesDone { done, .. } => {
                if let Some(bar) = &*self.bar() {
                    bar.set_position(done);
                }
            }
            Event::BytesEnded { .. } => self.show(None),
            Event::Note(text) => self.say(text),
            Event::Warning(text) => self.say(&warning(text)),
            Event::Mistake(mistake) => self.say(&format!("{}\n", mistake.rendered)),
            // An engine that tells more than this program knows.
            _ => {}
        }
    }
}

impl Voice for Terminal {
    fn error(&self, text: &str) {
        self.say(&error(text));
    }
}
