//! What one worker does at a time: the part of the disk it is for, and what came of it.
//!
//! ```text
//! guest:    ..hole..│ unit │ unit │..hole..│ unit │      range: all of it
//!              data:  ████████   █           ███         what must be read
//! buffer:           │ unit │ unit │ unit │               the units that data touches, one behind the other
//! pieces:   Zero     Plain          Zero    Compressed   what the sink is given, in order
//! ```

use super::sink::{CopyOffload, Encoder, Piece, Sink};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};

/// How many bytes of units a batch holds, unless one unit is larger: small enough to stay in a core's cache, large
/// enough that taking a lock and calling the system cost nothing.
pub(super) const BATCH_LEN: u64 = 256 * 1024;

/// The same where nothing is compressed: the writing is most of the work then, and cheaper in long runs.
const PLAIN_BATCH_LEN: u64 = 512 * 1024;

/// The same where the sink copies: handing over to another worker costs more than the looking. All of it may have to be read
/// all the same, where the source is compressed further on.
const COPIED_BATCH_LEN: u64 = 2 * 1024 * 1024;

/// How much is shared in one call: what costs is the call. Bounds the time until the work can be stopped.
const SHARED_LEN: u64 = 256 * 1024 * 1024;

/// The bytes of units that a batch holds at most; `compresses`: an encoder works on them.
pub(super) fn batch_len(unit: u64, compresses: bool, copies: Option<CopyOffload>) -> u64 {
    let len = match copies {
        None if compresses => BATCH_LEN,
        None => PLAIN_BATCH_LEN,
        Some(_) => COPIED_BATCH_LEN,
    };
    len.max(unit)
}

/// Where a piece's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    /// Nowhere.
    Zero,
    /// In the buffer from here on.
    Plain { at: usize },
    /// Nowhere: the backing file has zeroes too.
    SameZero,
    /// Nowhere: the backing file has the bytes that are in the buffer from here on.
    Same { at: usize },
    /// In a file of the host that the sink copies from.
    FileRange,
    /// In `compressed`, from here on so many bytes; in the buffer, decompressed, from `plain` on.
    Compressed { at: usize, len: usize, plain: usize },
}

/// One batch; used again and again, so that its memory is taken from the system once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The part of the disk it is for.
    pub(super) range: ByteRange,
    /// What must be read, ascending.
    pub(super) data: Vec<ByteRange>,
    /// What will be read next, in this batch or after it, and was not prefetched yet.
    pub(super) ahead: Vec<ByteRange>,
    /// The units that `data` touches.
    pub(super) buffer: Vec<u8>,
    /// What the encoder made.
    pub(super) compressed: Vec<u8>,
    /// What the sink is given; covers `range`.
    pub(super) pieces: Pieces,
}

/// What becomes of the parts of a range, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<(ByteRange, Stored)>);

impl Pieces {
    /// None.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends a piece; zeroes that follow zeroes and plain bytes that follow plain bytes become one.
    pub(super) fn push(&mut self, range: ByteRange, stored: Stored) {
        if range.is_empty() {
            return;
        }
        if let Some((last, last_stored)) = self.0.last_mut() {
            let joined = match (*last_stored, stored) {
                (Stored::Zero, Stored::Zero)
                | (Stored::SameZero, Stored::SameZero)
                | (Stored::FileRange, Stored::FileRange) => true,
                (Stored::Plain { at: before }, Stored::Plain { at }) => {
                    before as u64 + last.len() == at as u64
                }
                _ => false,
            };
            if joined {
                *last = ByteRange::between(last.offset(), range.end());
                return;
            }
        }
        self.0.push((range, stored));
    }
}

impl Batch {
    /// Gives the pieces to `target`; returns how many bytes of the disk were not zeroes.
    pub(super) fn put_into(&self, target: &mut Target<'_>) -> Result<u64> {
        let mut stored_bytes = 0;
        for &(range, stored) in &self.pieces.0 {
            if let Stored::FileRange = stored {
                target.copy(range)?;
                stored_bytes += range.len();
                continue;
            }
            let piece = match stored {
                Stored::Zero | Stored::FileRange => Piece::Zero,
                Stored::SameZero | Stored::Same { .. } => Piece::Unchanged,
                Stored::Plain { at } => Piece::Plain(&self.buffer[at..at + range.len() as usize]),
                Stored::Compressed { at, len, .. } => Piece::Compressed(&self.compressed[at..at + len]),
            };
            if !matches!(piece, Piece::Zero | Piece::Unchanged) {
                stored_bytes += range.len();
            }
            target.put(range, piece)?;
        }
        Ok(stored_bytes)
    }

    /// The content in order: bytes, or how many zeroes.
    pub(super) fn content(&self) -> impl Iterator<Item = Result<&[u8], u64>> {
        self.pieces.0.iter().map(|&(range, stored)| match stored {
            Stored::Zero | Stored::SameZero => Err(range.len()),
            Stored::FileRange => unreachable!("who asks for the content has it read"),
            Stored::Plain { at } | Stored::Same { at } | Stored::Compressed { plain: at, .. } => {
                Ok(&self.buffer[at..at + range.len() as usize])
            }
        })
    }
}

/// The sink, with what it shares next: neighbours are put together, whatever batches they are from.
pub(super) struct Target<'a> {
    sink: &'a mut dyn Sink,
    source: &'a dyn BlockRead,
    /// How much is put together at most.
    join: u64,
    joined: ByteRange,
}

impl<'a> Target<'a> {
    /// What copies of `source` are given to.
    pub(super) fn new(
        sink: &'a mut dyn Sink,
        source: &'a dyn BlockRead,
        copies: Option<CopyOffload>,
    ) -> Self {
        let join = if copies.is_some_and(|copies| copies.reflinks) { SHARED_LEN } else { 0 };
        Self { sink, source, join, joined: ByteRange::EMPTY }
    }

    /// A new encoder of the sink.
    pub(super) fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        self.sink.encoder()
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        self.end()?;
        self.sink
            .put(range, piece)
            .doing(|| format!("storing the {} bytes at guest offset {:#x}", range.len(), range.offset()))
    }

    /// Copies `range` of the source, all of it in host files, now or with what follows.
    fn copy(&mut self, range: ByteRange) -> Result<()> {
        let both = ByteRange::between(self.joined.offset(), range.end());
        if self.joined.end() == range.offset() && both.len() <= self.join {
            self.joined = both;
            return Ok(());
        }
        self.end()?;
        self.joined = range;
        if range.len() >= self.join { self.end() } else { Ok(()) }
    }

    /// Copies what is put together.
    pub(super) fn end(&mut self) -> Result<()> {
        let range = std::mem::take(&mut self.joined);
        let doing = || format!("copying the {} bytes at guest offset {:#x}", range.len(), range.offset());
        let mut at = range.offset();
        while at < range.end() {
            let Some(from) = self.source.file_range(ByteRange::between(at, range.end())).doing(doing)? else {
                return Err(Error::invalid("the source changed while it was converted").doing(doing()));
            };
            let end = at + from.range.len();
            self.sink.put_copy(ByteRange::between(at, end), from).doing(doing)?;
            at = end;
        }
        Ok(())
    }
}
