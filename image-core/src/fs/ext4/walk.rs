//! Every file of a filesystem: by the names in its directories, or by the tables of inodes.
//!
//! ```text
//! walk    root ─► directory, its names ─► directory, its names ─► …      each name, with its path; no inode is read for it
//! inodes  group 0: inode, inode, … │ group 1: … │ …                       each inode in use; no name is read
//! ```
//!
//! A directory has one place: one that is met a second time is refused, so a walk ends whatever the names say.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;

use super::Ext4;
use super::field::{u16_at, u32_at};
use super::inode::{Inode, NodeKind};
use super::read_directory::{Cursor, DirectoryEntry};
use super::rule::Ext4Rule;
use crate::error::{Doing, Error, Result};

/// Directories within directories: four times as many as the longest path that a kernel takes has.
const DEPTH_MAX: usize = 1 << 14;
/// Directories that are being read and stay in memory.
const OPEN_MAX: usize = 64;
/// Inodes whose bits are kept together, and how many such pieces are kept: 512 bytes each.
const PIECE: u32 = 4096;
const PIECES_MAX: usize = 1 << 16;

/// A name that a walk has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkEntry {
    /// Its path from the directory where the walk began, without a slash in front.
    pub path: Vec<u8>,
    /// The inode that it names.
    pub inode: u32,
    /// What that is.
    pub kind: NodeKind,
}

/// A walk: every name beneath a directory, directories before what is in them. Links are not followed. A directory that cannot
/// be read is an error of its own, and the walk goes on behind it.
#[derive(Debug)]
pub struct Walk {
    fs: Ext4,
    open: Vec<Open>,
    path: Vec<u8>,
    seen: Seen,
}

#[derive(Debug)]
struct Open {
    inode: Inode,
    cursor: Cursor,
    /// How much of the path is this directory's.
    path_len: usize,
}

impl Ext4 {
    /// Every name beneath the directory `from`.
    pub fn walk(&self, from: Inode) -> Walk {
        let mut seen = Seen::default();
        seen.insert(from.number);
        let cursor = Cursor::new(self, &from);
        let open = if from.kind == NodeKind::Directory {
            vec![Open { inode: from, cursor, path_len: 0 }]
        } else {
            Vec::new()
        };
        Walk { fs: self.clone(), open, path: Vec::new(), seen }
    }

    /// Every inode in use, by number: also those without a name, such as the journal.
    pub fn inodes(&self) -> Inodes<'_> {
        Inodes { fs: self, group: 0, next: 1, end: 1 }
    }
}

impl Walk {
    /// The next name, where there is one in the innermost directory; `None` at its end.
    fn step(&mut self) -> Option<Result<WalkEntry>> {
        let top = self.open.last_mut()?;
        let entry = match top.cursor.step(&self.fs, &top.inode) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                self.open.pop();
                return None;
            }
            Err(error) => {
                top.cursor.end();
                let number = top.inode.number;
                return Some(Err(error.doing(format!("reading the directory of inode {number}"))));
            }
        };
        self.path.truncate(top.path_len);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend(&entry.name);
        Some(self.come_to(&entry).doing(|| format!("at {}", String::from_utf8_lossy(&self.path))))
    }

    fn come_to(&mut self, entry: &DirectoryEntry) -> Result<WalkEntry> {
        let kind = match entry.kind {
            Some(kind) => kind,
            None => self.fs.inode(entry.inode)?.kind,
        };
        if kind == NodeKind::Directory {
            let inode = self.fs.inode(entry.inode)?;
            if inode.kind != kind {
                let value = u64::from(inode.mode);
                return Err(Error::corrupt(Ext4Rule::Inode { inode: inode.number, field: "kind", value }));
            }
            if !self.seen.insert(inode.number) {
                return Err(Error::corrupt(Ext4Rule::SecondPlace(inode.number)));
            }
            if self.seen.is_full() || self.open.len() >= DEPTH_MAX {
                return Err(Error::unsupported("there are too many directories"));
            }
            if let Some(waiting) = self.open.len().checked_sub(OPEN_MAX).and_then(|at| self.open.get_mut(at))
            {
                waiting.cursor.rest();
            }
            let cursor = Cursor::new(&self.fs, &inode);
            self.open.push(Open { inode, cursor, path_len: self.path.len() });
        }
        Ok(WalkEntry { path: self.path.clone(), inode: entry.inode, kind })
    }
}

impl Iterator for Walk {
    type Item = Result<WalkEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.open.is_empty() {
            if let Some(step) = self.step() {
                return Some(step);
            }
        }
        None
    }
}

/// Inodes that were met, a bit for each.
#[derive(Debug, Default)]
struct Seen {
    pieces: HashMap<u32, Box<[u8]>>,
}

impl Seen {
    /// Whether `inode` was not met before.
    fn insert(&mut self, inode: u32) -> bool {
        let piece = self.pieces.entry(inode / PIECE).or_insert_with(|| vec![0; (PIECE / 8) as usize].into());
        let Some(byte) = piece.get_mut((inode % PIECE / 8) as usize) else { return false };
        let bit = 1 << (inode % 8);
        let is_new = *byte & bit == 0;
        *byte |= bit;
        is_new
    }

    fn is_full(&self) -> bool {
        self.pieces.len() >= PIECES_MAX
    }
}

/// The inodes in use, by number.
#[derive(Debug)]
pub struct Inodes<'a> {
    fs: &'a Ext4,
    /// The group that comes next.
    group: u64,
    next: u64,
    end: u64,
}

impl Inodes<'_> {
    /// Whether the next inode is in use; then it is as `inode` reads it.
    fn step(&mut self) -> Result<Option<Inode>> {
        let superblock = self.fs.superblock();
        let number = u32::try_from(self.next).unwrap_or(u32::MAX);
        let index = self.next.saturating_sub(1).checked_rem(superblock.inodes_per_group).unwrap_or(0);
        self.next = self.next.saturating_add(1);
        let table = self.fs.group(self.group.saturating_sub(1))?.inode_table;
        let inside = index.saturating_mul(superblock.inode_size);
        let offset = table.saturating_mul(superblock.block_size).saturating_add(inside);
        let bytes = self.fs.blocks().bytes(offset, superblock.inode_size)?;
        // Without names, it is free. Reserved ones may be nothing yet; an orphan is still somebody's, and not in use here.
        let is_free =
            u16_at(&bytes, 0x1a) == 0 || (u16_at(&bytes, 0) == 0 && number < superblock.first_inode);
        if is_free || u32_at(&bytes, 0x14) != 0 && u16_at(&bytes, 0) == 0 {
            return Ok(None);
        }
        self.fs.inode(number).map(Some)
    }
}

impl Iterator for Inodes<'_> {
    type Item = Result<Inode>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.next < self.end {
                if let Some(inode) = self.step().transpose() {
                    return Some(inode);
                }
            }
            let superblock = self.fs.superblock();
            if self.group >= superblock.group_count() {
                return None;
            }
            let group = self.group;
            self.group = group.saturating_add(1);
            self.next = superblock.first_inode_of(group);
            match self.fs.group(group) {
                Ok(found) => self.end = self.next.saturating_add(found.inodes_in_use),
                // Its inodes are not known, those of others are.
                Err(error) => {
                    self.end = self.next;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_met_once() {
        let mut seen = Seen::default();
        for inode in [0, 1, 7, 8, 4095, 4096, u32::MAX] {
            assert!(seen.insert(inode), "{inode}");
            assert!(!seen.insert(inode), "{inode}");
        }
        assert_eq!(seen.pieces.len(), 3);
    }
}
