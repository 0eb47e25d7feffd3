//! How a failure is shown: the chain of what was being done, a blank line, a hint; and its exit code.

use std::fmt;
use std::process::ExitCode;

use goldimg::ErrorKind;
use goldimg::error::advice_for;
use goldimg::printable::printable;

use crate::interrupt;
use crate::ui::Ui;

/// The exit code of work that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code of wrong usage or a wrong recipe (EX_USAGE of sysexits.h).
pub(crate) const USAGE: u8 = 64;

/// A link of an error chain that adds no words, but what the user can do and how the program ends.
#[derive(Debug)]
struct Advice {
    hint: Option<String>,
    exit: Option<u8>,
    cause: anyhow::Error,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Advice {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// Adds advice to a failing result.
pub(crate) trait Advise<T> {
    /// What the user can do: a sentence, or better a command to paste.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T>;
    /// Ends the program with this exit code.
    fn exit_code(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T> {
        self.map_err(|cause| Advice { hint: Some(hint().into()), exit: None, cause: cause.into() }.into())
    }

    fn exit_code(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|cause| Advice { hint: None, exit: Some(code), cause: cause.into() }.into())
    }
}

/// Shows `error` and answers with its exit code.
pub(crate) fn report(error: &anyhow::Error, ui: &Ui) -> ExitCode {
    ui.error(&render(error));
    ExitCode::from(exit_code_of(error))
}

/// Shows what was wrong with the command line, or the help or version that was asked for.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed standard error.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// The chain joined by ": ", and the outermost hint below a blank line.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for link in error.chain() {
        let words = harmless(&link.to_string());
        // An advice has the words of its cause.
        if words == last || words.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&words);
        last = words;
    }
    if let Some(hint) = hint(error) {
        text.push_str("\n\nhint: ");
        text.push_str(&harmless(&hint));
    }
    text
}

/// `text` with its lines, and without what a terminal could take for a command: names of images, guests and servers are in it.
fn harmless(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// What can be done: the outermost hint, or what can be said of the cause.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(hint) = first(error, |advice| advice.hint.clone()) {
        return Some(hint);
    }
    let cause = innermost(error);
    let of_engine = cause.chain().find_map(|link| link.downcast_ref::<goldimg::Error>()?.hint());
    of_engine.or_else(|| advice_for(cause.as_ref()))
}

/// What all advice is about.
fn innermost(error: &anyhow::Error) -> &anyhow::Error {
    error.downcast_ref::<Advice>().map_or(error, |advice| innermost(&advice.cause))
}

fn exit_code_of(error: &anyhow::Error) -> u8 {
    if let Some(code) = first(error, |advice| advice.exit) {
        return code;
    }
    let kind = innermost(error).chain().find_map(|link| {
        let of_core = link.downcast_ref::<image_core::Error>().map(image_core::Error::kind);
        let cancelled = of_core.filter(|kind| *kind == image_core::ErrorKind::Cancelled);
        let of_engine = link.downcast_ref::<goldimg::Error>().map(goldimg::Error::kind);
        of_engine.or_else(|| cancelled.map(|_| ErrorKind::Cancelled))
    });
    match kind {
        Some(ErrorKind::Invalid) => USAGE,
        Some(ErrorKind::Cancelled) => interrupt::exit_code(),
        _ => FAILED,
    }
}

/// The outermost advice that has what is asked for.
fn first<T>(error: &anyhow::Error, what: impl Fn(&Advice) -> Option<T>) -> Option<T> {
    let mut error = error;
    loop {
        // `downcast_ref` also looks through the words that anyhow's `context` adds.
        let advice = error.downcast_ref::<Advice>()?;
        if let Some(found) = what(advice) {
            return Some(found);
        }
        error = &advice.cause;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_chain_is_told_once_and_the_outermost_hint_wins() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .hint(|| "inner")
            .context("reading the recipe")
            .hint(|| "goldimg plan --help")
            .exit_code(USAGE)
            .unwrap_err();
        assert_eq!(render(&error), "reading the recipe: no such file\n\nhint: goldimg plan --help");
        assert_eq!(exit_code_of(&error), USAGE);
        let plain = anyhow!("no");
        assert_eq!((render(&plain).as_str(), exit_code_of(&plain)), ("no", FAILED));
        let stopped =
            anyhow::Error::from(image_core::Error::cancelled().doing("converting")).context("building");
        assert_eq!(exit_code_of(&stopped), 130);
        assert_eq!(render(&stopped), "building: converting: stopped on request");
    }
}
