//! TOML → [`Recipe`]: every mistake at once, each with its line, a "did you mean" and a remedy.
//!
//! ```text
//! file ─► text ─► TOML, as far as it can be read ─► walk over its tables ─► Recipe
//!                       │ syntax errors                │ problems
//!                       └──────────────┬───────────────┘
//!                                      ▼
//!                     sorted by place, shown with their lines, exit code 64
//! ```
//!
//! The surface is described in `recipes/README.md` and as JSON Schema in `recipes/recipe.schema.json`. Rules:
//! wherever a list of strings is expected, a single string will do; sizes are strings like "10G" or numbers of bytes;
//! files are named from the recipe's folder and lie beneath it, symbolic links resolved.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod base;
mod fields;
mod keys;
mod problem;
mod remark;
mod rules;
mod sections;
mod steps;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use toml::de::DeTable;

pub(crate) use self::base::read_keys;
use self::fields::{Fields, Walk};
use self::problem::{Problem, place};
pub(crate) use self::problem::{Record, Severity, nearest};
use self::remark::Place;
pub(crate) use self::remark::{Remark, Role, Source};
use super::recipe::Recipe;
use crate::failure::{Advise, USAGE};
use crate::ui::Ui;

/// The largest recipe: a thousand times what people write.
const LARGEST_RECIPE: u64 = 1 << 20;

/// A recipe without mistakes, and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) recipe: Recipe,
    /// The recipe's folder, without symbolic links: what `copy` names lies beneath it.
    pub(crate) folder: PathBuf,
    pub(crate) source: Source,
}

/// A recipe that was looked at, right or wrong.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// In the order of their places.
    pub(crate) problems: Vec<Problem>,
    /// Without errors: the recipe.
    pub(crate) loaded: Option<Loaded>,
}

/// Reads the recipe at `path`, and says everything that is wrong with it.
///
/// # Errors
/// With exit code 64: it cannot be read, or has mistakes (which `ui` has shown).
pub(crate) fn load(path: &Path, ui: &Ui) -> anyhow::Result<Loaded> {
    let examined = examine(path)?;
    examined.show(ui);
    examined.into_loaded()
}

/// As [`load`], by a process whose parent loaded the same recipe and said what there was to say.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_again(path: &Path, ui: &Ui) -> anyhow::Result<Loaded> {
    let examined = examine(path)?;
    if examined.loaded.is_none() {
        examined.show(ui);
    }
    examined.into_loaded()
}

/// Reads the recipe at `path` and finds everything that is wrong with it.
///
/// # Errors
/// With exit code 64: it cannot be read at all.
pub(crate) fn examine(path: &Path) -> anyhow::Result<Examined> {
    let reading = || format!("reading the recipe {}", path.display());
    let text = read(path).with_context(reading).hint(|| hint_for(path)).exit_code(USAGE)?;
    let resolved = fs::canonicalize(path).with_context(reading).exit_code(USAGE)?;
    let folder = resolved.parent().unwrap_or(Path::new("/")).to_owned();
    let (recipe, problems, places) = parse(&text, &folder);
    let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
    let source = || Source { path: path.to_owned(), text: text.clone(), places };
    let loaded = recipe.filter(|_| sound).map(|recipe| Loaded { recipe, folder, source: source() });
    Ok(Examined { path: path.to_owned(), text, problems, loaded })
}

impl Examined {
    /// Shows every problem.
    pub(crate) fn show(&self, ui: &Ui) {
        for problem in &self.problems {
            let rendered = problem.render(&self.path, &self.text);
            match problem.severity {
                Severity::Error => ui.mistake(&rendered),
                Severity::Warning => ui.doubt(&rendered),
            }
        }
    }

    /// The recipe, if nothing is wrong with it.
    fn into_loaded(mut self) -> anyhow::Result<Loaded> {
        match self.loaded.take() {
            Some(loaded) => Ok(loaded),
            None => Err(anyhow!("{} has {}", self.path.display(), self.count()))
                .hint(|| "recipes/README.md explains every key; `goldimg schema` prints them for editors")
                .exit_code(USAGE),
        }
    }

    /// "3 mistakes"
    pub(crate) fn count(&self) -> String {
        count(&self.problems)
    }
}

/// "3 mistakes"
fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|problem| problem.severity == Severity::Error).count() {
        1 => "1 mistake".into(),
        count => format!("{count} mistakes"),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_RECIPE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_RECIPE {
        bail!("it is larger than 1 MiB");
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = sound.split(|byte| *byte == b'\n').count();
        anyhow!("line {line} is not UTF-8")
    })
}

/// What to try where there is no recipe at `path`.
fn hint_for(path: &Path) -> String {
    let mut nearby = vec![path.with_extension("toml")];
    nearby.extend(path.file_name().map(|name| Path::new("recipes").join(name).with_extension("toml")));
    match nearby.into_iter().find(|other| other != path && other.is_file()) {
        Some(other) => format!("goldimg plan {}", other.display()),
        None => "a recipe is a text file; recipes/minimal.toml is a small one to begin with".into(),
    }
}

/// What `text` says, everything that is wrong with it, and where its words are.
fn parse(text: &str, folder: &Path) -> (Option<Recipe>, Vec<Problem>, Vec<Place>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors.iter().map(|error| syntax(error, text)).collect();
    let walk = Walk::new(folder);
    // The whole document has no place of its own: what it lacks is told at its beginning.
    let recipe = sections::recipe(Fields::root(&walk, document.get_ref(), 0..0, "the recipe"));
    let (found, places) = walk.found();
    // What cannot be read may be what is missing, and what is guessed of a broken line is nobody's mistake.
    let broken: Vec<usize> = problems.iter().map(|problem| place(text, problem.span.start).0).collect();
    problems.extend(found.into_iter().filter(|problem| {
        broken.is_empty() || !(problem.lacking || broken.contains(&place(text, problem.span.start).0))
    }));
    problems
        .sort_by(|a, b| (a.span.start, a.severity, &a.message).cmp(&(b.span.start, b.severity, &b.message)));
    problems.dedup();
    (recipe, problems, places)
}

/// A line that is not TOML.
fn syntax(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    let problem = Problem::error(span, format!("not TOML: {message}"));
    if message.contains("duplicate key") {
        return Problem::error(problem.span, "the same key again")
            .help("a key is set once; lists hold several values");
    }
    let before =
        text.get(..problem.span.start).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
    let after = text.get(problem.span.start..).and_then(|after| after.lines().next()).unwrap_or_default();
    match format!("{before}{after}").trim_start() {
        line if line.starts_with("- ") => {
            problem.help("this looks like YAML; in TOML a list is [\"a\", \"b\"]")
        }
        line if line.contains(": ") && !line.contains('=') => {
            problem.help("in TOML a value stands behind `=`")
        }
        _ => problem,
    }
}

#[cfg(test)]
mod tests;
