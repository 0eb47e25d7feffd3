//! Whether an image was preallocated without storage for its clusters (`preallocation=metadata`), which nothing in it says.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::header::Header;
use super::layout::REFCOUNT_TABLE_OFFSET;
use super::refcount::RefcountBlock;
use super::table::for_each_u64;
use crate::block::{BlockRead, ByteRange, FileDisk};
use crate::error::Result;

/// How many bytes of refcount blocks are looked at to tell whether an image is preallocated.
const LOOKED_AT: u64 = 64 << 20;

/// Whether far more clusters are counted as used than its filesystem has set aside for the file: then allocated
/// clusters are worth a look for holes. The threshold is QEMU's: a ninth and two clusters more.
pub(super) fn is_metadata_preallocated(file: &FileDisk, header: &Header) -> Result<bool> {
    let geometry = header.geometry;
    let stored = geometry.cluster_index(file.allocated_size()?);
    let ninth_more = stored.saturating_mul(10).checked_div(9).unwrap_or_default();
    let threshold = ninth_more.max(stored.saturating_add(2));
    let clusters = geometry.clusters_for(file.size());
    if clusters < threshold {
        return Ok(false);
    }
    let mut table = Vec::new();
    let per_block = geometry.refcounts_per_block();
    let wanted = clusters.div_ceil(per_block).saturating_mul(8).min(header.refcount_table_len());
    for_each_u64(file, ByteRange::new(header.refcount_table.offset.0, wanted)?, |index, entry| {
        if entry != 0 {
            table.push((index, entry & REFCOUNT_TABLE_OFFSET));
        }
        Ok(())
    })?;
    // A table that names more than this is either that of a very large image or names some again and again.
    table.truncate(LOOKED_AT.checked_div(geometry.cluster_size()).unwrap_or_default() as usize);
    let mut counted = 0_u64;
    let mut bytes = vec![0; geometry.cluster_size() as usize];
    for (index, host) in table {
        file.read_at(&mut bytes, host)?;
        let block = RefcountBlock::from_bytes(geometry, std::mem::take(&mut bytes));
        let first = index.saturating_mul(per_block);
        let used = (0..clusters.saturating_sub(first).min(per_block)).filter(|&at| block.count(at) != 0);
        counted = counted.saturating_add(used.count() as u64);
        if counted >= threshold {
            return Ok(true);
        }
        bytes = block.into_bytes();
    }
    Ok(false)
}
