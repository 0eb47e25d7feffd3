//! Refcounts set where they are: one block in memory at a time.

use super::super::discard::Discards;
use super::super::geometry::Geometry;
use super::super::header::Header;
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;
use crate::block::BlockWrite;
use crate::error::{Doing, Result};

/// Sets refcounts of ascending clusters.
pub(super) struct RefcountWriter<'a> {
    file: &'a dyn BlockWrite,
    geometry: Geometry,
    /// Where the blocks are, by index; 0 for none.
    places: Vec<u64>,
    /// The block that is being changed.
    block: Option<(u64, RefcountBlock)>,
    discards: Discards,
}

impl<'a> RefcountWriter<'a> {
    /// For the image whose refcount blocks are at `places`.
    pub(super) fn new(file: &'a dyn BlockWrite, header: &Header, places: Vec<u64>) -> Self {
        Self { file, geometry: header.geometry, places, block: None, discards: Discards::default() }
    }

    /// Sets the refcount of the cluster at `host`; `false` if so many cannot be written down.
    pub(super) fn set(&mut self, host: HostOffset, count: u64) -> Result<bool> {
        let cluster = self.geometry.cluster_index(host.0);
        let per_block = self.geometry.refcounts_per_block();
        let place = cluster
            .checked_div(per_block)
            .and_then(|index| self.places.get(usize::try_from(index).ok()?))
            .copied()
            .unwrap_or_default();
        if count > self.geometry.max_refcount() || place == 0 {
            return Ok(false);
        }
        if self.block.as_ref().is_none_or(|&(known, _)| known != place) {
            self.write_block()?;
            let mut bytes = vec![0; self.geometry.cluster_size() as usize];
            let there = self.file.size().saturating_sub(place).min(bytes.len() as u64);
            self.file.read_at(bytes.get_mut(..there as usize).unwrap_or_default(), place)?;
            self.block = Some((place, RefcountBlock::from_bytes(self.geometry, bytes)));
        }
        if let Some((_, block)) = &mut self.block {
            block.set_count(cluster.checked_rem(per_block).unwrap_or_default(), count);
        }
        if count == 0 {
            self.discards.add(cluster, self.geometry);
        }
        Ok(true)
    }

    fn write_block(&mut self) -> Result<()> {
        let Some((place, block)) = self.block.take() else { return Ok(()) };
        let there = self.file.size().saturating_sub(place).min(self.geometry.cluster_size());
        let bytes = block.as_bytes().get(..there as usize).unwrap_or_default();
        self.file.write_at(bytes, place).doing(|| format!("writing the refcount block at {place:#x}"))
    }

    /// Writes the last block; what is not used any more is given back: nothing refers to it, whatever the counts in the
    /// file say after a crash.
    pub(super) fn finish(mut self) -> Result<()> {
        self.write_block()?;
        self.discards.process(self.file)
    }
}
