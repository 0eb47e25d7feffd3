//! The log: what was promised to the filesystem, and is not in its place yet. It is replayed into memory, never onto the disk.
//!
//! ```text
//! ring of sectors   cycle n: … record │ record │ head ► cycle n - 1: … old records … ◄ tail: record │ record …
//! record            header │ operations ………………      the first four bytes of each sector are its cycle, those that were there
//!                                                      are in the header
//! operation         of which transaction, how long │ part of an item of it
//! ```
//!
//! From the record where the tail is on, each transaction counts whose commit is there. A log that ends with a record of
//! unmounting has nothing to say. What a kernel would refuse to mount is refused here; what it takes for the log's end is the end.
//! XFS Algorithms & Data Structures, "Journaling Log".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod buffer_item;
mod buffers;
mod head;
mod inode_item;
mod intents;
mod new_inodes;
mod record;
mod replay;
mod transaction;

use super::overlay::{Overlay, SECTOR};
use super::superblock::Superblock;
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};
pub(super) use intents::Unfinished;

/// Features of a log that are known: attributes as items of their own.
const KNOWN: u32 = 0x1;

/// What was replayed.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) overlay: Overlay,
    pub(super) unfinished: Unfinished,
}

/// A log: where it lies.
struct Log<'a> {
    disk: &'a dyn BlockRead,
    superblock: &'a Superblock,
    /// The first byte of it on the disk.
    start: u64,
    /// How many sectors of 512 bytes it has.
    sectors: u64,
}

/// What the log of the filesystem on `disk` has to say; `None` if there is nothing.
pub(super) fn replay(disk: &dyn BlockRead, superblock: &Superblock) -> Result<Option<Replayed>> {
    let Some(place) = superblock.place_of(superblock.log_start, superblock.log_blocks) else {
        return Ok(None);
    };
    // A log on another disk is not known here.
    if superblock.log_start == 0 || superblock.log_blocks == 0 {
        return Ok(None);
    }
    let log = Log {
        disk,
        superblock,
        start: place.saturating_mul(superblock.block_size),
        sectors: superblock.log_blocks.saturating_mul(superblock.block_size) / SECTOR,
    };
    let doing = || "replaying the XFS log";
    let Some(open) = head::find(&log).doing(doing)? else { return Ok(None) };
    let unknown = superblock.log_incompatible & !KNOWN;
    if unknown != 0 {
        let what = format!("the log has features that are not known here: {unknown:#x}");
        return Err(Error::unsupported(what)).doing(doing);
    }
    replay::replay(&log, &open).doing(doing).map(Some)
}

impl Log<'_> {
    /// The `count` sectors from `sector` on, around the end.
    fn read(&self, sector: u64, count: u64) -> Result<Vec<u8>> {
        let count = count.min(self.sectors);
        let mut bytes = vec![0; count.saturating_mul(SECTOR) as usize];
        let sector = sector.checked_rem(self.sectors).unwrap_or(0);
        let before_end = self.sectors.saturating_sub(sector).min(count).saturating_mul(SECTOR);
        let (first, rest) = bytes.split_at_mut(before_end as usize);
        let doing = || format!("reading {count} sectors of the log from {sector} on");
        let offset = self.start.saturating_add(sector.saturating_mul(SECTOR));
        self.disk.read_at(first, offset).doing(doing)?;
        self.disk.read_at(rest, self.start).doing(doing)?;
        Ok(bytes)
    }

    /// The sector `count` ones behind `sector`.
    fn after(&self, sector: u64, count: u64) -> u64 {
        sector.saturating_add(count).checked_rem(self.sectors).unwrap_or(0)
    }

    /// The sector `count` ones, fewer than there are, before `sector`.
    fn before(&self, sector: u64, count: u64) -> u64 {
        self.after(sector, self.sectors.saturating_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;
    use crate::fs::xfs::superblock::tests::bytes;

    #[test]
    fn a_log_is_a_ring() {
        let disk = MemoryDisk::from_bytes((0..8_u8).flat_map(|sector| [sector; 512]).collect());
        let superblock = Superblock::from_bytes(&bytes(), 1500 << 12, false).unwrap();
        let log = Log { disk: &disk, superblock: &superblock, start: 1024, sectors: 5 };
        assert_eq!((log.after(4, 2), log.before(1, 3)), (1, 3));
        let around = log.read(3, 4).unwrap();
        assert_eq!([around[0], around[512], around[1024], around[1536]], [5, 6, 2, 3]);
        assert_eq!(log.read(0, 100).unwrap().len(), 5 * 512);
    }
}
