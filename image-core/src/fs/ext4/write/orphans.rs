//! Orphans: files that were removed while somebody had them open, or were being cut, when the filesystem was last left.
//!
//! ```text
//! superblock ─► inode ─► inode ─► …          each has the next one where others have the time they went
//! orphan file ─► blocks of numbers │ mark │ CRC
//! ```
//! What has no name goes; what has one is cut at its size. As a mount does it. Linux kernel documentation, filesystems/ext4
//! ("Orphan Inodes").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use crate::error::{Error, Result};
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::inode::{FLAG_INLINE_DATA, NodeKind};
use crate::fs::ext4::mapping::each_part;
use crate::fs::ext4::run::{Part, Place};

/// Behind the numbers in a block of the orphan file: mark and checksum.
const TAIL_LEN: usize = 8;
const MAGIC: u32 = 0x0b10_ca04;

impl Ext4Writer {
    pub(super) fn free_orphans(&mut self) -> Result<()> {
        let mut next = self.fs.superblock().last_orphan;
        let mut left = self.fs.superblock().inode_count;
        while next != 0 {
            self.is_dirty = true;
            left = left.checked_sub(1).ok_or_else(|| Error::corrupt("the list of orphans does not end"))?;
            let number = next;
            next = u32_at(&self.fs.inode_bytes(number)?, 0x14);
            self.end_orphan(number)?;
        }
        let file = self.fs.superblock().orphan_inode;
        if file != 0 && self.fs.superblock().has(features::ORPHAN_PRESENT) {
            self.is_dirty = true;
            self.free_listed(file)?;
        }
        Ok(())
    }

    fn free_listed(&mut self, file: u32) -> Result<()> {
        let file = self.fs.inode(file)?;
        let mut blocks = Vec::new();
        each_part(&self.fs, &file, &mut |part| {
            if let Part::Run(run) = part
                && let Place::Data(block) = run.place
            {
                blocks.extend(block..block.saturating_add(run.count));
            }
            Ok(())
        })?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        for number in blocks {
            let block = self.fs.blocks().block(number)?;
            let end = block.len().saturating_sub(TAIL_LEN);
            if u32_at(&block, end) != MAGIC {
                return Err(Error::corrupt("a block of the orphan file has no mark"));
            }
            let orphans: Vec<u32> = block
                .get(..end)
                .unwrap_or_default()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect();
            for orphan in orphans.into_iter().filter(|orphan| *orphan != 0) {
                self.end_orphan(orphan)?;
            }
            self.fs.blocks().change(number, |bytes| {
                bytes.get_mut(..end).unwrap_or_default().fill(0);
                if has_sums {
                    let sum =
                        crc32c(file.seed, &[&number.to_le_bytes(), bytes.get(..end).unwrap_or_default()]);
                    put(bytes, end.saturating_add(4), &sum.to_le_bytes());
                }
            })?;
        }
        Ok(())
    }

    fn end_orphan(&mut self, number: u32) -> Result<()> {
        let inode = self.fs.inode(number)?;
        if inode.links == 0 {
            return self.delete(&inode);
        }
        if inode.kind == NodeKind::File && !inode.has(FLAG_INLINE_DATA) {
            let count = inode.size.div_ceil(self.fs.superblock().block_size);
            self.cut(&inode, count)?;
        }
        self.edit_inode(number, |_, bytes| put(bytes, 0x14, &[0; 4]))
    }
}
