//! An error on its way from one process to another.

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind};

/// What of an error can be told: its words, not its types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    kind: ErrorKind,
    /// Of the chain, outermost first.
    words: Vec<String>,
    hint: Option<String>,
}

impl From<&Error> for Record {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), words: error.words(), hint: error.hint() }
    }
}

impl From<Record> for Error {
    fn from(record: Record) -> Self {
        let mut words = record.words.into_iter().rev();
        let cause = Self::new(record.kind, words.next().unwrap_or_else(|| "it does not say why".into()));
        let error = words.fold(cause, Self::context);
        match record.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let error = Error::from(std::io::Error::other("no room")).context("writing").with_hint("make room");
        let error = error.context("stage \"seal\"").of_kind(ErrorKind::Invalid);
        let text = serde_json::to_string(&Record::from(&error)).unwrap();
        let arrived = Error::from(serde_json::from_str::<Record>(&text).unwrap());
        assert_eq!(format!("{arrived:?}"), format!("{error:?}"));
        assert_eq!(arrived.to_string(), "stage \"seal\"");
    }
}
