//! The error of this library: a kind to act on, what was being done, and the cause.
//!
//! ```text
//! Error ── kind     what a caller can do about it
//!       ├─ doing    "reading 65536 bytes at offset 0x10000 of disk.raw"
//!       └─ source   the rule that was broken, or what the operating system said
//! ```
//!
//! Messages are lower case and never repeat what their source says, so a program prints the chain
//! joined by ": ". Rules of a format are enums of their own (one variant per rule),
//! found again with [`Error::cause`].

use std::fmt;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system or the network failed: try again, or look at the machine.
    Io,
    /// The image breaks a rule of its format: repair it or take another copy.
    Corrupt,
    /// The image uses something this library does not read or write.
    Unsupported,
    /// What the image asks for is not done unless the caller allows it.
    Refused,
    /// Another program has the image open: wait until it is done, or say that it does not matter.
    InUse,
    /// The caller asked for something impossible: a range past the end, a size of zero.
    Invalid,
    /// The caller stopped the work.
    Cancelled,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, while doing what, and what can be done about it.
pub struct Error {
    kind: ErrorKind,
    doing: Option<String>,
    source: Cause,
}

impl Error {
    /// An error of `kind` caused by `source`.
    pub fn new(kind: ErrorKind, source: impl Into<Cause>) -> Self {
        Self { kind, doing: None, source: source.into() }
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(source: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Corrupt, source)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(source: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Unsupported, source)
    }

    /// Shorthand for [`ErrorKind::Refused`].
    pub fn refused(source: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Refused, source)
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(source: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Invalid, source)
    }

    /// The error of work that its caller stopped.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "stopped on request")
    }

    /// Says what was being done, in the words of a sentence's beginning: "reading the header of …".
    /// Said again further out, it becomes a link of the chain of its own.
    #[must_use]
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        if self.doing.is_none() {
            self.doing = Some(doing.into());
            return self;
        }
        Self { kind: self.kind, doing: Some(doing.into()), source: Box::new(self) }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The first link of the chain that is a `T`: the rule that was broken.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = link {
            if let Some(found) = error.downcast_ref::<T>() {
                return Some(found);
            }
            if let Some(nested) = error.downcast_ref::<Error>() {
                return nested.cause::<T>();
            }
            link = error.source();
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.doing {
            Some(doing) => f.write_str(doing),
            None => self.source.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut link = std::error::Error::source(self);
        while let Some(error) = link {
            write!(f, ": {error}")?;
            link = error.source();
        }
        write!(f, " ({:?})", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.doing {
            Some(_) => Some(self.source.as_ref()),
            None => self.source.source(),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, source)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(source: rustix::io::Errno) -> Self {
        std::io::Error::from(source).into()
    }
}

/// Adds what was being done to a failing result.
pub trait Doing<T> {
    /// As [`Error::doing`]; the words are only made on failure.
    ///
    /// # Errors
    /// The error of `self`, with the words.
    fn doing<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().doing(words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_never_repeats_the_source_and_causes_are_found_through_nesting() {
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::from(io).doing("opening a.raw").doing("converting a.raw");
        assert_eq!(error.to_string(), "converting a.raw");
        assert_eq!(format!("{error:?}"), "converting a.raw: opening a.raw: entity not found (Io)");
        assert!(error.cause::<std::io::Error>().is_some());
        assert!(error.cause::<std::fmt::Error>().is_none());
        assert_eq!(Error::invalid("size is zero").to_string(), "size is zero");
    }
}
