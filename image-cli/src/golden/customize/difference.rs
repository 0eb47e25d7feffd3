//! What the steps changed in the tree: found by what the kernel keeps of each file, confirmed by comparing with the image.
//!
//! ```text
//! tree as it was unpacked ─► Baseline: inode and time of the last change, of every file
//! tree after the steps ─┬─ the same for a file: nothing happened to it
//!                       └─ another one ─► compared with the image's file ─► Change
//! ```
//!
//! No step can set the time of a file's last change (`st_ctime`, inode(7)); it has no right to the machine's clock.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use image_core::fs::{FilesystemKind, NodeId, NodeKind, Time};

use crate::error::{Advise, Context, err};
use crate::files::{DiffOptions, Folder, Item, SELINUX_LABEL, by_names, changes_of};
use crate::monitor::CancellationToken;
use crate::system::System;

/// What tells that something happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: NodeId,
    changed: Time,
    kind: NodeKind,
    /// How many names it has.
    links: u32,
}

impl Stamp {
    fn of(item: &Item<'_>) -> Self {
        Self { inode: item.node.id, changed: item.node.changed, kind: item.node.kind, links: item.node.links }
    }
}

/// A tree as it was before the steps.
#[derive(Debug)]
pub(super) struct Baseline(Vec<(Vec<u8>, Stamp)>);

impl Baseline {
    /// Of the tree at `root`. When it is there, whatever is changed has a later time.
    ///
    /// # Errors
    /// If the tree cannot be read.
    pub(super) fn of(root: &Path) -> crate::Result<Self> {
        let mut stamps = Vec::new();
        for item in Folder::new(root)? {
            let item = item?;
            let stamp = Stamp::of(&item);
            stamps.push((item.path, stamp));
        }
        let last = stamps.iter().map(|(_, stamp)| stamp.changed).max().unwrap_or_default();
        pass(last, root).context("waiting for the clock of the filesystem")?;
        Ok(Self(stamps))
    }

    /// How many files there were.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Waits until what is changed in the filesystem of `root` has a later time than `last`: the kernel's clock for files has steps.
fn pass(last: Time, root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let beside = root.parent().unwrap_or(root);
    loop {
        let probe = tempfile::tempfile_in(beside)?.metadata()?;
        if (probe.ctime(), probe.ctime_nsec()) > (last.seconds, i64::from(last.nanoseconds)) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::golden) enum Change {
    /// It is new, or its content is, or its kind.
    Written,
    /// Its rights, owner, times or attributes are others.
    Metadata,
    /// It has other names, and nothing else is different.
    Links,
    /// It is gone.
    Removed,
}

/// All that is different.
#[derive(Debug, Default)]
pub(in crate::golden) struct Difference {
    /// By path, without a slash in front; what is in a directory that is gone is not told.
    pub(super) changes: Vec<(Vec<u8>, Change)>,
    /// Paths that have to go before anything is written: what is gone, and directories that are something else now.
    pub(super) removed: Vec<Vec<u8>>,
}

impl Difference {
    /// What happened to `path`; `None` if nothing did.
    pub(super) fn of(&self, path: &[u8]) -> Option<Change> {
        let at = self.changes.binary_search_by(|(own, _)| by_names(own, path)).ok()?;
        self.changes.get(at).map(|(_, change)| *change)
    }

    /// Adds the directories of the `paths` of files that are only otherwise changed: where such a file is made anew, the last change of
    /// its directory is a later one.
    pub(super) fn add_parents<'a>(&mut self, paths: impl Iterator<Item = &'a [u8]>) {
        let parents: BTreeSet<Vec<u8>> = paths.filter_map(parent).collect();
        let missing = parents.into_iter().filter(|path| self.of(path).is_none()).collect::<Vec<_>>();
        self.changes.extend(missing.into_iter().map(|path| (path, Change::Metadata)));
        self.changes.sort_unstable_by(|(one, _), (other, _)| by_names(one, other));
    }

    /// How many files are of this kind of change.
    pub(in crate::golden) fn count(&self, change: Change) -> usize {
        self.changes.iter().filter(|(_, own)| *own == change).count()
    }
}

/// What is compared with what.
pub(super) struct Comparison<'a> {
    pub(super) baseline: &'a Baseline,
    /// The tree after the steps.
    pub(super) tree: &'a Path,
    /// What it was unpacked from.
    pub(super) image: &'a System,
    /// Attributes that no file of the tree can have here.
    pub(super) refused: &'a BTreeSet<Vec<u8>>,
    /// Files that stood in for the image's own meanwhile: when those were put back is no change.
    pub(super) put_back: &'a [&'a str],
}

impl Comparison<'_> {
    /// Compares.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn difference(&self, cancel: &CancellationToken) -> crate::Result<Difference> {
        let mut found = Difference::default();
        let mut before = self.baseline.0.iter().peekable();
        // Directories in which a name is written or goes: that changes their times in the image, too.
        let mut parents: BTreeSet<Vec<u8>> = BTreeSet::new();
        for item in Folder::new(self.tree)? {
            cancel.check()?;
            let item = item?;
            while let Some((path, _)) = before.next_if(|(path, _)| by_names(path, &item.path).is_lt()) {
                note_removed(path, &mut found, &mut parents);
            }
            let stamp =
                before.next_if(|(path, _)| by_names(path, &item.path).is_eq()).map(|(_, stamp)| *stamp);
            let change = match stamp {
                Some(stamp) if stamp == Stamp::of(&item) => continue,
                Some(stamp) => self.change(&item, stamp, cancel)?,
                None => Some(Finding::Change(Change::Written)),
            };
            match change {
                None => continue,
                Some(Finding::Times)
                    if item.node.kind == NodeKind::Directory || self.is_put_back(&item.path) => {}
                Some(Finding::Times) => found.changes.push((item.path, Change::Metadata)),
                Some(Finding::Change(change)) => {
                    let was_directory = stamp.is_some_and(|stamp| stamp.kind == NodeKind::Directory);
                    if was_directory && item.node.kind != NodeKind::Directory {
                        found.removed.push(item.path.clone());
                    }
                    if change == Change::Written {
                        self.refuse_one_name(&item)?;
                        parents.extend(parent(&item.path));
                    }
                    found.changes.push((item.path, change));
                }
            }
        }
        for (path, _) in before {
            note_removed(path, &mut found, &mut parents);
        }
        found.changes.sort_unstable_by(|(one, _), (other, _)| by_names(one, other));
        found.removed.sort_unstable_by(|one, other| by_names(one, other));
        // Those that are gone are not told: what is in them is not, either.
        parents.retain(|path| found.of(path).is_none());
        found.changes.extend(parents.into_iter().map(|path| (path, Change::Metadata)));
        found.changes.sort_unstable_by(|(one, _), (other, _)| by_names(one, other));
        Ok(found)
    }

    fn is_put_back(&self, path: &[u8]) -> bool {
        self.put_back.iter().any(|own| own.strip_prefix('/').is_some_and(|own| own.as_bytes() == path))
    }

    /// Refuses `item` if its filesystem is a FAT, for which it has the name of a file beside it.
    fn refuse_one_name(&self, item: &Item<'_>) -> crate::Result<()> {
        let path = item.absolute();
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let is_fat = self
            .image
            .place_of(folder, true)?
            .is_some_and(|(volume, _)| volume.signature.kind == FilesystemKind::Fat);
        if !is_fat {
            return Ok(());
        }
        let folded = |name: &OsStr| name.to_string_lossy().to_lowercase();
        let inside = folder.strip_prefix("/").unwrap_or(folder);
        for entry in std::fs::read_dir(self.tree.join(inside)).context("reading the tree")? {
            let other = entry.context("reading the tree")?.file_name();
            if other != name && folded(&other) == folded(name) {
                return Err(err!(
                    "{}: beside {}, which is the same name in a FAT",
                    path.display(),
                    other.display()
                ))
                .hint(|| "have the step use the name that is there");
            }
        }
        Ok(())
    }

    /// What of `item` is not as the image has it.
    fn change(
        &self,
        item: &Item<'_>,
        stamp: Stamp,
        cancel: &CancellationToken,
    ) -> crate::Result<Option<Finding>> {
        let has_names = item.node.kind != NodeKind::Directory && stamp.links.max(item.node.links) > 1;
        // A name of another file than before: the one that had it has its other names still.
        let is_other = has_names && stamp.inode != item.node.id;
        if stamp.kind != item.node.kind || is_other {
            return Ok(Some(Finding::Change(Change::Written)));
        }
        let path = item.absolute();
        let Some(step) = self.image.find(&path, false)? else {
            return Ok(Some(Finding::Change(Change::Written)));
        };
        let old = Item::of(step)?;
        let changes = changes_of(&old, item, DiffOptions::new(), cancel)?;
        let properties: Vec<&str> = changes
            .iter()
            // One without a label is another file in its place, and gets the label of what was there.
            .filter(|change| change.property != SELINUX_LABEL || change.after.is_some())
            .map(|change| change.property.as_str())
            .filter(|property| !self.refused.contains(property.as_bytes()))
            .collect();
        let has = |names: &[&str]| properties.iter().any(|property| names.contains(property));
        Ok(if has(&["type", "content", "size", "target", "device"]) {
            Some(Finding::Change(Change::Written))
        } else if properties.iter().any(|property| !["modified", "links"].contains(property)) {
            Some(Finding::Change(Change::Metadata))
        } else if has(&["modified"]) {
            Some(Finding::Times)
        } else if has_names {
            // A name of it came or went, which is a change of the file in the image, too.
            Some(Finding::Change(Change::Links))
        } else {
            None
        })
    }
}

/// What comparing a file has found.
enum Finding {
    /// Its time alone is another.
    Times,
    Change(Change),
}

fn note_removed(path: &[u8], found: &mut Difference, parents: &mut BTreeSet<Vec<u8>>) {
    let is_within = found
        .removed
        .last()
        .is_some_and(|last| path.strip_prefix(last.as_slice()).is_some_and(|rest| rest.starts_with(b"/")));
    if is_within {
        return;
    }
    found.removed.push(path.to_vec());
    found.changes.push((path.to_vec(), Change::Removed));
    parents.extend(parent(path));
}

/// The directory that `path` is in; `None` for the root.
fn parent(path: &[u8]) -> Option<Vec<u8>> {
    if path.is_empty() {
        return None;
    }
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_files_made_anew_are_told_once_and_in_order() {
        let changes = [
            ("etc", Change::Links),
            ("etc/a", Change::Metadata),
            ("top", Change::Metadata),
            ("usr/b/c", Change::Metadata),
        ];
        let changes: Vec<(Vec<u8>, Change)> =
            changes.map(|(path, change)| (path.as_bytes().to_vec(), change)).into();
        let paths: Vec<Vec<u8>> = changes.iter().skip(1).map(|(path, _)| path.clone()).collect();
        let mut difference = Difference { changes, removed: Vec::new() };
        difference.add_parents(paths.iter().map(Vec::as_slice));
        let told: Vec<&[u8]> = difference.changes.iter().map(|(path, _)| path.as_slice()).collect();
        assert_eq!(told, ["", "etc", "etc/a", "top", "usr/b", "usr/b/c"].map(str::as_bytes));
        assert_eq!(
            (difference.of(b"etc"), difference.of(b"usr/b")),
            (Some(Change::Links), Some(Change::Metadata))
        );
    }
}
