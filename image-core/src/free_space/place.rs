//! Where filesystems are on a disk, and what they are called.

use std::fmt;
use std::sync::Arc;

use crate::block::{BlockRead, ByteRange};
use crate::error::Result;
use crate::fs::{Signature, detect};
use crate::partition::{Partition, PartitionTable, Scheme};

/// A filesystem, swap space or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Where it begins on the disk, in bytes; of a logical volume, its first piece.
    pub offset: u64,
    /// Its partition; `None` for all of the disk, and for a logical volume.
    pub partition: Option<Partition>,
    /// Of a partition: what `/dev/disk/by-partuuid` has for it, of an MBR its disk's signature and its number.
    pub partition_uuid: Option<String>,
    /// Of a logical volume: the names of its volume group and its own.
    pub logical: Option<(String, String)>,
    /// What it says of itself; `None` for a logical volume that cannot be read.
    pub signature: Option<Signature>,
}

impl Place {
    /// The logical volume `name` of `group`, which begins at `offset` of the disk.
    pub(super) fn of_logical(name: (&str, &str), offset: u64, signature: Option<Signature>) -> Self {
        let logical = Some((name.0.to_owned(), name.1.to_owned()));
        Self { offset, partition: None, partition_uuid: None, logical, signature }
    }

    /// Whether people call it `name`: the number of its partition, its label, its UUID, its partition's name or GUID; of a logical
    /// volume `GROUP/NAME`.
    pub fn is_called(&self, name: &str) -> bool {
        let alike = |own: &str| !own.is_empty() && own.eq_ignore_ascii_case(name);
        let is_logical = self.logical.as_ref().is_some_and(|(group, own)| format!("{group}/{own}") == name);
        let is_partition = self
            .partition
            .as_ref()
            .is_some_and(|own| own.number.to_string() == name || !own.name.is_empty() && own.name == name);
        let is_signed = self.signature.as_ref().is_some_and(|own| {
            !own.label.is_empty() && own.label == name || own.uuid.as_deref().is_some_and(alike)
        });
        is_logical || is_partition || is_signed || self.partition_uuid.as_deref().is_some_and(alike)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.logical, &self.partition) {
            (Some((group, name)), _) => write!(f, "logical volume {group}/{name}"),
            (None, Some(partition)) => write!(f, "partition {}", partition.number),
            (None, None) => f.write_str("the disk"),
        }
    }
}

/// A place of the partition table, or all of the disk.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) range: ByteRange,
    /// Why nobody knows whose what is in it is.
    pub(super) doubt: Option<String>,
}

/// Everything on `disk` that is known: of each partition, or of all of it.
pub(super) fn places(disk: &Arc<dyn BlockRead>) -> Result<Vec<Found>> {
    let whole = detect(disk)?;
    let Some(table) = PartitionTable::read(disk)? else {
        let place =
            Place { offset: 0, partition: None, partition_uuid: None, logical: None, signature: whole };
        let found = Found { place, range: ByteRange::whole(disk.size()), doubt: None };
        return Ok(vec![found].into_iter().filter(|found| found.place.signature.is_some()).collect());
    };
    // A table that was left behind when all of the disk became a filesystem, or the other way round.
    let both = whole.map(|own| format!("the disk has a partition table, and is {} itself", own.kind));
    let mut partitions: Vec<&Partition> =
        table.partitions.iter().filter(|own| !own.range.is_empty()).collect();
    partitions.sort_by_key(|partition| partition.range.offset());
    let mut all = Vec::new();
    let mut before = 0;
    for (index, partition) in partitions.iter().enumerate() {
        let range = partition.range;
        let next = partitions.get(index + 1).map_or(u64::MAX, |next| next.range.offset());
        let overlaps = before > range.offset() || next < range.end();
        before = before.max(range.end());
        let Some(signature) = detect(&partition.window(disk)?)? else { continue };
        let partition_uuid = match table.scheme {
            Scheme::Gpt { .. } => partition.guid.map(|guid| guid.to_string()),
            Scheme::Mbr { signature } => Some(format!("{signature:08x}-{:02x}", partition.number)),
        };
        let partition = Some((*partition).clone());
        let (offset, signature) = (range.offset(), Some(signature));
        let doubt = overlaps.then(|| "it overlaps another partition".to_owned()).or_else(|| both.clone());
        let place = Place { offset, partition, partition_uuid, logical: None, signature };
        all.push(Found { place, range, doubt });
    }
    Ok(all)
}
