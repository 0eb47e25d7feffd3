//! El Torito: what a machine may boot from a CD.
//!
//! ```text
//! catalog      validation │ default entry │ header of a section │ entry … │ header │ entry …        32 bytes each
//! validation   0 1 │ 1 platform │ 28 checksum: all words are 0 together │ 30 0x55 0xaa
//! header       0 0x90, the last 0x91 │ 1 platform │ 2 entries
//! entry        0 0x88 bootable │ 1 media, 0x20 goes on │ 2 segment │ 4 kind of partition │ 6 sectors │ 8 block         going on: 0x44 …
//! ```
//! "El Torito" Bootable CD-ROM Format Specification, 1.0, 2.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Volume;
use super::descriptors::SECTOR;
use super::rule::IsoReadRule;
use crate::error::{Error, Result};
use crate::fs::field::{u8_at, u16_at, u32_at};

const ENTRY_LEN: u64 = 32;
/// A catalog is not read farther.
const ENTRIES_MAX: u64 = 2048;
const BOOTABLE: u8 = 0x88;
const NOT_BOOTABLE: u8 = 0x00;
const HEADER: u8 = 0x90;
const LAST_HEADER: u8 = 0x91;
const GOES_ON: u8 = 0x44;

/// Something to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootEntry {
    /// For which machines: 0 those with a BIOS, 1 PowerPC, 2 Macintosh, 0xef UEFI.
    pub platform: u8,
    /// Whether it is meant to be booted.
    pub is_bootable: bool,
    /// What the machine is to take it for: 0 itself, 1 to 3 a floppy of 1200, 1440 or 2880 KiB, 4 a hard disk.
    pub media: u8,
    /// The segment where it is loaded to; 0 for the usual one.
    pub load_segment: u16,
    /// The kind of partition that it is, for a hard disk.
    pub system_type: u8,
    /// How many sectors of 512 bytes are loaded at first.
    pub sectors: u16,
    /// Where it is, in blocks of 2048 bytes.
    pub block: u32,
}

/// A catalog that is being read.
struct Catalog<'a> {
    volume: &'a Volume,
    start: u64,
    next: u64,
}

impl Catalog<'_> {
    fn step(&mut self) -> Result<[u8; ENTRY_LEN as usize]> {
        if self.next >= ENTRIES_MAX {
            return Err(wrong("length"));
        }
        let mut entry = [0; ENTRY_LEN as usize];
        let offset = self.start.saturating_add(self.next.saturating_mul(ENTRY_LEN));
        self.volume.read(&mut entry, offset, "boot catalog")?;
        self.next = self.next.saturating_add(1);
        Ok(entry)
    }
}

fn wrong(what: &'static str) -> Error {
    Error::corrupt(IsoReadRule::BootCatalog(what))
}

impl BootEntry {
    fn new(entry: &[u8], platform: u8) -> Result<Self> {
        if !matches!(u8_at(entry, 0), BOOTABLE | NOT_BOOTABLE) {
            return Err(wrong("entry"));
        }
        Ok(Self {
            platform,
            is_bootable: u8_at(entry, 0) == BOOTABLE,
            media: u8_at(entry, 1) & 0xf,
            load_segment: u16_at(entry, 2),
            system_type: u8_at(entry, 4),
            sectors: u16_at(entry, 6),
            block: u32_at(entry, 8),
        })
    }
}

/// All entries of the catalog in `sector`, the default one first.
pub(super) fn catalog(volume: &Volume, sector: u32) -> Result<Vec<BootEntry>> {
    let start = u64::from(sector).saturating_mul(SECTOR);
    let mut catalog = Catalog { volume, start, next: 0 };
    let validation = catalog.step()?;
    let sum =
        (0..ENTRY_LEN as usize).step_by(2).fold(0_u16, |sum, at| sum.wrapping_add(u16_at(&validation, at)));
    if u8_at(&validation, 0) != 1 || u16_at(&validation, 30) != 0xaa55 {
        return Err(wrong("mark"));
    }
    if sum != 0 {
        return Err(wrong("checksum"));
    }
    let mut entries = vec![BootEntry::new(&catalog.step()?, u8_at(&validation, 1))?];
    loop {
        let header = catalog.step()?;
        if !matches!(u8_at(&header, 0), HEADER | LAST_HEADER) {
            // There need not be any.
            return Ok(entries);
        }
        for _ in 0..u16_at(&header, 2) {
            let entry = catalog.step()?;
            entries.push(BootEntry::new(&entry, u8_at(&header, 1))?);
            let mut goes_on = u8_at(&entry, 1) & 0x20 != 0;
            while goes_on {
                let more = catalog.step()?;
                if u8_at(&more, 0) != GOES_ON {
                    return Err(wrong("entry"));
                }
                goes_on = u8_at(&more, 1) & 0x20 != 0;
            }
        }
        if u8_at(&header, 0) == LAST_HEADER {
            return Ok(entries);
        }
    }
}
