//! The changed image beside the one that it was: what the steps did not change is the same in all that a file has, and what they changed
//! is as they left it.
//!
//! ```text
//! image   ─► Step, Step, … ─┐ by path    no change: every field of the node, attributes, content
//! changed ─► Step, Step, … ─┴─────────►  a change: beside the tree, where there is one
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use image_core::fs::{FilesystemKind, Node, NodeId, NodeKind};

use super::difference::{Change, Difference};
use crate::error::{Context, bail, err};
use crate::files::{Both, DiffOptions, Item, SELINUX_LABEL, by_names, changes_of, same_content};
use crate::monitor::CancellationToken;
use crate::system::System;

/// So many files wait for their content to be compared.
const BATCH: usize = 4096;

/// What is compared.
pub(super) struct Verification<'a> {
    pub(super) image: &'a System,
    pub(super) changed: &'a System,
    pub(super) difference: &'a Difference,
    /// The tree after the steps.
    pub(super) tree: &'a Path,
    /// Attributes that no file of the tree can have here.
    pub(super) refused: &'a BTreeSet<Vec<u8>>,
    pub(super) cancel: &'a CancellationToken,
}

/// Which files of the tree and of the image are the same, by the names that were met.
#[derive(Default)]
struct Groups {
    met: BTreeSet<Vec<u8>>,
    in_image: HashMap<NodeId, NodeId>,
    in_tree: HashMap<NodeId, NodeId>,
}

impl Groups {
    /// Makes sure that all names of a file of the tree are names of one file of the image, and the reverse.
    fn meet(&mut self, tree: &Item<'_>, image: &Item<'_>) -> crate::Result<()> {
        self.met.insert(image.path.clone());
        let is_alone = tree.node.links < 2 && image.node.links < 2;
        if is_alone
            || tree.node.kind == NodeKind::Directory
            || image.filesystem() == Some(FilesystemKind::Fat)
        {
            return Ok(());
        }
        let (own, theirs) = (tree.node.id, image.node.id);
        let is_same = *self.in_image.entry(own).or_insert(theirs) == theirs
            && *self.in_tree.entry(theirs).or_insert(own) == own;
        match is_same {
            true => Ok(()),
            false => Err(err!("{} is a name of another file than the steps left it", image.shown())),
        }
    }
}

/// Two files that must have the same content.
type Pair<'a> = (Item<'a>, Item<'a>);

impl Verification<'_> {
    /// Compares. Answers with how many files are as they were.
    ///
    /// # Errors
    /// With the first file that is not as it must be.
    pub(super) fn run(&self) -> crate::Result<u64> {
        let root = Path::new("/");
        let (Some(before), Some(after)) = (self.image.walk(root, false)?, self.changed.walk(root, false)?)
        else {
            bail!("it has no root directory");
        };
        let (mut kept, mut pairs) = (0_u64, Vec::new());
        let mut groups = Groups::default();
        for next in Both::new(Box::new(before.map(Item::of)), Box::new(after.map(Item::of))) {
            self.cancel.check()?;
            match next? {
                (None, None) => {}
                (Some(old), None) => self.judge_removed(&old)?,
                (None, Some(new)) => self.judge_changed(&new, &mut groups)?,
                (Some(old), Some(new)) => match self.difference.of(&old.path) {
                    None => {
                        self.judge_kept(&old, &new)?;
                        kept = kept.saturating_add(1);
                        if new.node.kind == NodeKind::File && new.node.size > 0 {
                            pairs.push((old, new));
                        }
                    }
                    Some(_) => self.judge_changed(&new, &mut groups)?,
                },
            }
            if pairs.len() >= BATCH {
                self.judge_content(&std::mem::take(&mut pairs))?;
            }
        }
        self.judge_content(&pairs)?;
        self.judge_missing(&groups)?;
        Ok(kept)
    }

    /// Makes sure that all that was written was met.
    fn judge_missing(&self, groups: &Groups) -> crate::Result<()> {
        for (path, change) in &self.difference.changes {
            if *change != Change::Written || groups.met.contains(path) {
                continue;
            }
            let item = Item::at(self.tree, path)?;
            if item.node.kind != NodeKind::Socket {
                bail!("{} was written by a step, and is not in the image", item.shown());
            }
        }
        Ok(())
    }

    fn judge_removed(&self, old: &Item<'_>) -> crate::Result<()> {
        let ends = old.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let is_removed = ends.chain([old.path.len()]).any(|end| {
            let above = old.path.get(..end).unwrap_or_default();
            self.difference.removed.binary_search_by(|own| by_names(own, above)).is_ok()
        });
        match is_removed || old.node.kind == NodeKind::Socket {
            true => Ok(()),
            false => Err(err!("{} is gone, and no step has removed it", old.shown())),
        }
    }

    fn judge_kept(&self, old: &Item<'_>, new: &Item<'_>) -> crate::Result<()> {
        let (mut before, after) = (old.node.clone(), &new.node);
        if new.filesystem() == Some(FilesystemKind::Fat) {
            // Told by where its name is, which may have moved.
            before.id = after.id;
        }
        if before != *after {
            bail!(
                "{} is another than before, and no step has changed it: {}",
                old.shown(),
                unlike(&before, after)
            );
        }
        if old.attributes()? != new.attributes()? {
            bail!("{} has other attributes than before, and no step has changed it", old.shown());
        }
        let same_target = old.node.kind != NodeKind::Link || old.target()? == new.target()?;
        match same_target {
            true => Ok(()),
            false => Err(err!("{} points elsewhere than before, and no step has changed it", old.shown())),
        }
    }

    /// Makes sure that `new` is as the tree has it.
    fn judge_changed(&self, new: &Item<'_>, groups: &mut Groups) -> crate::Result<()> {
        let item = Item::at(self.tree, &new.path)
            .with_context(|| format!("{} is in the image, and not in the tree of the steps", new.shown()))?;
        groups.meet(&item, new)?;
        let mut options = DiffOptions::new();
        if new.filesystem() == Some(FilesystemKind::Fat) {
            // It has two seconds for one, and neither owners nor rights.
            (options.times, options.owners, options.modes, options.attributes) = (false, false, false, false);
        }
        let changes = changes_of(&item, new, options, self.cancel)?;
        let unlike = changes.iter().find(|change| {
            let name = change.property.as_bytes();
            !self.refused.contains(name) && change.property != SELINUX_LABEL && change.property != "links"
        });
        match unlike {
            None => Ok(()),
            Some(unlike) => Err(err!(
                "{} is not as the steps left it: {} is {} instead of {}",
                new.shown(),
                unlike.property,
                unlike.after.as_deref().unwrap_or("another"),
                unlike.before.as_deref().unwrap_or("none")
            )),
        }
    }

    /// Compares the content of `pairs` on all processors.
    fn judge_content(&self, pairs: &[Pair<'_>]) -> crate::Result<()> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let compare = || {
            while let Some((old, new)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.same(old, new) {
                    next.store(pairs.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(compare))));
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn same(&self, old: &Item<'_>, new: &Item<'_>) -> crate::Result<()> {
        match same_content(&*old.content()?, &*new.content()?, self.cancel)? {
            true => Ok(()),
            false => Err(err!("{} has other content than before, and no step has changed it", old.shown())),
        }
    }
}

/// Which fields of two nodes are not the same.
fn unlike(one: &Node, other: &Node) -> String {
    let fields = [
        ("inode", one.id != other.id),
        ("kind", one.kind != other.kind),
        ("mode", one.mode != other.mode),
        ("owner", (one.uid, one.gid) != (other.uid, other.gid)),
        ("size", one.size != other.size),
        ("blocks", one.allocated != other.allocated),
        ("links", one.links != other.links),
        ("flags", one.flags != other.flags),
        ("atime", one.accessed != other.accessed),
        ("ctime", one.changed != other.changed),
        ("mtime", one.modified != other.modified),
        ("crtime", one.created != other.created),
        ("device", one.device != other.device),
    ];
    let names: Vec<&str> = fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    names.join(", ")
}
