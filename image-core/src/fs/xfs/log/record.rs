//! Records of the log.
//!
//! ```text
//! 0 mark, cycle, version │ 12 length │ 16 own place, tail │ 32 checksum │ 40 how many operations
//! 44 what was in the first four bytes of 64 sectors │ 300 format │ 304 filesystem │ 320 how long records may be
//! a header more for each 32 KiB that records may have: cycle │ 4 what was in the first four bytes of 64 sectors
//! ```
//! XFS Algorithms & Data Structures, "Log Records".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Log;
use crate::error::{Error, Result};
use crate::fs::xfs::checksum::crc32c;
use crate::fs::xfs::field::{field, le32_at, part, put, u32_at, u64_at};
use crate::fs::xfs::overlay::SECTOR;
use crate::fs::xfs::rule::{XfsRule, XfsStructure};

/// A record's header begins with it; no other sector does.
pub(super) const MAGIC: u32 = 0xfeed_babe;
/// The longest record, without its headers.
pub(super) const LEN_MAX: u32 = 256 << 10;
/// The first four bytes of so many sectors are in a header.
const SECTORS_OF_HEADER: usize = 64;
/// So many bytes of sectors that is.
const BYTES_OF_HEADER: u32 = 32 << 10;
const CYCLES_AT: usize = 44;
/// What of a header is summed up, on most machines and on those with 32 bits; of a further one.
const SUMMED: [usize; 2] = [328, 324];
const SUMMED_MORE: usize = 260;
const SUM_AT: usize = 32;
/// How items are written: little endian.
const LITTLE_ENDIAN: u32 = 1;

/// The header of a record, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Where it is.
    pub(super) sector: u64,
    /// Its cycle and its sector, which tell what is older than what.
    pub(super) lsn: u64,
    /// The sector where the tail was.
    pub(super) tail: u64,
    pub(super) operations: u32,
    /// Sectors of headers, and of what is behind them.
    headers: u64,
    data: u64,
    format: u32,
}

impl RecordHeader {
    /// The header at `sector`, which `bytes` are; `None` if there is none.
    pub(super) fn from_bytes(log: &Log<'_>, sector: u64, bytes: &[u8]) -> Result<Option<Self>> {
        if u32_at(bytes, 0) != MAGIC {
            return Ok(None);
        }
        let wrong = |field, value: u32| XfsRule::in_log(field, u64::from(value));
        let (version, len, lsn) = (u32_at(bytes, 8), u32_at(bytes, 12), u64_at(bytes, 16));
        if !matches!(version, 1..=3) {
            return Err(wrong("version", version));
        }
        if len == 0 || len > LEN_MAX {
            return Err(wrong("length of a record", len));
        }
        if lsn & u64::from(u32::MAX) != sector {
            return Err(XfsRule::in_log("place of a record", lsn));
        }
        let uuid = field::<16>(bytes, 304);
        if uuid != log.superblock.user_uuid && uuid != [0; 16] {
            return Err(XfsRule::in_log("filesystem in a record at sector", sector));
        }
        let size = if log.superblock.has_log_v2 && version & 2 != 0 { u32_at(bytes, 320) } else { 0 };
        if size > LEN_MAX {
            return Err(wrong("largest record", size));
        }
        Ok(Some(Self {
            sector,
            lsn,
            tail: u64_at(bytes, 24) & u64::from(u32::MAX),
            operations: u32_at(bytes, 40),
            headers: u64::from(size.div_ceil(BYTES_OF_HEADER).max(1)),
            data: u64::from(len).div_ceil(SECTOR),
            format: u32_at(bytes, 300),
        }))
    }

    /// How many sectors it has, with its headers.
    pub(super) fn len(&self) -> u64 {
        self.headers.saturating_add(self.data)
    }

    /// How many bytes of sectors are behind its headers.
    pub(super) fn data_len(&self) -> u64 {
        self.data.saturating_mul(SECTOR)
    }

    /// All of it, headers first.
    pub(super) fn read(&self, log: &Log<'_>) -> Result<Vec<u8>> {
        log.read(self.sector, self.len())
    }

    /// Whether `record`, all of it, has the right checksum. Older filesystems need none.
    pub(super) fn is_sound(&self, log: &Log<'_>, record: &[u8]) -> bool {
        let len = u32_at(record, 12) as usize;
        let data_at = self.headers.saturating_mul(SECTOR) as usize;
        let data = part(record, data_at, data_at.saturating_add(len));
        let sum = |summed: usize| {
            let mut parts =
                vec![part(record, 0, SUM_AT), &[0; 4], part(record, SUM_AT.saturating_add(4), summed)];
            let more = (len as u64).div_ceil(u64::from(BYTES_OF_HEADER)).min(self.headers);
            for header in 1..more {
                let at = header.saturating_mul(SECTOR) as usize;
                parts.push(part(record, at, at.saturating_add(SUMMED_MORE)));
            }
            parts.push(data);
            crc32c(&parts)
        };
        let found = le32_at(record, SUM_AT);
        !log.superblock.has_sums || SUMMED.into_iter().any(|summed| sum(summed) == found)
    }

    /// What is in it behind its headers, once each sector has its first bytes again.
    pub(super) fn data(&self, log: &Log<'_>) -> Result<Vec<u8>> {
        let record = self.read(log)?;
        if !self.is_sound(log, &record) {
            return Err(Error::corrupt(XfsRule::Checksum(XfsStructure::LogRecord(self.sector))));
        }
        if self.format != LITTLE_ENDIAN {
            return Err(Error::unsupported("the log was written by a machine that is big endian"));
        }
        let data_at = self.headers.saturating_mul(SECTOR) as usize;
        let mut data = record.get(data_at..).unwrap_or_default().to_vec();
        for (index, sector) in data.chunks_exact_mut(SECTOR as usize).enumerate() {
            let (header, inside) = (index / SECTORS_OF_HEADER, index % SECTORS_OF_HEADER);
            let cycles_at = if header == 0 { CYCLES_AT } else { 4 };
            let at = header.saturating_mul(SECTOR as usize).saturating_add(cycles_at);
            put(sector, 0, &field::<4>(&record, at.saturating_add(inside.saturating_mul(4))));
        }
        data.truncate(u32_at(&record, 12) as usize);
        Ok(data)
    }
}
