//! Layers: what a stage has made, kept by what it was made of, so that the next build need not make it again.
//!
//! ```text
//! outer  recipe, lists of the archives ─► Key: part by part ─► its digest
//! inner  Store ─┬─ there ─► unpacked into the tree, verified
//!               └─ not   ─► why (the nearest key there is, part by part) ─► made ─► packed ─► Store
//! ```
//!
//! A key says what a layer is made of, never where, when or by whom. A layer is an archive of the tree (`files/tar.rs`), packed between two
//! sessions, when nothing is mounted in it: the same tree whether it was made or taken, on every filesystem, as root and as an ordinary user.

mod index;
mod key;
mod store;

use std::collections::BTreeMap;
use std::io::Write;

use image_core::fs::{NodeId, NodeKind, Time};

use super::epoch::Epoch;
use super::existing::Unpacking;
use super::seal::clamp_times;
use super::tree::Tree;
use super::workspace::Workspace;
use crate::error::{Context, err};
use crate::files::{Archive, Folder};
use crate::monitor::Monitor;
pub(crate) use index::{Index, index_of};
pub(crate) use key::Key;
pub(crate) use store::Found;
pub use store::{Layer, Layers, usual_limit};

/// The time of what was made while the layer was: it becomes the build's own date, whichever that is. Nothing else is that late.
const MADE: Time = Time { seconds: u32::MAX as i64, nanoseconds: 0 };
/// Where apt keeps what it knows of its archives.
const LISTS: &str = "/var/lib/apt/lists";

/// The layer of a stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) key: &'a Key,
    /// What people call what it belongs to: the recipe's name.
    pub(super) name: &'a str,
}

impl Wanted<'_> {
    /// Fills `tree`, which is not there yet, with the layer. Whether there is one; if not, that is told, with the reason.
    ///
    /// # Errors
    /// If the tree cannot be written. A layer that is damaged is none.
    pub(super) fn take(self, tree: &Tree, place: &Workspace<'_>) -> crate::Result<bool> {
        let doing = "looking for a layer";
        let layers = match Layers::open(&place.request.cache) {
            Ok(layers) => layers,
            Err(error) => {
                place.monitor.warning(&format!("no layers are kept: {error:#}"));
                return Ok(false);
            }
        };
        match layers.find(self.key).context(doing)? {
            Found::Layer(layer) => {
                let unpacked = layers.read(&layer, |content| unpack(content, tree, place.monitor));
                match unpacked {
                    Ok(()) => {
                        clamp_times(tree, place.request.epoch)?;
                        place
                            .monitor
                            .note(&format!("the base is a layer that was there ({})", layer.short()));
                        return Ok(true);
                    }
                    Err(error) => {
                        place.monitor.check()?;
                        layers.forget(&layer);
                        let short = layer.short();
                        place
                            .monitor
                            .warning(&format!("layer {short} is of no use, and made anew: {error:#}"));
                    }
                }
                match std::fs::remove_dir_all(tree.root()) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error).context("removing what was unpacked");
                    }
                    _ => {}
                }
            }
            Found::Nearest(nearest) => {
                let differs = self.key.differences(&nearest.key);
                place.monitor.note(&format!("the base is made: {}", differs.join(", ")));
            }
            Found::Nothing => place.log.note("the base is made: there is no layer yet")?,
        }
        Ok(false)
    }

    /// Keeps `tree`, in which nothing is mounted, as the layer. What is in the way is told, and no failure.
    ///
    /// # Errors
    /// If the work is to stop, or the times of files cannot be set.
    pub(super) fn keep(self, tree: &Tree, place: &Workspace<'_>) -> crate::Result<()> {
        let kept = self.put(tree, place);
        place.monitor.check()?;
        match kept {
            Ok(Kept::Yes(removed)) => removed.iter().for_each(|layer| {
                place.monitor.note(&format!("layer {} of {} makes room", layer.short(), layer.name));
            }),
            Ok(Kept::No(why)) => place.log.note(&format!("no layer is kept: {why}"))?,
            Err(error) => place.monitor.warning(&format!("no layer is kept: {error:#}")),
        }
        clamp_times(tree, place.request.epoch)
    }

    fn put(self, tree: &Tree, place: &Workspace<'_>) -> crate::Result<Kept> {
        // The archives may have changed since they were asked.
        let lists = tree.path(LISTS)?;
        match index_of(&lists, self.key.archives())? {
            Some(index) if self.key.is_of(&index) => {}
            _ => return Ok(Kept::No("the archives have changed meanwhile".to_owned())),
        }
        let layers = Layers::open(&place.request.cache)?;
        let epoch = place.request.epoch;
        let mut left_out = Vec::new();
        layers.write(self.key, self.name, |out| {
            left_out = pack(tree, epoch, out, place.monitor)?;
            Ok(left_out.is_empty())
        })?;
        if let Some(first) = left_out.first() {
            return Ok(Kept::No(format!("an archive cannot have /{first}")));
        }
        Ok(Kept::Yes(layers.make_room()?))
    }
}

/// Whether a layer was kept: with the layers that had to go for it, or why not.
enum Kept {
    Yes(Vec<Layer>),
    No(String),
}

/// Unpacks `content` into the new directory of `tree`.
fn unpack(content: &mut dyn std::io::Read, tree: &Tree, monitor: Monitor<'_>) -> crate::Result<()> {
    std::fs::create_dir_all(tree.root()).context("making the tree")?;
    let mut unpacking = Unpacking::into(tree.root(), monitor)?;
    unpacking.add_whole(content)?;
    match unpacking.is_faithful() {
        true => Ok(()),
        false => Err(err!("not all that it has can be given here")),
    }
}

/// Packs all of `tree` into `out`. Answers with what an archive cannot have.
fn pack(tree: &Tree, epoch: Epoch, out: &mut dyn Write, monitor: Monitor<'_>) -> crate::Result<Vec<String>> {
    let mut archive = Archive::new(out);
    let mut first_names: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
    for item in Folder::new(tree.root())? {
        monitor.check()?;
        let mut item = item?;
        let modified = (item.node.modified.seconds, item.node.modified.nanoseconds);
        if modified > (epoch.time().seconds, 0) {
            item.node.modified = MADE;
        }
        match first_names.get(&item.node.id) {
            Some(first) => archive.add_link(&item, first)?,
            None => archive.add(&item, None, monitor.cancel())?,
        }
        if item.node.links > 1 && item.node.kind != NodeKind::Directory {
            first_names.entry(item.node.id).or_insert(item.path);
        }
    }
    let mut left_out = archive.end()?.left_out;
    left_out.truncate(1);
    Ok(left_out)
}
