//! Names of the log: those of which it has a directory's numbers, and the making and removing of names.
//!
//! ```text
//! DIR_LOG_INDEX  directory, first number     0 last number        the log has all names between them that there are
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::checksum::name_hash;
use super::super::directory::names;
use super::super::field::u64_at;
use super::super::key::{DIR_INDEX, DIR_ITEM, DIR_LOG_INDEX, INODE_ITEM, Key};
use super::super::tree_block::Item;
use super::Replay;
use super::inodes::entry_kind;
use crate::error::Result;

impl Replay<'_> {
    /// What `name` in the item with `key` names.
    pub(super) fn indexed(&self, key: Key, name: &[u8]) -> Result<Option<Key>> {
        let Some(item) = self.item(key)? else { return Ok(None) };
        let found = names(&item).map_err(|what| self.wrong(what))?;
        Ok(found.iter().find(|found| found.name == name).map(|found| found.target))
    }

    /// What `name` in `directory` names.
    pub(super) fn named(&self, directory: u64, name: &[u8]) -> Result<Option<Key>> {
        self.indexed(Key::new(directory, DIR_ITEM, name_hash(name)), name)
    }

    /// Whether `name` names `inode` in `directory`, and has `number` there.
    pub(super) fn is_named(&self, directory: u64, number: u64, name: &[u8], inode: u64) -> Result<bool> {
        let is_it = |target: Option<Key>| target.is_some_and(|target| target.object == inode);
        Ok(is_it(self.indexed(Key::new(directory, DIR_INDEX, number), name)?)
            && is_it(self.named(directory, name)?))
    }

    /// Has `name` name `inode` in `directory`, with `number` there; without a reference back.
    pub(super) fn add_name(&mut self, directory: u64, number: u64, name: &[u8], inode: u64) -> Result<()> {
        let item = self.inode(inode)?.ok_or_else(|| self.wrong("name of no inode"))?;
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.push(INODE_ITEM);
        // The offset of its key, its transaction, and the length of data.
        bytes.extend([0; 18]);
        bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.push(entry_kind(&item));
        bytes.extend(name);
        self.put(Key::new(directory, DIR_INDEX, number), &bytes)?;
        let key = Key::new(directory, DIR_ITEM, name_hash(name));
        let known = self.item(key)?.map(|item| item.to_vec()).unwrap_or_default();
        self.put(key, &[known, bytes].concat())?;
        self.touched.insert(inode);
        self.resize(directory, |size| size.saturating_add(entry_size(name)))
    }

    /// Removes `name`, which names `inode` in `directory`, and the reference back.
    pub(super) fn remove_name(&mut self, directory: u64, name: &[u8], inode: u64) -> Result<()> {
        let key = Key::new(directory, DIR_ITEM, name_hash(name));
        if let Some(item) = self.item(key)? {
            let known = names(&item).map_err(|what| self.wrong(what))?;
            let kept: Vec<_> =
                known.iter().filter(|known| known.name != name).map(|known| known.bytes).collect();
            self.put_or_remove(key, &kept.concat())?;
        }
        if let Some(number) = self.remove_reference(inode, directory, name)? {
            self.remove(Key::new(directory, DIR_INDEX, number))?;
        }
        self.touched.insert(inode);
        if self.inode(directory)?.is_none() {
            return Ok(());
        }
        self.resize(directory, |size| size.saturating_sub(entry_size(name)))
    }

    /// Makes the name that `logged` tells, unless it is made when the reference to it is replayed.
    pub(super) fn replay_name(&mut self, logged: &Item) -> Result<()> {
        let (directory, number) = (logged.key.object, logged.key.offset);
        if self.inode(directory)?.is_none() {
            return Err(self.wrong("name in no directory"));
        }
        for found in names(logged).map_err(|what| self.wrong(what))? {
            // A subvolume is never made by a log.
            if found.target.kind != INODE_ITEM {
                continue;
            }
            let inode = found.target.object;
            let is_there = self.inode(inode)?.is_some();
            let by_hash = self.named(directory, found.name)?;
            let by_number = self.indexed(logged.key, found.name)?;
            if by_hash == Some(found.target) && by_number == Some(found.target) {
                continue;
            }
            for other in [by_hash, by_number].into_iter().flatten() {
                if other != found.target && is_there {
                    self.remove_name(directory, found.name, other.object)?;
                }
            }
            let is_referred = self.is_reference_logged(inode, directory, found.name)?;
            if is_referred || !is_there || self.named(directory, found.name)?.is_some() {
                continue;
            }
            self.add_name(directory, number, found.name, inode)?;
            self.add_reference(inode, directory, found.name, number)?;
        }
        Ok(())
    }

    /// Removes the names in `directory` that the log would have if they were still there, or all of them.
    pub(super) fn remove_names(&mut self, directory: u64, is_all: bool) -> Result<()> {
        if is_all {
            return self.remove_numbers(directory, 0, u64::MAX, true);
        }
        // Ranges that overlap are not gone through twice.
        let mut next = Some(0);
        for range in self.log.items(self.blocks, directory, DIR_LOG_INDEX) {
            let range = range?;
            let Some(done) = next else { break };
            let (first, last) = (range.key.offset.max(done), u64_at(&range, 0));
            if first <= last {
                self.remove_numbers(directory, first, last, false)?;
                next = last.checked_add(1);
            }
        }
        Ok(())
    }

    fn remove_numbers(&mut self, directory: u64, first: u64, last: u64, is_all: bool) -> Result<()> {
        let mut key = Key::new(directory, DIR_INDEX, first);
        while let Some(item) = self.item_from(key)?.filter(|item| item.key.offset <= last) {
            let logged = self.logged(item.key)?.filter(|_| !is_all);
            let logged = names(logged.as_deref().unwrap_or_default()).map_err(|what| self.wrong(what))?;
            for found in names(&item).map_err(|what| self.wrong(what))? {
                // A subvolume is never removed by a log.
                let is_kept = logged.iter().any(|logged| logged.name == found.name);
                if !is_kept && found.target.kind == INODE_ITEM {
                    self.remove_name(directory, found.name, found.target.object)?;
                }
            }
            let Some(next) = item.key.next().filter(|next| next.is_alike(item.key)) else { break };
            key = next;
        }
        Ok(())
    }
}

/// What a name adds to the size of its directory: it is there twice.
fn entry_size(name: &[u8]) -> u64 {
    (name.len() as u64).saturating_mul(2)
}
