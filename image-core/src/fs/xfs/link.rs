//! Targets of symbolic links: in the inode, or in blocks, each run of which begins with a header since version 5.
//!
//! ```text
//! run of blocks   0 XSLM │ 4 how much was before │ 8 how much is here │ checksum, filesystem, inode, place │ 56 part of the target
//! ```
//! XFS Algorithms & Data Structures, "Symbolic Links".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::field::u32_at;
use super::header::REMOTE;
use super::inode::{Form, Inode};
use super::mapping::Runs;
use super::rule::{XfsRule, XfsStructure};
use super::run::{Place, Run};
use crate::error::{Error, Result};

/// The longest target.
const LINK_MAX: u64 = 1024;
const HEADER_LEN: usize = 56;

impl Xfs {
    /// Where the link `inode` points to.
    pub(super) fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.size == 0 || inode.size > LINK_MAX {
            return Err(Error::corrupt(XfsRule::Link { inode: inode.number, len: inode.size }));
        }
        let len = inode.size as usize;
        let mut target = match inode.content.form {
            Form::Local => inode.content.bytes.get(..len).unwrap_or_default().to_vec(),
            _ => self.remote_target(inode, len)?,
        };
        // A kernel ends it at its first zero.
        let len = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
        target.truncate(len);
        Ok(target)
    }

    fn remote_target(&self, inode: &Inode, len: usize) -> Result<Vec<u8>> {
        let superblock = self.superblock();
        let mut target = Vec::with_capacity(len);
        // Each run is at least a header and some of the target, and blocks are not smaller than 512 bytes.
        for run in Runs::new(self, &inode.content, 0..LINK_MAX) {
            if target.len() >= len {
                break;
            }
            let Run { count, place: Place::Data(place), .. } = run? else { continue };
            let count = count.min(LINK_MAX.div_ceil(superblock.block_size).saturating_add(1));
            let bytes = self.blocks().blocks(place, count)?;
            let left = len.saturating_sub(target.len());
            if !superblock.has_sums {
                target.extend(bytes.iter().take(left));
                continue;
            }
            let structure = XfsStructure::Link(inode.number);
            if !bytes.starts_with(b"XSLM") {
                return Err(XfsRule::foreign(structure, "mark"));
            }
            REMOTE.check(self, &bytes, place, Some(inode.number), structure)?;
            let here = u32_at(&bytes, 8) as usize;
            if u32_at(&bytes, 4) as usize != target.len() || here > left {
                return Err(XfsRule::foreign(structure, "length"));
            }
            target.extend(bytes.iter().skip(HEADER_LEN).take(here));
        }
        match target.len() == len {
            true => Ok(target),
            false => Err(Error::corrupt(XfsRule::Link { inode: inode.number, len: inode.size })),
        }
    }
}
