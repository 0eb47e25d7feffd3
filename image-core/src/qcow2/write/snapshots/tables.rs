//! The tables that the disk and its snapshots share, changed together with the list of snapshots.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Error, Result};
use crate::qcow2::corrupt::Corrupt;
use crate::qcow2::entry::{EntryFormat, HostCluster, L1Entry, L2Entry, Mapping};
use crate::qcow2::header::{Header, MAX_SNAPSHOT_COUNT, MAX_SNAPSHOT_TABLE_LEN, TablePlace, Version};
use crate::qcow2::layout::COPIED;
use crate::qcow2::offset::{GuestOffset, HostOffset};
use crate::qcow2::snapshot::{self, Snapshot};
use crate::qcow2::table::{l2_entry, read_l1, set_l2_entry};
use crate::qcow2::write::transaction::{Transaction, table_range, transaction};

/// Writes the snapshot table anew, with all that version 3 requires of it, and no more extra data than are read.
pub(in crate::qcow2) fn rewrite_snapshots(file: &dyn BlockWrite, header: &Header) -> Result<Header> {
    change_list(file, header, snapshot::list_to_check(file, header)?, |_, _| Ok(true))
}

/// Lets `with` change tables and the list of snapshots, which was read from the place `old_table`, and writes a new snapshot
/// table if it says so.
pub(super) fn change_list(
    file: &dyn BlockWrite,
    header: &Header,
    (mut snapshots, old_table): (Vec<Snapshot>, ByteRange),
    with: impl FnOnce(&mut Change<'_, '_>, &mut Vec<Snapshot>) -> Result<bool>,
) -> Result<Header> {
    transaction(file, header, |transaction| {
        let format = EntryFormat {
            geometry: header.geometry,
            zero_flag: header.version == Version::V3,
            data_file: false,
        };
        if !with(&mut Change { transaction, format }, &mut snapshots)? {
            return Ok(());
        }
        let bytes = snapshot::to_bytes(&snapshots, header.size);
        if snapshots.len() > MAX_SNAPSHOT_COUNT as usize || bytes.len() as u64 > MAX_SNAPSHOT_TABLE_LEN {
            return Err(Error::unsupported("there would be more snapshots than an image can have"));
        }
        let offset = transaction.put(&bytes)?;
        transaction.remove(old_table)?;
        transaction.header.snapshots = TablePlace { offset, count: snapshots.len() as u32 };
        Ok(())
    })
}

/// Tables that are being changed.
pub(super) struct Change<'a, 'b> {
    pub(super) transaction: &'a mut Transaction<'b>,
    pub(super) format: EntryFormat,
}

/// What an L2 table says: the clusters of the entries that name any, and the bytes.
pub(super) struct L2Table {
    pub(super) bytes: Vec<u8>,
    places: Vec<ByteRange>,
}

impl Change<'_, '_> {
    pub(super) fn active(&self) -> Result<Vec<L1Entry>> {
        self.read_l1(self.transaction.header.l1)
    }

    /// An L1 table, of which no two entries lead to the same L2 table.
    pub(super) fn read_l1(&self, place: TablePlace) -> Result<Vec<L1Entry>> {
        let entries = read_l1(self.transaction.file(), place)?;
        let mut seen = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            entry.decode(self.format.geometry, self.guest(index))?;
        }
        for (index, table) in tables(&entries) {
            let guest = self.guest(index);
            let host = table.offset;
            if let Some(region) = self.transaction.metadata_in(self.table_cluster(table)?) {
                return Err(Corrupt::L2TableInRegion { guest, host, region }.into());
            }
            if let Some(other) = seen.insert(table.offset, guest) {
                return Err(Corrupt::L2TableShared { guest, host, other }.into());
            }
        }
        Ok(entries)
    }

    /// Where the guest clusters of an L1 entry start.
    pub(super) fn guest(&self, index: usize) -> GuestOffset {
        GuestOffset((index as u64).saturating_mul(self.format.geometry.l2_coverage()))
    }

    pub(super) fn read_l2(&self, index: usize, table: HostCluster) -> Result<L2Table> {
        let (geometry, file) = (self.format.geometry, self.transaction.file());
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
            if let Some(region) = self.transaction.metadata_in(place) {
                return Err(
                    Corrupt::ClusterInRegion { guest, host: HostOffset(place.offset()), region }.into()
                );
            }
            places.push(place);
        }
        Ok(L2Table { bytes, places })
    }

    /// The bytes of the file that a mapping counts.
    pub(super) fn place(&self, mapping: Mapping) -> Result<Option<ByteRange>> {
        let cluster = match mapping {
            Mapping::Compressed(place) => return ByteRange::new(place.offset.0, place.len).map(Some),
            Mapping::Unallocated => None,
            Mapping::Zero(cluster) | Mapping::Subclusters { cluster, .. } => cluster,
            Mapping::Allocated(cluster) => Some(cluster),
        };
        let size = self.format.geometry.cluster_size();
        cluster.map(|cluster| ByteRange::new(cluster.offset.0, size)).transpose()
    }

    /// Sets the copied flags of an L2 table as `is_copied` says; whether any changed.
    pub(super) fn set_flags(
        &mut self,
        bytes: &mut [u8],
        mut is_copied: impl FnMut(&mut Transaction<'_>, HostOffset) -> Result<bool>,
    ) -> Result<bool> {
        let geometry = self.format.geometry;
        let mut changed = false;
        for index in 0..geometry.l2_count() {
            let entry = l2_entry(bytes, index, geometry);
            if entry.is_compressed() || entry.host().0 == 0 {
                continue;
            }
            let flag = if is_copied(self.transaction, entry.host())? { COPIED } else { 0 };
            let descriptor = entry.descriptor & !COPIED | flag;
            if descriptor != entry.descriptor {
                set_l2_entry(bytes, index, L2Entry { descriptor, ..entry }, geometry);
                changed = true;
            }
        }
        Ok(changed)
    }

    pub(super) fn table_cluster(&self, table: HostCluster) -> Result<ByteRange> {
        ByteRange::new(table.offset.0, self.format.geometry.cluster_size())
    }

    pub(super) fn put_l1(&mut self, entries: &[L1Entry]) -> Result<TablePlace> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.0.to_be_bytes()).collect();
        Ok(TablePlace { offset: self.transaction.put(&bytes)?, count: entries.len() as u32 })
    }

    /// Counts all that the active L1 table leads to once more, for a copy of it, which is returned.
    pub(super) fn share_active(&mut self) -> Result<TablePlace> {
        let mut entries = self.active()?;
        let old = self.transaction.header.l1;
        for (index, table) in tables(&entries.clone()) {
            let mut l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.transaction.add(place)?;
            }
            let mut offset = table.offset;
            if self.set_flags(&mut l2.bytes, |_, _| Ok(false))? {
                offset = self.transaction.put(&l2.bytes)?;
                self.transaction.remove(self.table_cluster(table)?)?;
            }
            self.transaction.add(self.table_cluster(HostCluster { offset, ..table })?)?;
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(HostCluster { offset, copied: false });
            }
        }
        let snapshot = self.put_l1(&entries)?;
        self.transaction.header.l1 = self.put_l1(&entries)?;
        self.transaction.remove(table_range(old)?)?;
        Ok(snapshot)
    }

    /// A copy of the L1 table of a snapshot, and one use more of all that it leads to.
    pub(super) fn take_over(&mut self, l1: TablePlace) -> Result<TablePlace> {
        let mut entries = self.read_l1(l1)?;
        for (index, table) in tables(&entries.clone()) {
            let mut l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.transaction.add(place)?;
            }
            let mut own = table;
            if self.set_flags(&mut l2.bytes, |_, _| Ok(false))? {
                // Flags that a snapshot's table should not have stay there, where nobody writes.
                own = HostCluster { offset: self.transaction.put(&l2.bytes)?, copied: true };
            } else {
                own.copied = false;
                self.transaction.add(self.table_cluster(own)?)?;
            }
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(own);
            }
        }
        self.put_l1(&entries)
    }

    /// Counts all that an L1 table leads to once less.
    pub(super) fn drop_tree(&mut self, entries: &[L1Entry]) -> Result<()> {
        for (index, table) in tables(entries) {
            let l2 = self.read_l2(index, table)?;
            for &place in &l2.places {
                self.transaction.remove(place)?;
            }
            self.transaction.remove(self.table_cluster(table)?)?;
        }
        Ok(())
    }

    /// Sets the copied flags of what only the active L1 table leads to now.
    pub(super) fn own_what_is_left(&mut self) -> Result<()> {
        let old = self.active()?;
        let mut entries = old.clone();
        for (index, table) in tables(&old) {
            let copied = self.transaction.count(table.offset)? == 1;
            let mut own = HostCluster { copied, ..table };
            if copied {
                let mut l2 = self.read_l2(index, table)?;
                if self.set_flags(&mut l2.bytes, |transaction, host| Ok(transaction.count(host)? == 1))? {
                    own.offset = self.transaction.put(&l2.bytes)?;
                    self.transaction.remove(self.table_cluster(table)?)?;
                }
            }
            if let Some(entry) = entries.get_mut(index) {
                *entry = L1Entry::new(own);
            }
        }
        if entries != old {
            let place = self.transaction.header.l1;
            self.transaction.header.l1 = self.put_l1(&entries)?;
            self.transaction.remove(table_range(place)?)?;
        }
        Ok(())
    }
}

/// The entries that lead to an L2 table.
pub(super) fn tables(entries: &[L1Entry]) -> impl Iterator<Item = (usize, HostCluster)> + '_ {
    entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.table()?)))
}
