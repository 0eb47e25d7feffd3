//! The error of the engine: a kind to act on, what was being done, what can be done about it, and the cause.
//!
//! ```text
//! Error ── kind     whose turn it is: the caller's, the machine's, the image's
//!       ├─ doing    "stage \"seal\""
//!       ├─ hint     a sentence, or better a command to paste: "sudo apt-get install uidmap"
//!       └─ source   the rule that was broken, or what the operating system, a program or a server said
//! ```
//!
//! `{error}` shows the outermost words, `{error:#}` the whole chain joined by ": ". Rules that callers may want to tell
//! apart are types of their own, found again with [`Error::cause`]. Which exit code a program ends with is its own affair.

mod advice;
mod conversions;
mod record;

use std::fmt;

use serde::{Deserialize, Serialize};

use advice::cause_of;
pub(crate) use record::Record;

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for is wrong: a recipe, a name, a value. Ask for something else.
    Invalid,
    /// This machine lacks a program, a right or a feature of its kernel. The hint says what to install or to allow.
    Missing,
    /// The operating system or the network failed.
    Io,
    /// An image breaks a rule of its format, or is not taken as it is: see [`image_core::ErrorKind`] of the cause.
    Image,
    /// A program, a step, a server or a guest failed; or what was made does not hold what it should.
    Failed,
    /// The caller stopped the work.
    Cancelled,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, while doing what, and what can be done about it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    doing: Option<String>,
    hint: Option<String>,
    source: Cause,
}

impl Error {
    /// An error of `kind` caused by `source`: a rule of its own type, or words.
    pub fn new(kind: ErrorKind, source: impl Into<Cause>) -> Self {
        Self(Box::new(Inner { kind, doing: None, hint: None, source: source.into() }))
    }

    /// Shorthand for [`ErrorKind::Failed`].
    pub fn failed(source: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Failed, source)
    }

    /// The error of work that its caller stopped.
    pub fn cancelled() -> Self {
        image_core::Error::cancelled().into()
    }

    /// The same error as one of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Says what was being done, in the words of a sentence's beginning: "reading the recipe …". Said again further out,
    /// it becomes a link of the chain of its own.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        if self.0.doing.is_some() {
            self = Self::new(self.kind(), self);
        }
        self.0.doing = Some(doing.to_string());
        self
    }

    /// Says what can be done. Of several hints the outermost counts.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Whose turn it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What can be done: the outermost hint, or what can be said of the cause.
    pub fn hint(&self) -> Option<String> {
        let own = self.links().find_map(|link| link.downcast_ref::<Self>()?.0.hint.clone());
        own.or_else(|| advice::advice_for(self.links()))
    }

    /// The first link of the chain that is a `T`: the rule that was broken.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.links().find_map(|link| cause_of(link))
    }

    /// The words of the innermost cause.
    pub(crate) fn root_cause(&self) -> String {
        self.words().pop().unwrap_or_default()
    }

    /// This error, and what each is caused by. A link without words of its own stands before the one whose words it has.
    pub(crate) fn links(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> + Clone {
        links(self)
    }

    /// The words of the chain, each link's once.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for link in self.links() {
            let own = link.to_string();
            if !own.is_empty() && words.last() != Some(&own) {
                words.push(own);
            }
        }
        words
    }
}

/// What can be done about any error, of this library or another one, where a link of its chain says it or any work may meet it.
pub fn advice_for(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    advice::advice_for(links(error))
}

/// `error`, and what each link is caused by.
fn links<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> + Clone {
    std::iter::successors(Some(error), |link| match link.downcast_ref::<Error>() {
        Some(error) => Some(error.0.source.as_ref()),
        None => link.source(),
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.write_str(&self.words().join(": "));
        }
        match &self.0.doing {
            Some(doing) => f.write_str(doing),
            None => self.0.source.fmt(f),
        }
    }
}

/// As a panic of a test shows it: the chain, and what can be done.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#} ({:?})", self.0.kind)?;
        match self.hint() {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.doing {
            Some(_) => Some(self.0.source.as_ref()),
            None => self.0.source.source(),
        }
    }
}

/// Adds what was being done to a failing result.
pub(crate) trait Context<T> {
    /// As [`Error::context`].
    fn context(self, doing: impl fmt::Display) -> Result<T>;
    /// As [`Error::context`]; the words are only made on failure.
    fn with_context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(doing))
    }

    fn with_context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(doing()))
    }
}

/// What is not there is the error.
impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::failed(doing.to_string()))
    }

    fn with_context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.ok_or_else(|| Error::failed(doing().to_string()))
    }
}

/// Adds to a failing result what can be done, and whose turn it is.
pub(crate) trait Advise<T> {
    /// As [`Error::with_hint`]; the words are only made on failure.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
    /// As [`Error::of_kind`].
    fn of_kind(self, kind: ErrorKind) -> Result<T>;
    /// It is the caller's turn.
    fn invalid(self) -> Result<T>;
}

impl<T, E: Into<Error>> Advise<T> for Result<T, E> {
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().with_hint(hint()))
    }

    fn of_kind(self, kind: ErrorKind) -> Result<T> {
        self.map_err(|error| error.into().of_kind(kind))
    }

    fn invalid(self) -> Result<T> {
        self.of_kind(ErrorKind::Invalid)
    }
}

/// An [`Error`] of the kind [`ErrorKind::Failed`], from words as `format!` takes them.
macro_rules! err {
    ($($words:tt)*) => { $crate::error::Error::failed(format!($($words)*)) };
}

/// Ends the function with [`err!`].
macro_rules! bail {
    ($($words:tt)*) => { return Err($crate::error::err!($($words)*)) };
}

pub(crate) use {bail, err};

/// The chain, and what can be done, as a program would show them: for tests.
#[cfg(test)]
pub(crate) fn rendered(error: &Error) -> String {
    error.hint().map_or(format!("{error:#}"), |hint| format!("{error:#}\n\nhint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_told_once_and_the_outermost_hint_wins() {
        let error = Err::<(), _>(err!("no such file"))
            .hint(|| "inner")
            .context("reading the recipe")
            .hint(|| "goldimg plan --help")
            .invalid()
            .unwrap_err();
        assert_eq!(error.to_string(), "reading the recipe");
        assert_eq!(format!("{error:#}"), "reading the recipe: no such file");
        assert_eq!(
            (error.kind(), error.hint().as_deref()),
            (ErrorKind::Invalid, Some("goldimg plan --help"))
        );
        let deep =
            Error::from(std::io::Error::other("x")).with_hint("free some room").context("a").context("b");
        assert_eq!(
            (format!("{deep:#}").as_str(), deep.hint().as_deref()),
            ("b: a: x", Some("free some room"))
        );
        assert_eq!(deep.kind(), ErrorKind::Io);
        let outer = deep.with_hint("look at the log");
        assert_eq!(outer.hint().as_deref(), Some("look at the log"));
    }

    #[test]
    fn rules_are_found_behind_words_and_in_the_library_below() {
        let error = Error::from(image_core::Error::from(rustix::io::Errno::NOSPC).doing("writing a.raw"));
        let error = error.context("stage \"seal\"").context("building");
        assert_eq!(error.kind(), ErrorKind::Image);
        let io: &std::io::Error = error.cause().unwrap();
        assert_eq!(io.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
        assert!(error.cause::<fmt::Error>().is_none());
        assert_eq!(Error::cancelled().context("building").kind(), ErrorKind::Cancelled);
        assert_eq!(format!("{:#}", Error::cancelled().context("building")), "building: stopped on request");
        assert_eq!(
            format!("{:#}", None::<()>.context("no cloud is chosen").unwrap_err()),
            "no cloud is chosen"
        );
    }
}
