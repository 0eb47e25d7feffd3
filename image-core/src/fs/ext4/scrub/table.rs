//! Inode tables: free inodes are all zeroes; used ones have nothing behind what they say.
//!
//! ```text
//! used inode   … │ 60 bytes: map, extents, target, content │ … │ its own length │ mark, entries │ 0 ……… values
//!                              behind their end: zeroes                                    between: zeroes
//! ```
//! An inode of zeroes has no checksum to be wrong: e2fsprogs and Linux both take it for one that was never used.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Scrub;
use super::attributes::wipe_gap;
use crate::error::{Error, Result};
use crate::fs::ext4::attributes::MAGIC;
use crate::fs::ext4::extents::ENTRY_LEN;
use crate::fs::ext4::field::{field, u16_at, u32_at};
use crate::fs::ext4::groups::Group;
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_INLINE_DATA, Inode, NodeKind, OLD_LEN, ROOT};
use crate::fs::ext4::layout::is_set;
use crate::fs::ext4::mapping::has_map;
use crate::fs::ext4::write::inode::put_checksum;

/// Where an inode has its map, target or content, and how long that is.
const MAP_AT: usize = 0x28;
const MAP_LEN: usize = 60;
/// What later inodes have of their own, where one does not say it.
const EXTRA_LEN: usize = 32;

impl Scrub<'_> {
    /// Wipes the inode table of group `number`.
    pub(super) fn table(&mut self, number: u64) -> Result<()> {
        let group = self.fs.group(number)?;
        let superblock = self.fs.superblock();
        let bitmap = match group.has_inode_bitmap {
            true => Some(self.fs.blocks().block(group.inode_bitmap)?),
            false => None,
        };
        let (size, per_group) = (superblock.block_size, superblock.inodes_per_group);
        let (inode_size, first) = (superblock.inode_size, superblock.first_inode_of(number));
        let per_block = size.checked_div(inode_size).unwrap_or(1).max(1);
        for block in 0..superblock.table_blocks() {
            let index = block.saturating_mul(per_block);
            let is_free =
                |index: u64| index >= per_group || bitmap.as_ref().is_none_or(|bits| !is_set(bits, index));
            let place = group.inode_table.saturating_add(block);
            if (index..index.saturating_add(per_block)).all(is_free) {
                self.wipe_table_blocks(&group, block, 1)?;
                continue;
            }
            let offset = place.saturating_mul(size);
            let mut old = vec![0; size as usize];
            self.disk.read_at(&mut old, offset)?;
            let mut new = old.clone();
            for (index, bytes) in (index..).zip(new.chunks_exact_mut(inode_size as usize)) {
                if is_free(index) {
                    bytes.fill(0);
                } else {
                    let number = u32::try_from(first.saturating_add(index)).unwrap_or(u32::MAX);
                    self.used_inode(number, bytes)?;
                }
            }
            self.replace(&old, &new, offset)?;
        }
        Ok(())
    }

    fn wipe_table_blocks(&mut self, group: &Group, block: u64, count: u64) -> Result<()> {
        self.wipe_blocks(group.inode_table.saturating_add(block), count)
    }

    /// Wipes `bytes`, which are inode `number` and in use, behind what they say.
    fn used_inode(&self, number: u32, bytes: &mut [u8]) -> Result<()> {
        let superblock = self.fs.superblock();
        if number < superblock.first_inode && number != ROOT {
            // The filesystem's own: their maps may be other things.
            return Ok(());
        }
        let inode = Inode::from_bytes(superblock, number, bytes).map_err(Error::corrupt)?;
        let before = bytes.to_vec();
        let used = self.map_len(&inode);
        bytes
            .get_mut(MAP_AT.saturating_add(used)..MAP_AT.saturating_add(MAP_LEN))
            .unwrap_or_default()
            .fill(0);
        if bytes.len() > OLD_LEN {
            let said = usize::from(u16_at(bytes, 0x80));
            match said {
                0 => bytes.get_mut(OLD_LEN.saturating_add(EXTRA_LEN)..).unwrap_or_default().fill(0),
                said => inside(bytes, OLD_LEN.saturating_add(said)),
            }
        }
        if before != bytes {
            put_checksum(superblock, number, bytes);
        }
        Ok(())
    }

    /// How much of where an inode has its map is used.
    fn map_len(&self, inode: &Inode) -> usize {
        if inode.has(FLAG_INLINE_DATA) {
            // A directory's is all entries.
            return match inode.kind {
                NodeKind::Directory => MAP_LEN,
                _ => MAP_LEN.min(usize::try_from(inode.size).unwrap_or(MAP_LEN)),
            };
        }
        match inode.kind {
            NodeKind::Link if !has_map(self.fs, inode) => {
                MAP_LEN.min(usize::try_from(inode.size).unwrap_or(MAP_LEN))
            }
            NodeKind::CharacterDevice | NodeKind::BlockDevice => 8,
            NodeKind::Pipe | NodeKind::Socket => 0,
            _ if inode.has(FLAG_EXTENTS) => {
                let count = usize::from(u16_at(&inode.block, 2));
                count.saturating_add(1).saturating_mul(ENTRY_LEN).min(MAP_LEN)
            }
            _ => MAP_LEN,
        }
    }
}

/// Wipes what is behind an inode's own fields, from `start` on, but for attributes.
fn inside(bytes: &mut [u8], start: usize) {
    let area = bytes.get_mut(start..).unwrap_or_default();
    if field::<4>(area, 0) != MAGIC {
        area.fill(0);
        return;
    }
    let first = MAGIC.len();
    let entries = area.get_mut(first..).unwrap_or_default();
    // Without entries there is nothing.
    if u32_at(entries, 0) == 0 {
        entries.fill(0);
        return;
    }
    wipe_gap(entries, 0, 0);
}
