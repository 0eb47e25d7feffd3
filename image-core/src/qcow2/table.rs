//! Tables in memory: the L1 table whole, L2 tables and refcount blocks in a bounded cache.
//!
//! ```text
//! host offset ─► changed, and not in the file yet ─► a bounded cache (cache.rs) ─► the file
//! ```
//!
//! Two threads that miss the same table at once both read it: harmless, for whoever writes a table goes through the cache.
//! A table that was changed and is not in the file yet never falls out.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::corrupt::{Corrupt, Region};
use super::entry::{L1Entry, L2Entry};
use super::geometry::Geometry;
use super::header::{Header, TablePlace};
use super::offset::{GuestOffset, HostOffset};
use crate::block::{BlockRead, ByteRange, Cluster, ClusterCache, Key};
use crate::error::{Doing, Result};

/// The bytes that one cache may hold: 64 GiB of a disk mapped by L2 tables of 64 KiB.
pub(super) const CACHE_BYTES: u64 = 8 << 20;
/// Bytes read at a time from tables that are contiguous but long.
const CHUNK: usize = 64 * 1024;

/// Calls `with` for each of the big-endian numbers of a table, in order. Its place was compared with the file before.
///
/// # Errors
/// Whatever reading says, and whatever `with` says.
pub(super) fn for_each_u64(
    file: &dyn BlockRead,
    place: ByteRange,
    mut with: impl FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let mut chunk = [0; CHUNK];
    let (mut at, mut index) = (place.offset(), 0_u64);
    while at < place.end() {
        let len = place.end().saturating_sub(at).min(CHUNK as u64);
        let bytes = chunk.get_mut(..len as usize).unwrap_or_default();
        file.read_at(bytes, at)?;
        for number in bytes.as_chunks::<8>().0 {
            with(index, u64::from_be_bytes(*number))?;
            index = index.saturating_add(1);
        }
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Reads an L1 table. Its length is at most [`MAX_L1_LEN`](super::header::MAX_L1_LEN) and was compared with the file.
///
/// # Errors
/// Whatever reading says.
pub(super) fn read_l1(file: &dyn BlockRead, place: TablePlace) -> Result<Vec<L1Entry>> {
    let mut entries = Vec::with_capacity(place.count as usize);
    let range = ByteRange::new(place.offset.0, u64::from(place.count).saturating_mul(8))?;
    for_each_u64(file, range, |_, entry| {
        entries.push(L1Entry(entry));
        Ok(())
    })
    .doing(|| format!("reading the L1 table at {}", place.offset))?;
    Ok(entries)
}

/// The active L1 table, and where in the file there is metadata.
#[derive(Debug)]
pub(super) struct L1Table {
    entries: Vec<L1Entry>,
    /// Host offsets of all L2 tables, ascending.
    l2_offsets: Vec<u64>,
    /// What the header names.
    regions: Vec<(Region, ByteRange)>,
    geometry: Geometry,
}

impl L1Table {
    /// Reads the active L1 table.
    pub(super) fn read(file: &dyn BlockRead, header: &Header) -> Result<Self> {
        let entries = read_l1(file, header.l1)?;
        let mut l2_offsets: Vec<u64> =
            entries.iter().filter_map(|entry| entry.table()).map(|table| table.offset.0).collect();
        l2_offsets.sort_unstable();
        Ok(Self { entries, l2_offsets, regions: header.regions(), geometry: header.geometry })
    }

    /// The entry in charge of `guest`; one that points nowhere past the end of the table.
    pub(super) fn entry(&self, guest: GuestOffset) -> L1Entry {
        self.at(self.geometry.l1_index(guest))
    }

    /// The entry at `index`; one that points nowhere past the end of the table.
    pub(super) fn at(&self, index: u64) -> L1Entry {
        let index = usize::try_from(index).ok();
        index.and_then(|index| self.entries.get(index)).copied().unwrap_or_default()
    }

    /// Replaces the entry at `index`, which is in the table.
    pub(super) fn set(&mut self, index: u64, entry: L1Entry) {
        let Some(place) = usize::try_from(index).ok().and_then(|index| self.entries.get_mut(index)) else {
            return;
        };
        let old = std::mem::replace(place, entry);
        if let Some(table) = old.table()
            && let Ok(at) = self.l2_offsets.binary_search(&table.offset.0)
        {
            self.l2_offsets.remove(at);
        }
        if let Some(table) = entry.table() {
            let at = self.l2_offsets.partition_point(|&offset| offset < table.offset.0);
            self.l2_offsets.insert(at, table.offset.0);
        }
    }

    /// Takes over the places that `header` names.
    pub(super) fn set_regions(&mut self, header: &Header) {
        self.regions = header.regions();
    }

    /// Has `count` entries from now on; new ones point nowhere, those that go must point nowhere.
    pub(super) fn set_count(&mut self, count: u32) {
        self.entries.resize(count as usize, L1Entry::default());
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Refuses an L2 table that another L1 entry has too: the way to make a small file stand for endless work.
    pub(super) fn refuse_shared(&self, host: HostOffset, guest: GuestOffset) -> Result<(), Corrupt> {
        let first = self.l2_offsets.partition_point(|&offset| offset < host.0);
        if self.l2_offsets.get(first.saturating_add(1)) != Some(&host.0) {
            return Ok(());
        }
        let own = self.geometry.l1_index(guest) as usize;
        let other = self.entries.iter().enumerate().position(|(index, entry)| {
            index != own && entry.table().is_some_and(|table| table.offset == host)
        });
        let coverage = self.geometry.l2_coverage();
        let other = GuestOffset((other.unwrap_or_default() as u64).saturating_mul(coverage));
        Err(Corrupt::L2TableShared { guest, host, other })
    }

    /// The metadata that `range` of the file overlaps, except for `itself`.
    pub(super) fn metadata_in(&self, range: ByteRange, itself: Option<HostOffset>) -> Option<Region> {
        let named = |(_, region): &&(Region, ByteRange)| region.intersection(range).is_some();
        if let Some(&(region, _)) = self.regions.iter().find(named) {
            return Some(region);
        }
        // L2 tables are aligned where they are valid: one that overlaps starts after the cluster before `range`.
        let from = range.offset().saturating_sub(self.geometry.cluster_size().saturating_sub(1));
        let first = self.l2_offsets.partition_point(|&offset| offset < from);
        let near = self.l2_offsets.get(first..).unwrap_or_default().iter();
        let mut near = near.take_while(|&&offset| offset < range.end());
        near.any(|&offset| itself != Some(HostOffset(offset))).then_some(Region::L2Table)
    }
}

/// A metadata cluster as it is in the file.
pub(super) type Table = Cluster;

/// The entry at `index` of an L2 table; empty past its end.
pub(super) fn l2_entry(table: &[u8], index: u64, geometry: Geometry) -> L2Entry {
    let at = index.saturating_mul(geometry.l2_entry_len()) as usize;
    let number = |at: usize| {
        table.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
    };
    let subclusters = if geometry.extended_l2() { number(at.saturating_add(8)) } else { 0 };
    L2Entry { descriptor: number(at), subclusters }
}

/// Changes `entry` at `index` of an L2 table.
pub(super) fn set_l2_entry(table: &mut [u8], index: u64, entry: L2Entry, geometry: Geometry) {
    let at = index.saturating_mul(geometry.l2_entry_len()) as usize;
    let mut number = |at: usize, number: u64| {
        if let Some(bytes) = table.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *bytes = number.to_be_bytes();
        }
    };
    number(at, entry.descriptor);
    if geometry.extended_l2() {
        number(at.saturating_add(8), entry.subclusters);
    }
}

/// Metadata clusters, by host offset, as many as fit into [`CACHE_BYTES`].
#[derive(Debug)]
pub(super) struct TableCache {
    /// Tables that are not as in the file; not among the others.
    changed: RwLock<BTreeMap<HostOffset, Table>>,
    known: ClusterCache<HostOffset>,
}

impl Key for HostOffset {
    fn number(self) -> u64 {
        // Without the bits that are zero in all of them.
        self.0.wrapping_shr(super::geometry::MIN_CLUSTER_BITS)
    }
}

impl TableCache {
    /// An empty one.
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { changed: RwLock::default(), known: ClusterCache::new(CACHE_BYTES, geometry.cluster_size()) }
    }

    /// The table at `host`, from memory or else by `read`.
    ///
    /// # Errors
    /// Whatever `read` says.
    pub(super) fn table(&self, host: HostOffset, read: impl FnOnce() -> Result<Table>) -> Result<Table> {
        if let Some(table) = self.changed().get(&host) {
            return Ok(table.clone());
        }
        if let Some(table) = self.known.find(host) {
            return Ok(table);
        }
        let table = read()?;
        self.put(host, table.clone());
        Ok(table)
    }

    /// Puts `table` into the place of what was known of `host`.
    pub(super) fn put(&self, host: HostOffset, table: Table) {
        self.known.put(host, table);
    }

    /// The tables that are not as in the file, by ascending host offset.
    pub(super) fn changed(&self) -> RwLockReadGuard<'_, BTreeMap<HostOffset, Table>> {
        self.changed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table at `host`, which is `table` so far.
    pub(super) fn change(&self, host: HostOffset, table: Table, change: impl FnOnce(&mut [u8])) {
        self.known.forget(host);
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        // A copy is made only where somebody else still looks at the table.
        let kept = changed.entry(host).or_insert_with(|| table.clone());
        drop(table);
        change(Arc::make_mut(kept));
    }

    /// All changed tables are in the file now.
    pub(super) fn changes_are_written(&self) {
        let changed = std::mem::take(&mut *self.changed.write().unwrap_or_else(PoisonError::into_inner));
        for (host, table) in changed {
            self.put(host, table);
        }
    }

    /// Forgets the table at `host`, which is one no more, changed or not.
    pub(super) fn forget(&self, host: HostOffset) {
        self.changed.write().unwrap_or_else(PoisonError::into_inner).remove(&host);
        self.known.forget(host);
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn table_of(byte: u8) -> Table {
        vec![byte; 16].into()
    }

    #[test]
    fn a_table_that_is_forgotten_is_read_again() {
        let cache = TableCache::new(Geometry::new(16, 4, false).unwrap());
        let host = HostOffset(65536);
        cache.put(host, table_of(1));
        cache.forget(host);
        assert_eq!(cache.table(host, || Ok(table_of(2))).unwrap()[0], 2);
        cache.change(host, table_of(3), |_| ());
        cache.forget(host);
        assert_eq!(cache.table(host, || Ok(table_of(4))).unwrap()[0], 4);
    }

    #[test]
    fn a_failed_read_is_not_remembered() {
        let cache = TableCache::new(Geometry::new(16, 4, false).unwrap());
        let failed = cache.table(HostOffset(65536), || Err(crate::Error::cancelled()));
        assert!(failed.is_err());
        assert_eq!(cache.table(HostOffset(65536), || Ok(table_of(5))).unwrap()[0], 5);
        cache.put(HostOffset(65536), table_of(6));
        assert_eq!(cache.table(HostOffset(65536), || Ok(table_of(7))).unwrap()[0], 6);
    }
}
