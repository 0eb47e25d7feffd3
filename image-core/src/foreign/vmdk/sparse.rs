//! Sparse extents: a directory of tables of grains ("Hosted Sparse Extents", "Stream-Optimized Compressed Sparse
//! Extents", and what ESX made of them, "ESX Server Sparse Extents").
//!
//! ```text
//! directory ─► table: 512 (ESX: 4096) entries ─► a grain, at a sector; 0: nothing there; 1: zeroes, where so flagged
//! ```
//!
//! Most files have directory and tables twice. Where the first ones are outside of the file, the second are used.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::cell::RefCell;
use std::sync::Arc;

use super::super::field::{blocks_of, in_bytes, le16, le32, le64, require, structure};
use super::super::mapped::{BlockTable, Compressed, Place};
use super::super::rule::{Corrupt, Unsupported};
use super::super::table::Table;
use super::SECTOR;
use crate::block::BlockRead;
use crate::error::{Doing, Result};

/// The first bytes of a sparse extent.
pub(super) const MAGIC: &[u8] = b"KDMV";
/// Of one that ESX made.
pub(super) const COWD_MAGIC: &[u8] = b"COWD";
/// The directory is named by a footer behind all grains.
pub(super) const DIRECTORY_AT_END: u64 = u64::MAX;
/// Bits of `flags`.
pub(super) mod flag {
    pub(in super::super) const NEWLINE_TEST: u32 = 1;
    pub(in super::super) const REDUNDANT: u32 = 1 << 1;
    pub(in super::super) const ZEROED_GRAINS: u32 = 1 << 2;
    pub(in super::super) const COMPRESSED: u32 = 1 << 16;
    pub(in super::super) const MARKERS: u32 = 1 << 17;
}
/// The newline test: bytes that a transfer as text would change.
pub(super) const NEWLINES: [u8; 4] = *b"\n \r\n";
/// The one way to compress.
pub(super) const DEFLATE: u16 = 1;
/// The bytes of the marker before a compressed grain.
pub(super) const MARKER_LEN: u64 = 12;
/// A grain may be no larger: VMware's are 64 KiB, QEMU's too.
const MAX_GRAIN: u64 = 2 << 20;

/// What the header of a sparse extent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseHeader {
    /// In bytes.
    pub(super) size: u64,
    /// In bytes.
    pub(super) grain_size: u64,
    /// Where the descriptor is and how long, in bytes; 0 if there is none.
    pub(super) descriptor: (u64, u64),
    /// Entries of a table.
    table_count: u64,
    /// Where the directory is, in bytes.
    directory: u64,
    /// Where the second one is.
    second: Option<u64>,
    zeroed_grains: bool,
    compressed: bool,
}

impl SparseHeader {
    /// Reads a header, or the footer that stands for it.
    pub(super) fn read(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, SECTOR)?;
        let header = Self::parse(&bytes)?;
        if le64(&bytes, 56) != DIRECTORY_AT_END {
            return header.checked(file);
        }
        // Behind the grains: a marker, the footer, and the end of the stream, a sector each.
        let at = file.size().checked_sub(2 * SECTOR).ok_or(Corrupt::Missing { what: "footer" })?;
        let at = at & !511;
        let footer = structure(file, "footer", at, SECTOR)?;
        let footer = Self { descriptor: header.descriptor, ..Self::parse(&footer)? };
        require(
            footer.size == header.size && footer.grain_size == header.grain_size,
            "size in the footer",
            footer.size,
            "as in the header",
        )?;
        footer.checked(file)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) {
            let found = bytes.get(..4).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let (version, flags) = (le32(bytes, 4), le32(bytes, 8));
        if !(1..=3).contains(&version) {
            return Err(Unsupported::Value { what: "version", value: version.into() }.into());
        }
        if flags & flag::NEWLINE_TEST != 0 {
            let found = bytes.get(73..77).unwrap_or_default();
            if found != NEWLINES {
                return Err(Corrupt::Signature { what: "newline test", found: found.to_vec() }.into());
            }
        }
        let grain_size = in_bytes(le64(bytes, 20), "grain size")?;
        require(
            grain_size.is_power_of_two() && grain_size <= MAX_GRAIN,
            "grain size",
            grain_size,
            "a power of two, 2 MiB at most",
        )?;
        let table_count = u64::from(le32(bytes, 44));
        require(
            (1..=512).contains(&table_count),
            "number of entries of a grain table",
            table_count,
            "512 at most",
        )?;
        let compressed = flags & flag::COMPRESSED != 0;
        let method = le16(bytes, 77);
        if compressed && (method != DEFLATE || flags & flag::MARKERS == 0) {
            return Err(Unsupported::Value { what: "way to compress", value: method.into() }.into());
        }
        let directory = le64(bytes, 56);
        Ok(Self {
            size: in_bytes(le64(bytes, 12), "capacity")?,
            grain_size,
            descriptor: (
                in_bytes(le64(bytes, 28), "offset of the descriptor")?,
                in_bytes(le64(bytes, 36), "length of the descriptor")?,
            ),
            table_count,
            directory: match directory {
                DIRECTORY_AT_END => DIRECTORY_AT_END,
                sectors => in_bytes(sectors, "offset of the grain directory")?,
            },
            second: match flags & flag::REDUNDANT {
                0 => None,
                _ => Some(in_bytes(le64(bytes, 48), "offset of the redundant grain directory")?),
            },
            zeroed_grains: flags & flag::ZEROED_GRAINS != 0,
            compressed,
        })
    }

    /// Reads the header of an extent that ESX made.
    pub(super) fn read_cowd(file: &dyn BlockRead) -> Result<Self> {
        let bytes = structure(file, "header", 0, SECTOR)?;
        if !bytes.starts_with(COWD_MAGIC) {
            let found = bytes.get(..4).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "header", found }.into());
        }
        let version = le32(&bytes, 4);
        if version != 1 {
            return Err(Unsupported::Value { what: "version", value: version.into() }.into());
        }
        let grain_size = u64::from(le32(&bytes, 16)).saturating_mul(SECTOR);
        require(
            grain_size.is_power_of_two() && grain_size <= MAX_GRAIN,
            "grain size",
            grain_size,
            "a power of two, 2 MiB at most",
        )?;
        Self {
            size: in_bytes(le32(&bytes, 12).into(), "capacity")?,
            grain_size,
            descriptor: (0, 0),
            table_count: 4096,
            directory: u64::from(le32(&bytes, 20)).saturating_mul(SECTOR),
            second: None,
            zeroed_grains: false,
            compressed: false,
        }
        .checked(file)
    }

    /// With a directory that is in the file: the second one where the first is not.
    fn checked(self, file: &dyn BlockRead) -> Result<Self> {
        let covers = self.grain_size.saturating_mul(self.table_count);
        let (len, file_size) = (blocks_of(self.size, covers).saturating_mul(4), file.size());
        let is_there = |at: u64| at > 0 && at.checked_add(len).is_some_and(|end| end <= file_size);
        if is_there(self.directory) {
            return Ok(Self { second: self.second.filter(|at| is_there(*at)), ..self });
        }
        match self.second {
            Some(second) if is_there(second) => Ok(Self { directory: second, second: None, ..self }),
            _ => {
                let offset = self.directory;
                Err(Corrupt::Outside { what: "grain directory", offset, len, file_size }.into())
            }
        }
    }

    /// What finds the grains of the extent in `file`.
    pub(super) fn table(&self, file: Arc<dyn BlockRead>) -> SparseTable {
        SparseTable {
            directory: Table::new(file.clone(), "grain directory"),
            tables: Table::new(file.clone(), "grain table"),
            header: self.clone(),
            file,
        }
    }
}

/// Directory and tables of a sparse extent.
pub(super) struct SparseTable {
    directory: Table,
    tables: Table,
    header: SparseHeader,
    file: Arc<dyn BlockRead>,
}

impl SparseTable {
    /// The entry of `grain`, and of how many grains it is; `None` if no table has one.
    fn grain(&self, directory: u64, grain: u64, at: u64) -> Result<Option<(u32, u64)>> {
        let count = self.header.table_count;
        let (table, index) =
            (grain.checked_div(count).unwrap_or_default(), grain.checked_rem(count).unwrap_or_default());
        let entry = directory.saturating_add(table.saturating_mul(4));
        let table = u32::from_le_bytes(self.directory.entry(entry, at)?);
        if table == 0 {
            return Ok(None);
        }
        let entry = u64::from(table).saturating_mul(SECTOR).saturating_add(index.saturating_mul(4));
        let (entry, alike) = self.tables.run(entry, count.saturating_sub(index), at)?;
        Ok(Some((u32::from_le_bytes(entry), alike)))
    }
}

impl BlockTable for SparseTable {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let SparseHeader { grain_size, table_count, directory, second, .. } = self.header;
        let grain = at.checked_div(grain_size).unwrap_or_default();
        let found = match (self.grain(directory, grain, at), second) {
            (Err(error), Some(second)) => self.grain(second, grain, at).map_err(|_| error),
            (found, _) => found,
        }?;
        let start = grain.saturating_mul(grain_size);
        let Some((entry, alike)) = found else {
            let covers = grain_size.saturating_mul(table_count);
            let table = at.checked_div(covers).unwrap_or_default();
            return Ok((table.saturating_add(1).saturating_mul(covers), Place::Nothing));
        };
        let host = u64::from(entry).saturating_mul(SECTOR);
        let place = match entry {
            0 => Place::Nothing,
            1 if self.header.zeroed_grains => Place::Zero,
            _ if self.header.compressed => {
                Place::Compressed(Compressed { block: start, host, len: grain_size })
            }
            _ => Place::Plain(host.saturating_add(at.saturating_sub(start))),
        };
        let grains = if matches!(place, Place::Nothing | Place::Zero) { alike } else { 1 };
        Ok((start.saturating_add(grains.saturating_mul(grain_size)), place))
    }

    fn decode(&self, place: Compressed, out: &mut [u8]) -> Result<()> {
        let Compressed { block, host, .. } = place;
        let file_size = self.file.size();
        let outside = Corrupt::BlockOutside { guest: block, host, file_size };
        let data = host.checked_add(MARKER_LEN).filter(|end| *end <= file_size).ok_or(outside.clone())?;
        // One read is enough for most.
        let guess = file_size.saturating_sub(host).min((out.len() as u64).saturating_add(SECTOR));
        let mut bytes = vec![0; guess as usize];
        self.file.read_at(&mut bytes, host)?;
        let (lba, len) = (le64(&bytes, 0), u64::from(le32(&bytes, 8)));
        let told = lba.saturating_mul(SECTOR);
        let why = |why: String| Corrupt::Compressed { guest: block, why };
        if told != block {
            return Err(why(format!("its marker is of guest offset {told:#x}")).into());
        }
        if len > (out.len() as u64).saturating_mul(2) {
            return Err(why(format!("{len:#x} bytes are more than it can have")).into());
        }
        if data.saturating_add(len) > file_size {
            return Err(outside.into());
        }
        let whole = len.saturating_add(MARKER_LEN);
        if whole > guess {
            bytes.resize(whole as usize, 0);
            let rest = bytes.get_mut(guess as usize..).unwrap_or_default();
            self.file.read_at(rest, host.saturating_add(guess)).doing(|| "reading a long grain")?;
        }
        let compressed = bytes.get(MARKER_LEN as usize..whole as usize).unwrap_or_default();
        let written = inflate(compressed, out).map_err(why)?;
        // Only the last grain may be cut, where the disk ends.
        let needed = self.header.size.saturating_sub(block).min(out.len() as u64);
        if (written as u64) < needed {
            return Err(why(format!("it ends after {written:#x} of {needed:#x} bytes")).into());
        }
        if let Some(rest) = out.get_mut(written..) {
            rest.fill(0);
        }
        Ok(())
    }

    fn block_size(&self) -> u64 {
        self.header.grain_size
    }
}

thread_local! {
    static INFLATE: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
}

/// Decodes a zlib stream (RFC 1950) into `out`; how many bytes that were.
fn inflate(compressed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    INFLATE
        .with_borrow_mut(|decoder| decoder.zlib_decompress(compressed, out))
        .map_err(|error| error.to_string())
}
