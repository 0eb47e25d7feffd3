//! A disk as the addresses of a filesystem: tree blocks, checked and kept for a while, and the bytes of data.
//!
//! ```text
//! tree block ─► kept? ── yes ─► is it what was asked for?
//!                 │ no
//!                 ▼
//!     chunks ─► first copy ─► checksum, address, filesystem, keys right? ── no ─► second copy ─► …
//! ```
//! Tree blocks that are kept take 8 MiB at most. Btrfs documentation, "On-disk format"; what a kernel asks of a block that
//! it reads is asked here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunks::Chunks;
use super::field::field;
use super::key::is_subvolume;
use super::rule::{BtrfsRule, Checksummed};
use super::superblock::Superblock;
use super::tree_block::TreeBlock;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// How many bytes of tree blocks are kept.
const KEPT: usize = 8 << 20;
/// The longest checksum's field.
const SUM_FIELD: usize = 32;

/// What a tree block must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its logical address.
    pub(super) block: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
    /// The tree that it belongs to. Those of subvolumes share blocks.
    pub(super) owner: u64,
}

/// The addresses of a filesystem.
pub(super) struct Blocks {
    disk: Arc<dyn BlockRead>,
    pub(super) superblock: Superblock,
    chunks: Chunks,
    kept: Mutex<Kept>,
}

impl Blocks {
    pub(super) fn new(disk: Arc<dyn BlockRead>, superblock: Superblock, chunks: Chunks) -> Self {
        let limit = KEPT.checked_div(superblock.node_size as usize).unwrap_or(1);
        Self { disk, superblock, chunks, kept: Mutex::new(Kept { limit, ..Kept::default() }) }
    }

    /// The same with other `chunks`.
    pub(super) fn with_chunks(self, chunks: Chunks) -> Self {
        Self { chunks, ..self }
    }

    /// The tree block that is `wanted`.
    pub(super) fn tree_block(&self, wanted: Wanted) -> Result<Arc<TreeBlock>> {
        if let Some(block) = self.kept().find(wanted.block) {
            return check(&block, wanted).map(|()| block);
        }
        let mut buf = vec![0; self.superblock.node_size as usize];
        let mut found = None;
        self.each_copy(wanted.block, &mut buf, |bytes| {
            let block = self.checked(bytes, wanted)?;
            found = Some(Arc::new(block));
            Ok(())
        })
        .doing(|| format!("reading tree block {:#x}", wanted.block))?;
        let block = found.ok_or_else(|| Error::corrupt(BtrfsRule::NoChunk(wanted.block)))?;
        self.kept().keep(Arc::clone(&block));
        Ok(block)
    }

    fn checked(&self, bytes: &[u8], wanted: Wanted) -> Result<TreeBlock> {
        let wrong = |what| Error::corrupt(BtrfsRule::TreeBlock { block: wanted.block, what });
        let Superblock { checksum, metadata_uuid, .. } = &self.superblock;
        if !checksum.is_of(bytes, bytes.get(SUM_FIELD..).unwrap_or_default()) {
            return Err(Error::corrupt(BtrfsRule::Checksum(Checksummed::TreeBlock(wanted.block))));
        }
        if field(bytes, SUM_FIELD) != *metadata_uuid {
            return Err(wrong("filesystem"));
        }
        let block = TreeBlock::new(bytes.into()).map_err(wrong)?;
        check(&block, wanted)?;
        Ok(block)
    }

    /// Fills `buf` from `logical` on with each copy of what is there, until `check` is content with one; else its first
    /// complaint.
    pub(super) fn each_copy(
        &self,
        logical: u64,
        buf: &mut [u8],
        mut check: impl FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let place = self.chunks.place(logical)?;
        if place.len < buf.len() as u64 {
            return Err(Error::corrupt(BtrfsRule::NoChunk(logical.saturating_add(place.len))));
        }
        let mut first = None;
        for copy in place.copies {
            let range = ByteRange::new(copy, buf.len() as u64);
            let read = match range.and_then(|range| range.check_within(self.disk.size())) {
                Ok(()) => self.disk.read_at(buf, copy),
                Err(_) => Err(Error::corrupt(BtrfsRule::OutsideDisk { logical })),
            };
            match read.and_then(|()| check(buf)) {
                Ok(()) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// How many bytes from `logical` on are in one chunk.
    pub(super) fn contiguous(&self, logical: u64) -> Result<u64> {
        Ok(self.chunks.place(logical)?.len)
    }

    /// All chunks, and the size of the disk that they are on.
    pub(super) fn chunks(&self) -> (&Chunks, u64) {
        (&self.chunks, self.disk.size())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Nothing in there is ever half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a block that is not the one that is wanted.
fn check(block: &TreeBlock, wanted: Wanted) -> Result<()> {
    let is_owned = match is_subvolume(wanted.owner) {
        true => is_subvolume(block.owner),
        false => block.owner == wanted.owner,
    };
    let what = match block {
        _ if block.block != wanted.block => "address",
        _ if block.level != wanted.level => "level",
        _ if block.generation != wanted.generation => "generation",
        _ if !is_owned => "tree",
        _ => return Ok(()),
    };
    Err(Error::corrupt(BtrfsRule::TreeBlock { block: wanted.block, what }))
}

/// Tree blocks that were read, and a hand that goes round: what was used since it last came by stays.
#[derive(Default)]
struct Kept {
    limit: usize,
    places: HashMap<u64, usize>,
    list: Vec<(Arc<TreeBlock>, bool)>,
    hand: usize,
}

impl Kept {
    fn find(&mut self, block: u64) -> Option<Arc<TreeBlock>> {
        let (found, is_used) = self.list.get_mut(*self.places.get(&block)?)?;
        *is_used = true;
        Some(Arc::clone(found))
    }

    fn keep(&mut self, block: Arc<TreeBlock>) {
        if self.places.contains_key(&block.block) {
            return;
        }
        if self.list.len() < self.limit {
            self.places.insert(block.block, self.list.len());
            self.list.push((block, false));
            return;
        }
        // Two rounds at most: the first one makes all unused.
        for _ in 0..self.limit.saturating_mul(2) {
            self.hand = self.hand.saturating_add(1).checked_rem(self.limit).unwrap_or(0);
            let Some((old, is_used)) = self.list.get_mut(self.hand) else { return };
            if std::mem::take(is_used) {
                continue;
            }
            self.places.remove(&old.block);
            self.places.insert(block.block, self.hand);
            *old = block;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: u64) -> Arc<TreeBlock> {
        let mut bytes = vec![0; 4096];
        bytes[48..56].copy_from_slice(&address.to_le_bytes());
        bytes[88] = 5;
        Arc::new(TreeBlock::new(bytes.into()).unwrap())
    }

    #[test]
    fn blocks_make_room_for_each_other() {
        let mut kept = Kept { limit: 4, ..Kept::default() };
        for address in 0..100 {
            kept.keep(block(address));
            assert_eq!(kept.find(0).unwrap().block, 0, "what is used all the time stays");
        }
        assert_eq!((kept.list.len(), kept.places.len()), (4, 4));
        assert!(kept.find(99).is_some() && kept.find(50).is_none());
    }

    #[test]
    fn a_block_is_the_one_that_is_wanted() {
        let wanted = Wanted { block: 7, generation: 0, level: 0, owner: 300 };
        assert!(check(&block(7), wanted).is_ok());
        let what = |wanted| check(&block(7), wanted).unwrap_err().to_string();
        assert_eq!(what(Wanted { generation: 1, ..wanted }), "tree block 0x7 has an impossible generation");
        assert_eq!(what(Wanted { level: 1, ..wanted }), "tree block 0x7 has an impossible level");
        assert_eq!(what(Wanted { owner: 7, ..wanted }), "tree block 0x7 has an impossible tree");
    }
}
