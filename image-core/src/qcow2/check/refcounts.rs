//! The refcounts as the image has them, and their comparison with what was counted.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::ops::Range;
use std::sync::Arc;

use super::super::geometry::Geometry;
use super::super::header::Header;
use super::super::layout::{REFCOUNT_TABLE_OFFSET, REFCOUNT_TABLE_RESERVED};
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;
use super::super::table::for_each_u64;
use super::reference_counts::ReferenceCounts;
use super::{Finding, Image};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Result};

/// Refcount blocks kept for looking up single clusters.
const KEPT_BLOCKS: usize = 8;

/// The refcount table, and the blocks that were looked at last.
pub(in super::super) struct Refcounts {
    table: Vec<u64>,
    geometry: Geometry,
    /// The latest used first.
    kept: Vec<(u64, Arc<RefcountBlock>)>,
}

/// Why there are no refcounts.
pub(in super::super) struct Unreadable;

impl Refcounts {
    /// Reads the refcount table, whose place was compared with the file.
    pub(in super::super) fn read(file: &dyn BlockRead, header: &Header) -> Result<Self> {
        let mut table = Vec::new();
        let place = ByteRange::new(header.refcount_table.offset.0, header.refcount_table_len())?;
        for_each_u64(file, place, |_, entry| {
            table.push(entry);
            Ok(())
        })
        .doing(|| "reading the refcount table")?;
        // Most of a large table is empty.
        table.truncate(table.iter().rposition(|&entry| entry != 0).map_or(0, |last| last.saturating_add(1)));
        Ok(Self { table, geometry: header.geometry, kept: Vec::new() })
    }

    /// The entries of the table that are not empty.
    pub(in super::super) fn table_entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..).zip(self.table.iter().copied()).filter(|&(_, entry)| entry != 0)
    }

    /// Where the blocks are that can be read, by index; 0 for the others.
    pub(in super::super) fn places(&self) -> Vec<u64> {
        let place =
            |entry: &u64| Some(entry & REFCOUNT_TABLE_OFFSET).filter(|&at| self.geometry.is_aligned(at));
        self.table.iter().map(|entry| place(entry).unwrap_or_default()).collect()
    }

    /// The refcount of one cluster.
    pub(in super::super) fn refcount(
        &mut self,
        image: &Image<'_>,
        cluster: u64,
    ) -> Result<Result<u64, Unreadable>> {
        let per_block = self.geometry.refcounts_per_block();
        let index = cluster.checked_div(per_block).unwrap_or_default();
        Ok(match self.block(image, index)? {
            Ok(Some(block)) => Ok(block.count(cluster.checked_rem(per_block).unwrap_or_default())),
            Ok(None) => Ok(0),
            Err(unreadable) => Err(unreadable),
        })
    }

    /// The block at `index` of the table; `None` where there is none, so that all its counts are 0.
    fn block(
        &mut self,
        image: &Image<'_>,
        index: u64,
    ) -> Result<Result<Option<Arc<RefcountBlock>>, Unreadable>> {
        let entry = usize::try_from(index).ok().and_then(|index| self.table.get(index)).copied();
        let host = entry.unwrap_or_default() & REFCOUNT_TABLE_OFFSET;
        if host == 0 {
            return Ok(Ok(None));
        }
        if !self.geometry.is_aligned(host) {
            return Ok(Err(Unreadable));
        }
        if let Some(at) = self.kept.iter().position(|&(known, _)| known == index) {
            if let Some(found) = self.kept.get_mut(..=at) {
                found.rotate_right(1);
            }
        } else {
            let block = RefcountBlock::from_bytes(self.geometry, image.table(HostOffset(host))?);
            self.kept.truncate(KEPT_BLOCKS.saturating_sub(1));
            self.kept.insert(0, (index, Arc::new(block)));
        }
        Ok(Ok(self.kept.first().map(|(_, block)| block.clone())))
    }

    /// Compares the counts of this pass with the refcounts; returns the highest cluster in use.
    pub(in super::super) fn compare(
        &mut self,
        image: &Image<'_>,
        counts: &ReferenceCounts,
        tell: &mut dyn FnMut(Finding),
    ) -> Result<u64> {
        self.shared_blocks(counts, tell);
        let geometry = self.geometry;
        let per_block = geometry.refcounts_per_block();
        // Clusters past the end of the file count only if something refers to them.
        let end = geometry.clusters_for(image.file_size).max(counts.end());
        let window = counts.window();
        let clusters = window.start..window.end.min(end);
        let mut highest = 0;
        let mut at = clusters.start;
        // Where there are refcount blocks.
        let covered = (self.table.len() as u64).saturating_mul(per_block).min(clusters.end);
        while at < covered {
            let index = at.checked_div(per_block).unwrap_or_default();
            let next = index.saturating_add(1).saturating_mul(per_block).min(covered);
            match self.block(image, index)? {
                Err(Unreadable) => {
                    tell(Finding::RefcountsUnreadable { index, clusters: next.saturating_sub(at) });
                }
                Ok(None) => highest = highest.max(without_block(counts, at..next, geometry, tell)),
                Ok(Some(block)) => {
                    let first = index.saturating_mul(per_block);
                    for cluster in at..next {
                        let refcount = block.count(cluster.saturating_sub(first));
                        let references = counts.count(cluster);
                        if refcount > 0 || references > 0 {
                            highest = highest.max(cluster);
                        }
                        if refcount != references {
                            let host = host_of(cluster, geometry);
                            tell(Finding::Refcount { host, refcount, references });
                        }
                    }
                }
            }
            at = next;
        }
        Ok(highest.max(without_block(counts, at..clusters.end.max(at), geometry, tell)))
    }

    /// Blocks of this pass that are referenced by more than their entry.
    fn shared_blocks(&self, counts: &ReferenceCounts, tell: &mut dyn FnMut(Finding)) {
        let window = counts.window();
        for (index, entry) in self.table_entries() {
            let cluster = self.geometry.cluster_index(entry);
            let sound = entry & REFCOUNT_TABLE_RESERVED == 0 && self.geometry.is_aligned(entry);
            if sound && window.contains(&cluster) {
                let references = counts.count(cluster);
                if references > 1 {
                    let host = HostOffset(entry);
                    tell(Finding::RefcountBlockShared { index, host, references });
                }
            }
        }
    }
}

/// Compares clusters whose refcounts are all 0, for want of a block; returns the highest that is referenced.
fn without_block(
    counts: &ReferenceCounts,
    clusters: Range<u64>,
    geometry: Geometry,
    tell: &mut dyn FnMut(Finding),
) -> u64 {
    let mut highest = 0;
    for cluster in counts.touched(clusters).flatten() {
        let references = counts.count(cluster);
        if references > 0 {
            highest = cluster;
            tell(Finding::Refcount { host: host_of(cluster, geometry), refcount: 0, references });
        }
    }
    highest
}

fn host_of(cluster: u64, geometry: Geometry) -> HostOffset {
    HostOffset(cluster.saturating_mul(geometry.cluster_size()))
}
