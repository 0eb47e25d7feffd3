//! Free space: blocks that the filesystems on a disk count as free, which become holes.
//!
//! ```text
//! disk ─► partitions (or none) ─► ext4, unmounted ─► free blocks ─┐
//!                                                                 ▼
//! disk ──────────────────────────────────────────► WithoutFreeSpace ─► the same disk, with holes there
//! ```
//!
//! Deleted files, and what an installation wrote and removed: a quarter of a disk that was lived in. Only ext4 is looked
//! into, and only where its bitmaps are sure (see [`free_ranges`]); everything else is in use.

use crate::block::{BlockRead, ByteRange, ExtentKind, Extents, FileRange, Window};
use crate::error::{ErrorKind, Result};
use crate::fs::{detect, free_ranges};
use crate::partition::PartitionTable;

/// What was found on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeSpace {
    /// Free blocks: ascending, none overlaps another.
    pub unused: Vec<ByteRange>,
    /// Of filesystems that could not be believed: where they begin (bytes), and why.
    pub skipped: Vec<(u64, String)>,
}

/// Looks for free blocks on `disk`: in its partitions, or in the filesystem that it is.
///
/// # Errors
/// Of the disk, and of a broken partition table. A broken filesystem is only skipped.
pub fn find_free_space(disk: &dyn BlockRead) -> Result<FreeSpace> {
    let mut places = match PartitionTable::read(disk)? {
        Some(table) => table.partitions.iter().map(|partition| partition.range).collect(),
        None => vec![ByteRange::whole(disk.size())],
    };
    places.sort_by_key(|place| place.offset());
    let mut found = FreeSpace::default();
    for place in places {
        // Partitions that overlap: nobody knows whose the blocks are.
        if found.unused.last().is_some_and(|last| last.end() > place.offset()) {
            found.skipped.push((place.offset(), "it overlaps another partition".to_owned()));
            found.unused.retain(|range| range.end() <= place.offset());
            continue;
        }
        let window = Window::new(disk, place)?;
        if !detect(&window)?.is_some_and(|found| found.kind.is_ext()) {
            continue;
        }
        match free_ranges(&window) {
            Ok(free) => found.unused.extend(free.iter().map(|range| {
                ByteRange::between(place.offset() + range.offset(), place.offset() + range.end())
            })),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => found.skipped.push((place.offset(), chain(&error))),
        }
    }
    Ok(found)
}

/// An error and its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A disk whose unused blocks are holes, and read as zeroes.
#[derive(Debug, Clone)]
pub struct WithoutFreeSpace<D> {
    disk: D,
    unused: Vec<ByteRange>,
}

impl<D: BlockRead> WithoutFreeSpace<D> {
    /// `disk` without what was found unused on it.
    pub fn new(disk: D, found: FreeSpace) -> Self {
        Self { disk, unused: found.unused }
    }

    /// What is unused of `range`, in ascending order.
    fn unused_in(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> {
        let first = self.unused.partition_point(|unused| unused.end() <= range.offset());
        self.unused[first..].iter().map_while(move |unused| unused.intersection(range))
    }
}

impl<D: BlockRead> BlockRead for WithoutFreeSpace<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        self.disk.read_at(buf, offset)?;
        for unused in self.unused_in(range) {
            buf[(unused.offset() - offset) as usize..(unused.end() - offset) as usize].fill(0);
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        let mut unused = self.unused_in(range).peekable();
        for extent in self.disk.extents(range)?.iter() {
            let mut at = extent.range.offset();
            while at < extent.range.end() {
                while unused.peek().is_some_and(|unused| unused.end() <= at) {
                    unused.next();
                }
                let next = unused.peek().copied().unwrap_or(ByteRange::between(u64::MAX, u64::MAX));
                let (end, kind) = match next.offset() <= at {
                    true => (next.end(), ExtentKind::Hole),
                    false => (next.offset(), extent.kind),
                };
                at = end.min(extent.range.end());
                extents.push_until(at, kind);
            }
        }
        Ok(extents)
    }

    fn prefetch(&self, range: ByteRange) {
        self.disk.prefetch(range);
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        let end = self.unused_in(range).next().map_or(range.end(), |unused| unused.offset());
        if end <= range.offset() {
            return Ok(None);
        }
        self.disk.file_range(ByteRange::between(range.offset(), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, MemoryDisk};
    use crate::convert::{DiskSink, Options, Zeroes, convert};

    fn used_only() -> WithoutFreeSpace<MemoryDisk> {
        let disk = MemoryDisk::new(1 << 20);
        disk.write_at(&[7; 200_000], 4096).unwrap();
        let unused = vec![ByteRange::between(8192, 12288), ByteRange::between(100_000, 300_000)];
        WithoutFreeSpace::new(disk, FreeSpace { unused, skipped: Vec::new() })
    }

    #[test]
    fn what_is_unused_is_a_hole_and_reads_as_zeroes() {
        let disk = used_only();
        let kinds: Vec<_> = disk
            .extents(ByteRange::whole(1 << 20))
            .unwrap()
            .iter()
            .map(|extent| (extent.range.offset(), extent.range.end(), extent.kind.reads_as_zero()))
            .collect();
        assert_eq!(
            kinds.iter().filter(|kind| !kind.2).map(|kind| (kind.0, kind.1)).collect::<Vec<_>>(),
            [(4096, 8192), (12288, 100_000)]
        );
        let mut buf = [1; 4098];
        disk.read_at(&mut buf, 8191).unwrap();
        assert_eq!((buf[0], buf[1], buf[4096], buf[4097]), (7, 0, 0, 7));
        disk.read_at(&mut buf[..8], 300_000 - 4).unwrap();
        assert_eq!(buf[..8], [0; 8]);
    }

    #[test]
    fn a_conversion_reads_the_rest_and_no_more() {
        let target = MemoryDisk::new(1 << 20);
        let summary =
            convert(&used_only(), &mut DiskSink::new(&target, Zeroes::AlreadyThere), &Options::default())
                .unwrap();
        assert_eq!(summary.read, 4096 + 100_000 - 12288);
        let bytes = target.to_bytes();
        assert!(bytes[4096..8192].iter().chain(&bytes[12288..100_000]).all(|byte| *byte == 7));
        assert!(
            bytes[..4096].iter().chain(&bytes[8192..12288]).chain(&bytes[100_000..]).all(|byte| *byte == 0)
        );
    }
}
