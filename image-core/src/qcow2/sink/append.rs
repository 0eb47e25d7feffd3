//! The space of a file that only grows: where clusters and compressed bytes go, and the writing of them.
//!
//! ```text
//! │ plain  │ compressed▓▓▓░░░░│ plain  │ compressed▓▓▓▓▓▓▓│▓▓▓▓▓▓░░░│
//!                       └ gap                                └ open: may run on into new clusters   end
//! ```

use super::super::corrupt::Unsupported;
use super::super::entry::CompressedPlace;
use super::super::geometry::Geometry;
use super::super::header::{MAX_REFCOUNT_TABLE_LEN, TablePlace};
use super::super::offset::HostOffset;
use super::dedup::{DedupIndex, Key};
use super::refcounts::Refcounts;
use crate::block::{BlockWrite, ByteRange, FileRange, HostFilesystem, ZeroMode};
use crate::error::Result;

/// Small writes are collected up to so many bytes; what is as large is written at once.
const WRITE_LEN: usize = 256 * 1024;

/// Writes of so many bytes are not collected: copying them would cost more than the call.
const DIRECT_LEN: usize = 64 * 1024;

/// How many gaps are remembered; of more, the smallest is given up.
const MAX_GAPS: usize = 32;

/// So many bytes of refcount blocks stay in memory where clusters are shared: only a count that is there can grow. With
/// clusters of 64 KiB and 16 bits they count 32 GiB.
const OPEN_BLOCKS_LEN: u64 = 1024 * 1024;

/// The file grows by a quarter and this much, so that it is seldom resized.
const GROWTH: u64 = 1024 * 1024;

/// Room is made for this much ahead where all clusters are plain.
const ROOM_LEN: u64 = 16 * 1024 * 1024;

/// The image file from the point of view of its clusters.
pub(super) struct AppendOnlyFile<D> {
    file: D,
    geometry: Geometry,
    refcounts: Refcounts,
    /// So many clusters before the last keep counts that may change.
    open_clusters: u64,
    /// What may be shared; `None`: nothing.
    stored: Option<DedupIndex>,
    /// The first byte behind all clusters that are taken.
    end: u64,
    /// Unused ends of clusters that hold compressed bytes.
    gaps: Vec<ByteRange>,
    /// The size of the file as it is now.
    file_size: u64,
    grown: bool,
    /// Copies before it have their storage.
    room_to: u64,
    /// Collected bytes, and where they go.
    pending: Vec<u8>,
    pending_at: u64,
}

impl<D: BlockWrite> AppendOnlyFile<D> {
    /// All of `file` but the first cluster, which is zeroed and stays so until it is written. `dedup`: equal compressed
    /// clusters share their bytes.
    pub(super) fn new(file: D, geometry: Geometry, dedup: bool) -> Result<Self> {
        let file_size = file.size();
        let first = ByteRange::whole(geometry.cluster_size().min(file_size));
        if !first.is_empty() {
            file.write_zeroes(first, ZeroMode::Keep)?;
        }
        let open_blocks = if dedup { (OPEN_BLOCKS_LEN / geometry.cluster_size()).max(1) } else { 1 };
        let mut space = Self {
            file,
            geometry,
            refcounts: Refcounts::new(geometry),
            open_clusters: open_blocks * geometry.refcounts_per_block(),
            stored: dedup.then(DedupIndex::default),
            end: 0,
            gaps: Vec::new(),
            file_size,
            grown: false,
            room_to: 0,
            pending: Vec::new(),
            pending_at: 0,
        };
        space.allocate_clusters(1)?;
        Ok(space)
    }

    /// Takes `count` clusters that follow each other.
    pub(super) fn allocate_clusters(&mut self, count: u64) -> Result<HostOffset> {
        let offset = self.append_clusters(count);
        // A block that is so far behind changes no more: written, it takes no memory. It is counted in a later one.
        let keep = self.open_clusters;
        while self.refcounts.block_ends_before(self.geometry.cluster_index(self.end).saturating_sub(keep)) {
            let block_offset = self.append_clusters(1);
            self.write_block(block_offset)?;
            let first_open = self.refcounts.first_open() * self.geometry.cluster_size();
            self.gaps.retain(|gap| gap.offset() >= first_open);
        }
        Ok(offset)
    }

    fn append_clusters(&mut self, count: u64) -> HostOffset {
        let offset = self.end;
        let first = self.geometry.cluster_index(offset);
        (first..first + count).for_each(|cluster| self.refcounts.add(cluster));
        self.end += count * self.geometry.cluster_size();
        HostOffset(offset)
    }

    fn write_block(&mut self, offset: HostOffset) -> Result<()> {
        match self.refcounts.end_block(offset) {
            Some(block) => self.write(offset, block.as_bytes()),
            None => Ok(()),
        }
    }

    /// Stores the bytes of a compressed cluster, or has them shared with an earlier one that is equal.
    pub(super) fn store_compressed(&mut self, bytes: &[u8]) -> Result<CompressedPlace> {
        if self.stored.is_none() {
            return self.append_compressed(bytes);
        }
        let key = Key::of(bytes);
        if let Some(place) = self.stored.as_ref().and_then(|stored| stored.find(key))
            && self.share(place, bytes)?
        {
            return Ok(place);
        }
        let place = self.append_compressed(bytes)?;
        if let Some(stored) = &mut self.stored {
            stored.remember(key, place);
        }
        Ok(place)
    }

    fn append_compressed(&mut self, bytes: &[u8]) -> Result<CompressedPlace> {
        let len = bytes.len() as u64;
        let offset = self.take_bytes(len)?;
        self.write(offset, bytes)?;
        Ok(CompressedPlace { offset, len })
    }

    /// Counts one use more of `place`, if it holds `bytes` and all of its counts can still grow.
    fn share(&mut self, place: CompressedPlace, bytes: &[u8]) -> Result<bool> {
        let clusters = self.geometry.cluster_index(place.offset.0)
            ..=self.geometry.cluster_index(place.offset.0 + place.len - 1);
        let max = self.geometry.max_refcount();
        if *clusters.start() < self.refcounts.first_open()
            || clusters.clone().any(|cluster| self.refcounts.count(cluster) >= max)
            || !self.holds(place, bytes)?
        {
            return Ok(false);
        }
        clusters.for_each(|cluster| self.refcounts.add(cluster));
        // What is free there cannot be used any more if the count cannot grow.
        let (refcounts, geometry) = (&self.refcounts, self.geometry);
        self.gaps.retain(|gap| refcounts.count(geometry.cluster_index(gap.offset())) < max);
        Ok(true)
    }

    /// Whether these bytes are at `place`.
    fn holds(&self, place: CompressedPlace, bytes: &[u8]) -> Result<bool> {
        if place.len != bytes.len() as u64 {
            return Ok(false);
        }
        if !self.pending.is_empty() && place.offset.0 >= self.pending_at {
            let at = (place.offset.0 - self.pending_at) as usize;
            if let Some(pending) = self.pending.get(at..at + bytes.len()) {
                return Ok(pending == bytes);
            }
        }
        let mut there = vec![0; bytes.len()];
        self.file.read_at(&mut there, place.offset.0)?;
        Ok(there == bytes)
    }

    /// Takes `len` bytes, at most a cluster, for a compressed cluster.
    fn take_bytes(&mut self, len: u64) -> Result<HostOffset> {
        let fits = self.gaps.iter().enumerate().filter(|(_, gap)| gap.len() >= len);
        if let Some((index, _)) = fits.min_by_key(|(_, gap)| gap.len()) {
            let gap = self.gaps.swap_remove(index);
            self.refcounts.add(self.geometry.cluster_index(gap.offset()));
            self.leave_gap(gap.offset() + len, gap.end());
            return Ok(HostOffset(gap.offset()));
        }
        let open =
            self.gaps.iter().position(|gap| gap.end() == self.end).map(|index| self.gaps.swap_remove(index));
        let (offset, in_open) = open.map_or((self.end, 0), |gap| (gap.offset(), gap.len()));
        if in_open > 0 {
            self.refcounts.add(self.geometry.cluster_index(offset));
        }
        self.allocate_clusters(self.geometry.clusters_for(len - in_open))?;
        // Behind the bytes, wherever the refcount blocks that were written meanwhile lie.
        self.leave_gap(offset + len, self.geometry.round_up(offset + len));
        Ok(HostOffset(offset))
    }

    /// Remembers that a cluster's bytes from `start` up to its `end` are free, unless its refcount cannot grow.
    fn leave_gap(&mut self, start: u64, end: u64) {
        let gap = ByteRange::between(start, end);
        let cluster = self.geometry.cluster_index(start);
        if gap.is_empty()
            || cluster < self.refcounts.first_open()
            || self.refcounts.count(cluster) >= self.geometry.max_refcount()
        {
            return;
        }
        self.gaps.push(gap);
        if self.gaps.len() > MAX_GAPS {
            let smallest = self.gaps.iter().enumerate().min_by_key(|(_, gap)| gap.len());
            if let Some((index, _)) = smallest {
                self.gaps.swap_remove(index);
            }
        }
    }

    /// Writes `bytes` at `offset`, now or later.
    pub(super) fn write(&mut self, offset: HostOffset, bytes: &[u8]) -> Result<()> {
        let follows = offset.0 == self.pending_at + self.pending.len() as u64;
        if bytes.len() >= DIRECT_LEN || !follows || self.pending.len() >= WRITE_LEN {
            self.flush()?;
            self.pending_at = offset.0;
        }
        if bytes.len() >= DIRECT_LEN {
            self.pending_at += bytes.len() as u64;
            return self.write_now(offset.0, bytes);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands all collected bytes to the file.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.write_now(self.pending_at, &pending)?;
        self.pending_at += pending.len() as u64;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// The filesystem of the file, if it copies.
    pub(super) fn filesystem(&self) -> Option<HostFilesystem> {
        self.file.filesystem()
    }

    /// Copies `from` to `offset`.
    pub(super) fn copy(&mut self, offset: HostOffset, from: FileRange<'_>) -> Result<()> {
        let end = offset.0 + from.range.len();
        self.grow_to(end)?;
        if end > self.room_to {
            // What is not used in the end is given back by the last change of the file's size.
            let start = offset.0.max(self.room_to);
            self.room_to = end.max(self.file_size.min(offset.0 + ROOM_LEN));
            self.file.make_room(ByteRange::between(start, self.room_to));
        }
        self.file.copy_from(from.file, from.range, offset.0)
    }

    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.grow_to(offset + bytes.len() as u64)?;
        self.file.write_at(bytes, offset)
    }

    fn grow_to(&mut self, end: u64) -> Result<()> {
        if end > self.file_size {
            let size = end + end / 4 + GROWTH;
            self.file.resize(size)?;
            self.file_size = size;
            self.grown = true;
        }
        Ok(())
    }

    /// Ends the file at `size` bytes, if it grew.
    pub(super) fn end_file(&mut self, size: u64) -> Result<()> {
        self.flush()?;
        if self.grown && size != self.file_size {
            self.file.resize(size)?;
            self.file_size = size;
        }
        Ok(())
    }

    /// Takes the last `count` clusters and writes all refcounts, and the refcount table, before them.
    /// Nothing can be taken afterwards.
    pub(super) fn end_clusters(&mut self, count: u64) -> Result<(TablePlace, HostOffset)> {
        let per_block = self.geometry.refcounts_per_block();
        let taken = self.geometry.cluster_index(self.end);
        // Blocks and table count themselves: as many as it takes until they suffice.
        let (mut blocks, mut table_clusters) = (0, 0);
        loop {
            let all_blocks = (taken + blocks + table_clusters + count).div_ceil(per_block);
            let needed =
                (all_blocks - self.refcounts.ended_blocks(), self.geometry.clusters_for(all_blocks * 8));
            if needed == (blocks, table_clusters) {
                break;
            }
            (blocks, table_clusters) = needed;
        }
        let table_len = table_clusters * self.geometry.cluster_size();
        if table_len > MAX_REFCOUNT_TABLE_LEN {
            let limit = MAX_REFCOUNT_TABLE_LEN;
            return Err(Unsupported::RefcountTableTooLong { len: table_len, limit }.into());
        }
        let first_block = self.append_clusters(blocks);
        let table_offset = self.append_clusters(table_clusters);
        let last = self.append_clusters(count);
        for block in 0..blocks {
            self.write_block(HostOffset(first_block.0 + block * self.geometry.cluster_size()))?;
        }
        let mut table = self.refcounts.table();
        table.resize(table_len as usize, 0);
        self.write(table_offset, &table)?;
        Ok((TablePlace { offset: table_offset, count: table_clusters as u32 }, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn bytes_are_compared_before_they_are_shared() {
        let geometry = Geometry::new(16, 4, false).unwrap();
        let mut space = AppendOnlyFile::new(MemoryDisk::new(0), geometry, true).unwrap();
        let first = space.store_compressed(&[1; 1000]).unwrap();
        for flushed in [false, true] {
            // As if both had the same hash.
            space.stored.as_mut().unwrap().remember(Key::of(&[2; 1000]), first);
            space.stored.as_mut().unwrap().remember(Key::of(&[1; 999]), first);
            assert_ne!(space.store_compressed(&[2; 1000]).unwrap(), first, "flushed: {flushed}");
            assert_ne!(space.store_compressed(&[1; 999]).unwrap(), first, "flushed: {flushed}");
            assert_eq!(space.store_compressed(&[1; 1000]).unwrap(), first, "flushed: {flushed}");
            space.flush().unwrap();
        }
    }
}
