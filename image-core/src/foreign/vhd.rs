//! VHD, the format of Virtual PC, Hyper-V before 2012, XenServer and Azure; QEMU calls it vpc.
//!
//! ```text
//! fixed    │ the disk                                                     │ footer │
//! dynamic  │ footer │ header │ BAT: a sector number for each block │ bitmap, block │ … │ footer │
//! ```
//!
//! All numbers are big endian. Source: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0 (2006); its sections
//! are "Hard Disk Footer Format", "Dynamic Disk Header Format", "Block Allocation Table and Data Blocks".
//!
//! **Two sizes.** The footer has the size in bytes, and a geometry that rounds it down. Virtual PC (and old QEMU) made
//! disks that are as large as the geometry; all others believe the size. So does this reader, by who made the image
//! ([`SizeFrom`]).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod footer;
pub(super) mod sink;

use std::sync::Arc;

pub(crate) use footer::Footer;
pub use footer::SizeFrom;

use super::field::{be32, be64, blocks_of, require, structure};
use super::mapped::{BlockTable, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::{BlockRead, ByteRange, Window};
use crate::error::Result;

/// The dynamic header.
const DYNAMIC_LEN: u64 = 1024;
/// An entry of the BAT for a block that was never written.
const UNALLOCATED: u32 = 0xffff_ffff;
const SECTOR: u64 = 512;

/// What footer and header say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The footer.
    pub(crate) footer: Footer,
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// Where that is from.
    pub(crate) size_from: SizeFrom,
    /// How a dynamic image is divided.
    blocks: Option<Blocks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blocks {
    bat_offset: u64,
    block_size: u64,
}

impl Blocks {
    /// The bytes of a block's bitmap: a bit for each sector, in whole sectors.
    fn bitmap_len(self) -> u64 {
        (self.block_size >> 12).max(1).next_multiple_of(SECTOR)
    }
}

impl Header {
    /// Reads footer and header in `file`. The size is from `wanted`; where nobody says, as who made it has it.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead, wanted: Option<SizeFrom>) -> Result<Self> {
        let footer = Footer::find(file)?;
        let size_from = wanted.unwrap_or(footer.size_from());
        let size = footer.size(size_from);
        require(
            size <= i64::MAX as u64 && size.is_multiple_of(SECTOR),
            "virtual size",
            size,
            "whole sectors",
        )?;
        let blocks = match footer.disk_type {
            footer::FIXED => {
                // Programs before 2004 wrote a footer of 511 bytes.
                let there = file.size().saturating_sub(SECTOR - 1);
                if size > there {
                    let what = "content";
                    return Err(Corrupt::Outside { what, offset: 0, len: size, file_size: there }.into());
                }
                None
            }
            footer::DYNAMIC => Some(Self::read_dynamic(file, &footer, size)?),
            footer::DIFFERENCING => return Err(Unsupported::Differencing { format: "VHD" }.into()),
            value => return Err(Unsupported::Value { what: "disk type", value: value.into() }.into()),
        };
        Ok(Self { footer, size, size_from, blocks })
    }

    fn read_dynamic(file: &dyn BlockRead, footer: &Footer, size: u64) -> Result<Blocks> {
        let bytes = structure(file, "dynamic header", footer.data_offset, DYNAMIC_LEN)?;
        if !bytes.starts_with(b"cxsparse") {
            let found = bytes.get(..8).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "dynamic header", found }.into());
        }
        footer::verify(&bytes, 36, "dynamic header")?;
        let version = be32(&bytes, 24);
        if version >> 16 != 1 {
            return Err(Unsupported::Value { what: "header version", value: version.into() }.into());
        }
        let (bat_offset, entries, block_size) =
            (be64(&bytes, 16), u64::from(be32(&bytes, 28)), u64::from(be32(&bytes, 32)));
        require(
            block_size.is_power_of_two() && (SECTOR..=256 << 20).contains(&block_size),
            "block size",
            block_size,
            "a power of two from 512 bytes to 256 MiB",
        )?;
        let needed = blocks_of(size, block_size);
        require(entries >= needed, "number of BAT entries", entries, "the disk has more blocks")?;
        let (len, file_size) = (needed.saturating_mul(4), file.size());
        if bat_offset.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(Corrupt::Outside { what: "BAT", offset: bat_offset, len, file_size }.into());
        }
        require(bat_offset.is_multiple_of(SECTOR), "offset of the BAT", bat_offset, "whole sectors")?;
        Ok(Blocks { bat_offset, block_size })
    }

    /// Whether the file is the disk, with a footer behind it.
    pub(crate) fn is_fixed(&self) -> bool {
        self.blocks.is_none()
    }

    /// The bytes of a block of a dynamic image.
    pub(crate) fn block_size(&self) -> Option<u64> {
        self.blocks.map(|blocks| blocks.block_size)
    }

    /// Which of two sizes counts, where they differ.
    pub(super) fn notes(&self) -> Vec<String> {
        let [footer, geometry] = [SizeFrom::Footer, SizeFrom::Geometry].map(|from| self.footer.size(from));
        let creator = String::from_utf8_lossy(&self.footer.creator).trim_end().to_owned();
        let why = format!("made by {creator:?}");
        match self.size_from {
            _ if footer == geometry => Vec::new(),
            SizeFrom::Footer if self.footer.size_from() == SizeFrom::Footer => Vec::new(),
            SizeFrom::Footer => {
                vec![format!("its size is that of its footer; by its geometry it is {geometry}")]
            }
            SizeFrom::Geometry => {
                vec![format!("its size is that of its geometry ({why}); by its footer it is {footer}")]
            }
        }
    }

    /// The disk in `file`, whose header this is.
    pub(super) fn open(&self, file: Arc<dyn BlockRead>) -> Result<Arc<dyn BlockRead>> {
        let Some(blocks) = self.blocks else {
            return Ok(Arc::new(Window::new(file, ByteRange::whole(self.size))?));
        };
        let table = Bat {
            bat: Table::new(file.clone(), "BAT"),
            bitmaps: Table::new(file.clone(), "sector bitmap"),
            blocks,
            count: blocks_of(self.size, blocks.block_size),
        };
        Ok(Arc::new(Mapped::new(file, table, self.size, None)))
    }
}

struct Bat {
    bat: Table,
    bitmaps: Table,
    blocks: Blocks,
    /// How many blocks there are.
    count: u64,
}

impl BlockTable for Bat {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let block_size = self.blocks.block_size;
        let index = at.checked_div(block_size).unwrap_or_default();
        let start = index.saturating_mul(block_size);
        let end = start.saturating_add(block_size);
        let place = self.blocks.bat_offset.saturating_add(index.saturating_mul(4));
        let (entry, alike) = self.bat.run(place, self.count.saturating_sub(index), at)?;
        let sector = u32::from_be_bytes(entry);
        if sector == UNALLOCATED {
            return Ok((start.saturating_add(alike.saturating_mul(block_size)), Place::Nothing));
        }
        let bitmap = u64::from(sector).saturating_mul(SECTOR);
        let data = bitmap.saturating_add(self.blocks.bitmap_len());
        let (written, run_end) = self.bits(bitmap, at, start, end)?;
        let in_block = at.saturating_sub(start);
        let place = if written { Place::Plain(data.saturating_add(in_block)) } else { Place::Nothing };
        Ok((run_end, place))
    }

    fn block_size(&self) -> u64 {
        self.blocks.block_size
    }
}

impl Bat {
    /// Whether the sector at `at` was written ("sectors that have never been modified" have a 0), and how far that goes,
    /// within the block from `start` to `end` with this bitmap.
    fn bits(&self, bitmap: u64, at: u64, start: u64, end: u64) -> Result<(bool, u64)> {
        let mut written = None;
        let mut sector = at.saturating_sub(start) >> 9;
        let sectors = end.saturating_sub(start) >> 9;
        while sector < sectors {
            // Eight bytes of the bitmap at a time; the first sector is the highest bit.
            let word_start = sector & !63;
            let entry = self.bitmaps.entry(bitmap.saturating_add(word_start >> 3), at)?;
            let word = u64::from_be_bytes(entry);
            let shifted = word.wrapping_shl((sector & 63) as u32);
            let is_set = shifted >> 63 == 1;
            if *written.get_or_insert(is_set) != is_set {
                break;
            }
            let alike = if is_set { shifted.leading_ones() } else { shifted.leading_zeros() };
            let left = word_start.saturating_add(64).saturating_sub(sector);
            sector = sector.saturating_add(u64::from(alike).min(left));
            if u64::from(alike) < left {
                break;
            }
        }
        let run_end = start.saturating_add(sector.min(sectors).saturating_mul(SECTOR));
        Ok((written.unwrap_or(false), run_end.max(at.saturating_add(1)).min(end)))
    }
}
