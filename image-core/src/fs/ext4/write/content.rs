//! What is in a regular file: nothing from now on, or something else that is small.
//!
//! ```text
//! content ─┬─ fits where an inode has it inside ─► there
//!          ├─ as many blocks as it has, and few  ─► those
//!          └─ else                              ─► other blocks; those that it had are given back
//! ```
//! Owner, rights, attributes and flags stay. Linux kernel documentation, filesystems/ext4 ("Inline Data").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::attributes::{clear_inline, inline_value};
use super::inode::put_size;
use super::mapping::{MAP_AT, MAP_LEN, put_empty};
use crate::error::{Error, Result};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::inode::{FLAG_EXTENTS, FLAG_INLINE_DATA, FLAG_VERITY, Inode, NodeKind};
use crate::fs::ext4::mapping::each_part;
use crate::fs::ext4::run::{Part, Place, Run};

/// More is not held at once.
const CONTENT_MAX: usize = 16 << 20;
/// And no more of it is held until all changes are written.
const IN_PLACE_MAX: usize = 64 << 10;

impl Ext4Writer {
    fn regular(&self, number: u32) -> Result<Inode> {
        let inode = self.fs.inode(number)?;
        if inode.kind != NodeKind::File || number < self.fs.superblock().first_inode {
            return Err(Error::invalid("it is no regular file"));
        }
        if inode.has(FLAG_VERITY) {
            return Err(Error::unsupported("its content is sealed (verity)"));
        }
        Ok(inode)
    }

    pub(super) fn empty(&mut self, number: u32) -> Result<()> {
        let inode = self.regular(number)?;
        if inode.has(FLAG_INLINE_DATA) {
            let rest = inline_value(&self.fs, &inode)?;
            self.edit_inode(number, |_, bytes| {
                put_empty(bytes, false);
                if let Some(rest) = rest {
                    clear_inline(bytes, &rest);
                }
            })?;
        } else {
            self.take_blocks(&inode)?;
        }
        self.edit_inode(number, |_, bytes| put_size(bytes, 0))?;
        self.touch(number)
    }

    pub(super) fn rewrite(&mut self, number: u32, content: &[u8]) -> Result<()> {
        if content.len() > CONTENT_MAX {
            return Err(Error::unsupported(format!("{} bytes are too many to write at once", content.len())));
        }
        let inode = self.open_file(number)?;
        if inode.has(FLAG_INLINE_DATA) {
            if self.write_inside(&inode, content)? {
                return self.touch(number);
            }
            self.move_out(&inode)?;
        }
        let inode = self.fs.inode(number)?;
        let size = self.fs.superblock().block_size;
        let count = (content.len() as u64).div_ceil(size);
        match self.own_runs(&inode, count)?.filter(|_| content.len() <= IN_PLACE_MAX) {
            Some(runs) => self.fill(&runs, content)?,
            None => {
                self.take_blocks(&inode)?;
                let runs = self.pour_bytes(number, content)?;
                runs.iter().try_for_each(|run| self.append(number, run))?;
            }
        }
        self.edit_inode(number, |_, bytes| put_size(bytes, content.len() as u64))?;
        self.touch(number)
    }

    /// The regular file `number`, whose content can be read and written.
    pub(super) fn open_file(&self, number: u32) -> Result<Inode> {
        let inode = self.regular(number)?;
        match inode.is_encrypted() {
            true => Err(Error::unsupported("it is encrypted, and its key is not here")),
            false => Ok(inode),
        }
    }

    /// The runs of `inode`, if it has just `count` blocks, all of them written.
    fn own_runs(&self, inode: &Inode, count: u64) -> Result<Option<Vec<Run>>> {
        let mut runs = Vec::new();
        let (mut next, mut is_plain) = (0, true);
        each_part(&self.fs, inode, &mut |part| {
            if let Part::Run(run) = part {
                is_plain &= matches!(run.place, Place::Data(_)) && run.first == next;
                next = run.end();
                runs.push(run);
            }
            Ok(())
        })?;
        Ok((is_plain && next == count).then_some(runs))
    }

    /// Writes `content` into the blocks of `runs`, and zeroes behind it.
    pub(super) fn fill(&mut self, runs: &[Run], content: &[u8]) -> Result<()> {
        let size = self.fs.superblock().block_size as usize;
        let blocks = runs.iter().flat_map(|run| {
            let start = if let Place::Data(block) = run.place { block } else { 0 };
            start..start.saturating_add(run.count)
        });
        for (block, piece) in blocks.zip(content.chunks(size)) {
            self.check_held()?;
            self.fs.blocks().change(block, |bytes| {
                bytes.fill(0);
                put(bytes, 0, piece);
            })?;
        }
        Ok(())
    }

    /// Writes `content` where an inode has it inside, if it fits into what is there for it.
    fn write_inside(&mut self, inode: &Inode, content: &[u8]) -> Result<bool> {
        let rest = inline_value(&self.fs, inode)?;
        let room = rest.as_ref().map_or(0, |value| value.len);
        if content.len() > MAP_LEN.saturating_add(room) {
            return Ok(false);
        }
        let (head, tail) = content.split_at(content.len().min(MAP_LEN));
        self.edit_inode(inode.number, |_, bytes| {
            put_empty(bytes, false);
            put(bytes, MAP_AT, head);
            if let Some(value) = rest {
                let end = value.start.saturating_add(value.len);
                bytes.get_mut(value.start..end).unwrap_or_default().fill(0);
                put(bytes, value.start, tail);
                if tail.is_empty() {
                    clear_inline(bytes, &value);
                }
            }
            put_size(bytes, content.len() as u64);
        })?;
        Ok(true)
    }

    /// Has `inode`, which has its content inside, have blocks from now on; none yet.
    pub(super) fn move_out(&mut self, inode: &Inode) -> Result<()> {
        let rest = inline_value(&self.fs, inode)?;
        let has_extents = self.fs.superblock().has(features::EXTENTS);
        self.edit_inode(inode.number, |_, bytes| {
            put_empty(bytes, has_extents);
            if let Some(value) = &rest {
                value.remove(bytes);
            }
            let flags = u32_at(bytes, 0x20) & !FLAG_INLINE_DATA;
            let flags = if has_extents { flags | FLAG_EXTENTS } else { flags };
            put(bytes, 0x20, &flags.to_le_bytes());
        })
    }
}
