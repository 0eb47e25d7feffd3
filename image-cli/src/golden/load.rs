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
mod beside;
mod cloud;
mod existing;
mod fields;
mod file_steps;
mod keys;
mod machine_steps;
mod problem;
mod public_keys;
mod remark;
mod rules;
mod sections;
mod steps;
mod written;

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use self::fields::{Fields, Walk};
use self::problem::{Problem, count, place};
pub(crate) use self::public_keys::read_keys;
use self::remark::Place;
pub(crate) use self::remark::{Remark, Role, Source};
use super::recipe::{Recipe, Step};
use crate::error::{Advise, Context, bail, err};
use crate::mistake::{Mistake, Severity};
use crate::monitor::Monitor;

/// The largest recipe: a thousand times what people write.
const LARGEST_RECIPE: u64 = 1 << 20;

/// A recipe without mistakes, and where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says, with every default.
    pub recipe: Recipe,
    /// The recipe's folder, without symbolic links: what `copy` names lies beneath it.
    pub(crate) folder: PathBuf,
    pub(crate) source: Source,
}

/// A recipe that was looked at, right or wrong.
#[non_exhaustive]
pub struct Examined {
    /// Its file.
    pub path: PathBuf,
    pub(crate) text: String,
    /// In the order of their places.
    pub(crate) problems: Vec<Problem>,
    /// Without errors: the recipe.
    pub loaded: Option<Loaded>,
}

/// Reads the recipe at `path`, and says everything that is wrong with it.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid): it cannot be read, or has mistakes (which were told).
pub fn load(path: &Path, monitor: Monitor<'_>) -> crate::Result<Loaded> {
    let examined = examine(path)?;
    examined.tell(monitor);
    examined.into_loaded()
}

impl Loaded {
    /// A recipe that was made by calls; what its steps copy lies beneath `folder`.
    ///
    /// # Errors
    /// Of the kind [`Invalid`](crate::ErrorKind::Invalid): it has mistakes (which were told, at their places in the text of
    /// such a recipe), or there is no such folder.
    pub fn new(recipe: &Recipe, folder: &Path, monitor: Monitor<'_>) -> crate::Result<Self> {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("looking for the recipe's folder {}", folder.display()))
            .invalid()?;
        let path = PathBuf::from(format!("{}.toml", recipe.name));
        let examined = Examined::new(path, written::toml(recipe).invalid()?, folder);
        examined.tell(monitor);
        let mut loaded = examined.into_loaded()?;
        // Addresses are written without credentials.
        let mut given = recipe.clone();
        for (uri, given) in loaded.recipe.uris().zip(given.uris()) {
            if !given.can_be_told() {
                return Err(err!("apt cannot be told the name and password for {given}"))
                    .hint(|| "both are needed, without spaces, and do not begin with `#`")
                    .invalid();
            }
            *uri = given.clone();
        }
        Ok(loaded)
    }
}

/// Reads the recipe at `path` and finds everything that is wrong with it.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid): it cannot be read at all.
pub fn examine(path: &Path) -> crate::Result<Examined> {
    let reading = || format!("reading the recipe {}", path.display());
    let text = read(path).with_context(reading).hint(|| hint_for(path)).invalid()?;
    let resolved = fs::canonicalize(path).with_context(reading).invalid()?;
    let folder = resolved.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Examined::new(path.to_owned(), text, folder))
}

/// Without the text, which may have a password in it.
impl fmt::Debug for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examined").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Examined {
    fn new(path: PathBuf, text: String, folder: PathBuf) -> Self {
        let (recipe, problems, places) = parse(&text, &folder);
        let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
        let source = || Source { path: path.clone(), text: text.clone(), places };
        let loaded = recipe.filter(|_| sound).map(|recipe| Loaded { recipe, folder, source: source() });
        Self { path, text, problems, loaded }
    }

    /// Every problem, as callers are told.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.problems.iter().map(|problem| problem.mistake(&self.path, &self.text)).collect()
    }

    /// Tells every problem.
    pub fn tell(&self, monitor: Monitor<'_>) {
        self.mistakes().iter().for_each(|mistake| monitor.mistake(mistake));
    }

    /// The recipe, if nothing is wrong with it.
    fn into_loaded(mut self) -> crate::Result<Loaded> {
        match self.loaded.take() {
            Some(loaded) => Ok(loaded),
            None => Err(err!("{} has {}", self.path.display(), self.count()))
                .hint(|| "recipes/README.md explains every key; `goldimg schema` prints them for editors")
                .invalid(),
        }
    }

    /// "3 mistakes"
    pub fn count(&self) -> String {
        count(&self.problems)
    }
}

fn read(path: &Path) -> crate::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_RECIPE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_RECIPE {
        bail!("it is larger than 1 MiB");
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = sound.split(|byte| *byte == b'\n').count();
        err!("line {line} is not UTF-8")
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
    let walk = |document: &DeTable<'_>| {
        if existing::has(document, "image") {
            Walk::for_any_system(folder)
        } else if ["tar", "oci"].iter().any(|key| existing::has(document, key)) {
            Walk::for_files(folder)
        } else {
            Walk::new(folder)
        }
    };
    parsed(text, walk, "the recipe", sections::recipe)
}

/// As [`parse`], of steps alone, for an image of whatever system.
fn parse_steps(text: &str, folder: &Path) -> (Option<Vec<Step>>, Vec<Problem>) {
    let walk = |_: &DeTable<'_>| Walk::for_any_system(folder);
    let (steps, problems, _) = parsed(text, walk, "a file of steps", |mut fields| {
        let steps = fields.required("steps", "`[[steps]]`, and below it what to do", steps::steps);
        fields.finish(|key| keys::home(key, "a file of steps"));
        steps
    });
    (steps, problems)
}

/// Reads a file of steps alone, `[[steps]]` as recipes have them, for an image of whatever system. What they copy is named from
/// the root of this machine then.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid): it cannot be read, or has mistakes (which were told).
pub fn load_steps(path: &Path, monitor: Monitor<'_>) -> crate::Result<Vec<Step>> {
    let reading = || format!("reading the steps in {}", path.display());
    let text = read(path).with_context(reading).invalid()?;
    let resolved = fs::canonicalize(path).with_context(reading).invalid()?;
    let folder = resolved.parent().unwrap_or(Path::new("/"));
    let (steps, problems) = parse_steps(&text, folder);
    problems.iter().for_each(|problem| monitor.mistake(&problem.mistake(path, &text)));
    let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
    let Some(mut steps) = steps.filter(|_| sound) else {
        return Err(err!("{} has {}", path.display(), count(&problems)))
            .hint(|| "recipes/README.md explains every step")
            .invalid();
    };
    for step in &mut steps {
        if let Step::Copy(copy) = step {
            let absolute = folder.join(&copy.from);
            copy.from = absolute.strip_prefix("/").map(Path::to_owned).unwrap_or(absolute);
        }
    }
    Ok(steps)
}

/// Holds a step that was made by calls to the rules of recipes. What it copies lies beneath `folder`, an absolute path without links.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid): with its first mistake, and the remedy.
pub fn check_step(step: &Step, folder: &Path) -> crate::Result<()> {
    let (_, problems) = parse_steps(&written::step(step)?, folder);
    match problems.into_iter().find(|problem| problem.severity == Severity::Error) {
        None => Ok(()),
        Some(Problem { message, help: Some(help), .. }) => Err(err!("{message}")).hint(|| help).invalid(),
        Some(Problem { message, .. }) => Err(err!("{message}")).invalid(),
    }
}

/// What `read` makes of `text`, called `place`.
fn parsed<'w, T>(
    text: &str,
    walk: impl FnOnce(&DeTable<'_>) -> Walk<'w>,
    place_of_all: &str,
    read: impl FnOnce(Fields<'_, '_>) -> Option<T>,
) -> (Option<T>, Vec<Problem>, Vec<Place>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors.iter().map(|error| syntax(error, text)).collect();
    let walk = walk(document.get_ref());
    // The whole document has no place of its own: what it lacks is told at its beginning.
    let found = read(Fields::root(&walk, document.get_ref(), 0..0, place_of_all));
    let (noted, places) = walk.found();
    // What cannot be read may be what is missing, and what is guessed of a broken line is nobody's mistake.
    let broken: Vec<usize> = problems.iter().map(|problem| place(text, problem.span.start).0).collect();
    problems.extend(noted.into_iter().filter(|problem| {
        broken.is_empty() || !(problem.lacking || broken.contains(&place(text, problem.span.start).0))
    }));
    problems
        .sort_by(|a, b| (a.span.start, a.severity, &a.message).cmp(&(b.span.start, b.severity, &b.message)));
    problems.dedup();
    (found, problems, places)
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
