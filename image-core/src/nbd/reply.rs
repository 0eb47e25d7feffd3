//! What a reply means: bytes in, a checked value or the rule that they break out. No I/O here.

use zerocopy::FromBytes;

use super::violation::{ServerError, Violation};
use super::wire::{
    BlockSizes, CHUNK, CHUNK_DATA, CHUNK_DONE, CHUNK_ERROR, CHUNK_HOLE, CHUNK_NONE, CHUNK_STATUS,
    ChunkHeader, ErrorHeader, ExportFacts, Hole, INFO_BLOCK_SIZE, INFO_EXPORT, MAX_STRING_LEN, SIMPLE_REPLY,
    SimpleReply, Status,
};
use crate::block::ByteRange;

/// The length of a [`SimpleReply`] and of a [`ChunkHeader`].
pub(super) const HEADER_LEN: usize = size_of::<SimpleReply>();

/// The most bytes of a status: what QEMU and nbdkit send at most is half of it.
const MAX_STATUS_LEN: u32 = 4 + (16 << 20);
/// The most bytes of a failure: a message, and what is around it.
const MAX_ERROR_LEN: u32 = MAX_STRING_LEN as u32 + 64;
/// The most places that the bytes of one reply may come in, out of order.
const MAX_PLACES: usize = 4096;

/// The head of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyHeader {
    /// All of it, but for the bytes that were read.
    Simple { error: u32 },
    /// A part of it.
    Chunk { kind: u16, done: bool },
}

impl ReplyHeader {
    /// The head, and the request that it belongs to.
    pub(super) fn from_bytes(bytes: [u8; HEADER_LEN]) -> Result<(Self, u64), Violation> {
        let simple: SimpleReply = zerocopy::transmute!(bytes);
        match simple.magic.get() {
            SIMPLE_REPLY => Ok((Self::Simple { error: simple.error.get() }, simple.cookie.get())),
            CHUNK => {
                let chunk: ChunkHeader = zerocopy::transmute!(bytes);
                let done = chunk.flags.get() & CHUNK_DONE != 0;
                Ok((Self::Chunk { kind: chunk.kind.get(), done }, chunk.cookie.get()))
            }
            magic => Err(Violation::ReplyMagic { magic }),
        }
    }
}

/// What is in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Nothing,
    /// An offset, and so many bytes.
    Data { len: u64 },
    /// A [`Hole`].
    Hole,
    /// So many bytes of status.
    Status { len: usize },
    /// So many bytes of a failure.
    Error { len: usize },
}

impl Content {
    /// What a chunk of this kind and length has in it.
    pub(super) fn of(kind: u16, done: bool, len: u32) -> Result<Self, Violation> {
        let wrong = Violation::ChunkLen { kind, len };
        let sized = |right: bool, content| if right { Ok(content) } else { Err(wrong) };
        let bytes = len as usize;
        match kind {
            CHUNK_NONE if !done => Err(Violation::ChunkKind { kind }),
            CHUNK_NONE => sized(len == 0, Self::Nothing),
            CHUNK_DATA => sized(len > 8, Self::Data { len: u64::from(len).saturating_sub(8) }),
            CHUNK_HOLE => sized(bytes == size_of::<Hole>(), Self::Hole),
            CHUNK_STATUS => {
                let entries = len.checked_sub(4).filter(|entries| *entries > 0 && entries % 8 == 0);
                sized(entries.is_some() && len <= MAX_STATUS_LEN, Self::Status { len: bytes })
            }
            error if error & CHUNK_ERROR != 0 => {
                let right = bytes >= size_of::<ErrorHeader>() && len <= MAX_ERROR_LEN;
                sized(right, Self::Error { len: bytes })
            }
            kind => Err(Violation::ChunkKind { kind }),
        }
    }
}

/// The range that a [`CHUNK_HOLE`] stands for.
pub(super) fn hole(bytes: [u8; size_of::<Hole>()]) -> (u64, u64) {
    let hole: Hole = zerocopy::transmute!(bytes);
    (hole.offset.get(), hole.len.get().into())
}

/// The failure in the payload of a chunk of this kind.
pub(super) fn failure(kind: u16, payload: &[u8]) -> Result<ServerError, Violation> {
    let wrong = || Violation::ChunkLen { kind, len: payload.len() as u32 };
    let (header, rest) = ErrorHeader::read_from_prefix(payload).map_err(|_| wrong())?;
    let words = rest.get(..header.message_len.get().into()).ok_or_else(wrong)?;
    match header.error.get() {
        0 => Err(Violation::NoFailure),
        number => Ok(ServerError::new(number, text(words))),
    }
}

/// What a server says in words.
pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..MAX_STRING_LEN).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// The status of what follows the start of `asked`, as far as it is told; the last one may go on behind its end, which
/// is cut off. `context` is the number of the context that was agreed on.
pub(super) fn status(
    payload: &[u8],
    context: u32,
    asked: ByteRange,
) -> Result<Vec<(ByteRange, u32)>, Violation> {
    let wrong = || Violation::ChunkLen { kind: CHUNK_STATUS, len: payload.len() as u32 };
    let (id, rest) = zerocopy::big_endian::U32::read_from_prefix(payload).map_err(|_| wrong())?;
    if id.get() != context {
        return Err(Violation::ContextId { id: id.get() });
    }
    let entries = <[Status]>::ref_from_bytes(rest).map_err(|_| wrong())?;
    let mut told: Vec<(ByteRange, u32)> = Vec::new();
    let mut at = asked.offset();
    for entry in entries {
        if entry.len.get() == 0 {
            return Err(Violation::EmptyStatus);
        }
        if at >= asked.end() {
            return Err(Violation::NotAskedFor { offset: at, len: entry.len.get().into() });
        }
        let end = at.saturating_add(entry.len.get().into()).min(asked.end());
        told.push((ByteRange::between(at, end), entry.flags.get()));
        at = end;
    }
    Ok(told)
}

/// What is told of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Info {
    /// Its size in bytes, and its flags.
    Export { size: u64, flags: u16 },
    /// The least and the most bytes of a request.
    Blocks { smallest: u32, largest: u32 },
    /// What is of no interest here.
    Other,
}

/// What the payload of a `REP_INFO` tells.
pub(super) fn info(payload: &[u8]) -> Result<Info, Violation> {
    let Ok((kind, rest)) = zerocopy::big_endian::U16::read_from_prefix(payload) else {
        return Err(Violation::InfoLen { kind: 0, len: payload.len() });
    };
    let wrong = || Violation::InfoLen { kind: kind.get(), len: payload.len() };
    match kind.get() {
        INFO_EXPORT => {
            let facts = ExportFacts::read_from_bytes(rest).map_err(|_| wrong())?;
            export(facts)
        }
        INFO_BLOCK_SIZE => {
            let sizes = BlockSizes::read_from_bytes(rest).map_err(|_| wrong())?;
            let (smallest, largest) = (sizes.smallest.get(), sizes.largest.get());
            // The specification has no server that wants more than 64 KiB.
            let sound = smallest.is_power_of_two() && smallest <= 1 << 16 && largest >= smallest;
            if sound {
                Ok(Info::Blocks { smallest, largest })
            } else {
                Err(Violation::BlockSizes { smallest, largest })
            }
        }
        _ => Ok(Info::Other),
    }
}

/// The size and the flags of an export; a file of Linux has no more than 2⁶³ − 1 bytes.
pub(super) fn export(facts: ExportFacts) -> Result<Info, Violation> {
    let size = facts.size.get();
    match i64::try_from(size) {
        Ok(_) => Ok(Info::Export { size, flags: facts.flags.get() }),
        Err(_) => Err(Violation::Size { size }),
    }
}

/// Which bytes of a reply have come.
#[derive(Debug)]
pub(super) struct Received {
    asked: ByteRange,
    /// In ascending order, with bytes missing between each and the next.
    places: Vec<ByteRange>,
}

impl Received {
    /// Nothing of `asked`.
    pub(super) fn nothing_of(asked: ByteRange) -> Self {
        Self { asked, places: Vec::new() }
    }

    /// Takes `len` bytes at `offset`, and says where in the buffer they belong.
    pub(super) fn take(&mut self, offset: u64, len: u64) -> Result<std::ops::Range<usize>, Violation> {
        let wrong = Violation::NotAskedFor { offset, len };
        let Ok(range) = ByteRange::new(offset, len) else { return Err(wrong) };
        if range.is_empty() || offset < self.asked.offset() || range.end() > self.asked.end() {
            return Err(wrong);
        }
        let index = self.places.partition_point(|place| place.offset() < offset);
        let before = index.checked_sub(1).and_then(|index| self.places.get(index)).copied();
        let after = self.places.get(index).copied();
        let overlaps =
            |place: Option<ByteRange>| place.is_some_and(|place| place.intersection(range).is_some());
        if overlaps(before) || overlaps(after) {
            return Err(Violation::Twice { offset });
        }
        let joins_before = before.filter(|before| before.end() == offset);
        let joins_after = after.filter(|after| after.offset() == range.end());
        let start = joins_before.map_or(offset, ByteRange::offset);
        let end = joins_after.map_or(range.end(), ByteRange::end);
        let first = index.saturating_sub(usize::from(joins_before.is_some()));
        let last = index.saturating_add(usize::from(joins_after.is_some()));
        self.places.splice(first..last, [ByteRange::between(start, end)]);
        if self.places.len() > MAX_PLACES {
            return Err(Violation::Scattered { most: MAX_PLACES });
        }
        let from = offset.saturating_sub(self.asked.offset());
        Ok(from as usize..from.saturating_add(len) as usize)
    }

    /// Takes all at once.
    pub(super) fn take_all(&mut self) -> Result<(), Violation> {
        self.take(self.asked.offset(), self.asked.len()).map(drop)
    }

    /// Whether all has come.
    pub(super) fn check(&self) -> Result<(), Violation> {
        let received: u64 = self.places.iter().map(|place| place.len()).sum();
        match self.asked.len().saturating_sub(received) {
            0 => Ok(()),
            missing => Err(Violation::Missing { missing }),
        }
    }
}

#[cfg(test)]
mod tests;
