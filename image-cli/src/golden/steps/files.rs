//! Files of the tree changed where they are: text, permissions, owners, names.
//!
//! Every name is resolved as the booted system would, and nothing outside of the tree is reached.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::owner::Ids;
use super::text::{put, text};
use crate::error::{Advise, Context, bail, err};
use crate::golden::recipe::{
    AppendLine, ChangeMode, ChangeOwner, Delete, Edit, Link, MakeDirectory, Missing, Move,
};
use crate::golden::tree::Tree;
use crate::mode_change::{ModeChange, ModeError};
use crate::name_pattern;
use crate::substitution::Substitution;

/// The largest file that is edited: more is no configuration.
const LARGEST: u64 = 64 << 20;

/// What is said of a path with nothing behind it.
fn not_there(path: &str) -> crate::Error {
    err!("there is no {path} in the image")
}

/// Where `path` is, links followed, and what it is.
fn existing(path: &str, tree: &Tree) -> crate::Result<(PathBuf, fs::Metadata)> {
    let place = tree.path(path)?;
    match place.symlink_metadata() {
        Ok(meta) => Ok((place, meta)),
        Err(_) => Err(not_there(path)),
    }
}

/// Changes a text, and answers with the file; with nothing where nothing was changed.
///
/// # Errors
/// If there is no such file, an expression cannot be read, or it cannot be written.
pub(super) fn edit(step: &Edit, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let (place, meta) = existing(&step.path, tree)?;
    if !meta.is_file() {
        bail!("{} in the image is no file", step.path);
    }
    if meta.len() > LARGEST {
        bail!("{} in the image has more than {} MiB", step.path, LARGEST >> 20);
    }
    let before = tree.read(&step.path)?;
    let mut text = before.clone();
    for expression in &step.expressions {
        let substitution: Substitution = expression.parse()?;
        text = substitution.apply(&text);
    }
    if text == before {
        tree.log().note(&format!("{} has nothing that fits: it stays as it is", step.path))?;
        return Ok(Vec::new());
    }
    // In place: owner, mode and attributes stay.
    fs::write(&place, text).with_context(|| format!("writing {} in the image", step.path))?;
    Ok(vec![tree.inside(&place)])
}

/// Puts a line behind those of a text, of which the last one gets an end if it has none; answers with the file.
///
/// # Errors
/// If something else than a file is in its place, or it is no text.
pub(super) fn append_line(step: &AppendLine, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let before = text(&step.path, tree)?.unwrap_or_default();
    let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    put(&step.path, &format!("{before}{end}{}\n", step.line), 0o644, tree)
}

/// Removes what the paths find.
///
/// # Errors
/// If one finds nothing and is to find something, or something cannot be removed.
pub(super) fn delete(step: &Delete, tree: &Tree) -> crate::Result<()> {
    let is_there = |path: &Path| Ok(tree.exists(path));
    for pattern in &step.paths {
        let found = name_pattern::paths(pattern, is_there, |folder| tree.list(folder))?;
        if found.is_empty() && step.missing == Missing::Fail {
            return Err(not_there(pattern))
                .hint(|| "where that is all right: delete = { paths = [\"…\"], missing = \"ignore\" }");
        }
        for path in found {
            if tree.link_path(&path)? == tree.root() {
                bail!("{pattern} is the root of the image");
            }
            tree.remove(path)?;
        }
    }
    Ok(())
}

/// Makes a folder, and answers with it if it is new.
///
/// # Errors
/// If something else is in its place, or its owner is not known.
pub(super) fn make_directory(step: &MakeDirectory, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let doing = || format!("making the folder {} in the image", step.path);
    let ids = step.owner.as_ref().map(|owner| Ids::find(owner, tree)).transpose()?;
    let is_new = !tree.path(&step.path)?.exists();
    let place = tree.make_dir(&step.path)?;
    if let Some(ids) = ids {
        lchown(&place, Some(ids.user), Some(ids.group)).with_context(doing)?;
    }
    if let Some(mode) = step.mode {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).with_context(doing)?;
    }
    Ok(is_new.then(|| tree.inside(&place)).into_iter().collect())
}

/// Changes permissions.
///
/// # Errors
/// If there is nothing, or the mode cannot be read.
pub(super) fn change_mode(step: &ChangeMode, tree: &Tree) -> crate::Result<()> {
    let doing = || format!("changing the mode of {} in the image", step.path);
    let change: ModeChange =
        step.mode.parse().map_err(|error: ModeError| err!("{error}")).with_context(doing)?;
    let (place, meta) = existing(&step.path, tree)?;
    let mode = change.apply(meta.mode() & 0o7777, meta.is_dir());
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).with_context(doing)
}

/// Changes owner and group; what is executed with its owner's rights keeps its mode.
///
/// # Errors
/// If there is nothing, or the owner is not known.
pub(super) fn change_owner(step: &ChangeOwner, tree: &Tree) -> crate::Result<()> {
    let ids = Ids::find(&step.owner, tree)?;
    let (place, _) = existing(&step.path, tree)?;
    let mut places = vec![place];
    while let Some(place) = places.pop() {
        tree.log().check()?;
        let doing = || format!("changing the owner of {} in the image", tree.inside(&place).display());
        let meta = place.symlink_metadata().with_context(doing)?;
        lchown(&place, Some(ids.user), Some(ids.group)).with_context(doing)?;
        if meta.is_file() && meta.mode() & 0o6000 != 0 {
            // A change of the owner clears these bits.
            fs::set_permissions(&place, meta.permissions()).with_context(doing)?;
        }
        if step.recursive && meta.is_dir() {
            for entry in fs::read_dir(&place).with_context(doing)? {
                places.push(entry.with_context(doing)?.path());
            }
        }
    }
    Ok(())
}

/// Gives something another name, and answers with it.
///
/// # Errors
/// If there is nothing, or a folder is in the way.
pub(super) fn rename(step: &Move, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let doing = || format!("moving {} to {} in the image", step.from, step.to);
    let from = tree.link_path(&step.from)?;
    let meta = from.symlink_metadata().map_err(|_| not_there(&step.from))?;
    let mut to = PathBuf::from(&step.to);
    if tree.path(&to)?.is_dir() {
        // As mv(1): into the folder, under its own name.
        to.push(Path::new(&step.from).file_name().unwrap_or_default());
    }
    let place = tree.link_path(&to)?;
    let there = place.symlink_metadata().ok();
    if there.is_some_and(|there| there.is_dir() || meta.is_dir()) {
        return Err(err!("{} is in the way of {}", to.display(), step.from))
            .hint(|| format!("a step before this one: delete = \"{}\"", to.display()));
    }
    if place.starts_with(&from) && place != from {
        bail!("{} cannot be moved into itself", step.from);
    }
    if let Some(parent) = to.parent() {
        tree.make_dir(parent)?;
    }
    fs::rename(&from, &place).with_context(doing)?;
    Ok(vec![tree.inside(&place)])
}

/// Makes a link, and answers with it.
///
/// # Errors
/// If a folder is in its place; for a hard link, if there is no such file.
pub(super) fn link(step: &Link, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let doing = || format!("making the link {} in the image", step.path);
    let place = tree.link_path(&step.path)?;
    if place.symlink_metadata().is_ok_and(|there| there.is_dir()) {
        return Err(err!("{} in the image is a folder", step.path))
            .hint(|| format!("a step before this one: delete = \"{}\"", step.path));
    }
    let first = match step.hard {
        true => {
            let first = tree.link_path(&step.target)?;
            if !first.symlink_metadata().map_err(|_| not_there(&step.target))?.is_file() {
                bail!("{} in the image is no file: only files have hard links", step.target);
            }
            if first == place {
                return Ok(vec![tree.inside(&place)]);
            }
            Some(first)
        }
        false => None,
    };
    if let Some(parent) = Path::new(&step.path).parent() {
        tree.make_dir(parent)?;
    }
    tree.remove(&step.path)?;
    match first {
        Some(first) => fs::hard_link(first, &place).with_context(doing)?,
        None => symlink(&step.target, &place).with_context(doing)?,
    }
    Ok(vec![tree.inside(&place)])
}

/// Makes files that are not there, and sets the times of the others to the build's date.
///
/// # Errors
/// If one cannot be made.
pub(super) fn touch(paths: &[String], tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let date = Timespec { tv_sec: i64::try_from(tree.epoch().seconds())?, tv_nsec: 0 };
    let times = Timestamps { last_access: date, last_modification: date };
    let mut made = Vec::new();
    for path in paths {
        let place = tree.path(path)?;
        if place.symlink_metadata().is_err() {
            tree.write(path, "", 0o644)?;
            made.push(tree.inside(&place));
        }
        // Never opened: it may be a pipe, or a device.
        utimensat(CWD, &place, &times, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("setting the times of {path} in the image"))?;
    }
    Ok(made)
}

/// Makes files empty.
///
/// # Errors
/// If one is not there, or is no file.
pub(super) fn truncate(paths: &[String], tree: &Tree) -> crate::Result<()> {
    for path in paths {
        let (place, meta) = existing(path, tree)?;
        if !meta.is_file() {
            bail!("{path} in the image is no file");
        }
        fs::File::options()
            .write(true)
            .truncate(true)
            .open(place)
            .with_context(|| format!("emptying {path} in the image"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
