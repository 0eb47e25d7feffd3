//! Almost silence: warnings, mistakes of recipes and errors, as text.

use goldimg::{Event, Reporter};

use super::voice::{Voice, error, line, warning};

/// Says what must not be missed, and nothing else.
#[derive(Debug)]
pub(super) struct Quiet;

impl Reporter for Quiet {
    fn report(&self, event: &Event<'_>) {
        match event {
            Event::Warning(text) => line(&warning(text)),
            Event::Mistake(mistake) => line(&format!("{}\n", mistake.rendered)),
            _ => {}
        }
    }
}

impl Voice for Quiet {
    fn error(&self, text: &str) {
        line(&error(text));
    }
}
