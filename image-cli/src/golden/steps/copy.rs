//! A copy: what lies beside the recipe is put into the image, and nothing else is touched.
//!
//! ```text
//! source ─► met with the image (conflicts.rs) ─► no mistake: all of it is put there, name by name
//!                │ a mistake: nothing was done     content (content.rs), mode and owner (permissions.rs),
//!                ▼                                 hard links, what `preserve` names
//!            both paths, and the remedy
//! ```
//!
//! - What the step makes gets its owner and mode; a folder that is there keeps its own, and so does a file whose content
//!   is replaced where the recipe says nothing else.
//! - The same checkout makes the same image whatever umask, filesystem and hour it was made with: of the source count
//!   names, contents, links and whether the owner may execute a file. What else is to be kept `preserve` says.
//! - The step answers with exactly what it put there: that, and nothing beside it, was asked for.

pub(crate) mod conflicts;
mod content;
pub(crate) mod permissions;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::owner::Ids;
use crate::error::Context;
use crate::golden::recipe::{Copy, Preserve};
use crate::golden::source::attributes::{self, Topic};
use crate::golden::source::{Entry, Folder, Kind, Source, shown};
use crate::golden::tree::Tree;
use conflicts::{Resolution, resolve};
use permissions::{file_mode, folder_mode, kept_mode};

/// Does one copy, and answers with what was put into the image: absolute paths in it, without links.
///
/// # Errors
/// If the source cannot be read, something in the image is in the way, or cannot be written.
pub(super) fn copy(step: &Copy, folder: &Path, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let doing = || format!("copying {} to {} in the image", shown(&step.from), step.to);
    let source = Source::open(folder, &step.from)?;
    let entry = source.entry()?;
    let ids = step.owner.as_ref().map(|owner| Ids::find(owner, tree)).transpose()?;
    let target = target(step, &entry, tree)?;
    let place = tree.link_path(&target)?;
    conflicts::check(&entry, Some(&place), step, tree).with_context(doing)?;
    if let Some(parent) = target.parent() {
        tree.make_dir(parent)?;
    }
    let mut transfer = Transfer { step, ids, tree, first_names: HashMap::new(), put: Vec::new() };
    transfer.entry(&entry, &place).with_context(doing)?;
    Ok(transfer.put)
}

/// What `to` of the step means. As cp does: a file goes into a folder that is there.
fn target(step: &Copy, entry: &Entry<'_>, tree: &Tree) -> crate::Result<PathBuf> {
    let into = PathBuf::from(&step.to);
    let is_folder = step.to.ends_with('/') || tree.path(&into)?.is_dir();
    Ok(match step.from.file_name() {
        Some(name) if is_folder && entry.kind() != Kind::Folder => into.join(name),
        _ => into,
    })
}

/// A copy under way.
struct Transfer<'a> {
    step: &'a Copy,
    /// The owner that the recipe names.
    ids: Option<Ids>,
    tree: &'a Tree,
    /// Where a file with several names was put first, by what it is in the source.
    first_names: HashMap<(u64, u64), PathBuf>,
    put: Vec<PathBuf>,
}

/// What a file that is replaced leaves to the one in its place.
struct Predecessor {
    mode: u32,
    ids: Ids,
    /// Still open, for its access control list.
    file: File,
}

impl Transfer<'_> {
    /// Puts `entry` at `place`, a path on this machine whose parents are folders in the tree.
    fn entry(&mut self, entry: &Entry<'_>, place: &Path) -> crate::Result<()> {
        self.tree.log().check()?;
        let resolution = resolve(entry, place, self.step, self.tree)?;
        if let (Kind::Folder, Resolution::Into(there)) = (entry.kind(), &resolution) {
            return self.content_of(&entry.open_folder()?, there);
        }
        let doing = || format!("putting {} there", self.tree.inside(place).display());
        let predecessor = match resolution {
            Resolution::GivesWay => self.remove(place).with_context(doing)?,
            Resolution::New | Resolution::Into(_) => None,
        };
        match entry.kind() {
            Kind::Folder => self.folder(entry, place),
            Kind::Link => self.link(entry, place).with_context(doing),
            Kind::File => self.file(entry, place, predecessor).with_context(doing),
            Kind::Special(what) => Err(conflicts::special(entry, what)),
        }
    }

    fn content_of(&mut self, folder: &Folder, place: &Path) -> crate::Result<()> {
        folder.names()?.into_iter().try_for_each(|name| {
            let place = place.join(&name);
            self.entry(&folder.entry(name)?, &place)
        })
    }

    /// Takes away what gives way, and answers with what it leaves.
    fn remove(&self, place: &Path) -> crate::Result<Option<Predecessor>> {
        let meta = place.symlink_metadata()?;
        if meta.is_dir() {
            fs::remove_dir_all(place)?;
            return Ok(None);
        }
        let mut predecessor = None;
        if meta.is_file() {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let file = File::options().read(true).custom_flags(flags).open(place)?;
            let ids = Ids { user: meta.uid(), group: meta.gid() };
            predecessor = Some(Predecessor { mode: meta.permissions().mode(), ids, file });
        }
        fs::remove_file(place)?;
        Ok(predecessor)
    }

    fn folder(&mut self, entry: &Entry<'_>, place: &Path) -> crate::Result<()> {
        let doing = || format!("making the folder {}", self.tree.inside(place).display());
        let source = entry.open_folder()?;
        fs::create_dir(place).with_context(doing)?;
        let made = File::open(place).with_context(doing)?;
        let ids = self.ids.unwrap_or(Ids::ROOT);
        fchown(&made, Some(ids.user), Some(ids.group)).with_context(doing)?;
        let mode = folder_mode(self.step, entry.mode());
        made.set_permissions(fs::Permissions::from_mode(mode)).with_context(doing)?;
        self.attributes(entry, source.handle(), &made)?;
        self.put.push(self.tree.inside(place));
        self.content_of(&source, place)?;
        // Last: what is made in it changes its time.
        self.times(entry, place)
    }

    fn link(&mut self, entry: &Entry<'_>, place: &Path) -> crate::Result<()> {
        symlink(entry.read_link()?, place)?;
        let ids = self.ids.unwrap_or(Ids::ROOT);
        lchown(place, Some(ids.user), Some(ids.group))?;
        self.put.push(self.tree.inside(place));
        self.times(entry, place)
    }

    fn file(
        &mut self,
        entry: &Entry<'_>,
        place: &Path,
        predecessor: Option<Predecessor>,
    ) -> crate::Result<()> {
        if let Some(first) = self.first_names.get(&entry.identity())
            && fs::hard_link(first, place).is_ok()
        {
            // Otherwise it is in another filesystem, or has as many names as it can: then it is a file of its own.
            self.put.push(self.tree.inside(place));
            return Ok(());
        }
        let source = entry.open_file()?;
        let made = File::options().write(true).create_new(true).mode(0o600).open(place)?;
        content::copy(&source, &made, entry, self.tree.log())?;
        let there = predecessor.as_ref();
        // Capabilities and the set-user-ID bit are gone after a change of the owner, so that comes first.
        let ids = self.ids.or(there.map(|there| there.ids)).unwrap_or(Ids::ROOT);
        fchown(&made, Some(ids.user), Some(ids.group))?;
        let mode = match there {
            Some(there) if self.keeps_mode() => kept_mode(there.mode, entry.mode()),
            _ => file_mode(self.step, entry.mode()),
        };
        made.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Some(there) = there
            && self.keeps_mode()
        {
            attributes::carry_acl(&there.file, &made)?;
        }
        self.attributes(entry, &source, &made)?;
        self.times(entry, place)?;
        if entry.has_other_names() {
            self.first_names.entry(entry.identity()).or_insert_with(|| place.to_owned());
        }
        self.put.push(self.tree.inside(place));
        Ok(())
    }

    /// Whether a file that is replaced leaves its mode to the new one.
    fn keeps_mode(&self) -> bool {
        self.step.mode.is_none() && !self.step.preserves(Preserve::Mode)
    }

    fn attributes(&self, entry: &Entry<'_>, from: impl std::os::fd::AsFd, to: &File) -> crate::Result<()> {
        if !self.step.preserves(Preserve::Mode) && !self.step.preserves(Preserve::Xattr) {
            return Ok(());
        }
        let doing = || format!("copying {}", entry.shown());
        for attribute in attributes::list(&from).with_context(doing)? {
            if preserves(self.step, attribute.topic) {
                attributes::copy(&attribute, &from, to).with_context(doing)?;
            }
        }
        Ok(())
    }

    fn times(&self, entry: &Entry<'_>, place: &Path) -> crate::Result<()> {
        if !self.step.preserves(Preserve::Timestamps) {
            return Ok(());
        }
        let (tv_sec, tv_nsec) = entry.modified();
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec },
        };
        utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("setting the time of {}", self.tree.inside(place).display()))
    }
}

/// Whether attributes of this kind are copied. As with cp: access control lists are part of the mode.
pub(crate) fn preserves(step: &Copy, topic: Topic) -> bool {
    match topic {
        Topic::Acl => step.preserves(Preserve::Mode),
        Topic::Capability | Topic::User => step.preserves(Preserve::Xattr),
        Topic::Other => false,
    }
}

#[cfg(test)]
pub(super) mod tests;
