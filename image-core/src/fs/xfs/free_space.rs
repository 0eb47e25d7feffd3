//! Free space: the blocks of each allocation group that nothing is in, by its tree of them.
//!
//! ```text
//! group    superblock │ free space header, one sector on │ …
//! header   0 "XAGF" │ 8 group │ 12 blocks of it │ 16 root of the tree │ 28 levels │ 52 free blocks │ 56 the longest run │ 64 filesystem
//! block    0 mark │ 4 level │ 6 count │ … │ since version 5: 16 place, 32 filesystem, 48 group, 52 checksum
//! level 0  first block, how many │ …          else   first block, how many │ … │ numbers of blocks
//! ```
//!
//! What a tree says counts only if it is the whole truth: runs in their order, as many blocks as the header says, its own not among them. Since they
//! ascend, and each leaf has one at least, a tree that leads into itself ends with an error.
//! XFS Algorithms & Data Structures, "AG Free Space Management".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::blocks::Block;
use super::checksum::is_sound;
use super::field::{field, u16_at, u32_at, u64_at};
use super::overlay::SECTOR;
use super::rule::{XfsRule, XfsStructure};
use crate::block::{ByteRange, Ranges};
use crate::error::{Doing, Error, Result};

/// Where the checksums of a header and of a block are.
const HEADER_SUM: usize = 216;
const BLOCK_SUM: usize = 52;
/// Before the entries of a block, and of one since version 5.
const OLD_ENTRIES: usize = 16;
const ENTRIES: usize = 56;
/// A run, and a run with a number.
const RUN_LEN: usize = 8;
const LEAD_LEN: usize = 12;
/// The deepest tree that can be needed.
const LEVELS_MAX: u32 = 9;
/// The last of the sectors at a group's beginning that are never free.
const LAST_HEADER: u64 = 3;

/// A walk through the tree of one group.
struct Walk<'a> {
    fs: &'a Xfs,
    group: u64,
    /// Blocks of the group.
    len: u64,
    /// No run begins before this block.
    next: u64,
    free: u64,
    longest: u64,
    ranges: &'a mut Ranges,
}

impl Xfs {
    /// The blocks that no group has in use, the log replayed.
    pub(super) fn unused(&self) -> Result<Vec<ByteRange>> {
        let superblock = self.superblock();
        if superblock.unknown_read_only != 0 {
            let what =
                format!("it has features that are not known here: {:#x}", superblock.unknown_read_only);
            return Err(Error::unsupported(what));
        }
        let mut ranges = Ranges::default();
        for group in 0..superblock.group_count {
            self.unused_of(group, &mut ranges)
                .doing(|| format!("looking for what is free in group {group}"))?;
        }
        ranges.into_sorted()
    }

    /// The free space header of `group`, checked.
    pub(super) fn free_space_header(&self, group: u64) -> Result<Block> {
        let superblock = self.superblock();
        let start = group.saturating_mul(superblock.group_blocks).saturating_mul(superblock.block_size);
        let bytes =
            self.blocks().bytes(start.saturating_add(superblock.sector_size), superblock.sector_size)?;
        let structure = XfsStructure::FreeSpace(u32::try_from(group).unwrap_or(u32::MAX));
        if !bytes.starts_with(b"XAGF") {
            return Err(XfsRule::foreign(structure, "mark"));
        }
        if superblock.has_sums && !bytes.is_replayed() && !is_sound(&bytes, HEADER_SUM) {
            return Err(Error::corrupt(XfsRule::Checksum(structure)));
        }
        Ok(bytes)
    }

    fn unused_of(&self, group: u64, ranges: &mut Ranges) -> Result<()> {
        let superblock = self.superblock();
        let header = self.free_space_header(group)?;
        let structure = XfsStructure::FreeSpace(u32::try_from(group).unwrap_or(u32::MAX));
        let first = group.saturating_mul(superblock.group_blocks);
        let len = superblock.block_count.saturating_sub(first).min(superblock.group_blocks);
        let value = |at| u64::from(u32_at(&header, at));
        let uuid = field::<16>(&header, 64);
        for (field, is_right) in [
            ("group", value(8) == group),
            ("number of blocks", value(12) == len),
            ("filesystem", !superblock.has_sums || uuid == superblock.uuid),
        ] {
            if !is_right {
                return Err(XfsRule::foreign(structure, field));
            }
        }
        let levels = u32_at(&header, 28);
        if levels == 0 || levels > LEVELS_MAX {
            return Err(wrong(group, "number of levels"));
        }
        let headers = LAST_HEADER.saturating_mul(superblock.sector_size).checked_div(superblock.block_size);
        let next = headers.unwrap_or(0).saturating_add(1);
        let mut walk = Walk { fs: self, group, len, next, free: 0, longest: 0, ranges };
        walk.block(value(16), levels.saturating_sub(1), true)?;
        match (walk.free == value(52), walk.longest == value(56)) {
            (true, true) => Ok(()),
            (false, _) => Err(wrong(group, "number of blocks")),
            (true, false) => Err(wrong(group, "longest run")),
        }
    }
}

fn wrong(group: u64, what: &'static str) -> Error {
    Error::corrupt(XfsRule::FreeSpace { group: u32::try_from(group).unwrap_or(u32::MAX), what })
}

impl Walk<'_> {
    /// Takes what block `number` of the group and those beneath it have.
    fn block(&mut self, number: u64, level: u32, is_root: bool) -> Result<()> {
        let bytes = self.read(number)?;
        self.ranges.add_used(self.place_of(number, number.saturating_add(1)));
        let (own_level, count) = (u32::from(u16_at(&bytes, 4)), usize::from(u16_at(&bytes, 6)));
        let entries_at = if self.fs.superblock().has_sums { ENTRIES } else { OLD_ENTRIES };
        let entries = bytes.get(entries_at..).unwrap_or_default();
        if own_level != level {
            return Err(wrong(self.group, "level"));
        }
        let room = if level == 0 { entries.len() / RUN_LEN } else { entries.len() / LEAD_LEN };
        if count > room || count == 0 && !(is_root && level == 0) {
            return Err(wrong(self.group, "number of entries"));
        }
        if level == 0 {
            let runs = entries.chunks_exact(RUN_LEN).take(count);
            return runs.map(|run| (u32_at(run, 0), u32_at(run, 4))).try_for_each(|run| self.run(run));
        }
        let numbers = entries.get(room.saturating_mul(RUN_LEN)..).unwrap_or_default();
        let numbers = numbers.chunks_exact(4).take(count).map(|number| u64::from(u32_at(number, 0)));
        numbers.into_iter().try_for_each(|number| self.block(number, level.saturating_sub(1), false))
    }

    fn run(&mut self, (first, count): (u32, u32)) -> Result<()> {
        let (first, count) = (u64::from(first), u64::from(count));
        let end = first.saturating_add(count);
        if count == 0 || first < self.next || end > self.len {
            return Err(wrong(self.group, "run of blocks"));
        }
        self.next = end;
        self.free = self.free.saturating_add(count);
        self.longest = self.longest.max(count);
        self.ranges.add(self.place_of(first, end));
        Ok(())
    }

    /// Where the blocks of the group from `first` up to `end` are.
    fn place_of(&self, first: u64, end: u64) -> ByteRange {
        let superblock = self.fs.superblock();
        let before = self.group.saturating_mul(superblock.group_blocks);
        let place = |block: u64| before.saturating_add(block).saturating_mul(superblock.block_size);
        ByteRange::between(place(first), place(end))
    }

    /// Block `number` of the group's tree, checked.
    fn read(&self, number: u64) -> Result<Block> {
        let superblock = self.fs.superblock();
        if number >= self.len {
            return Err(wrong(self.group, "number of a block"));
        }
        let place = self.group.saturating_mul(superblock.group_blocks).saturating_add(number);
        let bytes = self.fs.blocks().blocks(place, 1)?;
        let structure = XfsStructure::FreeTree(u32::try_from(self.group).unwrap_or(u32::MAX), number);
        let mark: &[u8] = if superblock.has_sums { b"AB3B" } else { b"ABTB" };
        if !bytes.starts_with(mark) {
            return Err(XfsRule::foreign(structure, "mark"));
        }
        if !superblock.has_sums {
            return Ok(bytes);
        }
        if !self.fs.blocks().is_sound(place, &bytes, BLOCK_SUM) {
            return Err(Error::corrupt(XfsRule::Checksum(structure)));
        }
        let sector = place.saturating_mul(superblock.block_size) / SECTOR;
        for (what, is_right) in [
            ("place", u64_at(&bytes, 16) == sector),
            ("filesystem", field::<16>(&bytes, 32) == superblock.uuid),
            ("group", u64::from(u32_at(&bytes, 48)) == self.group),
        ] {
            if !is_right {
                return Err(XfsRule::foreign(structure, what));
            }
        }
        Ok(bytes)
    }
}
