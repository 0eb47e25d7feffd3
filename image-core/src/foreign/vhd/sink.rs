//! New VHDs: fixed, as Azure takes them, and dynamic.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "these are numbers of a new image, whose size was looked at, and none that anybody else wrote"
)]

use super::super::field::{blocks_of, put};
use super::super::sink::{Growing, Layout, uuid};
use super::footer::{self, COOKIE, Geometry};
use super::{DYNAMIC_LEN, SECTOR, UNALLOCATED};
use crate::error::Result;

/// Who says so wants its readers to believe the size, not the geometry: QEMU, Hyper-V, Azure and XenServer do.
const CREATOR: &[u8; 4] = b"win ";
/// Windows.
const CREATOR_HOST: &[u8; 4] = b"Wi2k";
/// 2000-01-01 in seconds after the beginning of 1970: dates count from there.
const EPOCH: u64 = 946_684_800;
/// Where the BAT is: behind the copy of the footer and the header.
const BAT_OFFSET: u64 = footer::LEN + DYNAMIC_LEN;
/// Blocks begin at whole pages, with their bitmaps before them.
const PAGE: u64 = 4096;

/// A footer.
fn footer(size: u64, disk_type: u32, created: u64, identity: u64) -> Vec<u8> {
    let mut footer = vec![0; footer::LEN as usize];
    let Geometry { cylinders, heads, sectors } = Geometry::of_size(size);
    let data_offset = if disk_type == footer::FIXED { u64::MAX } else { footer::LEN };
    put(&mut footer, 0, COOKIE);
    // A reserved bit that is always set, and version 1.0.
    put(&mut footer, 8, &2_u32.to_be_bytes());
    put(&mut footer, 12, &0x0001_0000_u32.to_be_bytes());
    put(&mut footer, 16, &data_offset.to_be_bytes());
    put(&mut footer, 24, &(created.saturating_sub(EPOCH).min(u32::MAX.into()) as u32).to_be_bytes());
    put(&mut footer, 28, CREATOR);
    put(&mut footer, 32, &0x000a_0000_u32.to_be_bytes());
    put(&mut footer, 36, CREATOR_HOST);
    put(&mut footer, 40, &size.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    put(&mut footer, 56, &cylinders.to_be_bytes());
    put(&mut footer, 58, &[heads, sectors]);
    put(&mut footer, 60, &disk_type.to_be_bytes());
    put(&mut footer, 68, &uuid(identity, "VHD"));
    let sum = footer::checksum(&footer, 64);
    put(&mut footer, 64, &sum.to_be_bytes());
    footer
}

/// The disk, and a footer behind it.
pub(in super::super) struct FixedLayout {
    size: u64,
    created: u64,
}

impl FixedLayout {
    pub(in super::super) fn new(size: u64, created: u64) -> Self {
        Self { size, created }
    }
}

impl Layout for FixedLayout {
    fn block_size(&self) -> u64 {
        1 << 40
    }

    fn start(&self) -> u64 {
        self.size
    }

    fn place(&mut self, index: u64, end: u64, _file: &mut Growing<'_>) -> Result<(u64, u64)> {
        Ok((index * self.block_size(), end))
    }

    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64> {
        file.write(&footer(self.size, footer::FIXED, self.created, identity), end)?;
        Ok(end + footer::LEN)
    }
}

/// Blocks of which each has a bitmap before it.
pub(in super::super) struct DynamicLayout {
    size: u64,
    block_size: u64,
    created: u64,
    bat: Vec<u32>,
}

impl DynamicLayout {
    pub(in super::super) fn new(size: u64, block_size: u64, created: u64) -> Self {
        let bat = vec![UNALLOCATED; blocks_of(size, block_size) as usize];
        Self { size, block_size, created, bat }
    }

    fn bitmap_len(&self) -> u64 {
        super::Blocks { bat_offset: BAT_OFFSET, block_size: self.block_size }.bitmap_len()
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; DYNAMIC_LEN as usize];
        put(&mut header, 0, b"cxsparse");
        // The specification has four bytes of ones here; there are eight.
        put(&mut header, 8, &u64::MAX.to_be_bytes());
        put(&mut header, 16, &BAT_OFFSET.to_be_bytes());
        put(&mut header, 24, &0x0001_0000_u32.to_be_bytes());
        put(&mut header, 28, &(self.bat.len() as u32).to_be_bytes());
        put(&mut header, 32, &(self.block_size as u32).to_be_bytes());
        let sum = footer::checksum(&header, 36);
        put(&mut header, 36, &sum.to_be_bytes());
        header
    }
}

impl Layout for DynamicLayout {
    fn block_size(&self) -> u64 {
        self.block_size
    }

    fn start(&self) -> u64 {
        BAT_OFFSET + (4 * self.bat.len() as u64).next_multiple_of(SECTOR)
    }

    fn place(&mut self, index: u64, end: u64, file: &mut Growing<'_>) -> Result<(u64, u64)> {
        let data = (end + self.bitmap_len()).next_multiple_of(PAGE);
        let bitmap = data - self.bitmap_len();
        if let Some(entry) = self.bat.get_mut(index as usize) {
            *entry = (bitmap / SECTOR) as u32;
        }
        // All of the block counts as written.
        file.write(&vec![0xff; self.bitmap_len() as usize], bitmap)?;
        Ok((data, data + self.block_size))
    }

    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64> {
        let mut bat: Vec<u8> = self.bat.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bat.resize(bat.len().next_multiple_of(SECTOR as usize), 0xff);
        let footer = footer(self.size, footer::DYNAMIC, self.created, identity);
        file.write(&bat, BAT_OFFSET)?;
        file.write(&footer, end)?;
        file.write(&self.header(), footer::LEN)?;
        file.write(&footer, 0)?;
        Ok(end + footer::LEN)
    }
}
