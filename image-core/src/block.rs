//! Disks: anything readable as a number of bytes.
//!
//! ```text
//!   file ─┐                       ┌─► format (raw, qcow2)  ─► again a disk
//! memory ─┤                       │
//! export ─┼─► BlockRead/BlockWrite ┼─► partition (a window) ─► again a disk
//! window ─┘                       └─► convert, fs
//! ```
//!
//! Two traits that all else speaks. Both work through `&self`, at positions, and are safe to use from
//! many threads at once; whoever writes the same bytes from two threads gets one of the two contents.

mod backing;
mod cache;
mod concatenated;
mod copy;
mod dd;
mod extent;
mod fiemap;
mod file;
mod lock;
mod map_entry;
mod memory;
mod not_a_disk;
mod null;
mod preallocate;
mod ranges;
mod rate;
mod readahead;
mod salvage;
mod sparse;
mod stream;
mod window;

pub(crate) use backing::{push_backing_entries, push_backing_extents, push_stored_extents, read_backing};
pub(crate) use cache::{Cluster, ClusterCache, Key};
pub use concatenated::Concatenated;
pub use dd::DdRange;
pub use extent::{ByteRange, Extent, ExtentKind, Extents};
pub use file::{FileDisk, FileRange, HostFilesystem};
pub use lock::{Access, FileInUse, InUse, Permission};
pub use map_entry::{HostPlace, MapEntry};
pub use memory::{MemoryDisk, Operation};
pub use not_a_disk::NotADisk;
pub use null::NullDisk;
pub use preallocate::Preallocation;
pub(crate) use ranges::Ranges;
pub use ranges::RangesRule;
pub use rate::RateLimited;
pub use salvage::Salvage;
pub use sparse::is_zero;
pub use stream::Stream;
pub use window::Window;

use std::sync::Arc;

use crate::error::{Error, Result};

/// A disk that can be read.
pub trait BlockRead: Send + Sync {
    /// The virtual size in bytes. It changes only by [`BlockWrite::resize`].
    fn size(&self) -> u64;

    /// Fills all of `buf` from `offset` (bytes) on: there are no short reads.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a range past the end; else whatever the storage says.
    /// What is in `buf` afterwards is undefined.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// What is known of `range` without reading it; covers it exactly. May call zeroes data, never the reverse.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        Ok(Extents::uniform(range, ExtentKind::Data))
    }

    /// Where the bytes of `range` come from: covers it exactly, in ascending order. Costs more than
    /// [`extents`](Self::extents), and its answer is as long as the range is divided: ask for parts of a large disk
    /// ([`Map`](crate::map::Map) does).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let extents = self.extents(range)?;
        Ok(extents.iter().map(|extent| MapEntry::of(extent.range, extent.kind)).collect())
    }

    /// Has `range`, which is about to be read, brought near while others work. A hint: nothing is known of it afterwards.
    fn prefetch(&self, _range: ByteRange) {}

    /// The file of the host that it is, byte for byte, where it is one.
    fn as_file(&self) -> Option<&FileDisk> {
        None
    }

    /// Where the first bytes of `range` are as they are in a file of the host, and how many of them; `None` if the
    /// first one is not. They may still be zeroes.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        range.check_within(self.size())?;
        Ok(None)
    }
}

/// Whether zeroes may give their storage back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroMode {
    /// Storage is given back where that is possible.
    Punch,
    /// Storage stays set aside, so that a later write cannot run out of space.
    Keep,
}

/// A disk that can be written.
pub trait BlockWrite: BlockRead {
    /// Writes all of `buf` at `offset` (bytes).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a range past the end; else whatever the storage says.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// Makes `range` read as zeroes.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()>;

    /// Gives the storage of `range` back, which nobody reads any more: it may read as anything.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn discard(&self, range: ByteRange) -> Result<()> {
        self.write_zeroes(range, ZeroMode::Punch)
    }

    /// Returns when all that was written survives a loss of power.
    ///
    /// # Errors
    /// Whatever the storage says; what was written since the last flush may then be lost.
    fn flush(&self) -> Result<()>;

    /// Finds storage for `range`, which is about to be written, where that is cheaper in one go than bit by bit.
    /// It reads as before. What is not found now is found, or missed, by the writing.
    fn make_room(&self, _range: ByteRange) {}

    /// The filesystem it is on, if it takes bytes from other files there cheaply by [`copy_from`](Self::copy_from).
    fn filesystem(&self) -> Option<HostFilesystem> {
        None
    }

    /// Writes what `source` has in `from` at `offset` (bytes), sharing its storage where the filesystem can.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and as reading `source`.
    fn copy_from(&self, source: &FileDisk, from: ByteRange, offset: u64) -> Result<()> {
        let mut bytes = vec![0; from.len() as usize];
        source.read_at(&mut bytes, from.offset())?;
        self.write_at(&bytes, offset)
    }

    /// Changes the size in bytes; new bytes read as zeroes.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where a disk's size is fixed.
    fn resize(&self, size: u64) -> Result<()> {
        Err(Error::unsupported(format!("the size of this disk is fixed (asked for {size} bytes)")))
    }
}

/// The methods of [`BlockRead`], each answered by another disk: `self => self.disk`.
macro_rules! read_as {
    ($this:ident => $disk:expr) => {
        fn size(&$this) -> u64 {
            $disk.size()
        }
        fn read_at(&$this, buf: &mut [u8], offset: u64) -> $crate::Result<()> {
            $disk.read_at(buf, offset)
        }
        fn extents(&$this, range: $crate::block::ByteRange) -> $crate::Result<$crate::block::Extents> {
            $disk.extents(range)
        }
        fn map_entries(&$this, range: $crate::block::ByteRange) -> $crate::Result<Vec<$crate::block::MapEntry>> {
            $disk.map_entries(range)
        }
        fn prefetch(&$this, range: $crate::block::ByteRange) {
            $disk.prefetch(range);
        }
        fn as_file(&$this) -> Option<&$crate::block::FileDisk> {
            $disk.as_file()
        }
        fn file_range(
            &$this,
            range: $crate::block::ByteRange,
        ) -> $crate::Result<Option<$crate::block::FileRange<'_>>> {
            $disk.file_range(range)
        }
    };
}
pub(crate) use read_as;

/// The methods of [`BlockWrite`], likewise.
macro_rules! write_as {
    ($this:ident => $disk:expr) => {
        fn write_at(&$this, buf: &[u8], offset: u64) -> $crate::Result<()> {
            $disk.write_at(buf, offset)
        }
        fn write_zeroes(
            &$this,
            range: $crate::block::ByteRange,
            mode: $crate::block::ZeroMode,
        ) -> $crate::Result<()> {
            $disk.write_zeroes(range, mode)
        }
        fn discard(&$this, range: $crate::block::ByteRange) -> $crate::Result<()> {
            $disk.discard(range)
        }
        fn flush(&$this) -> $crate::Result<()> {
            $disk.flush()
        }
        fn make_room(&$this, range: $crate::block::ByteRange) {
            $disk.make_room(range);
        }
        fn filesystem(&$this) -> Option<$crate::block::HostFilesystem> {
            $disk.filesystem()
        }
        fn copy_from(
            &$this,
            source: &$crate::block::FileDisk,
            from: $crate::block::ByteRange,
            offset: u64,
        ) -> $crate::Result<()> {
            $disk.copy_from(source, from, offset)
        }
        fn resize(&$this, size: u64) -> $crate::Result<()> {
            $disk.resize(size)
        }
    };
}
pub(crate) use write_as;

impl<T: BlockRead + ?Sized> BlockRead for &T {
    read_as!(self => (**self));
}

impl<T: BlockWrite + ?Sized> BlockWrite for &T {
    write_as!(self => (**self));
}

impl<T: BlockRead + ?Sized> BlockRead for Box<T> {
    read_as!(self => (**self));
}

impl<T: BlockWrite + ?Sized> BlockWrite for Box<T> {
    write_as!(self => (**self));
}

impl<T: BlockRead + ?Sized> BlockRead for Arc<T> {
    read_as!(self => (**self));
}

impl<T: BlockWrite + ?Sized> BlockWrite for Arc<T> {
    write_as!(self => (**self));
}
