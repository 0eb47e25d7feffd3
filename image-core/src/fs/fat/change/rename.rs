//! Names changed, within a directory and from one to another.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::FatWriter;
use super::entries::put_cluster;
use super::name::checked;
use super::refusal::FatRefusal;
use crate::block::BlockRead;
use crate::error::{Doing, Result};
use crate::fs::fat::entry::{ShortEntry, Slot};
use crate::fs::fat::layout::{ENTRY_LEN, Root};
use crate::fs::{Filesystem, NodeId};

impl FatWriter {
    /// Gives `name` of `directory` the name `new_name` in `new_directory`. A file takes the place of a file, a directory that of an
    /// empty one. Its node is another one then.
    ///
    /// # Errors
    /// [`FatRefusal::NotFound`], [`FatRefusal::IntoItself`], [`FatRefusal::NotEmpty`], [`FatRefusal::NotADirectory`],
    /// [`FatRefusal::IsADirectory`]; else as [`create_file`](Self::create_file).
    pub fn rename(
        &mut self,
        directory: NodeId,
        name: &[u8],
        new_directory: NodeId,
        new_name: &[u8],
    ) -> Result<()> {
        let shown = |name| String::from_utf8_lossy(name).into_owned();
        let doing = || format!("renaming {} to {} in the FAT", shown(name), shown(new_name));
        self.attempt(|changes| changes.move_entry(directory, name, new_directory, new_name)).doing(doing)
    }

    fn move_entry(&mut self, from: NodeId, name: &[u8], to: NodeId, new_name: &[u8]) -> Result<()> {
        let number = self.find(from, name)?.ok_or(FatRefusal::NotFound)?;
        let new_name = checked(new_name)?;
        let entry = self.entry(number)?;
        let (old_parent, parent) = (self.directory_first(from.number)?, self.directory_first(to.number)?);
        if entry.is_directory() && self.is_beneath(parent, entry.cluster)? {
            return Err(FatRefusal::IntoItself.into());
        }
        let there = self.find(to, new_name.as_bytes())?.filter(|there| *there != number);
        match there {
            Some(there) => self.make_way(&entry, to, there)?,
            None if self.has_name(to, number, new_name)? => return Ok(()),
            None => {}
        }
        let slot = self.take_entry(from.number, number)?;
        self.put_entry(to.number, new_name, &slot)?;
        if entry.is_directory() && old_parent != parent {
            self.put_parent(entry.cluster, parent)?;
        }
        Ok(())
    }

    /// Whether `name` is, letter by letter, that of the entry at `number`.
    fn has_name(&self, directory: NodeId, number: u64, name: &str) -> Result<bool> {
        let node = self.fat.node(directory)?;
        for own in self.fat.entries(&node) {
            let own = own?;
            if own.id.number == number {
                return Ok(own.name == name.as_bytes());
            }
        }
        Ok(false)
    }

    /// Removes what is at `there` in the directory `to`, in whose place `entry` comes.
    fn make_way(&mut self, entry: &ShortEntry, to: NodeId, there: u64) -> Result<()> {
        let old = self.entry(there)?;
        match (entry.is_directory(), old.is_directory()) {
            (true, false) => return Err(FatRefusal::NotADirectory.into()),
            (false, true) => return Err(FatRefusal::IsADirectory.into()),
            (true, true) if !self.is_empty(old.cluster)? => return Err(FatRefusal::NotEmpty.into()),
            _ => {}
        }
        self.take_entry(to.number, there)?;
        self.release_all(there, &old)
    }

    /// Whether the directory from `first` on is the one from `above` on, or beneath it.
    fn is_beneath(&self, first: u32, above: u32) -> Result<bool> {
        let mut at = first;
        // No way up is longer than there are clusters.
        for _ in 0..self.layout().clusters() {
            if at == above || at == 0 {
                break;
            }
            at = self.parent_first(at)?;
        }
        Ok(at == above)
    }

    /// The first cluster of the directory that the one from `first` on is in; 0 is the root directory.
    pub(super) fn parent_first(&self, first: u32) -> Result<u32> {
        let mut slot: Slot = [0; 32];
        self.overlay.read_at(&mut slot, self.layout().place(first).saturating_add(ENTRY_LEN))?;
        let parent = ShortEntry::new(&slot, self.layout().width).cluster;
        Ok(if self.fat.volume.root() == Root::Cluster(parent) { 0 } else { parent })
    }

    /// Has the directory from `first` on be in the one from `parent` on.
    pub(super) fn put_parent(&mut self, first: u32, parent: u32) -> Result<()> {
        let offset = self.layout().place(first).saturating_add(ENTRY_LEN);
        self.edit_slot(offset, |slot| put_cluster(slot, parent))
    }
}
