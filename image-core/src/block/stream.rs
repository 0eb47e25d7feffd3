//! A disk as a stream with a position, for code that knows no other.

use std::io::{Error, Read, Result, Seek, SeekFrom, Write};

use super::{BlockRead, BlockWrite};

/// A disk, read and written at a position that moves. At its end, reads and writes do nothing.
#[derive(Debug, Clone)]
pub struct Stream<D> {
    disk: D,
    position: u64,
}

impl<D: BlockRead> Stream<D> {
    /// `disk`, from its first byte on.
    pub fn new(disk: D) -> Self {
        Self { disk, position: 0 }
    }

    /// How many of `len` bytes there are from the position on.
    fn available(&self, len: usize) -> usize {
        let left = self.disk.size().saturating_sub(self.position);
        len.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl<D: BlockRead> Read for Stream<D> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let count = self.available(buf.len());
        self.disk.read_at(&mut buf[..count], self.position).map_err(Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<D: BlockWrite> Write for Stream<D> {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        let count = self.available(buf.len());
        self.disk.write_at(&buf[..count], self.position).map_err(Error::other)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<D: BlockRead> Seek for Stream<D> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.disk.size().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = target.ok_or_else(|| Error::other("a position before the disk or past 2^64"))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn it_moves_like_a_file_of_fixed_size() {
        let mut stream = Stream::new(MemoryDisk::new(100));
        stream.seek(SeekFrom::End(-3)).unwrap();
        assert_eq!(stream.write(b"abcde").unwrap(), 3);
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(stream.seek(SeekFrom::Current(-2)).unwrap(), 98);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bc");
        assert!(stream.seek(SeekFrom::Current(-101)).is_err());
    }
}
