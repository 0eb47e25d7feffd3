//! A name put into a directory: into a gap of a block that it may be in, or into one more block.
//!
//! ```text
//! index? ── yes ─► the block that names with its hash are in ─► full? ─► half of it into one more block (split.rs)
//!        └─ no ──► the first block with a gap, or one more
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Directory Entries").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::directory::{entry_len, put_names_checksum};
use super::inode::put_size;
use super::refusal::Refusal;
use crate::error::{Error, Result};
use crate::fs::ext4::directory::{Areas, TAIL_LEN, entry_at, wrong};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u16_at, u32_at};
use crate::fs::ext4::inode::{FLAG_CASEFOLD, FLAG_INLINE_DATA, Inode};
use crate::fs::ext4::lookup;
use crate::fs::ext4::run::Place;

/// The longest name.
const NAME_MAX: usize = 255;
/// Of an entry, without its name.
const HEADER_LEN: usize = 8;

/// An entry to be.
pub(super) struct NewEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    /// What it is, as entries say it.
    pub(super) kind: u8,
}

impl NewEntry<'_> {
    pub(super) fn len(&self) -> usize {
        HEADER_LEN.saturating_add(self.name.len()).next_multiple_of(4)
    }

    /// Writes it to the beginning of `place`, all of which it takes.
    pub(super) fn put(&self, place: &mut [u8], area_len: usize, has_kinds: bool) {
        let len = entry_len(place.len(), area_len);
        place.fill(0);
        put(place, 0, &self.inode.to_le_bytes());
        put(place, 4, &len);
        match has_kinds {
            true => put(place, 6, &[self.name.len() as u8, self.kind]),
            false => put(place, 6, &(self.name.len() as u16).to_le_bytes()),
        }
        put(place, HEADER_LEN, self.name);
    }
}

impl Ext4Writer {
    /// Refuses a name that cannot be put into the directory `parent`.
    pub(super) fn check_name(&self, parent: &Inode, name: &[u8]) -> Result<()> {
        self.check_new_name(parent, name)?;
        match self.fs.lookup(parent, name)? {
            Some(_) => Err(Refusal::Exists.into()),
            None => Ok(()),
        }
    }

    /// As [`check_name`](Self::check_name), of a name that may be there.
    pub(super) fn check_new_name(&self, parent: &Inode, name: &[u8]) -> Result<()> {
        let is_fine = !name.is_empty()
            && name.len() <= NAME_MAX
            && !matches!(name, b"." | b"..")
            && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if !is_fine {
            return Err(Error::invalid("no file can have this name"));
        }
        if parent.is_encrypted() {
            return Err(Error::unsupported("the directory is encrypted, and its key is not here"));
        }
        if parent.has(FLAG_CASEFOLD) && !name.is_ascii() {
            return Err(Error::unsupported(
                "in this directory case does not count, and the name is not ASCII",
            ));
        }
        Ok(())
    }

    /// Puts `entry` into the directory `parent`.
    pub(super) fn insert(&mut self, parent: &Inode, entry: &NewEntry<'_>) -> Result<()> {
        self.fs.name_cache().forget();
        if lookup::is_used(&self.fs, parent) {
            return self.insert_by_index(parent, entry);
        }
        let mut areas = Areas::new(&self.fs, parent);
        while let Some((number, area)) = areas.step(&self.fs, parent)? {
            if let Some((at, used, next)) = self.gap(parent, number, &area, entry.len())? {
                return self.put_in_gap(parent, number, entry, (at, used, next));
            }
        }
        if parent.has(FLAG_INLINE_DATA) {
            let parent = self.move_names_out(parent)?;
            return self.insert(&parent, entry);
        }
        if self.make_index(parent)? {
            let parent = self.fs.inode(parent.number)?;
            return self.insert_by_index(&parent, entry);
        }
        self.append_names(parent, &[NewEntry { ..*entry }]).map(|_| ())
    }

    /// Gives the directory `parent`, which is inside its inode, a block for its names. Answers with what it is then.
    fn move_names_out(&mut self, parent: &Inode) -> Result<Inode> {
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        let mut names: Vec<(Vec<u8>, u32, u8)> =
            vec![(b".".to_vec(), parent.number, 2), (b"..".to_vec(), u32_at(&parent.block, 0), 2)];
        let mut areas = Areas::new(&self.fs, parent);
        while let Some((number, area)) = areas.step(&self.fs, parent)? {
            let mut at = 0;
            while at < area.len() {
                let entry =
                    entry_at(&self.fs, parent, &area, at).map_err(|what| wrong(parent, number, what))?;
                if entry.inode != 0 {
                    names.push((entry.name.to_vec(), entry.inode, kind_at(&area, at, has_kinds)));
                }
                at = entry.next;
            }
        }
        let kind = |kind| if has_kinds { kind } else { 0 };
        let entries: Vec<NewEntry<'_>> = names
            .iter()
            .map(|(name, inode, said)| NewEntry { name, inode: *inode, kind: kind(*said) })
            .collect();
        self.move_out(parent)?;
        self.edit_inode(parent.number, |_, bytes| put_size(bytes, 0))?;
        let empty = self.fs.inode(parent.number)?;
        self.append_names(&empty, &entries)?;
        self.fs.inode(parent.number)
    }

    /// Where in `area` there is room for `len` bytes: an entry, how much of it is used, and where the next one is.
    pub(super) fn gap(
        &self,
        parent: &Inode,
        number: u64,
        area: &[u8],
        len: usize,
    ) -> Result<Option<(usize, usize, usize)>> {
        let mut at = 0;
        while at < area.len() {
            let entry = entry_at(&self.fs, parent, area, at).map_err(|what| wrong(parent, number, what))?;
            let own = HEADER_LEN.saturating_add(entry.name.len()).next_multiple_of(4);
            let used = if entry.inode == 0 { 0 } else { own };
            if entry.next.saturating_sub(at).saturating_sub(used) >= len {
                return Ok(Some((at, used, entry.next)));
            }
            at = entry.next;
        }
        Ok(None)
    }

    pub(super) fn put_in_gap(
        &mut self,
        parent: &Inode,
        number: u64,
        entry: &NewEntry<'_>,
        (at, used, next): (usize, usize, usize),
    ) -> Result<()> {
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        self.edit_area(parent, number, |area| {
            let len = area.len();
            let begin = at.saturating_add(used);
            if used > 0 {
                put(area, at.saturating_add(4), &entry_len(used, len));
            }
            entry.put(area.get_mut(begin..next).unwrap_or_default(), len, has_kinds);
        })
    }

    /// Gives the directory `parent` one more block, with `entries` in it. Answers with its number.
    pub(super) fn append_names(&mut self, parent: &Inode, entries: &[NewEntry<'_>]) -> Result<u64> {
        let (number, block) = self.append_block(parent)?;
        self.put_names(parent, block, entries)?;
        Ok(number)
    }

    /// Gives the directory `parent` one more block. Answers with its number there and in the filesystem.
    pub(super) fn append_block(&mut self, parent: &Inode) -> Result<(u64, u64)> {
        let size = self.fs.superblock().block_size;
        let number = parent.size.div_ceil(size);
        let runs = self.grow(parent.number, number, 1)?;
        let Some(Place::Data(block)) = runs.first().map(|run| run.place) else {
            return Err(wrong(parent, number, "nothing stored"));
        };
        let new_size = number.saturating_add(1).saturating_mul(size);
        let has_large = self.fs.superblock().has(features::LARGE_DIR);
        if !has_large && new_size > u64::from(u32::MAX) {
            return Err(Error::unsupported("the directory is as large as it can be"));
        }
        self.edit_inode(parent.number, |_, bytes| {
            // A directory's upper half is something else without large_dir.
            match has_large {
                true => put_size(bytes, new_size),
                false => put(bytes, 0x04, &(new_size as u32).to_le_bytes()),
            }
        })?;
        Ok((number, block))
    }

    /// Makes `block` one of names: `entries`, the last of them up to the end.
    pub(super) fn put_names(&mut self, parent: &Inode, block: u64, entries: &[NewEntry<'_>]) -> Result<()> {
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        let mut fits = true;
        self.fs.blocks().change(block, |bytes| {
            bytes.fill(0);
            let end = bytes.len().saturating_sub(if has_sums { TAIL_LEN } else { 0 });
            let mut at = 0_usize;
            for (index, entry) in entries.iter().enumerate() {
                let is_last = index.saturating_add(1) == entries.len();
                let next = if is_last { end } else { at.saturating_add(entry.len()) };
                fits &= at.saturating_add(entry.len()) <= end;
                entry.put(bytes.get_mut(at..next).unwrap_or_default(), end, has_kinds);
                at = next;
            }
            if has_sums {
                put_names_checksum(parent.seed, bytes);
            }
        })?;
        match fits && !entries.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid("these names do not fit into a block")),
        }
    }
}

/// The kind that an entry says, as it lies there; 0 where entries say none.
pub(super) fn kind_at(area: &[u8], at: usize, has_kinds: bool) -> u8 {
    if has_kinds { (u16_at(area, at.saturating_add(6)) >> 8) as u8 } else { 0 }
}
