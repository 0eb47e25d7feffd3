//! Is an image consistent? Every reference is counted again and compared with the refcounts.
//!
//! ```text
//! ① walk     header, L1 tables (active, snapshots), L2 tables, bitmaps, refcount structures ─► Counts
//! ② compare  counts with refcounts:   refcount too low ─► corruption     too high ─► leak
//! ③ copied   the copied flag is set exactly where the refcount is 1
//! ```
//!
//! An L2 table that several L1 tables share is read once and counted as often as it is shared, so the work is bounded by
//! the file. Numbers mean what those of `qemu-img check --output=json` mean. Where a structure is damaged the check
//! tells and goes on; only what leaves nothing to go on with (the header, the tables it names) is an error.
//! Memory: see `reference_counts.rs`; the distinct L2 tables, 16 bytes each; and one L1 table at a time.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

pub(super) mod copied;
mod finding;
pub(super) mod refcounts;
pub(super) mod reference_counts;

use std::collections::BTreeMap;

pub use finding::{CheckResult, Finding, Severity};

use self::refcounts::Refcounts;
use self::reference_counts::ReferenceCounts;
use super::bitmap::Bitmap;
use super::corrupt::{Corrupt, Region};
use super::entry::{L1Entry, L2Entry};
use super::geometry::Geometry;
use super::header::{Header, TablePlace, Version};
use super::layout::{
    BITMAP_ENTRY_ALL_ONES, BITMAP_ENTRY_OFFSET, BITMAP_ENTRY_RESERVED, REFCOUNT_TABLE_RESERVED,
};
use super::offset::{GuestOffset, HostOffset};
use super::snapshot::{Snapshot, V3_SNAPSHOT_EXTRA_LEN};
use super::table::{for_each_u64, l2_entry, read_l1};
use super::{bitmap, snapshot};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Result};

/// Checks the image in `file`, whose header was read from it, and tells `report` of each finding as it is made. Of a
/// header that lacks its refcount table ([`Header::read_to_check`]) it tells why, and no cluster is counted.
///
/// # Errors
/// Whatever makes the check impossible: the file cannot be read, or a table that the header names is damaged.
pub fn check(file: &dyn BlockRead, header: &Header, report: &mut dyn FnMut(&Finding)) -> Result<CheckResult> {
    let image = Image::new(file, header);
    let mut result = CheckResult::default();
    let mut told = |finding: Finding| {
        result.count(&finding);
        report(&finding);
    };
    missing_table(file, header, &mut told)?;
    let mut refcounts = Refcounts::read(file, header)?;
    let totals = references(&image, &mut refcounts, &mut told)?;
    copied::walk(&image, &mut refcounts, None, &mut |finding, _| told(finding))?;
    totals.put_into(&mut result, header);
    Ok(result)
}

/// Tells why the header lacks its refcount table. That it never had one is not told, as QEMU does not.
pub(super) fn missing_table(
    file: &dyn BlockRead,
    header: &Header,
    told: &mut dyn FnMut(Finding),
) -> Result<()> {
    if header.refcount_table.count != 0 {
        return Ok(());
    }
    let (_, rule) = Header::read_to_check(file)?;
    if let Some(rule) = rule.filter(|rule| *rule != Corrupt::NoRefcountTable) {
        told(Finding::Rule { rule, times: 1 });
    }
    Ok(())
}

/// What counting ends with.
pub(super) struct Totals {
    statistics: Statistics,
    /// The highest cluster in use.
    highest: u64,
}

impl Totals {
    pub(super) fn put_into(&self, result: &mut CheckResult, header: &Header) {
        result.total_clusters = header.geometry.clusters_for(header.size);
        result.allocated_clusters = self.statistics.allocated;
        result.fragmented_clusters = self.statistics.fragmented;
        result.compressed_clusters = self.statistics.compressed;
        let clusters = self.highest.saturating_add(1);
        result.image_end_offset = clusters.saturating_mul(header.geometry.cluster_size());
    }
}

/// Counts all references and compares them with the refcounts: steps ① and ②.
pub(super) fn references(
    image: &Image<'_>,
    refcounts: &mut Refcounts,
    told: &mut dyn FnMut(Finding),
) -> Result<Totals> {
    let named = SnapshotsAndBitmaps::read(image)?;
    let mut totals = Totals { statistics: Statistics::default(), highest: 0 };
    let mut counts = ReferenceCounts::new();
    loop {
        let first = counts.window().start == 0;
        let tell: &mut dyn FnMut(Finding) = if first { told } else { &mut |_| {} };
        let statistics = Walk::new(*image, &mut counts, tell).everything(&named, Some(&*refcounts))?;
        if first {
            totals.statistics = statistics;
        }
        totals.highest = totals.highest.max(refcounts.compare(image, &counts, told)?);
        if !counts.next_pass() {
            return Ok(totals);
        }
    }
}

/// What the header names that names more.
pub(super) struct SnapshotsAndBitmaps {
    snapshots: Vec<Snapshot>,
    snapshot_table: ByteRange,
    bitmaps: Vec<Bitmap>,
}

impl SnapshotsAndBitmaps {
    pub(super) fn read(image: &Image<'_>) -> Result<Self> {
        let (snapshots, snapshot_table) = snapshot::list_to_check(image.file, image.header)?;
        Ok(Self { snapshots, snapshot_table, bitmaps: bitmap::list(image.file, image.header)? })
    }
}

/// What is checked.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) file: &'a dyn BlockRead,
    pub(super) header: &'a Header,
    pub(super) geometry: Geometry,
    pub(super) file_size: u64,
}

impl<'a> Image<'a> {
    pub(super) fn new(file: &'a dyn BlockRead, header: &'a Header) -> Self {
        Self { file, header, geometry: header.geometry, file_size: file.size() }
    }

    /// The cluster of the refcount block that entry `index` of the refcount table names.
    pub(super) fn refcount_block(&self, index: u64, entry: u64) -> Result<u64, Corrupt> {
        let (host, file_size) = (HostOffset(entry), self.file_size);
        if entry & REFCOUNT_TABLE_RESERVED != 0 {
            return Err(Corrupt::RefcountReserved { index, entry });
        }
        if !self.geometry.is_aligned(entry) {
            return Err(Corrupt::RefcountBlockUnaligned { index, host });
        }
        let cluster = self.geometry.cluster_index(entry);
        if cluster >= self.geometry.clusters_for(file_size) {
            return Err(Corrupt::RefcountBlockPastEnd { index, host, file_size });
        }
        Ok(cluster)
    }

    /// The entries of an L1 table that are in the file.
    fn l1(&self, place: TablePlace) -> Result<Vec<L1Entry>> {
        let there = self.file_size.saturating_sub(place.offset.0) / 8;
        let count = place.count.min(u32::try_from(there).unwrap_or(u32::MAX));
        if count == 0 { Ok(Vec::new()) } else { read_l1(self.file, TablePlace { count, ..place }) }
    }

    /// The cluster at `host`, aligned or not; what lies past the end of the file is zeroes.
    pub(super) fn table(&self, host: HostOffset) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.geometry.cluster_size() as usize];
        let there = self.file_size.saturating_sub(host.0).min(bytes.len() as u64);
        let part = bytes.get_mut(..there as usize).unwrap_or_default();
        if !part.is_empty() {
            self.file.read_at(part, host.0).doing(|| format!("reading the table at {host}"))?;
        }
        Ok(bytes)
    }
}

/// How guest clusters are stored, in the active L1 table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Statistics {
    allocated: u64,
    fragmented: u64,
    compressed: u64,
}

/// How often an L2 table is referenced.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    active: u64,
    all: u64,
    /// The first guest cluster, for messages.
    guest: GuestOffset,
}

/// One pass over all references.
pub(super) struct Walk<'a, 'b> {
    image: Image<'a>,
    counts: &'b mut ReferenceCounts,
    statistics: Statistics,
    tell: &'b mut dyn FnMut(Finding),
}

impl<'a, 'b> Walk<'a, 'b> {
    pub(super) fn new(
        image: Image<'a>,
        counts: &'b mut ReferenceCounts,
        tell: &'b mut dyn FnMut(Finding),
    ) -> Self {
        Self { image, counts, statistics: Statistics::default(), tell }
    }

    /// One pass over all references, those of the refcount structures included if they are given.
    pub(super) fn everything(
        mut self,
        named: &SnapshotsAndBitmaps,
        refcounts: Option<&Refcounts>,
    ) -> Result<Statistics> {
        let (header, geometry) = (self.image.header, self.image.geometry);
        self.tables(&named.snapshots)?;
        self.region(Region::SnapshotTable, named.snapshot_table);
        self.bitmaps(&named.bitmaps)?;
        self.region(Region::Header, ByteRange::whole(geometry.cluster_size()));
        if let Some(refcounts) = refcounts {
            let table = ByteRange::new(header.refcount_table.offset.0, header.refcount_table_len())?;
            self.region(Region::RefcountTable, table);
            self.refcount_blocks(refcounts);
        }
        Ok(self.statistics)
    }

    fn corrupt(&mut self, rule: Corrupt, weight: u64) {
        (self.tell)(Finding::Rule { rule, times: weight });
    }

    fn region(&mut self, region: Region, range: ByteRange) {
        self.reference(range, 1, |offset, file_size| Corrupt::RegionPastEnd {
            region,
            offset,
            len: range.len(),
            file_size,
        });
    }

    /// Counts the clusters of `range`. The last cluster of a file may be there in part; what lies further out breaks
    /// the rule that `past_end` makes.
    fn reference(&mut self, range: ByteRange, weight: u64, past_end: impl FnOnce(u64, u64) -> Corrupt) {
        let geometry = self.image.geometry;
        if range.is_empty() {
            return;
        }
        if range.end().saturating_sub(self.image.file_size) >= geometry.cluster_size() {
            let rule = past_end(range.offset(), self.image.file_size);
            return self.corrupt(rule, weight);
        }
        let last = geometry.cluster_index(range.end().saturating_sub(1));
        for cluster in geometry.cluster_index(range.offset())..=last {
            self.counts.add(cluster, weight);
        }
    }

    fn tables(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        let mut l2_tables = BTreeMap::new();
        self.l1_table(self.image.header.l1, Region::L1Table, &mut l2_tables)?;
        for (index, snapshot) in (0..).zip(snapshots) {
            let is_short = snapshot.extra.len() < V3_SNAPSHOT_EXTRA_LEN as usize;
            if self.image.header.version == Version::V3 && is_short {
                self.corrupt(Corrupt::SnapshotShort { index }, 1);
            }
            if let Some(rule) = snapshot.too_much_extra(index) {
                self.corrupt(rule, 1);
            }
            self.l1_table(snapshot.l1, Region::SnapshotL1Table, &mut l2_tables)?;
        }
        for (host, uses) in l2_tables {
            self.l2_table(HostOffset(host), uses)?;
        }
        Ok(())
    }

    fn l1_table(
        &mut self,
        place: TablePlace,
        region: Region,
        l2_tables: &mut BTreeMap<u64, Uses>,
    ) -> Result<()> {
        let coverage = self.image.geometry.l2_coverage();
        let range = ByteRange::new(place.offset.0, u64::from(place.count).saturating_mul(8))?;
        self.region(region, range);
        for (index, entry) in (0_u64..).zip(self.image.l1(place)?) {
            let guest = GuestOffset(index.saturating_mul(coverage));
            if entry.0 != 0 && entry.reserved_bits() != 0 {
                self.corrupt(Corrupt::L1Reserved { guest, entry: entry.0 }, 1);
            }
            let Some(L1Place { host, aligned }) = l1_place(entry, self.image.geometry) else { continue };
            if !aligned {
                self.corrupt(Corrupt::L2TableUnaligned { guest, host }, 1);
            }
            let uses = l2_tables.entry(host.0).or_insert(Uses { guest, ..Uses::default() });
            uses.all = uses.all.saturating_add(1);
            if region == Region::L1Table {
                uses.active = uses.active.saturating_add(1);
            }
        }
        Ok(())
    }

    fn l2_table(&mut self, host: HostOffset, uses: Uses) -> Result<()> {
        let geometry = self.image.geometry;
        let range = ByteRange::between(host.0, host.0.saturating_add(geometry.cluster_size()));
        self.reference(range, uses.all, |_, file_size| Corrupt::L2TablePastEnd {
            guest: uses.guest,
            host,
            file_size,
        });
        if host.0 >= self.image.file_size {
            return Ok(());
        }
        let table = self.image.table(host)?;
        let mut next_contiguous = None;
        for index in 0..geometry.l2_count() {
            let entry = l2_entry(&table, index, geometry);
            let in_table = index.saturating_mul(geometry.cluster_size());
            let guest = GuestOffset(uses.guest.0.saturating_add(in_table));
            if entry != L2Entry::default() {
                self.l2_entry(entry, guest, uses, &mut next_contiguous);
            }
        }
        Ok(())
    }

    fn l2_entry(
        &mut self,
        entry: L2Entry,
        guest: GuestOffset,
        uses: Uses,
        next_contiguous: &mut Option<u64>,
    ) {
        if entry.is_compressed() {
            return self.compressed(entry, guest, uses);
        }
        if entry.reserved_bits() != 0 {
            self.corrupt(Corrupt::L2Reserved { guest, entry: entry.descriptor }, uses.all);
        }
        let (header, geometry) = (self.image.header, self.image.geometry);
        let host = entry.host();
        let subclusters = entry.subclusters();
        if host.0 == 0 && !(header.has_data_file() && entry.is_copied()) {
            if subclusters.allocated != 0 {
                self.corrupt(Corrupt::Subclusters { guest, bits: entry.subclusters }, uses.all);
            }
            return;
        }
        if subclusters.allocated & subclusters.zero != 0 {
            return self.corrupt(Corrupt::Subclusters { guest, bits: entry.subclusters }, uses.all);
        }
        if !geometry.is_aligned(host.0) {
            self.corrupt(Corrupt::ClusterUnaligned { guest, host }, uses.all);
        }
        let is_elsewhere = next_contiguous.is_some_and(|expected| expected != host.0);
        self.statistics.allocated = self.statistics.allocated.saturating_add(uses.active);
        if is_elsewhere {
            self.statistics.fragmented = self.statistics.fragmented.saturating_add(uses.active);
        }
        *next_contiguous = Some(host.0.saturating_add(geometry.cluster_size()));
        if !header.has_data_file() {
            let range = ByteRange::between(host.0, host.0.saturating_add(geometry.cluster_size()));
            self.reference(range, uses.all, |_, file_size| Corrupt::ClusterPastEnd {
                guest,
                host,
                file_size,
            });
        }
    }

    fn compressed(&mut self, entry: L2Entry, guest: GuestOffset, uses: Uses) {
        if entry.is_copied() {
            self.corrupt(Corrupt::CompressedCopied { guest }, uses.all);
        }
        if self.image.header.has_data_file() {
            return self.corrupt(Corrupt::CompressedInDataFile { guest }, uses.all);
        }
        if entry.subclusters != 0 {
            return self.corrupt(Corrupt::Subclusters { guest, bits: entry.subclusters }, uses.all);
        }
        let place = entry.compressed_place(self.image.geometry);
        let host = place.offset;
        let range = ByteRange::between(host.0, host.0.saturating_add(place.len));
        self.reference(range, uses.all, |_, file_size| Corrupt::ClusterPastEnd { guest, host, file_size });
        let statistics = &mut self.statistics;
        // Compressed clusters are fragmented by nature: neighbours share sectors, which are read twice.
        for count in [&mut statistics.allocated, &mut statistics.compressed, &mut statistics.fragmented] {
            *count = count.saturating_add(uses.active);
        }
    }

    fn bitmaps(&mut self, bitmaps: &[Bitmap]) -> Result<()> {
        let Some(place) = self.image.header.bitmaps() else { return Ok(()) };
        let directory = ByteRange::between(place.offset.0, place.offset.0.saturating_add(place.len));
        self.region(Region::BitmapDirectory, directory);
        for (index, bitmap) in (0..).zip(bitmaps) {
            let offset = bitmap.table.offset.0;
            let len = u64::from(bitmap.table.count).saturating_mul(8);
            let table = ByteRange::between(offset, offset.saturating_add(len));
            self.region(Region::BitmapTable, table);
            if table.end() > self.image.file_size {
                continue;
            }
            for_each_u64(self.image.file, table, |_, entry| {
                self.bitmap_entry(index, entry);
                Ok(())
            })
            .doing(|| "reading the table of a bitmap")?;
        }
        Ok(())
    }

    fn bitmap_entry(&mut self, index: u32, entry: u64) {
        let offset = entry & BITMAP_ENTRY_OFFSET;
        let all_ones_and_more = entry & BITMAP_ENTRY_ALL_ONES != 0 && offset != 0;
        let geometry = self.image.geometry;
        if entry & BITMAP_ENTRY_RESERVED != 0 || all_ones_and_more || !geometry.is_aligned(offset) {
            let rule = "an entry of its table has reserved bits set or is not at a cluster boundary";
            return self.corrupt(Corrupt::Bitmap { index, rule }, 1);
        }
        if offset != 0 {
            let range = ByteRange::between(offset, offset.saturating_add(geometry.cluster_size()));
            let rule = "a cluster of its bits lies past the end of the file";
            self.reference(range, 1, |_, _| Corrupt::Bitmap { index, rule });
        }
    }

    /// The refcount blocks themselves. That each is referenced once is seen when the counts are complete.
    fn refcount_blocks(&mut self, refcounts: &Refcounts) {
        for (index, entry) in refcounts.table_entries() {
            match self.image.refcount_block(index, entry) {
                Ok(cluster) => self.counts.add(cluster, 1),
                Err(rule) => self.corrupt(rule, 1),
            }
        }
    }
}

/// Where an L1 entry points, and whether that is at a cluster boundary.
pub(super) struct L1Place {
    pub(super) host: HostOffset,
    aligned: bool,
}

pub(super) fn l1_place(entry: L1Entry, geometry: Geometry) -> Option<L1Place> {
    let host = entry.table()?.offset;
    Some(L1Place { host, aligned: geometry.is_aligned(host.0) })
}
