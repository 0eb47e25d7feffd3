//! Free space: what no chunk has of the disk, and in chunks what no extent has.
//!
//! ```text
//! extent tree   EXTENT_ITEM      address, kind, length       of data, and of tree blocks
//!               METADATA_ITEM    address, kind, level        of tree blocks, all of one size
//! chunk         ▓▓▓▓░░░░▓▓░░     what is between two extents is free, on each of its places
//! disk          first MiB │ chunk │ nothing │ chunk │ … 64 MiB: superblock … │ … 256 GiB: superblock …
//! ```
//!
//! Never free are the first MiB, and the 64 KiB from each superblock on: no chunk gives them away either. All of it counts only if it
//! adds up: what extents have to the superblock's sum, and what chunks have to that of the disk. Blocks of older
//! transactions are free. What a log has is not, though no extent tells of it. Btrfs documentation, "On-disk format" (Extent tree, Chunk tree).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Btrfs;
use super::chunks::Chunk;
use super::extent::stored_extent;
use super::key::{EXTENT_DATA, EXTENT_ITEM, EXTENT_TREE, Key, LOG_TREE, METADATA_ITEM, ROOT_ITEM};
use super::roots::tree_root;
use super::rule::BtrfsRule;
use super::superblock::PLACES;
use super::tree::Tree;
use crate::block::{ByteRange, Ranges};
use crate::error::{Error, Result};

/// The part of a disk at its beginning that stays as it is.
const RESERVED: u64 = 1 << 20;
/// What stays from a superblock on.
const AROUND_SUPERBLOCK: u64 = 64 << 10;

impl Btrfs {
    /// The places that neither an extent nor anything else has.
    pub(super) fn unused(&self) -> Result<Vec<ByteRange>> {
        let superblock = &self.blocks().superblock;
        let refuse = |what: &str| Err(Error::unsupported(what));
        if superblock.unknown_read_only != 0 {
            let unknown = superblock.unknown_read_only;
            return Err(Error::unsupported(format!("it has features that are not known here: {unknown:#x}")));
        }
        if !superblock.is_first {
            return refuse("its first superblock is broken");
        }
        let mut free = Ranges::default();
        self.leave_log(&mut free)?;
        self.between_chunks(&mut free)?;
        self.between_extents(&mut free)?;
        free.into_sorted()
    }

    /// Takes out what the log has: its blocks and its extents, of which the extent tree tells only when it was replayed.
    fn leave_log(&self, free: &mut Ranges) -> Result<()> {
        let blocks = self.blocks();
        let Some(root) = blocks.superblock.log_root else { return Ok(()) };
        let node = u64::from(blocks.superblock.node_size);
        let log = Tree::new(LOG_TREE, root);
        log.each_block(blocks, &mut |block| self.leave(free, block, node))?;
        for item in log.items(blocks, LOG_TREE, ROOT_ITEM) {
            let item = item?;
            let log = Tree::new(LOG_TREE, tree_root(item.key.offset, &item)?);
            log.each_block(blocks, &mut |block| self.leave(free, block, node))?;
            for item in log.range(blocks, Key::MIN, Key::MAX) {
                let item = item?;
                if item.key.kind == EXTENT_DATA
                    && let Some((start, len)) = stored_extent(&item)
                {
                    self.leave(free, start, len)?;
                }
            }
        }
        Ok(())
    }

    /// Takes out `len` bytes from the address `start` on, at each of their places.
    fn leave(&self, free: &mut Ranges, start: u64, len: u64) -> Result<()> {
        let place = self.blocks().chunks().0.place(start)?;
        if place.len < len {
            return Err(Error::corrupt(BtrfsRule::NoChunk(start.saturating_add(place.len))));
        }
        for copy in place.copies {
            if !free.leave(ByteRange::between(copy, copy.saturating_add(len))) {
                return Err(Error::unsupported("its log has too many extents"));
            }
        }
        Ok(())
    }

    /// What no chunk has of the disk.
    fn between_chunks(&self, free: &mut Ranges) -> Result<()> {
        let superblock = &self.blocks().superblock;
        let (chunks, disk_size) = self.blocks().chunks();
        let size = superblock.device_size;
        if size > disk_size {
            return Err(Error::corrupt(BtrfsRule::Superblock { field: "size of the disk", value: size }));
        }
        let mut stripes = Vec::new();
        for chunk in chunks.iter() {
            // A place on another disk, of which there is none; or a chunk in pieces.
            if chunk.copies.len() != chunk.stripe_count {
                let what = format!("the chunk at {:#x} is on other disks", chunk.logical);
                return Err(Error::unsupported(what));
            }
            stripes.extend(chunk.copies.iter().map(|copy| (*copy, copy.saturating_add(chunk.len), chunk)));
        }
        stripes.sort_unstable_by_key(|stripe| stripe.0);
        let (mut at, mut used) = (0, 0_u64);
        for (start, end, chunk) in stripes {
            if start < at || end > size {
                let (logical, what) = (chunk.logical, "place on the disk");
                return Err(Error::corrupt(BtrfsRule::Chunk { logical, what }));
            }
            add(free, at, start);
            used = used.saturating_add(chunk.len);
            at = end;
        }
        add(free, at, size);
        match used == superblock.device_used {
            true => Ok(()),
            false => {
                let (field, value) = ("sum of what chunks have", superblock.device_used);
                Err(Error::corrupt(BtrfsRule::Superblock { field, value }))
            }
        }
    }

    /// What no extent has of the chunks.
    fn between_extents(&self, free: &mut Ranges) -> Result<()> {
        let superblock = &self.blocks().superblock;
        let mut chunks = self.blocks().chunks().0.iter();
        let mut chunk = chunks.next();
        let mut at = chunk.map_or(0, |chunk| chunk.logical);
        let mut used = 0_u64;
        for item in self.tree(EXTENT_TREE)?.range(self.blocks(), Key::MIN, Key::MAX) {
            let Key { object: start, kind, offset } = item?.key;
            let len = match kind {
                EXTENT_ITEM => offset,
                METADATA_ITEM => u64::from(superblock.node_size),
                _ => continue,
            };
            let inside = loop {
                let Some(found) = chunk else { return Err(Error::corrupt(BtrfsRule::NoChunk(start))) };
                let end = found.logical.saturating_add(found.len);
                if start < end {
                    break found;
                }
                add_in(free, found, at, end);
                chunk = chunks.next();
                at = chunk.map_or(0, |chunk| chunk.logical);
            };
            let end = start.saturating_add(len);
            if len == 0 || start < at || end > inside.logical.saturating_add(inside.len) {
                let (tree, object, item, what) = (EXTENT_TREE, start, "extent", "place");
                return Err(Error::corrupt(BtrfsRule::Item { tree, object, item, what }));
            }
            add_in(free, inside, at, start);
            used = used.saturating_add(len);
            at = end;
        }
        while let Some(found) = chunk {
            add_in(free, found, at, found.logical.saturating_add(found.len));
            chunk = chunks.next();
            at = chunk.map_or(0, |chunk| chunk.logical);
        }
        match used == superblock.bytes_used {
            true => Ok(()),
            false => {
                let (field, value) = ("sum of what extents have", superblock.bytes_used);
                Err(Error::corrupt(BtrfsRule::Superblock { field, value }))
            }
        }
    }
}

/// Adds what is between two addresses of `chunk`, wherever that is.
fn add_in(free: &mut Ranges, chunk: &Chunk, start: u64, end: u64) {
    for copy in &chunk.copies {
        let place = |logical: u64| copy.saturating_add(logical.saturating_sub(chunk.logical));
        add(free, place(start), place(end));
    }
}

/// Adds what is between two places of the disk, but for what is never free.
fn add(free: &mut Ranges, start: u64, end: u64) {
    let mut at = start.max(RESERVED);
    for place in PLACES {
        let behind = place.saturating_add(AROUND_SUPERBLOCK);
        if at < behind && place < end {
            free.add(ByteRange::between(at, place));
            at = behind;
        }
    }
    free.add(ByteRange::between(at, end));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut free = Ranges::default();
        add(&mut free, start, end);
        free.into_sorted().unwrap().iter().map(|range| (range.offset(), range.end())).collect()
    }

    #[test]
    fn superblocks_and_the_first_mebibyte_are_never_free() {
        let (first, second, behind) = (64 << 20, 256 << 30, 64 << 10);
        assert_eq!(added(0, 10 << 20), [(1 << 20, 10 << 20)]);
        assert_eq!(added(0, 1 << 20), []);
        assert_eq!(
            added(0, 1 << 40),
            [(1 << 20, first), (first + behind, second), (second + behind, 1 << 40)]
        );
        assert_eq!(added(first, first + behind), []);
        assert_eq!(added(first + 4096, first + behind + 1), [(first + behind, first + behind + 1)]);
        assert_eq!(added(first - 1, first + 1), [(first - 1, first)]);
        assert_eq!(added(first + behind, second), [(first + behind, second)]);
    }

    #[test]
    fn what_is_free_in_a_chunk_is_free_at_each_of_its_places() {
        let (mega, mut free) = (1 << 20, Ranges::default());
        let chunk = Chunk::at(10 << 30, 8 * mega, &[2 * mega, 20 * mega]);
        add_in(&mut free, &chunk, (10 << 30) + mega, (10 << 30) + 2 * mega);
        assert_eq!(
            free.into_sorted().unwrap(),
            [3, 21].map(|at| ByteRange::between(at * mega, (at + 1) * mega))
        );
    }
}
