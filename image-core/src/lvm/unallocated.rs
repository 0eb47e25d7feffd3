//! Extents of physical volumes that no logical volume has, and logical volumes of which all counts.
//!
//! ```text
//! physical   label, metadata │ extents: root ▓▓▓▓ │ ░░░░ │ swap ▓▓ │ ░░░░░░░ │ metadata
//! ```
//!
//! They are free only if it is known who has the others: all physical volumes are there, no two segments have the same place, and
//! whatever is not a stripe lies on other logical volumes alone. LVM2, lib/format_text/export.c.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::text::{Section, Value};
use super::{LogicalVolume, PhysicalVolume, SegmentKind, Unallocated};
use crate::block::{BlockRead, ByteRange};

/// Labels are in the first sectors.
const LABELS: u64 = 2048;

/// What nobody has of the `physical` volumes, by name; `volumes` are as their `segments` in the metadata say.
pub(super) fn find<'a>(
    physical: &HashMap<String, Arc<PhysicalVolume>>,
    volumes: &[LogicalVolume],
    segments: impl Iterator<Item = &'a Section>,
) -> Result<Vec<Unallocated>, String> {
    for segment in segments.filter(|segment| !matches!(segment.text("type"), Some("striped" | "linear"))) {
        if let Some(name) = texts(segment).find(|text| physical.contains_key(*text)) {
            let kind = segment.text("type").unwrap_or("nothing");
            return Err(format!("a segment that is {kind} lies on {name}, in a way that is not known here"));
        }
    }
    let mut taken: HashMap<&str, Vec<ByteRange>> = HashMap::new();
    for segment in volumes.iter().flat_map(|volume| &volume.segments) {
        let SegmentKind::Striped { stripes, .. } = &segment.kind else { continue };
        let share = segment.len.checked_div(stripes.len() as u64).unwrap_or(0);
        for stripe in stripes {
            let place = ByteRange::between(stripe.offset, stripe.offset.saturating_add(share));
            taken.entry(&stripe.volume.name).or_default().push(place);
        }
    }
    let mut all = Vec::new();
    for (name, volume) in physical {
        let (Some(index), Some(disk)) = (volume.index, &volume.disk) else {
            return Err(format!("the physical volume {name} ({}) is missing", volume.uuid));
        };
        let ranges = gaps(volume, disk.size(), taken.remove(name.as_str()).unwrap_or_default())?;
        all.push(Unallocated { index, ranges });
    }
    all.sort_by_key(|unallocated| unallocated.index);
    match all.iter().zip(all.iter().skip(1)).any(|(one, next)| one.index == next.index) {
        true => Err("two of its physical volumes are the same disk".to_owned()),
        false => Ok(all),
    }
}

/// What is left of the extents of `volume`, on a disk of `size` bytes, without those that are `taken`.
fn gaps(volume: &PhysicalVolume, size: u64, mut taken: Vec<ByteRange>) -> Result<Vec<ByteRange>, String> {
    let name = &volume.name;
    let extents = ByteRange::between(volume.start, volume.start.saturating_add(volume.len));
    let is_over = |area: &ByteRange| area.intersection(extents).is_some();
    if extents.end() > size || extents.offset() < LABELS || volume.areas.iter().any(is_over) {
        return Err(format!("the extents of {name} lie where they cannot be"));
    }
    taken.sort_unstable_by_key(|place| place.offset());
    let (mut at, mut ranges) = (extents.offset(), Vec::new());
    for place in taken {
        if place.offset() < at || place.end() > extents.end() {
            return Err(format!("two segments have the same place on {name}"));
        }
        ranges.push(ByteRange::between(at, place.offset()));
        at = place.end();
    }
    ranges.push(ByteRange::between(at, extents.end()));
    ranges.retain(|range| !range.is_empty());
    Ok(ranges)
}

/// Marks those of `volumes` that another one's `segments` name.
pub(super) fn mark_read_through<'a>(
    volumes: &mut [LogicalVolume],
    segments: impl Iterator<Item = &'a Section>,
) {
    let named: HashSet<&str> = segments.flat_map(texts).collect();
    for volume in volumes {
        volume.is_read_through = named.contains(volume.name.as_str());
    }
}

/// The texts in `segment`, alone and in lists, but for what kind of segment it is.
fn texts(segment: &Section) -> impl Iterator<Item = &str> {
    let values = segment.values.iter().filter(|(key, _)| key != "type");
    let all = values.flat_map(|(_, value)| match value {
        Value::List(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    });
    all.filter_map(|value| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}
