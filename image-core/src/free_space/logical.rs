//! Free space of LVM: extents that no logical volume has, and what the filesystems on logical volumes count as free.
//!
//! ```text
//! physical volumes ─► volume groups ─┬─► extents of nobody ─────────────────────────────────┐
//!                                    └─► logical volumes ─► filesystem ─► free ─► pieces ───┴─► places of the disk
//! ```

use std::sync::Arc;

use super::place::{Found, Place};
use super::survey::{Survey, free_in};
use crate::block::{BlockRead, ByteRange, Ranges, Window};
use crate::error::{ErrorKind, Result};
use crate::fs::{FilesystemKind, detect};
use crate::lvm::{self, LogicalDisk, LogicalVolume, SegmentKind, Unallocated, VolumeGroup};
use crate::partition::PartitionTable;

/// A physical volume, and where on the disk it begins.
pub(super) struct Physical {
    pub(super) place: Place,
    offset: u64,
    content: Arc<dyn BlockRead>,
}

impl Physical {
    /// The one that was `found` on `disk`.
    pub(super) fn new(disk: &Arc<dyn BlockRead>, found: Found) -> Result<Self> {
        let content = Arc::new(Window::new(Arc::clone(disk), found.range)?);
        Ok(Self { offset: found.range.offset(), place: found.place, content })
    }
}

/// Looks at all `physical` volumes of a disk.
pub(super) fn look(physical: &[Physical], survey: &mut Survey<'_>) -> Result<()> {
    let contents = physical.iter().map(|own| Arc::clone(&own.content)).collect();
    let groups = match lvm::open(contents) {
        Ok(groups) => groups,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => {
            physical.iter().for_each(|own| survey.skip(own.place.clone(), &error));
            return Ok(());
        }
    };
    // How many groups say that each of them is theirs.
    let mut claims = vec![0_usize; physical.len()];
    let given = groups.iter().flat_map(|group| &group.given);
    given.for_each(|index| claims.iter_mut().skip(*index).take(1).for_each(|count| *count += 1));
    let is_claimed_twice = |index: &usize| claims.get(*index).is_some_and(|count| *count > 1);
    for group in &groups {
        let unallocated = match group.given.iter().any(is_claimed_twice) {
            true => Err("another volume group has a physical volume of it, too"),
            false => group.unallocated(),
        };
        match unallocated {
            Ok(unallocated) => take_group(group, unallocated, physical, survey)?,
            Err(why) => {
                for own in group.given.iter().filter_map(|index| physical.get(*index)) {
                    survey.skip_because(own.place.clone(), format!("volume group {}: {why}", group.name));
                }
            }
        }
    }
    for (own, _) in physical.iter().zip(&claims).filter(|(_, count)| **count == 0) {
        survey.skip_because(own.place.clone(), "it is in no volume group".to_owned());
    }
    Ok(())
}

/// Takes what is `unallocated` in a volume group, and looks at its logical volumes.
fn take_group(
    group: &VolumeGroup,
    unallocated: &[Unallocated],
    physical: &[Physical],
    survey: &mut Survey<'_>,
) -> Result<()> {
    for free in unallocated {
        let Some(own) = physical.get(free.index) else { continue };
        survey.take(own.place.clone(), free.ranges.iter().map(|range| range.moved(own.offset)));
    }
    let mut visible = group.logical_volumes.iter().filter(|volume| volume.is_visible);
    visible.try_for_each(|volume| look_into(group, volume, physical, survey))
}

/// Looks at the filesystem on the logical volume `own`.
fn look_into(
    group: &VolumeGroup,
    own: &LogicalVolume,
    physical: &[Physical],
    survey: &mut Survey<'_>,
) -> Result<()> {
    let offset = begin(own, physical);
    let place = |signature| Place::of_logical((&group.name, &own.name), offset, signature);
    let content = match own.open() {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => {
            survey.skip(place(None), &error);
            return Ok(());
        }
    };
    let Some(signature) = detect(&content)? else { return Ok(()) };
    let (kind, place) = (signature.kind, place(Some(signature)));
    if survey.ignores(&place) {
        return Ok(());
    }
    let doubt = match kind {
        _ if own.is_read_through => "another logical volume reads through it",
        FilesystemKind::Lvm => "physical volumes on logical ones are not looked into",
        _ if !matches!(PartitionTable::read(&content), Ok(None)) => "it has a partition table, too",
        _ => "",
    };
    if !doubt.is_empty() {
        survey.skip_because(place, doubt.to_owned());
        return Ok(());
    }
    let free = free_in(Arc::new(content.clone()), kind).and_then(|free| on_disk(&content, &free, physical));
    survey.take_or_skip(place, free)
}

/// Where on the disk `free` is, which are places of `content`.
fn on_disk(content: &LogicalDisk, free: &[ByteRange], physical: &[Physical]) -> Result<Vec<ByteRange>> {
    let mut places = Ranges::default();
    for range in free {
        content.each_place(*range, &mut |index, range| {
            places.extend(physical.get(index).map(|own| range.moved(own.offset)));
        })?;
    }
    places.into_sorted()
}

/// Where the first piece of `own` is on the disk; else the first physical volume.
fn begin(own: &LogicalVolume, physical: &[Physical]) -> u64 {
    let first = own.segments.iter().find_map(|segment| match &segment.kind {
        SegmentKind::Striped { stripes, .. } => stripes.first(),
        _ => None,
    });
    let of_volume = |index: usize| physical.get(index).map_or(0, |own| own.offset);
    match first {
        Some(stripe) => of_volume(stripe.volume.index().unwrap_or(0)).saturating_add(stripe.offset),
        None => of_volume(0),
    }
}
