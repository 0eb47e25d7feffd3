//! A volume group as its metadata tells it.
//!
//! ```text
//! name { id, seqno, extent_size
//!     physical_volumes { pv0 { id, pe_start, pe_count } … }
//!     logical_volumes  { root { id, status, segment_count
//!         segment1 { start_extent, extent_count, type, stripe_count, stripe_size, stripes = ["pv0", 0, …] } … } … } }
//! ```
//! LVM2, lib/format_text/export.c. Sizes are in sectors of 512 bytes there, in bytes here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::Arc;

use super::label::SECTOR;
use super::rule::LvmRule;
use super::text::{Section, Value};
use super::unallocated;
use super::{LogicalVolume, PhysicalVolume, Segment, SegmentKind, Stripe, VolumeGroup};
use crate::block::{BlockRead, ByteRange};

/// Stripes of a segment: as many as LVM makes.
const STRIPES_MAX: u64 = 128;

/// A disk that was given.
pub(super) struct Given {
    /// Which of them, from 0.
    pub(super) index: usize,
    pub(super) disk: Arc<dyn BlockRead>,
    /// Where it has metadata.
    pub(super) areas: Vec<ByteRange>,
}

/// Disks that were given, by the identifier of the physical volume they are.
pub(super) type Disks = HashMap<String, Given>;

/// Metadata of a volume group, and what tells copies of it apart.
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uuid: String,
    pub(super) sequence: u64,
    section: Section,
}

/// A section, and how it is called in errors.
struct Named<'a> {
    name: &'a str,
    section: &'a Section,
}

impl Named<'_> {
    fn wrong(&self, field: &'static str) -> LvmRule {
        LvmRule::Field { field, section: self.name.to_owned() }
    }

    fn missing(&self, field: &'static str) -> LvmRule {
        LvmRule::Missing { field, section: self.name.to_owned() }
    }

    fn text(&self, field: &'static str) -> Result<String, LvmRule> {
        self.section.text(field).map(str::to_owned).ok_or_else(|| self.missing(field))
    }

    fn number(&self, field: &'static str) -> Result<u64, LvmRule> {
        self.section.number(field).ok_or_else(|| self.missing(field))
    }

    /// A number of units of `unit` bytes, in bytes: less than 2⁶³.
    fn bytes(&self, field: &'static str, unit: u64) -> Result<u64, LvmRule> {
        let bytes = self.number(field)?.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.ok_or_else(|| self.wrong(field))
    }
}

impl Metadata {
    /// Of the only section of `text`.
    pub(super) fn new(text: Section) -> Result<Self, LvmRule> {
        let missing = || LvmRule::Missing { field: "volume group", section: "it".into() };
        let (name, section) = text.sections.into_iter().next().ok_or_else(missing)?;
        let own = Named { name: &name, section: &section };
        let (uuid, sequence) = (own.text("id")?, own.number("seqno")?);
        Ok(Self { uuid, sequence, name, section })
    }

    /// Whether the physical volume `uuid` belongs to it.
    pub(super) fn has_disk(&self, uuid: &str) -> bool {
        let volumes = self.section.section("physical_volumes");
        volumes.is_some_and(|volumes| volumes.sections.iter().any(|found| found.1.text("id") == Some(uuid)))
    }

    /// The volume group on `disks`.
    pub(super) fn group(&self, disks: &Disks) -> Result<VolumeGroup, LvmRule> {
        let own = Named { name: &self.name, section: &self.section };
        let extent_size = own.bytes("extent_size", SECTOR)?;
        if extent_size == 0 {
            return Err(own.wrong("extent_size"));
        }
        let none = Section::default();
        let list = |name| self.section.section(name).unwrap_or(&none).sections.iter();
        let mut physical = HashMap::new();
        for (name, section) in list("physical_volumes") {
            let own = Named { name, section };
            let uuid = own.text("id")?;
            let is_lost = section.has("flags", "MISSING") || section.has("status", "MISSING");
            let given = disks.get(&uuid).filter(|_| !is_lost);
            let (index, areas) = (given.map(|given| given.index), given.map(|given| given.areas.clone()));
            let disk = given.map(|given| Arc::clone(&given.disk));
            let start = own.bytes("pe_start", SECTOR)?;
            let len = own.bytes("pe_count", extent_size)?;
            let (name, areas) = (name.clone(), areas.unwrap_or_default());
            let volume = PhysicalVolume { name: name.clone(), uuid, start, len, disk, index, areas };
            physical.insert(name, Arc::new(volume));
        }
        let mut missing_volumes: Vec<String> = physical
            .values()
            .filter(|volume| volume.disk.is_none())
            .map(|volume| volume.uuid.clone())
            .collect();
        missing_volumes.sort_unstable();
        let mut given: Vec<usize> = physical.values().filter_map(|volume| volume.index).collect();
        given.sort_unstable();
        let mut logical_volumes = Vec::new();
        for (name, section) in list("logical_volumes") {
            logical_volumes.push(logical_volume(&Named { name, section }, extent_size, &physical)?);
        }
        let segments =
            || list("logical_volumes").flat_map(|volume| volume.1.sections.iter().map(|found| &found.1));
        let unallocated = unallocated::find(&physical, &logical_volumes, segments());
        unallocated::mark_read_through(&mut logical_volumes, segments());
        for snapshot in segments().filter(|segment| segment.text("type") == Some("snapshot")) {
            mark_snapshot(snapshot, &mut logical_volumes);
        }
        let (name, uuid, sequence) = (self.name.clone(), self.uuid.clone(), self.sequence);
        Ok(VolumeGroup {
            name,
            uuid,
            sequence,
            extent_size,
            missing_volumes,
            logical_volumes,
            given,
            unallocated,
        })
    }
}

/// What looks like a volume of its own holds only what differs from another one; what is being merged with that is not whole itself.
fn mark_snapshot(snapshot: &Section, volumes: &mut [LogicalVolume]) {
    let merging = snapshot.text("merging_store");
    let store = snapshot.text("cow_store").or(merging).map(|name| (name, "the store of a snapshot"));
    let origin = merging.and(snapshot.text("origin")).map(|name| (name, "being merged with a snapshot"));
    for (name, what) in [store, origin].into_iter().flatten() {
        for volume in volumes.iter_mut().filter(|volume| volume.name == name) {
            volume.segments.iter_mut().for_each(|segment| segment.kind = SegmentKind::Other(what.to_owned()));
        }
    }
}

/// Physical volumes by their names in the group.
type Physical = HashMap<String, Arc<PhysicalVolume>>;

fn logical_volume(own: &Named<'_>, extent_size: u64, physical: &Physical) -> Result<LogicalVolume, LvmRule> {
    let count = own.number("segment_count")?;
    let mut segments = Vec::new();
    for (key, section) in &own.section.sections {
        if key.starts_with("segment") {
            segments.push(segment(&Named { name: own.name, section }, extent_size, physical)?);
        }
    }
    segments.sort_by_key(|segment| segment.start);
    let mut size = 0_u64;
    for segment in &segments {
        if segment.start != size {
            return Err(own.wrong("start_extent"));
        }
        size = size
            .checked_add(segment.len)
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| own.wrong("extent_count"))?;
    }
    if segments.len() as u64 != count {
        return Err(own.wrong("segment_count"));
    }
    Ok(LogicalVolume {
        name: own.name.to_owned(),
        uuid: own.text("id")?,
        size,
        segments,
        is_visible: own.section.has("status", "VISIBLE"),
        is_writable: own.section.has("status", "WRITE"),
        is_read_through: false,
    })
}

fn segment(own: &Named<'_>, extent_size: u64, physical: &Physical) -> Result<Segment, LvmRule> {
    let (start, len) = (own.bytes("start_extent", extent_size)?, own.bytes("extent_count", extent_size)?);
    if len == 0 {
        return Err(own.wrong("extent_count"));
    }
    let kind = match own.text("type")?.as_str() {
        "striped" | "linear" => striped(own, len, extent_size, physical)?,
        "zero" => SegmentKind::Zero,
        other => SegmentKind::Other(other.to_owned()),
    };
    Ok(Segment { start, len, kind })
}

fn striped(own: &Named<'_>, len: u64, extent_size: u64, physical: &Physical) -> Result<SegmentKind, LvmRule> {
    let count = own.number("stripe_count")?;
    let list = own.section.list("stripes");
    if !(1..=STRIPES_MAX).contains(&count) || list.len() as u64 != count.saturating_mul(2) {
        return Err(own.wrong("stripe_count"));
    }
    let share = len.checked_div(count).unwrap_or(0);
    // One stripe has no size of its own: all of the segment.
    let stripe_size = if count == 1 { len } else { own.bytes("stripe_size", SECTOR)? };
    if share.checked_mul(count) != Some(len) || stripe_size == 0 || !share.is_multiple_of(stripe_size) {
        return Err(own.wrong("stripe_size"));
    }
    let mut stripes = Vec::new();
    for pair in list.chunks_exact(2) {
        let [Value::Text(name), Value::Number(extent)] = pair else { return Err(own.wrong("stripes")) };
        let Some(volume) = physical.get(name) else {
            return Ok(SegmentKind::Other(format!("striped over {name}")));
        };
        let inside = u64::try_from(*extent).ok().and_then(|extent| extent.checked_mul(extent_size));
        let end = inside.and_then(|inside| inside.checked_add(share));
        let (Some(inside), Some(_)) = (inside, end.filter(|end| *end <= volume.len)) else {
            return Err(own.wrong("stripes"));
        };
        let offset = volume.start.saturating_add(inside);
        stripes.push(Stripe { volume: Arc::clone(volume), offset });
    }
    Ok(SegmentKind::Striped { stripe_size, stripes })
}
