//! What is wrong with a recipe that only a look beyond it can tell: shown at its place, as the loader's own findings.
//!
//! ```text
//! walk ─► places: which word stands where ─┐
//! an archive, a tree ─► remarks on words ──┴─► problems with their lines
//! ```

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Loaded;
use super::problem::{Problem, count};
use crate::error::{Advise, err};
use crate::mistake::Severity;
use crate::monitor::Monitor;

/// What a word of a recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The release of `[base]`.
    Release,
    /// The address of `[base]`.
    Mirror,
    /// A component of `[base]`, or of the further archive with this number, from 0.
    Component(Option<usize>),
    /// A suite of `[base]`, or of the further archive with this number, from 0.
    Suite(Option<usize>),
    /// The address of the further archive with this number.
    Uri(usize),
    /// A package, wherever it is named.
    Package,
    /// The disk's size.
    DiskSize,
}

/// A word and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) word: String,
    /// Bytes of the recipe's text.
    pub(super) span: Range<usize>,
}

/// The text that a recipe was read from.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Source {
    #[serde(with = "crate::os_text")]
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) places: Vec<Place>,
}

/// Without the text, which may have a password in it.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// The recipe as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Something to say of a word of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) severity: Severity,
    pub(crate) role: Role,
    /// The word; empty for whatever has the role.
    pub(crate) word: String,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
}

impl Remark {
    /// A mistake in `word`.
    pub(crate) fn mistake(role: Role, word: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            role,
            word: word.into(),
            message: message.into(),
            label: None,
            help: None,
        }
    }

    /// A doubt about `word`.
    pub(crate) fn doubt(role: Role, word: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::mistake(role, word, message) }
    }

    /// With a word at the place itself.
    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// With what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The remark at its place in `source`: that of the word, else of its role, else of the release.
    fn problem(&self, source: &Source) -> Problem {
        let of_role = || source.places.iter().filter(|place| place.role == self.role);
        let place = of_role()
            .find(|place| place.word == self.word)
            .or_else(|| of_role().next().filter(|_| self.role != Role::Package))
            .or_else(|| source.places.iter().find(|place| place.role == Role::Release));
        Problem {
            severity: self.severity,
            lacking: false,
            span: place.map_or(0..0, |place| place.span.clone()),
            message: self.message.clone(),
            label: self.label.clone(),
            help: self.help.clone(),
        }
    }
}

impl Loaded {
    /// Shows `remarks` at their places, in their order.
    ///
    /// # Errors
    /// Of the kind [`Invalid`](crate::ErrorKind::Invalid), if there is a mistake among them.
    pub(crate) fn remark(&self, remarks: &[Remark], monitor: Monitor<'_>) -> crate::Result<()> {
        let mut problems: Vec<Problem> = remarks.iter().map(|remark| remark.problem(&self.source)).collect();
        problems.sort_by_key(|problem| problem.span.start);
        for problem in &problems {
            monitor.mistake(&problem.mistake(&self.source.path, &self.source.text));
        }
        match problems.iter().any(|problem| problem.severity == Severity::Error) {
            false => Ok(()),
            true => Err(err!("{} has {}", self.source.path.display(), count(&problems))).invalid(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_stands_at_its_word_or_nearby() {
        let place =
            |role, word: &str, start: usize| Place { role, word: word.into(), span: start..start + 1 };
        let source = Source {
            places: vec![
                place(Role::Release, "bookworm", 1),
                place(Role::Component(Some(0)), "main", 2),
                place(Role::Component(None), "main", 3),
                place(Role::Package, "htop", 4),
                place(Role::Package, "vim", 5),
                place(Role::Package, "vim", 6),
            ],
            ..Source::default()
        };
        let at = |role, word: &str| Remark::mistake(role, word, "wrong").problem(&source).span.start;
        assert_eq!(at(Role::Component(None), "main"), 3);
        assert_eq!(at(Role::Component(Some(0)), "contrib"), 2);
        assert_eq!(at(Role::Package, "vim"), 5);
        // A package that nobody named belongs to the release, not to another package.
        assert_eq!(at(Role::Package, "systemd"), 1);
        assert_eq!(at(Role::DiskSize, ""), 1);
        assert_eq!(Remark::doubt(Role::Release, "x", "y").problem(&Source::default()).span, 0..0);
    }
}
