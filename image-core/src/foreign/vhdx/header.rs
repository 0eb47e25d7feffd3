//! The two headers and the two region tables (2.2.2, "Headers", and 2.2.3, "Region Table").

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crc::{CRC_32_ISCSI, Crc, Table};

use super::super::field::{field, le16, le32, le64, put, require, structure};
use super::{Corrupt, MIB, Unsupported};
use crate::block::BlockRead;
use crate::error::Result;

/// The first eight bytes of the file.
pub(super) const FILE_TYPE: &[u8; 8] = b"vhdxfile";
/// Where the headers are.
pub(super) const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
/// The bytes of a header.
pub(super) const HEADER_LEN: u64 = 4096;
/// Where the region tables are.
pub(super) const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
/// The bytes of a region table.
pub(super) const REGIONS_LEN: u64 = 64 << 10;
/// The most entries of a region table.
const MAX_REGIONS: u32 = 2047;
/// 2DC27766-F623-4200-9D64-115E9BFD4A08, as it is stored.
pub(super) const BAT: [u8; 16] = guid(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E.
pub(super) const METADATA: [u8; 16] = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A GUID as Microsoft stores it: the first three numbers little endian.
pub(super) const fn guid(first: u32, second: u16, third: u16, rest: u64) -> [u8; 16] {
    let (a, b, c, d) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes(), rest.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// CRC-32C of `bytes` with zeroes in place of the four at 4.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(bytes.get(..4).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(bytes.get(8..).unwrap_or_default());
    digest.finalize()
}

/// Puts it there.
pub(super) fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    put(bytes, 4, &sum.to_le_bytes());
}

/// Compares signature and checksum with what is stored.
fn verify(bytes: &[u8], signature: &[u8], what: &'static str) -> Result<(), Corrupt> {
    if !bytes.starts_with(signature) {
        return Err(Corrupt::Signature { what, found: bytes.get(..4).unwrap_or_default().to_vec() });
    }
    let (told, computed) = (le32(bytes, 4), checksum(bytes));
    if told == computed { Ok(()) } else { Err(Corrupt::Checksum { what, told, computed }) }
}

/// The header that counts: of those that are whole, the one with the higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) log_guid: [u8; 16],
    pub(super) log: Region,
    sequence: u64,
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Active {
    pub(super) fn read(file: &dyn BlockRead) -> Result<Self> {
        let start = structure(file, "file type", 0, 8)?;
        if start != FILE_TYPE {
            return Err(Corrupt::Signature { what: "file", found: start }.into());
        }
        let [one, other] = HEADERS.map(|offset| Self::at(file, offset));
        match (one, other) {
            (Ok(one), Ok(other)) => Ok(if other.sequence > one.sequence { other } else { one }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn at(file: &dyn BlockRead, offset: u64) -> Result<Self> {
        let bytes = structure(file, "header", offset, HEADER_LEN)?;
        verify(&bytes, b"head", "header")?;
        let (log_version, version) = (le16(&bytes, 64), le16(&bytes, 66));
        if version != 1 {
            return Err(Unsupported::Value { what: "version", value: version.into() }.into());
        }
        let log_guid = field(&bytes, 48);
        if log_version != 0 && log_guid != [0; 16] {
            return Err(Unsupported::Value { what: "log version", value: log_version.into() }.into());
        }
        let log = Region { offset: le64(&bytes, 72), len: le32(&bytes, 68).into() };
        Ok(Self { log_guid, log, sequence: le64(&bytes, 8) })
    }
}

/// Where BAT and metadata are, by the first region table that is whole.
pub(super) fn regions(file: &dyn BlockRead) -> Result<(Region, Region)> {
    let [one, other] = REGIONS.map(|offset| regions_at(file, offset));
    one.or_else(|error| other.map_err(|_| error))
}

fn regions_at(file: &dyn BlockRead, offset: u64) -> Result<(Region, Region)> {
    let bytes = structure(file, "region table", offset, REGIONS_LEN)?;
    verify(&bytes, b"regi", "region table")?;
    let count = le32(&bytes, 8);
    require(count <= MAX_REGIONS, "number of regions", count, "2047 at most")?;
    let (mut bat, mut metadata) = (None, None);
    let mut all = Vec::new();
    let entries = bytes.get(16..).unwrap_or_default().chunks_exact(32);
    for entry in entries.take(count as usize) {
        let id: [u8; 16] = field(entry, 0);
        let region = Region { offset: le64(entry, 16), len: le32(entry, 24).into() };
        let is_required = le32(entry, 28) & 1 == 1;
        let place = match id {
            BAT => &mut bat,
            METADATA => &mut metadata,
            _ if is_required => {
                let name = super::super::field::uuid_text(id);
                return Err(Unsupported::Name { what: "required region", name }.into());
            }
            _ => continue,
        };
        let file_size = file.size();
        if region.offset.checked_add(region.len).is_none_or(|end| end > file_size) {
            let Region { offset, len } = region;
            return Err(Corrupt::Outside { what: "region", offset, len, file_size }.into());
        }
        require(
            region.offset >= MIB && region.offset.is_multiple_of(MIB) && region.len.is_multiple_of(MIB),
            "offset of a region",
            region.offset,
            "regions begin and end at whole MiB, not in the first",
        )?;
        let end = region.offset.saturating_add(region.len);
        let overlaps =
            |other: &Region| other.offset < end && region.offset < other.offset.saturating_add(other.len);
        if place.replace(region).is_some() || all.iter().any(overlaps) {
            return Err(Corrupt::Overlap { what: "regions" }.into());
        }
        all.push(region);
    }
    let missing = |what| Corrupt::Missing { what };
    Ok((bat.ok_or(missing("BAT region"))?, metadata.ok_or(missing("metadata region"))?))
}
