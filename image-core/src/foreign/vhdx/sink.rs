//! A new dynamic VHDX. It is complete when it is closed, so it needs no entry in its log.
//!
//! ```text
//! 0: type, headers, regions │ 1 MiB: log │ 2 MiB: metadata │ 3 MiB: BAT │ blocks, at whole MiB
//! ```

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "these are numbers of a new image, whose size was looked at, and none that anybody else wrote"
)]

use super::super::field::{blocks_of, put};
use super::super::sink::{Growing, Layout, uuid};
use super::header::{BAT, FILE_TYPE, HEADER_LEN, HEADERS, METADATA, REGIONS, REGIONS_LEN, seal};
use super::metadata::{
    FILE_PARAMETERS, LOGICAL_SECTOR_SIZE, PAGE_83_DATA, PHYSICAL_SECTOR_SIZE, TABLE_LEN, VIRTUAL_DISK_SIZE,
};
use super::{MIB, state};
use crate::error::Result;

const LOG_OFFSET: u64 = MIB;
const METADATA_OFFSET: u64 = 2 * MIB;
const BAT_OFFSET: u64 = 3 * MIB;
/// The sector that guests see.
const SECTOR: u32 = 512;
/// The sector that storage has.
const PHYSICAL_SECTOR: u32 = 4096;
/// Who made it, in UTF-16.
const CREATOR: &str = "goldimg";

/// Where headers, tables and blocks of a new image are.
pub(in super::super) struct VhdxLayout {
    size: u64,
    block_size: u64,
    chunk_ratio: u64,
    bat: Vec<u64>,
}

impl VhdxLayout {
    pub(in super::super) fn new(size: u64, block_size: u64) -> Self {
        let chunk_ratio = (u64::from(SECTOR) << 23) / block_size;
        let blocks = blocks_of(size, block_size);
        let entries = blocks + blocks.saturating_sub(1) / chunk_ratio;
        Self { size, block_size, chunk_ratio, bat: vec![state::NOT_PRESENT; entries as usize] }
    }

    fn bat_len(&self) -> u64 {
        (8 * self.bat.len() as u64).next_multiple_of(MIB).max(MIB)
    }

    fn header(identity: u64, sequence: u64) -> Vec<u8> {
        let mut header = vec![0; HEADER_LEN as usize];
        put(&mut header, 0, b"head");
        put(&mut header, 8, &sequence.to_le_bytes());
        put(&mut header, 16, &uuid(identity, "VHDX file"));
        put(&mut header, 32, &uuid(identity, "VHDX data"));
        // No log to be replayed; version 1.
        put(&mut header, 66, &1_u16.to_le_bytes());
        put(&mut header, 68, &(MIB as u32).to_le_bytes());
        put(&mut header, 72, &LOG_OFFSET.to_le_bytes());
        seal(&mut header);
        header
    }

    fn regions(&self) -> Vec<u8> {
        let mut table = vec![0; REGIONS_LEN as usize];
        put(&mut table, 0, b"regi");
        put(&mut table, 8, &2_u32.to_le_bytes());
        let regions = [(BAT, BAT_OFFSET, self.bat_len()), (METADATA, METADATA_OFFSET, MIB)];
        for (index, (id, offset, len)) in regions.into_iter().enumerate() {
            let at = 16 + 32 * index;
            put(&mut table, at, &id);
            put(&mut table, at + 16, &offset.to_le_bytes());
            put(&mut table, at + 24, &(len as u32).to_le_bytes());
            put(&mut table, at + 28, &1_u32.to_le_bytes());
        }
        seal(&mut table);
        table
    }

    fn metadata(&self, identity: u64) -> Vec<u8> {
        let parameters = [(self.block_size as u32).to_le_bytes(), [0; 4]].concat();
        // Flags (2.6.1.2): of the system; required; of the virtual disk.
        let items: [([u8; 16], Vec<u8>, u32); 5] = [
            (FILE_PARAMETERS, parameters, 4),
            (VIRTUAL_DISK_SIZE, self.size.to_le_bytes().to_vec(), 4 | 2),
            (PAGE_83_DATA, uuid(identity, "VHDX page 83").to_vec(), 4 | 2),
            (LOGICAL_SECTOR_SIZE, SECTOR.to_le_bytes().to_vec(), 4 | 2),
            (PHYSICAL_SECTOR_SIZE, PHYSICAL_SECTOR.to_le_bytes().to_vec(), 4 | 2),
        ];
        let mut bytes = vec![0; TABLE_LEN as usize];
        put(&mut bytes, 0, b"metadata");
        put(&mut bytes, 10, &(items.len() as u16).to_le_bytes());
        for (index, (id, item, flags)) in items.into_iter().enumerate() {
            let at = 32 + 32 * index;
            put(&mut bytes, at, &id);
            let offset = bytes.len() as u32;
            put(&mut bytes, at + 16, &offset.to_le_bytes());
            put(&mut bytes, at + 20, &(item.len() as u32).to_le_bytes());
            put(&mut bytes, at + 24, &flags.to_le_bytes());
            bytes.extend(item);
        }
        bytes
    }

    fn file_type() -> Vec<u8> {
        let mut bytes = FILE_TYPE.to_vec();
        bytes.extend(CREATOR.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    }
}

impl Layout for VhdxLayout {
    fn block_size(&self) -> u64 {
        self.block_size
    }

    fn start(&self) -> u64 {
        BAT_OFFSET + self.bat_len()
    }

    fn place(&mut self, index: u64, end: u64, _file: &mut Growing<'_>) -> Result<(u64, u64)> {
        let entry = index + index / self.chunk_ratio;
        if let Some(entry) = self.bat.get_mut(entry as usize) {
            *entry = end | state::FULLY_PRESENT;
        }
        Ok((end, end + self.block_size))
    }

    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64> {
        let bat: Vec<u8> = self.bat.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        file.write(&bat, BAT_OFFSET)?;
        file.write(&self.metadata(identity), METADATA_OFFSET)?;
        for offset in REGIONS {
            file.write(&self.regions(), offset)?;
        }
        for (offset, sequence) in HEADERS.into_iter().zip(1..) {
            file.write(&Self::header(identity, sequence), offset)?;
        }
        file.write(&Self::file_type(), 0)?;
        Ok(end)
    }
}
