//! What belongs to no file becomes zeroes, and is gone for good.
//!
//! ```text
//! all counted anew (fsck.rs), consistent ─┬─► inode tables    free inodes; in used ones, behind target, content, extents, attributes
//!                                           ├─► directories     gaps behind names, names that were removed, ends of their indexes
//!                                           ├─► extents, attributes   what is behind their entries, between names and values
//!                                           ├─► files           behind their ends, and blocks that were never written
//!                                           ├─► journal         all but its superblock; the orphan file
//!                                           └─► all that nobody uses: free blocks, rests of clusters
//! ```
//!
//! What stays: the boot sectors before the superblock, copies of it and of descriptors, and what is sealed by verity or encrypted
//! behind a file's end, which its content needs. A filesystem in which there is nothing to wipe is not written to.
//!
//! Each write replaces bytes that nobody reads by zeroes, with the checksum that then is right: one that is not made leaves all as it
//! was. Linux kernel documentation, filesystems/ext4.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod attributes;
mod directories;
mod files;
mod table;

use std::collections::HashSet;
use std::sync::Arc;

use super::fsck::Fsck;
use super::inode::NodeKind;
use super::mapping;
use super::run::{Part, Place};
use super::{Ext4, write};
use crate::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, ZeroMode};
use crate::error::{Doing, Error, Result};

/// Bytes are looked at in pieces of this size.
const PIECE: u64 = 1 << 20;
/// Less than this is read without asking what of it is stored: a kernel looks for the end of all data that follow.
const ASKED: u64 = 128 << 10;
/// Zeroes are told from other bytes in steps of this size.
const STEP: u64 = 4096;
/// The node name and the device in the MMP block.
const MMP_NAMES: std::ops::Range<usize> = 0x10..0x70;
const MMP_CHECKSUM: usize = 0x3fc;

/// Makes zeroes, or holes, of all bytes of `disk` that belong to no file of the ext filesystem on it, which nobody uses and in whose
/// journal nothing waits. Answers with how many bytes other than zero there were.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) if a journal waits, errors are recorded, or it has a feature that is not changed
/// here; [`Corrupt`](crate::ErrorKind::Corrupt) with a [`Finding`](super::Finding) if it is not consistent; whatever the disk says.
pub fn scrub(disk: &Arc<dyn BlockWrite>) -> Result<u64> {
    let doing = || "wiping what belongs to no file";
    let fs = Ext4::open(Arc::clone(disk) as Arc<dyn BlockRead>)?;
    write::refuse(&fs).doing(doing)?;
    if !fs.superblock().is_clean {
        return Err(Error::unsupported("the filesystem was not unmounted cleanly")).doing(doing);
    }
    let fsck = Fsck::run(&fs).doing(doing)?;
    if let Some(finding) = fsck.findings.into_iter().next() {
        return Err(Error::corrupt(finding.to_string())).doing(doing);
    }
    let mut scrub = Scrub { fs: &fs, disk: &**disk, wiped: 0, attribute_blocks: HashSet::new() };
    for number in 0..fs.superblock().group_count() {
        scrub.table(number).doing(|| format!("wiping the inodes of group {number}"))?;
        let group = fs.group(number)?;
        for inode in fs.inodes_in_use(number, &group)? {
            scrub.content(inode).doing(|| format!("wiping behind inode {inode}"))?;
        }
        for (first, count) in fsck.used_blocks.free_in(fs.superblock().blocks_of(number)) {
            scrub.wipe_blocks(first, count).doing(doing)?;
        }
        scrub.copies(number).doing(doing)?;
    }
    scrub.mmp().doing(doing)?;
    let wiped = scrub.wiped;
    if wiped > 0 {
        disk.flush()?;
    }
    Ok(wiped)
}

/// Makes zeroes of what the regular file `inode` of the ext filesystem on `disk` has from `from` on: its blocks stay its. Answers with
/// how many bytes other than zero there were.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for what is no regular file with blocks; else as [`scrub`].
pub fn wipe_content(disk: &Arc<dyn BlockWrite>, inode: u32, from: u64) -> Result<u64> {
    let doing = || format!("wiping what is in inode {inode}");
    let fs = Ext4::open(Arc::clone(disk) as Arc<dyn BlockRead>)?;
    write::refuse(&fs).doing(doing)?;
    let found = fs.inode(inode)?;
    if found.kind != NodeKind::File || !mapping::has_map(&fs, &found) || !fs.superblock().is_clean {
        return Err(Error::invalid("it is no regular file with blocks")).doing(doing);
    }
    let mut runs = Vec::new();
    mapping::each_part(&fs, &found, &mut |part| {
        if let Part::Run(run) = part {
            runs.push(run);
        }
        Ok(())
    })?;
    let mut scrub = Scrub { fs: &fs, disk: &**disk, wiped: 0, attribute_blocks: HashSet::new() };
    let size = fs.superblock().block_size;
    for run in runs {
        let Place::Data(block) = run.place else { continue };
        let start = run.first.saturating_mul(size);
        let skipped = from.saturating_sub(start).min(run.count.saturating_mul(size));
        let place = block.saturating_mul(size);
        let end = place.saturating_add(run.count.saturating_mul(size));
        scrub.wipe(ByteRange::between(place.saturating_add(skipped), end)).doing(doing)?;
    }
    Ok(scrub.wiped)
}

struct Scrub<'a> {
    fs: &'a Ext4,
    disk: &'a dyn BlockWrite,
    /// How many bytes other than zero there were.
    wiped: u64,
    /// Blocks of attributes that were seen, for several files may have one.
    attribute_blocks: HashSet<u64>,
}

impl Scrub<'_> {
    /// Wipes `count` blocks from `first` on.
    fn wipe_blocks(&mut self, first: u64, count: u64) -> Result<()> {
        let size = self.fs.superblock().block_size;
        self.wipe(ByteRange::new(first.saturating_mul(size), count.saturating_mul(size))?)
    }

    /// Wipes `range`; what is zeroes already is left alone.
    fn wipe(&mut self, range: ByteRange) -> Result<()> {
        let extents = match range.len() < ASKED {
            true => Extents::uniform(range, ExtentKind::Data),
            false => self.disk.extents(range)?,
        };
        for extent in extents.iter().filter(|extent| extent.kind == ExtentKind::Data) {
            let mut at = extent.range.offset();
            while at < extent.range.end() {
                let mut bytes = vec![0; extent.range.end().saturating_sub(at).min(PIECE) as usize];
                self.disk.read_at(&mut bytes, at)?;
                self.wipe_piece(&bytes, at)?;
                at = at.saturating_add(bytes.len() as u64);
            }
        }
        Ok(())
    }

    /// Wipes what is other than zero of `bytes`, which are at `offset`.
    fn wipe_piece(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut begun: Option<u64> = None;
        let mut at = offset;
        for step in bytes.chunks(STEP as usize) {
            let stale = other_than_zero(step);
            self.wiped = self.wiped.saturating_add(stale);
            if stale > 0 {
                begun.get_or_insert(at);
            } else if let Some(start) = begun.take() {
                self.disk.write_zeroes(ByteRange::between(start, at), ZeroMode::Punch)?;
            }
            at = at.saturating_add(step.len() as u64);
        }
        match begun {
            Some(start) => self.disk.write_zeroes(ByteRange::between(start, at), ZeroMode::Punch),
            None => Ok(()),
        }
    }

    /// Writes `new` at `offset` in place of `old`, if they differ.
    fn replace(&mut self, old: &[u8], new: &[u8], offset: u64) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let wiped = other_than_zero(old).saturating_sub(other_than_zero(new));
        self.wiped = self.wiped.saturating_add(wiped.max(1));
        self.disk.write_at(new, offset)
    }

    /// Changes block `number` by `edit`.
    fn edit_block(&mut self, number: u64, edit: impl FnOnce(&mut [u8])) -> Result<()> {
        let size = self.fs.superblock().block_size;
        let old = self.fs.blocks().block(number)?;
        let mut new = old.to_vec();
        edit(&mut new);
        self.replace(&old, &new, number.saturating_mul(size))
    }

    /// Wipes what is behind the superblock, or its copy, in its block.
    fn copies(&mut self, group: u64) -> Result<()> {
        let superblock = self.fs.superblock();
        if !superblock.has_superblock(group) {
            return Ok(());
        }
        let size = superblock.block_size;
        let start = superblock.blocks_of(group).start.saturating_mul(size);
        // The first one is at its own place, whatever the size of a block.
        let end = if group == 0 { 2048 } else { start.saturating_add(1024) };
        self.wipe(ByteRange::between(end, start.saturating_add(size)))
    }

    /// Wipes who used it last.
    fn mmp(&mut self) -> Result<()> {
        let (block, seed) = (self.fs.superblock().mmp_block, self.fs.superblock().seed);
        if block == 0 {
            return Ok(());
        }
        let has_sums = self.fs.superblock().has(super::features::METADATA_CSUM);
        self.edit_block(block, |bytes| {
            bytes.get_mut(MMP_NAMES).unwrap_or_default().fill(0);
            bytes.get_mut(MMP_CHECKSUM.saturating_add(4)..).unwrap_or_default().fill(0);
            if has_sums {
                let sum = super::checksum::crc32c(seed, &[bytes.get(..MMP_CHECKSUM).unwrap_or_default()]);
                super::field::put(bytes, MMP_CHECKSUM, &sum.to_le_bytes());
            }
        })
    }
}

/// How many bytes are not zero.
fn other_than_zero(bytes: &[u8]) -> u64 {
    // By pieces, so that a processor counts many at once.
    bytes
        .chunks(128)
        .map(|piece| {
            u64::from(piece.iter().fold(0_u8, |count, byte| count.saturating_add(u8::from(*byte != 0))))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_other_than_zero_are_counted() {
        assert_eq!(other_than_zero(&[0; 1000]), 0);
        assert_eq!(other_than_zero(&[7; 1000]), 1000);
        assert_eq!(other_than_zero(&[0, 1, 0, 255]), 2);
    }
}
