//! What inodes have in blocks: behind a file's end, never written, behind the entries of extents; and the filesystem's own files.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Scrub;
use crate::block::ByteRange;
use crate::error::Result;
use crate::fs::ext4::extents::ENTRY_LEN;
use crate::fs::ext4::features;
use crate::fs::ext4::field::u16_at;
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_INLINE_DATA, FLAG_VERITY, Inode, NodeKind, ROOT};
use crate::fs::ext4::mapping::each_part;
use crate::fs::ext4::run::{Part, Place, Run};
use crate::fs::ext4::write::attributes::inline_value;
use crate::fs::ext4::write::mapping::put_node_checksum;

/// The journal's superblock.
const JOURNAL_SUPERBLOCK: u64 = 1024;

impl Scrub<'_> {
    /// Wipes what inode `number` has in blocks, where nobody reads it.
    pub(super) fn content(&mut self, number: u32) -> Result<()> {
        let superblock = self.fs.superblock();
        let is_journal = number == superblock.journal_inode && superblock.has_journal;
        if number < superblock.first_inode && number != ROOT && !is_journal {
            return Ok(());
        }
        let inode = self.fs.inode(number)?;
        if inode.has(FLAG_INLINE_DATA) {
            return self.inline(&inode);
        }
        let mut parts = Vec::new();
        each_part(self.fs, &inode, &mut |part| {
            parts.push(part);
            Ok(())
        })?;
        for part in parts {
            match part {
                Part::Node { block, .. } if inode.has(FLAG_EXTENTS) => self.node(&inode, block)?,
                // All of a list of blocks leads to blocks.
                Part::Node { .. } => {}
                Part::Run(run) if is_journal => self.journal(&run)?,
                Part::Run(run) => self.run(&inode, &run)?,
            }
        }
        self.attribute_block(&inode)
    }

    fn run(&mut self, inode: &Inode, run: &Run) -> Result<()> {
        let size = self.fs.superblock().block_size;
        let block = match run.place {
            Place::Data(block) => block,
            // It reads as zeroes, whatever lies there; of what is sealed or encrypted, too.
            Place::Unwritten(block) => return self.wipe_blocks(block, run.count),
            Place::Hole => return Ok(()),
        };
        match inode.kind {
            NodeKind::Directory => {
                for step in 0..run.count {
                    let (own, block) = (run.first.saturating_add(step), block.saturating_add(step));
                    self.directory_block(inode, own, block)?;
                }
                Ok(())
            }
            // The end of an encrypted block is needed to read its beginning; behind a sealed file are its hashes.
            _ if inode.is_encrypted() || inode.has(FLAG_VERITY) => Ok(()),
            _ => {
                let start = run.first.saturating_mul(size);
                let end = run.end().saturating_mul(size);
                let from = inode.size.clamp(start, end);
                let place = block.saturating_mul(size).saturating_add(from.saturating_sub(start));
                self.wipe(ByteRange::new(place, end.saturating_sub(from))?)
            }
        }
    }

    fn journal(&mut self, run: &Run) -> Result<()> {
        let (Place::Data(block) | Place::Unwritten(block)) = run.place else { return Ok(()) };
        let size = self.fs.superblock().block_size;
        let start = block.saturating_mul(size);
        let skipped = if run.first == 0 { JOURNAL_SUPERBLOCK } else { 0 };
        let end = start.saturating_add(run.count.saturating_mul(size));
        self.wipe(ByteRange::between(start.saturating_add(skipped), end))
    }

    /// Wipes a node of extents behind its entries.
    fn node(&mut self, inode: &Inode, block: u64) -> Result<()> {
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        let seed = inode.seed;
        self.edit_block(block, |node| {
            let end = |count: u16| usize::from(count).saturating_add(1).saturating_mul(ENTRY_LEN);
            let (used, room) = (end(u16_at(node, 2)), end(u16_at(node, 4)));
            let tail = room.saturating_add(if has_sums { 4 } else { 0 });
            node.get_mut(used..room).unwrap_or_default().fill(0);
            node.get_mut(tail..).unwrap_or_default().fill(0);
            if has_sums {
                put_node_checksum(seed, node);
            }
        })
    }

    /// Wipes what an inode with its content inside has behind its end: of a directory, behind names.
    fn inline(&mut self, inode: &Inode) -> Result<()> {
        let superblock = self.fs.superblock();
        let (offset, len) = (self.fs.inode_offset(inode.number)?, superblock.inode_size as usize);
        let mut old = vec![0; len];
        // As the table was left.
        self.disk.read_at(&mut old, offset)?;
        let mut new = old.clone();
        let value = inline_value(self.fs, inode)?;
        let place = value.map(|value| value.start..value.start.saturating_add(value.len));
        if inode.kind == NodeKind::Directory {
            self.names(inode, 0, new.get_mut(0x2c..0x64).unwrap_or_default())?;
            if let Some(place) = place {
                self.names(inode, 1, new.get_mut(place).unwrap_or_default())?;
            }
        } else if let Some(place) = place {
            let rest = usize::try_from(inode.size).unwrap_or(usize::MAX).saturating_sub(60);
            new.get_mut(place.start.saturating_add(rest).min(place.end)..place.end)
                .unwrap_or_default()
                .fill(0);
        }
        if new != old {
            crate::fs::ext4::write::inode::put_checksum(superblock, inode.number, &mut new);
        }
        self.replace(&old, &new, offset)?;
        self.attribute_block(inode)
    }
}
