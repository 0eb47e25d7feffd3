//! Files beside the recipe.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::fields::{Value, Walk, text};
use super::problem::Problem;
use crate::nearest::nearest;

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
