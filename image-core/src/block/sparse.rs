//! Holes of the host's files: finding them, punching them, and telling zeroes from data.

use std::fs::File;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::{ByteRange, ExtentKind, Extents, ZeroMode};
use crate::error::Result;

/// What the filesystem knows of `range` of `file` (`lseek(2)`, SEEK_DATA and SEEK_HOLE).
///
/// Moves the file's own position, which positional reads and writes do not use.
/// A filesystem that does not know its holes answers that all is data.
pub(super) fn extents(file: &File, range: ByteRange) -> Result<Extents> {
    let mut extents = Extents::starting_at(range.offset());
    let mut at = range.offset();
    while at < range.end() {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(found) => found.min(range.end()),
            Err(Errno::NXIO) => range.end(),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno.into()),
        };
        extents.push_until(data, ExtentKind::Hole);
        if data >= range.end() {
            break;
        }
        at = match seek(file, SeekFrom::Hole(data)) {
            // A file that shrank or changed meanwhile must not stop the walk.
            Ok(found) if found > data => found.min(range.end()),
            _ => range.end(),
        };
        extents.push_until(at, ExtentKind::Data);
    }
    Ok(extents)
}

/// Zeroes `range` inside `file` without writing bytes; `false` where the filesystem cannot.
pub(super) fn zero_range(file: &File, range: ByteRange, mode: ZeroMode) -> Result<bool> {
    let flags = match mode {
        ZeroMode::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        ZeroMode::Keep => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    };
    match fallocate(file, flags, range.offset(), range.len()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether all of `bytes` are zero. Looks at the ends and the middle first: data mostly shows there.
pub fn is_zero(bytes: &[u8]) -> bool {
    let probes = [bytes.first(), bytes.last(), bytes.get(bytes.len() / 2)];
    if probes.into_iter().flatten().any(|byte| *byte != 0) {
        return false;
    }
    // Blocks of 256 bytes without a branch inside become vector instructions.
    let (blocks, rest) = bytes.as_chunks::<256>();
    blocks.iter().all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_byte_anywhere_is_seen() {
        for len in [0, 1, 255, 256, 257, 4096, 4097] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len} zeroes");
            for at in 0..len {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "byte {at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
