//! Files beside the recipe.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use toml::de::DeValue;

use super::fields::{Fields, Value, Walk, text};
use super::problem::Problem;
use crate::nearest::nearest;

/// The largest script or fragment in a file of its own.
const LARGEST_FILE: u64 = 1 << 20;

/// A file or folder beneath the recipe's folder: its path from there as it is written, and the resolved one.
pub(super) fn beside(walk: &Walk<'_>, value: &Value<'_>) -> Option<(PathBuf, PathBuf)> {
    let written = text(walk, value)?;
    let relative = Path::new(written);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if written.is_empty()
        || written.chars().any(|c| c.is_ascii_control())
        || !relative.components().all(plain)
    {
        let problem =
            Problem::error(value.span(), format!("{written:?} does not lie beneath the recipe's folder"));
        return walk.refuse(
            problem.help("write a path from the recipe's folder, without `..`, such as \"files/motd\""),
        );
    }
    let resolved = match fs::canonicalize(walk.folder.join(relative)) {
        Ok(resolved) => resolved,
        Err(error) => {
            let mut problem = Problem::error(value.span(), format!("{written:?} cannot be used: {error}"));
            if let Some(near) = neighbour(walk.folder, relative) {
                problem = problem.label(format!("did you mean {near:?}?"));
            }
            return walk.refuse(problem.help("paths begin at the recipe's folder"));
        }
    };
    if !resolved.starts_with(walk.folder) {
        let problem = Problem::error(value.span(), format!("{written:?} leads out of the recipe's folder"));
        return walk.refuse(problem.label("a symbolic link").help("put the file itself there"));
    }
    Some((relative.to_owned(), resolved))
}

/// A file beside the missing one with nearly its name.
fn neighbour(folder: &Path, missing: &Path) -> Option<String> {
    let within = missing.parent().unwrap_or(Path::new(""));
    let entries = fs::read_dir(folder.join(within)).ok()?;
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = nearest(missing.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(within.join(near).display().to_string())
}

/// Text that is given as a string, as `{ KEY = "…" }`, or as `{ file = "…" }` beside the recipe.
pub(super) fn file_or_text(
    walk: &Walk<'_>,
    value: &Value<'_>,
    key: &'static str,
    place: &str,
) -> Option<String> {
    file_or_text_with(walk, value, key, place, &[])
}

/// As [`file_or_text`], in a table that has also other keys, which the caller reads.
pub(super) fn file_or_text_with(
    walk: &Walk<'_>,
    value: &Value<'_>,
    key: &'static str,
    place: &str,
    also: &[&'static str],
) -> Option<String> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return text(walk, value).map(str::to_owned);
    }
    let mut fields = Fields::of(walk, value, place)?;
    let found = text_of(&mut fields, key, place);
    for key in also {
        // Read by the caller.
        fields.optional(key, |_, _| Some(()));
    }
    fields.finish(|_| None);
    found
}

/// The text of a table: of its `key`, or in the file that it names; one of them.
pub(super) fn text_of(fields: &mut Fields<'_, '_>, key: &'static str, place: &str) -> Option<String> {
    let (span, present) = (fields.span(), (fields.has(key), fields.has("file")));
    let given = fields.optional(key, |walk, value| text(walk, value).map(str::to_owned));
    let read = fields.optional("file", file_content);
    match present {
        (true, true) => fields.walk().refuse(
            Problem::error(span, format!("{place} has both `{key}` and `file`")).help("leave one out"),
        ),
        (false, false) => fields.walk().refuse(
            Problem::error(span, format!("{place} has neither `{key}` nor `file`"))
                .help(format!("add `{key} = \"…\"`")),
        ),
        _ => given.or(read),
    }
}

/// The content of a text file beside the recipe.
fn file_content(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let (_, path) = beside(walk, value)?;
    let mut content = String::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut content));
    match read {
        Ok(length) if length as u64 > LARGEST_FILE => walk.refuse(
            Problem::error(value.span(), "the file is larger than 1 MiB").help("copy it with `copy`"),
        ),
        Ok(_) => Some(content),
        Err(error) => {
            walk.refuse(Problem::error(value.span(), format!("the file cannot be read as text: {error}")))
        }
    }
}
