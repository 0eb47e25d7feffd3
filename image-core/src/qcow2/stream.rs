//! A new image, written front to back: what a conversion writes to.
//!
//! ```text
//! ┌──────┬───────────────────────────────┬────┬──────── ─ ─┬────┬──────────┬──────────┬────┐
//! │ zero │ data, packed and plain         │ L2 │ data …     │ L2 │ refcount │ refcount │ L1 │
//! │      │ ▓▓░▓▓▓▓░░│████████│▓▓▓▒▒▒      │    │            │    │ blocks   │ table    │    │
//! └──▲───┴───────────────────────────────┴────┴──────── ─ ─┴────┴──────────┴──────────┴────┘
//!    └ the header, last of all
//! ```
//!
//! - An L2 table is written when the disk is past the part it maps, a refcount block when the file is past the clusters
//!   it counts: memory stays the same however large the image.
//! - Compressed clusters follow each other byte by byte. What is left free of a cluster when a plain one follows is
//!   used for later compressed ones that fit.
//! - The first cluster stays zeroes until everything else is in place, so an unfinished file is not an image.
//! - What is written depends on nothing but the pieces: no time, no name, no number of workers.

mod refcounts;
mod space;

use crate::block::{BlockWrite, ByteRange, InFile};
use crate::convert::{Copies, Encoder, Piece, Sink};
use crate::error::{Doing, Error, Result};

use super::compress::{Codec, Packer};
use super::corrupt::Unsupported;
use super::entry::{CompressedPlace, EntryFormat, HostCluster, L1Entry, L2Entry, Mapping};
use super::extension::Extension;
use super::geometry::{DEFAULT_REFCOUNT_ORDER, Geometry, GuestOffset, HostOffset};
use super::header::{Compression, Features, Header, MAX_L1_LEN, TablePlace, Version};
use super::table::set_l2_entry;
use space::HostSpace;

/// log2 of the cluster size that QEMU and this library choose unasked: 64 KiB.
const DEFAULT_CLUSTER_BITS: u32 = 16;

/// Smaller clusters are cheaper to read, all of them, than to look at one by one.
const LEAST_COPIED: u64 = 16 * 1024;

/// The virtual size, and the length of the file, are rounded up to this many bytes, as QEMU does.
const SECTOR: u64 = 512;

/// What a new image is to be like.
#[derive(Debug, Clone)]
pub struct NewImage {
    size: u64,
    geometry: Geometry,
    version: Version,
    codec: Codec,
    compress: bool,
}

impl NewImage {
    /// An image of at least `size` bytes (virtual size, rounded up to 512): version 3, clusters of 64 KiB, refcounts
    /// of 16 bits, not compressed.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for more than an L1 table of 32 MiB can map.
    pub fn new(size: u64) -> Result<Self> {
        let geometry = Geometry::new(DEFAULT_CLUSTER_BITS, DEFAULT_REFCOUNT_ORDER, false)?;
        let size = size.checked_next_multiple_of(SECTOR).ok_or(Unsupported::VirtualSize { size })?;
        Self { size, geometry, version: Version::V3, codec: Codec::default(), compress: false }.checked()
    }

    /// With another cluster size and width of refcounts.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if its L1 table would be over 32 MiB, and for refcounts of other
    /// widths and extended L2 entries in version 2.
    pub fn with_geometry(self, geometry: Geometry) -> Result<Self> {
        Self { geometry, ..self }.checked()
    }

    /// In another version.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for version 2 with what only version 3 has.
    pub fn with_version(self, version: Version) -> Result<Self> {
        Self { version, ..self }.checked()
    }

    /// With a codec for compressed clusters, and whether this conversion compresses.
    ///
    /// # Errors
    /// As [`with_version`](Self::with_version).
    pub fn with_codec(self, codec: Codec, compress: bool) -> Result<Self> {
        Self { codec, compress, ..self }.checked()
    }

    /// The virtual size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn checked(self) -> Result<Self> {
        if self.geometry.l1_count_for(self.size).saturating_mul(8) > MAX_L1_LEN {
            return Err(Unsupported::VirtualSize { size: self.size }.into());
        }
        if self.version == Version::V2 {
            if self.geometry.extended_l2() {
                return Err(Error::unsupported("version 2 (compat 0.10) has no extended L2 entries"));
            }
            if self.geometry.refcount_order() != DEFAULT_REFCOUNT_ORDER {
                return Err(Error::unsupported(format!(
                    "version 2 (compat 0.10) has refcounts of 16 bits, not of {}",
                    self.geometry.refcount_bits()
                )));
            }
            if self.codec.compression() != Compression::Deflate {
                return Err(Error::unsupported(
                    "version 2 (compat 0.10) has no other compression than deflate",
                ));
            }
        }
        Ok(self)
    }

    fn entry_format(&self) -> EntryFormat {
        EntryFormat { geometry: self.geometry, zero_flag: self.version == Version::V3, data_file: false }
    }
}

/// Writes a new qcow2 image.
pub struct Qcow2Sink<D> {
    image: NewImage,
    space: HostSpace<D>,
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
        let cluster_size = image.geometry.cluster_size();
        let space = HostSpace::new(file, image.geometry)?;
        let l2 = L2Table { l1_index: 0, bytes: vec![0; cluster_size as usize], used: false };
        Ok(Self { image, space, l1: Vec::new(), l2 })
    }

    fn map(&mut self, guest: u64, mapping: Mapping) -> Result<()> {
        let geometry = self.image.geometry;
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
        let offset = self.space.take_clusters(1)?;
        self.space.write(offset, &self.l2.bytes)?;
        self.l1.resize(self.l2.l1_index as usize, L1Entry::default());
        self.l1.push(L1Entry::new(HostCluster { offset, copied: true }));
        self.l2.bytes.fill(0);
        self.l2.used = false;
        Ok(())
    }

    /// Takes clusters for plain bytes, and maps them.
    fn place_plain(&mut self, range: ByteRange) -> Result<HostOffset> {
        let geometry = self.image.geometry;
        let first = self.space.take_clusters(geometry.clusters_for(range.len()))?;
        let step = geometry.cluster_size() as usize;
        for (guest, host) in (range.offset()..range.end()).step_by(step).zip((first.0..).step_by(step)) {
            self.map(guest, Mapping::Allocated(HostCluster { offset: HostOffset(host), copied: true }))?;
        }
        Ok(first)
    }

    fn put_packed(&mut self, range: ByteRange, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let offset = self.space.take_bytes(len)?;
        self.space.write(offset, bytes)?;
        self.map(range.offset(), Mapping::Compressed(CompressedPlace { offset, len }))
    }

    fn write_header(&mut self, l1: TablePlace, refcount_table: TablePlace) -> Result<()> {
        let extensions = match self.image.version {
            Version::V2 => Vec::new(),
            Version::V3 => vec![Extension::known_feature_names()],
        };
        let header = Header {
            version: self.image.version,
            geometry: self.image.geometry,
            size: self.image.size,
            l1,
            refcount_table,
            snapshots: TablePlace::default(),
            features: Features::default(),
            compression: self.image.codec.compression(),
            unknown_fields: Vec::new(),
            extensions,
            backing_name: None,
        };
        self.space.write(HostOffset(0), &header.to_bytes()?)?;
        self.space.flush()
    }
}

impl Encoder for Packer {
    fn encode(&mut self, unit: &[u8], packed: &mut Vec<u8>) -> Result<bool> {
        self.pack(unit, packed)
    }
}

impl<D: BlockWrite> Sink for Qcow2Sink<D> {
    fn unit_size(&self) -> u64 {
        self.image.geometry.cluster_size()
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        if !self.image.compress {
            return Ok(None);
        }
        let cluster_size = self.image.geometry.cluster_size() as usize;
        Ok(Some(Box::new(Packer::new(self.image.codec, cluster_size)?)))
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        range.check_within(self.image.size)?;
        match piece {
            Piece::Zero => Ok(()),
            Piece::Plain(bytes) => {
                let first = self.place_plain(range)?;
                self.space.write(first, bytes)
            }
            Piece::Packed(bytes) => self.put_packed(range, bytes),
        }
    }

    fn copies(&self) -> Option<Copies> {
        let filesystem = self.space.filesystem()?;
        let worth_a_call = self.unit_size() >= LEAST_COPIED || filesystem.shares;
        worth_a_call.then_some(Copies { device: filesystem.device, find_zeroes: true })
    }

    fn put_from(&mut self, range: ByteRange, from: InFile<'_>) -> Result<()> {
        range.check_within(self.image.size)?;
        let first = self.place_plain(range)?;
        self.space.copy(first, from)
    }

    fn finish(&mut self) -> Result<()> {
        let doing = || "completing the qcow2 image";
        self.end_l2().doing(doing)?;
        let l1_count = self.image.geometry.l1_count_for(self.image.size);
        let l1_clusters = self.image.geometry.clusters_for(l1_count * 8);
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
}

#[cfg(test)]
mod tests;
