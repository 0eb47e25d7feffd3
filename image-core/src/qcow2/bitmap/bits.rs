//! What a bitmap says: which parts of the disk were written.
//!
//! ```text
//! bitmap table │ 0: all zeroes │ 1: all ones │ offset ─► a cluster of bits, the first the least significant of its byte
//! ```
//!
//! In memory there is a piece for each cluster that is not all zeroes. Sections: "Bitmap table", "Bitmap data".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use super::super::header::Header;
use super::super::layout::{BITMAP_ENTRY_ALL_ONES, BITMAP_ENTRY_OFFSET, BITMAP_ENTRY_RESERVED};
use super::super::table::for_each_u64;
use super::Bitmap;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// The finest and the coarsest granularity that QEMU and this library use: 512 bytes and 2 GiB a bit.
pub const GRANULARITY_BITS: std::ops::RangeInclusive<u8> = 9..=31;
/// The most bytes of bits that QEMU and this library read: 512 MiB.
pub const MAX_BITMAP_LEN: u64 = 512 << 20;

/// The bits of a bitmap, one for every 2^`granularity_bits` bytes of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    disk_size: u64,
    granularity_bits: u8,
    piece_len: u64,
    /// Bits by the cluster they are stored in; those that are missing are zeroes.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Bits {
    /// All zeroes, for the disk of the image with this header.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a granularity that is not allowed, or so fine that there would be more
    /// than 512 MiB of bits.
    pub fn new(header: &Header, granularity_bits: u8) -> Result<Self> {
        if !GRANULARITY_BITS.contains(&granularity_bits) {
            return Err(Error::invalid(
                "a bit of a bitmap stands for a power of two of at least 512 bytes, up to 2 GiB",
            ));
        }
        let piece_len = header.geometry.cluster_size();
        let bits = Self { disk_size: header.size, granularity_bits, piece_len, pieces: BTreeMap::new() };
        if bits.len().div_ceil(8) > MAX_BITMAP_LEN {
            return Err(Error::invalid(format!(
                "a bitmap of {} bits is longer than {MAX_BITMAP_LEN} bytes: take a coarser granularity",
                bits.len()
            )));
        }
        Ok(bits)
    }

    /// The bits of `bitmap` of the image in `file`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a table that breaks a rule; as [`new`](Self::new); whatever reading
    /// says.
    pub fn read(file: &dyn BlockRead, header: &Header, bitmap: &Bitmap) -> Result<Self> {
        let mut bits = Self::new(header, bitmap.granularity_bits)?;
        let broken = |rule: &str| Error::corrupt(format!("the table of the bitmap: {rule}"));
        let count = bits.piece_count();
        if count > u64::from(bitmap.table.count) {
            return Err(broken("it has fewer entries than the disk needs"));
        }
        let table = ByteRange::new(bitmap.table.offset.0, count.saturating_mul(8))?;
        table.check_within(file.size()).doing(|| "reading the table of a bitmap")?;
        for_each_u64(file, table, |index, entry| {
            let offset = entry & BITMAP_ENTRY_OFFSET;
            let ones = entry & BITMAP_ENTRY_ALL_ONES != 0;
            if entry & BITMAP_ENTRY_RESERVED != 0
                || (ones && offset != 0)
                || !header.geometry.is_aligned(offset)
            {
                return Err(broken("an entry has reserved bits set or is not at a cluster boundary"));
            }
            if ones {
                bits.pieces.insert(index, vec![0xff; bits.piece_len as usize]);
            } else if offset != 0 {
                let mut piece = vec![0; bits.piece_len as usize];
                file.read_at(&mut piece, offset).doing(|| "reading the bits of a bitmap")?;
                bits.pieces.insert(index, piece);
            }
            Ok(())
        })?;
        bits.trim();
        Ok(bits)
    }

    /// How many bits there are.
    pub fn len(&self) -> u64 {
        self.disk_size.div_ceil(1_u64.wrapping_shl(self.granularity_bits.into()))
    }

    /// Whether no bit is set.
    pub fn is_empty(&self) -> bool {
        self.pieces.values().flatten().all(|&byte| byte == 0)
    }

    /// The size of the disk, in bytes.
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// log2 of the bytes that a bit stands for.
    pub fn granularity_bits(&self) -> u8 {
        self.granularity_bits
    }

    /// How many clusters the bits take.
    pub(in super::super) fn piece_count(&self) -> u64 {
        self.len().div_ceil(8).div_ceil(self.piece_len)
    }

    /// The pieces that have bits.
    pub(in super::super) fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces.iter().map(|(&index, piece)| (index, piece.as_slice()))
    }

    /// Sets the bits of all that `range` of the disk touches.
    pub fn set(&mut self, range: ByteRange) {
        let Some(range) = range.intersection(ByteRange::whole(self.disk_size)) else { return };
        if range.is_empty() {
            return;
        }
        let shift = u32::from(self.granularity_bits);
        let last = range.end().saturating_sub(1).wrapping_shr(shift);
        let mut bit = range.offset().wrapping_shr(shift);
        let per_piece = self.piece_len.saturating_mul(8);
        while bit <= last {
            let index = bit.checked_div(per_piece).unwrap_or_default();
            let first = index.saturating_mul(per_piece);
            let end = first.saturating_add(per_piece).min(last.saturating_add(1));
            let piece = self.pieces.entry(index).or_insert_with(|| vec![0; self.piece_len as usize]);
            while bit < end {
                let within = bit.saturating_sub(first);
                if let Some(byte) = piece.get_mut((within / 8) as usize) {
                    if within % 8 == 0 && end.saturating_sub(bit) >= 8 {
                        *byte = 0xff;
                        bit = bit.saturating_add(8);
                        continue;
                    }
                    *byte |= 1_u8.wrapping_shl((within % 8) as u32);
                }
                bit = bit.saturating_add(1);
            }
        }
    }

    /// Clears all bits.
    pub fn clear(&mut self) {
        self.pieces.clear();
    }

    /// Sets the bits of all that has a bit in `other`, whatever its granularity.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is of a disk of another size.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.disk_size != self.disk_size {
            return Err(Error::invalid(format!(
                "the bitmaps are of disks of {} and {} bytes",
                self.disk_size, other.disk_size
            )));
        }
        for range in other.ranges() {
            self.set(range);
        }
        Ok(())
    }

    /// The parts of the disk whose bits are set, ascending, neighbours joined.
    pub fn ranges(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = Vec::new();
        let shift = u32::from(self.granularity_bits);
        for (&index, piece) in &self.pieces {
            let first = index.saturating_mul(self.piece_len).saturating_mul(8);
            for (at, byte) in (0_u64..).zip(piece).filter(|(_, byte)| **byte != 0) {
                for within in (0..8_u64).filter(|&within| byte.wrapping_shr(within as u32) & 1 != 0) {
                    let bit = first.saturating_add(at.saturating_mul(8)).saturating_add(within);
                    let start = bit.wrapping_shl(shift);
                    let end = start.saturating_add(1_u64.wrapping_shl(shift)).min(self.disk_size);
                    match ranges.last_mut() {
                        Some(last) if last.end() == start => *last = ByteRange::between(last.offset(), end),
                        _ => ranges.push(ByteRange::between(start, end)),
                    }
                }
            }
        }
        ranges
    }

    /// Follows the disk to another size: what is new has no bits.
    pub(in super::super) fn resize(&mut self, disk_size: u64) {
        self.disk_size = disk_size;
        self.trim();
    }

    /// Clears what lies behind the last bit.
    fn trim(&mut self) {
        let (len, count, piece_len) = (self.len(), self.piece_count(), self.piece_len);
        self.pieces.retain(|&index, _| index < count);
        let Some(last) = count.checked_sub(1) else { return };
        let Some(piece) = self.pieces.get_mut(&last) else { return };
        let bits = len.saturating_sub(last.saturating_mul(piece_len).saturating_mul(8));
        for byte in piece.iter_mut().skip(bits.div_ceil(8) as usize) {
            *byte = 0;
        }
        if let Some(byte) = piece.get_mut((bits / 8) as usize)
            && bits % 8 != 0
        {
            *byte &= 1_u8.wrapping_shl((bits % 8) as u32).wrapping_sub(1);
        }
    }
}
