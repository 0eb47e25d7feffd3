//! What each way to talk has: it hears what long work tells, and says why the program fails.

use std::io::Write;

use goldimg::Reporter;

/// A way to talk, on standard error.
pub(super) trait Voice: Reporter + std::fmt::Debug {
    /// Says why the program fails.
    fn error(&self, text: &str);
}

/// Writes a line. Nothing can be done where standard error is closed.
pub(super) fn line(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// An error, for people.
pub(super) fn error(text: &str) -> String {
    format!("\x1b[31merror:\x1b[0m {text}")
}

/// A warning, for people.
pub(super) fn warning(text: &str) -> String {
    format!("\x1b[33mwarning:\x1b[0m {text}")
}
