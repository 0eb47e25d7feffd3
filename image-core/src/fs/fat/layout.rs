//! Where a FAT has what, by its boot sector.
//!
//! ```text
//! boot sector, reserved │ table │ its copies │ root directory (FAT12, FAT16) │ clusters from 2 on
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "Boot Sector and BPB". A volume without a 16-bit length of its
//! tables is FAT32, as in Linux, however few clusters it has; between FAT12 and FAT16 it is their number that decides.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::FatRule;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};
use crate::fs::field::{u8_at, u16_at, u32_at};

/// Of the boot sector that is read, in bytes.
const BOOT_LEN: usize = 512;
/// Of an entry of a directory, in bytes.
pub(super) const ENTRY_LEN: u64 = 32;
/// The number of the first cluster.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// More clusters make a FAT12 a FAT16.
const FAT12_MAX: u64 = 4084;

/// In FAT32's flags: one table alone is kept.
const ALONE: u16 = 0x80;
/// In the byte that Windows and Linux keep their state in: mounted, or with errors on its disk.
const DIRTY: u8 = 0x3;

/// How wide the numbers of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

impl Width {
    /// In bits, in the table.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// The bits that count: the upper four of FAT32 are reserved.
    pub(super) fn mask(self) -> u32 {
        match self {
            Self::Fat12 => 0xfff,
            Self::Fat16 => 0xffff,
            Self::Fat32 => 0x0fff_ffff,
        }
    }
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Fixed(ByteRange),
    Cluster(u32),
}

/// The places of a FAT, in bytes from the beginning of the volume.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) width: Width,
    pub(super) cluster_size: u64,
    /// The table that counts.
    pub(super) table: ByteRange,
    /// Where the others are that must say the same: none where one alone is kept.
    pub(super) copies: Vec<ByteRange>,
    pub(super) root: Root,
    /// Where cluster 2 is.
    pub(super) data: u64,
    /// The number behind the last cluster.
    pub(super) end: u32,
    /// Whether the boot sector says that it is in use, or that it was not left in order.
    pub(super) is_dirty: bool,
}

fn wrong(field: &'static str, value: u64) -> Error {
    Error::corrupt(FatRule::BootSector { field, value })
}

impl Layout {
    /// As the boot sector of the volume that is all of `disk` says.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`]; [`Unsupported`](crate::ErrorKind::Unsupported) for another version
    /// of FAT32; whatever the disk says.
    pub(super) fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Self> {
        let mut boot = [0; BOOT_LEN];
        if disk.size() < BOOT_LEN as u64 {
            let (what, offset, size) = ("boot sector", 0, disk.size());
            return Err(Error::corrupt(FatRule::OutsideDisk { what, offset, size }));
        }
        disk.read_at(&mut boot, 0)?;
        Self::from_boot_sector(&boot)
    }

    fn from_boot_sector(boot: &[u8]) -> Result<Self> {
        let sector = u64::from(u16_at(boot, 0x0b));
        let per_cluster = u64::from(u8_at(boot, 0x0d));
        let reserved = u64::from(u16_at(boot, 0x0e));
        let tables = u64::from(u8_at(boot, 0x10));
        let root_len = u64::from(u16_at(boot, 0x11)).saturating_mul(ENTRY_LEN);
        let media = u8_at(boot, 0x15);
        let short_table = u64::from(u16_at(boot, 0x16));
        let table_sectors = if short_table == 0 { u64::from(u32_at(boot, 0x24)) } else { short_table };
        let total = match u16_at(boot, 0x13) {
            0 => u64::from(u32_at(boot, 0x20)),
            short => u64::from(short),
        };
        if !sector.is_power_of_two() || !(512..=4096).contains(&sector) {
            return Err(wrong("size of a sector", sector));
        }
        for (field, value, is_right) in [
            ("number of sectors in a cluster", per_cluster, per_cluster.is_power_of_two()),
            ("number of reserved sectors", reserved, reserved != 0),
            ("number of tables", tables, tables != 0),
            ("media byte", u64::from(media), media == 0xf0 || media >= 0xf8),
            ("size of a table", table_sectors, table_sectors != 0),
            ("size of the root directory", root_len, root_len.is_multiple_of(sector)),
        ] {
            if !is_right {
                return Err(wrong(field, value));
            }
        }
        let is_wide = short_table == 0;
        let in_bytes = |sectors: u64| sectors.saturating_mul(sector);
        let table_len = in_bytes(table_sectors);
        let root_start = in_bytes(reserved).saturating_add(tables.saturating_mul(table_len));
        let data = root_start.saturating_add(root_len);
        let cluster_size = in_bytes(per_cluster);
        let clusters = in_bytes(total).saturating_sub(data).checked_div(cluster_size).unwrap_or(0);
        let width = match clusters {
            _ if is_wide => Width::Fat32,
            0..=FAT12_MAX => Width::Fat12,
            _ => Width::Fat16,
        };
        let in_table = table_len.saturating_mul(8).checked_div(width.bits()).unwrap_or(0);
        let end = clusters.saturating_add(u64::from(FIRST_CLUSTER)).min(in_table);
        if clusters == 0 || end <= u64::from(FIRST_CLUSTER) || end > u64::from(width.mask() & !0xf) | 7 {
            return Err(wrong("number of clusters", clusters));
        }
        let active = if is_wide { active_table(boot, tables)? } else { 0 };
        let table_at = |number: u64| {
            ByteRange::new(in_bytes(reserved).saturating_add(number.saturating_mul(table_len)), table_len)
        };
        let is_alone = is_wide && u16_at(boot, 0x28) & ALONE != 0;
        let others = (0..tables).filter(|number| *number != active && !is_alone);
        let root = match is_wide {
            true => Root::Cluster(u32_at(boot, 0x2c)),
            false => Root::Fixed(ByteRange::new(root_start, root_len)?),
        };
        let (table, copies) = (table_at(active)?, others.map(table_at).collect::<Result<_>>()?);
        let is_dirty = u8_at(boot, if is_wide { 0x41 } else { 0x25 }) & DIRTY != 0;
        Ok(Self { width, cluster_size, table, copies, root, data, end: end as u32, is_dirty })
    }

    /// How many clusters there are.
    pub(super) fn clusters(&self) -> u32 {
        self.end.saturating_sub(FIRST_CLUSTER)
    }

    /// Where `cluster` is.
    pub(super) fn place(&self, cluster: u32) -> u64 {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        index.saturating_mul(self.cluster_size).saturating_add(self.data)
    }

    /// Whether an entry of a directory may be at `offset`.
    pub(super) fn may_have_entry(&self, offset: u64) -> bool {
        let clusters = ByteRange::between(self.data, self.place(self.end));
        let entry = ByteRange::between(offset, offset.saturating_add(ENTRY_LEN));
        let in_root = matches!(self.root, Root::Fixed(root) if root.contains(entry));
        offset.is_multiple_of(ENTRY_LEN) && (in_root || clusters.contains(entry))
    }
}

/// The table that counts in a FAT32: the first where all are written alike.
fn active_table(boot: &[u8], tables: u64) -> Result<u64> {
    let version = u16_at(boot, 0x2a);
    if version != 0 {
        return Err(Error::unsupported(format!(
            "it is version {}.{} of FAT32",
            version >> 8,
            version & 0xff
        )));
    }
    let flags = u64::from(u16_at(boot, 0x28));
    let active = if flags & u64::from(ALONE) == 0 { 0 } else { flags & 0xf };
    match active < tables {
        true => Ok(active),
        false => Err(wrong("number of the active table", active)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut boot = vec![0; 512];
        // 512 bytes, 1 sector, 1 reserved, 2 tables of 9 sectors, 224 entries, 2880 sectors.
        let floppy: &[(usize, &[u8])] =
            &[(0x0b, &[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0b, 0xf0, 9, 0]), (0x1fe, &[0x55, 0xaa])];
        for (at, bytes) in floppy.iter().chain(fields) {
            boot[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        boot
    }

    #[test]
    fn a_floppy_is_fat12_and_a_table_of_32_bits_is_fat32() {
        let floppy = Layout::from_boot_sector(&boot(&[])).unwrap();
        assert_eq!((floppy.width, floppy.clusters(), floppy.data), (Width::Fat12, 2847, 33 * 512));
        assert_eq!(floppy.root, Root::Fixed(ByteRange::new(19 * 512, 224 * 32).unwrap()));
        assert!(floppy.may_have_entry(19 * 512) && floppy.may_have_entry(33 * 512));
        assert!(!floppy.may_have_entry(18 * 512) && !floppy.may_have_entry(19 * 512 + 1));
        let wide: &[(usize, &[u8])] =
            &[(0x11, &[0; 4]), (0x16, &[0; 2]), (0x20, &[0, 0, 2, 0, 0, 4, 0, 0, 0x81, 0]), (0x2c, &[2])];
        let wide = Layout::from_boot_sector(&boot(wide)).unwrap();
        assert_eq!(
            (wide.width, wide.root, wide.table.offset()),
            (Width::Fat32, Root::Cluster(2), 512 * 1025)
        );
        assert_eq!(wide.clusters(), 0x2_0000 - 1 - 2048);
    }

    #[test]
    fn impossible_fields_are_told() {
        for (at, bytes, field) in [
            (0x0b, [0, 3], "size of a sector"),
            (0x0d, [3, 1], "number of sectors in a cluster"),
            (0x0e, [0, 0], "number of reserved sectors"),
            (0x10, [0, 0], "number of tables"),
            (0x11, [1, 0], "size of the root directory"),
            (0x13, [5, 0], "number of clusters"),
            (0x15, [1, 9], "media byte"),
        ] {
            let error = Layout::from_boot_sector(&boot(&[(at, &bytes)])).unwrap_err();
            let Some(FatRule::BootSector { field: found, .. }) = error.cause() else { panic!("{error:?}") };
            assert_eq!(*found, field);
        }
    }
}
