//! Symbolic links of another system, followed as that system would: none leads out of its tree.
//!
//! A link that says `/etc/x` means the tree's `/etc/x`, and `..` leads no further up than its root (path_resolution(7)).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use image_core::fs::{FileKind, Files};

/// As many links as Linux follows (path_resolution(7)).
pub(crate) const LINKS_MAX: usize = 40;

/// Whether a path that ends in a link means the link, or what it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

/// The absolute path that `path` means in a tree. `link` answers with what a link says, by a path without links, and with
/// `None` for what is no link, or is not there: the end of a path need not exist. `None` where there are more than
/// [`LINKS_MAX`] links, as in a circle.
///
/// # Errors
/// Those of `link`.
pub(crate) fn resolve<E>(
    path: &Path,
    last: Last,
    link: impl Fn(&Path) -> Result<Option<PathBuf>, E>,
) -> Result<Option<PathBuf>, E> {
    let mut todo: VecDeque<OsString> = VecDeque::new();
    put_before(&mut todo, path);
    let mut found = PathBuf::from("/");
    let mut links = 0_usize;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&name);
        let is_kept = todo.is_empty() && last == Last::Keep;
        let Some(target) = (if is_kept { None } else { link(&next)? }) else {
            found = next;
            continue;
        };
        links = links.saturating_add(1);
        if links > LINKS_MAX {
            return Ok(None);
        }
        if target.is_absolute() {
            found = PathBuf::from("/");
        }
        put_before(&mut todo, &target);
    }
    Ok(Some(found))
}

/// Puts the names of `path` before those in `todo`.
fn put_before(todo: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// Whether all that is in the folder `path` of an image may be taken for what belongs there, if `path` is a link to it: not so for a
/// folder that has other things too, which is one at the top, or one above the link.
///
/// # Errors
/// If a folder above it cannot be read.
pub(crate) fn is_own_folder(files: &dyn Files, path: &Path) -> image_core::Result<bool> {
    let Some(target) = resolve(path, Last::Follow, |path| files.read_link(path))? else { return Ok(false) };
    let is_folder = files.metadata(path)?.is_some_and(|metadata| metadata.kind == FileKind::Directory);
    let parent = resolve(path.parent().unwrap_or(path), Last::Follow, |path| files.read_link(path))?;
    let is_above = parent.is_none_or(|parent| parent.starts_with(&target));
    Ok(is_folder && !is_above && target.components().count() > 2)
}
