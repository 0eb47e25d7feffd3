//! A name taken out of a directory: where it is found, and how its place is given back.
//!
//! ```text
//! entry before │ entry that goes │ …   ─►   entry before, as long as both │ zeroes │ …
//! entry that goes, first of its area   ─►   entry of no inode, zeroes
//! ```
//! As Linux does it (fs/ext4/namei.c, ext4_generic_delete_entry): an index stays as it is, for it leads to blocks and not to names.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::attributes::inline_value;
use super::mapping::MAP_AT;
use super::refusal::Refusal;
use crate::error::Result;
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::directory::{Areas, TAIL_LEN, entry_at, names_of, wrong};
use crate::fs::ext4::features;
use crate::fs::ext4::field::put;
use crate::fs::ext4::inode::{FLAG_INLINE_DATA, Inode, NodeKind};
use crate::fs::ext4::lookup;
use crate::fs::ext4::mapping::leaf_of;
use crate::fs::ext4::nokey::NoKey;
use crate::fs::ext4::run::Place;

/// Where a name is.
pub(super) struct Found {
    pub(super) area: u64,
    pub(super) at: usize,
    /// The entry before it, in the same area.
    before: Option<usize>,
    /// Where the next entry is.
    next: usize,
    pub(super) inode: u32,
}

/// `len` as an entry of an area of `area_len` bytes has it.
pub(super) fn entry_len(len: usize, area_len: usize) -> [u8; 2] {
    // A block of 64 KiB is longer than this can say.
    let said = if len >= 1 << 16 && area_len >= 1 << 16 { u16::MAX } else { len as u16 };
    said.to_le_bytes()
}

impl Ext4Writer {
    pub(super) fn remove_name(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        let parent = self.directory_inode(directory)?;
        let found = self.find(&parent, name)?.ok_or(Refusal::NotFound)?;
        let inode = self.fs.inode(found.inode)?;
        let is_directory = inode.kind == NodeKind::Directory;
        if is_directory && self.fs.read_directory(&inode).next().transpose()?.is_some() {
            return Err(Refusal::NotEmpty.into());
        }
        self.erase(&parent, &found)?;
        if is_directory {
            self.count_directory(directory, false)?;
        }
        self.touch(directory)?;
        self.unlink(&inode)
    }

    /// Takes the name at `found` out of the directory `parent`, and nothing else.
    pub(super) fn erase(&mut self, parent: &Inode, found: &Found) -> Result<()> {
        self.edit_area(parent, found.area, |area| match found.before {
            Some(before) => {
                let len = entry_len(found.next.saturating_sub(before), area.len());
                put(area, before.saturating_add(4), &len);
                area.get_mut(found.at..found.next).unwrap_or_default().fill(0);
            }
            None => {
                area.get_mut(found.at..found.at.saturating_add(4)).unwrap_or_default().fill(0);
                area.get_mut(found.at.saturating_add(6)..found.next).unwrap_or_default().fill(0);
            }
        })?;
        self.fs.name_cache().forget();
        Ok(())
    }

    /// Where `name` is in the directory `parent`.
    pub(super) fn find(&self, parent: &Inode, name: &[u8]) -> Result<Option<Found>> {
        if let Some(found) = lookup::find_block(&self.fs, parent, name)? {
            let Some(number) = found else { return Ok(None) };
            let block = crate::fs::ext4::directory::block_of(&self.fs, parent, number)?;
            let area = names_of(&self.fs, parent, number, block)?;
            return self.find_in(parent, number, &area, name, None);
        }
        let nokey = parent.is_encrypted().then(|| NoKey::new(&self.fs, parent));
        let mut areas = Areas::new(&self.fs, parent);
        while let Some((number, area)) = areas.step(&self.fs, parent)? {
            if let Some(found) = self.find_in(parent, number, &area, name, nokey)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_in(
        &self,
        parent: &Inode,
        number: u64,
        area: &[u8],
        name: &[u8],
        nokey: Option<NoKey>,
    ) -> Result<Option<Found>> {
        let (mut at, mut before) = (0, None);
        while at < area.len() {
            let entry = entry_at(&self.fs, parent, area, at).map_err(|what| wrong(parent, number, what))?;
            let is_dots = matches!(entry.name, b"." | b"..");
            let is_it = entry.inode != 0
                && !is_dots
                && match nokey {
                    Some(nokey) => nokey.name(entry.name) == name,
                    None => entry.name == name,
                };
            if is_it {
                return Ok(Some(Found { area: number, at, before, next: entry.next, inode: entry.inode }));
            }
            before = Some(at);
            at = entry.next;
        }
        Ok(None)
    }

    /// Changes area `number` of the directory `parent`, which has names, and makes its checksum.
    pub(super) fn edit_area(
        &mut self,
        parent: &Inode,
        number: u64,
        edit: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.check_held()?;
        if parent.has(FLAG_INLINE_DATA) {
            let place = match number {
                0 => MAP_AT.saturating_add(4)..MAP_AT.saturating_add(60),
                _ => {
                    let value =
                        inline_value(&self.fs, parent)?.ok_or_else(|| wrong(parent, number, "nothing"))?;
                    value.start..value.start.saturating_add(value.len)
                }
            };
            return self.edit_inode(parent.number, |_, bytes| edit(bytes.get_mut(place).unwrap_or_default()));
        }
        let block = self.directory_block(parent, number)?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |bytes| {
            let end = bytes.len().saturating_sub(if has_sums { TAIL_LEN } else { 0 });
            edit(bytes.get_mut(..end).unwrap_or_default());
            if has_sums {
                put_names_checksum(parent.seed, bytes);
            }
        })
    }

    /// The block of the filesystem that is block `number` of the directory `parent`.
    pub(super) fn directory_block(&self, parent: &Inode, number: u64) -> Result<u64> {
        match leaf_of(&self.fs, parent, number)?.at(number).place {
            Place::Data(block) => Ok(block),
            _ => Err(wrong(parent, number, "nothing stored")),
        }
    }
}

/// Makes the checksum of a block of names, in the entry at its end.
pub(in super::super) fn put_names_checksum(seed: u32, block: &mut [u8]) {
    let end = block.len().saturating_sub(TAIL_LEN);
    let sum = crc32c(seed, &[block.get(..end).unwrap_or_default()]);
    put(block, end, &[0, 0, 0, 0, TAIL_LEN as u8, 0, 0, 0xde]);
    put(block, end.saturating_add(8), &sum.to_le_bytes());
}
