//! LVM2: the logical volumes on physical ones, read as disks without device-mapper.
//!
//! ```text
//! disks ─► label ─► metadata areas ─► text, the newest of all copies ─► volume group ─► logical volumes ─► open ─► a disk
//! ```
//!
//! All copies of the metadata are looked at, and of each volume group that with the highest sequence number counts. A copy
//! that is broken does no harm as long as another one tells of its disk. What is not read, and told by name when such a volume
//! is opened: thin and virtual-data-optimizer volumes and their pools, RAID, mirrors, snapshots, caches, write caches, integrity,
//! and volumes that lie on other logical volumes. The format of LVM1 is not known.
//!
//! LVM2, lib/format_text and lib/label.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod group;
mod label;
mod logical_disk;
mod metadata_area;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod unallocated;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use logical_disk::LogicalDisk;
pub use rule::LvmRule;

use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use group::{Disks, Given, Metadata};
use label::Label;

/// A volume group.
#[derive(Debug, Clone)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its identifier: 32 letters and digits, with dashes.
    pub uuid: String,
    /// How many times its metadata was changed.
    pub sequence: u64,
    /// The unit of all sizes, in bytes.
    pub extent_size: u64,
    /// The identifiers of physical volumes that were not given, or are marked as missing.
    pub missing_volumes: Vec<String>,
    /// Its logical volumes, hidden ones among them, in the order of the metadata.
    pub logical_volumes: Vec<LogicalVolume>,
    /// Which of the disks that were given are its physical volumes, from 0.
    pub(crate) given: Vec<usize>,
    /// What no logical volume has, or why that is not sure.
    unallocated: std::result::Result<Vec<Unallocated>, String>,
}

/// A logical volume.
#[derive(Debug, Clone)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its identifier: 32 letters and digits, with dashes.
    pub uuid: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes are, from the first to the last without gaps.
    pub segments: Vec<Segment>,
    /// Whether it is there for its own sake; others are parts of such.
    pub is_visible: bool,
    /// Whether it may be written.
    pub is_writable: bool,
    /// Whether another logical volume reads through it, as a snapshot does: then what its own filesystem has no use for counts.
    pub is_read_through: bool,
}

/// A part of a logical volume.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where it begins in the logical volume, in bytes.
    pub start: u64,
    /// How many bytes it has.
    pub len: u64,
    /// Where they are.
    pub kind: SegmentKind,
}

/// Where the bytes of a segment are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SegmentKind {
    /// In turn on each stripe, in pieces of `stripe_size` bytes. One stripe alone has all in one piece.
    Striped {
        /// In bytes.
        stripe_size: u64,
        /// One or several.
        stripes: Vec<Stripe>,
    },
    /// Nowhere: it reads as zeroes.
    Zero,
    /// In a way that is not read here, such as `thin` or `raid1`.
    Other(String),
}

/// A place on a physical volume.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// Which physical volume.
    pub volume: Arc<PhysicalVolume>,
    /// Where on its disk, in bytes.
    pub offset: u64,
}

/// A physical volume of a volume group.
#[derive(Clone)]
pub struct PhysicalVolume {
    /// Its name in the volume group, such as `pv0`.
    pub name: String,
    /// Its identifier: 32 letters and digits, with dashes.
    pub uuid: String,
    /// Where its first extent begins, in bytes.
    start: u64,
    /// What all of its extents have, in bytes.
    len: u64,
    disk: Option<Arc<dyn BlockRead>>,
    /// Which of the disks that were given it is.
    index: Option<usize>,
    /// Where on its disk metadata is.
    areas: Vec<ByteRange>,
}

/// What no logical volume has of a physical one.
#[derive(Debug, Clone)]
pub(crate) struct Unallocated {
    /// Which of the disks that were given.
    pub(crate) index: usize,
    /// In their order, on that disk.
    pub(crate) ranges: Vec<ByteRange>,
}

impl fmt::Debug for PhysicalVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhysicalVolume")
            .field("name", &self.name)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

impl VolumeGroup {
    /// What no logical volume has of the physical ones; else why that is not sure.
    pub(crate) fn unallocated(&self) -> std::result::Result<&[Unallocated], &str> {
        self.unallocated.as_deref().map_err(String::as_str)
    }
}

impl LogicalVolume {
    /// What is in it, as a disk.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for kinds of segments that are not read here, by name;
    /// [`Invalid`](crate::ErrorKind::Invalid) with [`LvmRule::NoPhysicalVolume`] if a disk that it needs was not given.
    pub fn open(&self) -> Result<LogicalDisk> {
        LogicalDisk::new(self.clone()).doing(|| format!("opening the logical volume {}", self.name))
    }
}

/// The volume groups on `disks`, each of which is a physical volume, by name. A physical volume that is in no group yet is none.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`LvmRule`] for a disk without a label, and for metadata that is broken in all of
/// its copies; [`Invalid`](crate::ErrorKind::Invalid) for the same physical volume twice; whatever a disk says.
pub fn open(disks: Vec<Arc<dyn BlockRead>>) -> Result<Vec<VolumeGroup>> {
    let mut known = Disks::new();
    let mut newest: BTreeMap<String, Metadata> = BTreeMap::new();
    let mut errors: Vec<(String, Error)> = Vec::new();
    for (index, disk) in disks.into_iter().enumerate() {
        let label = Label::read(&disk).doing(|| format!("reading the label of physical volume {index}"))?;
        for area in &label.areas {
            let read = read_area(&disk, *area).doing(|| format!("reading the metadata of {}", label.uuid));
            match read {
                Ok(Some(found)) => keep_newest(&mut newest, found),
                Ok(None) => (),
                Err(error) => errors.push((label.uuid.clone(), error)),
            }
        }
        let given = Given { index, disk, areas: label.areas };
        if known.insert(label.uuid.clone(), given).is_some() {
            return Err(Error::invalid(LvmRule::SamePhysicalVolume(label.uuid)));
        }
    }
    let is_told = |uuid: &String| newest.values().any(|metadata| metadata.has_disk(uuid));
    if let Some((_, error)) = errors.into_iter().find(|(uuid, _)| !is_told(uuid)) {
        return Err(error);
    }
    let mut groups = Vec::new();
    for metadata in newest.values() {
        let doing = || format!("reading the volume group {}", metadata.name);
        groups.push(metadata.group(&known).map_err(Error::corrupt).doing(doing)?);
    }
    groups.sort_by(|one, other| (&one.name, &one.uuid).cmp(&(&other.name, &other.uuid)));
    Ok(groups)
}

fn read_area(disk: &dyn BlockRead, area: ByteRange) -> Result<Option<Metadata>> {
    let Some(text) = metadata_area::text(disk, area)? else { return Ok(None) };
    let metadata = text::parse(&text).and_then(Metadata::new).map_err(Error::corrupt)?;
    Ok(Some(metadata))
}

fn keep_newest(newest: &mut BTreeMap<String, Metadata>, found: Metadata) {
    match newest.get_mut(&found.uuid) {
        Some(known) if known.sequence >= found.sequence => (),
        Some(known) => *known = found,
        None => drop(newest.insert(found.uuid.clone(), found)),
    }
}
