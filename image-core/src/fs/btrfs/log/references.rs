//! References of the log: from an inode back to its names, each of which is made if it is not there.
//!
//! ```text
//! INODE_REF    inode, directory    0 number │ 8 length │ 10 name │ …
//! INODE_EXTREF inode, hash         0 directory │ 8 number │ 16 length │ 18 name │ …
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_inode_ref, btrfs_inode_extref).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::checksum::reference_hash;
use super::super::field::{u16_at, u64_at};
use super::super::key::{DIR_INDEX, INODE_EXTREF, INODE_REF, Key};
use super::super::tree_block::Item;
use super::Replay;
use crate::error::Result;

/// A name of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The directory that it is in.
    pub(super) directory: u64,
    /// Its number there.
    pub(super) number: u64,
    pub(super) name: &'a [u8],
    /// All of it, as it is stored.
    bytes: &'a [u8],
}

/// The references in `item`; `None` if it is broken.
pub(super) fn references(item: &Item) -> Option<Vec<Reference<'_>>> {
    let is_extended = item.key.kind == INODE_EXTREF;
    let at: usize = if is_extended { 8 } else { 0 };
    let name_at = at.checked_add(10)?;
    let mut all = Vec::new();
    let mut rest: &[u8] = item;
    while !rest.is_empty() {
        let len = usize::from(u16_at(rest, at.checked_add(8)?));
        let (bytes, behind) = rest.split_at_checked(name_at.checked_add(len)?)?;
        let directory = if is_extended { u64_at(bytes, 0) } else { item.key.offset };
        all.push(Reference { directory, number: u64_at(bytes, at), name: bytes.get(name_at..)?, bytes });
        rest = behind;
    }
    Some(all)
}

/// The two keys under which an inode may have a reference to `name` in `directory`.
fn keys(inode: u64, directory: u64, name: &[u8]) -> [Key; 2] {
    let hash = reference_hash(directory, name);
    [Key::new(inode, INODE_REF, directory), Key::new(inode, INODE_EXTREF, hash)]
}

impl Replay<'_> {
    /// Whether the log has a reference of `inode` to `name` in `directory`.
    pub(super) fn is_reference_logged(&mut self, inode: u64, directory: u64, name: &[u8]) -> Result<bool> {
        for key in keys(inode, directory, name) {
            let Some(item) = self.logged(key)? else { continue };
            // It is gone through once for each name.
            self.spend(item.len() >> 4)?;
            let found = references(&item).ok_or_else(|| self.wrong("reference"))?;
            if found.iter().any(|found| found.directory == directory && found.name == name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a reference of `inode` to `name`, which has `number` in `directory`.
    pub(super) fn add_reference(
        &mut self,
        inode: u64,
        directory: u64,
        name: &[u8],
        number: u64,
    ) -> Result<()> {
        let key = Key::new(inode, INODE_REF, directory);
        let mut bytes = self.item(key)?.map(|item| item.to_vec()).unwrap_or_default();
        bytes.extend(number.to_le_bytes());
        bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(name);
        self.put(key, &bytes)
    }

    /// Removes the reference of `inode` to `name` in `directory`; the number that it had there.
    pub(super) fn remove_reference(
        &mut self,
        inode: u64,
        directory: u64,
        name: &[u8],
    ) -> Result<Option<u64>> {
        for key in keys(inode, directory, name) {
            let Some(item) = self.item(key)? else { continue };
            let found = references(&item).ok_or_else(|| self.wrong("reference"))?;
            let is_it = |found: &&Reference<'_>| found.directory == directory && found.name == name;
            let Some(gone) = found.iter().find(is_it) else { continue };
            let kept: Vec<_> = found.iter().filter(|found| !is_it(found)).map(|found| found.bytes).collect();
            let (number, kept) = (gone.number, kept.concat());
            self.put_or_remove(key, &kept)?;
            return Ok(Some(number));
        }
        Ok(None)
    }

    /// Makes the names that `logged` refers to, and removes those that it does not refer to any more.
    pub(super) fn replay_references(&mut self, logged: &Item) -> Result<()> {
        let inode = logged.key.object;
        let wanted = references(logged).ok_or_else(|| self.wrong("reference"))?;
        if self.inode(inode)?.is_none() {
            return Err(self.wrong("reference of no inode"));
        }
        // The root directory refers to itself.
        if logged.key.kind == INODE_REF && inode == logged.key.offset {
            return Ok(());
        }
        for found in &wanted {
            // Not all directories are logged: the name of one that is not there is not made.
            if self.inode(found.directory)?.is_none() {
                if logged.key.kind == INODE_REF {
                    return Ok(());
                }
                continue;
            }
            if !self.is_named(found.directory, found.number, found.name, inode)? {
                self.remove_old_references(Key::new(inode, INODE_REF, found.directory))?;
                let [_, extended] = keys(inode, found.directory, found.name);
                self.remove_old_references(extended)?;
                self.remove_conflicts(found)?;
                self.add_name(found.directory, found.number, found.name, inode)?;
            }
        }
        self.remove_old_references(logged.key)?;
        self.put(logged.key, logged)?;
        self.touched.insert(inode);
        Ok(())
    }

    /// Removes the names that the item with `key` refers to and the log does not.
    fn remove_old_references(&mut self, key: Key) -> Result<()> {
        let Some(item) = self.item(key)? else { return Ok(()) };
        let known = references(&item).ok_or_else(|| self.wrong("reference"))?;
        for found in known {
            if !self.is_reference_logged(key.object, found.directory, found.name)? {
                self.remove_name(found.directory, found.name, key.object)?;
            }
        }
        Ok(())
    }

    /// Removes what stands where the name that `found` tells of is to be.
    fn remove_conflicts(&mut self, found: &Reference<'_>) -> Result<()> {
        let Reference { directory, number, name, .. } = *found;
        if let Some(target) = self.indexed(Key::new(directory, DIR_INDEX, number), name)? {
            self.remove_name(directory, name, target.object)?;
        }
        if let Some(target) = self.named(directory, name)? {
            self.remove_name(directory, name, target.object)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_one_behind_the_other() {
        let one = [&[7, 0, 0, 0, 0, 0, 0, 0, 2, 0][..], b"ab"].concat();
        let both = [&one[..], &[8, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], b"c"].concat();
        let item = Item::new(Key::new(300, INODE_REF, 256), both.clone().into());
        let found = references(&item).unwrap();
        assert_eq!((found[0].directory, found[0].number, found[0].name), (256, 7, &b"ab"[..]));
        assert_eq!((found[1].number, found[1].name, found[1].bytes), (8, &b"c"[..], &both[12..]));
        let extended = [&[0, 1, 0, 0, 0, 0, 0, 0][..], &one].concat();
        let item = Item::new(Key::new(300, INODE_EXTREF, 9), extended.clone().into());
        assert_eq!(
            references(&item).unwrap()[0],
            Reference { bytes: &extended, directory: 256, number: 7, name: b"ab" }
        );
        let item = Item::new(Key::new(300, INODE_REF, 256), both[..both.len() - 1].into());
        assert_eq!(references(&item), None);
    }
}
