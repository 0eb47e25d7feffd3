//! Every file of a system, in the order of their paths, directories before what is in them.
//!
//! ```text
//! /usr ─► names, sorted ─► /usr/bin ─► … ─► /usr/lib ─► …      where something is mounted, that goes on instead
//! ```
//!
//! A directory is walked through once: one that is met in itself is an error, and the walk goes on behind it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashSet;
use std::sync::Arc;

use image_core::fs::{Filesystem, Node, NodeEntry, NodeId, NodeKind};

use super::mounted::{Found, Mounted};
use crate::error::err;

/// A filesystem, and its number.
type Place<'a> = (usize, &'a Arc<dyn Filesystem>);

/// Directories within directories: four times as many as the longest path that a kernel takes has.
const DEPTH_MAX: usize = 1 << 14;
/// So many names of one directory.
const NAMES_MAX: usize = 1 << 21;

/// A file that a walk has come to.
#[non_exhaustive]
pub struct Step<'a> {
    /// Its path from where the walk began, without a slash in front; empty for that place itself.
    pub path: Vec<u8>,
    /// The number of its filesystem, as an index of [`System::volumes`](super::System::volumes).
    pub volume: usize,
    /// Its filesystem.
    pub fs: &'a Arc<dyn Filesystem>,
    /// What is known of it, or why that cannot be read.
    pub node: crate::Result<Node>,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        f.debug_struct("Step").field("path", &path).field("node", &self.node).finish_non_exhaustive()
    }
}

impl<'a> Step<'a> {
    /// Of what was found, which has `path`.
    pub(super) fn of(found: Found<'a>, path: Vec<u8>) -> Self {
        let Found { volume, fs, node } = found;
        Self { path, volume, fs, node: Ok(node) }
    }

    /// How deep it is below where the walk began.
    pub fn depth(&self) -> usize {
        match self.path.is_empty() {
            true => 0,
            false => self.path.iter().filter(|byte| **byte == b'/').count().saturating_add(1),
        }
    }
}

/// A walk; it is asked for one file after the other.
pub struct Walk<'a> {
    mounted: &'a Mounted,
    /// Where it begins, until it has begun.
    first: Option<Found<'a>>,
    /// The absolute path of where it begins.
    start: Vec<u8>,
    open: Vec<Directory<'a>>,
    /// Directories by where their filesystem is in memory: one may be mounted twice, by other subvolumes.
    seen: HashSet<(usize, NodeId)>,
    depth_max: usize,
}

/// A directory that is being read.
struct Directory<'a> {
    path: Vec<u8>,
    place: Place<'a>,
    /// The last one first.
    names: Vec<NodeEntry>,
}

impl<'a> Walk<'a> {
    /// From `first` on, which is at the absolute path `start`.
    pub(super) fn new(mounted: &'a Mounted, first: Found<'a>, start: Vec<u8>) -> Self {
        let depth_max = DEPTH_MAX;
        Self { mounted, first: Some(first), start, open: Vec::new(), seen: HashSet::new(), depth_max }
    }

    /// Through all that is mounted; `None` if nothing is mounted at `/`.
    ///
    /// # Errors
    /// If the root directory cannot be read.
    pub(crate) fn of(mounted: &'a Mounted) -> crate::Result<Option<Self>> {
        let found = mounted.find("/".as_ref(), false)?;
        Ok(found.map(|found| Self::new(mounted, found, b"/".to_vec())))
    }

    /// No deeper than `depth` below where it begins: 0 is that place alone.
    #[must_use]
    pub fn no_deeper_than(mut self, depth: usize) -> Self {
        self.depth_max = depth.min(DEPTH_MAX);
        self
    }

    /// Has the walk come to `node` at `path`; its names come next if it is a directory.
    fn come_to(&mut self, path: Vec<u8>, (volume, fs): Place<'a>, node: Node) -> Step<'a> {
        let mut step = Step { path, volume, fs, node: Ok(node) };
        let depth = step.depth();
        let Ok(node) = &step.node else { return step };
        if node.kind != NodeKind::Directory || depth >= self.depth_max {
            if depth >= DEPTH_MAX {
                step.node = Err(err!("there are too many directories in each other"));
            }
            return step;
        }
        if !self.seen.insert((Arc::as_ptr(fs).addr(), node.id)) {
            step.node = Err(err!("the directory was met before: it has two names"));
            return step;
        }
        match names(&**fs, node) {
            Ok(names) => self.open.push(Directory { path: step.path.clone(), place: (volume, fs), names }),
            Err(error) => step.node = Err(error),
        }
        step
    }

    /// What is mounted at `path`, which is seen from where the walk began.
    fn over(&self, path: &[u8]) -> Option<(usize, image_core::Result<&'a Arc<dyn Filesystem>>)> {
        self.mounted.root_at(&self.start, path)
    }
}

/// The names in a directory, the last one first.
fn names(fs: &dyn Filesystem, directory: &Node) -> crate::Result<Vec<NodeEntry>> {
    let mut names = Vec::new();
    for entry in fs.entries(directory) {
        names.push(entry?);
        if names.len() > NAMES_MAX {
            return Err(err!("it has more than {NAMES_MAX} names"));
        }
    }
    names.sort_unstable_by(|one, other| other.name.cmp(&one.name));
    Ok(names)
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // What it is is told before what is in it.
        if let Some(Found { volume, fs, node }) = self.first.take() {
            return Some(self.come_to(Vec::new(), (volume, fs), node));
        }
        loop {
            let top = self.open.last_mut()?;
            let Some(entry) = top.names.pop() else {
                self.open.pop();
                continue;
            };
            let place = top.place;
            let path = match top.path.is_empty() {
                true => entry.name,
                false => [&top.path, b"/".as_slice(), &entry.name].concat(),
            };
            // A file of that name is hidden by what is mounted there.
            let (place, node) = match self.over(&path) {
                Some((volume, Ok(over))) => ((volume, over), over.root()),
                // What it hides is not what a booted system sees.
                Some((volume, Err(error))) => ((volume, place.1), Err(error)),
                None => (place, place.1.node(entry.id)),
            };
            return Some(match node {
                Ok(node) => self.come_to(path, place, node),
                Err(error) => Step { path, volume: place.0, fs: place.1, node: Err(error.into()) },
            });
        }
    }
}
