//! A transaction: new metadata beside the old, and one write to the header that turns to all of it.
//!
//! ```text
//!            in use, untouched until the end         behind everything that is in use
//!  header │ tables │ refcounts │ data │ …         │ new tables │ new refcount blocks │ new refcount table
//!    │        what goes is counted off in memory                      ▲  flush
//!    └────────────────────────────────────────────────────────────────┘  48 bytes of one sector, flush
//! ```
//!
//! Where an extension of the header changes, it is the whole header that is written.
//!
//! Refcounts and copied flags that depend on each other change at one moment: a crash leaves the image as it was
//! before, or as it is after. The places of the old tables are free by the new refcounts, so nothing leaks either.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use zerocopy::IntoBytes;

use super::super::corrupt::Region;
use super::super::discard::Discards;
use super::super::geometry::Geometry;
use super::super::header::{Header, TablePlace};
use super::super::offset::HostOffset;
use super::super::{feature_bits, layout};
use super::allocate::{Allocator, write_growing};
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Error, Result};

/// Changes the metadata of the image in `file`, which is as `header` describes it with nothing waiting to be written:
/// `prepare` puts new tables beside the old ones and into the header. Returns the header as it is then. Where nothing is
/// prepared, nothing is written.
///
/// # Errors
/// Whatever `prepare` says; the image is as before then. Whatever the storage says.
pub(super) fn transaction(
    file: &dyn BlockWrite,
    header: &Header,
    prepare: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
) -> Result<Header> {
    feature_bits::refuse_unsound(header)?;
    let mut header = header.clone();
    // Guest content stays the same where metadata change: bitmaps stay right.
    let known = layout::AUTOCLEAR_BITMAPS | layout::AUTOCLEAR_DATA_FILE_RAW;
    feature_bits::keep_autoclear(file, &mut header, known)?;
    let file_size = file.size();
    let mut allocator = Allocator::read(file, &header)?;
    allocator.start_behind_all(file)?;
    let mut transaction = Transaction {
        file,
        allocator,
        geometry: header.geometry,
        header: header.clone(),
        discards: Discards::default(),
    };
    let prepared = prepare(&mut transaction);
    if prepared.is_ok() && transaction.header == header && !transaction.allocator.is_changed() {
        return Ok(header);
    }
    let prepared = prepared.and_then(|()| transaction.write_refcounts());
    let bytes = match prepared.and_then(|()| header_bytes(&header, &transaction.header)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if file.size() > file_size {
                // As good as before, only longer: nothing is lost if this fails.
                let _ = file.resize(file_size);
            }
            return Err(error);
        }
    };
    if transaction.header.extensions == header.extensions {
        file.write_at(transaction.header.tables_field().as_bytes(), layout::TABLES_FIELD_OFFSET)
            .doing(|| "writing the places of the tables")?;
    } else {
        file.write_at(&bytes, 0).doing(|| "writing the header")?;
    }
    file.flush()?;
    transaction.discards.process(file)?;
    Ok(transaction.header)
}

/// The bytes of the header `new`, as far as they or those of `old` go.
fn header_bytes(old: &Header, new: &Header) -> Result<Vec<u8>> {
    let (old_len, mut bytes) = (old.to_bytes()?.len(), new.to_bytes()?);
    bytes.resize(bytes.len().max(old_len), 0);
    Ok(bytes)
}

/// Metadata that are being prepared.
pub(super) struct Transaction<'a> {
    file: &'a dyn BlockWrite,
    allocator: Allocator,
    geometry: Geometry,
    /// What the header will say.
    pub(super) header: Header,
    discards: Discards,
}

impl<'a> Transaction<'a> {
    /// The file.
    pub(super) fn file(&self) -> &'a dyn BlockWrite {
        self.file
    }

    /// The tables that `range` of the file overlaps, except for L2 tables.
    pub(super) fn metadata_in(&self, range: ByteRange) -> Option<Region> {
        let regions = self.header.regions();
        let named = regions.iter().find(|(_, region)| region.intersection(range).is_some());
        named.map(|&(region, _)| region).or_else(|| self.allocator.metadata_in(range))
    }

    /// How often the cluster at `host` will be used.
    pub(super) fn count(&mut self, host: HostOffset) -> Result<u64> {
        self.allocator.count(self.file, self.geometry.cluster_index(host.0))
    }

    /// Each cluster that `place` touches is used once more.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where a refcount cannot say that.
    pub(super) fn add(&mut self, place: ByteRange) -> Result<()> {
        for cluster in self.clusters(place) {
            let count = self.allocator.count(self.file, cluster)?.saturating_add(1);
            if count > self.geometry.max_refcount() {
                let bits = self.geometry.refcount_bits();
                return Err(Error::unsupported(format!(
                    "refcounts of {bits} bits cannot say that a cluster is used {count} times: wider ones are needed"
                )));
            }
            self.allocator.set(self.file, cluster, count)?;
        }
        Ok(())
    }

    /// Each cluster that `place` touches is used once less. What is added must be added before.
    pub(super) fn remove(&mut self, place: ByteRange) -> Result<()> {
        for cluster in self.clusters(place) {
            let left = self.allocator.count(self.file, cluster)?.saturating_sub(1);
            self.allocator.set(self.file, cluster, left)?;
            if left == 0 {
                self.discards.add(cluster, self.geometry);
            }
        }
        Ok(())
    }

    fn clusters(&self, place: ByteRange) -> std::ops::Range<u64> {
        let first = self.geometry.cluster_index(place.offset());
        if place.is_empty() {
            return first..first;
        }
        first..self.geometry.cluster_index(place.end().saturating_sub(1)).saturating_add(1)
    }

    /// Writes `bytes` to clusters of their own, which are used once; nowhere if there are none.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<HostOffset> {
        let clusters = self.geometry.clusters_for(bytes.len() as u64);
        if clusters == 0 {
            return Ok(HostOffset(0));
        }
        let host = self.allocator.allocate(self.file, clusters)?;
        // Whole clusters: what was there before is not left behind the table.
        let mut padded = bytes.to_vec();
        padded.resize(clusters.saturating_mul(self.geometry.cluster_size()) as usize, 0);
        write_growing(self.file, &padded, host.0).doing(|| format!("writing a new table at {host}"))?;
        Ok(host)
    }

    /// Brings the refcounts to new places.
    fn write_refcounts(&mut self) -> Result<()> {
        let old = Allocator::read(self.file, &self.header)?;
        for place in self.allocator.move_changed(self.file, &old)? {
            for cluster in self.clusters(place) {
                self.discards.add(cluster, self.geometry);
            }
        }
        self.allocator.write_blocks(self.file)?;
        self.allocator.write_table(self.file)?;
        self.file.flush()?;
        self.header.refcount_table = self.allocator.table_place();
        Ok(())
    }
}

/// The bytes of a table of `count` entries of 8 bytes.
pub(super) fn table_range(place: TablePlace) -> Result<ByteRange> {
    ByteRange::new(place.offset.0, u64::from(place.count).saturating_mul(8))
}
