//! The copied flags of the active tables: set exactly where the refcount is 1.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::super::geometry::{GuestOffset, HostOffset};
use super::super::table::{l2_entry, read_l1};
use super::refcounts::Refcounts;
use super::{Finding, Image};
use crate::error::Result;

/// Looks at every entry of the active tables; what has no readable refcount was told before.
pub(super) fn check(
    image: &Image<'_>,
    refcounts: &mut Refcounts,
    tell: &mut dyn FnMut(Finding),
) -> Result<()> {
    let geometry = image.geometry;
    // More tables than clusters are the same tables again: told before, as refcounts that are too low.
    let mut tables_left = geometry.clusters_for(image.file_size);
    for (index, entry) in (0_u64..).zip(read_l1(image.file, image.header.l1)?) {
        let Some(table) = entry.table() else { continue };
        if tables_left == 0 {
            break;
        }
        tables_left = tables_left.saturating_sub(1);
        let guest = GuestOffset(index.saturating_mul(geometry.l2_coverage()));
        let host = table.offset;
        let Ok(refcount) = refcounts.refcount(image, geometry.cluster_index(host.0))? else { continue };
        if (refcount == 1) != table.copied {
            tell(Finding::Copied { guest, host, is_l2_table: true, refcount });
        }
        if host.0 < image.file_size {
            check_l2(image, refcounts, host, guest, tell)?;
        }
    }
    Ok(())
}

fn check_l2(
    image: &Image<'_>,
    refcounts: &mut Refcounts,
    table_host: HostOffset,
    table_guest: GuestOffset,
    tell: &mut dyn FnMut(Finding),
) -> Result<()> {
    let geometry = image.geometry;
    let has_data_file = image.header.has_data_file();
    let table = image.table(table_host)?;
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
            tell(Finding::Copied { guest, host, is_l2_table: false, refcount });
        }
    }
    Ok(())
}
