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

/// Unpacks streams, a block at a time.
pub(super) struct Reader<'a> {
    packed: &'a [u8],
    block: Vec<u8>,
    /// How much of the block was read, and how much there is.
    at: usize,
    len: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { packed, block: vec![0; BLOCK], at: 0, len: 0 }
    }

    /// Unpacks the next block; whether there was one.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            let Some((length, rest)) = self.packed.split_first_chunk() else { return Ok(false) };
            self.packed = rest;
            if *length == MAGIC {
                continue;
            }
            let length = u32::from_le_bytes(*length) as usize;
            // Some programs fill up with zeroes.
            if length == 0 {
                return Ok(false);
            }
            let (block, rest) = self.packed.split_at_checked(length).ok_or_else(early)?;
            self.packed = rest;
            self.len = lz4_flex::block::decompress_into(block, &mut self.block).map_err(io::Error::other)?;
            self.at = 0;
            return Ok(true);
        }
    }
}

impl Read for Reader<'_> {
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
