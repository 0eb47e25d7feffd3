//! From one file of the host to another, without the bytes passing through this process.
//!
//! ```text
//! ext4 ─► splice(2) through a pipe of our own: copied once, from page to page
//! else ─► copy_file_range(2): the filesystem shares the blocks ─── or else copies once
//! either cannot (another filesystem, an old kernel) ─► read and written here, in chunks
//! ```

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{copy_file_range, ioctl_ficlone};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ByteRange;
use crate::error::Result;

/// Bytes read and written at a time where the kernel does not copy.
const CHUNK: usize = 256 * 1024;

/// Whether the filesystem of `file` lets files share blocks. A file is no copy of itself, so that asking changes nothing.
pub(super) fn can_reflink(file: &File) -> bool {
    !matches!(
        ioctl_ficlone(file, file),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::BADF)
    )
}

/// A pipe for copies that the kernel makes. The one it has itself for copy_file_range takes 64 KiB at a time: with more,
/// the filesystem has a sixteenth of the work to find room for them.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    room: usize,
}

impl Pipe {
    /// Room for as much as anybody may have (`pipe(7)`); `None` where there are no descriptors left.
    pub(super) fn new() -> Option<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        // What was not made larger is a pipe still.
        let room = fcntl_setpipe_size(&into, 1 << 20).unwrap_or(65536);
        Some(Self { out, into, room })
    }

    /// As [`copy`]; returns how many bytes were copied before anything stood in the way. If that is not all, the pipe may
    /// hold others, and is of no more use.
    pub(super) fn copy(&self, source: &File, from: ByteRange, target: &File, at: u64) -> u64 {
        let (mut from_offset, mut to_offset) = (from.offset(), at);
        while from_offset < from.end() {
            let left = usize::try_from(from.end() - from_offset).unwrap_or(usize::MAX).min(self.room);
            let flags = SpliceFlags::empty();
            let Ok(mut held) = splice(source, Some(&mut from_offset), &self.into, None, left, flags) else {
                break;
            };
            if held == 0 {
                break;
            }
            while held > 0 {
                match splice(&self.out, None, target, Some(&mut to_offset), held, flags) {
                    Ok(written @ 1..) => held = held.saturating_sub(written),
                    Ok(_) | Err(_) => return to_offset - at,
                }
            }
        }
        to_offset - at
    }
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
        let pipe = Pipe::new().unwrap();
        for way in [0, 1, 2] {
            let at = 8192 + way * 1_000_000;
            match way {
                0 => copy(&source, from, &target, at).unwrap(),
                1 => assert_eq!(pipe.copy(&source, from, &target, at), from.len()),
                _ => read_and_write(&source, from.offset()..from.end(), &target, at).unwrap(),
            }
            let mut copied = vec![0; from.len() as usize];
            target.read_exact_at(&mut copied, at).unwrap();
            assert!(copied == bytes[4096..600_001], "way {way}");
        }
        let too_much = ByteRange::between(0, 700_001);
        assert!(copy(&source, too_much, &target, 0).is_err(), "past the end");
        assert_eq!(pipe.copy(&source, too_much, &target, 0), 700_000);
    }
}
