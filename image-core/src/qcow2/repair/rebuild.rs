//! New refcount structures beside the old ones, and one write to the header that turns to them.
//!
//! ```text
//!  count every reference, the old structures' too ─► what is counted is not overwritten
//!       blocks for all that is counted, in the first free clusters ─┐
//!       a table for the blocks, itself counted ─────────────────────┤ flush
//!  header: the place of the table ──────────────────────────────────┘ flush
//!       the old structures are not counted any more
//! ```
//!
//! A crash before the header is written leaves the image as it was.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use super::super::check::refcounts::Refcounts;
use super::super::check::reference_counts::ReferenceCounts;
use super::super::check::{Finding, Image, SnapshotsAndBitmaps, Walk};
use super::super::corrupt::Unsupported;
use super::super::discard::Discards;
use super::super::geometry::Geometry;
use super::super::header::{Header, MAX_REFCOUNT_TABLE_LEN, TablePlace};
use super::super::layout::{self, RefcountTableField};
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Error, Result};

/// Gives the image new refcount structures that say what is counted; returns what would be leaks now, had the old ones
/// stayed counted.
pub(super) fn rebuild(file: &dyn BlockWrite, header: &mut Header) -> Result<Vec<Finding>> {
    let image = Image::new(file, header);
    let refcounts = Refcounts::read(file, header)?;
    let mut counts = ReferenceCounts::for_rebuilding();
    let named = SnapshotsAndBitmaps::read(&image)?;
    Walk::new(image, &mut counts, &mut |_| {}).everything(&named, Some(&refcounts))?;
    if counts.is_partial() {
        return Err(Error::unsupported("the file has more clusters than are rebuilt at a time"));
    }
    let old = old_structures(&image, &refcounts);
    let mut plan = Plan { geometry: header.geometry, counts, blocks: BTreeMap::new(), free: 0 };
    let table = plan.place()?;
    plan.write(file, table, &old)?;
    header.refcount_table = table;
    plan.discards(&old).process(file)?;
    Ok(plan.left_behind(&old))
}

/// How often the clusters of the refcount structures so far are counted because of them.
fn old_structures(image: &Image<'_>, refcounts: &Refcounts) -> BTreeMap<u64, u64> {
    let first = image.geometry.cluster_index(image.header.refcount_table.offset.0);
    let table = first..first.saturating_add(image.header.refcount_table.count.into());
    let blocks =
        refcounts.table_entries().filter_map(|(index, entry)| image.refcount_block(index, entry).ok());
    let mut old = BTreeMap::new();
    for cluster in table.chain(blocks) {
        let times: &mut u64 = old.entry(cluster).or_default();
        *times = times.saturating_add(1);
    }
    old
}

/// New structures that are not in the file yet.
struct Plan {
    geometry: Geometry,
    /// References, the old and the new structures among them.
    counts: ReferenceCounts,
    /// The cluster of each block, by index.
    blocks: BTreeMap<u64, u64>,
    /// No cluster before it is free.
    free: u64,
}

impl Plan {
    fn block_of(&self, cluster: u64) -> u64 {
        cluster.checked_div(self.geometry.refcounts_per_block()).unwrap_or_default()
    }

    /// Finds places for the blocks and the table; returns that of the table.
    fn place(&mut self) -> Result<TablePlace> {
        self.place_blocks();
        let mut len = 1;
        let (start, len) = loop {
            let start = self.free_run(len);
            // The table and the blocks that count it may need two blocks more.
            let last = self.block_of(start.saturating_add(len)).saturating_add(1);
            let highest = self.blocks.last_key_value().map_or(0, |(&index, _)| index).max(last);
            let needed = self.geometry.clusters_for(highest.saturating_add(1).saturating_mul(8));
            if needed <= len {
                break (start, len);
            }
            len = needed;
        };
        let bytes = len.saturating_mul(self.geometry.cluster_size());
        if bytes > MAX_REFCOUNT_TABLE_LEN {
            let limit = MAX_REFCOUNT_TABLE_LEN;
            return Err(Unsupported::RefcountTableTooLong { len: bytes, limit }.into());
        }
        for cluster in start..start.saturating_add(len) {
            self.counts.add(cluster, 1);
        }
        self.place_blocks();
        let offset = HostOffset(start.saturating_mul(self.geometry.cluster_size()));
        Ok(TablePlace { offset, count: len as u32 })
    }

    /// Places a block for each cluster that is counted, until all of them are counted themselves.
    fn place_blocks(&mut self) {
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                return;
            }
            for index in missing {
                let cluster = self.free_run(1);
                self.free = cluster.saturating_add(1);
                self.counts.add(cluster, 1);
                self.blocks.insert(index, cluster);
            }
        }
    }

    /// Blocks that are needed and have no place.
    fn missing(&self) -> Vec<u64> {
        let mut missing = Vec::new();
        for clusters in self.counts.touched(0..self.counts.end()) {
            let mut cluster = clusters.start;
            while cluster < clusters.end {
                let index = self.block_of(cluster);
                let next = index.saturating_add(1).saturating_mul(self.geometry.refcounts_per_block());
                let end = next.min(clusters.end);
                let known = self.blocks.contains_key(&index) || missing.last() == Some(&index);
                if !known && (cluster..end).any(|cluster| self.counts.count(cluster) > 0) {
                    missing.push(index);
                }
                cluster = end;
            }
        }
        missing
    }

    /// The first `len` clusters in a row that nothing refers to.
    fn free_run(&self, len: u64) -> u64 {
        let (mut start, mut found) = (self.free, 0);
        while found < len {
            let cluster = start.saturating_add(found);
            found = found.saturating_add(1);
            if self.counts.count(cluster) > 0 {
                (start, found) = (cluster.saturating_add(1), 0);
            }
        }
        start
    }

    /// Brings the structures to the file and turns to them. What `old` counts is not counted any more.
    fn write(&self, file: &dyn BlockWrite, table: TablePlace, old: &BTreeMap<u64, u64>) -> Result<()> {
        let size = self.geometry.cluster_size();
        let per_block = self.geometry.refcounts_per_block();
        let mut entries = vec![0; u64::from(table.count).saturating_mul(size) as usize];
        for (&index, &place) in &self.blocks {
            let mut block = RefcountBlock::new(self.geometry);
            let first = index.saturating_mul(per_block);
            for within in 0..per_block {
                let cluster = first.saturating_add(within);
                let count = self.counts.count(cluster);
                if count > 0 {
                    let old = old.get(&cluster).copied().unwrap_or_default();
                    block.set_count(within, count.saturating_sub(old).min(self.geometry.max_refcount()));
                }
            }
            let host = place.saturating_mul(size);
            write_growing(file, block.as_bytes(), host)
                .doing(|| format!("writing refcount block {index:#x} at {host:#x}"))?;
            let at = index.saturating_mul(8) as usize;
            if let Some(entry) = entries.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *entry = host.to_be_bytes();
            }
        }
        write_growing(file, &entries, table.offset.0)
            .doing(|| format!("writing the refcount table at {}", table.offset))?;
        file.flush()?;
        let field = RefcountTableField { offset: table.offset.0.into(), clusters: table.count.into() };
        file.write_at(field.as_bytes(), layout::REFCOUNT_TABLE_FIELD_OFFSET)
            .doing(|| "writing the place of the refcount table")?;
        file.flush()
    }

    /// The clusters of the old structures, with what they would still be counted as.
    fn left_behind(&self, old: &BTreeMap<u64, u64>) -> Vec<Finding> {
        let of = |(&cluster, &times): (&u64, &u64)| {
            let refcount = self.counts.count(cluster);
            Finding::Refcount {
                host: HostOffset(cluster.saturating_mul(self.geometry.cluster_size())),
                refcount,
                references: refcount.saturating_sub(times),
            }
        };
        old.iter().map(of).collect()
    }

    /// The clusters that only the old structures used.
    fn discards(&self, old: &BTreeMap<u64, u64>) -> Discards {
        let mut discards = Discards::default();
        for (&cluster, _) in old.iter().filter(|&(&cluster, &times)| self.counts.count(cluster) == times) {
            discards.add(cluster, self.geometry);
        }
        discards
    }
}

fn write_growing(file: &dyn BlockWrite, bytes: &[u8], offset: u64) -> Result<()> {
    let end = ByteRange::new(offset, bytes.len() as u64)?.end();
    if end > file.size() {
        file.resize(end)?;
    }
    file.write_at(bytes, offset)
}
