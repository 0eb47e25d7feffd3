//! Where a source meets the image: what is merged, what gives way, and what is a mistake.
//!
//! ```text
//! in the image ►   nothing   folder    link to a folder   file, other link   device and so on
//! folder           made      merged    merged, through    mistake            mistake
//! file             made      mistake   mistake            replaced           mistake
//! link             made      mistake   replaced           replaced           mistake
//! ```
//!
//! As `rsync --keep-dirlinks` does it, and `cp -R --keep-directory-symlink`. With `replace = true` what is in the way
//! is removed instead, with all that is in it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Advise, Context, bail, err};
use crate::golden::recipe::Copy;
use crate::golden::source::{Entry, Kind};
use crate::golden::tree::Tree;

/// What becomes of what is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Nothing is there.
    New,
    /// A folder, at this path on this machine, that takes the content of another one.
    Into(PathBuf),
    /// It goes, and the entry comes in its place.
    GivesWay,
}

/// What happens when `entry` is put at `place`, a path on this machine whose parents are folders in the tree.
///
/// # Errors
/// If what is there is in the way.
pub(super) fn resolve(
    entry: &Entry<'_>,
    place: &Path,
    step: &Copy,
    tree: &Tree,
) -> crate::Result<Resolution> {
    let there = match place.symlink_metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Resolution::New),
        Err(error) => {
            return Err(error).with_context(|| format!("looking at {}", tree.inside(place).display()));
        }
    };
    let leads_to = tree.path(tree.inside(place)).ok().filter(|_| there.is_symlink());
    let folder_behind = leads_to.filter(|path| path.is_dir());
    match (entry.kind(), folder_behind) {
        (Kind::Folder, _) if there.is_dir() => return Ok(Resolution::Into(place.to_owned())),
        (Kind::Folder, Some(folder)) => return Ok(Resolution::Into(folder)),
        (Kind::File, None) | (Kind::Link, _) if there.is_file() || there.is_symlink() => {
            return Ok(Resolution::GivesWay);
        }
        (Kind::Special(what), _) => return Err(special(entry, what)),
        _ => {}
    }
    match step.replace {
        true => replaceable(place, &there, tree).map(|()| Resolution::GivesWay),
        false => Err(clash(entry, place, &there, tree)),
    }
}

/// Makes sure that all of `entry` can be put at `place`, before anything is; without a place, that it can be read.
///
/// # Errors
/// If something in the image is in the way, or something of the source cannot be copied.
pub(crate) fn check(entry: &Entry<'_>, place: Option<&Path>, step: &Copy, tree: &Tree) -> crate::Result<()> {
    tree.log().check()?;
    let resolution = place.map(|place| resolve(entry, place, step, tree)).transpose()?;
    match entry.kind() {
        Kind::Folder => {
            refuse_own_tree(entry, tree)?;
            let folder = entry.open_folder()?;
            for name in folder.names()? {
                let place = match &resolution {
                    Some(Resolution::Into(there)) => Some(there.join(&name)),
                    _ => None,
                };
                check(&folder.entry(name)?, place.as_deref(), step, tree)?;
            }
        }
        Kind::File => drop(entry.open_file()?),
        Kind::Link => {}
        Kind::Special(what) => return Err(special(entry, what)),
    }
    Ok(())
}

/// A tree that is copied into itself would have no end.
fn refuse_own_tree(entry: &Entry<'_>, tree: &Tree) -> crate::Result<()> {
    let own = tree.root().metadata().with_context(|| format!("looking at {}", tree.root().display()))?;
    if (own.dev(), own.ino()) != entry.identity() {
        return Ok(());
    }
    Err(err!("{} is where this build works, and beneath what is copied", entry.shown()))
        .hint(|| "build with --work-dir somewhere else")
}

/// What to do about what is neither a file nor a folder nor a link.
pub(crate) const HINT_FOR_SPECIAL: &str =
    "take it out of what is copied, and make it in a `run` step, or at boot with tmpfiles.d(5)";

/// What cannot be in a copy.
pub(super) fn special(entry: &Entry<'_>, what: &str) -> crate::Error {
    let error = err!("{} is {what}: only files, folders and links are copied", entry.shown());
    advised(error, HINT_FOR_SPECIAL)
}

/// What is mounted for the steps is not the image's, and cannot be removed.
fn replaceable(place: &Path, there: &Metadata, tree: &Tree) -> crate::Result<()> {
    let parent = place.parent().unwrap_or(place).metadata()?;
    if place == tree.root() || parent.dev() != there.dev() {
        bail!("{} cannot be replaced: it is there for the steps only", tree.inside(place).display());
    }
    Ok(())
}

fn clash(entry: &Entry<'_>, place: &Path, there: &Metadata, tree: &Tree) -> crate::Error {
    let what = match entry.kind() {
        Kind::Folder => "a folder",
        Kind::Link => "a link",
        Kind::File | Kind::Special(_) => "a file",
    };
    let inside = tree.inside(place);
    let in_the_way = match there {
        _ if there.is_dir() => "a folder".to_owned(),
        _ if there.is_file() => "a file".to_owned(),
        _ if there.is_symlink() => {
            let target = place.read_link().unwrap_or_default();
            match tree.path(&inside).is_ok_and(|path| path.is_dir()) {
                true => format!("a link to the folder {}", target.display()),
                false => format!("a link to {}, which is no folder", target.display()),
            }
        }
        _ => "neither a file nor a folder".to_owned(),
    };
    let loss = if there.is_dir() { ", which would be lost with all that is in it" } else { "" };
    let error =
        err!("{} is {what}, but {} in the image is {in_the_way}{loss}", entry.shown(), inside.display());
    advised(error, "copy to another place, or write `replace = true` into this copy if that is meant")
}

fn advised(error: crate::Error, hint: &str) -> crate::Error {
    match Err::<(), _>(error).hint(|| hint) {
        Err(advised) => advised,
        Ok(()) => unreachable!("made from an error"),
    }
}
