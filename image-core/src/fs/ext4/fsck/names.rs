//! The names of inodes, counted: against what each inode says, and which directory is above which.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Finding;
use crate::error::Result;
use crate::fs::ext4::directory::{Areas, entry_at, wrong};
use crate::fs::ext4::field::{u16_at, u32_at};
use crate::fs::ext4::inode::{FLAG_INLINE_DATA, Inode, NodeKind, ROOT};
use crate::fs::ext4::read_directory::Cursor;
use crate::fs::ext4::{Ext4, features};

/// Inodes whose counts are kept together.
const PIECE: u32 = 1024;

/// Names and links.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// How many names an inode has beyond those that it counts.
    missing: BTreeMap<u32, Box<[i32]>>,
    /// Each directory: what it says is above it.
    above: BTreeMap<u32, u32>,
    /// Where its name is.
    named_in: HashMap<u32, u32>,
    /// Directories that count no more.
    uncounted: HashSet<u32>,
    findings: Vec<Finding>,
}

impl Names {
    fn add(&mut self, inode: u32, count: i32) {
        let piece = self.missing.entry(inode / PIECE);
        let piece = piece.or_insert_with(|| vec![0; PIECE as usize].into());
        if let Some(own) = piece.get_mut((inode % PIECE) as usize) {
            *own = own.saturating_add(count);
        }
    }

    /// An inode that has to have a name.
    pub(super) fn inode(&mut self, fs: &Ext4, inode: &Inode) {
        self.add(inode.number, i32::try_from(inode.links).unwrap_or(i32::MAX).saturating_neg());
        if inode.links == 0 {
            // It would not be told from one that is free.
            self.findings.push(Finding::NoName(inode.number));
        }
        if inode.kind == NodeKind::Directory && inode.links == 1 && fs.superblock().has(features::DIR_NLINK) {
            self.uncounted.insert(inode.number);
        }
    }

    /// The names in the directory `inode`.
    pub(super) fn directory(&mut self, fs: &Ext4, inode: &Inode) -> Result<()> {
        let number = inode.number;
        let above = dots(fs, inode)?;
        self.above.insert(number, above);
        // `.`, and the root is above itself.
        self.add(number, if number == ROOT { 2 } else { 1 });
        let mut cursor = Cursor::new(fs, inode);
        while let Some(entry) = cursor.step(fs, inode)? {
            self.add(entry.inode, 1);
            let mode = u16_at(&fs.inode_bytes(entry.inode)?, 0);
            let Some(kind) = NodeKind::from_mode(mode) else {
                self.findings.push(Finding::NameOfFree { directory: number, inode: entry.inode });
                continue;
            };
            if entry.kind.is_some_and(|said| said != kind) {
                self.findings.push(Finding::Kind { directory: number, inode: entry.inode });
            }
            if kind == NodeKind::Directory {
                self.add(number, 1);
                self.named_in.insert(entry.inode, number);
            }
        }
        Ok(())
    }

    /// Tells `find` what is not as it is said.
    pub(super) fn compare(self, fs: &Ext4, find: &mut dyn FnMut(Finding)) {
        self.findings.into_iter().for_each(&mut *find);
        for (piece, counts) in &self.missing {
            for (index, missing) in (0..).zip(counts).filter(|(_, missing)| **missing != 0) {
                let inode = piece.saturating_mul(PIECE).saturating_add(index);
                let says = fs.inode(inode).map_or(0, |inode| i64::from(inode.links));
                match i64::from(*missing) {
                    _ if self.uncounted.contains(&inode) => {}
                    missing if missing.saturating_neg() == says => find(Finding::NoName(inode)),
                    missing => find(Finding::Links { inode, missing }),
                }
            }
        }
        for (directory, says) in &self.above {
            let root = if *directory == ROOT { ROOT } else { 0 };
            let named_in = self.named_in.get(directory).copied().unwrap_or(root);
            if named_in != *says {
                find(Finding::Parent { directory: *directory, says: *says, named_in });
            }
        }
        let mut reached = HashSet::from([ROOT]);
        for directory in self.above.keys() {
            let mut way = Vec::new();
            let mut at = *directory;
            // In a circle one comes by again before long.
            while !reached.contains(&at) && way.len() <= self.above.len() {
                way.push(at);
                at = self.above.get(&at).copied().unwrap_or(0);
                if at == 0 || way.last() == Some(&at) {
                    break;
                }
            }
            match reached.contains(&at) {
                true => reached.extend(way),
                false => {
                    find(Finding::Unreachable(*directory));
                    // Told once for all of a circle.
                    reached.extend(way);
                }
            }
        }
    }
}

/// What the directory `inode` says is above it.
fn dots(fs: &Ext4, inode: &Inode) -> Result<u32> {
    if inode.has(FLAG_INLINE_DATA) {
        return Ok(u32_at(&inode.block, 0));
    }
    let area = Areas::new(fs, inode).step(fs, inode)?;
    let (_, area) = area.ok_or_else(|| wrong(inode, 0, "nothing"))?;
    let own = entry_at(fs, inode, &area, 0).map_err(|what| wrong(inode, 0, what))?;
    let above = entry_at(fs, inode, &area, own.next).map_err(|what| wrong(inode, 0, what))?;
    match own.name == b"." && own.inode == inode.number && above.name == b".." {
        true => Ok(above.inode),
        false => Err(wrong(inode, 0, "no dots")),
    }
}
