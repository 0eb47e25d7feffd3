//! The snapshot table: what internal snapshots an image has.
//!
//! ```text
//! head (40 bytes) │ extra data │ id │ name │ padding to 8 │ next head …
//! ```
//!
//! Each snapshot has an L1 table of its own and shares clusters with the others by their refcounts. Reading the disk
//! ignores them; a check counts their clusters. Section: "Snapshots".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use zerocopy::{FromBytes, IntoBytes};

use super::corrupt::{Corrupt, Region};
use super::header::{Header, MAX_L1_LEN, MAX_SNAPSHOT_TABLE_LEN, TablePlace};
use super::layout::{SnapshotExtra, SnapshotHeader};
use super::offset::HostOffset;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Result};

/// The most extra data of a snapshot that QEMU and this library read, in bytes.
pub const MAX_SNAPSHOT_EXTRA_LEN: u32 = 1024;
/// Extra data that version 3 requires: the VM state's and the disk's size.
pub const V3_SNAPSHOT_EXTRA_LEN: u32 = 16;

/// An internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its unique id, usually a number in decimal.
    pub id: Vec<u8>,
    /// Its name.
    pub name: Vec<u8>,
    /// Its L1 table.
    pub l1: TablePlace,
    /// When it was taken: seconds since 1970, and nanoseconds.
    pub date: (u32, u32),
    /// How long the guest had been running, in nanoseconds.
    pub guest_clock_nanoseconds: u64,
    /// Bytes of VM state.
    pub vm_state_size: u64,
    /// The virtual size when it was taken, if it is recorded.
    pub disk_size: Option<u64>,
    /// The instruction count of record/replay, if it is recorded.
    pub icount: Option<u64>,
    /// Extra data as they are; of more than [`MAX_SNAPSHOT_EXTRA_LEN`] bytes the first.
    pub extra: Vec<u8>,
    /// How many there are.
    pub extra_len: u32,
}

impl Snapshot {
    /// The header of the image as it was: read with it, the image is the disk that the snapshot holds.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if its L1 table is too short for the disk.
    pub fn header(&self, active: &Header) -> Result<Header> {
        let size = self.disk_size.unwrap_or(active.size);
        let (needed, count) = (active.geometry.l1_count_for(size), u64::from(self.l1.count));
        if needed > count {
            return Err(Corrupt::L1TooShort { size, needed, count }.into());
        }
        Ok(Header { size, l1: self.l1, ..active.clone() })
    }
}

impl Snapshot {
    /// The rule that it breaks, at `index` of its table, if it has more extra data than are read.
    pub(super) fn too_much_extra(&self, index: u32) -> Option<Corrupt> {
        let (len, limit) = (self.extra_len, MAX_SNAPSHOT_EXTRA_LEN);
        (len > limit).then_some(Corrupt::SnapshotExtra { index, len, limit })
    }
}

/// The snapshot with this id, or else the first with this name.
pub fn find<'a>(snapshots: &'a [Snapshot], id_or_name: &[u8]) -> Option<&'a Snapshot> {
    let by_id = snapshots.iter().find(|snapshot| snapshot.id == id_or_name);
    by_id.or_else(|| snapshots.iter().find(|snapshot| snapshot.name == id_or_name))
}

/// The bytes of a table of `snapshots`. Extra data are written as far as they are defined, and kept beyond that.
pub(super) fn to_bytes(snapshots: &[Snapshot], disk_size: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for snapshot in snapshots {
        let known = SnapshotExtra {
            vm_state_len: snapshot.vm_state_size.into(),
            disk_size: snapshot.disk_size.unwrap_or(disk_size).into(),
            icount: snapshot.icount.unwrap_or(u64::MAX).into(),
        };
        let unknown = snapshot.extra.get(size_of::<SnapshotExtra>()..).unwrap_or_default();
        let head = SnapshotHeader {
            l1_offset: snapshot.l1.offset.0.into(),
            l1_count: snapshot.l1.count.into(),
            id_len: (snapshot.id.len() as u16).into(),
            name_len: (snapshot.name.len() as u16).into(),
            date_seconds: snapshot.date.0.into(),
            date_nanoseconds: snapshot.date.1.into(),
            guest_clock_nanoseconds: snapshot.guest_clock_nanoseconds.into(),
            vm_state_len: (snapshot.vm_state_size as u32).into(),
            extra_len: (size_of::<SnapshotExtra>().saturating_add(unknown.len()) as u32).into(),
        };
        for part in [head.as_bytes(), known.as_bytes(), unknown, &snapshot.id, &snapshot.name] {
            bytes.extend_from_slice(part);
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// All snapshots and where their table is.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a table that ends past the file, one with too much extra data, an L1 table
/// that is misplaced or too long; whatever reading says.
pub fn list(file: &dyn BlockRead, header: &Header) -> Result<(Vec<Snapshot>, ByteRange)> {
    let (snapshots, place) = list_to_check(file, header)?;
    for (index, snapshot) in (0..).zip(&snapshots) {
        if let Some(rule) = snapshot.too_much_extra(index) {
            return Err(rule.into());
        }
    }
    Ok((snapshots, place))
}

/// As [`list`], for a check: extra data that are too long are cut off.
///
/// # Errors
/// As [`list`], for all else.
pub(super) fn list_to_check(file: &dyn BlockRead, header: &Header) -> Result<(Vec<Snapshot>, ByteRange)> {
    let start = header.snapshots.offset.0;
    let mut entries = Entries::new(file, Region::SnapshotTable, start, MAX_SNAPSHOT_TABLE_LEN);
    let mut snapshots = Vec::new();
    for index in 0..header.snapshots.count {
        let snapshot = entry(&mut entries, index).doing(|| "reading the snapshot table")?;
        let l1 = snapshot.l1;
        let (offset, len) = (l1.offset.0, u64::from(l1.count).saturating_mul(8));
        let region = Region::SnapshotL1Table;
        if len > MAX_L1_LEN {
            return Err(Corrupt::RegionTooLong { region, len, limit: MAX_L1_LEN }.into());
        }
        if !header.geometry.is_aligned(offset) {
            return Err(Corrupt::RegionUnaligned { region, offset }.into());
        }
        if offset.saturating_add(len) > file.size() {
            return Err(Corrupt::RegionPastEnd { region, offset, len, file_size: file.size() }.into());
        }
        snapshots.push(snapshot);
    }
    Ok((snapshots, ByteRange::between(start, entries.at)))
}

fn entry(entries: &mut Entries<'_>, index: u32) -> Result<Snapshot> {
    let head: SnapshotHeader = entries.structure(index)?;
    let extra_len = head.extra_len.get();
    let extra = entries.bytes(index, extra_len.min(MAX_SNAPSHOT_EXTRA_LEN) as usize)?;
    entries.skip(index, extra_len.saturating_sub(MAX_SNAPSHOT_EXTRA_LEN))?;
    let id = entries.bytes(index, usize::from(head.id_len.get()))?;
    let name = entries.bytes(index, usize::from(head.name_len.get()))?;
    entries.pad();
    // Fields that are not there count as not recorded.
    let mut known = [0; size_of::<SnapshotExtra>()];
    for (to, from) in known.iter_mut().zip(&extra) {
        *to = *from;
    }
    let fields: SnapshotExtra = zerocopy::transmute!(known);
    let recorded = |end: u32, value: u64| (extra_len >= end).then_some(value);
    Ok(Snapshot {
        id,
        name,
        l1: TablePlace { offset: HostOffset(head.l1_offset.get()), count: head.l1_count.get() },
        date: (head.date_seconds.get(), head.date_nanoseconds.get()),
        guest_clock_nanoseconds: head.guest_clock_nanoseconds.get(),
        vm_state_size: recorded(8, fields.vm_state_len.get()).unwrap_or(head.vm_state_len.get().into()),
        disk_size: recorded(16, fields.disk_size.get()),
        icount: recorded(24, fields.icount.get()).filter(|&count| count != u64::MAX),
        extra,
        extra_len,
    })
}

/// Reads entries of different lengths, one after the other, never past a limit or the end of the file.
pub(super) struct Entries<'a> {
    file: &'a dyn BlockRead,
    region: Region,
    start: u64,
    pub(super) at: u64,
    end: u64,
}

impl<'a> Entries<'a> {
    /// Entries from `start` on, together at most `limit` bytes.
    pub(super) fn new(file: &'a dyn BlockRead, region: Region, start: u64, limit: u64) -> Self {
        Self { file, region, start, at: start, end: start.saturating_add(limit).min(file.size()) }
    }

    /// The next bytes as a structure.
    pub(super) fn structure<T: FromBytes>(&mut self, index: u32) -> Result<T> {
        let bytes = self.bytes(index, size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| Corrupt::EntryCut { region: self.region, index }.into())
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, index: u32, len: usize) -> Result<Vec<u8>> {
        let behind = self.at.saturating_add(len as u64);
        if behind > self.end {
            return Err(Corrupt::EntryCut { region: self.region, index }.into());
        }
        let mut bytes = vec![0; len];
        self.file.read_at(&mut bytes, self.at)?;
        self.at = behind;
        Ok(bytes)
    }

    /// Skips `len` bytes.
    fn skip(&mut self, index: u32, len: u32) -> Result<()> {
        self.at = self.at.saturating_add(len.into());
        if self.at > self.end {
            return Err(Corrupt::EntryCut { region: self.region, index }.into());
        }
        Ok(())
    }

    /// Skips the padding to a multiple of 8 bytes.
    pub(super) fn pad(&mut self) {
        let len = self.at.saturating_sub(self.start).next_multiple_of(8);
        self.at = self.start.saturating_add(len);
    }
}
