//! VHDX, Hyper-V's format.
//!
//! ```text
//! 0        64K      128K     192K     256K      1M
//! │ type   │ header │ header │ regions│ regions │ … log … BAT … metadata … blocks, in any order, at whole MiB
//!            └ the newer one counts             └ where BAT and metadata are
//! BAT: an entry for each block, and after each "chunk" of them one for a sector bitmap
//! ```
//!
//! All numbers are little endian. Source: Microsoft, MS-VHDX; its sections are named in the rooms. A log that was not
//! replayed is replayed in memory ([`log`]). Differencing images are refused.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod header;
mod log;
mod metadata;
mod patched;
pub(super) mod sink;

use std::sync::Arc;

use super::field::{blocks_of, require};
use super::mapped::{BlockTable, Mapped, Place};
use super::rule::{Corrupt, Unsupported};
use super::table::Table;
use crate::block::BlockRead;
use crate::error::Result;
use header::{Active, Region};
use metadata::Metadata;

const MIB: u64 = 1 << 20;

/// States of a block (2.5.1.1, "Payload BAT Entry States").
mod state {
    pub(super) const NOT_PRESENT: u64 = 0;
    pub(super) const UNDEFINED: u64 = 1;
    pub(super) const ZERO: u64 = 2;
    pub(super) const UNMAPPED: u64 = 3;
    pub(super) const FULLY_PRESENT: u64 = 6;
}

/// What headers, regions and metadata say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The virtual size in bytes.
    pub(crate) size: u64,
    /// The bytes of a block.
    pub(crate) block_size: u64,
    /// The bytes of a logical sector: 512 or 4096.
    pub(crate) logical_sector: u32,
    /// Whether blocks stay allocated.
    pub(crate) fixed: bool,
    /// Whether a log is to be replayed.
    pub(crate) has_log: bool,
    bat: Region,
    chunk_ratio: u64,
    patches: Option<Arc<log::Patches>>,
}

impl Header {
    /// Reads headers, log, regions and metadata in `file`.
    ///
    /// # Errors
    /// [`Corrupt`], [`Unsupported`]; whatever reading says.
    pub(crate) fn read(file: &dyn BlockRead) -> Result<Self> {
        let active = Active::read(file)?;
        let patches = log::read(file, &active)?.map(Arc::new);
        let seen = patched::Patched::new(file, patches.clone());
        let (bat, metadata) = header::regions(&seen)?;
        let Metadata { size, block_size, logical_sector, fixed } = Metadata::read(&seen, metadata)?;
        // 2.5, "BAT": as many blocks as a sector bitmap block has sectors for.
        let chunk_ratio =
            (u64::from(logical_sector) << 23).checked_div(block_size).unwrap_or_default().max(1);
        let blocks = blocks_of(size, block_size);
        let bitmaps = blocks.saturating_sub(1).checked_div(chunk_ratio).unwrap_or_default();
        let needed = blocks.saturating_add(bitmaps).saturating_mul(8);
        require(bat.len >= needed, "BAT's length", bat.len, "the disk has more blocks")?;
        let has_log = patches.is_some();
        Ok(Self { size, block_size, logical_sector, fixed, has_log, bat, chunk_ratio, patches })
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.has_log {
            notes.push("it was not closed: its log is read over it".to_owned());
        }
        if self.logical_sector != 512 {
            notes.push(format!("its logical sectors have {} bytes", self.logical_sector));
        }
        notes
    }

    /// The disk in `file`, whose header this is.
    pub(super) fn open(&self, file: Arc<dyn BlockRead>) -> Arc<dyn BlockRead> {
        match &self.patches {
            Some(patches) => self.mapped(Arc::new(patched::Patched::new(file, Some(patches.clone())))),
            None => self.mapped(file),
        }
    }

    fn mapped(&self, file: Arc<dyn BlockRead>) -> Arc<dyn BlockRead> {
        let table = Bat {
            table: Table::new(file.clone(), "BAT"),
            offset: self.bat.offset,
            block_size: self.block_size,
            chunk_ratio: self.chunk_ratio,
            count: blocks_of(self.size, self.block_size),
        };
        Arc::new(Mapped::new(file, table, self.size, None))
    }
}

struct Bat {
    table: Table,
    offset: u64,
    block_size: u64,
    chunk_ratio: u64,
    /// How many blocks there are.
    count: u64,
}

impl BlockTable for Bat {
    fn piece(&self, at: u64) -> Result<(u64, Place)> {
        let index = at.checked_div(self.block_size).unwrap_or_default();
        let start = index.saturating_mul(self.block_size);
        let bitmaps = index.checked_div(self.chunk_ratio).unwrap_or_default();
        let place = index.saturating_add(bitmaps).saturating_mul(8);
        // Up to the next entry of a sector bitmap.
        let in_chunk = index.checked_rem(self.chunk_ratio).unwrap_or_default();
        let left = self.chunk_ratio.saturating_sub(in_chunk).min(self.count.saturating_sub(index));
        let (entry, alike) = self.table.run(self.offset.saturating_add(place), left, at)?;
        let entry = u64::from_le_bytes(entry);
        let what = "BAT";
        let place = match entry & 7 {
            state::NOT_PRESENT => Place::Nothing,
            state::UNDEFINED | state::ZERO | state::UNMAPPED => Place::Zero,
            state::FULLY_PRESENT => {
                let host = entry & !(MIB.saturating_sub(1));
                if host < MIB {
                    // The first MiB has the headers.
                    return Err(Corrupt::Entry { guest: at, what, entry }.into());
                }
                Place::Plain(host.saturating_add(at.saturating_sub(start)))
            }
            _ => return Err(Corrupt::Entry { guest: at, what, entry }.into()),
        };
        let blocks = if matches!(place, Place::Plain(_)) { 1 } else { alike };
        Ok((start.saturating_add(blocks.saturating_mul(self.block_size)), place))
    }

    fn block_size(&self) -> u64 {
        self.block_size
    }
}
