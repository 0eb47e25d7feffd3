//! Inodes: what a file is, whose, how large, when, and where its content and its attributes begin.
//!
//! ```text
//! 0 mark, mode, version, form of the content │ … owner, times, size, counts, flags … │ 100 (version 3: 176) │ … inode's size
//!                                                                                    └─ content fork │ attribute fork
//!                                                                                       8 × the byte at 82 ─┘
//! fork   local: the bytes themselves │ extents │ root of a tree of extents │ device number
//! ```
//! XFS Algorithms & Data Structures, "On-disk Inode".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::checksum::is_sound;
use super::field::{field, part, u8_at, u16_at, u32_at, u64_at};
use super::rule::{XfsRule, XfsStructure};
use super::superblock::Superblock;
use super::time::time_at;
use crate::error::{Doing, Error, Result};
use crate::fs::{Node, NodeId, NodeKind};

pub(super) const MAGIC: &[u8] = b"IN";
/// Where forks begin, before version 3 and since.
pub(super) const OLD_LEN: usize = 100;
pub(super) const LEN: usize = 176;
const SUM_AT: usize = 100;

const FLAG_REALTIME: u16 = 0x1;
pub(super) const FLAG2_BIG_TIME: u64 = 0x8;
const FLAG2_LARGE_COUNTS: u64 = 0x10;

/// Flags of an inode, and as `lsattr` tells them: immutable, append, sync, noatime, nodump, project inheritance.
const FLAGS: [(u16, u32); 6] =
    [(0x8, 0x10), (0x10, 0x20), (0x20, 0x8), (0x40, 0x80), (0x80, 0x40), (0x200, 0x2000_0000)];
const FLAG2_DAX: u64 = 0x1;
const FLAG_DAX: u32 = 0x200_0000;

/// How a fork's bytes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The content itself.
    Local,
    /// Extents, so many.
    Extents,
    /// The root of a tree of extents.
    Tree,
    /// Nothing that is read as a fork: a device's number.
    Other,
}

/// A fork of an inode: its content, or its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fork {
    pub(super) inode: u64,
    pub(super) form: Form,
    pub(super) bytes: Box<[u8]>,
    /// How many extents it has.
    pub(super) count: u64,
    pub(super) is_realtime: bool,
    /// Whether other files may have the same blocks.
    pub(super) may_share: bool,
}

/// An inode, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) kind: NodeKind,
    pub(super) size: u64,
    pub(super) content: Fork,
    /// `None` if there never was an attribute.
    pub(super) attributes: Option<Fork>,
    pub(super) node: Node,
}

impl Xfs {
    /// The inode `number`, checked.
    pub(super) fn inode(&self, number: u64) -> Result<Inode> {
        let doing = || format!("reading inode {number}");
        let superblock = self.superblock();
        let missing = || Error::corrupt(XfsRule::NoInode(number));
        let offset = superblock.inode_offset(number).ok_or_else(missing).doing(doing)?;
        let bytes = self.blocks().bytes(offset, superblock.inode_size).doing(doing)?;
        Inode::from_bytes(superblock, number, &bytes, bytes.is_replayed())
            .map_err(Error::corrupt)
            .doing(doing)
    }
}

impl Inode {
    /// The inode `number` that `bytes` are. One that the log changed has an older checksum.
    fn from_bytes(
        superblock: &Superblock,
        number: u64,
        bytes: &[u8],
        is_replayed: bool,
    ) -> std::result::Result<Self, XfsRule> {
        let wrong = |field, value: u64| XfsRule::Inode { inode: number, field, value };
        if part(bytes, 0, 2) != MAGIC {
            return Err(XfsRule::NoInode(number));
        }
        let version = u8_at(bytes, 4);
        if !(superblock.has_sums && version == 3 || !superblock.has_sums && matches!(version, 1 | 2)) {
            return Err(wrong("version", u64::from(version)));
        }
        if superblock.has_sums {
            if !is_replayed && !is_sound(bytes, SUM_AT) {
                return Err(XfsRule::Checksum(XfsStructure::Inode(number)));
            }
            check_identity(superblock, number, bytes)?;
        }
        let raw_mode = u16_at(bytes, 2);
        if raw_mode == 0 {
            return Err(XfsRule::NoInode(number));
        }
        let kind = NodeKind::from_mode(raw_mode).ok_or_else(|| wrong("mode", u64::from(raw_mode)))?;
        let size = u64_at(bytes, 56);
        if i64::try_from(size).is_err() {
            return Err(wrong("size", size));
        }
        let more_flags = if version == 3 { u64_at(bytes, 120) } else { 0 };
        let (content, attributes) = forks(number, version, more_flags, bytes)?;
        check_form(number, kind, size, &content)?;
        let device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice)
            .then(|| device_of(u32_at(&content.bytes, 0)));
        let node = Node { device, ..node_of(superblock, number, kind, version, bytes) };
        Ok(Self { number, kind, size, content, attributes, node })
    }
}

/// Holds an inode against what it says it is.
fn check_identity(superblock: &Superblock, number: u64, bytes: &[u8]) -> std::result::Result<(), XfsRule> {
    let structure = XfsStructure::Inode(number);
    if u64_at(bytes, 152) != number {
        return Err(XfsRule::Foreign { structure, field: "number" });
    }
    match field::<16>(bytes, 160) == superblock.uuid {
        true => Ok(()),
        false => Err(XfsRule::Foreign { structure, field: "filesystem" }),
    }
}

/// What an inode says that programs are told.
fn node_of(superblock: &Superblock, number: u64, kind: NodeKind, version: u8, bytes: &[u8]) -> Node {
    let more_flags = if version == 3 { u64_at(bytes, 120) } else { 0 };
    let is_big = more_flags & FLAG2_BIG_TIME != 0;
    let raw_flags = u16_at(bytes, 90);
    let told = FLAGS.iter().filter(|(bit, _)| raw_flags & bit != 0).fold(0, |all, (_, flag)| all | flag);
    let dax = if more_flags & FLAG2_DAX != 0 { FLAG_DAX } else { 0 };
    Node {
        id: NodeId::new(number),
        kind,
        mode: u32::from(u16_at(bytes, 2) & 0o7777),
        uid: u32_at(bytes, 8),
        gid: u32_at(bytes, 12),
        size: u64_at(bytes, 56),
        allocated: u64_at(bytes, 64).saturating_mul(superblock.block_size),
        links: if version == 1 { u32::from(u16_at(bytes, 6)) } else { u32_at(bytes, 16) },
        flags: told | dax,
        accessed: time_at(bytes, 32, is_big),
        modified: time_at(bytes, 40, is_big),
        changed: time_at(bytes, 48, is_big),
        created: (version == 3).then(|| time_at(bytes, 144, is_big)),
        device: None,
    }
}

/// The two forks of an inode.
fn forks(
    number: u64,
    version: u8,
    more_flags: u64,
    bytes: &[u8],
) -> std::result::Result<(Fork, Option<Fork>), XfsRule> {
    let wrong = |field, value: u64| XfsRule::Inode { inode: number, field, value };
    let area = bytes.get(if version == 3 { LEN } else { OLD_LEN }..).unwrap_or_default();
    let offset = u8_at(bytes, 82);
    let end = if offset == 0 { area.len() } else { usize::from(offset).saturating_mul(8) };
    let (content, rest) = area.split_at_checked(end).ok_or_else(|| wrong("fork", u64::from(offset)))?;
    let (count, attribute_count) = match version == 3 && more_flags & FLAG2_LARGE_COUNTS != 0 {
        true => (u64_at(bytes, 24), u64::from(u32_at(bytes, 76))),
        false => (u64::from(u32_at(bytes, 76)), u64::from(u16_at(bytes, 80))),
    };
    let form = |at| match u8_at(bytes, at) {
        1 => Form::Local,
        2 => Form::Extents,
        3 => Form::Tree,
        _ => Form::Other,
    };
    let is_realtime = u16_at(bytes, 90) & FLAG_REALTIME != 0;
    let may_share = NodeKind::from_mode(u16_at(bytes, 2)) == Some(NodeKind::File);
    let content = Fork { inode: number, form: form(5), bytes: content.into(), count, is_realtime, may_share };
    let attributes = (offset != 0).then(|| Fork {
        inode: number,
        form: form(83),
        bytes: rest.into(),
        count: attribute_count,
        is_realtime: false,
        may_share: false,
    });
    if attributes.as_ref().is_some_and(|fork| fork.form == Form::Other) {
        return Err(wrong("form of attributes", u64::from(u8_at(bytes, 83))));
    }
    Ok((content, attributes))
}

/// Refuses a form that a kind of inode cannot have.
fn check_form(number: u64, kind: NodeKind, size: u64, content: &Fork) -> std::result::Result<(), XfsRule> {
    let may_be = match kind {
        NodeKind::File => matches!(content.form, Form::Extents | Form::Tree),
        NodeKind::Directory | NodeKind::Link => content.form != Form::Other,
        _ => content.form == Form::Other,
    };
    let form = content.form as u64;
    if !may_be {
        return Err(XfsRule::Inode { inode: number, field: "form", value: form });
    }
    if content.form == Form::Local && size > content.bytes.len() as u64 {
        return Err(XfsRule::Inode { inode: number, field: "size", value: size });
    }
    Ok(())
}

/// Major and minor number, which have 14 and 18 bits.
fn device_of(number: u32) -> (u32, u32) {
    (number >> 18, number & 0x3_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::xfs::checksum::sum;
    use crate::fs::xfs::superblock::tests::bytes as superblock_bytes;

    fn inode(change: impl FnOnce(&mut [u8])) -> std::result::Result<Inode, XfsRule> {
        let superblock = Superblock::from_bytes(&superblock_bytes(), 1500 << 12, false).unwrap();
        let mut bytes = vec![0; 512];
        bytes[..6].copy_from_slice(&[b'I', b'N', 0x81, 0xa4, 3, 2]);
        bytes[152..160].copy_from_slice(&131_u64.to_be_bytes());
        bytes[160..176].copy_from_slice(&[7; 16]);
        change(&mut bytes);
        let right = sum(&bytes, SUM_AT);
        bytes[100..104].copy_from_slice(&right.to_le_bytes());
        Inode::from_bytes(&superblock, 131, &bytes, false)
    }

    #[test]
    fn forks_share_what_is_behind_the_fields() {
        let found = inode(|bytes| {
            bytes[82] = 10;
            bytes[83] = 1;
            bytes[79] = 3;
            bytes[81] = 4;
            bytes[91] = 0x28;
            bytes[127] = 1;
        })
        .unwrap();
        let attributes = found.attributes.unwrap();
        assert_eq!((found.content.bytes.len(), attributes.bytes.len()), (80, 512 - 176 - 80));
        assert_eq!((found.content.count, attributes.count), (3, 4));
        assert_eq!((found.content.form, attributes.form), (Form::Extents, Form::Local));
        assert_eq!((found.node.mode, found.node.flags), (0o644, 0x200_0018));
        let large = inode(|bytes| {
            bytes[127] = 0x18;
            bytes[31] = 9;
        })
        .unwrap();
        assert_eq!((large.content.count, large.attributes), (9, None));
        assert_eq!(large.node.modified.seconds, -0x8000_0000);
    }

    #[test]
    fn inodes_that_lie_are_not_taken() {
        let field = |change: fn(&mut [u8])| match inode(change) {
            Err(XfsRule::Inode { field, .. } | XfsRule::Foreign { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(|bytes| bytes[4] = 2), "version");
        assert_eq!(field(|bytes| bytes[2] = 0x31), "mode");
        assert_eq!(field(|bytes| bytes[56] = 0x80), "size");
        assert_eq!(field(|bytes| bytes[82] = 43), "fork");
        assert_eq!(field(|bytes| bytes[82] = 1), "form of attributes");
        assert_eq!(field(|bytes| bytes[5] = 1), "form");
        assert_eq!(field(|bytes| bytes[159] = 1), "number");
        assert_eq!(field(|bytes| bytes[160] = 1), "filesystem");
        assert_eq!(inode(|bytes| bytes[2..4].fill(0)), Err(XfsRule::NoInode(131)));
        assert_eq!(inode(|bytes| bytes[0] = 0), Err(XfsRule::NoInode(131)));
    }

    #[test]
    fn device_numbers_have_two_parts() {
        assert_eq!(device_of(259 << 18 | 65537), (259, 65537));
    }
}
