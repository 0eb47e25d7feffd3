//! A disk without what is unused on it.

use super::FreeSpace;
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents, FileRange};
use crate::error::Result;

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
        WithoutFreeSpace::new(disk, FreeSpace { unused, ..FreeSpace::default() })
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
