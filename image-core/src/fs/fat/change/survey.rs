//! All of a FAT looked at before anything of it is changed: whose each cluster is.
//!
//! A cluster that two have would be somebody's content, and a chain that breaks off, or leads back into itself, has no end to be given
//! back. What belongs to nobody though it is not free stays as it is.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::bits::Bits;
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::fat::Volume;
use crate::fs::fat::directory::{Directory, Slots};
use crate::fs::fat::entry::{ShortEntry, Slot, SlotKind, slot_kind};
use crate::fs::fat::layout::{FIRST_CLUSTER, Root, Width};
use crate::fs::fat::rule::FatRule;
use crate::fs::fat::table::Link;
use crate::fs::field::{u16_at, u32_at};

/// More directories are not looked through.
const DIRECTORIES_MAX: usize = 1 << 20;
/// So much is read of the table at once, in bytes.
const PIECE: u64 = 256 << 10;

/// A directory that is in another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) first: u32,
    /// The first cluster of the one that it is in; 0 is the root directory.
    pub(super) parent: u32,
    /// Where its entry is.
    pub(super) entry: u64,
}

/// Refuses a FAT in which two have a cluster, or whose chains or directories are broken.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`]; [`Unsupported`](crate::ErrorKind::Unsupported) for too many
/// directories; whatever the disk says.
pub(super) fn check(volume: &Volume) -> Result<()> {
    let mut used = Bits::new(volume.layout().end);
    if let Root::Cluster(first) = volume.root() {
        mark(volume, first, &mut used)?;
    }
    let mut waiting = vec![Found { first: 0, parent: 0, entry: 0 }];
    let mut count = 0_usize;
    while let Some(own) = waiting.pop() {
        count = count.saturating_add(1);
        if count > DIRECTORIES_MAX {
            return Err(Error::unsupported(format!("there are more than {DIRECTORIES_MAX} directories")));
        }
        each_entry(volume, own, &mut |offset, entry| {
            let room = mark(volume, entry.cluster, &mut used)?.saturating_mul(volume.layout().cluster_size);
            if entry.is_directory() {
                waiting.push(Found { first: entry.cluster, parent: own.first, entry: offset });
            } else if room < entry.size {
                return Err(Error::corrupt(FatRule::ShortChain { size: entry.size, room }));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Every directory but the root directory, each after the one that it is in.
pub(super) fn directories(volume: &Volume) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut next = Found { first: 0, parent: 0, entry: 0 };
    for index in 0_usize.. {
        each_entry(volume, next, &mut |offset, entry| {
            if entry.is_directory() {
                found.push(Found { first: entry.cluster, parent: next.first, entry: offset });
            }
            Ok(())
        })?;
        match found.get(index) {
            Some(own) => next = *own,
            None => break,
        }
    }
    Ok(found)
}

/// The directory from cluster `first` on; 0 is the root directory.
pub(super) fn directory(volume: &Volume, first: u32, entry: u64) -> Directory {
    match first {
        0 => Directory::root(volume),
        first => Directory::of_chain(volume, first, entry),
    }
}

/// Calls `each` for every file and directory in the directory `own`, with where its entry is.
pub(super) fn each_entry(
    volume: &Volume,
    own: Found,
    each: &mut dyn FnMut(u64, ShortEntry) -> Result<()>,
) -> Result<()> {
    let width = volume.layout().width;
    let mut slots = Slots::new(directory(volume, own.first, own.entry));
    let mut index = 0_u32;
    while let Some((offset, slot)) = slots.step(volume)? {
        let is_right = match index {
            _ if own.first == 0 => true,
            0 => is_dots(&slot, b". ", width, &[own.first]),
            1 => is_dots(&slot, b"..", width, &[own.parent, root_cluster(volume, own.parent)]),
            _ => true,
        };
        if !is_right {
            return Err(Error::corrupt(FatRule::Dots(own.entry)));
        }
        index = index.saturating_add(1);
        if slot_kind(&slot) == SlotKind::Short {
            each(offset, ShortEntry::new(&slot, width))?;
        }
    }
    match own.first != 0 && index < 2 {
        true => Err(Error::corrupt(FatRule::Dots(own.entry))),
        false => Ok(()),
    }
}

/// What some write in `..` where a 0 belongs.
fn root_cluster(volume: &Volume, parent: u32) -> u32 {
    match volume.root() {
        Root::Cluster(first) if parent == 0 => first,
        _ => parent,
    }
}

fn is_dots(slot: &Slot, name: &[u8], width: Width, clusters: &[u32]) -> bool {
    let entry = ShortEntry::new(slot, width);
    slot_kind(slot) == SlotKind::Dots && slot.starts_with(name) && clusters.contains(&entry.cluster)
}

/// Marks the clusters of the chain from `first` on, none if that is 0. How many they are.
fn mark(volume: &Volume, first: u32, used: &mut Bits) -> Result<u64> {
    let mut count = 0_u64;
    let mut at = first;
    while at != 0 {
        let link = volume.table.next(at)?;
        if used.set(at) {
            return Err(Error::corrupt(FatRule::CrossLink(at)));
        }
        count = count.saturating_add(1);
        let what = match link {
            Link::Next(next) => {
                at = next;
                continue;
            }
            Link::End => break,
            Link::Free => "a free cluster",
            Link::Bad => "a bad cluster",
            Link::Impossible(_) => "a number that no cluster has",
        };
        return Err(Error::corrupt(FatRule::Chain { first, cluster: at, what }));
    }
    Ok(count)
}

/// A bit for each cluster that is not free, and how many are.
pub(super) fn taken(volume: &Volume) -> Result<(Bits, u32)> {
    let layout = volume.layout();
    let mut taken = Bits::new(layout.end);
    let mut free = 0_u32;
    (0..FIRST_CLUSTER).for_each(|number| _ = taken.set(number));
    let mut count = |cluster: u32, value: u32| match value & layout.width.mask() {
        0 => free = free.saturating_add(1),
        _ => _ = taken.set(cluster),
    };
    if layout.width == Width::Fat12 {
        for cluster in FIRST_CLUSTER..layout.end {
            count(cluster, volume.table.get(cluster)?);
        }
        return Ok((taken, free));
    }
    let width = layout.width.bits() >> 3;
    let mut at = FIRST_CLUSTER;
    while at < layout.end {
        let most = PIECE.checked_div(width).unwrap_or(1) as u32;
        let len = layout.end.saturating_sub(at).min(most);
        let mut piece = vec![0; u64::from(len).saturating_mul(width) as usize];
        let offset = layout.table.offset().saturating_add(u64::from(at).saturating_mul(width));
        volume.check_on_disk(offset, piece.len() as u64, "file allocation table")?;
        volume.table.pages().disk().read_at(&mut piece, offset)?;
        for (number, cluster) in piece.chunks_exact(width as usize).zip(at..) {
            let value = if width == 2 { u32::from(u16_at(number, 0)) } else { u32_at(number, 0) };
            count(cluster, value);
        }
        at = at.saturating_add(len);
    }
    Ok((taken, free))
}
