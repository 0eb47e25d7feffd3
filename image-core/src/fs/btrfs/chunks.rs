//! Chunks: which logical addresses are where on the disk, once or twice.
//!
//! ```text
//! superblock ─► system chunks ─► chunk tree ─► all chunks
//!
//! chunk   0 length │ 16 length of stripes │ 24 kind │ 44 count of stripes │ 48 stripe, 32 bytes │ stripe …
//! stripe  0 device │ 8 offset on it │ 16 UUID of the device
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_chunk, btrfs_stripe).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::features::profile;
use super::field::{u16_at, u32_at, u64_at};
use super::key::{CHUNK_ITEM, FIRST_OBJECT, KEY_LEN, Key};
use super::rule::BtrfsRule;
use crate::error::{Error, Result};

/// Of a chunk without its stripes.
const CHUNK_LEN: usize = 48;
const STRIPE_LEN: usize = 32;
/// More chunks than any filesystem on one disk has.
const LIMIT: usize = 1 << 20;

const RAID0: u64 = 0x8;
/// RAID10, RAID5 and RAID6: what is in them is on several disks.
const SPREAD: u64 = 0x1c0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) logical: u64,
    pub(super) len: u64,
    kind: u64,
    /// How many places it has on all disks.
    pub(super) stripe_count: usize,
    /// Where it begins on the disk, each time all of it; none if that cannot be read here.
    pub(super) copies: Box<[u64]>,
}

#[cfg(test)]
impl Chunk {
    /// One that is whole at each of `copies`.
    pub(super) fn at(logical: u64, len: u64, copies: &[u64]) -> Self {
        Self { logical, len, kind: 1, stripe_count: copies.len(), copies: copies.into() }
    }
}

/// All chunks, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    list: Vec<Chunk>,
}

/// Where a logical address is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// On the disk, in bytes; one at least.
    pub(super) copies: Vec<u64>,
    /// How many bytes there are up to the end of the chunk.
    pub(super) len: u64,
}

impl Chunks {
    /// Those that the superblock has in `array`, which are enough to read the chunk tree.
    pub(super) fn from_array(array: &[u8], device: u64) -> Result<Self> {
        let mut chunks = Self::default();
        let mut rest = array;
        while !rest.is_empty() {
            let key = Key::at(rest, 0);
            let chunk = rest.get(KEY_LEN..).unwrap_or_default();
            let len = chunk_len(chunk);
            if key.kind != CHUNK_ITEM || key.object != FIRST_OBJECT || len > chunk.len() {
                return Err(wrong(key.offset, "place among the system chunks"));
            }
            chunks.add(key.offset, chunk, device)?;
            rest = chunk.get(len..).unwrap_or_default();
        }
        chunks.sort()?;
        Ok(chunks)
    }

    /// Adds the chunk at `logical` that `bytes` describe; of its copies those that are on `device`.
    pub(super) fn add(&mut self, logical: u64, bytes: &[u8], device: u64) -> Result<()> {
        let (len, kind, count) = (u64_at(bytes, 0), u64_at(bytes, 24), usize::from(u16_at(bytes, 44)));
        if bytes.len() < chunk_len(bytes) || count == 0 {
            return Err(wrong(logical, "count of stripes"));
        }
        if len == 0 || logical.checked_add(len).is_none() || u32_at(bytes, 40) == 0 {
            return Err(wrong(logical, "length"));
        }
        if self.list.len() >= LIMIT {
            return Err(wrong(logical, "number: there are too many"));
        }
        let is_spread = kind & SPREAD != 0 || kind & RAID0 != 0 && count > 1;
        let stripes = bytes.get(CHUNK_LEN..chunk_len(bytes)).unwrap_or_default();
        let here = stripes.as_chunks::<STRIPE_LEN>().0.iter().filter(|stripe| u64_at(*stripe, 0) == device);
        let copies = here.map(|stripe| u64_at(stripe, 8)).filter(|_| !is_spread).collect();
        self.list.push(Chunk { logical, len, kind, stripe_count: count, copies });
        Ok(())
    }

    /// To be done when all are there.
    pub(super) fn sort(&mut self) -> Result<()> {
        self.list.sort_by_key(|chunk| chunk.logical);
        let overlaps = |pair: &&[Chunk]| match pair {
            [one, other] => one.logical.saturating_add(one.len) > other.logical,
            _ => false,
        };
        match self.list.windows(2).find(overlaps).and_then(<[Chunk]>::last) {
            Some(chunk) => Err(wrong(chunk.logical, "place: another is there")),
            None => Ok(()),
        }
    }

    /// Where `logical` is.
    pub(super) fn place(&self, logical: u64) -> Result<Place> {
        let index = self.list.partition_point(|chunk| chunk.logical <= logical);
        let before = index.checked_sub(1).and_then(|index| self.list.get(index));
        let chunk = before.ok_or_else(|| Error::corrupt(BtrfsRule::NoChunk(logical)))?;
        let inside = logical.saturating_sub(chunk.logical);
        let Some(len) = chunk.len.checked_sub(inside).filter(|len| *len > 0) else {
            return Err(Error::corrupt(BtrfsRule::NoChunk(logical)));
        };
        if chunk.copies.is_empty() {
            let (name, at) = (profile(chunk.kind), chunk.logical);
            return Err(Error::unsupported(format!("the chunk at {at:#x} is on other disks ({name})")));
        }
        Ok(Place { copies: chunk.copies.iter().map(|copy| copy.saturating_add(inside)).collect(), len })
    }

    /// All of them, in the order of their addresses.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Chunk> {
        self.list.iter()
    }

    /// The profiles that chunks have, each once.
    pub(super) fn profiles(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.list.iter().map(|chunk| profile(chunk.kind)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// How long the chunk at the beginning of `bytes` says that it is.
fn chunk_len(bytes: &[u8]) -> usize {
    usize::from(u16_at(bytes, 44)).saturating_mul(STRIPE_LEN).saturating_add(CHUNK_LEN)
}

fn wrong(logical: u64, what: &'static str) -> Error {
    Error::corrupt(BtrfsRule::Chunk { logical, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: u64, kind: u64, stripes: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_LEN + stripes.len() * STRIPE_LEN];
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        bytes[24..32].copy_from_slice(&kind.to_le_bytes());
        bytes[40..44].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[44] = stripes.len() as u8;
        for (index, (device, offset)) in stripes.iter().enumerate() {
            let at = CHUNK_LEN + index * STRIPE_LEN;
            bytes[at..at + 8].copy_from_slice(&device.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn addresses_are_found_in_their_chunk() {
        let mut chunks = Chunks::default();
        chunks.add(1 << 20, &chunk(4096, 0x24, &[(1, 100), (1, 9000)]), 1).unwrap();
        chunks.add(0, &chunk(4096, 1, &[(1, 7)]), 1).unwrap();
        chunks.add(1 << 30, &chunk(4096, 0x11, &[(2, 7), (1, 8)]), 1).unwrap();
        chunks.add(1 << 31, &chunk(4096, 0x9, &[(1, 7), (1, 8)]), 1).unwrap();
        chunks.sort().unwrap();
        assert_eq!(chunks.place((1 << 20) + 96).unwrap(), Place { copies: vec![196, 9096], len: 4000 });
        assert_eq!(chunks.place(4095).unwrap(), Place { copies: vec![4102], len: 1 });
        assert_eq!(chunks.place(1 << 30).unwrap().copies, [8]);
        assert_eq!(chunks.place(4096).unwrap_err().to_string(), "no chunk has the logical address 0x1000");
        let error = chunks.place(1 << 31).unwrap_err();
        assert_eq!(error.to_string(), "the chunk at 0x80000000 is on other disks (RAID0)");
        assert_eq!(chunks.profiles(), ["DUP", "RAID0", "RAID1", "single"]);
        chunks.add(4095, &chunk(1, 1, &[(1, 7)]), 1).unwrap();
        assert!(chunks.sort().is_err());
    }

    #[test]
    fn an_array_ends_with_a_chunk() {
        let mut array = vec![0; KEY_LEN];
        array[1] = 1;
        array[8] = CHUNK_ITEM;
        array.extend(chunk(4096, 2, &[(1, 7)]));
        assert_eq!(Chunks::from_array(&array, 1).unwrap().list.len(), 1);
        array.pop();
        assert!(Chunks::from_array(&array, 1).is_err());
    }
}
