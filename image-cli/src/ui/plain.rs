//! Plain lines, for pipes and logs: no line is taken back.

use goldimg::{Event, Reporter};

use super::pace::Pace;
use super::voice::{Voice, error, line, warning};

/// Says all of it in lines.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pace: Pace,
}

impl Reporter for Plain {
    fn report(&self, event: &Event<'_>) {
        match *event {
            Event::StageBegun { stage } => {
                self.pace.stage_begun();
                line(&format!("{stage} …"));
            }
            Event::StageWaiting { stage, what, spent, limit } if self.pace.may_say_waiting() => {
                let (spent, limit) = (spent.as_secs(), limit.as_secs());
                line(&format!("{stage}: waiting for {what} ({spent} s of at most {limit} s)"));
            }
            Event::StageEnded { stage, passed, took } => {
                let state = if passed { "done" } else { "failed" };
                line(&format!("{stage} {state}, {:.1} s", took.as_secs_f64()));
            }
            Event::BytesBegun { .. } => self.pace.bytes_begun(),
            Event::BytesDone { what, done, total } => {
                if let Some(tenths) = self.pace.tenths(done, total) {
                    line(&format!("{what} {} %", tenths * 10));
                }
            }
            Event::Note(text) => line(text),
            Event::Warning(text) => line(&warning(text)),
            Event::Mistake(mistake) => line(&format!("{}\n", mistake.rendered)),
            // And what an engine tells that knows more than this program.
            _ => {}
        }
    }
}

impl Voice for Plain {
    fn error(&self, text: &str) {
        line(&error(text));
    }
}
