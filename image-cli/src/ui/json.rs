//! Lines of JSON, for programs: one object for each thing that is told.

use goldimg::mistake::Severity;
use goldimg::{Event, Reporter};
use serde_json::{Value, json};

use super::pace::Pace;
use super::voice::{Voice, line};

/// Says all of it as JSON.
#[derive(Debug, Default)]
pub(super) struct Json {
    pace: Pace,
}

impl Json {
    /// What is told of `event`; nothing of one that is no news.
    fn told(&self, event: &Event<'_>) -> Option<Value> {
        Some(match *event {
            Event::StageBegun { stage } => {
                self.pace.stage_begun();
                json!({ "stage": stage, "state": "started" })
            }
            Event::StageWaiting { stage, what, spent, limit } => {
                let (spent, limit) = (spent.as_secs(), limit.as_secs());
                let waiting = json!({
                    "stage": stage, "state": "waiting", "for": what, "seconds": spent, "limit": limit
                });
                self.pace.may_say_waiting().then_some(waiting)?
            }
            Event::StageEnded { stage, passed, took } => {
                let (state, seconds) = (if passed { "done" } else { "failed" }, took.as_secs_f64());
                json!({ "stage": stage, "state": state, "seconds": (seconds * 1000.0).round() / 1000.0 })
            }
            Event::BytesBegun { .. } => {
                self.pace.bytes_begun();
                return None;
            }
            Event::BytesDone { what, done, total } => {
                self.pace.tenths(done, total)?;
                json!({ "what": what, "bytes": done, "total": total })
            }
            Event::Note(text) => json!({ "note": text }),
            Event::Warning(text) => json!({ "warning": text }),
            Event::Mistake(mistake) => match mistake.severity {
                Severity::Error => json!({ "mistake": without_colours(&mistake.rendered) }),
                Severity::Warning => json!({ "warning": without_colours(&mistake.rendered) }),
            },
            // And what an engine tells that knows more than this program.
            _ => return None,
        })
    }
}

impl Reporter for Json {
    fn report(&self, event: &Event<'_>) {
        if let Some(told) = self.told(event) {
            line(&told.to_string());
        }
    }
}

impl Voice for Json {
    fn error(&self, text: &str) {
        let told = match text.split_once("\n\nhint: ") {
            Some((error, hint)) => json!({ "error": error, "hint": hint }),
            None => json!({ "error": text }),
        };
        line(&told.to_string());
    }
}

fn without_colours(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_thing_is_an_object() {
        let json = Json::default();
        let told = |event: Event<'_>| json.told(&event).map(|value| value.to_string());
        assert_eq!(
            told(Event::StageBegun { stage: "seal" }).unwrap(),
            r#"{"stage":"seal","state":"started"}"#
        );
        let (spent, limit) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(told(Event::StageWaiting { stage: "seal", what: "a reply", spent, limit }), None);
        let took = Duration::from_micros(1_234_567);
        assert_eq!(
            told(Event::StageEnded { stage: "seal", passed: false, took }).unwrap(),
            r#"{"seconds":1.235,"stage":"seal","state":"failed"}"#
        );
        assert_eq!(told(Event::BytesBegun { what: "writing", total: 100 }), None);
        assert_eq!(told(Event::BytesDone { what: "writing", done: 9, total: 100 }), None);
        assert_eq!(
            told(Event::BytesDone { what: "writing", done: 10, total: 100 }).unwrap(),
            r#"{"bytes":10,"total":100,"what":"writing"}"#
        );
        assert_eq!(told(Event::Note("so")).unwrap(), r#"{"note":"so"}"#);
    }
}
