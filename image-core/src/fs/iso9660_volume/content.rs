//! What is in files: sections, each of which lies in one piece.
//!
//! ```text
//! file   section, up to 4 GiB │ section │ …        one record for each, one behind the other
//! ```
//! ECMA-119, 6.5. All of it is data.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::Volume;
use super::record::Record;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// More sections are not read: several TiB.
const SECTIONS_MAX: usize = 1024;

/// A piece of a file.
#[derive(Debug, Clone, Copy)]
struct Section {
    /// Where it begins in the file, in bytes.
    start: u64,
    len: u64,
    /// Where it is on the disk.
    place: u64,
}

/// What is in a file, as a disk.
pub(super) struct Content {
    volume: Arc<Volume>,
    sections: Vec<Section>,
    size: u64,
}

/// The records of the file of which `first` is the first one.
pub(super) fn records(volume: &Volume, first: &Record) -> Result<Vec<Record>> {
    let mut records = vec![first.clone()];
    let mut at = first.end();
    while records.last().is_some_and(Record::is_continued) {
        let next = match Record::read(volume, at)? {
            Some(next) => next,
            // The next block has it.
            None => {
                Record::read(volume, volume.next_block(at))?.ok_or_else(|| first.wrong("next section"))?
            }
        };
        if next.name() != first.name() || next.is_directory() || records.len() >= SECTIONS_MAX {
            return Err(first.wrong("next section"));
        }
        at = next.end();
        records.push(next);
    }
    Ok(records)
}

impl Content {
    /// Of the file of which `first` is the first record.
    pub(super) fn new(volume: Arc<Volume>, first: &Record) -> Result<Self> {
        let mut sections = Vec::new();
        let mut size = 0_u64;
        for record in records(&volume, first)? {
            if record.is_interleaved() {
                return Err(Error::unsupported("the file is interleaved with others"));
            }
            let place = record.content(volume.hierarchy.block_size);
            sections.push(Section { start: size, len: record.len(), place });
            size = size.saturating_add(record.len());
        }
        Ok(Self { volume, sections, size })
    }

    fn read_pieces(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let wanted = ByteRange::new(offset, buf.len() as u64)?;
        for section in &self.sections {
            let own = ByteRange::between(section.start, section.start.saturating_add(section.len));
            let Some(piece) = own.intersection(wanted) else { continue };
            let at = piece.offset().saturating_sub(offset) as usize;
            let target = buf.get_mut(at..at.saturating_add(piece.len() as usize)).unwrap_or_default();
            let inside = piece.offset().saturating_sub(section.start);
            let place = section.place.saturating_add(inside);
            self.volume.check_on_disk(place, piece.len(), "content of a file")?;
            self.volume.pages.disk().read_at(target, place)?;
        }
        Ok(())
    }
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.size)?;
        self.read_pieces(buf, offset).doing(|| "reading what is in a file of the ISO 9660 volume")
    }
}
