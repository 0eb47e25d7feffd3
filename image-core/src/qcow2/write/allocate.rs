//! Host clusters of an image that is written in place: how often each is used, and which are free.
//!
//! ```text
//! refcount table (in memory, whole) ─► refcount blocks (in memory: the changed ones, and some others)
//!
//!    a block that is missing is made in the first free cluster that it counts itself:
//!    ┌───────────────── clusters of block n ─────────────────┐
//!    │ block n │ what it was made for │ free …               │     so making one never needs another
//!
//!    a table that is too short moves to the end of the file, with the blocks that count its new place behind it
//!
//!    compressed clusters follow each other byte by byte; each raises the count of every cluster that it touches
//!    │ compressed ▓▓▓│▓▓▓ compressed ▓▓▓▓▓▓▓▓▓│ plain        │
//!    │ 1             │ 3             ▲         │ 1            │     the last one's cluster is open for more until
//!                                    └ open                        its count is at its limit, or falls to none
//! ```
//!
//! Counts only rise here at once; they fall when [`flush`](super::flush) says that nothing on disk refers to the
//! cluster any more. Section: "Host cluster management".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod contiguous;

use std::collections::{BTreeMap, BTreeSet};

use super::super::corrupt::{Corrupt, Region};
use super::super::geometry::Geometry;
use super::super::header::{Header, MAX_REFCOUNT_TABLE_LEN, TablePlace};
use super::super::layout::{COMPRESSED_SECTOR, REFCOUNT_TABLE_OFFSET, REFCOUNT_TABLE_RESERVED};
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;
use super::super::table::for_each_u64;
use crate::block::{BlockRead, BlockWrite, ByteRange};
use crate::error::{Doing, Error, Result};

/// Bytes of refcount blocks that are kept although they are as on disk.
const CLEAN_BYTES: u64 = 8 << 20;

/// A refcount block in memory.
#[derive(Debug)]
struct Block {
    counts: RefcountBlock,
    /// Differs from what is on disk.
    dirty: bool,
}

/// Counts references to host clusters and finds free ones.
#[derive(Debug)]
pub(super) struct Allocator {
    geometry: Geometry,
    /// Host offsets of the refcount blocks; 0 for a block that is missing.
    table: Vec<u64>,
    /// The same, ascending, without those that are missing.
    places: BTreeSet<u64>,
    table_place: TablePlace,
    /// Entries that differ from what is on disk.
    dirty_entries: Option<std::ops::Range<usize>>,
    /// Where the table was before it moved: places to be freed.
    moved_from: Vec<TablePlace>,
    blocks: BTreeMap<u64, Block>,
    /// No free cluster is looked for before it.
    first_free: u64,
    /// Where the last compressed cluster ended within a host cluster: the rest of that is unused.
    open: Option<u64>,
}

impl Allocator {
    /// Reads the refcount table that `header` names; its place was compared with the file before.
    pub(super) fn read(file: &dyn BlockRead, header: &Header) -> Result<Self> {
        let mut table = Vec::new();
        let place = ByteRange::new(header.refcount_table.offset.0, header.refcount_table_len())?;
        for_each_u64(file, place, |index, entry| {
            if entry & REFCOUNT_TABLE_RESERVED != 0 {
                return Err(Corrupt::RefcountReserved { index, entry }.into());
            }
            table.push(entry & REFCOUNT_TABLE_OFFSET);
            Ok(())
        })
        .doing(|| format!("reading the refcount table at {}", header.refcount_table.offset))?;
        // A block that counts several parts of the file makes the search for a free cluster endless.
        let mut places = BTreeSet::new();
        for (index, &offset) in (0_u64..).zip(&table).filter(|(_, offset)| **offset != 0) {
            if !places.insert(offset) {
                return Err(Corrupt::RefcountBlockShared { index, host: HostOffset(offset) }.into());
            }
        }
        Ok(Self {
            geometry: header.geometry,
            places,
            table,
            table_place: header.refcount_table,
            dirty_entries: None,
            moved_from: Vec::new(),
            blocks: BTreeMap::new(),
            first_free: 0,
            open: None,
        })
    }

    /// Where the refcount table is.
    pub(super) fn table_place(&self) -> TablePlace {
        self.table_place
    }

    /// The refcount structure that `range` of the file overlaps.
    pub(super) fn metadata_in(&self, range: ByteRange) -> Option<Region> {
        let size = self.geometry.cluster_size();
        let table_len = u64::from(self.table_place.count).saturating_mul(size);
        let table = ByteRange::new(self.table_place.offset.0, table_len).ok();
        if table.is_some_and(|table| table.intersection(range).is_some()) {
            return Some(Region::RefcountTable);
        }
        let from = range.offset().saturating_sub(size.saturating_sub(1));
        self.places.range(from..range.end()).next().map(|_| Region::RefcountBlock)
    }

    /// How often `cluster` is used.
    pub(super) fn count(&mut self, file: &dyn BlockRead, cluster: u64) -> Result<u64> {
        let (index, within) = self.place(cluster);
        Ok(self.block(file, index)?.map_or(0, |block| block.counts.count(within)))
    }

    /// Takes `count` free clusters in a row, each of which has refcount 1 then.
    ///
    /// # Errors
    /// Whatever reading refcount blocks says; `Unsupported` if the file would grow past what can be counted.
    pub(super) fn allocate(&mut self, file: &dyn BlockRead, count: u64) -> Result<HostOffset> {
        if count >= self.geometry.refcounts_per_block() {
            return self.allocate_long(file, count);
        }
        let mut start = self.first_free;
        let mut found = 0_u64;
        let mut only_used_so_far = true;
        while found < count {
            let cluster = start.saturating_add(found);
            if self.prepare(file, cluster)? && self.count(file, cluster)? == 0 {
                found = found.saturating_add(1);
                only_used_so_far = false;
                continue;
            }
            start = cluster.saturating_add(1);
            found = 0;
            if only_used_so_far {
                self.first_free = start;
            }
        }
        for cluster in start..start.saturating_add(count) {
            self.set(file, cluster, 1)?;
        }
        if start == self.first_free {
            self.first_free = start.saturating_add(count);
        }
        Ok(HostOffset(start.saturating_mul(self.geometry.cluster_size())))
    }

    /// Takes `len` bytes, at most a cluster, for a compressed cluster: behind the last one if they fit there, or if the
    /// cluster behind that is free.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub(super) fn allocate_bytes(&mut self, file: &dyn BlockRead, len: u64) -> Result<HostOffset> {
        let mut start = None;
        if let Some(open) = self.open.take() {
            let cluster = self.geometry.cluster_index(open);
            let count = self.count(file, cluster)?;
            if count < self.geometry.max_refcount() {
                let end = self.geometry.round_up(open);
                let fits = end.saturating_sub(open) >= len;
                let new = if fits { end } else { self.allocate(file, 1)?.0 };
                start = Some(if new == end {
                    self.set(file, cluster, count.saturating_add(1))?;
                    open
                } else {
                    new
                });
            }
        }
        let start = match start {
            Some(start) => start,
            None => self.allocate(file, 1)?.0,
        };
        let end = start.saturating_add(len);
        self.open = (!self.geometry.is_aligned(end)).then_some(end);
        Ok(HostOffset(start))
    }

    /// Takes more clusters in a row than a block counts: behind everything that is counted, with their blocks before them.
    fn allocate_long(&mut self, file: &dyn BlockRead, count: u64) -> Result<HostOffset> {
        let per_block = self.geometry.refcounts_per_block();
        let blocks = self.blocks_for(count);
        let mut index = self.first_missing();
        let last = index.saturating_add(blocks).saturating_sub(1);
        if last >= self.table.len() as u64 {
            // The table itself goes behind everything too; there is room for a few more blocks than asked for.
            self.move_table(file, last.saturating_add(blocks))?;
            index = self.first_missing();
        }
        let start = index.saturating_mul(per_block);
        for number in 0..blocks {
            self.new_block(index.saturating_add(number), start.saturating_add(number));
        }
        for cluster in start..start.saturating_add(blocks).saturating_add(count) {
            self.set(file, cluster, 1)?;
        }
        Ok(HostOffset(start.saturating_add(blocks).saturating_mul(self.geometry.cluster_size())))
    }

    /// The index behind the last block that is there.
    fn first_missing(&self) -> u64 {
        self.table.iter().rposition(|&host| host != 0).map_or(0, |last| last.saturating_add(1)) as u64
    }

    /// How many blocks count `clusters` and themselves.
    fn blocks_for(&self, clusters: u64) -> u64 {
        let per_block = self.geometry.refcounts_per_block();
        let mut blocks = 1;
        while clusters.saturating_add(blocks) > per_block.saturating_mul(blocks) {
            blocks = blocks.saturating_add(1);
        }
        blocks
    }

    /// Counts one use less of `cluster`; returns how many are left. One that is not used at all stays so.
    pub(super) fn remove(&mut self, file: &dyn BlockRead, cluster: u64) -> Result<u64> {
        let left = self.count(file, cluster)?.saturating_sub(1);
        self.set(file, cluster, left)?;
        if left == 0 {
            self.first_free = self.first_free.min(cluster);
            self.open = self.open.filter(|&open| self.geometry.cluster_index(open) != cluster);
        }
        Ok(left)
    }

    /// Whether counts differ from what is on disk.
    pub(super) fn is_changed(&self) -> bool {
        self.dirty_entries.is_some() || self.blocks.values().any(|block| block.dirty)
    }

    /// The blocks, and the table, that are not yet where they will be written: what they are, and where.
    ///
    /// # Errors
    /// Places past the largest offset.
    pub(super) fn new_places(&self) -> Result<Vec<(Region, ByteRange)>> {
        let size = self.geometry.cluster_size();
        let changed = self.dirty_entries.clone().unwrap_or_default();
        let entries = self.table.get(changed).unwrap_or_default().iter().filter(|&&host| host != 0);
        let blocks = entries.map(|&host| Ok((Region::RefcountBlock, ByteRange::new(host, size)?)));
        let moved = (!self.moved_from.is_empty()).then(|| {
            let len = u64::from(self.table_place.count).saturating_mul(size);
            Ok((Region::RefcountTable, ByteRange::new(self.table_place.offset.0, len)?))
        });
        blocks.chain(moved).collect()
    }

    /// Whether more blocks are in memory than are kept without need.
    pub(super) fn holds_much(&self) -> bool {
        self.blocks.len() > self.most_kept()
    }

    fn most_kept(&self) -> usize {
        (CLEAN_BYTES >> self.geometry.cluster_bits()).max(1) as usize
    }

    /// Writes the refcount blocks that changed. Returns whether anything was written.
    pub(super) fn write_blocks(&mut self, file: &dyn BlockWrite) -> Result<bool> {
        let mut any = false;
        for (index, block) in self.blocks.iter_mut().filter(|(_, block)| block.dirty) {
            let host = usize::try_from(*index).ok().and_then(|index| self.table.get(index)).copied();
            let host = host.unwrap_or_default();
            write_growing(file, block.counts.as_bytes(), host)
                .doing(|| format!("writing refcount block {index:#x} at {host:#x}"))?;
            block.dirty = false;
            any = true;
        }
        while self.blocks.len() > self.most_kept() {
            self.blocks.pop_first();
        }
        Ok(any)
    }

    /// Writes what changed of the refcount table; all of it where it moved. The blocks must be safe by then.
    /// Returns whether anything was written.
    pub(super) fn write_table(&mut self, file: &dyn BlockWrite) -> Result<bool> {
        let Some(changed) = self.dirty_entries.take() else { return Ok(false) };
        let entries = self.table.get(changed.clone()).unwrap_or_default();
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let at = self.table_place.offset.0.saturating_add((changed.start as u64).saturating_mul(8));
        write_growing(file, &bytes, at).doing(|| format!("writing the refcount table at {at:#x}"))?;
        Ok(true)
    }

    /// The clusters that the table and the blocks are in.
    pub(super) fn own_clusters(&self) -> BTreeSet<u64> {
        let table = self.geometry.cluster_index(self.table_place.offset.0);
        let table = table..table.saturating_add(u64::from(self.table_place.count));
        self.places.iter().map(|&place| self.geometry.cluster_index(place)).chain(table).collect()
    }

    /// The places that the table left, once, for freeing.
    pub(super) fn take_moved_from(&mut self) -> Vec<TablePlace> {
        std::mem::take(&mut self.moved_from)
    }

    /// From now on takes nothing before the end of all that is used: what is counted off meanwhile stays untouched.
    pub(super) fn start_behind_all(&mut self, file: &dyn BlockRead) -> Result<()> {
        // What lies past the end of the file is not used.
        self.first_free = self.end_of_used(file)?;
        Ok(())
    }

    /// Gives new places to the blocks that changed and to the table; `old` is what is on disk, and stays valid there.
    /// Returns the places that are free by that.
    pub(super) fn move_changed(&mut self, file: &dyn BlockRead, old: &Self) -> Result<Vec<ByteRange>> {
        let mut left = Vec::new();
        loop {
            for place in self.take_moved_from() {
                let len = u64::from(place.count).saturating_mul(self.geometry.cluster_size());
                self.leave(file, ByteRange::new(place.offset.0, len)?, &mut left)?;
            }
            let in_old_place = |(&index, block): (&u64, &Block)| {
                let at = index as usize;
                (block.dirty && self.table.get(at) == old.table.get(at)).then_some(index)
            };
            let changed: Vec<u64> = self.blocks.iter().filter_map(in_old_place).collect();
            if changed.is_empty() && self.table_place != old.table_place {
                return Ok(left);
            }
            for &index in &changed {
                let host = self.allocate(file, 1)?.0;
                let entry = self.table.get_mut(index as usize).map(|entry| std::mem::replace(entry, host));
                let place = ByteRange::new(entry.unwrap_or_default(), self.geometry.cluster_size())?;
                self.places.remove(&place.offset());
                self.places.insert(host);
                self.leave(file, place, &mut left)?;
            }
            if changed.is_empty() {
                let count = u64::from(self.table_place.count);
                let offset = self.allocate(file, count)?;
                let new = TablePlace { offset, ..self.table_place };
                self.moved_from.push(std::mem::replace(&mut self.table_place, new));
            }
            self.dirty_entries = Some(0..self.table.len());
        }
    }

    /// Counts one use less of each cluster of `place`, without making it free for now.
    fn leave(&mut self, file: &dyn BlockRead, place: ByteRange, left: &mut Vec<ByteRange>) -> Result<()> {
        let first = self.geometry.cluster_index(place.offset());
        for cluster in first..self.geometry.cluster_index(place.end()) {
            let count = self.count(file, cluster)?;
            self.set(file, cluster, count.saturating_sub(1))?;
        }
        left.push(place);
        Ok(())
    }

    /// Makes sure that `cluster` can be counted. `false` if it became a refcount block by that.
    fn prepare(&mut self, file: &dyn BlockRead, cluster: u64) -> Result<bool> {
        let (index, _) = self.place(cluster);
        if self.block(file, index)?.is_some() {
            return Ok(true);
        }
        if index >= self.table.len() as u64 {
            self.move_table(file, index)?;
            if self.block(file, index)?.is_some() {
                return Ok(true);
            }
        }
        self.new_block(index, cluster);
        self.set(file, cluster, 1)?;
        Ok(false)
    }

    /// A new block in `cluster`, which counts nothing yet.
    fn new_block(&mut self, index: u64, cluster: u64) {
        let counts = RefcountBlock::new(self.geometry);
        self.blocks.insert(index, Block { counts, dirty: true });
        let at = index as usize;
        let host = cluster.saturating_mul(self.geometry.cluster_size());
        if let Some(entry) = self.table.get_mut(at) {
            *entry = host;
            self.places.insert(host);
        }
        let changed = self.dirty_entries.take().unwrap_or(at..at);
        self.dirty_entries = Some(changed.start.min(at)..changed.end.max(at.saturating_add(1)));
    }

    /// Moves the table behind everything that is counted, long enough for block `index` and half as many more.
    fn move_table(&mut self, file: &dyn BlockRead, index: u64) -> Result<()> {
        let cluster_size = self.geometry.cluster_size();
        let per_block = self.geometry.refcounts_per_block();
        let first_block = self.table.len() as u64;
        let start = first_block.saturating_mul(per_block);
        let entries = index.saturating_add(index >> 1).saturating_add(8);
        let table_clusters = entries.saturating_mul(8).div_ceil(cluster_size);
        if table_clusters.saturating_mul(cluster_size) > MAX_REFCOUNT_TABLE_LEN {
            return Err(Error::unsupported(format!(
                "the file would grow past what a refcount table of {MAX_REFCOUNT_TABLE_LEN} bytes can count"
            )));
        }
        let blocks = self.blocks_for(table_clusters);
        let old = std::mem::replace(
            &mut self.table_place,
            TablePlace {
                offset: HostOffset(start.saturating_mul(cluster_size)),
                count: table_clusters as u32,
            },
        );
        self.moved_from.push(old);
        self.table.resize(table_clusters.saturating_mul(cluster_size / 8) as usize, 0);
        self.dirty_entries = Some(0..self.table.len());
        for number in 0..blocks {
            let cluster = start.saturating_add(table_clusters).saturating_add(number);
            self.new_block(first_block.saturating_add(number), cluster);
        }
        for cluster in start..start.saturating_add(table_clusters).saturating_add(blocks) {
            self.set(file, cluster, 1)?;
        }
        Ok(())
    }

    /// Sets the count of `cluster`, whose block is there.
    pub(super) fn set(&mut self, file: &dyn BlockRead, cluster: u64, count: u64) -> Result<()> {
        let (index, within) = self.place(cluster);
        if let Some(block) = self.block(file, index)? {
            block.counts.set_count(within, count);
            block.dirty = true;
        }
        Ok(())
    }

    /// The block at `index`, from memory or the file; `None` if it is missing.
    fn block(&mut self, file: &dyn BlockRead, index: u64) -> Result<Option<&mut Block>> {
        let host = match usize::try_from(index).ok().and_then(|index| self.table.get(index)) {
            None | Some(0) => return Ok(None),
            Some(&host) => HostOffset(host),
        };
        if !self.blocks.contains_key(&index) {
            let size = self.geometry.cluster_size();
            if !self.geometry.is_aligned(host.0) {
                return Err(Corrupt::RefcountBlockUnaligned { index, host }.into());
            }
            let file_size = file.size();
            if host.0.checked_add(size).is_none_or(|end| end > file_size) {
                return Err(Corrupt::RefcountBlockPastEnd { index, host, file_size }.into());
            }
            let mut bytes = vec![0; size as usize];
            file.read_at(&mut bytes, host.0).doing(|| format!("reading refcount block {index:#x}"))?;
            let counts = RefcountBlock::from_bytes(self.geometry, bytes);
            self.blocks.insert(index, Block { counts, dirty: false });
        }
        Ok(self.blocks.get_mut(&index))
    }

    /// The block in charge of a cluster, and the place in it.
    fn place(&self, cluster: u64) -> (u64, u64) {
        let per_block = self.geometry.refcounts_per_block();
        (
            cluster.checked_div(per_block).unwrap_or_default(),
            cluster.checked_rem(per_block).unwrap_or_default(),
        )
    }
}

/// Writes `bytes` at `offset`, for which the file may have to grow: by whole sectors, for readers ask for those.
///
/// # Errors
/// Whatever the storage says.
pub(super) fn write_growing(file: &dyn BlockWrite, bytes: &[u8], offset: u64) -> Result<()> {
    let end = ByteRange::new(offset, bytes.len() as u64)?.end();
    if end > file.size() {
        file.resize(end.checked_next_multiple_of(COMPRESSED_SECTOR).unwrap_or(end))?;
    }
    file.write_at(bytes, offset)
}
