//! The extents of a host file, hundreds a call (`ioctl(2)`, FS_IOC_FIEMAP).
//!
//! ```text
//! file:   ████████░░░░░░████▒▒▒▒▒▒▒▒░░░░████
//!         data    none: data set     none  data
//!                 hole       aside: may be written in the page cache, which seeking tells
//! ```
//!
//! Only of ext4: there the call and SEEK_DATA ask one function (`ext4_iomap_begin_report`), so what is not on the disk
//! yet is known too. Other filesystems may show as a hole what is still to be written (XFS: copies on write over
//! holes), unless all of the file is synced first. Structures: Documentation/filesystems/fiemap.rst.
//!
//! A file of 131,072 holes: 12 ms, where two seeks for each take 92 ms.

use std::fs::File;

use rustix::fs::{FsWord, fstatfs};
use rustix::ioctl::{Direction, Opcode, Updater, ioctl, opcode};

use super::{ByteRange, ExtentKind, Extents};
use crate::error::Result;

/// Extents told in one call: 28 KiB of them.
const ROOM: usize = 512;

/// EXT4_SUPER_MAGIC, which ext2 and ext3 have too: ext4's code reads them.
const EXT4: FsWord = 0xef53;

/// FS_IOC_FIEMAP; the size is that of the structure without its extents.
const FS_IOC_FIEMAP: Opcode = opcode::from_components(Direction::ReadWrite, b'f', 11, 32);

/// FIEMAP_EXTENT_UNWRITTEN: set aside, and zeroes where the page cache has nothing else.
const UNWRITTEN: u32 = 0x800;

/// `struct fiemap`, with room for extents.
#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [Entry; ROOM],
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    logical: u64,
    physical: u64,
    length: u64,
    reserved_64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// Whether `file` is on ext4.
pub(super) fn is_ext4(file: &File) -> bool {
    fstatfs(file).is_ok_and(|filesystem| filesystem.f_type == EXT4)
}

/// Appends what is in `range` of `file`, an ext4 file, to `extents`, as far as the filesystem tells. `look` appends what
/// is in a range that is set aside.
pub(super) fn append(
    file: &File,
    range: ByteRange,
    extents: &mut Extents,
    look: impl Fn(ByteRange, &mut Extents) -> Result<()>,
) -> Result<()> {
    const NOTHING: Entry =
        Entry { logical: 0, physical: 0, length: 0, reserved_64: [0; 2], flags: 0, reserved: [0; 3] };
    let mut request = Box::new(Request {
        start: 0,
        length: 0,
        flags: 0,
        mapped: 0,
        room: ROOM as u32,
        reserved: 0,
        extents: [NOTHING; ROOM],
    });
    let mut at = range.offset();
    while at < range.end() {
        (request.start, request.length, request.mapped) = (at, range.end() - at, 0);
        // SAFETY: the opcode is FS_IOC_FIEMAP's, and `Request` begins as `struct fiemap` does, with `room` structures of
        // the kernel's shape behind it: it writes no more of them. Every value of the integers is valid.
        let told = unsafe { ioctl(file, Updater::<FS_IOC_FIEMAP, Request>::new(&mut *request)) };
        if told.is_err() {
            return Ok(());
        }
        let mapped = request.extents.get(..request.mapped as usize).unwrap_or_default();
        for entry in mapped {
            let end = entry.logical.saturating_add(entry.length).min(range.end());
            extents.push_until(entry.logical.min(range.end()), ExtentKind::Hole);
            let rest = ByteRange::between(extents.range().end(), end);
            if entry.flags & UNWRITTEN != 0 && !rest.is_empty() {
                look(rest, extents)?;
            }
            extents.push_until(end, ExtentKind::Data);
        }
        if mapped.len() < ROOM {
            extents.push_until(range.end(), ExtentKind::Hole);
        }
        // A file that changes meanwhile must not stop the walk.
        at = extents.range().end().max(at + 1);
    }
    Ok(())
}
