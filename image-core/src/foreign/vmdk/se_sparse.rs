//! Space-efficient sparse extents, of snapshots that ESXi 6.5 and newer make: entries of 64 bits, of which the first
//! four say what a grain is. There is no specification; this is what QEMU's `block/vmdk.c` reads.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::super::field::{blocks_of, in_bytes, le64, require, structure};
use super::super::mapped::{BlockTable, Place};
use super::super::rule::{Corrupt, Unsupported};
use super::super::table::Table;
use super::SECTOR;
use crate::block::BlockRead;
use crate::error::Result;

/// 0xcafebabe in four of its eight bytes.
pub(super) const MAGIC: &[u8] = b"\xbe\xba\xfe\xca";
const VERSION: u64 = 0x0000_0002_0000_0001;
/// Entries of a table: all have 64 sectors.
const TABLE_COUNT: u64 = 64 * SECTOR / 8;
const TABLE_SECTORS: u64 = 64;
/// A grain has 4 KiB.
const GRAIN_SECTORS: u64 = 8;

/// What the constant header says; places in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeSparseHeader {
    pub(super) size: u64,
    directory: u64,
    tables: u64,
    tables_len: u64,
    grains: u64,
}

impl SeSparseHeader {
    pub(super) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, SECTOR)?;
        if le64(&bytes, 0) != 0xcafe_babe {
            let found = bytes.get(..8).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let fixed = [
            ("version", le64(&bytes, 8), VERSION),
            ("grain size", le64(&bytes, 24), GRAIN_SECTORS),
            ("grain table size", le64(&bytes, 32), TABLE_SECTORS),
            ("set of flags", le64(&bytes, 40), 0),
        ];
        for (what, value, only) in fixed {
            if value != only {
                return Err(Unsupported::Value { what, value }.into());
            }
        }
        let place = |at: usize, what| in_bytes(le64(&bytes, at), what);
        // A volatile header that says "replay" is of a journal which was not written out.
        let volatile =
            structure(file, "volatile header", place(80, "offset of the volatile header")?, SECTOR)?;
        if le64(&volatile, 0) != 0xcafe_cafe {
            let found = volatile.get(..8).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "volatile header", found }.into());
        }
        if volatile.get(24) != Some(&0) {
            return Err(Unsupported::Value { what: "journal to be replayed", value: 1 }.into());
        }
        let header = Self {
            size: place(16, "capacity")?,
            directory: place(128, "offset of the grain directory")?,
            tables: place(144, "offset of the grain tables")?,
            tables_len: place(152, "length of the grain tables")?,
            grains: place(192, "offset of the grains")?,
        };
        let covers = TABLE_COUNT.saturating_mul(GRAIN_SECTORS).saturating_mul(SECTOR);
        let (len, offset, file_size) =
            (blocks_of(header.size, covers).saturating_mul(8), header.directory, file.size());
        if offset.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(Corrupt::Outside { what: "grain directory", offset, len, file_size }.into());
        }
        let told = place(136, "length of the grain directory")?;
        require(len <= told, "length of the grain directory", told, "the disk needs more")?;
        Ok(header)
    }

    pub(super) fn table(&self, file: Arc<dyn BlockRead>) -> SeSparseTable {
        SeSparseTable {
            directory: Table::new(file.clone(), "grain directory"),
            tables: Table::new(file, "grain table"),
            header: *self,
        }
    }
}

/// Directory and tables of such an extent.
pub(super) struct SeSparseTable {
    directory: Table,
    tables: Table,
    header: SeSparseHeader,
}

impl BlockTable for SeSparseTable {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let grain_size = self.block_size();
        let grain = at.checked_div(grain_size).unwrap_or_default();
        let (table, index) = (
            grain.checked_div(TABLE_COUNT).unwrap_or_default(),
            grain.checked_rem(TABLE_COUNT).unwrap_or_default(),
        );
        let place = self.header.directory.saturating_add(table.saturating_mul(8));
        let entry = u64::from_le_bytes(self.directory.entry(place, at)?);
        if entry == 0 {
            let next = table.saturating_add(1).saturating_mul(TABLE_COUNT);
            return Ok((next.saturating_mul(grain_size), Place::Nothing));
        }
        if entry >> 32 != 0x1000_0000 {
            return Err(Corrupt::Entry { guest: at, what: "grain directory", entry }.into());
        }
        let number = entry & 0xffff_ffff;
        let table = number.saturating_mul(TABLE_SECTORS.saturating_mul(SECTOR));
        if table >= self.header.tables_len {
            return Err(Corrupt::Entry { guest: at, what: "grain directory", entry }.into());
        }
        let place = self.header.tables.saturating_add(table).saturating_add(index.saturating_mul(8));
        let entry = u64::from_le_bytes(self.tables.entry(place, at)?);
        let start = grain.saturating_mul(grain_size);
        let place = match entry >> 60 {
            0 if entry == 0 => Place::Nothing,
            1 | 2 => Place::Zero,
            3 => {
                // The number's upper twelve bits stand below the kind, the others behind them.
                let number = (entry & 0x0fff_0000_0000_0000) >> 48 | (entry & 0x0000_ffff_ffff_ffff) << 12;
                let host = self.header.grains.saturating_add(number.saturating_mul(grain_size));
                Place::Plain(host.saturating_add(at.saturating_sub(start)))
            }
            _ => return Err(Corrupt::Entry { guest: at, what: "grain table", entry }.into()),
        };
        Ok((start.saturating_add(grain_size), place))
    }

    fn block_size(&self) -> u64 {
        GRAIN_SECTORS.saturating_mul(SECTOR)
    }
}
