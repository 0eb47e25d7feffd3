//! Directories: entries one after the other, in clusters or, of FAT12 and FAT16, in the root directory's own place.
//!
//! ```text
//! directory ─► slots of 32 bytes ─► long name, short entry ─► record
//! ```
//!
//! The first entry that begins with a zero is the end. A directory has 65,536 entries at most (Microsoft, "FAT: General Overview of
//! On-Disk Format", 1.03, "FAT Directory Structure"). A name that no file can have hides nothing: it is told of when all others
//! were read, as is a chain that breaks off.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Volume;
use super::chain::Chain;
use super::entry::{Slot, SlotKind, is_directory, short_name, slot_kind};
use super::layout::{ENTRY_LEN, Root};
use super::long_name::{LongName, may_be};
use super::rule::FatRule;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

/// Entries of a directory.
pub(super) const ENTRIES_MAX: u64 = 65_536;
/// So much is read of a directory at once, in bytes: the smallest sector.
const PIECE: u64 = 512;

/// Where the entries of a directory are.
enum Place {
    Fixed(ByteRange),
    Chain(Chain),
}

/// A directory, and what is wrong behind its end.
pub(super) struct Directory {
    place: Place,
    len: u64,
    error: Option<Error>,
}

/// A file or directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    /// The short name, if the other one is a long one.
    pub(super) alias: Option<String>,
    /// Where the short entry is.
    pub(super) offset: u64,
    pub(super) is_directory: bool,
}

impl Directory {
    /// The root directory.
    pub(super) fn root(volume: &Volume) -> Self {
        match volume.root() {
            Root::Fixed(range) => Self { place: Place::Fixed(range), len: range.len(), error: None },
            Root::Cluster(first) => Self::of_chain(volume, first, 0),
        }
    }

    /// The directory from cluster `first` on, of the entry at `offset`.
    pub(super) fn of_chain(volume: &Volume, first: u32, offset: u64) -> Self {
        let size = volume.layout().cluster_size;
        let limit = ENTRIES_MAX.saturating_mul(ENTRY_LEN).checked_div(size).unwrap_or(1).max(1);
        let (chain, error) = Chain::walk(&volume.table, first, limit as u32);
        let error = match error {
            Some(error) if matches!(error.cause(), Some(FatRule::LongChain { .. })) => {
                Some(Error::corrupt(FatRule::LargeDirectory(ENTRIES_MAX)))
            }
            None if chain.count() == 0 => Some(Error::corrupt(FatRule::NoDirectory(offset))),
            error => error,
        };
        let len = u64::from(chain.count()).saturating_mul(size);
        Self { place: Place::Chain(chain), len, error }
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where byte `at` of it is.
    fn offset(&self, volume: &Volume, at: u64) -> Result<u64> {
        match &self.place {
            Place::Fixed(range) => Ok(range.offset().saturating_add(at)),
            Place::Chain(chain) => {
                let size = volume.layout().cluster_size;
                let index = at.checked_div(size).unwrap_or(0);
                let (cluster, _) = chain.locate(&volume.table, index as u32)?;
                let inside = at.checked_rem(size).unwrap_or(0);
                Ok(volume.layout().place(cluster).saturating_add(inside))
            }
        }
    }

    /// How many directories it has in it, `.` and `..` among them; as far as it can be read.
    pub(super) fn count_directories(self, volume: &Volume) -> u32 {
        let mut slots = Slots::new(self);
        let mut count = 0_u32;
        while let Ok(Some((_, slot))) = slots.step(volume) {
            count = count.saturating_add(u32::from(is_directory(&slot)));
        }
        count
    }
}

/// The entries of a directory, to its end.
pub(super) struct Slots {
    directory: Directory,
    at: u64,
    piece: [u8; PIECE as usize],
    /// Where the piece is.
    offset: u64,
}

impl Slots {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, at: 0, piece: [0; PIECE as usize], offset: 0 }
    }

    /// The next one, and where it is.
    pub(super) fn step(&mut self, volume: &Volume) -> Result<Option<(u64, Slot)>> {
        if self.at >= self.directory.len {
            return self.directory.error.take().map_or(Ok(None), Err);
        }
        let inside = self.at & PIECE.saturating_sub(1);
        if inside == 0 {
            self.offset = self.directory.offset(volume, self.at)?;
            volume.read_described(&mut self.piece, self.offset, "directory")?;
        }
        let (slots, _) = self.piece.as_chunks::<{ ENTRY_LEN as usize }>();
        let slot = slots.get((inside / ENTRY_LEN) as usize).copied().unwrap_or_default();
        if slot_kind(&slot) == SlotKind::End {
            // What is behind the end is of no use to anybody.
            (self.at, self.directory.error) = (self.directory.len, None);
            return Ok(None);
        }
        self.at = self.at.saturating_add(ENTRY_LEN);
        Ok(Some((self.offset.saturating_add(inside), slot)))
    }
}

/// The files and directories in a directory, one after the other.
pub(super) struct Records {
    slots: Slots,
    long_name: LongName,
    /// The first that has no name that a file can have.
    wrong: Option<Error>,
}

impl Records {
    pub(super) fn new(directory: Directory) -> Self {
        Self { slots: Slots::new(directory), long_name: LongName::default(), wrong: None }
    }

    /// The next one. Behind an error there is nothing more.
    pub(super) fn step(&mut self, volume: &Volume) -> Result<Option<Record>> {
        loop {
            let (offset, slot) = match self.slots.step(volume) {
                Ok(Some(found)) => found,
                Ok(None) => return self.wrong.take().map_or(Ok(None), Err),
                Err(error) => {
                    self.slots.at = u64::MAX;
                    return Err(error);
                }
            };
            match slot_kind(&slot) {
                SlotKind::LongName => self.long_name.push(&slot),
                SlotKind::Short => {
                    let short = short_name(&slot, volume.code_page);
                    let long = self.long_name.take(&slot);
                    let is_directory = is_directory(&slot);
                    match long {
                        Some(name) => {
                            return Ok(Some(Record { name, alias: Some(short), offset, is_directory }));
                        }
                        None if may_be(&short) => {
                            return Ok(Some(Record { name: short, alias: None, offset, is_directory }));
                        }
                        None => {
                            self.wrong.get_or_insert_with(|| Error::corrupt(FatRule::Name(offset)));
                        }
                    }
                }
                _ => self.long_name.forget(),
            }
        }
    }
}

impl Volume {
    /// Fills `buf`, part of `what`, from `offset` on.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`] for what is not on the disk; whatever the disk says.
    pub(super) fn read_described(&self, buf: &mut [u8], offset: u64, what: &'static str) -> Result<()> {
        self.check_on_disk(offset, buf.len() as u64, what)?;
        self.table.pages().read(buf, offset)
    }

    /// Refuses what is not on the disk.
    pub(super) fn check_on_disk(&self, offset: u64, len: u64, what: &'static str) -> Result<()> {
        let size = self.table.pages().disk().size();
        match offset.saturating_add(len) <= size {
            true => Ok(()),
            false => Err(Error::corrupt(FatRule::OutsideDisk { what, offset, size })),
        }
    }
}
