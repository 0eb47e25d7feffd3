//! What is different, written into the image's own filesystems.
//!
//! ```text
//! removed ─► names go, and their blocks are free for what comes
//! written ─► an archive with all that a file has ──► unpacked by the editor (change/tar_in.rs)
//! rights, owners, times, attributes ─► set where they are others; directories last, for files were made in them
//! ```
//!
//! The disk is nobody's yet: stopped half-way, it is thrown away.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, BufWriter, PipeReader, Write};
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite};
use image_core::fs::{NodeId, NodeKind, Refusal, Time};

use super::difference::{Change, Difference};
use crate::change::Editor;
use crate::error::{Advise, Context, err};
use crate::files::{Archive, Folder, Item, SELINUX_LABEL, absolute};
use crate::monitor::CancellationToken;
use crate::selinux::Policy;
use crate::system::System;

/// So much of the archive waits to be unpacked, in bytes.
const BUFFER: usize = 1 << 20;
/// The label of a file in systems with SELinux.
const LABEL: &[u8] = SELINUX_LABEL.as_bytes();

/// Attributes of a file, by name.
type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is written, and from where.
pub(super) struct WriteBack<'a> {
    pub(super) difference: &'a Difference,
    /// The tree after the steps.
    pub(super) tree: &'a Path,
    /// What it was unpacked from.
    pub(super) image: &'a System,
    /// The disk that is written, as it was: what is mounted where stays so, whatever the steps made of fstab.
    pub(super) layout: &'a System,
    /// Attributes that no file of the tree can have here: files keep what they had of them.
    pub(super) refused: &'a BTreeSet<Vec<u8>>,
    /// The image's labels of SELinux.
    pub(super) policy: Option<&'a Policy>,
    /// When what is changed was changed, and made.
    pub(super) time: Time,
}

/// A file that goes into the archive.
struct Packed {
    item: Item<'static>,
    /// The path that it is another name of.
    first: Option<Vec<u8>>,
    attributes: Attributes,
}

impl WriteBack<'_> {
    /// Writes it into `disk`, which has what the image has.
    ///
    /// # Errors
    /// If there is no room, or a filesystem is one that is only read here.
    pub(super) fn to(&self, disk: &Arc<dyn BlockWrite>, cancel: &CancellationToken) -> crate::Result<()> {
        let open = || -> crate::Result<Editor> {
            let system = self.layout.again(Arc::clone(disk) as Arc<dyn BlockRead>)?;
            Ok(Editor::of(Arc::clone(disk), system, self.time))
        };
        if !self.difference.removed.is_empty() {
            let mut editor = open()?;
            for path in &self.difference.removed {
                cancel.check()?;
                let path = absolute(path);
                editor.remove(&path, true, false).with_context(|| format!("removing {}", path.display()))?;
            }
            editor.finish_copy()?;
        }
        let mut editor = open()?;
        let packed = self.packed(&[Change::Written])?;
        if !packed.is_empty() {
            let unpacked = unpack(&packed, &mut editor, cancel);
            let is_full =
                |error: &crate::Error| matches!(error.cause(), Some(Refusal::NoSpace | Refusal::NoInodes));
            match unpacked {
                Err(error) if is_full(&error) => {
                    return Err(error)
                        .hint(|| "--size +10G --grow-root make the disk and its root filesystem larger");
                }
                unpacked => unpacked?,
            }
        }
        // What was made in a directory has changed its times: the deepest first.
        for (path, change) in self.difference.changes.iter().rev() {
            if *change == Change::Metadata {
                cancel.check()?;
                let item = Item::at(self.tree, path)?;
                let attributes = self.attributes(&item)?;
                let path = absolute(path);
                editor
                    .set_metadata(&path, &item.node, &attributes)
                    .with_context(|| format!("changing {}", path.display()))?;
            }
        }
        editor.finish_copy()
    }

    /// Packs all of it into `out`: what is otherwise changed is there as a whole, like what is written.
    ///
    /// # Errors
    /// If a file of the tree cannot be read; whatever the output says.
    pub(super) fn pack_all(&self, out: &mut dyn Write, cancel: &CancellationToken) -> crate::Result<()> {
        pack(&self.packed(&[Change::Written, Change::Metadata])?, out, cancel)
    }

    /// What goes into an archive of `changes`, in the order of paths.
    fn packed(&self, changes: &[Change]) -> crate::Result<Vec<Packed>> {
        let chosen = self.difference.changes.iter().filter(|(_, change)| changes.contains(change));
        let items: Vec<Item<'static>> =
            chosen.map(|(path, _)| Item::at(self.tree, path)).collect::<Result<_, _>>()?;
        let first_names = self.first_names(&items, changes)?;
        let mut packed = Vec::new();
        for item in items {
            let first = first_names.get(&item.node.id).filter(|first| **first != item.path).cloned();
            let first = first.filter(|_| has_names(&item));
            let attributes = self.attributes(&item)?;
            packed.push(Packed { item, first, attributes });
        }
        Ok(packed)
    }

    /// Of each file among `items` that has several names, the one that others are told as: one that is in the image already, being
    /// none of `changes`, if there is one, else the first.
    fn first_names(
        &self,
        items: &[Item<'static>],
        changes: &[Change],
    ) -> crate::Result<BTreeMap<NodeId, Vec<u8>>> {
        let mut names: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
        for item in items.iter().filter(|item| has_names(item)) {
            names.entry(item.node.id).or_insert_with(|| item.path.clone());
        }
        if names.is_empty() {
            return Ok(names);
        }
        for item in Folder::new(self.tree)? {
            let item = item?;
            let is_there = self.difference.of(&item.path).is_none_or(|change| !changes.contains(&change));
            if has_names(&item) && is_there && names.contains_key(&item.node.id) {
                names.insert(item.node.id, item.path);
            }
        }
        Ok(names)
    }

    /// The attributes that `item` is to have: its own, and those that no file of the tree can have.
    fn attributes(&self, item: &Item<'_>) -> crate::Result<Attributes> {
        let mut attributes = item.attributes()?;
        let old = self.old_attributes(&item.absolute())?;
        if let Some(old) = &old {
            let kept = old.iter().filter(|(name, _)| self.refused.contains(*name));
            attributes.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        }
        // No system takes a label away: a file without one is another in its place.
        if !attributes.contains_key(LABEL) {
            let is_new = self.difference.of(&item.path) == Some(Change::Written);
            let label = match old.and_then(|mut old| old.remove(LABEL)) {
                None if is_new => {
                    match self.policy.and_then(|policy| policy.label(&item.absolute(), item.node.kind)) {
                        None => self.label_of_directory(&item.absolute())?,
                        label => label,
                    }
                }
                label => label,
            };
            attributes.extend(label.map(|label| (LABEL.to_vec(), label)));
        }
        Ok(attributes)
    }

    /// What the image's own file has; `None` if there is none.
    fn old_attributes(&self, path: &Path) -> crate::Result<Option<Attributes>> {
        match self.image.find(path, false)? {
            Some(step) => Item::of(step)?.attributes().map(Some),
            None => Ok(None),
        }
    }

    /// What something new is labelled with: as the nearest directory above it that was there.
    fn label_of_directory(&self, path: &Path) -> crate::Result<Option<Vec<u8>>> {
        for above in path.ancestors().skip(1) {
            if let Some(mut old) = self.old_attributes(above)? {
                return Ok(old.remove(LABEL));
            }
        }
        Ok(None)
    }
}

fn has_names(item: &Item<'_>) -> bool {
    item.node.links > 1 && item.node.kind != NodeKind::Directory
}

/// Packs on a thread of its own, and unpacks on this one.
fn unpack(packed: &[Packed], editor: &mut Editor, cancel: &CancellationToken) -> crate::Result<()> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    std::thread::scope(|scope| {
        let packing =
            scope.spawn(move || pack(packed, &mut BufWriter::with_capacity(BUFFER, writer), cancel));
        let unpacked = read(editor, reader, cancel);
        let done = packing.join().unwrap_or_else(|_| Err(err!("the thread that packs panicked")));
        // Where unpacking failed, packing has failed for it: nobody read any more.
        unpacked.and(done)
    })
}

fn read(editor: &mut Editor, reader: PipeReader, cancel: &CancellationToken) -> crate::Result<()> {
    editor.tar_in(&mut BufReader::with_capacity(BUFFER, reader), Path::new("/"), cancel).map(drop)
}

fn pack(packed: &[Packed], out: &mut dyn Write, cancel: &CancellationToken) -> crate::Result<()> {
    let mut archive = Archive::new(out);
    for Packed { item, first, attributes } in packed {
        match first {
            Some(first) => archive.add_link(item, first)?,
            None => archive.add(item, Some(attributes.clone()), cancel)?,
        }
    }
    archive.end()?;
    Ok(out.flush()?)
}
