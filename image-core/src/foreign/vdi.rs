//! VDI, VirtualBox' format: a header, one map, blocks.
//!
//! ```text
//! │ text, signature, header │ map: a number for each block │ block │ block │ …   in any order
//! ```
//!
//! All numbers are little endian. There is no specification: the layout is what VirtualBox and QEMU (`block/vdi.c`) write.
//! Differencing images name their parent by a UUID alone, which leads to no file: they are refused.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub(super) mod sink;

use std::sync::Arc;

use super::field::{blocks_of, le32, le64, require, structure};
use super::mapped::{BlockTable, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::BlockRead;
use crate::error::Result;

/// Bytes of the header that are looked at.
pub(super) const HEADER_LEN: u64 = 512;
/// At byte 64.
pub(super) const SIGNATURE: u32 = 0xbeda_107f;
/// Version 1.1, the only one with this layout.
pub(super) const VERSION: u32 = 0x0001_0001;
/// A block that was never written.
pub(super) const UNALLOCATED: u32 = 0xffff_ffff;
/// A block that was given back: it reads as zeroes.
const DISCARDED: u32 = 0xffff_fffe;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The bytes of a block.
    pub(crate) block_size: u64,
    /// Whether all blocks were set aside when it was made.
    pub(crate) fixed: bool,
    map_offset: u64,
    data_offset: u64,
}

impl Header {
    /// Reads the header in `file`.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, HEADER_LEN)?;
        if le32(&bytes, 0x40) != SIGNATURE {
            let found = bytes.get(0x40..0x44).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let version = le32(&bytes, 0x44);
        if version != VERSION {
            return Err(Unsupported::Value { what: "version", value: version.into() }.into());
        }
        let fixed = match le32(&bytes, 0x4c) {
            1 => false,
            2 => true,
            3 | 4 => return Err(Unsupported::Differencing { format: "VDI" }.into()),
            value => return Err(Unsupported::Value { what: "image type", value: value.into() }.into()),
        };
        let (size, block_size) = (le64(&bytes, 0x170), u64::from(le32(&bytes, 0x178)));
        require(size <= i64::MAX as u64, "virtual size", size, "no disk is that large")?;
        require(
            block_size.is_power_of_two() && (512..=256 << 20).contains(&block_size),
            "block size",
            block_size,
            "a power of two from 512 bytes to 256 MiB",
        )?;
        let extra = le32(&bytes, 0x17c);
        if extra != 0 {
            return Err(Unsupported::Value { what: "extra data of each block", value: extra.into() }.into());
        }
        let (map_offset, data_offset) = (u64::from(le32(&bytes, 0x154)), u64::from(le32(&bytes, 0x158)));
        let (count, needed) = (u64::from(le32(&bytes, 0x180)), blocks_of(size, block_size));
        require(count >= needed, "number of blocks", count, "the disk has more")?;
        let len = needed.saturating_mul(4);
        let file_size = file.size();
        if map_offset.saturating_add(len) > file_size {
            return Err(Corrupt::Outside { what: "map", offset: map_offset, len, file_size }.into());
        }
        require(
            data_offset >= map_offset.saturating_add(len) && data_offset.is_multiple_of(512),
            "offset of the data",
            data_offset,
            "behind the map, in whole sectors",
        )?;
        Ok(Self { size, block_size, fixed, map_offset, data_offset })
    }

    /// The disk in `file`, which begins with this header.
    pub(super) fn open(&self, file: Arc<dyn BlockRead>) -> Arc<dyn BlockRead> {
        let table = Map { map: Table::new(file.clone(), "map"), header: self.clone() };
        Arc::new(Mapped::new(file, table, self.size, None))
    }
}

struct Map {
    map: Table,
    header: Header,
}

impl BlockTable for Map {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let Header { block_size, map_offset, data_offset, .. } = self.header;
        let index = at.checked_div(block_size).unwrap_or_default();
        let start = index.saturating_mul(block_size);
        let left = blocks_of(self.header.size, block_size).saturating_sub(index);
        let place = map_offset.saturating_add(index.saturating_mul(4));
        let (entry, alike) = self.map.run(place, left, at)?;
        let place = match u32::from_le_bytes(entry) {
            UNALLOCATED => Place::Nothing,
            DISCARDED => Place::Zero,
            number => {
                let block = data_offset.saturating_add(u64::from(number).saturating_mul(block_size));
                Place::Plain(block.saturating_add(at.saturating_sub(start)))
            }
        };
        let blocks = if matches!(place, Place::Plain(_)) { 1 } else { alike };
        Ok((start.saturating_add(blocks.saturating_mul(block_size)), place))
    }

    fn block_size(&self) -> u64 {
        self.header.block_size
    }
}
