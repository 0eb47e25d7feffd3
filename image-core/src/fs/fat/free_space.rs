//! Free space: the clusters whose number in the table is 0.
//!
//! ```text
//! number 1 of the table   FAT16: 0x8000 left in order, 0x4000 no errors of the disk     FAT32: 0x08000000, 0x04000000
//! ```
//!
//! It counts only in a volume that was left in order, whose tables are all alike, and which is all on its disk.
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "FAT Data Structure".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Fat;
use super::layout::{FIRST_CLUSTER, Root, Width};
use super::rule::FatRule;
use super::table::Link;
use crate::block::{BlockRead, ByteRange, Ranges};
use crate::error::{Error, Result};

/// So much is compared of the tables at once, in bytes.
const PIECE: u64 = 256 << 10;

impl Fat {
    /// The clusters that nobody has.
    pub(super) fn unused(&self) -> Result<Vec<ByteRange>> {
        let table = &self.volume.table;
        let layout = table.layout();
        let size = table.pages().disk().size();
        let end = layout.place(layout.end);
        if end > size {
            let (what, offset) = ("last cluster", end);
            return Err(Error::corrupt(FatRule::OutsideDisk { what, offset, size }));
        }
        let was_left_in_order = match layout.width {
            Width::Fat12 => true,
            Width::Fat16 => table.value(1)? & 0xc000 == 0xc000,
            Width::Fat32 => table.value(1)? & 0x0c00_0000 == 0x0c00_0000,
        };
        if layout.is_dirty || !was_left_in_order {
            return Err(Error::unsupported("the volume was not unmounted cleanly"));
        }
        self.compare_tables()?;
        if let Root::Cluster(root) = layout.root
            && matches!(table.next(root)?, Link::Free)
        {
            return Err(Error::corrupt(FatRule::NoDirectory(0)));
        }
        let mut free = Ranges::default();
        let mut run = None;
        for cluster in FIRST_CLUSTER..layout.end {
            match (table.next(cluster)?, run) {
                (Link::Free, None) => run = Some(cluster),
                (Link::Free, Some(_)) | (_, None) => (),
                (_, Some(first)) => {
                    free.add(ByteRange::between(layout.place(first), layout.place(cluster)));
                    run = None;
                }
            }
        }
        free.extend(run.map(|first| ByteRange::between(layout.place(first), end)));
        free.into_sorted()
    }

    /// Refuses tables of which one says something else than the other.
    fn compare_tables(&self) -> Result<()> {
        let (layout, disk) = (self.volume.layout(), self.volume.table.pages().disk());
        let len =
            (u64::from(layout.end).saturating_mul(layout.width.bits()).div_ceil(8)).min(layout.table.len());
        for copy in &layout.copies {
            let mut at = 0;
            while at < len {
                let mut one = vec![0; len.saturating_sub(at).min(PIECE) as usize];
                let mut other = one.clone();
                disk.read_at(&mut one, layout.table.offset().saturating_add(at))?;
                disk.read_at(&mut other, copy.offset().saturating_add(at))?;
                if one != other {
                    return Err(Error::corrupt(FatRule::OtherTable(copy.offset())));
                }
                at = at.saturating_add(one.len() as u64);
            }
        }
        Ok(())
    }
}
