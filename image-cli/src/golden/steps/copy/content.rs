//! What a file holds, hole by hole.
//!
//! ```text
//! source   data │ hole      │ data with blocks of zeroes │ hole
//! image    data │           │ data        │     │ data   │       what is not written is a hole
//! ```
//!
//! Blocks of zeroes become holes as well, as `cp --sparse=always` makes them and mke2fs would: otherwise the image's
//! size would depend on the filesystem that the source lies on. Memory is bounded by one piece.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::Context;
use crate::golden::log::Log;
use crate::golden::source::Entry;

/// What is read at once.
const PIECE: usize = 1 << 20;
/// What is a hole or not: a block of the root filesystem.
const BLOCK: usize = 4096;

/// Copies what `source`, the file of `entry`, holds into the empty file `made`.
///
/// # Errors
/// If it cannot be read or written, or changes meanwhile.
pub(super) fn copy(source: &File, made: &File, entry: &Entry<'_>, log: &Log) -> crate::Result<()> {
    let length = entry.size();
    let mut piece = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    let mut at = 0;
    while let Some((start, end)) =
        next_data(source, at, length).with_context(|| format!("looking for holes in {}", entry.shown()))?
    {
        at = start;
        while at < end {
            log.check()?;
            // To the next border of a piece, so that blocks are those of the file.
            let border = (at / PIECE as u64 + 1) * PIECE as u64;
            let wanted = usize::try_from(border.min(end) - at)?.min(piece.len());
            let read = source
                .read_at(&mut piece[..wanted], at)
                .with_context(|| format!("reading {}", entry.shown()))?;
            if read == 0 {
                return Err(entry.changed());
            }
            write_data(made, &piece[..read], at)?;
            at += read as u64;
        }
    }
    made.set_len(length)?;
    entry.unchanged(source)
}

/// Where the next data from `at` on begins and ends; none if there is a hole to the end.
fn next_data(source: &File, at: u64, length: u64) -> rustix::io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    match seek(source, SeekFrom::Data(at)) {
        Ok(start) if start < length => {
            let end = seek(source, SeekFrom::Hole(start))?.min(length);
            Ok(Some((start, if end > start { end } else { length })))
        }
        Ok(_) | Err(Errno::NXIO) => Ok(None),
        // A filesystem that knows no holes.
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(Some((at, length))),
        Err(error) => Err(error),
    }
}

/// Writes `data`, which begins at `at`, but for its blocks of zeroes.
fn write_data(made: &File, data: &[u8], at: u64) -> std::io::Result<()> {
    let first = (BLOCK - (at % BLOCK as u64) as usize).min(data.len());
    let (head, rest) = data.split_at(first);
    // Where the run of blocks begins that is still to be written.
    let mut pending = 0;
    let mut done = 0;
    for block in std::iter::once(head).chain(rest.chunks(BLOCK)) {
        if is_zero(block) {
            made.write_all_at(&data[pending..done], at + pending as u64)?;
            pending = done + block.len();
        }
        done += block.len();
    }
    made.write_all_at(&data[pending..], at + pending as u64)
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}
