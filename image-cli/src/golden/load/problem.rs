//! What is wrong with a recipe, and how it is shown: the place, the line itself, and what to write instead.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use crate::golden::recipe::uri::masked;
use crate::mistake::{Mistake, Severity};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// Whether something is missing, and nothing wrong.
    pub(crate) lacking: bool,
    /// Bytes of the recipe's text; empty where something is missing.
    pub(crate) span: Range<usize>,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// A word at the place itself.
    pub(crate) label: Option<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(super) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            lacking: false,
            span,
            message: message.into(),
            label: None,
            help: None,
        }
    }

    pub(super) fn missing(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { lacking: true, ..Self::error(span, message) }
    }

    pub(super) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem as text for a terminal. Colours are escape sequences; a pipe's writer drops them.
    fn render(&self, path: &Path, text: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = harmless(&path.display().to_string());
        let text = &masked(&calm(text));
        let mut mark = AnnotationKind::Primary.span(self.shown(text));
        if let Some(label) = &self.label {
            mark = mark.label(harmless(label));
        }
        let snippet = Snippet::source(text).path(path).annotation(mark);
        let mut group = Group::with_title(level.primary_title(harmless(&self.message))).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(harmless(help)));
        }
        Renderer::styled().render(&[group])
    }

    /// The part of `text` that is marked: of a long value its first line.
    fn shown(&self, text: &str) -> Range<usize> {
        let start = self.span.start.min(text.len());
        let end = self.span.end.clamp(start, text.len());
        let line = text.get(start..end).and_then(|marked| marked.lines().next()).unwrap_or_default();
        start..start.saturating_add(line.len())
    }

    /// The problem of the recipe at `path` with this `text`, as callers are told.
    pub(crate) fn mistake(&self, path: &Path, text: &str) -> Mistake {
        let (line, column) = place(text, self.span.start);
        Mistake {
            severity: self.severity,
            path: path.to_owned(),
            line,
            column,
            message: masked(&self.message),
            label: self.label.as_deref().map(masked),
            help: self.help.as_deref().map(masked),
            rendered: self.render(path, text),
        }
    }
}

/// "3 mistakes"
pub(super) fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|problem| problem.severity == Severity::Error).count() {
        1 => "1 mistake".into(),
        count => format!("{count} mistakes"),
    }
}

/// The line and the column, both from 1, of the byte at `at`. Columns are characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.split('\n').count(), line.chars().count().saturating_add(1))
}

/// Text that a terminal only shows.
fn harmless(text: &str) -> String {
    normalize_untrusted_str(&masked(&calm(text)))
}

/// The text with a dot for each control character of the second set (U+0080 to U+009F), which some terminals obey and
/// the renderer lets pass. Dot and character have two bytes each, so every place stays where it was.
fn calm(text: &str) -> String {
    text.replace(|c: char| ('\u{80}'..='\u{9f}').contains(&c), "·")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_in_characters() {
        let text = "a = 1\nü = 2\n";
        let problem = Problem::error(text.find('2').unwrap()..text.len(), "wrong");
        let mistake = problem.mistake(Path::new("a.toml"), text);
        assert_eq!((mistake.line, mistake.column), (2, 5));
        assert_eq!(problem.shown(text), 11..12);
    }

    #[test]
    fn nothing_a_recipe_says_reaches_the_terminal_as_a_control_sequence() {
        let text = "name = \"\u{9b}31m\"\n";
        let shown = Problem::error(7..text.len(), "wrong \u{1b}]0;x\u{7}")
            .label("\u{7}")
            .render(Path::new("\u{7}"), text);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
    }
}
