//! A disk divided into blocks that a table finds in the file: what the formats of this room have in common.
//!
//! ```text
//! read_at ─┐                               ┌─ nothing ────► the parent, then zeroes
//!          ├─► pieces: what a BlockTable ──┼─ zero ───────► zeroes
//! extents ─┘   says of one block, joined   ├─ plain ──────► one read for all that is contiguous in the file
//!                                          └─ compressed ─► decoded, a block at a time
//! ```
//!
//! Where a block is said to lie past the end of the file, reading it is an error: it is not zeroes.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::Path;
use std::sync::Arc;

use super::rule::Corrupt;
use crate::block::{
    self, BlockRead, ByteRange, ClusterCache, ExtentKind, Extents, FileRange, HostPlace, MapEntry,
};
use crate::error::{Doing, Result};

/// The bytes of decoded blocks that are kept, for those who read a block in parts.
const DECODED_BYTES: u64 = 4 << 20;

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is said: the parent has them, or they are zeroes.
    Nothing,
    /// They are zeroes.
    Zero,
    /// In the file from here on, as they are.
    Plain(u64),
    /// In a block that is compressed.
    Compressed(Compressed),
}

/// A compressed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compressed {
    /// Where it begins on the disk.
    pub(super) block: u64,
    /// Where its compressed bytes begin in the file.
    pub(super) host: u64,
    /// How many they are; where that stands with them, how many they may be.
    pub(super) len: u64,
}

/// What finds the blocks of a disk.
pub(super) trait BlockTable: Send + Sync {
    /// Where the byte at `at` is, and the guest offset up to which that goes on; it lies behind `at`, and may lie behind
    /// the end of the disk. A compressed piece ends with its block.
    fn piece(&self, at: u64) -> Result<(u64, Place)>;

    /// Decodes a whole block.
    fn decode(&self, place: Compressed, _out: &mut [u8]) -> Result<()> {
        Err(Corrupt::Compressed { guest: place.block, why: "this format has none".to_owned() }.into())
    }

    /// The bytes of a block.
    fn block_size(&self) -> u64;
}

/// Guest bytes of one kind.
#[derive(Debug, Clone, Copy)]
struct Run {
    range: ByteRange,
    place: Place,
}

/// A disk, read by way of its table.
pub(super) struct Mapped<T> {
    file: Arc<dyn BlockRead>,
    parent: Option<Arc<dyn BlockRead>>,
    table: T,
    size: u64,
    decoded: ClusterCache<u64>,
}

impl<T: BlockTable> Mapped<T> {
    /// A disk of `size` bytes in `file`; what its table says nothing of is in `parent`, or zeroes.
    pub(super) fn new(
        file: Arc<dyn BlockRead>,
        table: T,
        size: u64,
        parent: Option<Arc<dyn BlockRead>>,
    ) -> Self {
        let decoded = ClusterCache::new(DECODED_BYTES, table.block_size().max(1));
        Self { file, parent, table, size, decoded }
    }

    fn runs(&self, range: ByteRange) -> Runs<'_, T> {
        Runs { disk: self, at: range.offset(), end: range.end(), pending: None }
    }

    fn read_run(&self, buf: &mut [u8], run: Run) -> Result<()> {
        match run.place {
            Place::Zero => buf.fill(0),
            Place::Nothing => self.read_parent(buf, run.range.offset())?,
            Place::Plain(host) => {
                self.plain_range(run, host)?;
                self.file.read_at(buf, host)?;
            }
            Place::Compressed(place) => self.read_compressed(buf, run.range, place)?,
        }
        Ok(())
    }

    fn read_parent(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        block::read_backing(self.parent.as_deref(), buf, offset).doing(|| "reading the parent")
    }

    /// The host range of a plain run, if it is in the file.
    fn plain_range(&self, run: Run, host: u64) -> Result<ByteRange> {
        let (guest, file_size) = (run.range.offset(), self.file.size());
        let outside = Corrupt::BlockOutside { guest, host, file_size };
        match ByteRange::new(host, run.range.len()) {
            Ok(range) if range.end() <= file_size => Ok(range),
            _ => Err(outside.into()),
        }
    }

    fn read_compressed(&self, buf: &mut [u8], range: ByteRange, place: Compressed) -> Result<()> {
        let block = place.block;
        let block_size = self.table.block_size();
        if buf.len() as u64 == block_size {
            return self.table.decode(place, buf);
        }
        let from = range.offset().saturating_sub(block) as usize;
        let mut copy = |decoded: &[u8]| {
            if let Some(part) = decoded.get(from..).and_then(|rest| rest.get(..buf.len())) {
                buf.copy_from_slice(part);
            }
        };
        if let Some(decoded) = self.decoded.find(block) {
            copy(&decoded);
            return Ok(());
        }
        let mut decoded = vec![0; block_size as usize];
        self.table.decode(place, &mut decoded)?;
        copy(&decoded);
        // The next one to ask mostly asks for what is beside it.
        self.decoded.put(block, decoded.into());
        Ok(())
    }

    /// Blocks may be holes of the file they are in.
    fn plain_extents(&self, extents: &mut Extents, run: Run, host: u64) -> Result<()> {
        if let Ok(there) = self.plain_range(run, host) {
            block::push_stored_extents(&*self.file, there, extents)?;
        }
        // Past the end of the file, reading says what is wrong.
        extents.push_until(run.range.end(), ExtentKind::Data);
        Ok(())
    }

    fn parent_entries(&self, range: ByteRange, list: &mut Vec<MapEntry>) -> Result<()> {
        let beyond = block::push_backing_entries(self.parent.as_deref(), range, list)?;
        if !beyond.is_empty() {
            list.push(MapEntry { zero: true, ..MapEntry::nothing(beyond) });
        }
        Ok(())
    }
}

impl<T: BlockTable> BlockRead for Mapped<T> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size)?;
        let mut rest = buf;
        for run in self.runs(range) {
            let run = run?;
            let (part, behind) = rest.split_at_mut(run.range.len() as usize);
            self.read_run(part, run)?;
            rest = behind;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size)?;
        let mut extents = Extents::starting_at(range.offset());
        for run in self.runs(range) {
            let run = run?;
            match run.place {
                Place::Zero => extents.push_until(run.range.end(), ExtentKind::Zero),
                Place::Compressed(_) => extents.push_until(run.range.end(), ExtentKind::Data),
                Place::Plain(host) => self.plain_extents(&mut extents, run, host)?,
                Place::Nothing => {
                    block::push_backing_extents(self.parent.as_deref(), run.range, &mut extents)?;
                }
            }
        }
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        range.check_within(self.size)?;
        let name: Option<Arc<Path>> = self.file.as_file().map(|file| file.path().into());
        let mut list = Vec::new();
        for run in self.runs(range) {
            let run = run?;
            let nothing = MapEntry::nothing(run.range);
            match run.place {
                Place::Zero => list.push(MapEntry { present: true, zero: true, ..nothing }),
                Place::Compressed(_) => {
                    list.push(MapEntry { present: true, data: true, compressed: true, ..nothing });
                }
                Place::Plain(offset) => {
                    self.plain_range(run, offset)?;
                    let host = Some(HostPlace { file: name.clone(), offset });
                    list.push(MapEntry { present: true, data: true, host, ..nothing });
                }
                Place::Nothing => self.parent_entries(run.range, &mut list)?,
            }
        }
        Ok(list)
    }

    fn prefetch(&self, range: ByteRange) {
        let mut next = ByteRange::EMPTY;
        for run in self.runs(range) {
            let Ok(run) = run else { break };
            let (host, len) = match run.place {
                Place::Plain(host) => (host, run.range.len()),
                Place::Compressed(place) => (place.host, place.len),
                Place::Nothing | Place::Zero => continue,
            };
            let Ok(host) = ByteRange::new(host, len) else { break };
            if (next.offset()..=next.end()).contains(&host.offset()) {
                next = ByteRange::between(next.offset(), host.end().max(next.end()));
            } else {
                self.file.prefetch(next);
                next = host;
            }
        }
        self.file.prefetch(next);
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        range.check_within(self.size)?;
        let Some(run) = self.runs(range).next().transpose()? else { return Ok(None) };
        match (run.place, &self.parent) {
            (Place::Plain(host), _) => self.file.file_range(self.plain_range(run, host)?),
            (Place::Nothing, Some(parent)) => match run.range.intersection(ByteRange::whole(parent.size())) {
                Some(covered) => parent.file_range(covered).doing(|| "reading the parent"),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// The runs of a range, as long as they can be; after an error, none.
struct Runs<'a, T> {
    disk: &'a Mapped<T>,
    at: u64,
    end: u64,
    pending: Option<Run>,
}

impl<T: BlockTable> Iterator for Runs<'_, T> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let (end, place) = match self.disk.table.piece(self.at) {
                Ok(piece) => piece,
                Err(error) => {
                    self.at = self.end;
                    self.pending = None;
                    return Some(Err(error));
                }
            };
            let end = end.max(self.at.saturating_add(1)).min(self.end);
            let next = Run { range: ByteRange::between(self.at, end), place };
            self.at = end;
            let Some(pending) = &mut self.pending else {
                self.pending = Some(next);
                continue;
            };
            let joins = match (pending.place, place) {
                (Place::Plain(one), Place::Plain(other)) => {
                    one.checked_add(pending.range.len()) == Some(other)
                }
                (Place::Compressed(_), Place::Compressed(_)) => false,
                (one, other) => one == other,
            };
            if joins {
                pending.range = ByteRange::between(pending.range.offset(), end);
            } else {
                return self.pending.replace(next).map(Ok);
            }
        }
        self.pending.take().map(Ok)
    }
}
