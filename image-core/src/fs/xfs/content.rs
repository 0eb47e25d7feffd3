//! What is in files: bytes at positions, and which of them are stored at all.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::Xfs;
use super::inode::Inode;
use super::mapping::Runs;
use super::run::Place;
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents};
use crate::error::{Doing, Result};

/// What is in a regular file, as a disk.
pub(super) struct Content {
    pub(super) fs: Xfs,
    pub(super) inode: Inode,
}

impl Content {
    /// The blocks that have `range`.
    fn blocks_of(&self, range: ByteRange) -> Range<u64> {
        let size = self.fs.superblock().block_size;
        range.offset().checked_div(size).unwrap_or(0)..range.end().div_ceil(size)
    }

    /// Fills `buf`, which is as long as `range`.
    fn read(&self, buf: &mut [u8], range: ByteRange) -> Result<()> {
        let size = self.fs.superblock().block_size;
        for run in Runs::new(&self.fs, &self.inode.content, self.blocks_of(range)) {
            let run = run?;
            let start = run.first.saturating_mul(size);
            let part = ByteRange::between(start, run.end().saturating_mul(size)).intersection(range);
            let Some(part) = part else { continue };
            let at = part.offset().saturating_sub(range.offset()) as usize;
            let target = buf.get_mut(at..at.saturating_add(part.len() as usize)).unwrap_or_default();
            match run.place {
                Place::Data(block) => {
                    let inside = part.offset().saturating_sub(start);
                    self.fs.blocks().read_at(target, block.saturating_mul(size).saturating_add(inside))?;
                }
                Place::Unwritten | Place::Hole => target.fill(0),
            }
        }
        Ok(())
    }
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.inode.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let doing = || format!("reading what is in inode {}", self.inode.number);
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.inode.size).doing(doing)?;
        self.read(buf, range).doing(doing)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let doing = || format!("looking where inode {} has data", self.inode.number);
        range.check_within(self.inode.size).doing(doing)?;
        let mut extents = Extents::starting_at(range.offset());
        for run in Runs::new(&self.fs, &self.inode.content, self.blocks_of(range)) {
            let run = run.doing(doing)?;
            let kind = match run.place {
                Place::Data(_) => ExtentKind::Data,
                Place::Unwritten => ExtentKind::Zero,
                Place::Hole => ExtentKind::Hole,
            };
            let end = run.end().saturating_mul(self.fs.superblock().block_size);
            extents.push_until(end.min(range.end()), kind);
        }
        Ok(extents)
    }
}
