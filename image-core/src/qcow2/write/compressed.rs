//! Compressed clusters in an image that is written in place.
//!
//! ```text
//! cluster ─► compressed ─┬─ shorter ──► behind the last compressed cluster, byte by byte ─► its old place is freed
//!                        └─ no shorter ─► stored as it is
//! ```
//!
//! Nothing is compressed over what was there: compressed bytes always get a new place, so that snapshots keep the old one and
//! a crash leaves either. The order is that of all clusters (see `flush.rs`): bytes and counts, then the entry.
//! Section: "Compressed Clusters Descriptor".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::sync::PoisonError;

use super::super::compress::{Codec, Compressor};
use super::super::corrupt::Unsupported;
use super::super::entry::{CompressedPlace, Mapping};
use super::super::offset::GuestOffset;
use super::bitmaps::Recording;
use super::{Qcow2Writer, State};
use crate::block::{BlockRead, ByteRange};
use crate::convert::{DiskSink, Encoder, Piece, Sink, Zeroes};
use crate::error::{Error, Result};

impl Qcow2Writer {
    /// What compresses clusters for this image, with an effort of `level` or the default one of its compression.
    ///
    /// # Errors
    /// As [`Codec::new`].
    pub(super) fn compressor(&self, level: Option<u8>) -> Result<Compressor> {
        let codec = Codec::new(self.image.header().compression, level)?;
        Compressor::new(codec, self.image.geometry().cluster_size() as usize)
    }

    /// Stores `compressed`, which stands for the whole cluster at `guest`.
    fn write_compressed(&self, guest: GuestOffset, compressed: &[u8]) -> Result<()> {
        let geometry = self.image.geometry();
        let range =
            ByteRange::between(guest.0, self.size().min(guest.0.saturating_add(geometry.cluster_size())));
        if !geometry.is_aligned(guest.0) || range.is_empty() {
            return Err(Error::invalid(format!("no cluster of the disk starts at guest offset {guest}")));
        }
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::Enabled)?;
        state.recorder.record(range);
        self.store_compressed_bytes(state, guest, compressed)?;
        self.write_staged(state)?;
        self.flush_if_large(state)
    }

    /// Refuses to compress, or to try, where there is a data file.
    fn refuse_data_file(&self, guest: GuestOffset) -> Result<()> {
        match self.data_file {
            Some(_) => Err(Unsupported::CompressedInDataFile { guest }.into()),
            None => Ok(()),
        }
    }

    /// Stores `compressed` for the whole cluster at `guest`.
    fn store_compressed_bytes(&self, state: &mut State, guest: GuestOffset, compressed: &[u8]) -> Result<()> {
        // Its table first, as for any other cluster.
        self.own_l2_table(state, guest)?;
        let len = compressed.len() as u64;
        let offset = state.allocator.allocate_bytes(&*self.file, len)?;
        self.stage(state, guest, offset.0, compressed)?;
        self.free_cluster(state, guest)?;
        self.set_mapping(state, guest, Mapping::Compressed(CompressedPlace { offset, len }))
    }

    /// Stores `bytes`, all that the disk has of the cluster at `guest`: compressed if that is shorter.
    pub(super) fn store_compressed(
        &self,
        state: &mut State,
        guest: GuestOffset,
        bytes: &[u8],
        compressor: &mut Compressor,
    ) -> Result<()> {
        self.refuse_data_file(guest)?;
        let mut unit = bytes.to_vec();
        unit.resize(self.image.geometry().cluster_size() as usize, 0);
        let mut compressed = Vec::new();
        match compressor.compress(&unit, &mut compressed)? {
            true => self.store_compressed_bytes(state, guest, &compressed),
            false => self.store(state, guest, 0, bytes),
        }
    }
}

/// Onto an image that is there, compressed: each cluster that becomes shorter by it.
pub struct CompressedSink<'a> {
    image: &'a Qcow2Writer,
    level: Option<u8>,
    plain: DiskSink<&'a Qcow2Writer>,
}

impl<'a> CompressedSink<'a> {
    /// Onto `image`, which must be at least as large as the source; with an effort of `level` (see [`Codec::new`]).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a level that its compression does not have.
    pub fn new(image: &'a Qcow2Writer, level: Option<u8>, zeroes: Zeroes) -> Result<Self> {
        Codec::new(image.image().header().compression, level)?;
        Ok(Self { image, level, plain: DiskSink::new(image, zeroes) })
    }
}

impl Sink for CompressedSink<'_> {
    fn unit_size(&self) -> u64 {
        self.image.image().geometry().cluster_size()
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(Some(Box::new(self.image.compressor(self.level)?)))
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        let guest = GuestOffset(range.offset());
        if let Piece::Compressed(_) | Piece::Plain(_) = piece {
            self.image.refuse_data_file(guest)?;
        }
        match piece {
            Piece::Compressed(bytes) => self.image.write_compressed(guest, bytes),
            piece => self.plain.put(range, piece),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.plain.finish()
    }
}

#[cfg(test)]
pub(super) mod tests;
