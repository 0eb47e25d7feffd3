//! The metadata region: what the disk is (2.6, "Metadata Region").

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::super::field::{field, le16, le32, le64, require, structure, uuid_text};
use super::header::{Region, guid};
use super::{Corrupt, Unsupported};
use crate::block::BlockRead;
use crate::error::Result;

/// The table is at the start of the region; items follow it.
pub(super) const TABLE_LEN: u64 = 64 << 10;
const MAX_ENTRIES: u16 = 2047;
/// No item that is known has more bytes, but for the parent locator.
const MAX_ITEM_LEN: u64 = 64;

/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B
pub(super) const FILE_PARAMETERS: [u8; 16] = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8
pub(super) const VIRTUAL_DISK_SIZE: [u8; 16] = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
/// BECA12AB-B2E6-4523-93EF-C309E000C746
pub(super) const PAGE_83_DATA: [u8; 16] = guid(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
/// 8141BF1D-A96F-4709-BA47-F233A8FAAB5F
pub(super) const LOGICAL_SECTOR_SIZE: [u8; 16] = guid(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
/// CDA348C7-445D-4471-9CC9-E9885251C556
pub(super) const PHYSICAL_SECTOR_SIZE: [u8; 16] = guid(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C
const PARENT_LOCATOR: [u8; 16] = guid(0xa8d3_5f2d, 0xb30b, 0x454d, 0xabf7_d3d8_4834_ab0c);

/// The largest disk.
const MAX_SIZE: u64 = 64 << 40;

/// What the metadata say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) size: u64,
    pub(super) block_size: u64,
    pub(super) logical_sector: u32,
    pub(super) fixed: bool,
}

impl Metadata {
    pub(super) fn read(file: &dyn BlockRead, region: Region) -> Result<Self> {
        let table = structure(file, "metadata table", region.offset, TABLE_LEN)?;
        if !table.starts_with(b"metadata") {
            let found = table.get(..8).unwrap_or_default().to_vec();
            return Err(Corrupt::Signature { what: "metadata table", found }.into());
        }
        let count = le16(&table, 10);
        require(count <= MAX_ENTRIES, "number of metadata entries", count, "2047 at most")?;
        let (mut parameters, mut size, mut sector) = (None, None, None);
        let entries = table.get(32..).unwrap_or_default().chunks_exact(32);
        for entry in entries.take(count.into()) {
            let id: [u8; 16] = field(entry, 0);
            let flags = le32(entry, 24);
            let (is_user, is_required) = (flags & 1 == 1, flags & 4 == 4);
            let place = match id {
                FILE_PARAMETERS if !is_user => &mut parameters,
                VIRTUAL_DISK_SIZE if !is_user => &mut size,
                LOGICAL_SECTOR_SIZE if !is_user => &mut sector,
                PAGE_83_DATA | PHYSICAL_SECTOR_SIZE if !is_user => continue,
                PARENT_LOCATOR if !is_user => {
                    return Err(Unsupported::Differencing { format: "VHDX" }.into());
                }
                _ if is_required => {
                    let name = uuid_text(id);
                    return Err(Unsupported::Name { what: "required metadata item", name }.into());
                }
                _ => continue,
            };
            let (offset, len) = (u64::from(le32(entry, 16)), u64::from(le32(entry, 20)));
            require(
                offset >= TABLE_LEN && offset.saturating_add(len) <= region.len && len <= MAX_ITEM_LEN,
                "offset of a metadata item",
                offset,
                "within the region, behind the table",
            )?;
            let item = structure(file, "metadata item", region.offset.saturating_add(offset), len)?;
            if place.replace(item).is_some() {
                return Err(Corrupt::Overlap { what: "metadata items" }.into());
            }
        }
        let missing = |what| Corrupt::Missing { what };
        let parameters = parameters.ok_or(missing("file parameters"))?;
        let size = le64(&size.ok_or(missing("virtual disk size"))?, 0);
        let logical_sector = le32(&sector.ok_or(missing("logical sector size"))?, 0);
        let (block_size, flags) = (u64::from(le32(&parameters, 0)), le32(&parameters, 4));
        if flags & 2 != 0 {
            return Err(Unsupported::Differencing { format: "VHDX" }.into());
        }
        require(
            block_size.is_power_of_two() && (1 << 20..=256 << 20).contains(&block_size),
            "block size",
            block_size,
            "a power of two from 1 MiB to 256 MiB",
        )?;
        require(matches!(logical_sector, 512 | 4096), "logical sector size", logical_sector, "512 or 4096")?;
        require(
            size <= MAX_SIZE && size.checked_rem(logical_sector.into()) == Some(0),
            "virtual size",
            size,
            "whole logical sectors, 64 TiB at most",
        )?;
        Ok(Self { size, block_size, logical_sector, fixed: flags & 1 == 1 })
    }
}
