//! A new VDI, as VirtualBox lays out a dynamic one: header, map, blocks.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "these are numbers of a new image, whose size was looked at, and none that anybody else wrote"
)]

use super::super::field::{blocks_of, put};
use super::super::sink::{Growing, Layout, uuid};
use super::{HEADER_LEN, SIGNATURE, UNALLOCATED, VERSION};
use crate::error::Result;

/// VirtualBox makes no others.
const BLOCK_SIZE: u64 = 1 << 20;
/// What begins the file.
const TEXT: &[u8] = b"<<< goldimg VDI disk image >>>\n";

/// Where header, map and blocks of a new image are.
pub(in super::super) struct VdiLayout {
    size: u64,
    map: Vec<u32>,
    allocated: u32,
}

impl VdiLayout {
    pub(in super::super) fn new(size: u64) -> Self {
        Self { size, map: vec![UNALLOCATED; blocks_of(size, BLOCK_SIZE) as usize], allocated: 0 }
    }

    fn header(&self, identity: u64) -> Vec<u8> {
        let mut header = vec![0; HEADER_LEN as usize];
        put(&mut header, 0, TEXT);
        for (at, value) in [
            (0x40, SIGNATURE),
            (0x44, VERSION),
            // The length of what follows up to the end of the header, and the type: dynamic.
            (0x48, 0x190),
            (0x4c, 1),
            (0x154, HEADER_LEN as u32),
            (0x158, self.start() as u32),
            (0x168, 512),
            (0x178, BLOCK_SIZE as u32),
            (0x180, self.map.len() as u32),
            (0x184, self.allocated),
        ] {
            put(&mut header, at, &value.to_le_bytes());
        }
        put(&mut header, 0x170, &self.size.to_le_bytes());
        put(&mut header, 0x188, &uuid(identity, "VDI image"));
        put(&mut header, 0x198, &uuid(identity, "VDI last change"));
        header
    }
}

impl Layout for VdiLayout {
    fn block_size(&self) -> u64 {
        BLOCK_SIZE
    }

    /// Blocks begin at whole pages: what copies them does so, too.
    fn start(&self) -> u64 {
        (HEADER_LEN + 4 * self.map.len() as u64).next_multiple_of(4096)
    }

    fn place(&mut self, index: u64, end: u64, _file: &mut Growing<'_>) -> Result<(u64, u64)> {
        if let Some(entry) = self.map.get_mut(index as usize) {
            *entry = self.allocated;
            self.allocated += 1;
        }
        Ok((end, end + BLOCK_SIZE))
    }

    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64> {
        let map: Vec<u8> = self.map.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        file.write(&map, HEADER_LEN)?;
        file.write(&self.header(identity), 0)?;
        Ok(end)
    }
}
