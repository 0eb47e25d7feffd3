//! Symbolic links of another system, followed as that system would: none leads out of its tree.
//!
//! A link that says `/etc/x` means the tree's `/etc/x`, and `..` leads no further up than its root (path_resolution(7)).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

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
