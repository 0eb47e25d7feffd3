//! Filesystems, swap spaces and the like: where they are on the disk, and what they are called.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, Window};
use image_core::fs::{FilesystemKind, Signature, detect};
use image_core::lvm::{self, LogicalVolume, SegmentKind, Stripe, VolumeGroup};
use image_core::partition::{Partition, PartitionTable, Scheme};

use crate::error::{Advise, err};

/// A filesystem, swap space or the like.
#[derive(Clone)]
#[non_exhaustive]
pub struct Volume {
    /// Its partition, or that of its first physical volume; `None` for one that is the whole disk.
    pub partition: Option<Partition>,
    /// Where it is on the disk, in bytes; of a logical volume that is in several pieces, the first.
    pub range: ByteRange,
    /// What it is.
    pub signature: Signature,
    /// Of a partition: what `/dev/disk/by-partuuid` has for it, of an MBR its disk's signature and its number.
    pub partition_uuid: Option<String>,
    /// Of a logical volume: the names of its volume group and its own.
    pub logical: Option<(String, String)>,
    /// What is in it, where that is not in one piece.
    scattered: Option<Arc<dyn BlockRead>>,
    /// Of a physical volume: whether what is on it was found.
    is_opened: bool,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("name", &self.name()).field("signature", &self.signature).finish()
    }
}

impl Volume {
    fn new(partition: Option<Partition>, range: ByteRange, signature: Signature) -> Self {
        let partition_uuid = None;
        Self { partition, range, signature, partition_uuid, logical: None, scattered: None, is_opened: false }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match (&self.logical, &self.partition) {
            (Some((group, name)), _) => format!("logical volume {group}/{name}"),
            (None, Some(partition)) => format!("partition {}", partition.number),
            (None, None) => "the disk".into(),
        }
    }

    /// Its own bytes, of the `disk` that it is on.
    ///
    /// # Errors
    /// If it is not wholly on there.
    pub fn content(&self, disk: &Arc<dyn BlockRead>) -> image_core::Result<Arc<dyn BlockRead>> {
        match &self.scattered {
            Some(content) => Ok(Arc::clone(content)),
            None => Ok(Arc::new(Window::new(Arc::clone(disk), self.range)?)),
        }
    }

    /// Whether all of it is in one piece of the disk, as `range` says.
    pub fn is_in_one_piece(&self) -> bool {
        self.scattered.is_none()
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.scattered.as_ref().map_or(self.range.len(), |content| content.size())
    }

    /// Whether it is of a kind that has files, whether or not they can be read.
    pub(crate) fn has_files(&self) -> bool {
        self.signature.kind != FilesystemKind::Swap && !self.is_opened
    }

    /// Of a logical volume: its path in `/dev/mapper`, where each dash of a name is doubled (lvm(8)).
    pub(crate) fn mapped(&self) -> Option<String> {
        let (group, own) = self.logical.as_ref()?;
        Some(format!("/dev/mapper/{}-{}", group.replace('-', "--"), own.replace('-', "--")))
    }

    /// Whether `/dev/mapper/` and `/dev/` call it this.
    pub(super) fn is_mapped_as(&self, name: &str) -> bool {
        let Some((group, own)) = &self.logical else { return false };
        self.mapped().is_some_and(|mapped| mapped == name)
            || name.strip_prefix("/dev/").is_some_and(|name| name == format!("{group}/{own}"))
    }
}

/// Everything on the disk that is known: of each partition, and behind them logical volumes.
pub(super) fn find(disk: &Arc<dyn BlockRead>, table: Option<&PartitionTable>) -> crate::Result<Vec<Volume>> {
    let whole = || (None, ByteRange::between(0, disk.size()));
    let places: Vec<(Option<Partition>, ByteRange)> = match table {
        None => vec![whole()],
        Some(table) => {
            let placed = table.partitions.iter();
            placed.map(|partition| (Some(partition.clone()), partition.range)).collect()
        }
    };
    let mut volumes = Vec::new();
    for (partition, range) in places {
        let window = Window::new(Arc::clone(disk), range)?;
        if let Some(signature) = detect(&window)? {
            let partition_uuid = partition.as_ref().zip(table).and_then(|(own, table)| match table.scheme {
                Scheme::Gpt { .. } => own.guid.map(|guid| guid.to_string()),
                Scheme::Mbr { signature } => Some(format!("{signature:08x}-{:02x}", own.number)),
            });
            volumes.push(Volume { partition_uuid, ..Volume::new(partition, range, signature) });
        }
    }
    let begins = volumes.iter().any(|volume| volume.range.offset() == 0);
    let is_disc = |table| is_disc(&**disk, table);
    if !begins && table.map_or(Ok(false), is_disc)? {
        let (partition, range) = whole();
        volumes.extend(detect(disk)?.map(|signature| Volume::new(partition, range, signature)));
    }
    add_logical(disk, &mut volumes)?;
    Ok(volumes)
}

/// Whether `disk` is a CD that starts from memory sticks too: its filesystem has most of the disk, whatever the partitions of `table`
/// say (isohybrid), or each is behind it or the disc itself (xorriso's appended partitions). One that a disk had before it was partitioned is
/// neither.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn is_disc(disk: &dyn BlockRead, table: &PartitionTable) -> image_core::Result<bool> {
    // The primary volume descriptor: its kind, and the volume's size and the size of its blocks (ECMA-119, 8.4).
    let mut descriptor = [0; 0x84];
    if disk.size() < 0x8800 {
        return Ok(false);
    }
    disk.read_at(&mut descriptor, 0x8000)?;
    let number = |at: usize| descriptor.get(at..).and_then(|rest| rest.first_chunk()).copied();
    let blocks = number(0x50).map_or(0, u32::from_le_bytes);
    let [low, high, ..] = number(0x80).unwrap_or_default();
    let len = u64::from(blocks).saturating_mul(u16::from_le_bytes([low, high]).into());
    // The disc's own partition begins with it, or behind the master boot record.
    let is_apart = |offset: u64| offset >= len || offset <= 512;
    let are_apart = table.partitions.iter().all(|partition| is_apart(partition.range.offset()));
    Ok(descriptor.starts_with(b"\x01CD001") && len > 0 && (len >= disk.size() / 2 || are_apart))
}

/// Adds the logical volumes on all physical ones. What is wrong with their metadata, who asks why they are not read is told.
fn add_logical(disk: &Arc<dyn BlockRead>, volumes: &mut Vec<Volume>) -> crate::Result<()> {
    let is_physical = |volume: &&mut Volume| volume.signature.kind == FilesystemKind::Lvm;
    let mut physical: Vec<&mut Volume> = volumes.iter_mut().filter(is_physical).collect();
    let disks: Vec<_> = physical.iter().map(|volume| volume.content(disk)).collect::<Result<_, _>>()?;
    let Ok(groups) = lvm::open(disks) else { return Ok(()) };
    physical.iter_mut().for_each(|volume| volume.is_opened = true);
    let Some(first) = physical.first().map(|first| (**first).clone()) else { return Ok(()) };
    let is_alone = physical.len() == 1;
    for group in &groups {
        for own in group.logical_volumes.iter().filter(|own| own.is_visible) {
            volumes.extend(logical(group, own, &first, is_alone));
        }
    }
    Ok(())
}

/// The logical volume `own`; `None` if nothing that is known here is on it, or it cannot be read.
fn logical(group: &VolumeGroup, own: &LogicalVolume, first: &Volume, is_alone: bool) -> Option<Volume> {
    let content: Arc<dyn BlockRead> = Arc::new(own.open().ok()?);
    let signature = detect(&content).ok()??;
    let begin = own.segments.iter().find_map(|segment| match &segment.kind {
        SegmentKind::Striped { stripes, .. } => Some((segment, stripes.as_slice())),
        _ => None,
    });
    let (segment, stripes) = begin?;
    let at = stripes.first().map(|stripe: &Stripe| stripe.offset)?;
    let start = first.range.offset().saturating_add(at);
    let is_whole = is_alone && stripes.len() == 1 && segment.len == own.size;
    Some(Volume {
        range: ByteRange::between(start, start.saturating_add(segment.len)),
        logical: Some((group.name.clone(), own.name.clone())),
        scattered: if is_whole { None } else { Some(content) },
        ..Volume::new(first.partition.clone(), first.range, signature)
    })
}

/// Which of `volumes` is called `name`: the number of its partition, its label, its UUID, or its partition's name or GUID.
pub(super) fn named(volumes: &[Volume], name: &str) -> crate::Result<usize> {
    if name.is_empty() {
        return Err(err!("a volume's name is missing"));
    }
    let fits = |volume: &Volume| {
        let partition = volume.partition.as_ref().filter(|_| volume.logical.is_none());
        let is_logical = volume.logical.as_ref().is_some_and(|(group, own)| format!("{group}/{own}") == name);
        let is_numbered = partition.is_some_and(|own| own.number.to_string() == name);
        let is_called = partition.is_some_and(|own| {
            let uuid = volume.partition_uuid.as_deref();
            own.name == name || uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
        });
        let Signature { uuid, label, .. } = &volume.signature;
        let has_uuid = uuid.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        is_logical || is_numbered || is_called || label == name || has_uuid
    };
    let found: Vec<usize> =
        volumes.iter().enumerate().filter(|(_, volume)| fits(volume)).map(|(index, _)| index).collect();
    match found.as_slice() {
        [index] => Ok(*index),
        [] => {
            let names: Vec<String> = volumes.iter().map(describe).collect();
            Err(err!("it has no volume {name:?}")).hint(|| match names.is_empty() {
                true => "nothing that is known here is on the disk".to_owned(),
                false => format!("it has: {}", names.join(", ")),
            })
        }
        [..] => Err(err!("{} volumes are called {name:?}", found.len()))
            .hint(|| "the number of the partition, or the UUID, tells them apart"),
    }
}

fn describe(volume: &Volume) -> String {
    let Signature { kind, label, .. } = &volume.signature;
    if let Some((group, own)) = &volume.logical {
        return format!("{group}/{own} ({kind})");
    }
    match (&volume.partition, label.as_str()) {
        (Some(partition), "") => format!("{} ({kind})", partition.number),
        (Some(partition), label) => format!("{} ({kind}, {label})", partition.number),
        (None, _) => format!("all of the disk ({kind})"),
    }
}
