//! The refcounts of a file that only grows: counted in memory while they may change, written when they no longer do.
//!
//! ```text
//! cluster:   0 ……… 32767 │ 32768 ……… 65535 │ 65536 ………
//! block:     written     │ written         │ open: in memory as it will be on disk
//! ```

use std::collections::VecDeque;

use super::super::geometry::Geometry;
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;

/// Counts references to clusters.
pub(super) struct Refcounts {
    geometry: Geometry,
    /// Where the blocks that are written are.
    written: Vec<HostOffset>,
    /// The blocks behind them, as far as they count anything.
    open: VecDeque<RefcountBlock>,
}

impl Refcounts {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { geometry, written: Vec::new(), open: VecDeque::new() }
    }

    /// The first cluster whose count may still change.
    pub(super) fn first_open(&self) -> u64 {
        self.written.len() as u64 * self.geometry.refcounts_per_block()
    }

    /// How often `cluster`, which is not before the first open one, is used.
    pub(super) fn count(&self, cluster: u64) -> u64 {
        let (block, index) = self.place(cluster);
        self.open.get(block).map_or(0, |block| block.count(index))
    }

    /// Counts one use more. The caller sees to it that the count stays in reach.
    pub(super) fn add(&mut self, cluster: u64) {
        let (block, index) = self.place(cluster);
        while self.open.len() <= block {
            self.open.push_back(RefcountBlock::new(self.geometry));
        }
        let count = self.open[block].count(index);
        self.open[block].set_count(index, count + 1);
    }

    /// Whether the first open block counts only clusters before `cluster`.
    pub(super) fn block_ends_before(&self, cluster: u64) -> bool {
        !self.open.is_empty() && self.first_open() + self.geometry.refcounts_per_block() <= cluster
    }

    /// Ends the first open block, to be written at `offset`.
    pub(super) fn end_block(&mut self, offset: HostOffset) -> Option<RefcountBlock> {
        let block = self.open.pop_front()?;
        self.written.push(offset);
        Some(block)
    }

    /// How many blocks are ended.
    pub(super) fn ended_blocks(&self) -> u64 {
        self.written.len() as u64
    }

    /// The refcount table of all ended blocks, without padding.
    pub(super) fn table(&self) -> Vec<u8> {
        self.written.iter().flat_map(|offset| offset.0.to_be_bytes()).collect()
    }

    fn place(&self, cluster: u64) -> (usize, u64) {
        let from_open = cluster - self.first_open();
        let per_block = self.geometry.refcounts_per_block();
        ((from_open / per_block) as usize, from_open % per_block)
    }
}
