//! What is wrong with a recipe, and how it is shown: the place, the line itself, and what to write instead.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::Serialize;

use crate::golden::recipe::uri::masked;

/// Whether a recipe can be built all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly anyone would mean it so.
    Warning,
}

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

/// A problem as data.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    severity: Severity,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
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
    pub(crate) fn render(&self, path: &Path, text: &str) -> String {
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

    pub(crate) fn record(&self, text: &str) -> Record {
        let (line, column) = place(text, self.span.start);
        Record {
            severity: self.severity,
            line,
            column,
            message: masked(&self.message),
            label: self.label.as_deref().map(masked),
            help: self.help.as_deref().map(masked),
        }
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

/// The one of `known` that a wrong `word` was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', ' '], "-");
    let word = plain(word);
    let measured = known.into_iter().map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known));
    let letters = |word: &str| {
        let mut letters: Vec<char> = plain(word).chars().collect();
        letters.sort_unstable();
        letters
    };
    // Of words that are equally near, one of the same letters in another order was rather meant, then one of the same length.
    let unlike = |known: &str| (letters(known) != letters(&word), known.len().abs_diff(word.len()));
    let (distance, nearest) =
        measured.min_by(|a, b| a.0.cmp(&b.0).then_with(|| unlike(a.1).cmp(&unlike(b.1))))?;
    // One letter of three may be wrong.
    let allowed = (nearest.chars().count() / 3).max(1);
    (distance <= allowed && distance < nearest.chars().count()).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        let keys = ["install", "remove", "copy", "write", "run", "esp-size"];
        assert_eq!(nearest("instal", keys), Some("install"));
        assert_eq!(nearest("ESP_SIZE", keys), Some("esp-size"));
        assert_eq!(nearest("rnu", keys), Some("run"));
        assert_eq!(nearest("delete", keys), None);
        assert_eq!(nearest("htpo", ["htp", "hto", "http", "htop", "htcp"]), Some("htop"));
        assert_eq!(nearest("htpx", ["htp", "htop", "htps"]), Some("htps"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn lines_and_columns_are_counted_in_characters() {
        let text = "a = 1\nü = 2\n";
        let problem = Problem::error(text.find('2').unwrap()..text.len(), "wrong");
        let record = problem.record(text);
        assert_eq!((record.line, record.column), (2, 5));
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
