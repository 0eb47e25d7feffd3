//! A reporter for tests: it keeps what is told.

use std::sync::{Mutex, PoisonError};

use super::{Event, Reporter};

/// Keeps all that is told as lines, without times, so that a test can compare them.
///
/// ```
/// use goldimg::monitor::{CancellationToken, Monitor, Recorder};
///
/// let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
/// let monitor = Monitor::new(&recorder, &cancel);
/// monitor.stage("make the disk").done();
/// monitor.note("it is small");
/// assert_eq!(recorder.told(), ["stage begun: make the disk", "stage done: make the disk", "note: it is small"]);
/// ```
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    /// What was told so far, a line for each event, in the order in which it was told.
    pub fn told(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reporter for Recorder {
    fn report(&self, event: &Event<'_>) {
        let line = match *event {
            Event::StageBegun { stage } => format!("stage begun: {stage}"),
            Event::StageWaiting { stage, what, .. } => format!("stage waiting: {stage}: for {what}"),
            Event::StageEnded { stage, passed: true, .. } => format!("stage done: {stage}"),
            Event::StageEnded { stage, passed: false, .. } => format!("stage failed: {stage}"),
            Event::BytesBegun { what, total } => format!("bytes begun: {what}: 0 of {total}"),
            Event::BytesDone { what, done, total } => format!("bytes done: {what}: {done} of {total}"),
            Event::BytesEnded { what } => format!("bytes ended: {what}"),
            Event::Note(text) => format!("note: {text}"),
            Event::Warning(text) => format!("warning: {text}"),
            Event::Mistake(mistake) => format!("mistake: {}", mistake.rendered),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
