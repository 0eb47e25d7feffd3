//! The file allocation table: a number for each cluster, which leads to the next one of its chain.
//!
//! ```text
//! FAT12   two numbers in three bytes: low byte │ high four of the second, low four of the first │ …
//! FAT16   two bytes          FAT32   four bytes, of which the upper four bits are reserved
//!
//! 0 free │ 2 … the next cluster │ …f7 bad │ …f8 to …ff the end
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "FAT Data Structure".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::layout::{FIRST_CLUSTER, Layout, Width};
use super::rule::FatRule;
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::field::u32_at;
use crate::fs::page_cache::PageCache;

/// So much is read of the table at once, in bytes.
const PIECE: u64 = 256 << 10;

/// What is behind a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing: nobody has it.
    Free,
    /// This cluster.
    Next(u32),
    /// Nothing: it is the last one.
    End,
    /// Nothing: it must not be used.
    Bad,
    /// A number that no cluster has.
    Impossible(u32),
}

/// The table of a FAT on a disk.
pub(super) struct Table<D> {
    pages: PageCache<D>,
    layout: Layout,
}

impl<D: BlockRead> Table<D> {
    /// The table that counts of the volume that is all of `disk`.
    pub(super) fn new(disk: D, layout: Layout) -> Self {
        Self { pages: PageCache::new(disk), layout }
    }

    /// Where the volume has what.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The disk, with pages of it.
    pub(super) fn pages(&self) -> &PageCache<D> {
        &self.pages
    }

    /// The number of `cluster`, of those bits that count.
    pub(super) fn get(&self, cluster: u32) -> Result<u32> {
        if !(FIRST_CLUSTER..self.layout.end).contains(&cluster) {
            return Err(Error::corrupt(FatRule::NoCluster(cluster)));
        }
        self.value(cluster)
    }

    /// Number `index` of the table: those before the first cluster's say how the volume was left.
    pub(super) fn value(&self, index: u32) -> Result<u32> {
        let number = u64::from(index);
        let bits = number.saturating_mul(self.layout.width.bits());
        let len = if self.layout.width == Width::Fat32 { 4 } else { 2 };
        let offset = self.layout.table.offset().saturating_add(bits >> 3);
        let mut bytes = [0; 4];
        self.check(offset, len)?;
        self.pages.read(bytes.get_mut(..len as usize).unwrap_or_default(), offset)?;
        // The second of two in FAT12 begins in the middle of a byte.
        let value = u32_at(&bytes, 0) >> (bits & 7);
        Ok(value & self.layout.width.mask())
    }

    /// What is behind `cluster`.
    pub(super) fn next(&self, cluster: u32) -> Result<Link> {
        Ok(self.link(self.get(cluster)?))
    }

    fn link(&self, value: u32) -> Link {
        let mask = self.layout.width.mask();
        match value {
            0 => Link::Free,
            _ if (FIRST_CLUSTER..self.layout.end).contains(&value) => Link::Next(value),
            _ if value >= mask & !7 => Link::End,
            _ if value == mask & !8 => Link::Bad,
            _ => Link::Impossible(value),
        }
    }

    /// The first cluster from `from` on that nobody has; `None` if there is none.
    pub(super) fn next_free(&self, from: u32) -> Result<Option<u32>> {
        for cluster in from.max(FIRST_CLUSTER)..self.layout.end {
            if self.get(cluster)? == 0 {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// How many clusters nobody has: all numbers are looked at.
    pub(super) fn free_count(&self) -> Result<u32> {
        let mut count = 0_u32;
        if self.layout.width == Width::Fat12 {
            let mut at = FIRST_CLUSTER;
            while let Some(free) = self.next_free(at)? {
                count = count.saturating_add(1);
                at = free.saturating_add(1);
            }
            return Ok(count);
        }
        // Past the pages: it may be larger than all of them.
        let width = (self.layout.width.bits() >> 3) as usize;
        let len = u64::from(self.layout.end).saturating_mul(width as u64);
        let mut at = u64::from(FIRST_CLUSTER).saturating_mul(width as u64);
        while at < len {
            let mut piece = vec![0; len.saturating_sub(at).min(PIECE) as usize];
            let offset = self.layout.table.offset().saturating_add(at);
            self.check(offset, piece.len() as u64)?;
            self.pages.disk().read_at(&mut piece, offset)?;
            let is_free = |number: &&[u8]| u32_padded(number) & self.layout.width.mask() == 0;
            let free = piece.chunks_exact(width).filter(is_free).count();
            count = count.saturating_add(free as u32);
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(count)
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.pages.disk().size();
        match offset.saturating_add(len) <= size {
            true => Ok(()),
            false => {
                let what = "file allocation table";
                Err(Error::corrupt(FatRule::OutsideDisk { what, offset, size }))
            }
        }
    }
}

/// A number of two bytes or four.
fn u32_padded(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::layout::Root;
    use super::*;
    use crate::block::{ByteRange, MemoryDisk};

    fn table(width: Width, end: u32, bytes: &[u8]) -> Table<MemoryDisk> {
        let table = ByteRange::whole(bytes.len() as u64);
        let (copies, root, is_dirty) = (Vec::new(), Root::Cluster(2), false);
        let layout = Layout { width, cluster_size: 512, table, copies, root, data: 512, end, is_dirty };
        Table::new(MemoryDisk::from_bytes(bytes.to_vec()), layout)
    }

    #[test]
    fn numbers_of_all_widths() {
        let twelve = table(Width::Fat12, 8, &[0xf0, 0xff, 0xff, 3, 0x80, 0, 0xf7, 0xef, 0xff, 0, 0x10, 0]);
        let links: Vec<Link> = (2..8).map(|cluster| twelve.next(cluster).unwrap()).collect();
        assert_eq!(
            links,
            [Link::Next(3), Link::Impossible(8), Link::Bad, Link::End, Link::Free, Link::Impossible(1)]
        );
        assert_eq!((twelve.next_free(2).unwrap(), twelve.free_count().unwrap()), (Some(6), 1));
        let sixteen = table(Width::Fat16, 5, &[0, 0, 0, 0, 4, 0, 0xf7, 0xff, 0xf8, 0xff]);
        let links: Vec<Link> = (2..5).map(|cluster| sixteen.next(cluster).unwrap()).collect();
        assert_eq!(links, [Link::Next(4), Link::Bad, Link::End]);
        let wide = [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0x0f];
        let wide = table(Width::Fat32, 4, &wide);
        assert_eq!((wide.next(2).unwrap(), wide.next(3).unwrap()), (Link::Next(3), Link::End));
        assert!(wide.next(4).is_err() && wide.next(1).is_err());
    }
}
