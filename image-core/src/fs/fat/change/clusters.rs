//! Clusters taken and given back.
//!
//! ```text
//! free on the disk ─► taken by these changes ─► given back: free at once
//! somebody's       ─► given back: 0 in the table, and nobody's until the changes are on the disk
//! ```
//! So what is written into a cluster before the changes count is never what a file of the disk has.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::FatWriter;
use super::bits::Bits;
use super::overlay::Overlay;
use super::refusal::FatRefusal;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};
use crate::fs::fat::layout::{FIRST_CLUSTER, Layout, Width};
use crate::fs::fat::rule::FatRule;
use crate::fs::fat::table::Link;
use crate::fs::field::u32_at;

/// Whose clusters are.
pub(super) struct Clusters {
    /// Not free on the disk, or not any more.
    pub(super) taken: Bits,
    /// Free on the disk, and taken by these changes.
    pub(super) new: Bits,
    /// Given back by these changes: from, and how many.
    pub(super) freed: Vec<(u32, u32)>,
    /// How many are free with these changes.
    pub(super) free: u32,
    /// Where to look first.
    pub(super) next: u32,
}

impl FatWriter {
    /// A new cluster, the last one of a chain behind `previous`, or the first one.
    pub(super) fn take_cluster(&mut self, previous: Option<u32>) -> Result<u32> {
        self.check_held()?;
        let (layout, clusters) = (self.layout().clone(), &mut self.clusters);
        let from = clusters.next.max(FIRST_CLUSTER);
        let found = clusters.taken.next_clear(from, layout.end);
        let found = found.or_else(|| clusters.taken.next_clear(FIRST_CLUSTER, layout.end));
        let cluster = found.ok_or(FatRefusal::NoSpace)?;
        clusters.taken.set(cluster);
        clusters.new.set(cluster);
        clusters.free = clusters.free.saturating_sub(1);
        clusters.next = cluster.saturating_add(1);
        self.link(cluster, layout.width.mask())?;
        if let Some(previous) = previous {
            self.link(previous, cluster)?;
        }
        Ok(cluster)
    }

    /// Has the table say `value` of `cluster`.
    pub(super) fn link(&mut self, cluster: u32, value: u32) -> Result<()> {
        let range = put_link(&self.overlay, self.layout(), cluster, value)?;
        self.fat.volume.forget(range.offset(), range.len());
        Ok(())
    }

    /// Gives back the clusters of the chain from `first` on.
    pub(super) fn release(&mut self, first: u32) -> Result<()> {
        let mut at = first;
        let mut left = self.layout().clusters();
        while at != 0 {
            let link = self.fat.volume.table.next(at)?;
            self.release_cluster(at)?;
            left = left.saturating_sub(1);
            at = match link {
                Link::Next(next) if left > 0 => next,
                Link::End => 0,
                _ => return Err(Error::corrupt(FatRule::Loop(first))),
            };
        }
        Ok(())
    }

    fn release_cluster(&mut self, cluster: u32) -> Result<()> {
        self.check_held()?;
        self.link(cluster, 0)?;
        let range = self.cluster_range(cluster)?;
        self.overlay.drop_range(range);
        self.fat.volume.forget(range.offset(), range.len());
        let clusters = &mut self.clusters;
        clusters.free = clusters.free.saturating_add(1);
        if clusters.new.get(cluster) {
            clusters.new.clear(cluster);
            clusters.taken.clear(cluster);
            return Ok(());
        }
        match clusters.freed.last_mut() {
            Some((from, count)) if from.saturating_add(*count) == cluster => *count = count.saturating_add(1),
            _ => clusters.freed.push((cluster, 1)),
        }
        Ok(())
    }

    /// The clusters of the chain from `first` on.
    pub(super) fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut at = first;
        while at != 0 {
            chain.push(at);
            at = match self.fat.volume.table.next(at)? {
                Link::Next(next) if chain.len() < self.layout().clusters() as usize => next,
                Link::End => 0,
                _ => return Err(Error::corrupt(FatRule::Loop(first))),
            };
        }
        Ok(chain)
    }

    /// Where `cluster` is.
    pub(super) fn cluster_range(&self, cluster: u32) -> Result<ByteRange> {
        ByteRange::new(self.layout().place(cluster), self.layout().cluster_size)
    }
}

/// Has the table of `layout` in `overlay` say `value` of `cluster`, and leaves all bits beside it. Where that is.
pub(super) fn put_link(overlay: &Overlay, layout: &Layout, cluster: u32, value: u32) -> Result<ByteRange> {
    if !(FIRST_CLUSTER..layout.end).contains(&cluster) {
        return Err(Error::corrupt(FatRule::NoCluster(cluster)));
    }
    let bits = u64::from(cluster).saturating_mul(layout.width.bits());
    let len = if layout.width == Width::Fat32 { 4 } else { 2 };
    let range = ByteRange::new(layout.table.offset().saturating_add(bits >> 3), len)?;
    let mut bytes = [0; 4];
    let own = bytes.get_mut(..len as usize).unwrap_or_default();
    overlay.read_at(own, range.offset())?;
    let (shift, mask) = (bits & 7, layout.width.mask());
    let new = u32_at(&bytes, 0) & !(mask << shift) | (value & mask) << shift;
    overlay.put(new.to_le_bytes().get(..len as usize).unwrap_or_default(), range.offset())?;
    Ok(range)
}
