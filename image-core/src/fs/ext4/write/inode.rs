//! The bytes of inodes: edited in one place, which makes their checksum; and the end of an inode, with all that is its.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use crate::error::{Error, Result};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u16_at, u32_at};
use crate::fs::ext4::inode::{FLAG_HUGE_FILE, Inode, NodeKind, OLD_LEN, Time, checksum_fields};
use crate::fs::ext4::mapping::each_part;
use crate::fs::ext4::run::{Part, Place};
use crate::fs::ext4::superblock::Superblock;

/// Where an inode has a time, and the rest of it.
pub(super) const CHANGED: (usize, usize) = (0x0c, 0x84);
pub(super) const MODIFIED: (usize, usize) = (0x10, 0x88);
pub(super) const ACCESSED: (usize, usize) = (0x08, 0x8c);
pub(super) const CREATED: (usize, usize) = (0x90, 0x94);

/// Makes the checksum of `bytes`, which are inode `number`.
pub(in super::super) fn put_checksum(superblock: &Superblock, number: u32, bytes: &mut [u8]) {
    if let Some(sum) = superblock.inode_checksum(number, bytes) {
        let fields: Vec<usize> = checksum_fields(bytes).collect();
        for (at, half) in fields.into_iter().zip(sum.to_le_bytes().as_chunks::<2>().0) {
            put(bytes, at, half);
        }
    }
}

/// Sets a time of the inode `bytes`; what there is no room for is left out.
pub(super) fn put_time(bytes: &mut [u8], (at, extra_at): (usize, usize), time: Time) {
    let extra = if bytes.len() > OLD_LEN { usize::from(u16_at(bytes, 0x80)) } else { 0 };
    let has = |at: usize| extra.saturating_add(OLD_LEN) >= at.saturating_add(4);
    let low = time.seconds as u32;
    let rounds = time.seconds.saturating_sub(i64::from(low.cast_signed())) >> 32;
    if at < OLD_LEN || has(at) {
        put(bytes, at, &low.to_le_bytes());
    }
    if has(extra_at) {
        let extra = (rounds as u32 & 3) | time.nanoseconds << 2;
        put(bytes, extra_at, &extra.to_le_bytes());
    }
}

/// Sets what is set aside for the inode `bytes`, in sectors.
pub(super) fn put_sectors(superblock: &Superblock, bytes: &mut [u8], sectors: u64) {
    let is_huge = superblock.has(features::HUGE_FILE);
    let in_blocks = is_huge && u32_at(bytes, 0x20) & FLAG_HUGE_FILE != 0;
    let count =
        if in_blocks { sectors.checked_div(superblock.block_size >> 9).unwrap_or(0) } else { sectors };
    put(bytes, 0x1c, &(count as u32).to_le_bytes());
    if is_huge {
        put(bytes, 0x74, &((count >> 32) as u16).to_le_bytes());
    }
}

/// Sets the size of the inode `bytes`.
pub(super) fn put_size(bytes: &mut [u8], size: u64) {
    put(bytes, 0x04, &(size as u32).to_le_bytes());
    put(bytes, 0x6c, &((size >> 32) as u32).to_le_bytes());
}

impl Ext4Writer {
    /// Changes the bytes of inode `number`, and makes its checksum.
    pub(super) fn edit_inode(
        &mut self,
        number: u32,
        edit: impl FnOnce(&Superblock, &mut [u8]),
    ) -> Result<()> {
        self.check_held()?;
        let offset = self.fs.inode_offset(number)?;
        let superblock = self.fs.superblock();
        let block = offset.checked_div(superblock.block_size).unwrap_or(0);
        let at = offset.checked_rem(superblock.block_size).unwrap_or(0) as usize;
        let end = at.saturating_add(superblock.inode_size as usize);
        self.fs.blocks().change(block, |bytes| {
            let Some(own) = bytes.get_mut(at..end) else { return };
            edit(superblock, own);
            put_checksum(superblock, number, own);
        })
    }

    /// Sets the times of an inode whose content was changed.
    pub(super) fn touch(&mut self, number: u32) -> Result<()> {
        let time = self.time;
        self.edit_inode(number, |_, bytes| {
            put_time(bytes, CHANGED, time);
            put_time(bytes, MODIFIED, time);
        })
    }

    /// Makes inode `number` all zeroes, as one that was never used.
    pub(super) fn zero_inode(&mut self, number: u32) -> Result<()> {
        let offset = self.fs.inode_offset(number)?;
        let superblock = self.fs.superblock();
        let block = offset.checked_div(superblock.block_size).unwrap_or(0);
        let at = offset.checked_rem(superblock.block_size).unwrap_or(0) as usize;
        let end = at.saturating_add(superblock.inode_size as usize);
        self.fs.blocks().change(block, |bytes| bytes.get_mut(at..end).unwrap_or_default().fill(0))
    }

    /// Takes one name from inode `number`, and with the last one all that is its.
    pub(super) fn unlink(&mut self, inode: &Inode) -> Result<()> {
        let is_directory = inode.kind == NodeKind::Directory;
        if inode.links > 1 && !is_directory {
            let (links, time) = (inode.links.saturating_sub(1) as u16, self.time);
            return self.edit_inode(inode.number, |_, bytes| {
                put(bytes, 0x1a, &links.to_le_bytes());
                put_time(bytes, CHANGED, time);
            });
        }
        self.delete(inode)
    }

    /// Frees `inode`, its blocks and attributes.
    pub(super) fn delete(&mut self, inode: &Inode) -> Result<()> {
        if inode.number < self.fs.superblock().first_inode {
            return Err(Error::invalid(format!("inode {} is the filesystem's own", inode.number)));
        }
        let clusters = self.clusters_of(inode)?;
        let values = self.release_attributes(inode)?;
        self.free_clusters(clusters)?;
        let space = i64::try_from(inode.sectors.saturating_mul(512)).unwrap_or(i64::MAX);
        self.charge(inode, space.saturating_neg(), 1_i64.saturating_add(values).saturating_neg())?;
        self.free_inode(inode.number, inode.kind == NodeKind::Directory)
    }

    /// The clusters of the content of `inode`, and of what tells where it is.
    pub(super) fn clusters_of(&self, inode: &Inode) -> Result<Vec<(u64, u64)>> {
        let mut blocks = Vec::new();
        each_part(&self.fs, inode, &mut |part| {
            match part {
                Part::Node { block, .. } => blocks.push((block, 1)),
                Part::Run(run) => {
                    if let Place::Data(block) | Place::Unwritten(block) = run.place {
                        blocks.push((block, run.count));
                    }
                }
            }
            Ok(())
        })?;
        let clusters = blocks.into_iter().map(|(block, count)| {
            let first = self.cluster_of(block);
            let last = self.cluster_of(block.saturating_add(count).saturating_sub(1));
            (first, last.saturating_sub(first).saturating_add(1))
        });
        Ok(clusters.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ext4::inode::time_of;

    #[test]
    fn times_are_written_as_they_are_read() {
        for (seconds, nanoseconds) in
            [(0, 0), (-1, 1), (1 << 31, 999_999_999), (-(1 << 31), 5), (15_032_385_535, 7)]
        {
            let time = Time { seconds, nanoseconds };
            let mut bytes = [0; 256];
            put(&mut bytes, 0x80, &[32]);
            put_time(&mut bytes, CHANGED, time);
            assert_eq!(time_of(u32_at(&bytes, 0x0c), u32_at(&bytes, 0x84)), time);
            let mut old = [0; 128];
            put_time(&mut old, CHANGED, time);
            put_time(&mut old, CREATED, time);
            assert_eq!(u32_at(&old, 0x0c), seconds as u32);
        }
    }
}
