//! Another virtual size, in an order that survives a crash.
//!
//! ```text
//! grow     a longer L1 table elsewhere, if needed ─► what would show behind the old end is covered ─► the size
//! shrink   what lies behind the new end is unallocated ─► the size ─► the end of the file, if unused, is cut off
//! ```
//!
//! The header's two fields, size and place of the L1 table, change in one write within its first sector.

use zerocopy::IntoBytes;

use super::super::corrupt::Unsupported;
use super::super::entry::L1Entry;
use super::super::header::{Header, MAX_L1_LEN, TablePlace, Version};
use super::super::layout;
use super::super::offset::GuestOffset;
use super::{Qcow2Writer, State, allocate};
use crate::block::{BlockRead, BlockWrite, ByteRange, ZeroMode};
use crate::error::{Doing, Error, ErrorKind, Result};

impl Qcow2Writer {
    /// Changes the virtual size to `size` bytes; what is new reads as zeroes.
    pub(super) fn change_size(&self, state: &mut State, size: u64) -> Result<()> {
        let geometry = self.image.geometry();
        let header = self.image.header();
        if !size.is_multiple_of(layout::COMPRESSED_SECTOR) {
            return Err(Error::invalid(format!(
                "a virtual size of {size:#x}: qcow2 images have whole sectors of {:#x} bytes",
                layout::COMPRESSED_SECTOR
            )));
        }
        if geometry.l1_count_for(size).saturating_mul(8) > MAX_L1_LEN {
            return Err(Unsupported::VirtualSize { size }.into());
        }
        if header.version == Version::V2 && header.snapshots.count > 0 {
            return Err(Error::unsupported(
                "version 2 (compat 0.10) does not record the size of a snapshot: its disk cannot get another one",
            ));
        }
        match size.cmp(&header.size) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => self.grow(state, &header, size),
            std::cmp::Ordering::Less => self.shrink(state, &header, size),
        }
        .doing(|| format!("changing the virtual size from {:#x} to {size:#x} bytes", header.size))
    }

    fn grow(&self, state: &mut State, header: &Header, size: u64) -> Result<()> {
        let geometry = header.geometry;
        if let Some(file) = self.data_file.as_ref().filter(|file| file.size() < size) {
            file.resize(size)?;
        }
        // Where the last cluster ends: what is mapped behind it nobody saw so far.
        let old_end = geometry.round_up(header.size);
        let mapped = self.image.l1().count().saturating_mul(geometry.l2_coverage());
        self.drop_mappings(state, ByteRange::between(old_end, mapped))?;
        if geometry.l1_count_for(size) > self.image.l1().count() {
            self.move_l1(state, geometry.l1_count_for(size))?;
        }
        self.image.set_header(Header { size, ..Header::clone(&self.image.header()) });
        // A backing file may be longer than the disk was; and the last cluster may hold what once was behind the end.
        let backing_end = self.image.backing().map_or(0, |backing| backing.size());
        let covered = backing_end.max(old_end).min(size);
        self.for_each_cluster(ByteRange::between(header.size, covered), |guest, within| {
            self.zero(state, guest, within, (ZeroMode::Punch, self.shows_through(guest)))?;
            self.flush_if_large(state)
        })?;
        self.flush_metadata(state)?;
        self.write_size()
    }

    /// Moves the L1 table to where it can have `count` entries.
    fn move_l1(&self, state: &mut State, count: u64) -> Result<()> {
        let geometry = self.image.geometry();
        let clusters = geometry.clusters_for(count.saturating_mul(8));
        let offset = state.allocator.allocate(&*self.file, clusters)?;
        // What waits for the old place goes there; and what counts the new one must be safe before the header names it.
        self.flush_metadata(state)?;
        let mut bytes: Vec<u8> =
            (0..count).flat_map(|index| self.image.l1().at(index).0.to_be_bytes()).collect();
        bytes.resize(clusters.saturating_mul(geometry.cluster_size()) as usize, 0);
        allocate::write_growing(&*self.file, &bytes, offset.0)
            .doing(|| format!("writing the L1 table at {offset}"))?;
        self.file.flush()?;
        self.image.l1_mut().set_count(count as u32);
        let header = self.image.header();
        let l1 = TablePlace { offset, count: count as u32 };
        self.image.set_header(Header { l1, ..Header::clone(&header) });
        self.write_size()?;
        let len = u64::from(header.l1.count).saturating_mul(8);
        state.pending.free(ByteRange::new(header.l1.offset.0, len)?);
        Ok(())
    }

    fn shrink(&self, state: &mut State, header: &Header, size: u64) -> Result<()> {
        let geometry = header.geometry;
        let mapped = self.image.l1().count().saturating_mul(geometry.l2_coverage());
        self.drop_mappings(state, ByteRange::between(geometry.round_up(size), mapped))?;
        self.flush_metadata(state)?;
        self.image.set_header(Header { size, ..header.clone() });
        self.write_size()?;
        match self.data_file.as_ref().map(|data_file| data_file.resize(size)) {
            // A device stays as long as it is.
            Some(Err(error)) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ => {}
        }
        // The counts that fell go to the file before its end is cut off.
        self.flush_metadata(state)?;
        self.cut_end(state)
    }

    /// Makes the clusters of `range`, which starts at one, unallocated; L2 tables that are empty by that go.
    pub(super) fn drop_mappings(&self, state: &mut State, range: ByteRange) -> Result<()> {
        let geometry = self.image.geometry();
        let mut at = range.offset();
        while at < range.end() {
            let start = geometry.l2_start(at);
            let next = start.saturating_add(geometry.l2_coverage());
            let index = geometry.l1_index(GuestOffset(start));
            let entry = self.image.l1().at(index);
            if let Some(table) = entry.decode(geometry, GuestOffset(start))? {
                let goes = at == start && next <= range.end();
                self.drop_clusters(state, ByteRange::between(at, next.min(range.end())), goes)?;
                if goes {
                    self.image.l1_mut().set(index, L1Entry::default());
                    self.image.tables().forget(table.offset);
                    state.pending.l1_changed(index);
                    state.pending.free(ByteRange::new(table.offset.0, geometry.cluster_size())?);
                }
                self.flush_if_large(state)?;
            }
            at = next;
        }
        Ok(())
    }

    /// Frees the clusters of `range`, which one L2 table maps; their entries stay where the table itself goes, for it
    /// may be another's too.
    fn drop_clusters(&self, state: &mut State, range: ByteRange, table_goes: bool) -> Result<()> {
        self.for_each_cluster(range, |guest, _| {
            if table_goes { self.free_cluster(state, guest) } else { self.unmap(state, guest) }
        })
    }

    /// Cuts off the clusters at the end of the file that nothing uses.
    pub(super) fn cut_end(&self, state: &mut State) -> Result<()> {
        let geometry = self.image.geometry();
        let mut clusters = geometry.clusters_for(self.file.size());
        while clusters > 1 && state.allocator.count(&*self.file, clusters.saturating_sub(1))? == 0 {
            clusters = clusters.saturating_sub(1);
        }
        let end = clusters.saturating_mul(geometry.cluster_size());
        if end < self.file.size() {
            self.file.resize(end)?;
        }
        Ok(())
    }

    /// Brings the size and the place of the L1 table to the header on disk.
    fn write_size(&self) -> Result<()> {
        let field = self.image.header().tables_field();
        self.file
            .write_at(field.as_bytes(), layout::TABLES_FIELD_OFFSET)
            .doing(|| "writing the virtual size")?;
        self.file.flush()
    }
}
