//! A part of a disk as a disk of its own: a partition.

use super::{BlockRead, BlockWrite, ByteRange, Extents, FileRange, MapEntry, ZeroMode};
use crate::error::Result;

/// The bytes of `range` of another disk, seen from 0 on.
#[derive(Debug, Clone)]
pub struct Window<D> {
    disk: D,
    range: ByteRange,
}

impl<D: BlockRead> Window<D> {
    /// Looks at `range` of `disk`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if `range` is not wholly on `disk`.
    pub fn new(disk: D, range: ByteRange) -> Result<Self> {
        range.check_within(disk.size())?;
        Ok(Self { disk, range })
    }

    /// Where it lies on the other disk.
    pub fn range(&self) -> ByteRange {
        self.range
    }

    fn outer(&self, offset: u64, len: u64) -> Result<ByteRange> {
        let inner = ByteRange::new(offset, len)?;
        inner.check_within(self.range.len())?;
        ByteRange::new(self.range.offset() + offset, len)
    }
}

impl<D: BlockRead> BlockRead for Window<D> {
    fn size(&self) -> u64 {
        self.range.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let outer = self.outer(offset, buf.len() as u64)?;
        self.disk.read_at(buf, outer.offset())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let outer = self.outer(range.offset(), range.len())?;
        let mut extents = Extents::starting_at(range.offset());
        for extent in self.disk.extents(outer)?.iter() {
            extents.push(extent.range.len(), extent.kind);
        }
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let outer = self.outer(range.offset(), range.len())?;
        let map_entries = self.disk.map_entries(outer)?;
        Ok(map_entries.into_iter().map(|entry| entry.moved_down(self.range.offset())).collect())
    }

    fn prefetch(&self, range: ByteRange) {
        if let Ok(outer) = self.outer(range.offset(), range.len()) {
            self.disk.prefetch(outer);
        }
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        self.disk.file_range(self.outer(range.offset(), range.len())?)
    }
}

impl<D: BlockWrite> BlockWrite for Window<D> {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let outer = self.outer(offset, buf.len() as u64)?;
        self.disk.write_at(buf, outer.offset())
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        self.disk.write_zeroes(self.outer(range.offset(), range.len())?, mode)
    }

    fn discard(&self, range: ByteRange) -> Result<()> {
        self.disk.discard(self.outer(range.offset(), range.len())?)
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{ExtentKind, MemoryDisk};

    #[test]
    fn offsets_are_moved_and_ends_are_kept() {
        let disk = MemoryDisk::new(4096);
        disk.write_at(&[9; 512], 1024).unwrap();
        let window = Window::new(&disk, ByteRange::between(1024, 2048)).unwrap();
        assert_eq!(window.size(), 1024);
        let mut buf = [0; 2];
        window.read_at(&mut buf, 511).unwrap();
        assert_eq!(buf, [9, 0]);
        window.write_at(&[5], 1023).unwrap();
        assert!(window.write_at(&[5], 1024).is_err());
        assert!(window.write_at(&[5], u64::MAX).is_err());
        disk.read_at(&mut buf, 2047).unwrap();
        assert_eq!(buf, [5, 0]);
        let extents = window.extents(ByteRange::between(512, 1024)).unwrap();
        assert_eq!(extents.range(), ByteRange::between(512, 1024));
        assert_eq!(extents.total(ExtentKind::Data), 512);
        assert!(Window::new(&disk, ByteRange::between(4000, 4097)).is_err());
    }
}
