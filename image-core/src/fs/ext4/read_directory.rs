//! The names in a directory, from front to back.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4;
use super::blocks::Block;
use super::directory::{Areas, entry_at, wrong};
use super::inode::{Inode, NodeKind};
use super::nokey::NoKey;
use crate::error::{Doing, Result};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name. An encrypted one is what a kernel without the key shows for it.
    pub name: Vec<u8>,
    /// The inode that it names.
    pub inode: u32,
    /// What that is, where the directory says so.
    pub kind: Option<NodeKind>,
}

/// The names in a directory, without `.` and `..`, in the order in which they are stored.
#[derive(Debug)]
pub struct ReadDirectory<'a> {
    fs: &'a Ext4,
    inode: &'a Inode,
    cursor: Cursor,
}

/// A place in a directory.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    areas: Areas,
    /// The area that is being read.
    area: Option<(u64, Block)>,
    at: usize,
    /// Where in the next area to go on.
    resume: usize,
    nokey: Option<NoKey>,
}

impl Cursor {
    pub(super) fn new(fs: &Ext4, inode: &Inode) -> Self {
        let nokey = inode.is_encrypted().then(|| NoKey::new(fs, inode));
        Self { areas: Areas::new(fs, inode), area: None, at: 0, resume: 0, nokey }
    }

    /// The next name.
    pub(super) fn step(&mut self, fs: &Ext4, inode: &Inode) -> Result<Option<DirectoryEntry>> {
        loop {
            let Some((number, area)) = &self.area else {
                self.area = self.areas.step(fs, inode)?;
                self.at = std::mem::take(&mut self.resume);
                if self.area.is_none() {
                    return Ok(None);
                }
                continue;
            };
            if self.at >= area.len() {
                self.area = None;
                continue;
            }
            let number = *number;
            let entry = entry_at(fs, inode, area, self.at).map_err(|what| wrong(inode, number, what))?;
            self.at = entry.next;
            if entry.inode == 0 || matches!(entry.name, b"." | b"..") {
                continue;
            }
            let name = match &self.nokey {
                Some(nokey) => nokey.name(entry.name),
                None if entry.name.is_empty() || entry.name.iter().any(|byte| matches!(byte, 0 | b'/')) => {
                    return Err(wrong(inode, number, "a name that no file can have"));
                }
                None => entry.name.to_vec(),
            };
            return Ok(Some(DirectoryEntry { name, inode: entry.inode, kind: entry.kind() }));
        }
    }

    /// Forgets what can be read again: it will be waiting for a while.
    pub(super) fn rest(&mut self) {
        let begun = self.area.take().map(|(number, _)| number);
        if begun.is_some() {
            self.resume = self.at;
        }
        self.areas.rest(begun);
    }

    /// Gives up: where the next entry begins is not known any more.
    pub(super) fn end(&mut self) {
        self.areas.end();
        self.area = None;
    }
}

impl Ext4 {
    /// The names in the directory `inode`, without `.` and `..`, in the order in which they are stored; none in what is no
    /// directory.
    pub fn read_directory<'a>(&'a self, inode: &'a Inode) -> ReadDirectory<'a> {
        let mut cursor = Cursor::new(self, inode);
        if inode.kind != NodeKind::Directory {
            cursor.end();
        }
        ReadDirectory { fs: self, inode, cursor }
    }
}

impl Iterator for ReadDirectory<'_> {
    type Item = Result<DirectoryEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let doing = || format!("reading the directory of inode {}", self.inode.number);
        let step = self.cursor.step(self.fs, self.inode).doing(doing).transpose();
        if matches!(step, Some(Err(_))) {
            self.cursor.end();
        }
        step
    }
}
