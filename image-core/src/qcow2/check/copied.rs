//! The copied flags of the active tables: set exactly where the refcount is 1.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::super::entry::L2Entry;
use super::super::layout::COPIED;
use super::super::offset::{GuestOffset, HostOffset};
use super::super::table::{l2_entry, set_l2_entry};
use super::refcounts::Refcounts;
use super::{Finding, Image};
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Result};

/// Told of a flag that is wrong, and whether it was put right.
type Tell<'a> = &'a mut dyn FnMut(Finding, bool);

/// Looks at every entry of the active tables, and puts flags right in `repaired` if that is given; what has no readable
/// refcount was told before.
pub(in super::super) fn walk(
    image: &Image<'_>,
    refcounts: &mut Refcounts,
    repaired: Option<&dyn BlockWrite>,
    tell: Tell<'_>,
) -> Result<()> {
    let geometry = image.geometry;
    // More tables than clusters are the same tables again: told before, as refcounts that are too low.
    let mut tables_left = geometry.clusters_for(image.file_size);
    let l1_place = image.header.l1.offset.0;
    for (index, entry) in (0_u64..).zip(image.l1(image.header.l1)?) {
        let Some(table) = entry.table() else { continue };
        if tables_left == 0 {
            break;
        }
        tables_left = tables_left.saturating_sub(1);
        let guest = GuestOffset(index.saturating_mul(geometry.l2_coverage()));
        let host = table.offset;
        let Ok(refcount) = refcounts.refcount(image, geometry.cluster_index(host.0))? else { continue };
        if (refcount == 1) != table.copied {
            if let Some(file) = repaired {
                let at = l1_place.saturating_add(index.saturating_mul(8));
                file.write_at(&(entry.0 ^ COPIED).to_be_bytes(), at)
                    .doing(|| format!("writing L1 entry {index:#x}"))?;
            }
            tell(Finding::Copied { guest, host, is_l2_table: true, refcount }, repaired.is_some());
        }
        if host.0 < image.file_size {
            walk_l2(image, refcounts, (host, guest), repaired, tell)?;
        }
    }
    Ok(())
}

fn walk_l2(
    image: &Image<'_>,
    refcounts: &mut Refcounts,
    (table_host, table_guest): (HostOffset, GuestOffset),
    repaired: Option<&dyn BlockWrite>,
    tell: Tell<'_>,
) -> Result<()> {
    let geometry = image.geometry;
    let has_data_file = image.header.has_data_file();
    let repaired = repaired.filter(|_| image.is_place_of_table(table_host));
    let mut table = image.table(table_host)?;
    let mut changed = false;
    for index in 0..geometry.l2_count() {
        let entry = l2_entry(&table, index, geometry);
        let host = entry.host();
        let is_allocated = host.0 != 0 || (has_data_file && entry.is_copied());
        if entry.is_compressed() || !is_allocated {
            continue;
        }
        // The clusters of a data file count as used once.
        let refcount = match has_data_file {
            true => 1,
            false => match refcounts.refcount(image, geometry.cluster_index(host.0))? {
                Ok(refcount) => refcount,
                Err(_) => continue,
            },
        };
        if (refcount == 1) != entry.is_copied() {
            let in_table = index.saturating_mul(geometry.cluster_size());
            let guest = GuestOffset(table_guest.0.saturating_add(in_table));
            if repaired.is_some() {
                let entry = L2Entry { descriptor: entry.descriptor ^ COPIED, ..entry };
                set_l2_entry(&mut table, index, entry, geometry);
                changed = true;
            }
            tell(Finding::Copied { guest, host, is_l2_table: false, refcount }, repaired.is_some());
        }
    }
    if let Some(file) = repaired.filter(|_| changed) {
        file.write_at(&table, table_host.0).doing(|| format!("writing the L2 table at {table_host}"))?;
    }
    Ok(())
}

impl Image<'_> {
    /// Whether an L2 table at `host` can be written: it is a whole cluster of the file that the header does not use.
    pub(in super::super) fn is_place_of_table(&self, host: HostOffset) -> bool {
        let end = host.0.saturating_add(self.geometry.cluster_size());
        let range = ByteRange::between(host.0, end);
        self.geometry.is_aligned(host.0)
            && end <= self.file_size
            && self.header.regions().iter().all(|(_, region)| region.intersection(range).is_none())
    }
}
