//! Other names of what is removed: a file with two hard links is there as long as one of them is.
//!
//! ```text
//! removed, with more links than names in the plan ─► one walk of its filesystem ─► other names ─┬─ of a secret: they go too
//!                                                                                               └─ else, or kept: told
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use image_core::fs::{Ext4, NodeKind};

use super::plan::{Change, Plan};
use crate::audit::{Expected, View};
use crate::system::Volume;

/// An inode with names that go.
#[derive(Default)]
struct Shared {
    links: u32,
    /// Its names that go, as paths in its filesystem.
    names: BTreeSet<PathBuf>,
    is_secret: bool,
    /// One of them, as the plan has it.
    path: PathBuf,
}

/// The inodes of one filesystem.
struct Inodes<'a> {
    volume: &'a Volume,
    files: Ext4,
    shared: BTreeMap<u32, Shared>,
}

impl Plan {
    /// Looks for other names of what goes.
    pub(super) fn other_names(&mut self, view: &View, expected: &Expected) -> crate::Result<()> {
        let mut volumes: Vec<Inodes<'_>> = Vec::new();
        for change in &self.changes {
            let Change::Remove(path) = change else { continue };
            let Some((volume, inside)) = view.place_of(path)? else { continue };
            if !volume.signature.kind.is_ext() {
                continue;
            }
            let known = volumes.iter().position(|own| own.volume.range == volume.range);
            let index = match known {
                Some(index) => index,
                None => {
                    let window = volume.content(view.disk())?;
                    volumes.push(Inodes { volume, files: Ext4::open(window)?, shared: BTreeMap::new() });
                    volumes.len() - 1
                }
            };
            let own = &mut volumes[index];
            let Some(inode) = own.files.resolve(inside.as_os_str().as_bytes(), false)? else { continue };
            if inode.links < 2 || inode.kind == NodeKind::Directory {
                continue;
            }
            let shared = own.shared.entry(inode.number).or_default();
            shared.links = inode.links;
            shared.names.insert(inside);
            shared.is_secret |= self.secrets.contains(path);
            shared.path.clone_from(path);
        }
        for own in volumes {
            for (path, other, is_secret) in others(&own)? {
                let place = view.path_of(own.volume, &other);
                match place {
                    Some(place) if is_secret && !expected.keeps(&place) => self.add(Change::Remove(place)),
                    place => {
                        let place = place.unwrap_or(other);
                        self.notes.push(format!(
                            "what was {} stays as {}, another name of it",
                            path.display(),
                            place.display()
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Each other name: the path that goes, the name as a path in the filesystem, and whether it is a secret's.
fn others(own: &Inodes<'_>) -> crate::Result<Vec<(PathBuf, PathBuf, bool)>> {
    let has_more = |shared: &Shared| (shared.names.len() as u64) < u64::from(shared.links);
    let mut found = Vec::new();
    if !own.shared.values().any(has_more) {
        return Ok(found);
    }
    for step in own.files.walk(own.files.root()?) {
        let step = step?;
        let Some(shared) = own.shared.get(&step.inode) else { continue };
        let path = Path::new("/").join(OsString::from_vec(step.path));
        if !shared.names.contains(&path) {
            found.push((shared.path.clone(), path, shared.is_secret));
        }
    }
    Ok(found)
}
