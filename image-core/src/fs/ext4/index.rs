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

use super::blocks::Block;
use super::checksum::crc32c;
use super::directory::{block_of, entry_at, names_of, wrong};
use super::field::{field, u16_at, u32_at};
use super::hash::NameHash;
use super::inode::{FLAG_CASEFOLD, FLAG_INDEX, FLAG_INLINE_DATA, Inode};
use super::rule::{Ext4Rule, Summed};
use super::{Ext4, features};
use crate::error::{Error, Result};

/// Where the root has what it says of the index.
const INFO_AT: usize = 24;
/// How long that is.
const INFO_LEN: u8 = 8;
/// Where it has the number of levels.
const LEVELS_AT: usize = 30;
/// Where the entries begin: in the root, and in other nodes.
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
/// Of an entry.
pub(super) const ENTRY_LEN: usize = 8;
/// Of the checksum behind all entries that there is room for, with what is reserved before it.
const SUM_LEN: usize = 8;
/// The levels between the root and the names; one more in large directories.
const LEVELS: u8 = 2;
/// More blocks than names with one hash fill.
const SAME_HASH_LIMIT: usize = 1 << 12;

/// Where a block of an indexed directory has entries of its index; `None` if it has names.
fn entries_at(block: &[u8]) -> Option<usize> {
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
        return Err(Error::corrupt(Ext4Rule::Checksum(Summed::Index(inode.number, number))));
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

/// Whether names are found by an index in the directory `inode`.
pub(super) fn is_used(fs: &Ext4, inode: &Inode) -> bool {
    inode.has(FLAG_INDEX) && fs.superblock().has(features::DIR_INDEX) && !inode.has(FLAG_INLINE_DATA)
}

/// Whether case does not count in the directory `inode`.
pub(super) fn is_folded(inode: &Inode) -> bool {
    inode.has(FLAG_CASEFOLD)
}

/// `name` as it is hashed, if it is ASCII: folded, that is lower case.
pub(super) fn folded(inode: &Inode, name: &[u8]) -> Vec<u8> {
    if is_folded(inode) { name.to_ascii_lowercase() } else { name.to_vec() }
}

/// The way to the block that a name belongs into.
pub(super) struct Way {
    pub(super) hash: NameHash,
    /// From the root on; at least that.
    pub(super) nodes: Vec<Node>,
    pub(super) leaf: u64,
    /// Whether there may be one more level of nodes.
    pub(super) may_grow: bool,
}

/// A node on a way: the entry of it that leads on, how many it has and has room for.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) number: u64,
    pub(super) entries_at: usize,
    pub(super) chosen: usize,
    pub(super) count: u16,
    pub(super) limit: u16,
}

impl Node {
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    fn of(number: u64, frame: &Frame) -> Self {
        let at = frame.entries_at;
        let (limit, count) = (u16_at(&frame.block, at), u16_at(&frame.block, at.saturating_add(2)));
        Self { number, entries_at: at, chosen: frame.chosen, count, limit }
    }
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

/// Says in the root that there is one more level.
pub(super) fn add_level(root: &mut [u8]) {
    let [levels] = field::<1>(root, LEVELS_AT);
    super::field::put(root, LEVELS_AT, &[levels.saturating_add(1)]);
}

/// The way to the first block of the directory `inode` in which `name` may be; `None` for an index that makes no sense.
pub(super) fn way_to(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Way>> {
    let Some(Start { hash, major, levels, may_grow, mut frame }) = start(fs, inode, name)? else {
        return Ok(None);
    };
    let mut nodes = vec![Node::of(0, &frame)];
    for _ in 0..levels {
        let number = frame.below();
        let Some(next) = Frame::new(node(fs, inode, number)?, NODE_ENTRIES, major) else { return Ok(None) };
        nodes.push(Node::of(number, &next));
        frame = next;
    }
    Ok(Some(Way { hash, nodes, leaf: frame.below(), may_grow }))
}

/// The root of an index, from which a name is looked for.
struct Start {
    hash: NameHash,
    /// Of the name.
    major: u32,
    /// Of nodes beneath the root, and whether there may be one more.
    levels: u8,
    may_grow: bool,
    frame: Frame,
}

/// Where the search for `name` begins in the directory `inode`; `None` for an index that makes no sense.
fn start(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Start>> {
    let root = node(fs, inode, 0)?;
    let [_, _, _, _, version, _, levels, _] = field::<8>(&root, INFO_AT);
    let superblock = fs.superblock();
    let most = if superblock.has(features::LARGE_DIR) { LEVELS.saturating_add(1) } else { LEVELS };
    let hash = NameHash::new(version, superblock.has_unsigned_hash, superblock.hash_seed);
    let (Some(hash), Some(ROOT_ENTRIES), true) = (hash, entries_at(&root), levels < most) else {
        return Ok(None);
    };
    let (major, _) = hash.of(&folded(inode, name));
    let may_grow = levels.saturating_add(1) < most;
    let frame = Frame::new(root, ROOT_ENTRIES, major);
    Ok(frame.map(|frame| Start { hash, major, levels, may_grow, frame }))
}

/// A node, and the entry of it that is being followed.
struct Frame {
    block: Block,
    entries_at: usize,
    count: usize,
    chosen: usize,
}

impl Frame {
    /// Of a node, with the last entry chosen that names with `hash` may be behind; `None` for a node that makes no sense.
    fn new(block: Block, entries_at: usize, hash: u32) -> Option<Self> {
        let (limit, count) = (u16_at(&block, entries_at), u16_at(&block, entries_at.saturating_add(2)));
        let end = entries_at.saturating_add(usize::from(limit).saturating_mul(ENTRY_LEN));
        if count == 0 || count > limit || end > block.len() {
            return None;
        }
        let mut frame = Self { block, entries_at, count: usize::from(count), chosen: 0 };
        let (mut low, mut high) = (1, frame.count);
        while low < high {
            let middle = low.midpoint(high);
            match frame.hash(middle) <= hash {
                true => low = middle.saturating_add(1),
                false => high = middle,
            }
        }
        frame.chosen = low.saturating_sub(1);
        Some(frame)
    }

    fn at(&self, index: usize) -> usize {
        self.entries_at.saturating_add(index.saturating_mul(ENTRY_LEN))
    }

    /// Of an entry; the first one has none.
    fn hash(&self, index: usize) -> u32 {
        u32_at(&self.block, self.at(index))
    }

    /// The block that the chosen entry leads to.
    fn below(&self) -> u64 {
        u64::from(u32_at(&self.block, self.at(self.chosen).saturating_add(4)) & 0x0fff_ffff)
    }
}

/// What the index of the directory `inode` says of `name`: the inode, or that there is none; `None` if there is no index
/// to ask.
pub(super) fn find(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Option<u32>>> {
    Ok(find_entry(fs, inode, name)?.map(|found| found.map(|(_, inode)| inode)))
}

/// As [`find`], but the block of the directory that has the name.
pub(super) fn find_block(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Option<u64>>> {
    Ok(find_entry(fs, inode, name)?.map(|found| found.map(|(block, _)| block)))
}

fn find_entry(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<Option<(u64, u32)>>> {
    let is_asked = inode.has(FLAG_INDEX)
        && fs.superblock().has(features::DIR_INDEX)
        && !inode.has(FLAG_INLINE_DATA)
        && !inode.is_encrypted()
        && !matches!(name, b"." | b"..");
    if !is_asked {
        return Ok(None);
    }
    let is_folded = inode.has(FLAG_CASEFOLD);
    if is_folded && !name.is_ascii() {
        return Ok(None);
    }
    let Some(Start { major: hash, levels, frame: first, .. }) = start(fs, inode, name)? else {
        return Ok(None);
    };
    let mut frames = vec![first];
    for _ in 0..SAME_HASH_LIMIT {
        while frames.len() <= usize::from(levels) {
            let Some(number) = frames.last().map(Frame::below) else { return Ok(None) };
            let Some(frame) = Frame::new(node(fs, inode, number)?, NODE_ENTRIES, hash) else {
                return Ok(None);
            };
            frames.push(frame);
        }
        let Some(number) = frames.last().map(Frame::below) else { return Ok(None) };
        if let Some(found) = find_in(fs, inode, number, name, is_folded)? {
            return Ok(Some(Some((number, found))));
        }
        if !advance(&mut frames, hash) {
            return Ok(Some(None));
        }
    }
    Ok(None)
}

/// Goes on to the next block of names, if it has names with the same hash.
fn advance(frames: &mut Vec<Frame>, hash: u32) -> bool {
    while let Some(frame) = frames.last_mut() {
        frame.chosen = frame.chosen.saturating_add(1);
        if frame.chosen < frame.count {
            return frame.hash(frame.chosen) & !1 == hash;
        }
        frames.pop();
    }
    false
}

/// Block `number` of the directory, which has a node.
fn node(fs: &Ext4, inode: &Inode, number: u64) -> Result<Block> {
    let block = block_of(fs, inode, number)?;
    check(fs, inode, number, &block)?;
    Ok(block)
}

/// The inode that `name` names in block `number` of the directory.
fn find_in(fs: &Ext4, inode: &Inode, number: u64, name: &[u8], is_folded: bool) -> Result<Option<u32>> {
    let area = names_of(fs, inode, number, block_of(fs, inode, number)?)?;
    let mut at = 0;
    while at < area.len() {
        let entry = entry_at(fs, inode, &area, at).map_err(|what| wrong(inode, number, what))?;
        let is_it = entry.name == name || is_folded && entry.name.eq_ignore_ascii_case(name);
        if entry.inode != 0 && is_it {
            return Ok(Some(entry.inode));
        }
        at = entry.next;
    }
    Ok(None)
}
