//! What is in files: bytes at positions, and which of them are stored at all; and the targets of links, stored alike.
//!
//! ```text
//! EXTENT_DATA  inode, offset │ EXTENT_DATA  inode, offset │ …      what none of them has is a hole
//! ```
//! Btrfs documentation, "On-disk format" (btrfs_file_extent_item).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Btrfs;
use super::data::Source;
use super::extent::{FileExtent, HEAD_LEN, Place};
use super::field::copy;
use super::inode::has_checksums;
use super::key::{EXTENT_DATA, INODE_ITEM, Key};
use super::rule::BtrfsRule;
use super::tree::Tree;
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents};
use crate::error::{Doing, Error, Result};
use crate::fs::{Node, NodeId, NodeKind};

/// The longest target of a link.
const LINK_MAX: u64 = 4096;

/// What is in a file, as a disk.
pub(super) struct Content {
    fs: Btrfs,
    tree: Tree,
    id: NodeId,
    size: u64,
    has_checksums: bool,
}

impl Btrfs {
    /// What is in `node`, a file or a link.
    pub(super) fn content_of(&self, node: &Node) -> Result<Content> {
        let NodeId { subvolume, number: inode } = node.id;
        let doing = || format!("opening inode {inode} of subvolume {subvolume}");
        let tree = self.subvolume_tree(subvolume).doing(doing)?;
        let item = tree.get(self.blocks(), Key::new(inode, INODE_ITEM, 0)).doing(doing)?;
        let item =
            item.ok_or_else(|| Error::corrupt(BtrfsRule::NoInode { subvolume, inode })).doing(doing)?;
        let (fs, has_checksums) = (self.clone(), has_checksums(&item));
        Ok(Content { fs, tree, id: node.id, size: node.size, has_checksums })
    }

    /// Where `link` points to.
    pub(super) fn target_of(&self, link: &Node) -> Result<Vec<u8>> {
        let NodeId { subvolume: tree, number: object } = link.id;
        let doing = || format!("reading the link of inode {object} of subvolume {tree}");
        if link.kind != NodeKind::Link {
            return Err(Error::invalid("it is no link")).doing(doing);
        }
        if link.size == 0 || link.size >= LINK_MAX {
            let (item, what) = ("link", "length");
            return Err(Error::corrupt(BtrfsRule::Item { tree, object, item, what })).doing(doing);
        }
        let mut target = vec![0; link.size as usize];
        self.content_of(link)?.read_at(&mut target, 0).doing(doing)?;
        // A kernel ends it at its first zero.
        let len = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
        target.truncate(len);
        Ok(target)
    }
}

impl Content {
    /// Shows `visit` what `range` consists of, in order and without gaps: each time a part of it, and the extent that has it.
    fn each_part(
        &self,
        range: ByteRange,
        visit: &mut dyn FnMut(ByteRange, &FileExtent) -> Result<()>,
    ) -> Result<()> {
        let blocks = self.fs.blocks();
        let first = Key::new(self.id.number, EXTENT_DATA, range.offset());
        let last = Key { offset: range.end().saturating_sub(1), ..first };
        let before = self.tree.at_most(blocks, first)?.map(|item| item.key);
        let from = before.filter(|key| key.is_alike(first)).unwrap_or(first);
        let mut at = range.offset();
        let mut end_before = 0;
        for item in self.tree.range(blocks, from, last) {
            let item = item?;
            let extent = FileExtent::new(&item, blocks.superblock.sector_size)?;
            let start = extent.range.offset();
            if start < end_before {
                let inode = self.id.number;
                let what = "place: another extent is there";
                return Err(Error::corrupt(BtrfsRule::Extent { inode, offset: start, what }));
            }
            end_before = extent.range.end();
            Self::show_hole(at, start.min(range.end()), visit)?;
            at = at.max(start);
            if let Some(part) = extent.range.intersection(ByteRange::between(at, range.end())) {
                visit(part, &extent)?;
                at = part.end();
            }
        }
        Self::show_hole(at, range.end(), visit)
    }

    fn show_hole(
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(ByteRange, &FileExtent) -> Result<()>,
    ) -> Result<()> {
        let range = ByteRange::between(start, end);
        if range.is_empty() { Ok(()) } else { visit(range, &FileExtent { range, place: Place::Hole }) }
    }

    /// Fills `buf` with `part` of `extent`.
    fn read_part(&self, part: ByteRange, extent: &FileExtent, buf: &mut [u8]) -> Result<()> {
        let inside = part.offset().saturating_sub(extent.range.offset());
        let source = Source {
            inode: self.id.number,
            has_checksums: self.has_checksums,
            logical: 0,
            offset: part.offset(),
            is_packed: false,
        };
        match &extent.place {
            Place::Hole | Place::Unwritten => buf.fill(0),
            Place::Data(logical) => {
                let logical = logical.saturating_add(inside);
                self.fs.read_data(Source { logical, ..source }, buf)?;
            }
            Place::Packed(packed) => {
                let (logical, offset) = (packed.logical, extent.range.offset());
                let all = self.fs.unpacked(*packed, Source { logical, offset, is_packed: true, ..source })?;
                let from = packed.skip.saturating_add(inside) as usize;
                fill(buf, all.get(from..).unwrap_or_default());
            }
            Place::Inline { item, packed, len } => {
                let stored = item.get(HEAD_LEN..).unwrap_or_default();
                let Some(packed) = packed else {
                    fill(buf, stored.get(inside as usize..).unwrap_or_default());
                    return Ok(());
                };
                let all = packed.unpack(stored, *len, self.fs.blocks().superblock.sector_size);
                let (inode, what) = (self.id.number, "compressed stream");
                let rule = BtrfsRule::Extent { inode, offset: 0, what };
                let all = all.ok_or_else(|| Error::corrupt(rule))?;
                fill(buf, all.get(inside as usize..).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn doing(&self, range: ByteRange) -> String {
        let NodeId { subvolume, number } = self.id;
        let (len, offset) = (range.len(), range.offset());
        format!("reading {len} bytes at offset {offset:#x} of inode {number} of subvolume {subvolume}")
    }
}

/// What there is of `bytes`, and zeroes behind it.
fn fill(buf: &mut [u8], bytes: &[u8]) {
    let len = copy(buf, bytes);
    buf.get_mut(len..).unwrap_or_default().fill(0);
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size)?;
        if range.is_empty() {
            return Ok(());
        }
        self.each_part(range, &mut |part, extent| {
            let start = part.offset().saturating_sub(offset) as usize;
            let end = start.saturating_add(part.len() as usize);
            self.read_part(part, extent, buf.get_mut(start..end).unwrap_or_default())
        })
        .doing(|| self.doing(range))
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size)?;
        let mut extents = Extents::starting_at(range.offset());
        if range.is_empty() {
            return Ok(extents);
        }
        self.each_part(range, &mut |part, extent| {
            let kind = match extent.place {
                Place::Inline { .. } | Place::Data(_) | Place::Packed(_) => ExtentKind::Data,
                Place::Unwritten => ExtentKind::Zero,
                Place::Hole => ExtentKind::Hole,
            };
            extents.push(part.len(), kind);
            Ok(())
        })
        .doing(|| self.doing(range))?;
        Ok(extents)
    }
}

impl Btrfs {
    /// The regular file `file` as a disk.
    pub(super) fn file_content(&self, file: &Node) -> Result<Box<dyn BlockRead>> {
        if file.kind != NodeKind::File {
            let NodeId { subvolume, number } = file.id;
            return Err(Error::invalid(format!("inode {number} of subvolume {subvolume} is no file")));
        }
        Ok(Box::new(self.content_of(file)?))
    }
}
