//! The walk over a recipe's tables: which keys were asked for, which are unknown, which values have the wrong type.
//!
//! ```text
//! Fields::of(table) ─► required("name", …) · optional("version", …) · … ─► finish(): what nobody asked for is unknown
//! ```
//!
//! Nothing here stops at a problem: a reader notes it and answers `None`, and the walk goes on.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::remark::{Place, Role};
use crate::nearest::nearest;
use crate::size::Size;

/// A value with its place in the text.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// What a walk knows besides the text, and what it finds.
pub(super) struct Walk<'a> {
    /// The recipe's folder, without symbolic links.
    pub(super) folder: &'a Path,
    /// Whether packages are those of some system, which has names of its own for them; else they are Debian's or Ubuntu's.
    pub(super) any_system: bool,
    /// Whether they are installed by a package manager that is there already, and sees no file beside the recipe.
    pub(super) has_own_packages: bool,
    problems: RefCell<Vec<Problem>>,
    places: RefCell<Vec<Place>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            any_system: false,
            has_own_packages: false,
            problems: RefCell::default(),
            places: RefCell::default(),
        }
    }

    /// Of steps for a system that may be neither Debian's nor Ubuntu's.
    pub(super) fn for_any_system(folder: &'a Path) -> Self {
        Self { any_system: true, has_own_packages: true, ..Self::new(folder) }
    }

    /// Of a recipe whose base is the files of a system of Debian's or Ubuntu's.
    pub(super) fn for_files(folder: &'a Path) -> Self {
        Self { has_own_packages: true, ..Self::new(folder) }
    }

    pub(super) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Remembers where `word` stands.
    pub(super) fn note(&self, role: Role, word: &str, value: &Value<'_>) {
        self.places.borrow_mut().push(Place { role, word: word.to_owned(), span: value.span() });
    }

    /// What was found wrong, and where the words are.
    pub(super) fn found(self) -> (Vec<Problem>, Vec<Place>) {
        (self.problems.into_inner(), self.places.into_inner())
    }

    /// Notes that a value is wrong; `None`, to be returned.
    pub(super) fn refuse<T>(&self, problem: Problem) -> Option<T> {
        self.add(problem);
        None
    }
}

/// A table whose keys are being read.
pub(super) struct Fields<'a, 'i> {
    walk: &'a Walk<'a>,
    table: &'a DeTable<'i>,
    span: Range<usize>,
    /// What the table is, for people: "a step", `[disk]`.
    place: &'a str,
    known: Vec<&'static str>,
    /// Keys that are required and not there.
    missing: Vec<(&'static str, Problem)>,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn of(walk: &'a Walk<'a>, value: &'a Value<'i>, place: &'a str) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return walk.refuse(wrong_type(value, &format!("a table ({place})")));
        };
        Some(Self::root(walk, table, value.span(), place))
    }

    pub(super) fn root(
        walk: &'a Walk<'a>,
        table: &'a DeTable<'i>,
        span: Range<usize>,
        place: &'a str,
    ) -> Self {
        Self { walk, table, span, place, known: Vec::new(), missing: Vec::new() }
    }

    /// The walk that it is a part of.
    pub(super) fn walk(&self) -> &'a Walk<'a> {
        self.walk
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of `key`, if it is there and `read` finds nothing wrong with it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a Walk<'a>, &'a Value<'i>) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        self.table.get(key).and_then(|value| read(self.walk, value))
    }

    /// As [`Fields::optional`]; its absence is a problem.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&'a Walk<'a>, &'a Value<'i>) -> Option<T>,
    ) -> Option<T> {
        if self.table.get(key).is_none() {
            let missing = Problem::missing(self.span(), format!("{} has no `{key}`", self.place));
            self.missing.push((key, missing.help(format!("add {example}"))));
        }
        self.optional(key, read)
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Whether nothing at all is there.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The place of `key`, if it is there.
    pub(super) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    /// Notes every key that nobody asked for, and those that are missing. `elsewhere` knows keys that belong to another place.
    pub(super) fn finish(mut self, elsewhere: impl Fn(&str) -> Option<String>) {
        for key in self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let mut problem = Problem::error(
                key.span(),
                format!("unknown key `{}` in {}", key.get_ref().escape_debug(), self.place),
            );
            if let Some(near) = nearest(key.get_ref(), self.known.iter().copied()) {
                problem = problem.label(format!("did you mean `{near}`?"));
                // It is not missing, but misspelt.
                self.missing.retain(|(missing, _)| *missing != near);
            } else if let Some(other) = elsewhere(key.get_ref()) {
                problem = problem.label(other);
            }
            let known: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
            self.walk.add(problem.help(format!("{} may have {}", self.place, listed(&known, "and"))));
        }
        self.missing.into_iter().for_each(|(_, problem)| self.walk.add(problem));
    }
}

/// "a, b and c"
pub(super) fn listed(words: &[String], last: &str) -> String {
    match words {
        [] => "nothing".into(),
        [one] => one.clone(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

fn wrong_type(value: &Value<'_>, expected: &str) -> Problem {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::error(value.span(), format!("expected {expected}, found {found}"))
}

/// A string.
pub(super) fn text<'v>(walk: &Walk<'_>, value: &'v Value<'_>) -> Option<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        other => {
            let problem = wrong_type(value, "a string");
            let quoted = match other {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                    problem.help("put it into quotes")
                }
                _ => problem,
            };
            walk.refuse(quoted)
        }
    }
}

/// `true` or `false`.
pub(super) fn flag(walk: &Walk<'_>, value: &Value<'_>) -> Option<bool> {
    match value.get_ref() {
        DeValue::Boolean(flag) => Some(*flag),
        DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
            walk.refuse(wrong_type(value, "true or false").help("leave out the quotes"))
        }
        _ => walk.refuse(wrong_type(value, "true or false")),
    }
}

/// A whole number within `range`, of `unit` ("" for none).
pub(super) fn number(
    walk: &Walk<'_>,
    value: &Value<'_>,
    range: RangeInclusive<u32>,
    unit: &str,
) -> Option<u32> {
    let DeValue::Integer(integer) = value.get_ref() else {
        return walk.refuse(
            wrong_type(value, "a whole number").help(format!("write it without quotes{}", in_unit(unit))),
        );
    };
    let digits = integer.as_str().replace('_', "");
    match i128::from_str_radix(&digits, integer.radix()).ok().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if range.contains(&number) => Some(number),
        _ => walk.refuse(Problem::error(value.span(), format!("{integer} is out of range")).help(format!(
            "write a number from {} to {}{}",
            range.start(),
            range.end(),
            in_unit(unit)
        ))),
    }
}

fn in_unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(", in {unit}") }
}

/// A list of strings, or one string. Each is read by `read`; the second of two equal ones is pointed out.
pub(super) fn texts<T: PartialEq>(
    walk: &Walk<'_>,
    value: &Value<'_>,
    mut read: impl FnMut(&Walk<'_>, &Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let DeValue::Array(values) = value.get_ref() else {
        if !matches!(value.get_ref(), DeValue::String(_)) {
            return walk.refuse(wrong_type(value, "a list of strings"));
        }
        return read(walk, value).map(|one| vec![one]);
    };
    let mut found = Vec::with_capacity(values.len());
    let mut sound = true;
    for value in values {
        match read(walk, value) {
            Some(one) if found.contains(&one) => {
                walk.add(Problem::warning(value.span(), "the same again").help("leave it out"));
            }
            Some(one) => found.push(one),
            None => sound = false,
        }
    }
    sound.then_some(found)
}

/// One of the words of `choices`.
pub(super) fn choice<T: Copy>(
    walk: &Walk<'_>,
    value: &Value<'_>,
    choices: &[(&'static str, T)],
) -> Option<T> {
    let word = text(walk, value)?;
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
        return Some(*choice);
    }
    let mut problem = Problem::error(value.span(), format!("{word:?} is not known here"));
    if let Some(near) = nearest(word, choices.iter().map(|(name, _)| *name)) {
        problem = problem.label(format!("did you mean {near:?}?"));
    }
    let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
    walk.refuse(problem.help(format!("write {}", listed(&names, "or"))))
}

/// A size: a string such as "10G", or a number of bytes.
pub(super) fn size(walk: &Walk<'_>, value: &Value<'_>) -> Option<Size> {
    let written = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().replace(['_', '+'], ""),
        _ => {
            return walk.refuse(
                wrong_type(value, "a size").help("write a string such as \"10G\", or a number of bytes"),
            );
        }
    };
    match written.parse() {
        Ok(size) => Some(size),
        Err(error) => walk.refuse(Problem::error(value.span(), error.to_string())),
    }
}
