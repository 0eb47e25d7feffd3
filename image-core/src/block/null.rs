//! A disk that is not there: it reads as zeroes, and forgets what is written. QEMU's `null-co`, for measuring and for scripts.

use std::time::Duration;

use super::{BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, HostPlace, MapEntry, ZeroMode};
use crate::error::Result;

/// A disk of nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NullDisk {
    size: u64,
    latency: Duration,
    known_zeroes: bool,
}

impl NullDisk {
    /// The size where none is given: 1 GiB.
    pub const DEFAULT_SIZE: u64 = 1 << 30;

    /// Of `size` bytes, each request of which takes `latency`. That it reads as zeroes is said of it (for copies and maps)
    /// only if that is to be `known`; it does in any case.
    pub fn new(size: u64, latency: Duration, known_zeroes: bool) -> Self {
        Self { size, latency, known_zeroes }
    }

    fn wait(&self, range: ByteRange) -> Result<()> {
        range.check_within(self.size)?;
        if !self.latency.is_zero() {
            std::thread::sleep(self.latency);
        }
        Ok(())
    }
}

impl Default for NullDisk {
    fn default() -> Self {
        Self::new(Self::DEFAULT_SIZE, Duration::ZERO, false)
    }
}

impl BlockRead for NullDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.wait(ByteRange::new(offset, buf.len() as u64)?)?;
        buf.fill(0);
        Ok(())
    }

    /// Whatever is known: nobody has to read zeroes.
    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size)?;
        Ok(Extents::uniform(range, ExtentKind::Hole))
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        range.check_within(self.size)?;
        Ok(vec![match self.known_zeroes {
            true => MapEntry {
                present: true,
                zero: true,
                host: Some(HostPlace { file: None, offset: range.offset() }),
                ..MapEntry::nothing(range)
            },
            false => MapEntry::nothing(range),
        }])
    }
}

impl BlockWrite for NullDisk {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.wait(ByteRange::new(offset, buf.len() as u64)?)
    }

    fn write_zeroes(&self, range: ByteRange, _mode: ZeroMode) -> Result<()> {
        self.wait(range)
    }

    fn flush(&self) -> Result<()> {
        self.wait(ByteRange::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn it_reads_as_zeroes_whatever_was_written() {
        let disk = NullDisk::new(4096, Duration::ZERO, true);
        disk.write_at(&[7; 512], 1024).unwrap();
        let mut bytes = [1; 4096];
        disk.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0; 4096]);
        let entry = disk.map_entries(ByteRange::between(512, 1024)).unwrap().remove(0);
        assert!(entry.zero && entry.present && !entry.data);
        assert_eq!(entry.host.unwrap().offset, 512);
        let unknown = NullDisk::default();
        assert_eq!(unknown.size(), 1 << 30);
        assert_eq!(
            unknown.map_entries(ByteRange::whole(9)).unwrap(),
            [MapEntry::nothing(ByteRange::whole(9))]
        );
    }

    #[test]
    fn nothing_is_past_its_end() {
        let disk = NullDisk::new(512, Duration::ZERO, false);
        assert_eq!(disk.read_at(&mut [0; 2], 511).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(disk.write_at(&[0; 2], 511).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(disk.resize(1024).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
