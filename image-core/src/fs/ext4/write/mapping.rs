//! Blocks given to an inode at its end, or all taken from it.
//!
//! ```text
//! append   the last extent longer, or one more in the last leaf, or one more leaf; a full root is moved into a block of its own
//!          block map: a pointer, and each list on the way to it that is not there yet
//! take     all of them; what stays is written down anew
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extent Tree", "Direct/Indirect Block Addressing").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::inode::put_sectors;
use crate::error::{Error, Result};
use crate::fs::ext4::blockmap::{DIRECT, LEVELS};
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::extents::{DEPTH_LIMIT, ENTRY_LEN, WRITTEN_MAX};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{copy, put, u16_at, u32_at, wide};
use crate::fs::ext4::inode::{FLAG_EXTENTS, Inode};
use crate::fs::ext4::run::{Place, Run};

/// Where an inode has its map, and how long that is.
pub(super) const MAP_AT: usize = 0x28;
pub(super) const MAP_LEN: usize = 60;
/// An empty root: no entries, room for four.
const ROOT: [u8; 8] = [0x0a, 0xf3, 0, 0, 4, 0, 0, 0];

/// Puts the map of an inode without blocks into its bytes.
pub(super) fn put_empty(bytes: &mut [u8], has_extents: bool) {
    bytes.get_mut(MAP_AT..MAP_AT.saturating_add(MAP_LEN)).unwrap_or_default().fill(0);
    if has_extents {
        put(bytes, MAP_AT, &ROOT);
    }
}

/// Makes the checksum of `node`, a block of extents, behind all entries that there is room for.
pub(in super::super) fn put_node_checksum(seed: u32, node: &mut [u8]) {
    let end = usize::from(u16_at(node, 4)).saturating_add(1).saturating_mul(ENTRY_LEN);
    let sum = crc32c(seed, &[node.get(..end).unwrap_or_default()]);
    put(node, end, &sum.to_le_bytes());
}

/// Puts `run` at the end of a leaf; `false` if there is no room.
fn push(node: &mut [u8], run: &Run) -> bool {
    let (count, most) = (u16_at(node, 2), u16_at(node, 4));
    let (place, is_written) = match run.place {
        Place::Data(block) => (block, true),
        Place::Unwritten(block) => (block, false),
        Place::Hole => return true,
    };
    let at = usize::from(count).saturating_mul(ENTRY_LEN);
    let last = node.get(at..at.saturating_add(ENTRY_LEN)).unwrap_or_default();
    let (first, len) = (u64::from(u32_at(last, 0)), u64::from(u16_at(last, 4)));
    let block = wide(u32_at(last, 8), u32::from(u16_at(last, 6)));
    let is_next = count > 0 && first.saturating_add(len) == run.first && block.saturating_add(len) == place;
    if is_written && is_next && len.saturating_add(run.count) <= WRITTEN_MAX {
        put(node, at.saturating_add(4), &(len.saturating_add(run.count) as u16).to_le_bytes());
        return true;
    }
    let most_blocks = if is_written { WRITTEN_MAX } else { WRITTEN_MAX.saturating_sub(1) };
    if count >= most || run.count > most_blocks {
        return false;
    }
    let len = if is_written { run.count } else { run.count.saturating_add(WRITTEN_MAX) };
    let at = at.saturating_add(ENTRY_LEN);
    put(node, at, &(run.first as u32).to_le_bytes());
    put(node, at.saturating_add(4), &(len as u16).to_le_bytes());
    put(node, at.saturating_add(6), &((place >> 32) as u16).to_le_bytes());
    put(node, at.saturating_add(8), &(place as u32).to_le_bytes());
    put(node, 2, &count.saturating_add(1).to_le_bytes());
    true
}

/// Puts an index of `child`, which begins with block `first` of the file, at the end of a node.
fn put_index(node: &mut [u8], first: u64, child: u64) {
    let count = u16_at(node, 2).saturating_add(1);
    let at = usize::from(count).saturating_mul(ENTRY_LEN);
    put(node, at, &(first as u32).to_le_bytes());
    put(node, at.saturating_add(4), &(child as u32).to_le_bytes());
    put(node, at.saturating_add(8), &((child >> 32) as u16).to_le_bytes());
    put(node, at.saturating_add(10), &[0; 2]);
    put(node, 2, &count.to_le_bytes());
}

impl Ext4Writer {
    /// Takes all blocks from `inode`, and counts them for nobody.
    pub(super) fn take_blocks(&mut self, inode: &Inode) -> Result<()> {
        let clusters = self.clusters_of(inode)?;
        let freed = self.free_clusters(clusters)?;
        let has_extents = inode.has(FLAG_EXTENTS);
        self.edit_inode(inode.number, |_, bytes| put_empty(bytes, has_extents))?;
        self.count_clusters(inode, i64::try_from(freed).unwrap_or(i64::MAX).saturating_neg())
    }

    /// Has `inode` have so many clusters more.
    pub(super) fn count_clusters(&mut self, inode: &Inode, count: i64) -> Result<()> {
        let size = i64::try_from(self.fs.superblock().cluster_size).unwrap_or(i64::MAX);
        let space = count.saturating_mul(size);
        self.charge(inode, space, 0)?;
        let sectors = self.fs.inode(inode.number)?.sectors.saturating_add_signed(space >> 9);
        self.edit_inode(inode.number, |superblock, bytes| put_sectors(superblock, bytes, sectors))
    }

    /// Sets aside `count` blocks behind the last one of inode `number`, which has `first` so far, and gives them to it. Answers with
    /// where they are.
    pub(super) fn grow(&mut self, number: u32, first: u64, count: u64) -> Result<Vec<Run>> {
        let superblock = self.fs.superblock();
        let (per_cluster, home) = (superblock.blocks_per_cluster(), superblock.place_of_inode(number).0);
        let near = superblock.blocks_of(home).start;
        let mut runs = Vec::new();
        let mut at = first;
        let end = first.saturating_add(count);
        let inside = first.checked_rem(per_cluster).unwrap_or(0);
        if inside > 0 {
            // Its last cluster has room.
            let inode = self.fs.inode(number)?;
            let before = first.saturating_sub(1);
            let last = crate::fs::ext4::mapping::leaf_of(&self.fs, &inode, before)?.at(before);
            if let Place::Data(block) = last.place {
                let count = per_cluster.saturating_sub(inside).min(count);
                runs.push(Run { first, count, place: Place::Data(block.saturating_add(1)) });
                at = first.saturating_add(count);
            }
        }
        let mut taken = 0_u64;
        while at < end {
            let left = end
                .saturating_sub(at)
                .div_ceil(per_cluster)
                .min(WRITTEN_MAX.checked_div(per_cluster).unwrap_or(1));
            let (block, found) = self.allocate(near, left)?;
            taken = taken.saturating_add(found.div_ceil(per_cluster));
            let count = found.min(end.saturating_sub(at));
            runs.push(Run { first: at, count, place: Place::Data(block) });
            at = at.saturating_add(count);
        }
        let inode = self.fs.inode(number)?;
        self.count_clusters(&inode, i64::try_from(taken).unwrap_or(i64::MAX))?;
        runs.iter().try_for_each(|run| self.append(number, run))?;
        Ok(runs)
    }

    /// Writes down that inode `number` has `run`, behind all others.
    pub(super) fn append(&mut self, number: u32, run: &Run) -> Result<()> {
        let inode = self.fs.inode(number)?;
        if !inode.has(FLAG_EXTENTS) {
            return self.append_to_map(&inode, run);
        }
        let depth = u16_at(&inode.block, 6);
        if depth == 0 {
            let mut fits = false;
            self.edit_inode(number, |_, bytes| {
                fits = push(bytes.get_mut(MAP_AT..MAP_AT.saturating_add(MAP_LEN)).unwrap_or_default(), run);
            })?;
            return if fits {
                Ok(())
            } else {
                self.deepen(&inode)?;
                self.append(number, run)
            };
        }
        // The last node of each level, the leaf last.
        let last = |node: &[u8]| {
            let at = usize::from(u16_at(node, 2)).saturating_mul(ENTRY_LEN);
            wide(u32_at(node, at.saturating_add(4)), u32::from(u16_at(node, at.saturating_add(8))))
        };
        let mut way = vec![last(&inode.block)];
        for _ in 1..depth {
            let above = way.last().copied().unwrap_or(0);
            way.push(last(&self.fs.blocks().block(above)?));
        }
        let leaf = way.pop().unwrap_or(0);
        let mut fits = false;
        self.edit_node(&inode, leaf, |node| fits = push(node, run))?;
        if fits {
            return Ok(());
        }
        // The lowest node above it that has room for one more, or else the root.
        let mut levels: u16 = 1;
        while let Some(node) = way.pop() {
            let block = self.fs.blocks().block(node)?;
            if u16_at(&block, 2) < u16_at(&block, 4) {
                let child = self.new_nodes(&inode, levels, run)?;
                return self.edit_node(&inode, node, |node| put_index(node, run.first, child));
            }
            levels = levels.saturating_add(1);
        }
        if u16_at(&inode.block, 2) >= u16_at(&inode.block, 4) {
            self.deepen(&inode)?;
            return self.append(number, run);
        }
        let child = self.new_nodes(&inode, levels, run)?;
        self.edit_inode(number, |_, bytes| {
            let root = bytes.get_mut(MAP_AT..MAP_AT.saturating_add(MAP_LEN)).unwrap_or_default();
            put_index(root, run.first, child);
        })
    }

    /// Changes a block of extents, and makes its checksum.
    fn edit_node(&mut self, inode: &Inode, block: u64, edit: impl FnOnce(&mut [u8])) -> Result<()> {
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |node| {
            edit(node);
            if has_sums {
                put_node_checksum(inode.seed, node);
            }
        })
    }

    /// A leaf with `run` alone, and so many nodes above it that there are `levels`. Answers with the uppermost.
    fn new_nodes(&mut self, inode: &Inode, levels: u16, run: &Run) -> Result<u64> {
        let most = self.node_room();
        let mut below = None;
        for depth in 0..levels {
            let own = self.fs.inode(inode.number)?;
            let (block, _) = self.allocate_block(&own)?;
            self.edit_node(inode, block, |node| {
                node.fill(0);
                put(node, 0, &ROOT);
                put(node, 4, &most.to_le_bytes());
                put(node, 6, &depth.to_le_bytes());
                match below {
                    None => {
                        push(node, run);
                    }
                    Some(child) => put_index(node, run.first, child),
                }
            })?;
            below = Some(block);
        }
        below.ok_or_else(|| Error::invalid("a tree without levels"))
    }

    /// How many entries a block of extents has room for.
    fn node_room(&self) -> u16 {
        let superblock = self.fs.superblock();
        let tail = if superblock.has(features::METADATA_CSUM) { 4 } else { 0 };
        let room = (superblock.block_size as usize).saturating_sub(ENTRY_LEN).saturating_sub(tail);
        room.checked_div(ENTRY_LEN).unwrap_or(0) as u16
    }

    /// Moves what the root of `inode`'s extents has into a block of its own.
    fn deepen(&mut self, inode: &Inode) -> Result<()> {
        let (block, _) = self.allocate_block(inode)?;
        let most = self.node_room();
        let (first, depth) = (u32_at(&inode.block, ENTRY_LEN), u16_at(&inode.block, 6).saturating_add(1));
        if depth > DEPTH_LIMIT {
            return Err(Error::unsupported(format!("inode {} would be in too many pieces", inode.number)));
        }
        self.edit_node(inode, block, |node| {
            node.fill(0);
            copy(node, &inode.block);
            put(node, 4, &most.to_le_bytes());
        })?;
        self.edit_inode(inode.number, |_, bytes| {
            put_empty(bytes, true);
            put(bytes, MAP_AT.saturating_add(6), &depth.to_le_bytes());
            let root = bytes.get_mut(MAP_AT..MAP_AT.saturating_add(MAP_LEN)).unwrap_or_default();
            put_index(root, u64::from(first), block);
        })
    }

    /// A block for what tells where the content of `inode` is.
    fn allocate_block(&mut self, inode: &Inode) -> Result<(u64, u64)> {
        let superblock = self.fs.superblock();
        let near = superblock.blocks_of(superblock.place_of_inode(inode.number).0).start;
        let found = self.allocate(near, 1)?;
        self.count_clusters(inode, 1)?;
        Ok(found)
    }

    fn append_to_map(&mut self, inode: &Inode, run: &Run) -> Result<()> {
        let Place::Data(start) = run.place else { return Ok(()) };
        for step in 0..run.count {
            let (own, block) = (run.first.saturating_add(step), start.saturating_add(step));
            let block = u32::try_from(block)
                .map_err(|_| Error::unsupported(format!("block {block} is too far for a block map")))?;
            self.point(inode, own, block)?;
        }
        Ok(())
    }

    /// Has the map of `inode` lead from its block `own` to `block`.
    fn point(&mut self, inode: &Inode, own: u64, block: u32) -> Result<()> {
        let per_list = self.fs.superblock().block_size >> 2;
        if own < DIRECT {
            let at = MAP_AT.saturating_add((own as usize).saturating_mul(4));
            return self.edit_inode(inode.number, |_, bytes| put(bytes, at, &block.to_le_bytes()));
        }
        let mut start = DIRECT;
        for level in 1..=LEVELS {
            let span = per_list.saturating_pow(level);
            if own >= start.saturating_add(span) {
                start = start.saturating_add(span);
                continue;
            }
            let at = MAP_AT.saturating_add(
                (DIRECT as usize).saturating_add(level as usize).saturating_sub(1).saturating_mul(4),
            );
            let known = u32_at(&self.fs.inode_bytes(inode.number)?, at);
            let mut list = self.list(inode, known)?;
            if known == 0 {
                self.edit_inode(inode.number, |_, bytes| put(bytes, at, &list.to_le_bytes()))?;
            }
            let mut inside = own.saturating_sub(start);
            for below in (1..level).rev() {
                let span = per_list.saturating_pow(below);
                let at = (inside.checked_div(span).unwrap_or(0) as usize).saturating_mul(4);
                inside = inside.checked_rem(span).unwrap_or(0);
                let known = u32_at(&self.fs.blocks().block(u64::from(list))?, at);
                let next = self.list(inode, known)?;
                self.fs.blocks().change(u64::from(list), |bytes| put(bytes, at, &next.to_le_bytes()))?;
                list = next;
            }
            let at = (inside as usize).saturating_mul(4);
            return self.fs.blocks().change(u64::from(list), |bytes| put(bytes, at, &block.to_le_bytes()));
        }
        Err(Error::unsupported(format!("inode {} would be too large", inode.number)))
    }

    /// The list of blocks at `known`, or a new one.
    fn list(&mut self, inode: &Inode, known: u32) -> Result<u32> {
        if known != 0 {
            return Ok(known);
        }
        let own = self.fs.inode(inode.number)?;
        let (block, _) = self.allocate_block(&own)?;
        self.fs.blocks().change(block, |bytes| bytes.fill(0))?;
        u32::try_from(block)
            .map_err(|_| Error::unsupported(format!("block {block} is too far for a block map")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_makes_the_last_extent_longer_or_is_one_more() {
        let mut bytes = [0; 256];
        put_empty(&mut bytes, true);
        let node = &mut bytes[MAP_AT..MAP_AT + MAP_LEN];
        let run = |first, count, block| Run { first, count, place: Place::Data(block) };
        assert!(push(node, &run(0, 3, 1 << 33)));
        assert!(push(node, &run(3, 2, (1 << 33) + 3)));
        assert_eq!((u16_at(node, 2), u16_at(node, 16), u16_at(node, 18)), (1, 5, 2));
        for index in 1..4 {
            assert!(push(node, &run(10 * index, 1, 7 * index)));
        }
        assert!(!push(node, &run(50, 1, 9)));
        assert!(push(node, &run(31, 32767, 22)));
        assert!(!push(node, &run(32_798, 1, 32_789)));
    }
}
