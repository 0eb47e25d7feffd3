//! Directories: the names in their blocks, one after the other.
//!
//! ```text
//! block   entry │ entry │ …………… entry │ entry of 12 bytes without a name: CRC
//! entry   0 inode, 0 for none │ 4 length to the next │ 6 length of the name │ 7 kind │ 8 name …
//! ```
//!
//! An index (htree.rs) lies in entries without a name, so that reading from front to back (read_directory.rs) finds every name. A directory in its
//! inode has neither `.` nor `..`: its first four bytes are the inode of its parent.
//! Linux kernel documentation, filesystems/ext4 ("Directory Entries", "Inline Directories").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::blocks::Block;
use super::checksum::crc32c;
use super::field::{u16_at, u32_at};
use super::inode::{FLAG_CASEFOLD, FLAG_ENCRYPTED, FLAG_INLINE_DATA, Inode, NodeKind};
use super::mapping::leaf_of;
use super::rule::{Checksummed, Ext4Rule};
use super::run::{Leaf, Place};
use super::{Ext4, features, htree};
use crate::error::{Error, Result};

/// Of an entry, without its name.
const HEADER_LEN: usize = 8;
/// The entry with the checksum, at the end of a block.
pub(super) const TAIL_LEN: usize = 12;
/// The kind that such an entry says it has.
const TAIL_KIND: u8 = 0xde;
/// Behind an encrypted name that is found whatever its case: its hashes.
const HASHES_LEN: usize = 8;

/// An entry as it lies in its block.
pub(super) struct RawEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) kind: u8,
    /// Where the next one is.
    pub(super) next: usize,
}

impl RawEntry<'_> {
    pub(super) fn kind(&self) -> Option<NodeKind> {
        Some(match self.kind {
            1 => NodeKind::File,
            2 => NodeKind::Directory,
            3 => NodeKind::CharacterDevice,
            4 => NodeKind::BlockDevice,
            5 => NodeKind::Pipe,
            6 => NodeKind::Socket,
            7 => NodeKind::Link,
            _ => return None,
        })
    }
}

/// The entry at `at` of `area`, which entries fill; `Err` is what is wrong with it.
pub(super) fn entry_at<'a>(
    fs: &Ext4,
    inode: &Inode,
    area: &'a [u8],
    at: usize,
) -> std::result::Result<RawEntry<'a>, &'static str> {
    let bytes = area.get(at..).unwrap_or_default();
    if bytes.len() < HEADER_LEN {
        return Err("an entry at its end");
    }
    let len = match u16_at(bytes, 4) {
        // A block of 64 KiB is longer than this can say.
        0 | u16::MAX if area.len() >= 1 << 16 => area.len(),
        len => usize::from(len),
    };
    let name_len = match fs.superblock().has(features::FILETYPE) {
        true => usize::from(bytes.get(6).copied().unwrap_or(0)),
        false => usize::from(u16_at(bytes, 6)),
    };
    let has_kind = fs.superblock().has(features::FILETYPE);
    let kind = if has_kind { bytes.get(7).copied().unwrap_or(0) } else { 0 };
    let number = u32_at(bytes, 0);
    let has_hashes = inode.has(FLAG_CASEFOLD) && inode.has(FLAG_ENCRYPTED) && number != 0;
    let needed = HEADER_LEN.saturating_add(name_len);
    let needed = if has_hashes && name_len > 2 { needed.saturating_add(HASHES_LEN) } else { needed };
    if len < HEADER_LEN.saturating_add(4) || len & 3 != 0 || needed > len || len > bytes.len() {
        return Err("an entry of an impossible length");
    }
    if number > fs.superblock().inode_count {
        return Err("an entry of an inode that there is not");
    }
    let name = bytes.get(HEADER_LEN..HEADER_LEN.saturating_add(name_len)).unwrap_or_default();
    Ok(RawEntry { name, inode: number, kind, next: at.saturating_add(len) })
}

/// Where the bytes of a directory are.
#[derive(Debug, Clone)]
pub(super) struct Areas {
    /// The block that comes next.
    next: u64,
    end: u64,
    leaf: Option<Leaf>,
}

impl Areas {
    pub(super) fn new(fs: &Ext4, inode: &Inode) -> Self {
        let end = match inode.has(FLAG_INLINE_DATA) {
            true => 2,
            false => inode.size.div_ceil(fs.superblock().block_size),
        };
        Self { next: 0, end, leaf: None }
    }

    /// The next area that entries fill, and its number; checked, if it has a checksum.
    pub(super) fn step(&mut self, fs: &Ext4, inode: &Inode) -> Result<Option<(u64, Block)>> {
        if self.next >= self.end {
            return Ok(None);
        }
        if self.end > fs.superblock().block_count {
            return Err(Error::corrupt(Ext4Rule::TooManyBlocks(inode.number)));
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        if inode.has(FLAG_INLINE_DATA) {
            return Ok(Some((number, inline_area(fs, inode, number)?)));
        }
        let leaf = match self.leaf.take() {
            Some(leaf) if leaf.covers.contains(&number) => leaf,
            _ => leaf_of(fs, inode, number)?,
        };
        let block = block_in(fs, inode, &leaf, number)?;
        self.leaf = Some(leaf);
        let area = names_of(fs, inode, number, block)?;
        Ok(Some((number, area)))
    }

    /// Forgets what can be read again, and goes back to area `number`, if one was begun.
    pub(super) fn rest(&mut self, number: Option<u64>) {
        self.leaf = None;
        self.next = number.unwrap_or(self.next);
    }

    /// Has no more areas.
    pub(super) fn end(&mut self) {
        self.next = self.end;
    }
}

/// Block `number` of a directory, with its place told by `leaf`.
fn block_in(fs: &Ext4, inode: &Inode, leaf: &Leaf, number: u64) -> Result<Block> {
    match leaf.at(number).place {
        Place::Data(block) => fs.blocks().block(block),
        _ => Err(wrong(inode, number, "nothing stored")),
    }
}

/// Block `number` of a directory that has blocks.
pub(super) fn block_of(fs: &Ext4, inode: &Inode, number: u64) -> Result<Block> {
    block_in(fs, inode, &leaf_of(fs, inode, number)?, number)
}

/// Of block `number` of a directory what entries fill, without its checksum, which is right.
pub(super) fn names_of(fs: &Ext4, inode: &Inode, number: u64, block: Block) -> Result<Block> {
    if !fs.superblock().has(features::METADATA_CSUM) {
        return Ok(block);
    }
    if htree::is_node(inode, number, &block) {
        htree::check(fs, inode, number, &block)?;
        return Ok(block);
    }
    let end = block.len().saturating_sub(TAIL_LEN);
    let tail = block.get(end..).unwrap_or_default();
    let is_tail =
        u32_at(tail, 0) == 0 && u16_at(tail, 4) == TAIL_LEN as u16 && tail.get(6..8) == Some(&[0, TAIL_KIND]);
    let names = block.part(0, end);
    if !is_tail || crc32c(inode.seed, &[&names]) != u32_at(tail, 8) {
        return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Names(inode.number, number))));
    }
    Ok(names)
}

/// Of a directory in its inode: what is in the inode itself behind its parent's number, and the rest.
fn inline_area(fs: &Ext4, inode: &Inode, number: u64) -> Result<Block> {
    match number {
        0 => Ok(Block::from(inode.block.get(4..).unwrap_or_default())),
        _ => Ok(Block::from(&fs.inline_value(inode)?[..])),
    }
}

pub(super) fn wrong(inode: &Inode, block: u64, what: &'static str) -> Error {
    Error::corrupt(Ext4Rule::Directory { inode: inode.number, block, what })
}
