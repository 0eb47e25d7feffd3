//! Text that must not be seen: passwords, secrets, tokens.

use std::fmt;

/// A text that no message, log or JSON shows: it has no `Display`, no `Serialize`, and an empty `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the request that needs it and for nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with something else in its place, as it is and as JSON writes it.
    pub(crate) fn hidden_in(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let json = serde_json::Value::from(self.0.as_str()).to_string();
        let inside = json.get(1..json.len().saturating_sub(1)).unwrap_or(&self.0);
        text.replace(inside, HIDDEN).replace(&self.0, HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// What stands in a secret's place where a request is shown.
pub(crate) const HIDDEN: &str = "(secret)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_it_is_shown_without_it() {
        let secret = Secret::new("hunter\"2\\");
        let said = serde_json::json!({ "you sent": "hunter\"2\\" }).to_string();
        assert_eq!(secret.hidden_in(&said), r#"{"you sent":"(secret)"}"#);
        assert_eq!(secret.hidden_in("<hunter\"2\\> and hunter2"), "<(secret)> and hunter2");
        assert_eq!(Secret::new("").hidden_in("as it is"), "as it is");
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let shown = format!("{:?} {:#?}", Secret::new("hunter2"), Some(Secret::new("hunter2")));
        assert!(!shown.contains("hunter2") && !shown.contains('2'), "{shown}");
    }
}
