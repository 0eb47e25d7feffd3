//! A metadata area: a header, and a ring of texts of which the header points to the newest.
//!
//! ```text
//! area    header, 512 bytes │ … old text │ text │ free …        a text goes on behind the header when it comes to the end
//! header  0 CRC of the rest │ 4 mark │ 20 version │ 24 offset of the area │ 32 size │ 40 text │ 64 text to be │ …
//! text    0 offset in the area │ 8 size │ 16 CRC │ 20 flags: 1 for ignored
//! ```
//! LVM2, lib/format_text/layout.h. The text to be is one that was not committed: it does not count.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::label::{checksum, field, u32_at, u64_at};
use super::rule::LvmRule;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

const HEADER_LEN: u64 = 512;
const MAGIC: [u8; 16] = *b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
/// Where the header says where the text is.
const TEXT: usize = 40;
/// A flag of a text.
const IGNORED: u32 = 1;
/// A text is not longer than this, in bytes.
const TEXT_MAX: u64 = 16 << 20;

/// The text in `area` of `disk`; `None` if there is none, or it is to be ignored.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`LvmRule`]; whatever the disk says.
pub(super) fn text(disk: &dyn BlockRead, area: ByteRange) -> Result<Option<Vec<u8>>> {
    let wrong = |field, value| Err(Error::corrupt(LvmRule::Area { area: area.offset(), field, value }));
    if area.end() > disk.size() || area.len() <= HEADER_LEN {
        return wrong("end", area.end());
    }
    let mut header = [0; HEADER_LEN as usize];
    disk.read_at(&mut header, area.offset())?;
    if field(&header, 4) != MAGIC {
        return wrong("mark", u64_at(&header, 4));
    }
    if checksum(&[header.get(4..).unwrap_or_default()]) != u32_at(&header, 0) {
        return Err(Error::corrupt(LvmRule::Checksum { what: "header of a metadata area" }));
    }
    for (field, value, expected) in [
        ("version", u64::from(u32_at(&header, 20)), u64::from(VERSION)),
        ("offset", u64_at(&header, 24), area.offset()),
        ("size", u64_at(&header, 32), area.len()),
    ] {
        if value != expected {
            return wrong(field, value);
        }
    }
    let place = header.get(TEXT..).unwrap_or_default();
    let (offset, len, flags) = (u64_at(place, 0), u64_at(place, 8), u32_at(place, 20));
    if offset == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    if offset < HEADER_LEN || offset >= area.len() {
        return wrong("offset of its text", offset);
    }
    if len == 0 || len > TEXT_MAX || len > area.len().saturating_sub(HEADER_LEN) {
        return wrong("size of its text", len);
    }
    let mut bytes = vec![0; len as usize];
    let first = area.len().saturating_sub(offset).min(len);
    let Some((before, behind)) = bytes.split_at_mut_checked(first as usize) else {
        return wrong("size of its text", len);
    };
    disk.read_at(before, area.offset().saturating_add(offset))?;
    disk.read_at(behind, area.offset().saturating_add(HEADER_LEN))?;
    match checksum(&[&bytes]) == u32_at(place, 16) {
        true => Ok(Some(bytes)),
        false => Err(Error::corrupt(LvmRule::Checksum { what: "text of a metadata area" })),
    }
}
