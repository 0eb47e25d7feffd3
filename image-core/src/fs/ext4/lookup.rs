//! Finding a name in a directory: by its index, among the names that are remembered of it, or from front to back.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::blocks::Block;
use super::directory::{block_of, entry_at, names_of, wrong};
use super::field::{field, u16_at, u32_at};
use super::hash::NameHash;
use super::htree::{ENTRY_LEN, INFO_AT, NODE_ENTRIES, ROOT_ENTRIES, check, entries_at};
use super::inode::{FLAG_CASEFOLD, FLAG_INDEX, FLAG_INLINE_DATA, Inode, NodeKind};
use super::{Ext4, features, name_cache};
use crate::error::{Doing, Result};

/// The levels between the root and the names; one more in large directories.
const LEVELS: u8 = 2;
/// More blocks than names with one hash fill.
const SAME_HASH_LIMIT: usize = 1 << 12;

impl Ext4 {
    /// The inode that `name` names in the directory `inode`, if there is one. In a directory that is told to find names whatever
    /// their case, that is done for ASCII letters.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn lookup(&self, inode: &Inode, name: &[u8]) -> Result<Option<u32>> {
        if inode.kind != NodeKind::Directory || name.is_empty() {
            return Ok(None);
        }
        let doing = || format!("looking into the directory of inode {}", inode.number);
        if let Some(found) = find(self, inode, name).doing(doing)? {
            return Ok(found);
        }
        if let Some(found) = name_cache::find(self, inode, name).doing(doing)? {
            return Ok(found);
        }
        let mut other_case = None;
        for entry in self.read_directory(inode) {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(entry.inode));
            }
            if inode.has(FLAG_CASEFOLD) && other_case.is_none() && entry.name.eq_ignore_ascii_case(name) {
                other_case = Some(entry.inode);
            }
        }
        Ok(other_case)
    }
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
pub(super) struct HtreePath {
    pub(super) hash: NameHash,
    /// From the root on; at least that.
    pub(super) nodes: Vec<HtreeNode>,
    pub(super) leaf: u64,
    /// Whether there may be one more level of nodes.
    pub(super) may_grow: bool,
}

/// A node on a way: the entry of it that leads on, how many it has and has room for.
#[derive(Clone, Copy)]
pub(super) struct HtreeNode {
    pub(super) number: u64,
    pub(super) entries_at: usize,
    pub(super) chosen: usize,
    pub(super) count: u16,
    pub(super) limit: u16,
}

impl HtreeNode {
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    fn of(number: u64, frame: &Frame) -> Self {
        let at = frame.entries_at;
        let (limit, count) = (u16_at(&frame.block, at), u16_at(&frame.block, at.saturating_add(2)));
        Self { number, entries_at: at, chosen: frame.chosen, count, limit }
    }
}

/// The way to the first block of the directory `inode` in which `name` may be; `None` for an index that makes no sense.
pub(super) fn path_to(fs: &Ext4, inode: &Inode, name: &[u8]) -> Result<Option<HtreePath>> {
    let Some(Start { hash, major, levels, may_grow, mut frame }) = start(fs, inode, name)? else {
        return Ok(None);
    };
    let mut nodes = vec![HtreeNode::of(0, &frame)];
    for _ in 0..levels {
        let number = frame.below();
        let Some(next) = Frame::new(node(fs, inode, number)?, NODE_ENTRIES, major) else { return Ok(None) };
        nodes.push(HtreeNode::of(number, &next));
        frame = next;
    }
    Ok(Some(HtreePath { hash, nodes, leaf: frame.below(), may_grow }))
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
