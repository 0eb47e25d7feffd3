//! Internal snapshots: taken, gone back to, and deleted, each at one moment (see `switch.rs`).
//!
//! ```text
//!          active L1 ─► L2 ─► clusters          create: the snapshot's L1 leads to the same L2 tables
//!                       ▲                        apply: the active L1 becomes a copy of the snapshot's
//!  snapshot's L1 ───────┘                       delete: what only the snapshot led to is free
//! ```
//!
//! What several L1 tables lead to has a refcount over 1 and no copied flags, so that a write copies it first. Each L1
//! table that leads to an L2 table counts one use of it, and of everything that it names. Section: "Snapshots".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod unmark;

pub(super) use unmark::unmark_zeroes;

use std::collections::BTreeMap;

use super::super::corrupt::Corrupt;
use super::super::entry::{EntryFormat, HostCluster, L1Entry, L2Entry, Mapping};
use super::super::geometry::{GuestOffset, HostOffset};
use super::super::header::{Header, MAX_SNAPSHOT_COUNT, MAX_SNAPSHOT_TABLE_LEN, TablePlace, Version};
use super::super::layout::COPIED;
use super::super::snapshot::{self, Snapshot};
use super::super::table::{l2_entry, read_l1, set_l2_entry};
use super::late;
use super::switch::{Switch, switch, table_range};
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Error, Result};

/// The longest name of a snapshot that QEMU reads, in bytes.
const MAX_SNAPSHOT_NAME_LEN: usize = 255;

/// A snapshot that is going to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name: at most 255 bytes.
    pub name: Vec<u8>,
    /// The time: seconds since 1970, and nanoseconds.
    pub date: (u32, u32),
}

/// Takes a snapshot of the disk as it is. All that was written is in `file`, which `header` describes; returns the new
/// header.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a name that is too long; [`Unsupported`](crate::ErrorKind::Unsupported)
/// where refcounts are too narrow, there are too many snapshots or guest clusters are in a data file;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for tables that break a rule. The image is as before then.
pub fn create_snapshot(file: &dyn BlockWrite, header: &Header, new: NewSnapshot) -> Result<Header> {
    if new.name.len() > MAX_SNAPSHOT_NAME_LEN {
        return Err(Error::invalid(format!(
            "a snapshot's name of {} bytes: {MAX_SNAPSHOT_NAME_LEN} at most",
            new.name.len()
        )));
    }
    change(file, header, |change, snapshots| {
        let l1 = change.share_active()?;
        let id = snapshots.iter().filter_map(|snapshot| leading_number(&snapshot.id)).max();
        snapshots.push(Snapshot {
            id: id.unwrap_or(0).saturating_add(1).to_string().into_bytes(),
            name: new.name,
            l1,
            date: new.date,
            guest_clock_nanoseconds: 0,
            vm_state_size: 0,
            disk_size: Some(header.size),
            icount: Some(0),
            extra: Vec::new(),
            extra_len: 0,
        });
        Ok(true)
    })
    .doing(|| "taking a snapshot")
}

/// Makes the disk what it was when the snapshot at `index` of the table was taken, its size too. As
/// [`create_snapshot`].
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused) if there are bitmaps, which would not tell what changes by this; as
/// [`create_snapshot`].
pub fn apply_snapshot(file: &dyn BlockWrite, header: &Header, index: usize) -> Result<Header> {
    if header.bitmaps().is_some() {
        return Err(Error::refused(
            "the image has bitmaps, which cannot follow it to a snapshot: remove them first",
        )
        .doing("applying a snapshot"));
    }
    change(file, header, |change, snapshots| {
        let snapshot = at(snapshots, index)?;
        let then = snapshot.header(header)?;
        let old = change.active()?;
        let l1 = change.take_over(snapshot.l1)?;
        change.drop_tree(&old)?;
        change.switch.remove(table_range(header.l1)?)?;
        change.switch.header.size = then.size;
        change.switch.header.l1 = l1;
        Ok(true)
    })
    .doing(|| "applying a snapshot")
}

/// Deletes the snapshot at `index` of the table. As [`create_snapshot`].
///
/// # Errors
/// As [`create_snapshot`].
pub fn delete_snapshot(file: &dyn BlockWrite, header: &Header, index: usize) -> Result<Header> {
    change(file, header, |change, snapshots| {
        let l1 = at(snapshots, index)?.l1;
        snapshots.remove(index);
        let tree = change.read_l1(l1)?;
        change.drop_tree(&tree)?;
        change.switch.remove(table_range(l1)?)?;
        change.own_what_is_left()?;
        Ok(true)
    })
    .doing(|| "deleting a snapshot")
}

fn at(snapshots: &[Snapshot], index: usize) -> Result<&Snapshot> {
    snapshots
        .get(index)
        .ok_or_else(|| Error::invalid(format!("there is no snapshot at {index} of the table")))
}

/// The number that an id starts with.
fn leading_number(id: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = id.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Writes the snapshot table anew, with all that version 3 requires of it, and no more extra data than are read.
pub(in super::super) fn rewrite_snapshots(file: &dyn BlockWrite, header: &Header) -> Result<Header> {
    let header = &late::counted(file, header)?;
    change_list(file, header, snapshot::list_to_check(file, header)?, |_, _| Ok(true))
}

/// Lets `with` change tables and the list of snapshots, and writes a new snapshot table if it says so.
fn change(
    file: &dyn BlockWrite,
    header: &Header,
    with: impl FnOnce(&mut Change<'_, '_>, &mut Vec<Snapshot>) -> Result<bool>,
) -> Result<Header> {
    if header.has_data_file() {
        return Err(Error::unsupported("guest clusters are in a data file, which has no snapshots"));
    }
    let header = &late::counted(file, header)?;
    change_list(file, header, snapshot::list(file, header)?, with)
}

/// The same with the list, and the place of the table that it was read from.
fn change_list(
    file: &dyn BlockWrite,
    header: &Header,
    (mut snapshots, old_table): (Vec<Snapshot>, ByteRange),
    with: impl FnOnce(&mut Change<'_, '_>, &mut Vec<Snapshot>) -> Result<bool>,
) -> Result<Header> {
    switch(file, header, |switch| {
        let format = EntryFormat {
            geometry: header.geometry,
            zero_flag: header.version == Version::V3,
            data_file: false,
        };
        if !with(&mut Change { switch, format }, &mut snapshots)? {
            return Ok(());
        }
        let bytes = snapshot::to_bytes(&snapshots, header.size);
        if snapshots.len() > MAX_SNAPSHOT_COUNT as usize || bytes.len() as u64 > MAX_SNAPSHOT_TABLE_LEN {
            return Err(Error::unsupported("there would be more snapshots than an image can have"));
        }
        let offset = switch.put(&bytes)?;
        switch.remove(old_table)?;
        switch.header.snapshots = TablePlace { offset, count: snapshots.len() as u32 };
        Ok(())
    })
}

/// Tables that are being changed.
struct Change<'a, 'b> {
    switch: &'a mut Switch<'b>,
    format: EntryFormat,
}

/// What an L2 table says: the clusters of the entries that name any, and the bytes.
struct L2Table {
    bytes: Vec<u8>,
    places: Vec<ByteRange>,
}

impl Change<'_, '_> {
    fn active(&self) -> Result<Vec<L1Entry>> {
        self.read_l1(self.switch.header.l1)
    }

    /// An L1 table, of which no two entries lead to the same L2 table.
    fn read_l1(&self, place: TablePlace) -> Result<Vec<L1Entry>> {
        let entries = read_l1(self.switch.file(), place)?;
        let mut seen = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            entry.decode(self.format.geometry, self.guest(index))?;
        }
        for (index, table) in tables(&entries) {
            let guest = self.guest(index);
            let host = table.offset;
            if let Some(region) = self.switch.metadata_in(self.table_cluster(table)?) {
                return Err(Corrupt::L2TableInRegion { guest, host, region }.into());
            }
            if let Some(other) = seen.insert(table.offset, guest) {
                return Err(Corrupt::L2TableShared { guest, host, other }.into());
            }
        }
        Ok(entries)
    }

    /// Where the guest clusters of an L1 entry start.
    fn guest(&self, index: usize) -> GuestOffset {
        GuestOffset((index as u64).saturating_mul(self.format.geometry.l2_coverage()))
    }

    fn read_l2(&self, index: usize, table: HostCluster) -> Result<L2Table> {
        let (geometry, file) = (self.format.geometry, self.switch.file());
        let (guest, host) = (self.guest(index), table.offset);
        let range = self.table_cluster(table)?;
        let file_size = file.size();
        if range.end() > file_size {
            return Err(Corrupt::L2TablePastEnd { guest, host, file_size }.into());
        }
        let mut bytes = vec![0; geometry.cluster_size() as usize];
        file.read_at(&mut bytes, host.0).doing(|| format!("reading the L2 table at {host}"))?;
        let mut places = Vec::new();
        for index in 0..geometry.l2_count() {
            let entry = l2_entry(&bytes, index, geometry);
            if entry == L2Entry::default() {
                continue;
            }
            let guest = GuestOffset(guest.0.saturating_add(index.saturating_mul(geometry.cluster_size())));
            let Some(place) = self.place(entry.decode(self.format, guest)?)? else { continue };
            if let Some(region) = self.switch.metadata_in(place) {
                return Err(
                    Corrupt::ClusterInRegion { guest, host: HostOffset(place.offset()), region }.into()
                );
            }
            places.push(place);
        }
        Ok(L2Table { bytes, places })
    }

    /// The bytes of the file that a mapping counts.
    fn place(&self, mapping: Mapping) -> Result<Option<ByteRange>> {
        let cluster = match mapping {
            Mapping::Compressed(place) => return ByteRange::new(place.offset.0, place.len).map(Some),
            Mapping::Unallocated => None,
            Mapping::Zero(cluster) | Mapping::Divided { cluster, .. } => cluster,
            Mapping::Allocated(cluster) => Some(cluster),
        };
        let size = self.format.geometry.cluster_size();
        cluster.map(|cluster| ByteRange::new(cluster.offset.0, size)).transpose()
    }

    /// Sets the copied flags of an L2 table as `is_copied` says; whether any changed.
    fn set_flags(
        &mut self,
        bytes: &mut [u8],
        mut is_copied: impl FnMut(&mut Switch<'_>, HostOffset) -> Result<bool>,
    ) -> Result<bool> {
        let geometry = self.format.geometry;
        let mut changed = false;
        for index in 0..geometry.l2_count() {
            let entry = l2_entry(bytes, index, geometry);
            if entry.is_compressed() || entry.host().0 == 0 {
                continue;
            }
            let flag = if is_copied(self.switch, entry.host())? { COPIED } else { 0 };
            let descriptor = entry.descriptor & !COPIED | flag;
            if descriptor != entry.descriptor {
                set_l2_entry(bytes, index, L2Entry { descriptor, ..entry }, geometry);
                changed = true;
            }
        }
        Ok(changed)
    }

    fn table_cluster(&self, table: HostCluster) -> Result<ByteRange> {
        ByteRange::new(table.offset.0, self.format.geometry.cluster_size())
    }

    fn put_l1(&mut self, entries: &[L1Entry]) -> Result<TablePlace> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.0.to_be_bytes()).collect();
        Ok(TablePlace { offset: self.switch.put(&bytes)?, count: entries.len() as u32 })
    }

    /// Counts all that the active L1 table leads to once more, for a copy of it, which is returned.
    fn share_active(&mut self) -> Result<TablePlace> {
        let mut entries = self.active()?;
        let old = self.switch.header.l1;
        for (index, table) in tables(&entries.clone()) {
            let mut l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.switch.add(place)?;
            }
            let mut offset = table.offset;
            if self.set_flags(&mut l2.bytes, |_, _| Ok(false))? {
                offset = self.switch.put(&l2.bytes)?;
                self.switch.remove(self.table_cluster(table)?)?;
            }
            self.switch.add(self.table_cluster(HostCluster { offset, ..table })?)?;
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(HostCluster { offset, copied: false });
            }
        }
        let snapshot = self.put_l1(&entries)?;
        self.switch.header.l1 = self.put_l1(&entries)?;
        self.switch.remove(table_range(old)?)?;
        Ok(snapshot)
    }

    /// A copy of the L1 table of a snapshot, and one use more of all that it leads to.
    fn take_over(&mut self, l1: TablePlace) -> Result<TablePlace> {
        let mut entries = self.read_l1(l1)?;
        for (index, table) in tables(&entries.clone()) {
            let mut l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.switch.add(place)?;
            }
            let mut own = table;
            if self.set_flags(&mut l2.bytes, |_, _| Ok(false))? {
                // Flags that a snapshot's table should not have stay there, where nobody writes.
                own = HostCluster { offset: self.switch.put(&l2.bytes)?, copied: true };
            } else {
                own.copied = false;
                self.switch.add(self.table_cluster(own)?)?;
            }
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(own);
            }
        }
        self.put_l1(&entries)
    }

    /// Counts all that an L1 table leads to once less.
    fn drop_tree(&mut self, entries: &[L1Entry]) -> Result<()> {
        for (index, table) in tables(entries) {
            let l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.switch.remove(place)?;
            }
            self.switch.remove(self.table_cluster(table)?)?;
        }
        Ok(())
    }

    /// Sets the copied flags of what only the active L1 table leads to now.
    fn own_what_is_left(&mut self) -> Result<()> {
        let old = self.active()?;
        let mut entries = old.clone();
        for (index, table) in tables(&old) {
            let copied = self.switch.count(table.offset)? == 1;
            let mut own = HostCluster { copied, ..table };
            if copied {
                let mut l2 = self.read_l2(index, table)?;
                if self.set_flags(&mut l2.bytes, |switch, host| Ok(switch.count(host)? == 1))? {
                    own.offset = self.switch.put(&l2.bytes)?;
                    self.switch.remove(self.table_cluster(table)?)?;
                }
            }
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(own);
            }
        }
        if entries != old {
            let place = self.switch.header.l1;
            self.switch.header.l1 = self.put_l1(&entries)?;
            self.switch.remove(table_range(place)?)?;
        }
        Ok(())
    }
}

/// The entries that lead to an L2 table.
fn tables(entries: &[L1Entry]) -> impl Iterator<Item = (usize, HostCluster)> + '_ {
    entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.table()?)))
}

#[cfg(test)]
mod tests;
