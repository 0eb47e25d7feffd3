//! Other names of what is removed: a file with two hard links is there as long as one of them is.
//!
//! ```text
//! removed, with more links than names in the plan ─► one walk of its filesystem ─► other names ─┬─ of a secret: they go too
//!                                                                                               └─ else, or kept: told
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::fs::{Filesystem, FilesystemKind, NodeId, NodeKind};

use super::plan::{Change, Plan};
use crate::audit::{Expected, View};
use crate::error::Context;
use crate::files::absolute;
use crate::guest::is_for_a_guest;
use crate::system::{Mounted, Walk};

/// A file with names that go.
#[derive(Default)]
struct Shared {
    links: u32,
    /// Its names that go, as paths in its filesystem.
    names: BTreeSet<PathBuf>,
    is_secret: bool,
    /// One of them, as the plan has it.
    path: PathBuf,
}

/// The files of one filesystem.
struct Place<'a> {
    folder: &'a Path,
    files: &'a Arc<dyn Filesystem>,
    shared: BTreeMap<NodeId, Shared>,
}

impl Plan {
    /// Looks for other names of what goes.
    pub(super) fn other_names(&mut self, view: &View, expected: &Expected) -> crate::Result<()> {
        let system = view.system();
        let mut places: Vec<Place<'_>> = Vec::new();
        for change in &self.changes {
            let Change::Remove(path) = change else { continue };
            let Some(real) = system.real_path(path, false)? else { continue };
            let Some((_, folder)) = system.mounted().holder(&real) else { continue };
            let Some(found) = system.find(path, false)? else { continue };
            let (node, files) = (found.node?, found.fs);
            if node.links < 2 || node.kind == NodeKind::Directory || !has_names(files.kind()) {
                continue;
            }
            let index = places.iter().position(|own| own.folder == folder).unwrap_or_else(|| {
                places.push(Place { folder, files, shared: BTreeMap::new() });
                places.len() - 1
            });
            let shared = places[index].shared.entry(node.id).or_default();
            shared.links = node.links;
            shared.names.insert(Path::new("/").join(real.strip_prefix(folder).unwrap_or(&real)));
            shared.is_secret |= self.secrets.contains(path);
            shared.path.clone_from(path);
        }
        for own in places {
            for (path, other, is_secret) in others(&own)? {
                let place = own.folder.join(other.strip_prefix("/").unwrap_or(&other));
                // Something may be mounted over it.
                let is_seen = system.mounted().holder(&place).is_some_and(|(_, folder)| folder == own.folder);
                if is_seen && is_secret && !expected.keeps(&place) {
                    self.add(Change::Remove(place));
                } else {
                    let place = if is_seen { place } else { other };
                    self.notes.push(format!(
                        "what was {} stays as {}, another name of it",
                        path.display(),
                        place.display()
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether files of `kind` are changed, and may have several names.
fn has_names(kind: FilesystemKind) -> bool {
    kind.is_ext() || is_for_a_guest(kind)
}

/// Each other name: the path that goes, the name as a path in the filesystem, and whether it is a secret's.
fn others(own: &Place<'_>) -> crate::Result<Vec<(PathBuf, PathBuf, bool)>> {
    let has_more = |shared: &Shared| (shared.names.len() as u64) < u64::from(shared.links);
    let mut found = Vec::new();
    if !own.shared.values().any(has_more) {
        return Ok(found);
    }
    let alone = Mounted::alone(own.files);
    for step in Walk::of(&alone)?.context("there is no root directory")? {
        let Some(shared) = own.shared.get(&step.node?.id) else { continue };
        let path = absolute(&step.path);
        if !shared.names.contains(&path) {
            found.push((shared.path.clone(), path, shared.is_secret));
        }
    }
    Ok(found)
}
