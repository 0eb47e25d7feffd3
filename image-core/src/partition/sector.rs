//! Sectors of a disk as untrusted bytes: what is not there is told, not believed.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::block::{BlockRead, ByteRange};
use crate::error::Result;

/// `count` sectors from `first` on, as bytes within a disk of `size` bytes.
pub(super) fn sectors(first: u64, count: u64, sector_size: u64, size: u64) -> Option<ByteRange> {
    let range = ByteRange::new(first.checked_mul(sector_size)?, count.checked_mul(sector_size)?).ok()?;
    (!range.is_empty() && range.end() <= size).then_some(range)
}

/// `len` bytes at `offset`, or `None` where the disk ends before.
pub(super) fn read_bytes(
    disk: &(impl BlockRead + ?Sized),
    offset: u64,
    len: usize,
) -> Result<Option<Vec<u8>>> {
    match ByteRange::new(offset, len as u64) {
        Ok(range) if range.end() <= disk.size() => {
            let mut bytes = vec![0; len];
            disk.read_at(&mut bytes, offset)?;
            Ok(Some(bytes))
        }
        _ => Ok(None),
    }
}

/// The bytes of `bytes` at `at`; zeroes past its end, which the callers rule out by length.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
