//! LZ4 in its first form, "legacy", which is that of the Linux kernel.
//!
//! ```text
//! 02 21 4c 18 │ length, u32 │ block │ length, u32 │ block │ …      a block unpacks to 8 MiB, the last to less
//! ```
//!
//! LZ4 Frame Format Description, "Legacy frame". Streams may follow each other.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::{self, Read};

/// What a stream begins with.
pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// What a block unpacks to at most, in bytes.
const BLOCK: usize = 8 << 20;
/// What a block is packed into at most: LZ4 makes it longer by a 255th.
const PACKED_MAX: usize = BLOCK + BLOCK / 255 + 16;

/// Unpacks streams, a block at a time.
pub(super) struct Reader<R> {
    packed: R,
    /// A block as it is packed, and as it is not.
    bytes: Vec<u8>,
    block: Vec<u8>,
    /// How much of the block was read, and how much there is.
    at: usize,
    len: usize,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { packed, bytes: Vec::new(), block: vec![0; BLOCK], at: 0, len: 0 }
    }

    /// Fills `bytes` with the next `count` ones; with less at the end.
    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        self.bytes.clear();
        self.packed.by_ref().take(count as u64).read_to_end(&mut self.bytes)?;
        Ok(&self.bytes)
    }

    /// Unpacks the next block; whether there was one.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            let Some(length) = self.take(MAGIC.len())?.first_chunk().copied() else { return Ok(false) };
            if length == MAGIC {
                continue;
            }
            let length = u32::from_le_bytes(length) as usize;
            // Some programs fill up with zeroes.
            if length == 0 {
                return Ok(false);
            }
            if length > PACKED_MAX || self.take(length)?.len() < length {
                return Err(early());
            }
            self.len =
                lz4_flex::block::decompress_into(&self.bytes, &mut self.block).map_err(io::Error::other)?;
            self.at = 0;
            return Ok(true);
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.len {
            if !self.next()? {
                return Ok(0);
            }
        }
        let ready = self.block.get(self.at..self.len).unwrap_or_default();
        let count = ready.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

fn early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a block of it ends early")
}
