//! An export as a disk: requests of any size at any offset, within what its server takes.
//!
//! ```text
//!  smallest block  ├────────┼────────┼────────┼────────┤
//!  a request            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
//!  is made of      [part] [whole blocks, at most the largest payload] [part]
//! ```
//!
//! A part of a block is read by way of the whole block, and written by reading the block before: while that goes on, no
//! other write does.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::address::Address;
use super::connection::{Connection, ExportOptions};
use super::handshake::ExportInfo;
use super::violation::Refusal;
use super::wire::{
    CMD_FLAG_NO_HOLE, CMD_FLUSH, CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES, STATE_HOLE, STATE_ZERO,
};
use crate::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, HostPlace, MapEntry, ZeroMode};
use crate::error::{Doing, Error, Result};

/// The most bytes whose status is asked for at once.
const MAX_STATUS: u64 = 1 << 31;
/// Zeroes sent at a time to a server that does not write them by itself.
const ZERO_CHUNK: usize = 1 << 20;

/// An export, connected.
#[derive(Debug)]
pub struct Export {
    connection: Connection,
    /// The address as text.
    name: PathBuf,
    /// Held for writing by who writes a part of a block.
    blocks: RwLock<()>,
}

impl Export {
    /// Connects to the export at `address`.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) with one of the causes [`NotConnected`](super::NotConnected),
    /// [`Refusal`] and [`Violation`](super::Violation); [`Unsupported`](crate::ErrorKind::Unsupported) for a server
    /// that wants encryption without credentials for it, has none where there are some, or is too old.
    pub fn open(address: &Address, options: &ExportOptions) -> Result<Self> {
        let connection = Connection::open(address, options).doing(|| format!("opening {address}"))?;
        Ok(Self { connection, name: address.to_string().into(), blocks: RwLock::new(()) })
    }

    /// As [`open`](Self::open), for reading and writing.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Refusal::ReadOnly`].
    pub fn open_writable(address: &Address, options: &ExportOptions) -> Result<Self> {
        let export = Self::open(address, options)?;
        match export.is_read_only() {
            true => Err(Error::from(Refusal::ReadOnly).doing(format!("opening {address}"))),
            false => Ok(export),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        self.connection.address()
    }

    /// Where it is, as it is shown.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Whether its server lets nobody write it.
    pub fn is_read_only(&self) -> bool {
        self.export_info().is_read_only()
    }

    fn export_info(&self) -> &ExportInfo {
        self.connection.export_info()
    }

    /// The next request of a range that goes from `at` to `end`: whole blocks, or a part of one.
    fn piece(&self, at: u64, end: u64) -> Piece {
        let (smallest, largest) =
            (u64::from(self.export_info().smallest), u64::from(self.export_info().largest));
        let block = at - at % smallest;
        if at == block && end - at >= smallest {
            let len = (end - at).min(largest);
            return Piece::Whole(ByteRange::between(at, at + (len - len % smallest)));
        }
        let block = ByteRange::between(block, (block + smallest).min(self.size()));
        Piece::Part { block, part: ByteRange::between(at, end.min(block.end())) }
    }

    /// Does `whole` and `part` with all of `range`, piece by piece.
    fn each_piece(&self, range: ByteRange, mut each: impl FnMut(Piece) -> Result<()>) -> Result<()> {
        range.check_within(self.size())?;
        let mut at = range.offset();
        while at < range.end() {
            let piece = self.piece(at, range.end());
            each(piece)?;
            at = piece.range().end();
        }
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.connection.with_session(|session| session.read(buf, offset))
    }

    fn command(&self, command: u16, flags: u16, range: ByteRange, payload: &[u8]) -> Result<()> {
        self.connection.with_session(|session| session.command(command, flags, range, payload))
    }

    /// Reads a block of which not all is wanted.
    fn read_block(&self, block: ByteRange) -> Result<Vec<u8>> {
        let mut bytes = vec![0; block.len() as usize];
        self.read(&mut bytes, block.offset())?;
        Ok(bytes)
    }

    /// Writes `bytes` into a block whose other bytes stay.
    fn write_part(&self, block: ByteRange, part: ByteRange, bytes: &[u8]) -> Result<()> {
        let _alone = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.read_block(block)?;
        all[within(part, block)].copy_from_slice(bytes);
        self.command(CMD_WRITE, 0, block, &all)
    }

    fn write_whole(&self, range: ByteRange, bytes: &[u8]) -> Result<()> {
        let _with_others = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        self.command(CMD_WRITE, 0, range, bytes)
    }

    fn doing(&self, what: &str, range: ByteRange) -> String {
        let (len, offset) = (range.len(), range.offset());
        format!("{what} {len} bytes at offset {offset:#x} of {}", self.name.display())
    }

    /// Sends zeroes.
    fn send_zeroes(&self, range: ByteRange) -> Result<()> {
        let zeroes = vec![0; ZERO_CHUNK.min(range.len() as usize)];
        let mut at = range.offset();
        while at < range.end() {
            let len = (range.end() - at).min(zeroes.len() as u64);
            self.write_at(&zeroes[..len as usize], at)?;
            at += len;
        }
        Ok(())
    }

    /// The status of all of `range`, part by part; without such a context, all of it is data.
    fn statuses(&self, range: ByteRange, mut each: impl FnMut(ByteRange, u32)) -> Result<()> {
        range.check_within(self.size())?;
        if self.export_info().context.is_none() {
            each(range, 0);
            return Ok(());
        }
        let smallest = u64::from(self.export_info().smallest);
        let mut at = range.offset();
        while at < range.end() {
            let start = at - at % smallest;
            let end = range.end().next_multiple_of(smallest).min(self.size()).min(start + MAX_STATUS);
            let asked = ByteRange::between(start, end);
            for (told, flags) in self.connection.with_session(|session| session.status(asked))? {
                // A depth is a number and no flags; QEMU takes all that is not the first image's for zeroes.
                let flags = if self.connection.is_about_depth() { flags.min(2) } else { flags };
                if let Some(of_range) = told.intersection(ByteRange::between(at, range.end())) {
                    each(of_range, flags);
                    at = of_range.end();
                }
            }
        }
        Ok(())
    }
}

/// A request that a server takes.
#[derive(Debug, Clone, Copy)]
enum Piece {
    Whole(ByteRange),
    Part { block: ByteRange, part: ByteRange },
}

impl Piece {
    fn range(self) -> ByteRange {
        match self {
            Self::Whole(range) | Self::Part { part: range, .. } => range,
        }
    }
}

/// Where the bytes of `inner` are among those of `outer`.
fn within(inner: ByteRange, outer: ByteRange) -> std::ops::Range<usize> {
    (inner.offset() - outer.offset()) as usize..(inner.end() - outer.offset()) as usize
}

impl BlockRead for Export {
    fn size(&self) -> u64 {
        self.export_info().size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let all = ByteRange::new(offset, buf.len() as u64)?;
        let read = self.each_piece(all, |piece| {
            let place = &mut buf[within(piece.range(), all)];
            match piece {
                Piece::Whole(range) => self.read(place, range.offset()),
                Piece::Part { block, part } => {
                    place.copy_from_slice(&self.read_block(block)?[within(part, block)]);
                    Ok(())
                }
            }
        });
        read.doing(|| self.doing("reading", all))
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        if self.connection.has_own_context() {
            // It tells of something else than holes and zeroes.
            range.check_within(self.size())?;
            extents.push(range.len(), ExtentKind::Data);
            return Ok(extents);
        }
        let told = self.statuses(range, |range, flags| {
            // What a hole reads as is not known, unless it is said to be zeroes.
            let kind = match (flags & STATE_ZERO != 0, flags & STATE_HOLE != 0) {
                (true, true) => ExtentKind::Hole,
                (true, false) => ExtentKind::Zero,
                (false, _) => ExtentKind::Data,
            };
            extents.push(range.len(), kind);
        });
        told.doing(|| self.doing("asking for the status of", range))?;
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let file: std::sync::Arc<Path> = self.name.as_path().into();
        let mut list: Vec<MapEntry> = Vec::new();
        let told = self.statuses(range, |range, flags| {
            let (zero, data) = (flags & STATE_ZERO != 0, flags & STATE_HOLE == 0);
            let present = zero || data;
            let host = present.then(|| HostPlace { file: Some(file.clone()), offset: range.offset() });
            let next = MapEntry { present, zero, data, host, ..MapEntry::nothing(range) };
            match list.last_mut().map_or(Err(next.clone()), |last| last.join(next)) {
                Ok(()) => {}
                Err(next) => list.push(next),
            }
        });
        told.doing(|| self.doing("asking for the status of", range))?;
        Ok(list)
    }
}

impl BlockWrite for Export {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let all = ByteRange::new(offset, buf.len() as u64)?;
        let written = self.each_piece(all, |piece| {
            let bytes = &buf[within(piece.range(), all)];
            match piece {
                Piece::Whole(range) => self.write_whole(range, bytes),
                Piece::Part { block, part } => self.write_part(block, part, bytes),
            }
        });
        written.doing(|| self.doing("writing", all))
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        if !self.export_info().can_write_zeroes() {
            return self.send_zeroes(range);
        }
        let flags = match mode {
            ZeroMode::Punch => 0,
            ZeroMode::Keep => CMD_FLAG_NO_HOLE,
        };
        let written = self.each_piece(range, |piece| match piece {
            Piece::Whole(range) => {
                let _with_others = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
                self.command(CMD_WRITE_ZEROES, flags, range, &[])
            }
            Piece::Part { block, part } => self.write_part(block, part, &vec![0; part.len() as usize]),
        });
        written.doing(|| self.doing("zeroing", range))
    }

    fn discard(&self, range: ByteRange) -> Result<()> {
        if !self.export_info().can_trim() {
            return range.check_within(self.size());
        }
        let trimmed = self.each_piece(range, |piece| match piece {
            Piece::Whole(range) => {
                let _with_others = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
                self.command(CMD_TRIM, 0, range, &[])
            }
            // The rest of the block is still read.
            Piece::Part { .. } => Ok(()),
        });
        trimmed.doing(|| self.doing("discarding", range))
    }

    fn flush(&self) -> Result<()> {
        if !self.export_info().can_flush() {
            return Ok(());
        }
        let flushed = self.command(CMD_FLUSH, 0, ByteRange::EMPTY, &[]);
        flushed.doing(|| format!("flushing {}", self.name.display()))
    }

    fn resize(&self, size: u64) -> Result<()> {
        let name = self.name.display();
        Err(Error::unsupported("the size of an export is fixed")
            .doing(format!("resizing {name} to {size} bytes")))
    }
}

#[cfg(test)]
mod tests;
