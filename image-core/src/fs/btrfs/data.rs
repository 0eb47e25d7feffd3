//! Bytes of files, held against their checksums, and what compressed extents unpack to.
//!
//! ```text
//! EXTENT_CSUM  address     checksum of a sector │ checksum of the next one │ …
//! ```
//! A sector that is wrong in one copy is taken from another. The 32 extents that were last unpacked are kept, 128 KiB each at
//! most. Btrfs documentation, "Checksumming" and "On-disk format".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Btrfs;
use super::extent::Packed;
use super::field::{copy, round_down};
use super::key::{CSUM_OBJECT, CSUM_TREE, EXTENT_CSUM, Key};
use super::rule::{BtrfsRule, Checksummed};
use crate::error::{Error, Result};

/// How many unpacked extents are kept.
const KEPT: usize = 32;
/// How many bytes are read at once.
const STEP: u64 = 1 << 20;

/// Whose bytes are read, and from where on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) inode: u64,
    pub(super) has_checksums: bool,
    /// In bytes of the filesystem.
    pub(super) logical: u64,
    /// In bytes of the file.
    pub(super) offset: u64,
    /// Whether all that is read belongs to the one place in the file, as what is compressed does.
    pub(super) is_packed: bool,
}

impl Source {
    fn after(self, done: u64) -> Self {
        let offset = if self.is_packed { self.offset } else { self.offset.saturating_add(done) };
        Self { logical: self.logical.saturating_add(done), offset, ..self }
    }

    /// From the beginning of the sector on.
    fn of_sector(self, sector: u64) -> Self {
        let inside = self.logical.saturating_sub(round_down(self.logical, sector));
        let offset = if self.is_packed { self.offset } else { self.offset.saturating_sub(inside) };
        Self { logical: self.logical.saturating_sub(inside), offset, ..self }
    }
}

impl Btrfs {
    /// Fills `buf` from `source`, sector by sector where that does not begin or end with one.
    pub(super) fn read_data(&self, source: Source, buf: &mut [u8]) -> Result<()> {
        let sector = u64::from(self.blocks().superblock.sector_size);
        let (mut source, mut rest) = (source, buf);
        while !rest.is_empty() {
            let inside = source.logical.saturating_sub(round_down(source.logical, sector));
            let whole = self.blocks().contiguous(source.logical)?.min(rest.len() as u64).min(STEP);
            let whole = round_down(whole, sector);
            let done = if inside == 0 && whole > 0 {
                let part = rest.get_mut(..whole as usize).unwrap_or_default();
                self.read_sectors(source, part)?;
                part.len()
            } else {
                let mut bytes = vec![0; sector as usize];
                self.read_sectors(source.of_sector(sector), &mut bytes)?;
                copy(rest, bytes.get(inside as usize..).unwrap_or_default())
            };
            source = source.after(done as u64);
            rest = rest.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills `buf`, whole sectors of one chunk.
    fn read_sectors(&self, source: Source, buf: &mut [u8]) -> Result<()> {
        if !source.has_checksums {
            return self.blocks().each_copy(source.logical, buf, |_| Ok(()));
        }
        let (kind, sector) =
            (self.blocks().superblock.checksum, self.blocks().superblock.sector_size as usize);
        let sums = self.checksums(source, buf.len())?;
        let is_right = |bytes: &[u8]| {
            let mut pairs = bytes.chunks(sector).zip(sums.chunks(kind.len()));
            pairs.all(|(bytes, sum)| kind.is_of(sum, bytes))
        };
        let rule = |offset| BtrfsRule::Checksum(Checksummed::Data { inode: source.inode, offset });
        let check = |bytes: &mut [u8]| match is_right(bytes) {
            true => Ok(()),
            false => Err(Error::corrupt(rule(source.offset))),
        };
        if self.blocks().each_copy(source.logical, buf, check).is_ok() {
            return Ok(());
        }
        // No copy is right as a whole: each sector may be so in another, and if not, it is to be told which.
        let mut at = source;
        for (bytes, sum) in buf.chunks_mut(sector).zip(sums.chunks(kind.len())) {
            let check = |bytes: &mut [u8]| match kind.is_of(sum, bytes) {
                true => Ok(()),
                false => Err(Error::corrupt(rule(at.offset))),
            };
            self.blocks().each_copy(at.logical, bytes, check)?;
            at = at.after(sector as u64);
        }
        Ok(())
    }

    /// The checksums of the sectors in the `len` bytes of `source`.
    fn checksums(&self, source: Source, len: usize) -> Result<Vec<u8>> {
        let (kind, sector) =
            (self.blocks().superblock.checksum, self.blocks().superblock.sector_size as usize);
        let mut sums = Sums {
            logical: source.logical,
            sector: sector as u64,
            sum_len: kind.len(),
            bytes: vec![0; len.div_ceil(sector).saturating_mul(kind.len())],
            known: vec![false; len.div_ceil(sector)],
        };
        let end = source.logical.saturating_add(len as u64);
        let first = Key::new(CSUM_OBJECT, EXTENT_CSUM, source.logical);
        let tree = self.tree(CSUM_TREE)?;
        let before = tree.at_most(self.blocks(), first)?.map(|item| item.key);
        let from = before.filter(|key| key.is_alike(first)).unwrap_or(first);
        let last = Key { offset: end.saturating_sub(1), ..first };
        for item in tree.range(self.blocks(), from, last) {
            let item = item?;
            sums.add(item.key.offset, &item);
        }
        // What is synced last counts.
        let logged = &self.shared.replayed.sums;
        let from = logged.range(..=source.logical).next_back().map_or(source.logical, |(at, _)| *at);
        for (logical, logged) in logged.range(from..end) {
            sums.add(*logical, logged);
        }
        match sums.known.iter().position(|known| !known) {
            None => Ok(sums.bytes),
            Some(index) => {
                let Source { offset, inode, .. } = source.after(index.saturating_mul(sector) as u64);
                Err(Error::corrupt(BtrfsRule::NoChecksum { inode, offset }))
            }
        }
    }

    /// What `packed` unpacks to; it is at `source`.
    pub(super) fn unpacked(&self, packed: Packed, source: Source) -> Result<Arc<[u8]>> {
        // What was not held against its checksums is not for those who have some.
        let id = (Packed { skip: 0, ..packed }, source.has_checksums);
        if let Some(found) = self.shared.unpacked.find(id) {
            return Ok(found);
        }
        let mut bytes = vec![0; packed.len as usize];
        self.read_data(source, &mut bytes)?;
        let sector_size = self.blocks().superblock.sector_size;
        let (inode, offset) = (source.inode, source.offset);
        let unpacked = packed.compression.unpack(&bytes, packed.unpacked, sector_size);
        let unpacked: Arc<[u8]> = unpacked
            .ok_or_else(|| Error::corrupt(BtrfsRule::Extent { inode, offset, what: "compressed stream" }))?
            .into();
        self.shared.unpacked.keep(id, Arc::clone(&unpacked));
        Ok(unpacked)
    }
}

/// Checksums that are being gathered.
struct Sums {
    logical: u64,
    sector: u64,
    sum_len: usize,
    bytes: Vec<u8>,
    known: Vec<bool>,
}

impl Sums {
    /// Takes those that are wanted of `sums`, of which the first is that of the sector at `logical`.
    fn add(&mut self, logical: u64, sums: &[u8]) {
        let sectors = |bytes: u64| bytes.checked_div(self.sector).unwrap_or(0) as usize;
        let skipped = sectors(self.logical.saturating_sub(logical));
        let into = sectors(logical.saturating_sub(self.logical));
        let found = sums.chunks_exact(self.sum_len).skip(skipped);
        let wanted = self.bytes.chunks_exact_mut(self.sum_len).zip(&mut self.known).skip(into);
        for ((wanted, known), found) in wanted.zip(found) {
            copy(wanted, found);
            *known = true;
        }
    }
}

/// An extent, and whether it was held against its checksums.
type UnpackedId = (Packed, bool);

/// What was unpacked last, the oldest first.
#[derive(Default)]
pub(super) struct Unpacked(Mutex<VecDeque<(UnpackedId, Arc<[u8]>)>>);

impl Unpacked {
    fn list(&self) -> std::sync::MutexGuard<'_, VecDeque<(UnpackedId, Arc<[u8]>)>> {
        // Nothing in there is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: UnpackedId) -> Option<Arc<[u8]>> {
        let mut list = self.list();
        let index = list.iter().position(|(known, _)| *known == id)?;
        let entry = list.remove(index)?;
        let found = Arc::clone(&entry.1);
        list.push_back(entry);
        Some(found)
    }

    fn keep(&self, id: UnpackedId, bytes: Arc<[u8]>) {
        let mut list = self.list();
        if list.len() >= KEPT {
            list.pop_front();
        }
        list.push_back((id, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::compression::Compression;
    use super::*;

    #[test]
    fn checksums_are_taken_from_where_they_overlap() {
        let new =
            || Sums { logical: 8192, sector: 4096, sum_len: 2, bytes: vec![0; 6], known: vec![false; 3] };
        let mut sums = new();
        sums.add(0, &[1, 1, 2, 2, 3, 3]);
        assert_eq!((&sums.bytes[..], &sums.known[..]), (&[3, 3, 0, 0, 0, 0][..], &[true, false, false][..]));
        sums.add(12288, &[4, 4, 5, 5, 6, 6]);
        assert_eq!((&sums.bytes[..], &sums.known[..]), (&[3, 3, 4, 4, 5, 5][..], &[true; 3][..]));
        let mut sums = new();
        sums.add(0, &[1, 1]);
        sums.add(1 << 40, &[1, 1]);
        assert_eq!(sums.known, [false; 3]);
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let unpacked = Unpacked::default();
        let id =
            |logical| (Packed { compression: Compression::Lzo, logical, len: 0, unpacked: 0, skip: 0 }, true);
        for logical in 0..100 {
            unpacked.keep(id(logical), Arc::new([logical as u8]));
            assert_eq!(unpacked.find(id(0)).unwrap()[0], 0);
        }
        assert!(unpacked.find(id(99)).is_some() && unpacked.find(id(50)).is_none());
        assert!(unpacked.find((id(99).0, false)).is_none());
    }
}
