//! Partition table and filesystems as values.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use image_core::partition::{Partition, PartitionKind, PartitionTable, Scheme};
use serde::Serialize;

use crate::system::{System, Volume};

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// `gpt` or `mbr`.
    pub scheme: &'static str,
    /// What identifies the disk: a GUID, or an MBR's signature.
    pub id: String,
    /// The size of a sector in bytes.
    pub sector_size: u64,
    /// All partitions, by number.
    pub partitions: Vec<PartitionFacts>,
    /// What is wrong with it.
    pub defects: Vec<String>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartitionFacts {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub size: u64,
    /// What it is for: a GUID, or a type byte in hexadecimal digits.
    #[serde(rename = "type")]
    pub kind: String,
    /// What that is called, if it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_name: Option<&'static str>,
    /// Its name, in a GPT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its own GUID, in a GPT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
}

impl Table {
    /// What `table` says.
    pub fn of(table: &PartitionTable) -> Self {
        let (scheme, id) = match table.scheme {
            Scheme::Gpt { guid } => ("gpt", guid.to_string()),
            Scheme::Mbr { signature } => ("mbr", format!("{signature:08x}")),
        };
        Self {
            scheme,
            id,
            sector_size: table.sector_size,
            partitions: table.partitions.iter().map(PartitionFacts::of).collect(),
            defects: table.defects.iter().map(ToString::to_string).collect(),
        }
    }
}

impl PartitionFacts {
    fn of(partition: &Partition) -> Self {
        Self {
            number: partition.number,
            start: partition.range.offset(),
            size: partition.range.len(),
            kind: match partition.kind {
                PartitionKind::Gpt(guid) => guid.to_string(),
                PartitionKind::Mbr(byte) => format!("{byte:02x}"),
            },
            type_name: partition.kind_name(),
            name: partition.name.clone(),
            guid: partition.guid.map(|guid| guid.to_string()),
        }
    }
}

/// A filesystem, swap space or the like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VolumeFacts {
    /// What people call it: `partition 1`.
    pub name: String,
    /// The number of its partition, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// What it is: `ext4`, `XFS`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its label; may be empty.
    pub label: String,
    /// Its UUID, as `/dev/disk/by-uuid` has it.
    pub uuid: Option<String>,
    /// How large it is, in bytes.
    pub size: u64,
    /// How much of it is used, in bytes, if that is known here.
    pub used: Option<u64>,
    /// Where the booted system mounts it.
    pub mounted: Option<String>,
}

/// Every one of `system`; what cannot be read is added to `unread`.
pub(super) fn all(system: &System, unread: &mut Vec<String>) -> crate::Result<Vec<VolumeFacts>> {
    let mut all = Vec::new();
    for (index, volume) in system.volumes().iter().enumerate() {
        let usage = system.filesystem(index).map(|filesystem| filesystem.usage());
        let used = match usage.transpose() {
            Ok(usage) => usage.map(|usage| usage.size.saturating_sub(usage.free)),
            Err(error) => {
                unread.push(format!("{}: {error}", volume.name()));
                None
            }
        };
        unread.extend(system.why_unread(index));
        all.push(facts(system, index, volume, used));
    }
    Ok(all)
}

fn facts(system: &System, index: usize, volume: &Volume, used: Option<u64>) -> VolumeFacts {
    VolumeFacts {
        name: volume.name(),
        partition: volume.partition.as_ref().filter(|_| volume.logical.is_none()).map(|own| own.number),
        kind: volume.signature.kind.to_string(),
        label: volume.signature.label.clone(),
        uuid: volume.signature.uuid.clone(),
        size: volume.size(),
        used,
        mounted: system.mount_point(index).map(|folder| folder.display().to_string()),
    }
}
