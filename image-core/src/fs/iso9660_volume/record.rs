//! A record of a directory: a file, a section of one, or another directory.
//!
//! ```text
//! 0 length │ 1 blocks of an extended attribute record │ 2 first block │ 10 size │ 18 time │ 25 flags │ 26 interleaving: unit │ 27 gap
//! 32 length of the name │ 33 name, filled up to an even place │ system use
//! ```
//! ECMA-119, 9.1. Of numbers in both byte orders the first, which is little endian, is read.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Volume;
use super::rule::IsoReadRule;
use super::times;
use crate::error::{Error, Result};
use crate::fs::Time;
use crate::fs::field::{part, u8_at, u32_at};

/// Of a record without its name.
const HEADER_LEN: usize = 33;
/// Flags.
const DIRECTORY: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;
const CONTINUED: u8 = 0x80;

/// A record, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) offset: u64,
    bytes: Vec<u8>,
}

impl Record {
    /// The record at `offset`; `None` where there is none before the next block.
    pub(super) fn read(volume: &Volume, offset: u64) -> Result<Option<Self>> {
        let mut len = [0];
        volume.read(&mut len, offset, "directory record")?;
        let [len] = len;
        if len == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::from(len)];
        volume.read(&mut bytes, offset, "directory record")?;
        let record = Self { offset, bytes };
        let name_end = HEADER_LEN.saturating_add(record.name_len());
        match record.name_len() > 0 && name_end <= record.bytes.len() {
            true => Ok(Some(record)),
            false => Err(record.wrong("length")),
        }
    }

    pub(super) fn wrong(&self, field: &'static str) -> Error {
        Error::corrupt(IsoReadRule::Record { offset: self.offset, field })
    }

    fn name_len(&self) -> usize {
        usize::from(u8_at(&self.bytes, 32))
    }

    /// Where the next record may begin.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }

    /// The name as it is stored.
    pub(super) fn name(&self) -> &[u8] {
        part(&self.bytes, HEADER_LEN, self.name_len())
    }

    /// Whether it is the directory's own, or its parent's.
    pub(super) fn is_dots(&self) -> bool {
        matches!(self.name(), [0 | 1])
    }

    /// What other standards have put behind the name.
    pub(super) fn system_use(&self) -> &[u8] {
        let at = HEADER_LEN.saturating_add(self.name_len()).next_multiple_of(2);
        self.bytes.get(at..).unwrap_or_default()
    }

    /// Where its content begins, in bytes: behind its extended attribute record.
    pub(super) fn content(&self, block_size: u64) -> u64 {
        let first = u64::from(u32_at(&self.bytes, 2)).saturating_add(u64::from(u8_at(&self.bytes, 1)));
        first.saturating_mul(block_size)
    }

    /// The size of its content in bytes.
    pub(super) fn len(&self) -> u64 {
        u64::from(u32_at(&self.bytes, 10))
    }

    /// When it was recorded.
    pub(super) fn time(&self) -> Time {
        times::short(part(&self.bytes, 18, times::SHORT)).unwrap_or_default()
    }

    fn flags(&self) -> u8 {
        u8_at(&self.bytes, 25)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    /// Whether it is something that belongs to the file of the same name.
    pub(super) fn is_associated(&self) -> bool {
        self.flags() & ASSOCIATED != 0
    }

    /// Whether the next record has the next section of the same file.
    pub(super) fn is_continued(&self) -> bool {
        self.flags() & CONTINUED != 0
    }

    pub(super) fn is_interleaved(&self) -> bool {
        u8_at(&self.bytes, 26) != 0 || u8_at(&self.bytes, 27) != 0
    }
}

impl Volume {
    /// Fills `buf`, part of `what`, from `offset` on.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`IsoReadRule`] for what is not on the disk; whatever the disk says.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64, what: &'static str) -> Result<()> {
        self.check_on_disk(offset, buf.len() as u64, what)?;
        self.pages.read(buf, offset)
    }

    /// Refuses what is not on the disk.
    pub(super) fn check_on_disk(&self, offset: u64, len: u64, what: &'static str) -> Result<()> {
        let size = crate::block::BlockRead::size(self.pages.disk());
        match offset.saturating_add(len) <= size {
            true => Ok(()),
            false => Err(Error::corrupt(IsoReadRule::OutsideDisk { what, offset, size })),
        }
    }
}
