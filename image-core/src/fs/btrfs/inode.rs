//! Inodes: what a file is, whose, how large and when.
//!
//! ```text
//! 0 generation │ 16 size │ 24 bytes set aside │ 40 links │ 44 owner │ 48 group │ 52 mode │ 56 device │ 64 flags
//! 112 accessed │ 124 changed │ 136 modified │ 148 made     12 bytes each, to 160
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_inode_item), and the kernel's linux/fs.h for the flags that programs see.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Btrfs;
use super::field::{round_up, u32_at, u64_at};
use super::key::{EMPTY_DIRECTORY, INODE_ITEM, Key};
use super::rule::BtrfsRule;
use crate::error::{Doing, Error, Result};
use crate::fs::{Node, NodeId, NodeKind, Time};

/// Of an inode's item.
pub(super) const INODE_LEN: usize = 160;
/// The flag of a file without checksums.
const NO_CHECKSUMS: u64 = 0x1;
/// Flags as they are stored, and as programs see them.
const FLAGS: [(u64, u32); 9] = [
    (0x2, 0x80_0000),
    (0x20, 0x8),
    (0x40, 0x10),
    (0x80, 0x20),
    (0x100, 0x40),
    (0x200, 0x80),
    (0x400, 0x1_0000),
    (1 << 32, 0x10_0000),
    (0x8, 0x400),
];
/// Compressed, unless it is never to be.
const COMPRESSED: (u64, u32) = (0x800, 0x4);
const NEVER_COMPRESSED: u64 = 0x8;

/// The flags of an inode as programs see them.
fn seen_flags(stored: u64) -> u32 {
    let seen = FLAGS.iter().filter(|(bit, _)| stored & bit != 0).fold(0, |flags, (_, seen)| flags | seen);
    let (bit, compressed) = COMPRESSED;
    if stored & bit != 0 && stored & NEVER_COMPRESSED == 0 { seen | compressed } else { seen }
}

fn time_at(bytes: &[u8], at: usize) -> Time {
    let nanoseconds = u32_at(bytes, at.saturating_add(8));
    Time { seconds: u64_at(bytes, at).cast_signed(), nanoseconds }
}

/// The inode `id` that `bytes`, an item, are; else the field that makes no sense.
pub(super) fn node_from(
    bytes: &[u8],
    id: NodeId,
    sector_size: u32,
) -> std::result::Result<Node, &'static str> {
    if bytes.len() < INODE_LEN {
        return Err("length");
    }
    let mode = u32_at(bytes, 52);
    let kind = u16::try_from(mode).ok().and_then(NodeKind::from_mode).ok_or("mode")?;
    let size = u64_at(bytes, 16);
    if i64::try_from(size).is_err() {
        return Err("size");
    }
    let device = u64_at(bytes, 56);
    let is_device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice);
    Ok(Node {
        id,
        kind,
        mode: mode & 0o7777,
        uid: u32_at(bytes, 44),
        gid: u32_at(bytes, 48),
        size,
        allocated: round_up(u64_at(bytes, 24), u64::from(sector_size)),
        links: u32_at(bytes, 40),
        flags: seen_flags(u64_at(bytes, 64)),
        accessed: time_at(bytes, 112),
        changed: time_at(bytes, 124),
        modified: time_at(bytes, 136),
        created: Some(time_at(bytes, 148)),
        // 12 bits and 20, as the kernel has them in memory.
        device: is_device.then_some(((device >> 20 & 0xfff) as u32, (device & 0xf_ffff) as u32)),
    })
}

/// Whether the inode that `bytes`, an item, are has checksums of its data.
pub(super) fn has_checksums(bytes: &[u8]) -> bool {
    u64_at(bytes, 64) & NO_CHECKSUMS == 0
}

impl Btrfs {
    /// The inode `id`.
    pub(super) fn inode(&self, id: NodeId) -> Result<Node> {
        let doing = || format!("reading inode {} of subvolume {}", id.number, id.subvolume);
        self.find_inode(id).doing(doing)
    }

    fn find_inode(&self, id: NodeId) -> Result<Node> {
        let tree = self.subvolume_tree(id.subvolume)?;
        if id.number == EMPTY_DIRECTORY {
            return self.empty_directory(id);
        }
        let bytes = tree.get(self.blocks(), Key::new(id.number, INODE_ITEM, 0))?;
        let NodeId { subvolume, number: inode } = id;
        let bytes = bytes.ok_or_else(|| Error::corrupt(BtrfsRule::NoInode { subvolume, inode }))?;
        let sector_size = self.blocks().superblock.sector_size;
        node_from(&bytes, id, sector_size).map_err(|what| {
            Error::corrupt(BtrfsRule::Item { tree: subvolume, object: inode, item: "inode", what })
        })
    }

    /// What stands for a subvolume that is not where its name is. A kernel makes it up: it has the time of now, and its owner and
    /// when it was read are those of the directory that it is in; here all that is the root directory's.
    fn empty_directory(&self, id: NodeId) -> Result<Node> {
        let root = self.find_inode(self.root_of(id.subvolume)?)?;
        Ok(Node { id, mode: 0o755, size: 0, allocated: 0, links: 1, flags: 0, created: None, ..root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_what_programs_see() {
        assert_eq!(seen_flags(0x3), 0x80_0000);
        assert_eq!(seen_flags(0x7e0), 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x1_0000);
        assert_eq!((seen_flags(0x800), seen_flags(0x808), seen_flags(0x8)), (0x4, 0x400, 0x400));
    }

    #[test]
    fn an_inode_is_what_its_item_says() {
        let id = NodeId { subvolume: 5, number: 257 };
        let mut bytes = [0; INODE_LEN];
        bytes[24] = 1;
        bytes[52..54].copy_from_slice(&0o060_640_u16.to_le_bytes());
        bytes[56..64].copy_from_slice(&(259_u64 << 20 | 65537).to_le_bytes());
        bytes[112..120].copy_from_slice(&(-1_i64).to_le_bytes());
        bytes[120] = 9;
        let node = node_from(&bytes, id, 4096).unwrap();
        assert_eq!((node.device, node.allocated, node.mode), (Some((259, 65537)), 4096, 0o640));
        assert_eq!(node.accessed, Time { seconds: -1, nanoseconds: 9 });
        assert!(has_checksums(&bytes));
        assert_eq!(node_from(&bytes[1..], id, 4096), Err("length"));
        bytes[53] = 0;
        assert_eq!(node_from(&bytes, id, 4096), Err("mode"));
        bytes[23] = 0x80;
        bytes[53] = 0x80;
        assert_eq!(node_from(&bytes, id, 4096), Err("size"));
    }
}
