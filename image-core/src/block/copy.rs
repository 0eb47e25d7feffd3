//! From one file of the host to another, without the bytes passing through this process.
//!
//! ```text
//! copy_file_range(2): the filesystem shares the blocks ─── or else copies once, from page to page
//!       └─ cannot (another filesystem, an old kernel) ─► read and written here, in chunks
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate, ioctl_ficlone};
use rustix::io::Errno;

use super::ByteRange;
use crate::error::Result;

/// Bytes read and written at a time where the kernel does not copy.
const CHUNK: usize = 256 * 1024;

/// Whether the filesystem of `file` lets files share blocks. A file is no copy of itself, so that asking changes nothing.
pub(super) fn can_share(file: &File) -> bool {
    !matches!(
        ioctl_ficlone(file, file),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::BADF)
    )
}

/// Sets storage aside for `range`, which is about to be written: a tenth cheaper than finding it page by page.
/// What cannot be set aside now is found, or missed, by the writing.
pub(super) fn prepare(file: &File, range: ByteRange) {
    let _only_dearer = fallocate(file, FallocateFlags::KEEP_SIZE, range.offset(), range.len());
}

/// Copies `from` of `source` to `at` of `target`, a regular file as `source` is.
pub(super) fn copy(source: &File, from: ByteRange, target: &File, at: u64) -> Result<()> {
    let (mut from_offset, mut to_offset) = (from.offset(), at);
    while from_offset < from.end() {
        let left = usize::try_from(from.end() - from_offset).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut from_offset), target, Some(&mut to_offset), left) {
            // It moved the offsets.
            Ok(copied) if copied > 0 => {}
            // What stands in the way, reading and writing tell.
            Ok(_) | Err(_) => return read_and_write(source, from_offset..from.end(), target, to_offset),
        }
    }
    Ok(())
}

fn read_and_write(source: &File, from: std::ops::Range<u64>, target: &File, at: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while from.start + done < from.end {
        let len = (from.end - from.start - done).min(CHUNK as u64);
        let bytes = &mut buffer[..len as usize];
        source.read_exact_at(bytes, from.start + done)?;
        target.write_all_at(bytes, at + done)?;
        done += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On whatever filesystem this is: both ways give the same bytes.
    #[test]
    fn a_part_is_copied_to_another_place() {
        let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at / 7) as u8).collect();
        source.write_all_at(&bytes, 0).unwrap();
        let from = ByteRange::between(4096, 600_001);
        for way in [0, 1] {
            let at = 8192 + way * 1_000_000;
            match way {
                0 => copy(&source, from, &target, at).unwrap(),
                _ => read_and_write(&source, from.offset()..from.end(), &target, at).unwrap(),
            }
            let mut copied = vec![0; from.len() as usize];
            target.read_exact_at(&mut copied, at).unwrap();
            assert!(copied == bytes[4096..600_001], "way {way}");
        }
        assert!(copy(&source, ByteRange::between(0, 700_001), &target, 0).is_err(), "past the end");
    }
}
