//! Names that are moved, and second names.
//!
//! ```text
//! new name there?   its entry names what is moved from now on, and what it named has a name less
//! not there?        one more entry
//! then              the old entry goes; a directory's `..` and the links of both folders follow
//! ```
//! rename(2), link(2). A directory has as many links as directories in it and two more; 1 where those cannot be counted (dir_nlink).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::create::entry_kind;
use super::directory::put_names_checksum;
use super::inode::{CHANGED, put_time};
use super::insert::NewEntry;
use super::mapping::MAP_AT;
use super::refusal::Refusal;
use crate::error::{Doing, Error, Result};
use crate::fs::ext4::directory::{block_of, entry_at, names_of, wrong};
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::inode::{FLAG_INDEX, FLAG_INLINE_DATA, FLAG_PROJECT_INHERIT, Inode, NodeKind, ROOT};
use crate::fs::ext4::{features, htree, lookup};

/// As many links as are counted.
const LINKS_MAX: u32 = 65_000;
/// Directories within directories.
const DEPTH_MAX: usize = 1 << 16;

impl Ext4Writer {
    /// Gives `inode`, which is no directory, one more name: `name` in the directory `directory`.
    ///
    /// # Errors
    /// [`Refusal::TooManyLinks`] from 65,000 on, [`Refusal::IsADirectory`]; else as [`create_file`](Self::create_file).
    pub fn make_link(&mut self, directory: u32, name: &[u8], inode: u32) -> Result<()> {
        let doing = || format!("linking inode {inode} as {}", String::from_utf8_lossy(name));
        self.attempt(|changes| changes.link(directory, name, inode)).doing(doing)
    }

    /// Moves what is `name` in the directory `from` to `new_name` in the directory `to`, as rename(2) does: what is there goes, a
    /// directory only if it is empty and a directory takes its place. Of two names of one inode nothing is changed.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::NotEmpty`], [`Refusal::NotADirectory`], [`Refusal::IsADirectory`], [`Refusal::IntoItself`],
    /// [`Refusal::TooManyLinks`]; else as [`create_file`](Self::create_file).
    pub fn rename(&mut self, from: u32, name: &[u8], to: u32, new_name: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy;
        let doing = || format!("moving {} of inode {from} to {} of inode {to}", text(name), text(new_name));
        self.attempt(|changes| changes.move_name((from, name), (to, new_name))).doing(doing)
    }

    fn link(&mut self, directory: u32, name: &[u8], number: u32) -> Result<()> {
        let parent = self.directory_inode(directory)?;
        let inode = self.changeable(number)?;
        if inode.kind == NodeKind::Directory {
            return Err(Refusal::IsADirectory.into());
        }
        self.check_name(&parent, name)?;
        check_project(&parent, &inode)?;
        if inode.links >= LINKS_MAX {
            return Err(Refusal::TooManyLinks.into());
        }
        self.insert(&parent, &NewEntry { name, inode: number, kind: entry_kind(inode.kind) })?;
        let (links, now) = (inode.links.saturating_add(1) as u16, self.time);
        self.edit_inode(number, |_, bytes| {
            put(bytes, 0x1a, &links.to_le_bytes());
            put_time(bytes, CHANGED, now);
        })?;
        self.touch(directory)
    }

    fn move_name(&mut self, (from, name): (u32, &[u8]), (to, new_name): (u32, &[u8])) -> Result<()> {
        let (source, target) = (self.directory_inode(from)?, self.directory_inode(to)?);
        if source.is_encrypted() {
            return Err(Error::unsupported("the directory is encrypted, and its key is not here"));
        }
        self.check_new_name(&target, new_name)?;
        let found = self.find(&source, name)?.ok_or(Refusal::NotFound)?;
        let inode = self.fs.inode(found.inode)?;
        let is_directory = inode.kind == NodeKind::Directory;
        let there = self.fs.lookup(&target, new_name)?;
        if is_directory && from != to {
            self.check_not_beneath(inode.number, to)?;
        }
        check_project(&target, &inode)?;
        match there {
            // One name in another case: the old entry goes first.
            Some(there) if there == inode.number && from == to && lookup::is_folded(&target) => {
                self.erase(&source, &found)?;
                let target = self.fs.inode(to)?;
                self.insert(
                    &target,
                    &NewEntry { name: new_name, inode: there, kind: entry_kind(inode.kind) },
                )?;
            }
            Some(there) if there == inode.number => return Ok(()),
            Some(there) => {
                self.replace_name(&target, new_name, there, &inode)?;
                self.erase_again(from, name)?;
            }
            None => {
                if is_directory && from != to && !self.takes_directory(&target) {
                    return Err(Refusal::TooManyLinks.into());
                }
                let entry = NewEntry { name: new_name, inode: inode.number, kind: entry_kind(inode.kind) };
                self.insert(&target, &entry)?;
                self.erase_again(from, name)?;
            }
        }
        if is_directory && from != to {
            self.point_up(&inode, to)?;
            self.count_directory(from, false)?;
            self.count_directory(to, true)?;
        }
        let now = self.time;
        self.edit_inode(inode.number, |_, bytes| put_time(bytes, CHANGED, now))?;
        self.touch(from)?;
        self.touch(to)
    }

    /// Takes `name` out of the directory `directory`, wherever it is by now.
    fn erase_again(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        let parent = self.directory_inode(directory)?;
        let found = self.find(&parent, name)?.ok_or(Refusal::NotFound)?;
        self.erase(&parent, &found)
    }

    /// Has `name` of the directory `parent` name `inode` from now on; `there`, which it named, has a name less.
    fn replace_name(&mut self, parent: &Inode, name: &[u8], there: u32, inode: &Inode) -> Result<()> {
        let old = self.fs.inode(there)?;
        match (old.kind == NodeKind::Directory, inode.kind == NodeKind::Directory) {
            (true, false) => return Err(Refusal::IsADirectory.into()),
            (false, true) => return Err(Refusal::NotADirectory.into()),
            (true, true) if self.fs.read_directory(&old).next().transpose()?.is_some() => {
                return Err(Refusal::NotEmpty.into());
            }
            _ => {}
        }
        let found = self.find(parent, name)?;
        let found = found.ok_or_else(|| Error::unsupported("the name is there in another case"))?;
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        self.edit_area(parent, found.area, |area| {
            put(area, found.at, &inode.number.to_le_bytes());
            if has_kinds {
                put(area, found.at.saturating_add(7), &[entry_kind(inode.kind)]);
            }
        })?;
        self.fs.name_cache().forget();
        if old.kind == NodeKind::Directory {
            self.count_directory(parent.number, false)?;
        }
        self.unlink(&old)
    }

    /// Refuses `directory` if it is `inode`, or beneath it.
    fn check_not_beneath(&self, inode: u32, directory: u32) -> Result<()> {
        let mut at = directory;
        for _ in 0..DEPTH_MAX {
            if at == inode {
                return Err(Refusal::IntoItself.into());
            }
            if at == ROOT {
                return Ok(());
            }
            at = self.parent_of(&self.directory_inode(at)?)?.1;
        }
        Err(Error::corrupt("directories are within each other"))
    }

    /// Where the first block of `directory` has the entry of its parent, and that.
    fn parent_of(&self, directory: &Inode) -> Result<(usize, u32)> {
        if directory.has(FLAG_INLINE_DATA) {
            return Ok((0, u32_at(&directory.block, 0)));
        }
        let block = names_of(&self.fs, directory, 0, block_of(&self.fs, directory, 0)?)?;
        let at = |at| entry_at(&self.fs, directory, &block, at).map_err(|what| wrong(directory, 0, what));
        let place = at(0)?.next;
        let parent = at(place)?;
        match parent.name {
            b".." => Ok((place, parent.inode)),
            _ => Err(wrong(directory, 0, "no `..`")),
        }
    }

    /// Has `..` of `directory` lead to `parent`.
    fn point_up(&mut self, directory: &Inode, parent: u32) -> Result<()> {
        let (place, _) = self.parent_of(directory)?;
        if directory.has(FLAG_INLINE_DATA) {
            return self.edit_inode(directory.number, |_, bytes| put(bytes, MAP_AT, &parent.to_le_bytes()));
        }
        let block = self.directory_block(directory, 0)?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |bytes| {
            put(bytes, place, &parent.to_le_bytes());
            if !has_sums {
                return;
            }
            match htree::is_node(directory, 0, bytes) {
                true => htree::put_checksum(directory.seed, bytes, htree::ROOT_ENTRIES),
                false => put_names_checksum(directory.seed, bytes),
            }
        })
    }

    /// Whether one more directory can be in `parent`.
    pub(super) fn takes_directory(&self, parent: &Inode) -> bool {
        let is_uncounted = self.fs.superblock().has(features::DIR_NLINK) && parent.has(FLAG_INDEX);
        parent.links < LINKS_MAX || is_uncounted
    }

    /// Counts one directory more, or less, in the directory `number`.
    pub(super) fn count_directory(&mut self, number: u32, is_more: bool) -> Result<()> {
        let links = match (self.fs.inode(number)?.links, is_more) {
            // There are more than are counted.
            (1, _) => return Ok(()),
            (links, true) if links >= LINKS_MAX => 1,
            (links, true) => links.saturating_add(1),
            (links, false) if links > 2 => links.saturating_sub(1),
            _ => return Ok(()),
        };
        self.edit_inode(number, |_, bytes| put(bytes, 0x1a, &(links as u16).to_le_bytes()))
    }
}

/// Refuses what belongs to another project than the directory hands down.
fn check_project(directory: &Inode, inode: &Inode) -> Result<()> {
    match directory.has(FLAG_PROJECT_INHERIT) && directory.project != inode.project {
        true => Err(Error::unsupported("the directory is another project's")),
        false => Ok(()),
    }
}
