//! Holes of the host's files: finding them, punching them, filling them, and telling zeroes from data.

use std::fs::File;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::{ByteRange, ExtentKind, Extents, ZeroMode, fiemap};
use crate::error::Result;

/// Runs of data that are looked for one by one: most windows have no more.
const FEW: usize = 8;

/// What the filesystem knows of `range` of `file`; whether it is on ext4 is only asked where that is many extents.
///
/// Moves the file's own position, which positional reads and writes do not use.
/// A filesystem that does not know its holes answers that all is data.
pub(super) fn extents(file: &File, range: ByteRange, on_ext4: impl FnOnce() -> bool) -> Result<Extents> {
    let mut extents = Extents::starting_at(range.offset());
    seek_through(file, range, FEW, &mut extents)?;
    let rest = |extents: &Extents| ByteRange::between(extents.range().end(), range.end());
    if !rest(&extents).is_empty() && on_ext4() {
        let look = |part, extents: &mut Extents| seek_through(file, part, usize::MAX, extents);
        fiemap::append(file, rest(&extents), &mut extents, look)?;
    }
    seek_through(file, rest(&extents), usize::MAX, &mut extents)?;
    Ok(extents)
}

/// Appends what is in `range` of `file` to `extents`, up to so many runs of data (`lseek(2)`, SEEK_DATA and SEEK_HOLE).
fn seek_through(file: &File, range: ByteRange, runs: usize, extents: &mut Extents) -> Result<()> {
    let mut at = range.offset();
    for _ in 0..runs {
        if at >= range.end() {
            break;
        }
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
    Ok(())
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

/// Sets storage aside for `range`, which is about to be written: a tenth cheaper than finding it page by page.
/// What cannot be set aside now is found, or missed, by the writing.
pub(super) fn make_room(file: &File, range: ByteRange) {
    let _only_dearer = fallocate(file, FallocateFlags::KEEP_SIZE, range.offset(), range.len());
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
    use std::os::unix::fs::FileExt;

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

    /// Written and not, set aside and written over, before anything is synced and after: both ways say the same.
    #[test]
    fn many_extents_are_those_that_seeking_finds() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let run = |at: u64| ByteRange::between(at * 8192, at * 8192 + 4096);
        for at in 0..2000 {
            match at % 5 {
                0 | 1 => file.write_all_at(&[1; 4096], run(at).offset()).unwrap(),
                2 => drop(fallocate(&file, FallocateFlags::KEEP_SIZE, run(at).offset(), 8192)),
                3 => drop(fallocate(&file, FallocateFlags::KEEP_SIZE, run(at).offset(), 4096)),
                _ => {}
            }
            if at % 15 == 2 {
                file.write_all_at(&[2; 100], run(at).offset() + 5000).unwrap();
            }
        }
        for synced in [false, true] {
            for range in [ByteRange::whole(64 << 20), ByteRange::between(100_001, 15_000_001)] {
                let mut sought = Extents::starting_at(range.offset());
                seek_through(&file, range, usize::MAX, &mut sought).unwrap();
                assert_eq!(
                    extents(&file, range, || fiemap::is_ext4(&file)).unwrap(),
                    sought,
                    "synced: {synced}"
                );
                assert!(sought.iter().count() > 1000, "as many extents as the filesystem knows of");
            }
            file.sync_all().unwrap();
        }
    }
}
