//! What is in files: bytes at positions, and which of them are stored at all.
//!
//! ```text
//! file ─┬─ content in the inode: 60 bytes where blocks would be told, the rest as an attribute `system.data`
//!       └─ runs of blocks: data is read, all else is zeroes
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Inline Data", "The Contents of inode.i_block").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::inode::{FLAG_INLINE_DATA, Inode, NodeKind};
use super::mapping::Runs;
use super::rule::Ext4Rule;
use super::run::Place;
use super::{Ext4, features};
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents, FileRange};
use crate::error::{Doing, Error, Result};

/// The longest target of a link.
const LINK_MAX: u64 = 4096;

impl Ext4 {
    /// Fills `buf` with what the regular file `inode` has from `offset` on.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a range past its end; [`Unsupported`](crate::ErrorKind::Unsupported) for one
    /// that is encrypted; [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`]; whatever the disk says.
    pub fn read_at(&self, inode: &Inode, buf: &mut [u8], offset: u64) -> Result<()> {
        let doing = || format!("reading what is in inode {}", inode.number);
        refuse_encrypted(inode).doing(doing)?;
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(inode.size).doing(doing)?;
        match inode.has(FLAG_INLINE_DATA) {
            true => self.read_inline(inode, buf, offset),
            false => self.read_runs(inode, buf, range),
        }
        .doing(doing)
    }

    /// All that is in the regular file `inode`, which has no more than `limit` bytes.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); [`Refused`](crate::ErrorKind::Refused) for more than `limit` bytes.
    pub fn read(&self, inode: &Inode, limit: u64) -> Result<Vec<u8>> {
        if inode.size > limit {
            let (number, size) = (inode.number, inode.size);
            return Err(Error::refused(format!(
                "inode {number} has {size} bytes, more than the {limit} expected"
            )));
        }
        let mut content = vec![0; inode.size as usize];
        self.read_at(inode, &mut content, 0)?;
        Ok(content)
    }

    /// Which bytes of `range` in the regular file `inode` are stored: data; zero where blocks are set aside; else a hole.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn extents(&self, inode: &Inode, range: ByteRange) -> Result<Extents> {
        let doing = || format!("looking where inode {} has data", inode.number);
        range.check_within(inode.size).doing(doing)?;
        if inode.has(FLAG_INLINE_DATA) {
            return Ok(Extents::uniform(range, ExtentKind::Data));
        }
        let mut extents = Extents::starting_at(range.offset());
        for run in Runs::new(self, inode, self.blocks_of(range)) {
            let run = run.doing(doing)?;
            let kind = match run.place {
                Place::Data(_) => ExtentKind::Data,
                Place::Unwritten(_) => ExtentKind::Zero,
                Place::Hole => ExtentKind::Hole,
            };
            let end = run.end().saturating_mul(self.superblock().block_size);
            extents.push_until(end.min(range.end()), kind);
        }
        Ok(extents)
    }

    /// The regular file `inode` as a disk.
    pub fn content(&self, inode: Inode) -> Content {
        Content { fs: self.clone(), inode }
    }

    /// Where the link `inode` points to.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is no link; else as [`read_at`](Self::read_at).
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        let doing = || format!("reading the link of inode {}", inode.number);
        if inode.kind != NodeKind::Link {
            return Err(Error::invalid("it is no link")).doing(doing);
        }
        if inode.size == 0 || inode.size > LINK_MAX {
            return Err(Error::corrupt(Ext4Rule::Link { inode: inode.number, len: inode.size })).doing(doing);
        }
        refuse_encrypted(inode).doing(doing)?;
        let mut target = vec![0; inode.size as usize];
        if self.has_fast_target(inode) {
            super::field::copy(&mut target, &inode.block);
        } else if inode.has(FLAG_INLINE_DATA) {
            self.read_inline(inode, &mut target, 0).doing(doing)?;
        } else {
            self.read_runs(inode, &mut target, ByteRange::whole(inode.size)).doing(doing)?;
        }
        // A kernel ends it at its first zero.
        let len = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
        target.truncate(len);
        Ok(target)
    }

    /// Whether a link's target is where its blocks would be told: it has no blocks but those of its attributes.
    pub(super) fn has_fast_target(&self, inode: &Inode) -> bool {
        if inode.has(FLAG_INLINE_DATA) || inode.size >= inode.block.len() as u64 {
            return false;
        }
        let superblock = self.superblock();
        let attributes = if inode.attribute_block != 0 { superblock.cluster_size >> 9 } else { 0 };
        // Attributes that are inodes count as the link's own blocks.
        superblock.has(features::EA_INODE) || inode.sectors == attributes
    }

    fn read_inline(&self, inode: &Inode, buf: &mut [u8], offset: u64) -> Result<()> {
        let rest = self.inline_value(inode)?;
        let bytes = inode.block.iter().chain(&rest).copied().chain(std::iter::repeat(0));
        for (target, byte) in buf.iter_mut().zip(bytes.skip(offset as usize)) {
            *target = byte;
        }
        Ok(())
    }

    /// The blocks that have `range`.
    pub(super) fn blocks_of(&self, range: ByteRange) -> Range<u64> {
        let size = self.superblock().block_size;
        range.offset().checked_div(size).unwrap_or(0)..range.end().div_ceil(size)
    }

    /// Fills `buf`, which is as long as `range`.
    pub(super) fn read_runs(&self, inode: &Inode, buf: &mut [u8], range: ByteRange) -> Result<()> {
        let size = self.superblock().block_size;
        for run in Runs::new(self, inode, self.blocks_of(range)) {
            let run = run?;
            let start = run.first.saturating_mul(size);
            let part = ByteRange::between(start, run.end().saturating_mul(size)).intersection(range);
            let Some(part) = part else { continue };
            let at = part.offset().saturating_sub(range.offset()) as usize;
            let target = buf.get_mut(at..at.saturating_add(part.len() as usize)).unwrap_or_default();
            match run.place {
                Place::Data(block) => {
                    let inside = part.offset().saturating_sub(start);
                    self.blocks().read_at(target, block.saturating_mul(size).saturating_add(inside))?;
                }
                Place::Unwritten(_) | Place::Hole => target.fill(0),
            }
        }
        Ok(())
    }
}

fn refuse_encrypted(inode: &Inode) -> Result<()> {
    match inode.is_encrypted() && matches!(inode.kind, NodeKind::File | NodeKind::Link) {
        true => {
            Err(Error::unsupported(format!("inode {} is encrypted, and its key is not here", inode.number)))
        }
        false => Ok(()),
    }
}

/// What is in a file, as a disk.
#[derive(Debug, Clone)]
pub struct Content {
    fs: Ext4,
    inode: Inode,
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.inode.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.fs.read_at(&self.inode, buf, offset)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        self.fs.extents(&self.inode, range)
    }

    fn prefetch(&self, range: ByteRange) {
        let size = self.fs.superblock().block_size;
        for run in Runs::new(&self.fs, &self.inode, self.fs.blocks_of(range)).map_while(Result::ok) {
            if let Place::Data(block) = run.place
                && !self.inode.has(FLAG_INLINE_DATA)
                && let Ok(range) = ByteRange::new(block.saturating_mul(size), run.count.saturating_mul(size))
            {
                self.fs.blocks().disk().prefetch(range);
            }
        }
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        range.check_within(self.inode.size)?;
        let blocks = self.fs.blocks_of(range);
        if range.is_empty() || self.inode.has(FLAG_INLINE_DATA) || self.inode.is_encrypted() {
            return Ok(None);
        }
        let Some(run) = Runs::new(&self.fs, &self.inode, blocks).next().transpose()? else { return Ok(None) };
        let Place::Data(block) = run.place else { return Ok(None) };
        if self.fs.blocks().is_covered(block, block.saturating_add(run.count)) {
            return Ok(None);
        }
        let size = self.fs.superblock().block_size;
        let skipped = range.offset().saturating_sub(run.first.saturating_mul(size));
        let start = block.saturating_mul(size).saturating_add(skipped);
        let len = run.end().saturating_mul(size).min(range.end()).saturating_sub(range.offset());
        self.fs.blocks().disk().file_range(ByteRange::new(start, len)?)
    }
}
