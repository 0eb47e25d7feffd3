//! What a change has to know of a boot sector beyond where the files are: sectors, copies of the table, FSInfo, the boot sector's copy.
//!
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "Boot Sector and BPB", "FAT32 FSInfo Sector Structure and Backup Boot
//! Sector".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::fat::layout::{Layout, Root};
use crate::fs::fat::rule::FatRule;
use crate::fs::field::{u8_at, u16_at, u32_at};

/// Where the boot sector of FAT32 says where the root directory begins.
pub(super) const ROOT_CLUSTER_AT: u64 = 0x2c;
/// Where FSInfo says how many clusters are free, and from which one on to look for one.
pub(super) const FREE_AT: u64 = 488;
/// What stands there if nobody knows.
pub(super) const UNKNOWN: u32 = 0xffff_ffff;

/// The rest of what a boot sector says, in bytes from the beginning of the volume.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) sector: u64,
    /// Where all tables are that are written alike, the one that counts first.
    pub(super) tables: Vec<u64>,
    pub(super) info: Option<u64>,
    /// The copy of the boot sector.
    pub(super) backup: Option<u64>,
}

impl Geometry {
    /// Of the volume that is all of `disk`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`] for one that is larger than the disk; whatever the disk says.
    pub(super) fn read(disk: &dyn BlockRead, layout: &Layout) -> Result<Self> {
        let mut boot = [0; 512];
        disk.read_at(&mut boot, 0)?;
        let sector = u64::from(u16_at(&boot, 0x0b));
        let size = disk.size();
        let end = layout.place(layout.end);
        if end > size {
            let (what, offset) = ("last cluster", end.saturating_sub(layout.cluster_size));
            return Err(Error::corrupt(FatRule::OutsideDisk { what, offset, size }));
        }
        let reserved = u64::from(u16_at(&boot, 0x0e)).saturating_mul(sector);
        let is_wide = matches!(layout.root, Root::Cluster(_));
        let is_alone = is_wide && u16_at(&boot, 0x28) & 0x80 != 0;
        let count = if is_alone { 0 } else { u64::from(u8_at(&boot, 0x10)) };
        let copies =
            (0..count).map(|index| reserved.saturating_add(layout.table.len().saturating_mul(index)));
        let mut tables = vec![layout.table.offset()];
        tables.extend(copies.filter(|copy| *copy != layout.table.offset()));
        let in_reserved = |at: usize| {
            let offset = u64::from(u16_at(&boot, at)).saturating_mul(sector);
            (is_wide && offset != 0 && offset.saturating_add(sector) <= reserved).then_some(offset)
        };
        let (info, backup) = (in_reserved(0x30), in_reserved(0x32));
        let has_marks = |offset: u64, marks: &[(usize, u32)]| -> Result<bool> {
            let mut bytes = [0; 512];
            disk.read_at(&mut bytes, offset)?;
            Ok(marks.iter().all(|(at, mark)| u32_at(&bytes, *at) == *mark))
        };
        let info = match info {
            Some(offset) => has_marks(offset, &[(0, 0x4161_5252), (484, 0x6141_7272)])?.then_some(offset),
            None => None,
        };
        // A copy of another boot sector is none.
        let root = u32_at(&boot, ROOT_CLUSTER_AT as usize);
        let backup = match backup {
            Some(offset) => has_marks(offset, &[(ROOT_CLUSTER_AT as usize, root)])?.then_some(offset),
            None => None,
        };
        Ok(Self { sector, tables, info, backup })
    }
}
