//! Files of a FAT changed: made, written, moved, removed; by entry and directory, and without a kernel.
//!
//! ```text
//! disk ─► survey.rs: whose is each cluster? ─► Fat ► FatWriter
//!            ▲                                          ├─ a name    ─► names.rs, rename.rs ─► entries.rs (name.rs) ─► clusters.rs
//!            │   sectors in memory (overlay.rs) ◄───────┼─ content   ─► content.rs ─► pour.rs ─► clusters that were free, on the disk
//!            │                                          └─ attribute ─► attributes.rs
//! commit ─► relocate.rs: what cannot be changed in one sector is moved ─► commit.rs
//! ```
//!
//! # All or nothing, in one sector
//!
//! A FAT has no journal, but one sector is written as a whole. So all changes are brought behind the writing of one:
//!
//! ```text
//! 1  content, new directories, and their numbers in the tables       nobody leads there yet: clusters that are lost
//! 2  one sector                                                       the former files, or these
//! 3  the numbers of clusters that nobody has any more become 0        until then they are lost clusters, too
//! ```
//! fsck.fat calls lost clusters unused, and frees them. The sector is the one of a directory with all that changes in it. Where
//! entries of several sectors change, the directories that they are in are written to new clusters, with all directories in them (for
//! `..` says where the directory above is), and the sector is that of the lowest directory in which one is enough: its entries then lead
//! to the new ones. Above the root directory of FAT32 that is the boot sector, which says where it begins. A file that is written
//! to gets new clusters from its first to its last.
//!
//! The root directory of FAT12 and FAT16 has one place, and nothing leads to it. Where entries of several of its sectors change (16
//! in 512 bytes; a long name takes two or more), or what is beneath them does, the sectors are written one after the other, those from
//! which no name goes first. A kill between them leaves some of the changes done, each file being the former one or the new one;
//! a file that is moved from one sector, or from beneath it, to another may be there twice or not at all.
//! Tables and FSInfo are written beside that: of two tables, the second may lag behind the first, and how many clusters are free is
//! unknown (FSInfo) while the changes are being written.
//!
//! As `vfat` and mtools leave it, directories are no newer for what is in them. A volume that is marked as not unmounted is changed, for all
//! of it has been looked at, and stays marked. Whatever is behind the end of a directory, or belongs to nobody, stays.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod attributes;
mod bits;
mod clusters;
mod commit;
mod content;
mod entries;
mod geometry;
mod name;
mod names;
mod overlay;
mod pour;
mod refusal;
mod relocate;
mod rename;
mod survey;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use refusal::FatRefusal;

use super::Fat;
use super::layout::Layout;
use crate::block::{BlockRead, BlockWrite};
use crate::error::{Doing, Error, Result};
use crate::fs::field::u32_at;
use crate::fs::{Filesystem, NodeId, NodeKind, Time};
use clusters::Clusters;
use geometry::{FREE_AT, Geometry};
use overlay::Overlay;

/// More bytes of changed sectors are not held: commit before.
const HELD_MAX: u64 = 256 << 20;

/// A FAT that is being changed.
pub struct FatWriter {
    fat: Fat,
    overlay: Arc<Overlay>,
    geometry: Geometry,
    clusters: Clusters,
    time: Time,
    /// Whether a directory of the disk has a cluster more.
    is_extended: bool,
    /// Whether a change failed after its first sector was changed.
    is_half_done: bool,
}

impl std::fmt::Debug for FatWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FatWriter").field("fat", &self.fat).field("time", &self.time).finish_non_exhaustive()
    }
}

impl FatWriter {
    /// Opens the FAT that is all of `disk` and that nobody else uses, and looks at all chains. What is changed gets `time`.
    ///
    /// # Errors
    /// As [`Fat::open`]; [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`](super::FatRule) for chains and directories that are
    /// broken anywhere, and clusters that two files have.
    pub fn open(disk: Arc<dyn BlockWrite>, time: Time) -> Result<Self> {
        let doing = || "opening the FAT for changes";
        let layout = Layout::read(&disk).doing(doing)?;
        let geometry = Geometry::read(&disk, &layout).doing(doing)?;
        let overlay = Arc::new(Overlay::new(disk, geometry.sector));
        let fat = Fat::open(Arc::clone(&overlay) as Arc<dyn BlockRead>)?;
        survey::check(&fat.volume).doing(doing)?;
        let (taken, free) = survey::taken(&fat.volume).doing(doing)?;
        let next = match geometry.info {
            Some(offset) => {
                let mut bytes = [0; 4];
                overlay.read_at(&mut bytes, offset.saturating_add(FREE_AT).saturating_add(4))?;
                u32_at(&bytes, 0)
            }
            None => 0,
        };
        let new = bits::Bits::new(layout.end);
        let clusters = Clusters { taken, new, freed: Vec::new(), free, next };
        Ok(Self { fat, overlay, geometry, clusters, time, is_extended: false, is_half_done: false })
    }

    /// Its files, as they are with all changes.
    pub fn files(&self) -> &Fat {
        &self.fat
    }

    /// How many bytes of changed sectors are in memory.
    pub fn held_len(&self) -> u64 {
        self.overlay.held_len()
    }

    /// What `name` names in `directory`, with all changes.
    fn find(&self, directory: NodeId, name: &[u8]) -> Result<Option<u64>> {
        let node = self.fat.node(directory)?;
        match node.kind {
            NodeKind::Directory => Ok(self.fat.lookup(&node, name)?.map(|id| id.number)),
            _ => Err(FatRefusal::NotADirectory.into()),
        }
    }

    /// Does `work`, and remembers if it fails with a part of it done.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.overlay.count();
        let done = work(self);
        self.is_half_done |= done.is_err() && self.overlay.count() != before;
        done
    }

    /// Refuses to hold more than fits.
    fn check_held(&self) -> Result<()> {
        match self.held_len() > HELD_MAX {
            true => Err(Error::unsupported("these are too many changes at once")),
            false => Ok(()),
        }
    }

    fn layout(&self) -> &Layout {
        self.fat.volume.layout()
    }
}
