//! The bytes of two disks, block by block.

use super::plan::{BATCH_LEN, Batch, Part};
use super::{BLOCK, Failed, Found, Side};
use crate::block::{BlockRead, ByteRange, is_zero};
use crate::error::Result;

static ZEROES: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// What a worker reads into.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Buffers {
    /// Reads and compares the parts of a batch.
    pub(super) fn compare(
        &mut self,
        batch: &Batch,
        one: &dyn BlockRead,
        other: &dyn BlockRead,
    ) -> Result<Found> {
        let mut found = Found { compared: batch.range.len(), ..Found::default() };
        for &part in &batch.parts {
            let one_bytes = part.one.then(|| read(one, Side::One, part, &mut self.one)).transpose()?;
            let other_bytes =
                part.other.then(|| read(other, Side::Other, part, &mut self.other)).transpose()?;
            found.compare(part.range.offset(), one_bytes, other_bytes);
        }
        Ok(found)
    }
}

fn read<'b>(disk: &dyn BlockRead, side: Side, part: Part, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
    if buffer.is_empty() {
        buffer.resize(BATCH_LEN as usize, 0);
    }
    let bytes = &mut buffer[..part.range.len() as usize];
    let offset = part.range.offset();
    disk.read_at(bytes, offset).map_err(|error| Failed::reading(side, offset, error))?;
    Ok(bytes)
}

impl Found {
    /// Compares bytes from `start` of the disks on; `None` are zeroes.
    fn compare(&mut self, start: u64, one: Option<&[u8]>, other: Option<&[u8]>) {
        let (bytes, other) = match (one, other) {
            (Some(one), Some(other)) if one != other => (one, Some(other)),
            (Some(one), None) | (None, Some(one)) if !is_zero(one) => (one, None),
            _ => return,
        };
        let mut at = 0;
        while at < bytes.len() {
            // The first block may be the rest of one: extents of a file need not end with a block.
            let len = (BLOCK - (start + at as u64) % BLOCK) as usize;
            let end = bytes.len().min(at + len);
            let block = &bytes[at..end];
            let beside = other.map_or(&ZEROES[..block.len()], |other| &other[at..end]);
            if block != beside {
                let same = block.iter().zip(beside).take_while(|(a, b)| a == b).count();
                self.differs(start + at as u64, start + end as u64, same as u64);
            }
            at = end;
        }
    }

    fn differs(&mut self, start: u64, end: u64, same: u64) {
        self.first.get_or_insert(start + same);
        let start = start / BLOCK * BLOCK;
        match self.ranges.last_mut() {
            Some(last) if last.end() >= start => *last = ByteRange::between(last.offset(), end),
            _ => self.ranges.push(ByteRange::between(start, end)),
        }
    }
}
