//! Directories: their blocks, and the names in them.
//!
//! ```text
//! in the inode   short_form.rs
//! one block      header │ names ……… │ hashes │ how many
//! more           0: blocks, header │ names … each     32 GiB: hashes (hashes.rs)     64 GiB: free space, which is not read
//!
//! name           0 inode │ 8 length │ 9 name │ its kind, if there are kinds │ … 2 where in the block, in steps of 8
//! free           0 0xffff │ 2 length │ … 2 where in the block
//! ```
//! XFS Algorithms & Data Structures, "Directories".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::blocks::Block;
use super::field::{part, u8_at, u16_at, u32_at, u64_at};
use super::header::NAMES;
use super::inode::{Fork, Inode};
use super::mapping::Runs;
use super::rule::{XfsRule, XfsStructure};
use super::run::Place;
use crate::error::{Error, Result};
use crate::fs::NodeKind;

/// Where hashes begin, in bytes.
pub(super) const HASHES_AT: u64 = 1 << 35;
/// What addresses count.
pub(super) const STEP: usize = 8;
/// Before the names, and since version 5.
const OLD_HEADER_LEN: usize = 16;
const HEADER_LEN: usize = 64;
/// At the end of a single block: how many hashes there are, and how many of no name.
const TAIL_LEN: usize = 8;
/// The length of a hash and its address.
pub(super) const HASH_LEN: usize = 8;
/// Where a name begins in its entry.
const NAME_AT: usize = 9;
/// What an entry without a name begins with.
const FREE: u16 = 0xffff;

/// A name as it lies in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawEntry<'a> {
    /// Empty for what is free.
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: Option<NodeKind>,
    /// Where the next one is.
    pub(super) next: usize,
}

/// A block of a directory that has names.
pub(super) struct NameBlock {
    pub(super) bytes: Block,
    /// Where names begin, and end.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether its hashes are behind them, up to the last bytes of the block.
    pub(super) is_single: bool,
}

impl NameBlock {
    /// The hashes of a single block.
    pub(super) fn hashes(&self) -> &[u8] {
        part(&self.bytes, self.end, self.bytes.len().saturating_sub(TAIL_LEN))
    }
}

/// What a directory says of what a name names.
pub(super) fn kind_of(kind: u8) -> Option<NodeKind> {
    Some(match kind {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3 => NodeKind::CharacterDevice,
        4 => NodeKind::BlockDevice,
        5 => NodeKind::Pipe,
        6 => NodeKind::Socket,
        7 => NodeKind::Link,
        // Not told, or what an overlay leaves of a file that was removed: a device.
        _ => return None,
    })
}

/// Whether a file can have the name `name`.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| !matches!(byte, 0 | b'/'))
}

/// The entry at `at` of `bytes`, of which names end at `end`; `Err` is what is wrong with it.
pub(super) fn entry_at(
    bytes: &[u8],
    at: usize,
    end: usize,
    has_kinds: bool,
) -> std::result::Result<RawEntry<'_>, &'static str> {
    let entry = part(bytes, at, end);
    let is_free = u16_at(entry, 0) == FREE;
    let name_end = NAME_AT.saturating_add(usize::from(u8_at(entry, 8)));
    let len = match is_free {
        true => usize::from(u16_at(entry, 2)),
        false => name_end.saturating_add(usize::from(has_kinds)).saturating_add(2).next_multiple_of(STEP),
    };
    let tag_at = len.saturating_sub(2);
    if len < STEP || len % STEP != 0 || len > entry.len() {
        return Err("an entry of an impossible length");
    }
    if usize::from(u16_at(entry, tag_at)) != at {
        return Err("an entry that is told to be elsewhere");
    }
    let next = at.saturating_add(len);
    if is_free {
        return Ok(RawEntry { name: &[], inode: 0, kind: None, next });
    }
    let name = part(entry, NAME_AT, name_end);
    if !is_name(name) {
        return Err("a name that no file can have");
    }
    let kind = if has_kinds { kind_of(u8_at(entry, name_end)) } else { None };
    Ok(RawEntry { name, inode: u64_at(entry, 0), kind, next })
}

impl Xfs {
    /// The block of `fork`, a directory or attributes, that begins with its block `first` and is as many blocks as those of
    /// a directory, or one; and where it is on the disk. `None` where nothing is stored.
    pub(super) fn fork_block(&self, fork: &Fork, first: u64, count: u64) -> Result<Option<(u64, Block)>> {
        let mut whole = Vec::new();
        let (mut start, mut is_replayed) = (None, false);
        for run in Runs::new(self, fork, first..first.saturating_add(count)) {
            let run = run?;
            let Place::Data(place) = run.place else { return Ok(None) };
            if run.count == count {
                return Ok(Some((place, self.blocks().blocks(place, count)?)));
            }
            start.get_or_insert(place);
            let piece = self.blocks().blocks(place, run.count)?;
            is_replayed |= piece.is_replayed();
            whole.extend_from_slice(&piece);
        }
        Ok(start.map(|place| (place, Block::new(whole, is_replayed))))
    }

    /// The block `number` of names of the directory `inode`, counted in blocks of directories, checked.
    pub(super) fn name_block(&self, inode: &Inode, number: u64) -> Result<NameBlock> {
        let superblock = self.superblock();
        let count = superblock.directory_block_count;
        let found = self.fork_block(&inode.content, number.saturating_mul(count), count)?;
        let (place, bytes) = found.ok_or_else(|| wrong(inode, number, "nothing stored"))?;
        let structure = XfsStructure::Directory(inode.number, number);
        let marks: [&[u8]; 2] = if superblock.has_sums { [b"XDB3", b"XDD3"] } else { [b"XD2B", b"XD2D"] };
        let is_single = bytes.starts_with(marks[0]);
        if !is_single && !bytes.starts_with(marks[1]) {
            return Err(XfsRule::foreign(structure, "mark"));
        }
        NAMES.check(self, &bytes, place, Some(inode.number), structure)?;
        let start = if superblock.has_sums { HEADER_LEN } else { OLD_HEADER_LEN };
        let mut end = bytes.len();
        if is_single {
            let tail = bytes.len().saturating_sub(TAIL_LEN);
            let len = u64::from(u32_at(&bytes, tail)).saturating_mul(HASH_LEN as u64);
            let hashes_at = (tail as u64).checked_sub(len).filter(|at| *at >= start as u64);
            end = hashes_at.ok_or_else(|| wrong(inode, number, "an impossible number of hashes"))? as usize;
        }
        Ok(NameBlock { bytes, start, end, is_single })
    }
}

pub(super) fn wrong(inode: &Inode, block: u64, what: &'static str) -> Error {
    Error::corrupt(XfsRule::Directory { inode: inode.number, block, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Free space, and a name behind it.
    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0xff, 0xff, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 2, 3, b'a', b'b', b'c', 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16]);
        bytes[14..16].copy_from_slice(&[0, 0]);
        bytes
    }

    #[test]
    fn names_lie_between_free_space() {
        let mut bytes = bytes();
        let free = entry_at(&bytes, 0, 40, true).unwrap();
        assert_eq!((free.name, free.next), (&b""[..], 16));
        bytes[30..32].copy_from_slice(&[0, 16]);
        let found = entry_at(&bytes, 16, 40, true).unwrap();
        assert_eq!(found, RawEntry { name: b"abc", inode: 0x102, kind: Some(NodeKind::Link), next: 32 });
        let without = entry_at(&bytes, 16, 40, false).unwrap();
        assert_eq!((without.kind, without.next), (None, 32));
    }

    #[test]
    fn entries_that_lie_are_not_read() {
        let with = |at: usize, byte| {
            let mut lies = bytes();
            lies[30..32].copy_from_slice(&[0, 16]);
            lies[at] = byte;
            [entry_at(&lies, 0, 40, true).err(), entry_at(&lies, 16, 40, true).err()]
        };
        let (length, tag) =
            (Some("an entry of an impossible length"), Some("an entry that is told to be elsewhere"));
        assert_eq!(with(3, 0), [length, None]);
        assert_eq!(with(3, 12), [length, None]);
        assert_eq!(with(3, 48), [length, None]);
        assert_eq!(with(15, 8), [tag, None]);
        assert_eq!(with(24, 255), [None, length]);
        assert_eq!(with(31, 17), [None, tag]);
        assert_eq!(with(25, b'/'), [None, Some("a name that no file can have")]);
        assert!(entry_at(&bytes(), 40, 40, true).is_err());
    }
}
