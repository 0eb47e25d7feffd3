//! Persistent bitmaps: added, removed, cleared, switched on and off, merged, all of it at one moment (see `transaction.rs`).
//!
//! ```text
//! header: bitmaps extension ─► directory ─► table ─► clusters of bits
//!                                  every part that changes is written anew, beside the old one
//! ```
//!
//! A bitmap that is enabled follows every write: [`BitmapRecorder`] remembers them while an image is open for writing, and the
//! image says meanwhile that the bitmap is in use, so that after a crash nobody believes it. Section: "Bitmaps".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod copy;

pub use copy::copy_bitmaps;

use super::super::bitmap::{self, Bitmap, Bits, MAX_BITMAP_NAME_LEN};
use super::super::extension::{BitmapsPlace, Extension};
use super::super::header::{Header, MAX_BITMAP_DIRECTORY_LEN, TablePlace, Version};
use super::super::layout::{
    AUTOCLEAR_BITMAPS, BITMAP_AUTO, BITMAP_ENTRY_ALL_ONES, BITMAP_ENTRY_OFFSET, BITMAP_IN_USE,
};
use super::super::offset::HostOffset;
use super::super::table::for_each_u64;
use super::lazy_refcounts;
use super::transaction::{Transaction, table_range, transaction};
use crate::block::{BlockWrite, ByteRange, is_zero};
use crate::error::{Doing, Error, Result};

/// The most bitmaps that QEMU and this library read.
const MAX_BITMAP_COUNT: usize = 65_535;

/// A change to the bitmaps of an image. Names are 1 to 1023 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitmapChange {
    /// A new one without bits, which follows every write from then on.
    Add {
        /// Its name.
        name: Vec<u8>,
        /// log2 of the bytes that a bit stands for; the cluster size, within 4 to 64 KiB, if `None`.
        granularity_bits: Option<u8>,
    },
    /// It goes.
    Remove(Vec<u8>),
    /// All its bits are cleared.
    Clear(Vec<u8>),
    /// It follows every write from now on.
    Enable(Vec<u8>),
    /// It stays as it is.
    Disable(Vec<u8>),
    /// The bits of another bitmap of the image are set in it too.
    MergeOwn {
        /// Which gets bits.
        name: Vec<u8>,
        /// Which has them.
        source: Vec<u8>,
    },
    /// The bits of a bitmap of another image are set in it too.
    Merge {
        /// Which gets bits.
        name: Vec<u8>,
        /// The bits.
        source: Bits,
    },
}

/// Why a change to bitmaps is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BitmapRule {
    /// Two cannot have one name.
    #[error("there is a bitmap {0:?} already")]
    Exists(String),
    /// It is not there.
    #[error("there is no bitmap {0:?}")]
    Missing(String),
    /// It may be wrong.
    #[error("the bitmap {0:?} was not saved properly and may be wrong: it can only be removed")]
    Inconsistent(String),
    /// The name is too long or empty.
    #[error("a bitmap's name has 1 to 1023 bytes, not {0}")]
    NameLen(usize),
    /// The version has none.
    #[error("version 2 (compat 0.10) has no bitmaps")]
    Version,
    /// There are too many.
    #[error("an image has at most 65,535 bitmaps, in a directory of at most 64 MiB")]
    TooMany,
}

impl From<BitmapRule> for Error {
    fn from(source: BitmapRule) -> Self {
        Self::invalid(source)
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Makes `changes`, in their order and all at one moment, to the bitmaps of the image in `file`, which is as `header`
/// describes it. Returns the new header.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) (cause: [`BitmapRule`]) for a change that cannot be made;
/// [`Refused`](crate::ErrorKind::Refused) for an image that must be repaired first; whatever reading says. The image is
/// as before then.
pub fn change_bitmaps(file: &dyn BlockWrite, header: &Header, changes: &[BitmapChange]) -> Result<Header> {
    if header.version == Version::V2 {
        return Err(BitmapRule::Version.into());
    }
    let header = &lazy_refcounts::repair_if_dirty(file, header)?;
    let mut set = BitmapSet::read(file, header)?;
    for change in changes {
        set.make(file, header, change)?;
    }
    set.store(file, header).doing(|| "storing the bitmaps")
}

/// Bitmaps, with bits where these change.
struct BitmapSet {
    bitmaps: Vec<Stored>,
    /// Tables that nothing leads to afterwards.
    left: Vec<TablePlace>,
}

/// A bitmap as the image has it, or with new bits.
struct Stored {
    entry: Bitmap,
    bits: Option<Bits>,
}

impl BitmapSet {
    fn read(file: &dyn BlockWrite, header: &Header) -> Result<Self> {
        let bitmaps = bitmap::list(file, header)?;
        let bitmaps = bitmaps.into_iter().map(|entry| Stored { entry, bits: None }).collect();
        Ok(Self { bitmaps, left: Vec::new() })
    }

    fn find(&mut self, name: &[u8]) -> Result<&mut Stored, BitmapRule> {
        let found = self.bitmaps.iter_mut().find(|stored| stored.entry.name == name);
        found.ok_or_else(|| BitmapRule::Missing(text(name)))
    }

    fn find_sound(&mut self, name: &[u8]) -> Result<&mut Stored, BitmapRule> {
        let found = self.find(name)?;
        if found.entry.is_in_use() {
            return Err(BitmapRule::Inconsistent(text(name)));
        }
        Ok(found)
    }

    /// The bits of a bitmap, to be changed.
    fn bits(&mut self, file: &dyn BlockWrite, header: &Header, name: &[u8]) -> Result<&mut Bits> {
        let stored = self.find_sound(name)?;
        let bits = match stored.bits.take() {
            Some(bits) => bits,
            None => Bits::read(file, header, &stored.entry)?,
        };
        let table = std::mem::take(&mut stored.entry.table);
        self.left.push(table);
        Ok(self.find(name)?.bits.insert(bits))
    }

    fn make(&mut self, file: &dyn BlockWrite, header: &Header, change: &BitmapChange) -> Result<()> {
        match change {
            BitmapChange::Add { name, granularity_bits } => self.add(header, name, *granularity_bits)?,
            BitmapChange::Remove(name) => {
                let table = self.find(name)?.entry.table;
                self.left.push(table);
                self.bitmaps.retain(|stored| stored.entry.name != *name);
            }
            BitmapChange::Clear(name) => {
                let stored = self.find_sound(name)?;
                stored.bits = Some(Bits::new(header, stored.entry.granularity_bits)?);
                let table = std::mem::take(&mut stored.entry.table);
                self.left.push(table);
            }
            BitmapChange::Enable(name) => self.find_sound(name)?.entry.flags |= BITMAP_AUTO,
            BitmapChange::Disable(name) => self.find_sound(name)?.entry.flags &= !BITMAP_AUTO,
            BitmapChange::MergeOwn { name, source } => {
                let source = self.bits(file, header, source)?.clone();
                self.bits(file, header, name)?.merge(&source)?;
            }
            BitmapChange::Merge { name, source } => self.bits(file, header, name)?.merge(source)?,
        }
        Ok(())
    }

    fn add(&mut self, header: &Header, name: &[u8], granularity_bits: Option<u8>) -> Result<()> {
        if name.is_empty() || name.len() > usize::from(MAX_BITMAP_NAME_LEN) {
            return Err(BitmapRule::NameLen(name.len()).into());
        }
        if self.find(name).is_ok() {
            return Err(BitmapRule::Exists(text(name)).into());
        }
        let default = header.geometry.cluster_bits().clamp(12, 16) as u8;
        let bits = Bits::new(header, granularity_bits.unwrap_or(default))?;
        let entry = Bitmap {
            name: name.to_vec(),
            granularity_bits: bits.granularity_bits(),
            flags: BITMAP_AUTO,
            table: TablePlace::default(),
            extra: Vec::new(),
        };
        self.bitmaps.push(Stored { entry, bits: Some(bits) });
        Ok(())
    }

    /// Writes what changed, and the directory.
    fn store(mut self, file: &dyn BlockWrite, header: &Header) -> Result<Header> {
        transaction(file, header, |transaction| {
            for stored in &mut self.bitmaps {
                if let Some(bits) = &stored.bits {
                    stored.entry.table = put_bits(transaction, bits)?;
                }
            }
            for &table in &self.left {
                drop_table(transaction, table)?;
            }
            if let Some(old) = header.bitmaps() {
                transaction.remove(ByteRange::new(old.offset.0, old.len)?)?;
            }
            let entries: Vec<Bitmap> = self.bitmaps.iter().map(|stored| stored.entry.clone()).collect();
            let (bytes, _) = bitmap::to_bytes(&entries);
            let len = bytes.len() as u64;
            if entries.len() > MAX_BITMAP_COUNT || len > MAX_BITMAP_DIRECTORY_LEN {
                return Err(BitmapRule::TooMany.into());
            }
            let place = BitmapsPlace { count: entries.len() as u32, offset: transaction.put(&bytes)?, len };
            set_place(&mut transaction.header, place);
            Ok(())
        })
    }
}

/// Enters the place of the directory into the header, or removes the extension where there are no bitmaps.
fn set_place(header: &mut Header, place: BitmapsPlace) {
    let old = header.extensions.iter().position(|extension| matches!(extension, Extension::Bitmaps(_)));
    header.features.autoclear &= !AUTOCLEAR_BITMAPS;
    match old.and_then(|at| header.extensions.get_mut(at)) {
        Some(extension) if place.count > 0 => *extension = Extension::Bitmaps(place),
        None if place.count > 0 => header.extensions.push(Extension::Bitmaps(place)),
        _ => header.extensions.retain(|extension| !matches!(extension, Extension::Bitmaps(_))),
    }
    if place.count > 0 {
        header.features.autoclear |= AUTOCLEAR_BITMAPS;
    }
    // Small clusters have no room for the names of features too, which nobody needs.
    if header.to_bytes().is_err() {
        header.extensions.retain(|extension| !matches!(extension, Extension::FeatureNames(_)));
    }
}

/// Writes bits and their table.
fn put_bits(transaction: &mut Transaction<'_>, bits: &Bits) -> Result<TablePlace> {
    let count = bits.piece_count();
    let mut table = vec![0_u64; count as usize];
    for (index, piece) in bits.pieces() {
        let entry = if is_zero(piece) {
            0
        } else if piece.iter().all(|&byte| byte == 0xff) {
            BITMAP_ENTRY_ALL_ONES
        } else {
            transaction.put(piece)?.0
        };
        if let Some(place) = table.get_mut(index as usize) {
            *place = entry;
        }
    }
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    Ok(TablePlace { offset: transaction.put(&bytes)?, count: count as u32 })
}

/// Counts a table and the clusters of its bits off.
fn drop_table(transaction: &mut Transaction<'_>, place: TablePlace) -> Result<()> {
    let range = table_range(place)?;
    if range.is_empty() {
        return Ok(());
    }
    let (geometry, file) = (transaction.header.geometry, transaction.file());
    range.check_within(file.size()).doing(|| "reading the table of a bitmap")?;
    let mut clusters = Vec::new();
    for_each_u64(file, range, |_, entry| {
        let host = HostOffset(entry & BITMAP_ENTRY_OFFSET);
        if host.0 != 0 && geometry.is_aligned(host.0) {
            clusters.push(ByteRange::new(host.0, geometry.cluster_size())?);
        }
        Ok(())
    })?;
    for cluster in clusters {
        if let Some(region) = transaction.metadata_in(cluster) {
            let host = cluster.offset();
            return Err(Error::corrupt(format!("the bits of a bitmap at {host:#x} overlap the {region}")));
        }
        transaction.remove(cluster)?;
    }
    transaction.remove(range)
}

/// Remembers what is written to an image that has bitmaps.
#[derive(Debug, Default)]
pub(super) struct BitmapRecorder {
    /// The bitmaps that are marked as in use because of this.
    names: Vec<Vec<u8>>,
    /// What was written, as fine as the finest of them.
    written: Option<Bits>,
    /// The size of the disk that the tables of all bitmaps are for.
    disk_size: Option<u64>,
    /// The smallest size that the disk has had since: bits behind it are gone, although it may have grown again.
    smallest_size: u64,
}

/// Which bitmaps are going to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    /// Those that follow every write.
    Enabled,
    /// All: the disk gets another size.
    All,
}

impl BitmapRecorder {
    /// Marks bitmaps as in use on disk, once, and remembers writes from now on.
    pub(super) fn begin(&mut self, file: &dyn BlockWrite, header: &Header, which: Recording) -> Result<()> {
        let Some(place) = header.bitmaps() else { return Ok(()) };
        let bitmaps = bitmap::list(file, header)?;
        let (_, flags) = bitmap::to_bytes(&bitmaps);
        let changing =
            |bitmap: &Bitmap| !bitmap.is_in_use() && (which == Recording::All || bitmap.is_enabled());
        let mut marked = false;
        for (bitmap, at) in bitmaps.iter().zip(flags).filter(|(bitmap, _)| changing(bitmap)) {
            let flags = bitmap.flags | BITMAP_IN_USE;
            file.write_at(&flags.to_be_bytes(), place.offset.0.saturating_add(at))
                .doing(|| "marking the bitmaps as in use")?;
            self.names.push(bitmap.name.clone());
            marked = true;
        }
        if marked {
            file.flush()?;
        }
        if self.disk_size.is_none() {
            let enabled = bitmaps.iter().filter(|bitmap| bitmap.is_enabled());
            let finest = enabled.map(|bitmap| bitmap.granularity_bits).min();
            self.written = finest.map(|bits| Bits::new(header, bits)).transpose()?;
            self.disk_size = Some(header.size);
            self.smallest_size = header.size;
        }
        Ok(())
    }

    /// `range` of the disk is written.
    pub(super) fn record(&mut self, range: ByteRange) {
        if let Some(written) = &mut self.written {
            written.set(range);
        }
    }

    /// The disk has another size now.
    pub(super) fn resize(&mut self, disk_size: u64) {
        self.smallest_size = self.smallest_size.min(disk_size);
        if let Some(written) = &mut self.written {
            written.resize(disk_size);
        }
    }

    /// Stores what was remembered, after which the bitmaps are in use no more. All else is in the file, which is as
    /// `header` says. Returns the header as it is then.
    pub(super) fn finish(&mut self, file: &dyn BlockWrite, header: Header) -> Result<Header> {
        let names = std::mem::take(&mut self.names);
        if names.is_empty() || header.bitmaps().is_none() {
            return Ok(header);
        }
        let then = Header { size: self.disk_size.unwrap_or(header.size), ..header.clone() };
        let mut set = BitmapSet::read(file, &header)?;
        for name in names {
            let entry = &mut set.find(&name)?.entry;
            entry.flags &= !BITMAP_IN_USE;
            let is_enabled = entry.is_enabled();
            let bits = set.bits(file, &then, &name)?;
            bits.resize(self.smallest_size);
            bits.resize(header.size);
            if let Some(written) = self.written.as_ref().filter(|_| is_enabled) {
                bits.merge(written)?;
            }
        }
        set.store(file, &header).doing(|| "storing the bitmaps")
    }
}

#[cfg(test)]
mod tests;
