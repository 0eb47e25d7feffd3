//! A new image, written front to back: what a conversion writes to.
//!
//! ```text
//! ┌──────┬───────────────────────────────┬────┬──────── ─ ─┬────┬──────────┬──────────┬────┐
//! │ zero │ data, compressed and plain     │ L2 │ data …     │ L2 │ refcount │ refcount │ L1 │
//! │      │ ▓▓░▓▓▓▓░░│████████│▓▓▓▒▒▒      │    │            │    │ blocks   │ table    │    │
//! └──▲───┴───────────────────────────────┴────┴──────── ─ ─┴────┴──────────┴──────────┴────┘
//!    └ the header, last of all
//! ```
//!
//! - An L2 table is written when the disk is past the part it maps, a refcount block when the file is past the clusters
//!   it counts: memory stays the same however large the image.
//! - Compressed clusters follow each other byte by byte. What is left free of a cluster when a plain one follows is
//!   used for later compressed ones that fit.
//! - Equal compressed clusters share their bytes, if that is asked for: as many as the refcount has room for, and only
//!   while the block that counts them is not written. Plain ones never do: whoever writes to one in place would have to look.
//! - The first cluster stays zeroes until everything else is in place, so an unfinished file is not an image.
//! - What is written depends on nothing but the pieces: no time, no name, no number of workers.

mod append;
mod dedup;
mod refcounts;

use crate::block::{BlockWrite, ByteRange, FileRange, HostFilesystem};
use crate::convert::{CopyOffload, Encoder, Piece, Sink};
use crate::error::{Doing, Error, Result};

use super::compress::Compressor;
use super::entry::{HostCluster, L1Entry, L2Entry, Mapping};
use super::header::TablePlace;
use super::new_image::{NewImage, SECTOR};
use super::offset::{GuestOffset, HostOffset};
use super::table::set_l2_entry;
use append::AppendOnlyFile;

/// Smaller clusters are cheaper to read, all of them, than to look at one by one.
const LEAST_COPIED: u64 = 16 * 1024;

/// Writes a new qcow2 image.
pub struct Qcow2Sink<D> {
    image: NewImage,
    space: AppendOnlyFile<D>,
    /// Entries before the part of the disk that is being written; later ones are zero.
    l1: Vec<L1Entry>,
    l2: L2Table,
}

/// The L2 table of the part of the disk that is being written.
struct L2Table {
    l1_index: u64,
    bytes: Vec<u8>,
    used: bool,
}

impl<D: BlockWrite> Qcow2Sink<D> {
    /// Writes `image` to `file`, which grows as needed if it can: an empty file, or a block device.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub fn new(file: D, image: NewImage) -> Result<Self> {
        let cluster_size = image.geometry().cluster_size();
        let space = AppendOnlyFile::new(file, image.geometry(), image.dedups())?;
        let l2 = L2Table { l1_index: 0, bytes: vec![0; cluster_size as usize], used: false };
        Ok(Self { image, space, l1: Vec::new(), l2 })
    }

    fn map(&mut self, guest: u64, mapping: Mapping) -> Result<()> {
        let geometry = self.image.geometry();
        let guest = GuestOffset(guest);
        let l1_index = geometry.l1_index(guest);
        if l1_index != self.l2.l1_index {
            self.end_l2()?;
            self.l2.l1_index = l1_index;
        }
        let entry = L2Entry::encode(mapping, self.image.entry_format())?;
        set_l2_entry(&mut self.l2.bytes, geometry.l2_index(guest), entry, geometry);
        self.l2.used = true;
        Ok(())
    }

    /// Writes the L2 table that no further entry goes to, if there is anything in it.
    fn end_l2(&mut self) -> Result<()> {
        if !self.l2.used {
            return Ok(());
        }
        let offset = self.space.allocate_clusters(1)?;
        self.space.write(offset, &self.l2.bytes)?;
        self.l1.resize(self.l2.l1_index as usize, L1Entry::default());
        self.l1.push(L1Entry::new(HostCluster { offset, copied: true }));
        self.l2.bytes.fill(0);
        self.l2.used = false;
        Ok(())
    }

    /// Takes clusters for plain bytes, and maps them.
    fn place_plain(&mut self, range: ByteRange) -> Result<HostOffset> {
        let geometry = self.image.geometry();
        let first = self.space.allocate_clusters(geometry.clusters_for(range.len()))?;
        let step = geometry.cluster_size() as usize;
        for (guest, host) in (range.offset()..range.end()).step_by(step).zip((first.0..).step_by(step)) {
            self.map(guest, Mapping::Allocated(HostCluster { offset: HostOffset(host), copied: true }))?;
        }
        Ok(first)
    }

    /// Maps `range` as zeroes, whatever the backing file has there.
    fn hide_backing(&mut self, range: ByteRange) -> Result<()> {
        let step = self.image.geometry().cluster_size() as usize;
        for guest in (range.offset()..range.end()).step_by(step) {
            if self.image.entry_format().zero_flag {
                self.map(guest, Mapping::Zero(None))?;
            } else {
                // Version 2 has no other zeroes than those that are stored.
                let first = self.place_plain(ByteRange::new(guest, 1)?)?;
                self.space.write(first, &vec![0; step])?;
            }
        }
        Ok(())
    }

    fn put_compressed(&mut self, range: ByteRange, bytes: &[u8]) -> Result<()> {
        let place = self.space.store_compressed(bytes)?;
        self.map(range.offset(), Mapping::Compressed(place))
    }

    /// Writes what is left: tables, refcounts, and last the header. Nothing is valid before.
    pub(super) fn complete(&mut self) -> Result<()> {
        let doing = || "completing the qcow2 image";
        self.end_l2().doing(doing)?;
        let l1_count = self.image.geometry().l1_count_for(self.image.size());
        let l1_clusters = self.image.geometry().clusters_for(l1_count * 8);
        let (refcount_table, l1_offset) = self.space.end_clusters(l1_clusters).doing(doing)?;
        let mut l1_bytes: Vec<u8> = self.l1.iter().flat_map(|entry| entry.0.to_be_bytes()).collect();
        // Readers may ask for whole sectors. An image of nothing but zeroes ends as QEMU's does, with the last entry.
        let alignment = if self.l1.is_empty() { 8 } else { SECTOR };
        l1_bytes.resize((l1_count * 8).next_multiple_of(alignment) as usize, 0);
        self.space.write(l1_offset, &l1_bytes).doing(doing)?;
        self.space.end_file(l1_offset.0 + l1_bytes.len() as u64).doing(doing)?;
        let l1 = TablePlace { offset: l1_offset, count: l1_count as u32 };
        self.write_header(l1, refcount_table).doing(doing)
    }

    fn write_header(&mut self, l1: TablePlace, refcount_table: TablePlace) -> Result<()> {
        self.space.write(HostOffset(0), &self.image.header_bytes(l1, refcount_table)?)?;
        self.space.flush()
    }
}

impl Encoder for Compressor {
    fn encode(&mut self, unit: &[u8], compressed: &mut Vec<u8>) -> Result<bool> {
        self.compress(unit, compressed)
    }
}

impl<D: BlockWrite> Sink for Qcow2Sink<D> {
    fn unit_size(&self) -> u64 {
        self.image.geometry().cluster_size()
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        let Some(codec) = self.image.compression_codec() else { return Ok(None) };
        let cluster_size = self.image.geometry().cluster_size() as usize;
        Ok(Some(Box::new(Compressor::new(codec, cluster_size)?)))
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        range.check_within(self.image.size())?;
        match piece {
            _ if self.image.has_data_file() => Err(Error::unsupported(
                "an image with a data file is not written front to back: create it first",
            )),
            Piece::Zero if self.image.is_backed() => self.hide_backing(range),
            Piece::Zero | Piece::Unchanged => Ok(()),
            Piece::Plain(bytes) => {
                let first = self.place_plain(range)?;
                self.space.write(first, bytes)
            }
            Piece::Compressed(bytes) => self.put_compressed(range, bytes),
        }
    }

    fn copy_offload(&self) -> Option<CopyOffload> {
        if self.image.has_data_file() {
            return None;
        }
        let filesystem = self.space.filesystem()?;
        let worth_a_call = self.unit_size() >= LEAST_COPIED || filesystem.reflinks;
        let HostFilesystem { device, reflinks } = filesystem;
        worth_a_call.then_some(CopyOffload { device, find_zeroes: true, reflinks })
    }

    fn put_copy(&mut self, range: ByteRange, from: FileRange<'_>) -> Result<()> {
        range.check_within(self.image.size())?;
        let first = self.place_plain(range)?;
        self.space.copy(first, from)
    }

    fn finish(&mut self) -> Result<()> {
        self.complete()
    }
}

#[cfg(test)]
mod tests;
