//! Files and directories made and removed.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::FatWriter;
use super::entries::put_cluster;
use super::name::checked;
use super::refusal::FatRefusal;
use super::survey::{Found, each_entry};
use crate::error::{Doing, Result};
use crate::fs::NodeId;
use crate::fs::fat::entry::{ARCHIVE, DIRECTORY, ShortEntry, Slot};
use crate::fs::fat::layout::ENTRY_LEN;
use crate::fs::fat::times::date_and_time;
use crate::fs::field::put;

impl FatWriter {
    /// Makes an empty file with the name `name` in `directory`. Answers with its node.
    ///
    /// # Errors
    /// With a [`FatRefusal`]: [`Exists`](FatRefusal::Exists), [`Name`](FatRefusal::Name), [`NoSpace`](FatRefusal::NoSpace),
    /// [`DirectoryFull`](FatRefusal::DirectoryFull), [`NotADirectory`](FatRefusal::NotADirectory);
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`](crate::fs::FatRule); whatever the disk says. What fails
    /// half-way is not written: [`commit`](Self::commit) is refused then.
    pub fn create_file(&mut self, directory: NodeId, name: &[u8]) -> Result<NodeId> {
        let doing = || format!("making {} in the FAT", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.make(directory, name, false)).doing(doing)
    }

    /// Makes an empty directory with the name `name` in `directory`. Answers with its node.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file).
    pub fn make_directory(&mut self, directory: NodeId, name: &[u8]) -> Result<NodeId> {
        let doing = || format!("making the directory {} in the FAT", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.make(directory, name, true)).doing(doing)
    }

    /// Removes the file or empty directory `name` from `directory`.
    ///
    /// # Errors
    /// [`FatRefusal::NotFound`], [`FatRefusal::NotEmpty`]; else as [`create_file`](Self::create_file).
    pub fn remove(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let doing = || format!("removing {} from the FAT", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.remove_named(directory, name, false)).doing(doing)
    }

    /// Removes `name` from `directory`, with all that is beneath it.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_tree(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let doing = || format!("removing {} with all in it from the FAT", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.remove_named(directory, name, true)).doing(doing)
    }

    fn make(&mut self, directory: NodeId, name: &[u8], is_directory: bool) -> Result<NodeId> {
        let name = checked(name)?;
        if self.find(directory, name.as_bytes())?.is_some() {
            return Err(FatRefusal::Exists.into());
        }
        let mut slot = self.new_slot();
        put(&mut slot, 11, &[if is_directory { DIRECTORY } else { ARCHIVE }]);
        if is_directory {
            let parent = self.directory_first(directory.number)?;
            let cluster = self.take_cluster(None)?;
            put_cluster(&mut slot, cluster);
            let size = self.layout().cluster_size as usize;
            let mut bytes = vec![0; size];
            put(&mut bytes, 0, &dots(b".          ", slot, cluster));
            put(&mut bytes, ENTRY_LEN as usize, &dots(b"..         ", slot, parent));
            self.put(&bytes, self.layout().place(cluster))?;
        }
        Ok(NodeId::new(self.put_entry(directory.number, name, &slot)?))
    }

    /// An entry without a name, of now.
    fn new_slot(&self) -> Slot {
        let (date, clock, hundredths) = date_and_time(self.time);
        let mut slot: Slot = [0; 32];
        put(&mut slot, 13, &[hundredths]);
        for (at, value) in [(14, clock), (16, date), (18, date), (22, clock), (24, date)] {
            put(&mut slot, at, &value.to_le_bytes());
        }
        slot
    }

    fn remove_named(&mut self, directory: NodeId, name: &[u8], with_all: bool) -> Result<()> {
        let number = self.find(directory, name)?.ok_or(FatRefusal::NotFound)?;
        let entry = self.entry(number)?;
        if entry.is_directory() && !with_all && !self.is_empty(entry.cluster)? {
            return Err(FatRefusal::NotEmpty.into());
        }
        self.take_entry(directory.number, number)?;
        self.release_all(number, &entry)
    }

    /// Gives back what `entry` has, and if it is a directory all in it, too.
    pub(super) fn release_all(&mut self, number: u64, entry: &ShortEntry) -> Result<()> {
        if !entry.is_directory() {
            return self.release(entry.cluster);
        }
        let parent = self.parent_first(entry.cluster)?;
        let mut directories = vec![Found { first: entry.cluster, parent, entry: number }];
        while let Some(own) = directories.pop() {
            let mut files = vec![own.first];
            each_entry(&self.fat.volume, own, &mut |offset, entry| {
                match entry.is_directory() {
                    true => {
                        directories.push(Found { first: entry.cluster, parent: own.first, entry: offset })
                    }
                    false => files.push(entry.cluster),
                }
                Ok(())
            })?;
            files.into_iter().try_for_each(|first| self.release(first))?;
        }
        Ok(())
    }
}

/// `.` or `..`, with the times of `slot`.
fn dots(name: &[u8], mut slot: Slot, cluster: u32) -> Slot {
    put(&mut slot, 0, name);
    put_cluster(&mut slot, cluster);
    slot
}
