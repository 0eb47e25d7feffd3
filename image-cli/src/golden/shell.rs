//! Words for a shell (POSIX, "Shell Command Language", 2.2.2).

/// `text` as one word, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
