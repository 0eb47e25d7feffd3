//! Parallels' expanding disks (HDD, HDS).
//!
//! ```text
//! │ header │ BAT: a number for each block │ block │ block │ …   in any order
//! ```
//!
//! All numbers are little endian. Source: QEMU, `docs/interop/parallels.rst`. Its extension (dirty bitmaps) is not looked at.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::field::{blocks_of, le32, le64, require, structure};
use super::mapped::{BlockTable, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::BlockRead;
use crate::error::Result;

const HEADER_LEN: u64 = 64;
const SECTOR: u64 = 512;
/// Places are sectors.
const OLD_MAGIC: &[u8] = b"WithoutFreeSpace";
/// Places are blocks.
const MAGIC: &[u8] = b"WithouFreSpacExt";
/// `in_use` of an image that is open, or was not closed.
const IN_USE: u32 = 0x746f_6e59;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The bytes of a block.
    pub(crate) block_size: u64,
    /// Whether it was not closed.
    pub(crate) in_use: bool,
    /// Bytes that the numbers in the BAT count.
    unit: u64,
}

impl Header {
    /// Reads the header in `file`.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, HEADER_LEN)?;
        let is_old = bytes.starts_with(OLD_MAGIC);
        if !is_old && !bytes.starts_with(MAGIC) {
            let found = bytes.get(..16).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let version = le32(&bytes, 16);
        if version != 2 {
            return Err(Unsupported::Value { what: "version", value: version.into() }.into());
        }
        let block_size = u64::from(le32(&bytes, 28)).saturating_mul(SECTOR);
        require(
            (SECTOR..=256 << 20).contains(&block_size),
            "block size",
            block_size,
            "sectors, 256 MiB at most",
        )?;
        // Old images have 32 bits, and anything behind them.
        let sectors = if is_old { le32(&bytes, 36).into() } else { le64(&bytes, 36) };
        let size = sectors.saturating_mul(SECTOR);
        require(size <= i64::MAX as u64, "virtual size", size, "no disk is that large")?;
        let (entries, needed) = (u64::from(le32(&bytes, 32)), blocks_of(size, block_size));
        require(entries >= needed, "number of BAT entries", entries, "the disk has more blocks")?;
        let (len, file_size) = (needed.saturating_mul(4), file.size());
        if HEADER_LEN.saturating_add(len) > file_size {
            return Err(Corrupt::Outside { what: "BAT", offset: HEADER_LEN, len, file_size }.into());
        }
        let unit = if is_old { SECTOR } else { block_size };
        Ok(Self { size, block_size, in_use: le32(&bytes, 44) == IN_USE, unit })
    }

    /// The disk in `file`, which begins with this header.
    pub(super) fn open(&self, file: Arc<dyn BlockRead>) -> Arc<dyn BlockRead> {
        let table = Bat { bat: Table::new(file.clone(), "BAT"), header: self.clone() };
        Arc::new(Mapped::new(file, table, self.size, None))
    }
}

struct Bat {
    bat: Table,
    header: Header,
}

impl BlockTable for Bat {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let Header { block_size, unit, .. } = self.header;
        let index = at.checked_div(block_size).unwrap_or_default();
        let start = index.saturating_mul(block_size);
        let entry = HEADER_LEN.saturating_add(index.saturating_mul(4));
        let left = blocks_of(self.header.size, block_size).saturating_sub(index);
        let (entry, alike) = self.bat.run(entry, left, at)?;
        let place = match u32::from_le_bytes(entry) {
            0 => Place::Nothing,
            number => {
                let host = u64::from(number).saturating_mul(unit);
                Place::Plain(host.saturating_add(at.saturating_sub(start)))
            }
        };
        let blocks = if place == Place::Nothing { alike } else { 1 };
        Ok((start.saturating_add(blocks.saturating_mul(block_size)), place))
    }

    fn block_size(&self) -> u64 {
        self.header.block_size
    }
}
