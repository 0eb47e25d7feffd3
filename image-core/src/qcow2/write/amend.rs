//! Another version, other refcounts, lazy refcounts or not: what an image is, changed where it stands.
//!
//! ```text
//! version 2 → 3    snapshots get the sizes that version 3 requires ─► header
//! version 3 → 2    bitmaps go, marks for zeroes become clusters or nothing, in snapshots too ─► header, without features
//! refcount bits    header │ … in use … │ new blocks │ new table     flush ─► header ─► the old places are free
//! ```
//!
//! The header's fixed part is in one sector, so each of these happens at one moment. Section: "Header".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::super::corrupt::Unsupported;
use super::super::discard::Discards;
use super::super::extension::Extension;
use super::super::feature_bits;
use super::super::geometry::{DEFAULT_REFCOUNT_ORDER, Geometry};
use super::super::header::{Compression, Features, Header, MAX_REFCOUNT_TABLE_LEN, TablePlace, Version};
use super::super::layout::{AUTOCLEAR_BITMAPS, AUTOCLEAR_DATA_FILE_RAW, COMPATIBLE_LAZY_REFCOUNTS};
use super::super::offset::HostOffset;
use super::super::refcount::RefcountBlock;
use super::super::{bitmap, snapshot};
use super::allocate::{Allocator, write_growing};
use super::snapshots::expand_zero_clusters;
use super::snapshots::tables::rewrite_snapshots;
use super::{BitmapChange, change_bitmaps, lazy_refcounts};
use crate::block::BlockWrite;
use crate::error::{Doing, Error, ErrorKind, Result};

/// What is to change; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amendment {
    /// The version.
    pub version: Option<Version>,
    /// The width of refcounts: 1, 2, 4 … 64 bits.
    pub refcount_bits: Option<u32>,
    /// Whether refcounts are lazy.
    pub lazy_refcounts: Option<bool>,
}

/// What keeps an image from becoming one of version 2 (compat 0.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Version2Rule {
    /// Refcounts of another width than 16 bits.
    #[error("version 2 (compat 0.10) has only refcounts of 16 bits")]
    RefcountBits,
    /// Lazy refcounts.
    #[error("version 2 (compat 0.10) has no lazy refcounts")]
    LazyRefcounts,
    /// Subclusters.
    #[error("version 2 (compat 0.10) has no extended L2 entries")]
    ExtendedL2,
    /// zstd.
    #[error("version 2 (compat 0.10) has no other compression than deflate")]
    Compression,
    /// Guest clusters in another file.
    #[error("version 2 (compat 0.10) has no data file")]
    DataFile,
    /// A snapshot of a virtual machine, or of a disk of another size.
    #[error(
        "version 2 (compat 0.10) does not record the state of a machine, nor another size, of a snapshot"
    )]
    Snapshots,
}

impl From<Version2Rule> for Error {
    fn from(source: Version2Rule) -> Self {
        Self::new(ErrorKind::Unsupported, source)
    }
}

/// Changes the image in `file`, which `header` describes; returns the header as it is then. Version 2 has no bitmaps:
/// they are removed, as the version is asked for by name.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for what the version does not have (cause: [`Version2Rule`]), and
/// counts that the width has no room for: nothing is changed then. [`Refused`](crate::ErrorKind::Refused) for images that must be repaired first;
/// whatever the storage says.
pub fn amend(file: &Arc<dyn BlockWrite>, header: &Header, amendment: Amendment) -> Result<Header> {
    let header = &lazy_refcounts::repair_if_dirty(&**file, header)?;
    let version = amendment.version.unwrap_or(header.version);
    let bits = amendment.refcount_bits.unwrap_or(header.geometry.refcount_bits());
    let lazy = amendment.lazy_refcounts.unwrap_or(version == Version::V3 && header.has_lazy_refcounts());
    let old = header.geometry;
    if !bits.is_power_of_two() || bits > 64 {
        return Err(Error::invalid(format!("refcounts of {bits} bits: there are 1, 2, 4, 8, 16, 32 and 64")));
    }
    let geometry = Geometry::new(old.cluster_bits(), bits.trailing_zeros(), old.extended_l2())?;
    if version == Version::V2 {
        refuse_version_2(&**file, header, geometry, lazy)?;
    }
    let mut header = header.clone();
    let known = AUTOCLEAR_BITMAPS | AUTOCLEAR_DATA_FILE_RAW;
    feature_bits::keep_autoclear(&**file, &mut header, known)?;
    if version == Version::V3 && header.version == Version::V2 {
        if header.snapshots.count > 0 {
            header = rewrite_snapshots(&**file, &header)?;
        }
        header.version = version;
        feature_bits::update_header(&**file, &header)?;
    }
    if geometry != old {
        header = change_width(&**file, &header, geometry)?;
    }
    if version == Version::V2 && header.version == Version::V3 {
        header = make_version_2(&**file, &header)?;
    }
    if version == Version::V3 && lazy != header.has_lazy_refcounts() {
        header.features.compatible ^= COMPATIBLE_LAZY_REFCOUNTS;
        feature_bits::update_header(&**file, &header)?;
    }
    // With the names of features that it has now.
    Header::read(&**file)
}

/// Refuses to make version 2 of what only version 3 can say.
fn refuse_version_2(file: &dyn BlockWrite, header: &Header, geometry: Geometry, lazy: bool) -> Result<()> {
    let (snapshots, _) = snapshot::list(file, header)?;
    let obstacles = [
        (geometry.refcount_order() != DEFAULT_REFCOUNT_ORDER, Version2Rule::RefcountBits),
        (lazy, Version2Rule::LazyRefcounts),
        (geometry.extended_l2(), Version2Rule::ExtendedL2),
        (header.compression != Compression::Deflate, Version2Rule::Compression),
        (header.has_data_file(), Version2Rule::DataFile),
        (
            snapshots.iter().any(|snapshot| {
                snapshot.vm_state_size != 0 || snapshot.disk_size.is_some_and(|size| size != header.size)
            }),
            Version2Rule::Snapshots,
        ),
    ];
    match obstacles.into_iter().find(|&(there, _)| there) {
        Some((_, rule)) => Err(rule.into()),
        None => Ok(()),
    }
}

fn make_version_2(file: &dyn BlockWrite, header: &Header) -> Result<Header> {
    let mut header = header.clone();
    if header.bitmaps().is_some() {
        let bitmaps = bitmap::list(file, &header)?.into_iter();
        let changes: Vec<_> = bitmaps.map(|bitmap| BitmapChange::Remove(bitmap.name)).collect();
        header = change_bitmaps(file, &header, &changes)?;
    }
    let over_backing = header.backing_name.is_some();
    header = expand_zero_clusters(file, &header, over_backing)?;
    header.version = Version::V2;
    header.features = Features::default();
    header.unknown_fields.clear();
    // Some may be left that were not believed.
    header.extensions.retain(|extension| !matches!(extension, Extension::Bitmaps(_)));
    feature_bits::update_header(file, &header)?;
    Ok(header)
}

/// Counts anew, in refcounts of another width behind everything that is there.
fn change_width(file: &dyn BlockWrite, header: &Header, geometry: Geometry) -> Result<Header> {
    let mut old = Allocator::read(file, header)?;
    let used = geometry.clusters_for(file.size());
    let per_block = geometry.refcounts_per_block();
    // Blocks and table count themselves: as many as it takes until they suffice.
    let (mut blocks, mut table_clusters) = (1, 1);
    loop {
        let all = used.saturating_add(blocks).saturating_add(table_clusters);
        let needed = all.div_ceil(per_block);
        let needed = (needed, geometry.clusters_for(needed.saturating_mul(8)));
        if needed == (blocks, table_clusters) {
            break;
        }
        (blocks, table_clusters) = needed;
    }
    let cluster_size = geometry.cluster_size();
    let table_len = table_clusters.saturating_mul(cluster_size);
    if table_len > MAX_REFCOUNT_TABLE_LEN {
        let limit = MAX_REFCOUNT_TABLE_LEN;
        return Err(Unsupported::RefcountTableTooLong { len: table_len, limit }.into());
    }
    let left = old.own_clusters();
    let last = used.saturating_add(blocks).saturating_add(table_clusters);
    let file_size = file.size();
    for index in 0..blocks {
        let first = index.saturating_mul(per_block);
        let host = used.saturating_add(index).saturating_mul(cluster_size);
        let written = recount(
            file,
            &mut old,
            (&left, used),
            (geometry, first..last.min(first.saturating_add(per_block))),
        )
        .and_then(|block| write_growing(file, block.as_bytes(), host));
        if let Err(error) = written {
            // As good as before, only longer: nothing is lost if this fails.
            let _ = file.resize(file_size);
            return Err(error.doing("writing new refcounts"));
        }
    }
    let table_at = used.saturating_add(blocks).saturating_mul(cluster_size);
    let mut table: Vec<u8> = (0..blocks)
        .flat_map(|index| used.saturating_add(index).saturating_mul(cluster_size).to_be_bytes())
        .collect();
    table.resize(table_len as usize, 0);
    write_growing(file, &table, table_at).doing(|| "writing the new refcount table")?;
    file.flush()?;
    let place = TablePlace { offset: HostOffset(table_at), count: table_clusters as u32 };
    let header = Header { geometry, refcount_table: place, ..header.clone() };
    feature_bits::update_header(file, &header)?;
    let mut unused = Discards::default();
    left.into_iter().for_each(|cluster| unused.add(cluster, geometry));
    unused.process(file)?;
    Ok(header)
}

/// A block of new counts for `clusters`: as before for the first `used` ones, but for those that are left; 1 behind them.
fn recount(
    file: &dyn BlockWrite,
    old: &mut Allocator,
    (left, used): (&BTreeSet<u64>, u64),
    (geometry, clusters): (Geometry, Range<u64>),
) -> Result<RefcountBlock> {
    let mut block = RefcountBlock::new(geometry);
    for (index, cluster) in (0..).zip(clusters) {
        let count = match cluster >= used {
            true => 1,
            false => old.count(file, cluster)?.saturating_sub(u64::from(left.contains(&cluster))),
        };
        if count > geometry.max_refcount() {
            return Err(Error::unsupported(format!(
                "the cluster at {:#x} is used {count} times, which refcounts of {} bits cannot say",
                cluster.saturating_mul(geometry.cluster_size()),
                geometry.refcount_bits()
            )));
        }
        block.set_count(index, count);
    }
    Ok(block)
}

#[cfg(test)]
mod tests;
