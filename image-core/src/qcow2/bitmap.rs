//! The bitmap directory: which persistent dirty bitmaps an image has.
//!
//! ```text
//! directory: head (24 bytes) │ extra data │ name │ padding to 8 │ next head …
//!              └─► bitmap table ─► clusters of bits, or "all zeroes", or "all ones"
//! ```
//!
//! Only what is up to date (the autoclear bit is set) is looked at. What the bits say is in `bits.rs`; changes are made by
//! [`change_bitmaps`](super::write::change_bitmaps). Section: "Bitmaps".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod bits;

pub use bits::{Bits, GRANULARITY_BITS, MAX_BITMAP_LEN};

use zerocopy::IntoBytes;

use super::corrupt::{Corrupt, Region};
use super::header::{Header, TablePlace};
use super::layout::{BITMAP_AUTO, BITMAP_DIRTY_TRACKING, BITMAP_IN_USE, BitmapDirectoryEntry};
use super::offset::HostOffset;
use super::snapshot::Entries;
use crate::block::BlockRead;
use crate::error::{Doing, Result};

/// The longest bitmap table that QEMU and this library read: 8 Mi entries.
pub const MAX_BITMAP_TABLE_COUNT: u32 = 8 << 20;
/// The longest name of a bitmap that QEMU and this library read, in bytes.
pub const MAX_BITMAP_NAME_LEN: u16 = 1023;

/// A persistent bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name.
    pub name: Vec<u8>,
    /// log2 of the guest bytes that a bit stands for.
    pub granularity_bits: u8,
    /// The `BITMAP_` flags of [`layout`](super::layout).
    pub flags: u32,
    /// Its table.
    pub table: TablePlace,
    /// Extra data, as they are; none are defined.
    pub extra: Vec<u8>,
}

impl Bitmap {
    /// Whether it was not saved properly and may be wrong.
    pub fn is_in_use(&self) -> bool {
        self.flags & BITMAP_IN_USE != 0
    }

    /// Whether it follows every write.
    pub fn is_enabled(&self) -> bool {
        self.flags & BITMAP_AUTO != 0
    }
}

/// The bytes of a directory of `bitmaps`, and where in them the flags of each stand.
pub(super) fn to_bytes(bitmaps: &[Bitmap]) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut flags) = (Vec::new(), Vec::new());
    for bitmap in bitmaps {
        flags.push(
            (bytes.len() as u64).saturating_add(std::mem::offset_of!(BitmapDirectoryEntry, flags) as u64),
        );
        let head = BitmapDirectoryEntry {
            table_offset: bitmap.table.offset.0.into(),
            table_count: bitmap.table.count.into(),
            flags: bitmap.flags.into(),
            kind: BITMAP_DIRTY_TRACKING,
            granularity_bits: bitmap.granularity_bits,
            name_len: (bitmap.name.len() as u16).into(),
            extra_len: (bitmap.extra.len() as u32).into(),
        };
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&bitmap.extra);
        bytes.extend_from_slice(&bitmap.name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    (bytes, flags)
}

/// All bitmaps, in the order of the directory.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a directory that breaks a rule; whatever reading says.
pub fn list(file: &dyn BlockRead, header: &Header) -> Result<Vec<Bitmap>> {
    let Some(place) = header.bitmaps() else { return Ok(Vec::new()) };
    let mut entries = Entries::new(file, Region::BitmapDirectory, place.offset.0, place.len);
    let mut bitmaps = Vec::new();
    for index in 0..place.count {
        bitmaps.push(entry(&mut entries, header, index).doing(|| "reading the bitmap directory")?);
    }
    Ok(bitmaps)
}

fn entry(entries: &mut Entries<'_>, header: &Header, index: u32) -> Result<Bitmap> {
    let head: BitmapDirectoryEntry = entries.structure(index)?;
    let broken = |rule| Corrupt::Bitmap { index, rule };
    if head.name_len.get() == 0 || head.name_len.get() > MAX_BITMAP_NAME_LEN {
        return Err(broken("the name has no bytes or more than 1023").into());
    }
    if !header.geometry.is_aligned(head.table_offset.get()) {
        return Err(broken("its table is not at a cluster boundary").into());
    }
    if head.table_count.get() > MAX_BITMAP_TABLE_COUNT {
        return Err(broken("its table has more than 2^23 entries").into());
    }
    let extra = entries.bytes(index, head.extra_len.get() as usize)?;
    let name = entries.bytes(index, usize::from(head.name_len.get()))?;
    entries.pad();
    Ok(Bitmap {
        name,
        granularity_bits: head.granularity_bits,
        flags: head.flags.get(),
        table: TablePlace { offset: HostOffset(head.table_offset.get()), count: head.table_count.get() },
        extra,
    })
}
