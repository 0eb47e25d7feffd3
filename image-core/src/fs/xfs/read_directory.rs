//! The names in a directory, from front to back.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::VecDeque;

use super::Xfs;
use super::directory::{HASHES_AT, NameBlock, RawEntry, entry_at, wrong};
use super::inode::{Form, Inode};
use super::mapping::Runs;
use super::run::{Place, Run};
use super::short_form;
use crate::error::{Doing, Result};
use crate::fs::{NodeEntry, NodeId};

/// The names in a directory, without `.` and `..`, in the order in which they are stored.
pub(super) struct ReadDirectory {
    fs: Xfs,
    inode: Inode,
    /// Blocks of names that are stored, and not read yet.
    blocks: std::ops::Range<u64>,
    /// Where the next ones are looked for, in blocks of the filesystem.
    next: u64,
    stored: u64,
    block: Option<(u64, NameBlock)>,
    at: usize,
    /// Those of a directory in its inode.
    waiting: VecDeque<NodeEntry>,
    is_begun: bool,
    is_ended: bool,
}

impl ReadDirectory {
    pub(super) fn new(fs: Xfs, inode: Inode) -> Self {
        Self {
            fs,
            inode,
            blocks: 0..0,
            next: 0,
            stored: 0,
            block: None,
            at: 0,
            waiting: VecDeque::new(),
            is_begun: false,
            is_ended: false,
        }
    }

    fn step(&mut self) -> Result<Option<NodeEntry>> {
        if !self.is_begun {
            self.is_begun = true;
            self.begin()?;
        }
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                return Ok(Some(entry));
            }
            let Some((number, block)) = &self.block else {
                match self.next_block()? {
                    Some(found) => self.block = Some(found),
                    None => return Ok(None),
                }
                continue;
            };
            if self.at >= block.end {
                self.block = None;
                continue;
            }
            let has_kinds = self.fs.superblock().has_kinds;
            let entry = entry_at(&block.bytes, self.at, block.end, has_kinds)
                .map_err(|what| wrong(&self.inode, *number, what))?;
            self.at = entry.next;
            if !matches!(entry.name, b"" | b"." | b"..") {
                return Ok(Some(node_entry(&entry)));
            }
        }
    }

    /// Takes the names of a directory in its inode.
    fn begin(&mut self) -> Result<()> {
        if self.inode.content.form != Form::Local {
            return Ok(());
        }
        self.next = u64::MAX;
        let bytes = self.inode.content.bytes.get(..self.inode.size as usize).unwrap_or_default();
        let entries = short_form::entries(bytes, self.fs.superblock().has_kinds)
            .map_err(|what| wrong(&self.inode, 0, what))?;
        self.waiting = entries.iter().map(node_entry).collect();
        Ok(())
    }

    /// The next block of names that is stored.
    fn next_block(&mut self) -> Result<Option<(u64, NameBlock)>> {
        let superblock = self.fs.superblock();
        let count = superblock.directory_block_count;
        let end = HASHES_AT.checked_div(superblock.block_size).unwrap_or(0);
        while self.blocks.is_empty() && self.next < end {
            let Some(run) = Runs::new(&self.fs, &self.inode.content, self.next..end).next() else { break };
            let run: Run = run?;
            self.next = run.end();
            if run.place == Place::Hole {
                continue;
            }
            // Blocks of a directory may lie in several pieces: the rest of one is looked for with its beginning.
            self.next = self.next.next_multiple_of(count);
            self.blocks =
                run.first.checked_div(count).unwrap_or(0)..self.next.checked_div(count).unwrap_or(0);
            self.stored = self.stored.saturating_add(run.count);
            if self.stored > superblock.block_count {
                return Err(wrong(&self.inode, self.blocks.start, "more blocks than the filesystem"));
            }
        }
        let Some(number) = self.blocks.next() else { return Ok(None) };
        let block = self.fs.name_block(&self.inode, number)?;
        self.at = block.start;
        Ok(Some((number, block)))
    }
}

fn node_entry(entry: &RawEntry<'_>) -> NodeEntry {
    NodeEntry { name: entry.name.to_vec(), id: NodeId::new(entry.inode), kind: entry.kind }
}

impl Iterator for ReadDirectory {
    type Item = Result<NodeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let number = self.inode.number;
        let step = self.step().doing(|| format!("reading the directory of inode {number}")).transpose();
        self.is_ended = !matches!(step, Some(Ok(_)));
        step
    }
}
