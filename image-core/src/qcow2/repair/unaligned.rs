//! Entries that name a place where no cluster can be and where nothing is stored: zeroes, or subclusters set aside. They
//! keep what they say of the guest's bytes and lose the place.

use std::collections::BTreeSet;

use super::super::check::{Finding, Image, l1_place};
use super::super::corrupt::Corrupt;
use super::super::entry::L2Entry;
use super::super::header::{Header, Version};
use super::super::layout::L2_ZERO;
use super::super::offset::{GuestOffset, HostOffset};
use super::super::snapshot;
use super::super::table::{l2_entry, read_l1};
use super::{Repaired, Step};
use crate::block::BlockWrite;
use crate::error::{Doing, Result};

/// Takes misplaced places out of the entries of all L2 tables that can be written.
pub(super) fn clear(
    file: &dyn BlockWrite,
    header: &Header,
    repaired: &mut Repaired,
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    if header.version == Version::V2 {
        return Ok(());
    }
    let image = Image::new(file, header);
    let (snapshots, _) = snapshot::list_to_check(file, header)?;
    let mut seen = BTreeSet::new();
    for l1 in std::iter::once(header.l1).chain(snapshots.into_iter().map(|snapshot| snapshot.l1)) {
        for (index, entry) in (0_u64..).zip(read_l1(file, l1)?) {
            let Some(place) = l1_place(entry, image.geometry) else { continue };
            if image.is_place_of_table(place.host) && seen.insert(place.host.0) {
                let guest = GuestOffset(index.saturating_mul(image.geometry.l2_coverage()));
                clear_in_table(file, &image, (place.host, guest), repaired, tell)?;
            }
        }
    }
    Ok(())
}

fn clear_in_table(
    file: &dyn BlockWrite,
    image: &Image<'_>,
    (table, first_guest): (HostOffset, GuestOffset),
    repaired: &mut Repaired,
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    let geometry = image.geometry;
    let bytes = image.table(table)?;
    for index in 0..geometry.l2_count() {
        let entry = l2_entry(&bytes, index, geometry);
        let has_data = match geometry.extended_l2() {
            true => entry.subclusters().allocated != 0,
            false => !entry.has_zero_flag(),
        };
        if entry.is_compressed() || has_data || geometry.is_aligned(entry.host().0) {
            continue;
        }
        let descriptor = if geometry.extended_l2() { 0 } else { L2_ZERO };
        let cleared = L2Entry { descriptor, ..entry };
        // The bits of subclusters stay as they are.
        let at = table.0.saturating_add(index.saturating_mul(geometry.l2_entry_len()));
        file.write_at(&cleared.descriptor.to_be_bytes(), at)
            .doing(|| format!("writing an entry of the L2 table at {table}"))?;
        repaired.corruptions_fixed = repaired.corruptions_fixed.saturating_add(1);
        let guest = first_guest.0.saturating_add(index.saturating_mul(geometry.cluster_size()));
        let rule = Corrupt::ClusterUnaligned { guest: GuestOffset(guest), host: entry.host() };
        tell(Step::Repaired(&Finding::Rule { rule, times: 1 }));
    }
    Ok(())
}
