//! Blocks and inodes set aside and given back: bitmaps, and the counts of their groups.
//!
//! ```text
//! inode's runs ─► clusters (bigalloc: several blocks each) ─► bits of each group's bitmap ─► its checksum, free count, descriptor
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Block and Inode Bitmaps", "Block Group Descriptors").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::refusal::Refusal;
use crate::error::{Error, Result};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u16_at};
use crate::fs::ext4::groups::{BLOCK_UNINIT, CHECKSUM_AT, Group, INODE_UNINIT, WIDE_LEN};
use crate::fs::ext4::layout::{clear, is_set, set};
use crate::fs::ext4::rule::Ext4Rule;

/// Where a descriptor has the halves of a number: the lower, the upper.
const FREE_BLOCKS: (usize, usize) = (0x0c, 0x2c);
const FREE_INODES: (usize, usize) = (0x0e, 0x2e);
const DIRECTORIES: (usize, usize) = (0x10, 0x30);
const BLOCK_BITMAP_CHECKSUM: (usize, usize) = (0x18, 0x38);
const INODE_BITMAP_CHECKSUM: (usize, usize) = (0x1a, 0x3a);
const UNUSED_INODES: (usize, usize) = (0x1c, 0x32);

/// So many clusters behind what a file has already are better than more of them elsewhere.
const WORTH_IT: u64 = 64;

fn put_halves(descriptor: &mut [u8], place: (usize, usize), value: u64) {
    put(descriptor, place.0, &(value as u16).to_le_bytes());
    if descriptor.len() >= WIDE_LEN {
        put(descriptor, place.1, &((value >> 16) as u16).to_le_bytes());
    }
}

impl Ext4Writer {
    /// Changes the descriptor of group `number`, and makes its checksum.
    fn edit_group(&mut self, number: u64, edit: impl FnOnce(&mut [u8])) -> Result<()> {
        let superblock = self.fs.superblock();
        let (offset, len) = (superblock.descriptor_offset(number), superblock.descriptor_size as usize);
        let block = offset.checked_div(superblock.block_size).unwrap_or(0);
        let at = offset.checked_rem(superblock.block_size).unwrap_or(0) as usize;
        self.fs.blocks().change(block, |bytes| {
            let Some(own) = bytes.get_mut(at..at.saturating_add(len)) else { return };
            edit(own);
            if let Some(sum) = superblock.group_checksum(number, own) {
                put(own, CHECKSUM_AT, &sum.to_le_bytes());
            }
        })
    }

    /// Puts `bitmap` in place of the block bitmap of group `number`, whose free bits changed by `freed`.
    fn put_block_bitmap(&mut self, number: u64, group: &Group, bitmap: &[u8], freed: i64) -> Result<()> {
        let superblock = self.fs.superblock();
        let sum = superblock.bitmap_checksum(bitmap, superblock.clusters_per_group());
        self.fs.blocks().change(group.block_bitmap, |block| block.copy_from_slice(bitmap))?;
        let free = group.free_blocks.saturating_add_signed(freed);
        self.edit_group(number, |descriptor| {
            put_halves(descriptor, FREE_BLOCKS, free);
            if let Some(sum) = sum {
                put_halves(descriptor, BLOCK_BITMAP_CHECKSUM, u64::from(sum));
            }
            let flags = u16_at(descriptor, 0x12) & !BLOCK_UNINIT;
            put(descriptor, 0x12, &flags.to_le_bytes());
        })
    }

    fn put_inode_bitmap(
        &mut self,
        number: u64,
        group: &Group,
        bitmap: &[u8],
        edit: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let superblock = self.fs.superblock();
        let sum = superblock.bitmap_checksum(bitmap, superblock.inodes_per_group);
        self.fs.blocks().change(group.inode_bitmap, |block| block.copy_from_slice(bitmap))?;
        self.edit_group(number, |descriptor| {
            if let Some(sum) = sum {
                put_halves(descriptor, INODE_BITMAP_CHECKSUM, u64::from(sum));
            }
            edit(descriptor);
        })
    }

    /// The cluster of block `block`, counted over all groups.
    pub(super) fn cluster_of(&self, block: u64) -> u64 {
        let superblock = self.fs.superblock();
        let inside = block.saturating_sub(superblock.first_data_block);
        inside.checked_div(superblock.blocks_per_cluster()).unwrap_or(0)
    }

    /// Gives back clusters, each named once or more often, first and count. Answers with how many those are.
    pub(super) fn free_clusters(&mut self, mut runs: Vec<(u64, u64)>) -> Result<u64> {
        runs.sort_unstable();
        let per_group = self.fs.superblock().clusters_per_group().max(1);
        let (mut total, mut at) = (0_u64, 0_u64);
        let mut index = 0_usize;
        while let Some((first, count)) = runs.get(index).copied() {
            let end = first.saturating_add(count);
            at = at.max(first);
            if at >= end {
                index = index.saturating_add(1);
                continue;
            }
            // All of one group in one step.
            let number = at.checked_div(per_group).unwrap_or(0);
            let limit = number.saturating_add(1).saturating_mul(per_group);
            let group = self.fs.group(number)?;
            let mut bitmap = self.believed_bitmap(number, &group)?;
            let before = bitmap.clone();
            let mut freed = 0_u64;
            while let Some((first, count)) = runs.get(index).copied().filter(|(first, _)| *first < limit) {
                let end = first.saturating_add(count);
                at = at.max(first);
                for cluster in at..end.min(limit) {
                    let bit = cluster.checked_rem(per_group).unwrap_or(0);
                    if !is_set(&bitmap, bit) {
                        return Err(Error::corrupt(Ext4Rule::Bitmap {
                            group: number,
                            what: "fewer blocks in use",
                        }));
                    }
                    clear(&mut bitmap, bit);
                    freed = freed.saturating_add(1);
                }
                at = at.max(end.min(limit));
                if end > limit {
                    break;
                }
                index = index.saturating_add(1);
            }
            self.put_block_bitmap(number, &group, &bitmap, i64::try_from(freed).unwrap_or(0))?;
            self.forget_free(number, &before, &bitmap);
            total = total.saturating_add(freed);
        }
        Ok(total)
    }

    /// Forgets what was to be written to clusters of group `number` that were in use `before` and are not `now`.
    fn forget_free(&self, number: u64, before: &[u8], now: &[u8]) {
        let superblock = self.fs.superblock();
        let (start, per_cluster) = (superblock.blocks_of(number).start, superblock.blocks_per_cluster());
        for (index, (before, now)) in
            (0_u64..).zip(before.iter().zip(now)).filter(|(_, (one, other))| one != other)
        {
            for bit in (0..8_u64).filter(|bit| (before & !now) >> bit & 1 != 0) {
                let cluster = index.saturating_mul(8).saturating_add(bit);
                let block = start.saturating_add(cluster.saturating_mul(per_cluster));
                (block..block.saturating_add(per_cluster)).for_each(|block| self.fs.blocks().forget(block));
            }
        }
    }

    fn believed_bitmap(&self, number: u64, group: &Group) -> Result<Vec<u8>> {
        let bitmap = self.fs.block_bitmap(number, group)?;
        match !group.has_block_bitmap || self.fs.superblock().is_bitmap_sound(group, &bitmap) {
            true => Ok(bitmap),
            false => Err(Error::corrupt(Ext4Rule::Bitmap { group: number, what: "another checksum" })),
        }
    }

    /// Sets aside up to `most` clusters, one behind the other, at block `near` or behind it. Answers with the first block and how many
    /// blocks.
    pub(super) fn allocate(&mut self, near: u64, most: u64) -> Result<(u64, u64)> {
        self.find_room(near, most, false)?.ok_or_else(|| Refusal::NoSpace.into())
    }

    /// As [`allocate`](Self::allocate), of clusters that nobody had before these changes either: they may be written to before the
    /// changes count. `None` where there are none.
    pub(super) fn allocate_unused(&mut self, near: u64, most: u64) -> Result<Option<(u64, u64)>> {
        self.find_room(near, most, true)
    }

    fn find_room(&mut self, near: u64, most: u64, is_unused: bool) -> Result<Option<(u64, u64)>> {
        let superblock = self.fs.superblock();
        let (groups, per_cluster) = (superblock.group_count().max(1), superblock.blocks_per_cluster());
        let home = superblock.group_of(near);
        for step in 0..groups {
            let number = home.saturating_add(step).checked_rem(groups).unwrap_or(0);
            let group = self.fs.group(number)?;
            if group.free_blocks == 0 {
                continue;
            }
            let mut bitmap = self.believed_bitmap(number, &group)?;
            let blocks = self.fs.superblock().blocks_of(number);
            let bits = blocks.end.saturating_sub(blocks.start).div_ceil(per_cluster);
            let busy = if is_unused { self.with_former(number, &bitmap)? } else { bitmap.clone() };
            let goal = match step {
                0 => near.saturating_sub(blocks.start).checked_div(per_cluster).unwrap_or(0),
                _ => 0,
            };
            let Some((first, count)) = choose(&busy, bits, most, goal) else { continue };
            (first..first.saturating_add(count)).for_each(|bit| set(&mut bitmap, bit));
            let taken = i64::try_from(count).unwrap_or(0).saturating_neg();
            self.put_block_bitmap(number, &group, &bitmap, taken)?;
            let start = blocks.start.saturating_add(first.saturating_mul(per_cluster));
            let count = count.saturating_mul(per_cluster).min(blocks.end.saturating_sub(start));
            return Ok(Some((start, count)));
        }
        Ok(None)
    }

    /// `bitmap` of group `number`, with what was in use before these changes, and what the journal still has to say of.
    fn with_former(&self, number: u64, bitmap: &[u8]) -> Result<Vec<u8>> {
        let superblock = self.fs.superblock();
        let former = self.former_bitmap(number)?;
        let mut busy: Vec<u8> = bitmap.iter().zip(&former).map(|(one, other)| one | other).collect();
        let blocks = superblock.blocks_of(number);
        for block in self.fs.blocks().covered(blocks.start, blocks.end) {
            let inside = block.saturating_sub(blocks.start);
            set(&mut busy, inside.checked_div(superblock.blocks_per_cluster()).unwrap_or(0));
        }
        Ok(busy)
    }

    /// The block bitmap of group `number` as it is on the disk.
    pub(super) fn former_bitmap(&self, number: u64) -> Result<Vec<u8>> {
        let superblock = self.fs.superblock();
        let blocks = self.fs.blocks();
        let place = superblock.descriptor_offset(number);
        let group = superblock.group(number, &blocks.bytes_under(place, superblock.descriptor_size)?)?;
        let size = superblock.block_size;
        match group.has_block_bitmap {
            true => Ok(blocks.bytes_under(group.block_bitmap.saturating_mul(size), size)?.to_vec()),
            false => Ok(superblock.first_bitmap(number, &group)),
        }
    }

    /// Gives back inode `number`; its bytes are zeroes then.
    pub(super) fn free_inode(&mut self, number: u32, is_directory: bool) -> Result<()> {
        let (index, bit) = self.fs.superblock().place_of_inode(number);
        let group = self.fs.group(index)?;
        let mut bitmap = self.fs.blocks().block(group.inode_bitmap)?.to_vec();
        if !group.has_inode_bitmap
            || !self.fs.superblock().is_inode_bitmap_sound(&group, &bitmap)
            || !is_set(&bitmap, bit)
        {
            return Err(Error::corrupt(Ext4Rule::NoInode(number)));
        }
        clear(&mut bitmap, bit);
        self.put_inode_bitmap(index, &group, &bitmap, |descriptor| {
            put_halves(descriptor, FREE_INODES, group.free_inodes.saturating_add(1));
            if is_directory {
                put_halves(descriptor, DIRECTORIES, group.directories.saturating_sub(1));
            }
        })?;
        self.zero_inode(number)
    }

    /// Sets aside an inode, in group `home` or behind it.
    pub(super) fn allocate_inode(&mut self, home: u64, is_directory: bool) -> Result<u32> {
        let superblock = self.fs.superblock();
        let (groups, per_group) = (superblock.group_count().max(1), superblock.inodes_per_group);
        let has_unused = superblock.has(features::GDT_CSUM) || superblock.has(features::METADATA_CSUM);
        let (first_inode, block_size) = (u64::from(superblock.first_inode), superblock.block_size);
        for step in 0..groups {
            let number = home.saturating_add(step).checked_rem(groups).unwrap_or(0);
            let group = self.fs.group(number)?;
            let first = self.fs.superblock().first_inode_of(number);
            let mut bitmap = match group.has_inode_bitmap {
                true => self.fs.blocks().block(group.inode_bitmap)?.to_vec(),
                false => {
                    // Behind its end all are in use.
                    let mut fresh = vec![0_u8; block_size as usize];
                    (per_group..block_size.saturating_mul(8)).for_each(|bit| set(&mut fresh, bit));
                    fresh
                }
            };
            if group.has_inode_bitmap && !self.fs.superblock().is_inode_bitmap_sound(&group, &bitmap) {
                continue;
            }
            // The lowest: so that none before it was never written.
            let free = (0..per_group).find(|bit| !is_set(&bitmap, *bit));
            let Some(bit) = free.filter(|bit| first.saturating_add(*bit) >= first_inode) else { continue };
            let Ok(inode) = u32::try_from(first.saturating_add(bit)) else { continue };
            set(&mut bitmap, bit);
            self.put_inode_bitmap(number, &group, &bitmap, |descriptor| {
                put_halves(descriptor, FREE_INODES, group.free_inodes.saturating_sub(1));
                if is_directory {
                    put_halves(descriptor, DIRECTORIES, group.directories.saturating_add(1));
                }
                let in_use = group.inodes_in_use.max(bit.saturating_add(1));
                if has_unused {
                    put_halves(descriptor, UNUSED_INODES, per_group.saturating_sub(in_use));
                }
                let flags = u16_at(descriptor, 0x12) & !INODE_UNINIT;
                put(descriptor, 0x12, &flags.to_le_bytes());
            })?;
            return Ok(inode);
        }
        Err(Refusal::NoInodes.into())
    }
}

/// Up to `most` free bits from `goal` on, if that is worth it; or else as [`longest`].
fn choose(bitmap: &[u8], bits: u64, most: u64, goal: u64) -> Option<(u64, u64)> {
    let end = bits.min(goal.saturating_add(most));
    let count = (goal..end).take_while(|bit| !is_set(bitmap, *bit)).count() as u64;
    match count >= most.min(WORTH_IT) && count > 0 {
        true => Some((goal, count)),
        false => longest(bitmap, bits, most),
    }
}

/// The first run of `most` free bits, or else the longest.
fn longest(bitmap: &[u8], bits: u64, most: u64) -> Option<(u64, u64)> {
    let mut best: Option<(u64, u64)> = None;
    let mut begun = None;
    for bit in 0..=bits {
        let is_free = bit < bits && !is_set(bitmap, bit);
        let first = *match (is_free, &mut begun) {
            (true, begun) => begun.get_or_insert(bit),
            (false, Some(first)) => first,
            (false, None) => continue,
        };
        let count = bit.saturating_sub(first).saturating_add(u64::from(is_free));
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((first, count));
        }
        if count >= most {
            break;
        }
        if !is_free {
            begun = None;
        }
    }
    best.filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_that_is_long_enough_is_taken_or_the_longest() {
        let bitmap = [0b1111_0011, 0b1000_1111, 0xff];
        assert_eq!(longest(&bitmap, 24, 1), Some((2, 1)));
        assert_eq!(longest(&bitmap, 24, 2), Some((2, 2)));
        assert_eq!(longest(&bitmap, 24, 3), Some((12, 3)));
        assert_eq!(longest(&bitmap, 24, 9), Some((12, 3)));
        assert_eq!(longest(&bitmap, 13, 9), Some((2, 2)));
        assert_eq!(longest(&[0xff], 8, 1), None);
        assert_eq!(longest(&[0x7f], 8, 2), Some((7, 1)));
        assert_eq!(choose(&bitmap, 24, 2, 13), Some((13, 2)));
        assert_eq!(choose(&bitmap, 24, 3, 13), Some((12, 3)));
        assert_eq!(choose(&bitmap, 24, 3, 99), Some((12, 3)));
    }
}
