//! The log: changes of metadata that may not be in their places yet (2.3, "Log").
//!
//! ```text
//! the log is a ring of 4 KiB sectors:
//!   │ entry 7          │ entry 8                  │ (old) │ entry 5          │ entry 6   │
//!   │ header, descriptors │ data │ data │            each names the tail: the oldest entry that still counts
//! ```
//!
//! Of all runs of entries with ascending numbers, checksums that hold and the header's GUID, the one that ends with the
//! highest number counts, from the tail that its last entry names (2.3.2, "Log Sequence"). It is replayed in memory:
//! the file stays as it is.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use super::super::field::{field, le32, le64, require, structure};
use super::header::{Active, checksum};
use super::{Corrupt, MIB, Unsupported};
use crate::block::BlockRead;
use crate::error::Result;

const SECTOR: u64 = 4096;
/// No program makes longer ones; it is read into memory.
const MAX_LOG: u64 = 32 << 20;
/// Bytes of an entry's header.
const ENTRY_HEADER: u64 = 64;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 32;

/// What the log puts over the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Patches {
    /// Sectors by offset; the latest of each.
    sectors: BTreeMap<u64, Box<[u8]>>,
    /// How long the file is to be at least.
    pub(super) file_size: u64,
}

impl Patches {
    /// Puts them over `buf`, which is what the file has at `offset`.
    pub(super) fn apply(&self, buf: &mut [u8], offset: u64) {
        let end = offset.saturating_add(buf.len() as u64);
        for (start, bytes) in self.sectors.range(offset.saturating_sub(SECTOR)..end) {
            let from = offset.saturating_sub(*start) as usize;
            let to = start.saturating_sub(offset) as usize;
            let (Some(bytes), Some(place)) = (bytes.get(from..), buf.get_mut(to..)) else { continue };
            let len = bytes.len().min(place.len());
            if let (Some(place), Some(bytes)) = (place.get_mut(..len), bytes.get(..len)) {
                place.copy_from_slice(bytes);
            }
        }
    }
}

/// An entry whose checksum holds.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where in the log.
    at: u64,
    len: u64,
    tail: u64,
    sequence: u64,
    descriptors: u64,
    flushed: u64,
    last: u64,
}

/// What the log in `file` puts over it; `None` where there is nothing to replay.
pub(super) fn read(file: &dyn BlockRead, active: &Active) -> Result<Option<Patches>> {
    if active.log_guid == [0; 16] {
        return Ok(None);
    }
    let (offset, len) = (active.log.offset, active.log.len);
    require(
        offset >= MIB && offset.is_multiple_of(MIB) && len.is_multiple_of(MIB) && len > 0,
        "log's offset",
        offset,
        "whole MiB, not the first",
    )?;
    if len > MAX_LOG {
        return Err(Unsupported::Value { what: "log's length", value: len }.into());
    }
    let ring = Ring { bytes: structure(file, "log", offset, len)?, guid: active.log_guid };
    // The header says that there is one.
    let entries = ring.newest().ok_or(Corrupt::Missing { what: "log's last entry" })?;
    let mut patches = Patches::default();
    for entry in &entries {
        if file.size() < entry.flushed {
            let file_size = file.size();
            return Err(Corrupt::Shortened { told: entry.flushed, file_size }.into());
        }
        ring.replay(*entry, &mut patches)?;
    }
    patches.file_size = entries.last().map_or(0, |entry| entry.last);
    require(
        patches.file_size <= i64::MAX as u64,
        "file size in the log",
        patches.file_size,
        "no file is that large",
    )?;
    Ok(Some(patches))
}

struct Ring {
    bytes: Vec<u8>,
    guid: [u8; 16],
}

impl Ring {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// `len` bytes from `at` on, around the end.
    fn part(&self, at: u64, len: u64) -> Vec<u8> {
        let (at, len) = (at as usize, len as usize);
        let first = self.bytes.get(at..).unwrap_or_default();
        let mut part = first.get(..len).unwrap_or(first).to_vec();
        let rest = len.saturating_sub(part.len());
        part.extend_from_slice(self.bytes.get(..rest).unwrap_or_default());
        part
    }

    fn behind(&self, at: u64, len: u64) -> u64 {
        at.saturating_add(len).checked_rem(self.len()).unwrap_or_default()
    }

    /// The entry at `at`, if there is one.
    fn entry(&self, at: u64) -> Option<Entry> {
        let head = self.bytes.get(at as usize..)?.get(..ENTRY_HEADER as usize)?;
        if !head.starts_with(b"loge") || field::<16>(head, 32) != self.guid {
            return None;
        }
        let entry = Entry {
            at,
            len: le32(head, 8).into(),
            tail: le32(head, 12).into(),
            sequence: le64(head, 16),
            descriptors: le32(head, 24).into(),
            flushed: le64(head, 48),
            last: le64(head, 56),
        };
        let whole = |value: u64| value.is_multiple_of(SECTOR);
        let fits = whole(entry.len) && (SECTOR..=self.len()).contains(&entry.len);
        let is_sound = fits && whole(entry.tail) && entry.tail < self.len() && entry.sequence > 0;
        let table = entry.descriptors.saturating_mul(DESCRIPTOR as u64).saturating_add(ENTRY_HEADER);
        (is_sound && table <= entry.len && self.sum_holds(entry)).then_some(entry)
    }

    fn sum_holds(&self, entry: Entry) -> bool {
        let bytes = self.part(entry.at, entry.len);
        le32(&bytes, 4) == checksum(&bytes)
    }

    /// The entries that count, the oldest first.
    fn newest(&self) -> Option<Vec<Entry>> {
        // Each entry is looked at once, whatever their lengths say: they are found by their sectors.
        let mut budget = self.len().saturating_mul(4);
        let mut found = BTreeMap::new();
        for at in (0..self.len()).step_by(SECTOR as usize) {
            let head = self.bytes.get(at as usize..).unwrap_or_default();
            if head.starts_with(b"loge") {
                // Entries that hold do not overlap: summing up all of them is reading the log once, or it is a lie.
                budget = budget.checked_sub(u64::from(le32(head, 8)).min(self.len()))?;
                found.extend(self.entry(at).map(|entry| (at, entry)));
            }
        }
        let mut last: Vec<Entry> = found.values().copied().collect();
        last.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
        last.into_iter().find_map(|last| self.sequence_to(last, &found))
    }

    /// From the tail that `last` names up to it, if all between are there.
    fn sequence_to(&self, last: Entry, found: &BTreeMap<u64, Entry>) -> Option<Vec<Entry>> {
        let mut sequence = vec![*found.get(&last.tail)?];
        loop {
            let entry = *sequence.last()?;
            if entry.at == last.at {
                return Some(sequence);
            }
            let next = *found.get(&self.behind(entry.at, entry.len))?;
            let follows = entry.sequence.checked_add(1) == Some(next.sequence);
            if !follows || sequence.len() > found.len() {
                return None;
            }
            sequence.push(next);
        }
    }

    fn replay(&self, entry: Entry, patches: &mut Patches) -> Result<()> {
        let bytes = self.part(entry.at, entry.len);
        let table = entry.descriptors.saturating_mul(DESCRIPTOR as u64).saturating_add(ENTRY_HEADER);
        let mut data = bytes.get(table.next_multiple_of(SECTOR) as usize..).unwrap_or_default();
        let descriptors = bytes.get(ENTRY_HEADER as usize..).unwrap_or_default().chunks_exact(DESCRIPTOR);
        for descriptor in descriptors.take(entry.descriptors as usize) {
            let (offset, sequence) = (le64(descriptor, 16), le64(descriptor, 24));
            let is_sound =
                sequence == entry.sequence && offset.is_multiple_of(SECTOR) && offset < i64::MAX as u64;
            require(is_sound, "log's descriptor", offset, "of its entry, and of a sector")?;
            match descriptor.get(..4) {
                Some(b"zero") => zeroes(patches, offset, le64(descriptor, 8))?,
                Some(b"desc") => {
                    let (sector, rest) = data.split_at_checked(SECTOR as usize).unwrap_or_default();
                    data = rest;
                    let bytes = restored(descriptor, sector, sequence)
                        .ok_or(Corrupt::Missing { what: "log's data sector" })?;
                    patches.sectors.insert(offset, bytes);
                }
                _ => {
                    let found = descriptor.get(..4).unwrap_or_default().to_vec();
                    return Err(Corrupt::Signature { what: "log's descriptor", found }.into());
                }
            }
        }
        Ok(())
    }
}

/// A sector as it was: its first eight and its last four bytes stand in the descriptor.
fn restored(descriptor: &[u8], sector: &[u8], sequence: u64) -> Option<Box<[u8]>> {
    let told = u64::from(le32(sector, 4)) << 32 | u64::from(le32(sector, 4092));
    if !sector.starts_with(b"data") || told != sequence {
        return None;
    }
    let middle = sector.get(8..4092)?;
    Some([descriptor.get(8..16)?, middle, descriptor.get(4..8)?].concat().into())
}

/// Sectors of zeroes. They are for tables: what is longer than all tables of the largest disk is a lie.
fn zeroes(patches: &mut Patches, offset: u64, len: u64) -> Result<()> {
    require(len.is_multiple_of(SECTOR) && len <= MAX_LOG, "log's zeroes", len, "sectors, 32 MiB at most")?;
    for at in (offset..offset.saturating_add(len)).step_by(SECTOR as usize) {
        patches.sectors.insert(at, vec![0; SECTOR as usize].into());
    }
    require(
        (patches.sectors.len() as u64) << 12 <= MAX_LOG.saturating_mul(2),
        "log's zeroes",
        len,
        "64 MiB in all at most",
    )?;
    Ok(())
}
