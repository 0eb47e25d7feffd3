//! Directories: what is behind a name up to the next one, what an entry of no inode had, and the free ends of an index.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Scrub;
use crate::error::Result;
use crate::fs::ext4::directory::{TAIL_LEN, entry_at, wrong};
use crate::fs::ext4::features;
use crate::fs::ext4::field::put;
use crate::fs::ext4::htree;
use crate::fs::ext4::inode::{FLAG_CASEFOLD, FLAG_ENCRYPTED, Inode};
use crate::fs::ext4::write::directory::put_names_checksum;

/// Of an entry, without its name; and the hashes behind an encrypted name whose case does not count.
const HEADER_LEN: usize = 8;
const HASHES_LEN: usize = 8;

impl Scrub<'_> {
    /// Wipes `block`, which is block `number` of the directory `inode`.
    pub(super) fn directory_block(&mut self, inode: &Inode, number: u64, block: u64) -> Result<()> {
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        let old = self.fs.blocks().block(block)?;
        let mut new = old.to_vec();
        if htree::is_node(inode, number, &old) {
            if let Some((at, limit, count)) = htree::shape(&old) {
                let end = |count: u16| at.saturating_add(usize::from(count).saturating_mul(htree::ENTRY_LEN));
                let tail = if has_sums { end(limit).saturating_add(8) } else { end(count) };
                new.get_mut(end(count)..end(limit)).unwrap_or_default().fill(0);
                new.get_mut(tail.max(end(limit))..).unwrap_or_default().fill(0);
                if has_sums {
                    htree::put_checksum(inode.seed, &mut new, at);
                }
            }
        } else {
            let end = new.len().saturating_sub(if has_sums { TAIL_LEN } else { 0 });
            self.names(inode, number, new.get_mut(..end).unwrap_or_default())?;
            if has_sums && *new != *old {
                put_names_checksum(inode.seed, &mut new);
            }
        }
        let size = self.fs.superblock().block_size;
        self.replace(&old, &new, block.saturating_mul(size))
    }

    /// Wipes what no name has of `area`, which is area `number` of the directory `inode`.
    pub(super) fn names(&self, inode: &Inode, number: u64, area: &mut [u8]) -> Result<()> {
        let mut at = 0_usize;
        while at < area.len() {
            let entry = entry_at(self.fs, inode, area, at).map_err(|what| wrong(inode, number, what))?;
            let (next, name_len, is_used) = (entry.next, entry.name.len(), entry.inode != 0);
            let has_hashes = inode.has(FLAG_CASEFOLD) && inode.has(FLAG_ENCRYPTED) && name_len > 2;
            let name_end = at.saturating_add(HEADER_LEN).saturating_add(name_len);
            let end = match has_hashes {
                true => name_end.next_multiple_of(4).saturating_add(HASHES_LEN),
                false => name_end,
            };
            match is_used {
                true => area.get_mut(end.min(next)..next).unwrap_or_default().fill(0),
                false => {
                    put(area, at.saturating_add(6), &[0; 2]);
                    area.get_mut(at.saturating_add(HEADER_LEN)..next).unwrap_or_default().fill(0);
                }
            }
            at = next;
        }
        Ok(())
    }
}
