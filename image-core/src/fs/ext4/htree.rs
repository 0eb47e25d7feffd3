//! The index of a directory: a tree of hashes, so that a name is found in a few blocks of many thousands.
//!
//! ```text
//! block 0   `.` │ `..`, to the end of the block; in there: how names are hashed │ levels │ limit, count, block │ hash, block │ …
//!                                        └─► an entry to the end of its block; in there: limit, count, block │ hash, block │ …
//!                                                                  └─► a block of names with hashes from this one on
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Hash Tree Directories"). An odd hash says that names with the even one before it
//! begin in the block before. An index that makes no sense is left alone, as by a kernel: the names are all found without it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::checksum::crc32c;
use super::field::{field, u16_at, u32_at};
use super::inode::{FLAG_INDEX, Inode};
use super::rule::{Checksummed, Ext4Rule};
use super::{Ext4, features};
use crate::error::{Error, Result};

/// Where the root has what it says of the index.
pub(super) const INFO_AT: usize = 24;
/// How long that is.
const INFO_LEN: u8 = 8;
/// Where it has the number of levels.
const LEVELS_AT: usize = 30;
/// Where the entries begin: in the root, and in other nodes.
pub(super) const ROOT_ENTRIES: usize = 32;
pub(super) const NODE_ENTRIES: usize = 8;
/// Of an entry.
pub(super) const ENTRY_LEN: usize = 8;
/// Of the checksum behind all entries that there is room for, with what is reserved before it.
const SUM_LEN: usize = 8;
/// Where a block of an indexed directory has entries of its index; `None` if it has names.
pub(super) fn entries_at(block: &[u8]) -> Option<usize> {
    let len = match u16_at(block, 4) {
        0 | u16::MAX if block.len() >= 1 << 16 => block.len(),
        len => usize::from(len),
    };
    if u32_at(block, 0) == 0 && len == block.len() {
        return Some(NODE_ENTRIES);
    }
    // Behind `.`, which has 12 bytes.
    let rest = block.len().saturating_sub(12);
    let dots = len == 12 && usize::from(u16_at(block, 16)) == rest;
    let [info_len] = field::<1>(block, INFO_AT.saturating_add(5));
    (dots && u32_at(block, INFO_AT) == 0 && info_len == INFO_LEN).then_some(ROOT_ENTRIES)
}

/// Whether block `number` of the directory `inode` has a node of its index, and no names but `.` and `..`.
pub(super) fn is_node(inode: &Inode, number: u64, block: &[u8]) -> bool {
    let found = entries_at(block);
    inode.has(FLAG_INDEX) && found.is_some_and(|at| (at == ROOT_ENTRIES) == (number == 0))
}

/// Refuses a node whose checksum, behind all entries that there is room for, is another one.
pub(super) fn check(fs: &Ext4, inode: &Inode, number: u64, block: &[u8]) -> Result<()> {
    if !fs.superblock().has(features::METADATA_CSUM) {
        return Ok(());
    }
    let at = entries_at(block).unwrap_or(NODE_ENTRIES);
    let end = |count: u16| at.saturating_add(usize::from(count).saturating_mul(ENTRY_LEN));
    let (limit, count) = (u16_at(block, at), u16_at(block, at.saturating_add(2)));
    let tail = block.get(end(limit)..end(limit).saturating_add(8)).unwrap_or_default();
    let used = block.get(..end(count)).unwrap_or_default();
    let sum = crc32c(inode.seed, &[used, tail.get(..4).unwrap_or_default(), &[0; 4]]);
    if tail.is_empty() || count > limit || sum != u32_at(tail, 4) {
        return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Index(inode.number, number))));
    }
    Ok(())
}

/// Makes the checksum of a node whose entries begin at `at`.
pub(super) fn put_checksum(seed: u32, block: &mut [u8], at: usize) {
    let end = |count: u16| at.saturating_add(usize::from(count).saturating_mul(ENTRY_LEN));
    let (limit, count) = (u16_at(block, at), u16_at(block, at.saturating_add(2)));
    let used = block.get(..end(count)).unwrap_or_default();
    let reserved = field::<4>(block, end(limit));
    let sum = crc32c(seed, &[used, &reserved, &[0; 4]]);
    super::field::put(block, end(limit).saturating_add(4), &sum.to_le_bytes());
}

/// Of a node the place of its entries, how many there is room for and how many there are.
pub(super) fn shape(block: &[u8]) -> Option<(usize, u16, u16)> {
    let at = entries_at(block)?;
    Some((at, u16_at(block, at), u16_at(block, at.saturating_add(2))))
}

/// Makes `block`, all zeroes, a node that is not the root, with `entries` as they lie in another one. Answers with where they
/// begin.
pub(super) fn put_node(block: &mut [u8], entries: &[u8], has_sums: bool) -> usize {
    let len = if block.len() >= 1 << 16 { u16::MAX } else { block.len() as u16 };
    super::field::put(block, 4, &len.to_le_bytes());
    let tail = if has_sums { SUM_LEN } else { 0 };
    let room = block.len().saturating_sub(NODE_ENTRIES).saturating_sub(tail);
    let limit = (room / ENTRY_LEN) as u16;
    super::field::put(block, NODE_ENTRIES, entries);
    put_count(block, NODE_ENTRIES, limit, (entries.len() / ENTRY_LEN) as u16);
    NODE_ENTRIES
}

/// Says how many entries a node has room for and has: the first one has no hash but this.
pub(super) fn put_count(block: &mut [u8], entries_at: usize, limit: u16, count: u16) {
    super::field::put(block, entries_at, &limit.to_le_bytes());
    super::field::put(block, entries_at.saturating_add(2), &count.to_le_bytes());
}

/// Makes `block`, which begins with `.` and `..`, the root of an index whose only entry leads to block 1.
pub(super) fn put_root(block: &mut [u8], hash_version: u8, has_sums: bool) {
    let (dots_end, len) = (12_usize, block.len());
    block.get_mut(INFO_AT..).unwrap_or_default().fill(0);
    super::field::put(
        block,
        dots_end.saturating_add(4),
        &(len.saturating_sub(dots_end) as u16).to_le_bytes(),
    );
    super::field::put(block, INFO_AT.saturating_add(4), &[hash_version, INFO_LEN]);
    let tail = if has_sums { SUM_LEN } else { 0 };
    let limit = (len.saturating_sub(ROOT_ENTRIES).saturating_sub(tail) / ENTRY_LEN) as u16;
    put_count(block, ROOT_ENTRIES, limit, 1);
    super::field::put(block, ROOT_ENTRIES.saturating_add(4), &[1, 0, 0, 0]);
}

/// Says in the root that there is one more level.
pub(super) fn add_level(root: &mut [u8]) {
    let [levels] = field::<1>(root, LEVELS_AT);
    super::field::put(root, LEVELS_AT, &[levels.saturating_add(1)]);
}
