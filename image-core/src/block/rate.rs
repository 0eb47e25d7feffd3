//! A disk that is not read faster than so many bytes a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{BlockRead, ByteRange, Extents, MapEntry};
use crate::error::Result;

/// After a pause, so much may be read at once.
const BURST: Duration = Duration::from_millis(100);

/// A disk with a limit to the speed at which it is read, all threads together. Holes cost nothing.
pub struct RateLimited<D> {
    disk: D,
    bytes_per_second: u64,
    /// When the next read may begin.
    next: Mutex<Instant>,
}

impl<D: BlockRead> RateLimited<D> {
    /// `disk`, at most so fast; 0 is without a limit.
    pub fn new(disk: D, bytes_per_second: u64) -> Self {
        Self { disk, bytes_per_second, next: Mutex::new(Instant::now()) }
    }

    /// How long to wait before `len` bytes are read at `now`.
    fn pause(&self, len: u64, now: Instant) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        *next = begin + Duration::from_secs_f64(len as f64 / self.bytes_per_second as f64);
        begin.saturating_duration_since(now)
    }
}

impl<D: BlockRead> BlockRead for RateLimited<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let pause = self.pause(buf.len() as u64, Instant::now());
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        self.disk.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        self.disk.extents(range)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        self.disk.map_entries(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn reads_are_spread_over_time() {
        let disk = RateLimited::new(MemoryDisk::new(0), 1000);
        let start = Instant::now() + Duration::from_secs(100);
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let pauses = [(500, 0.0), (500, 0.0), (1, 0.5), (100, 10.0), (1, 10.0)];
        let pauses = pauses.map(|(len, now)| (disk.pause(len, at(now)).as_secs_f64() * 1000.0).round());
        // After a long time a tenth of a second's worth is free, but no more.
        assert_eq!(pauses, [0.0, 400.0, 400.0, 0.0, 0.0]);
        assert_eq!(RateLimited::new(MemoryDisk::new(0), 0).pause(u64::MAX, start), Duration::ZERO);
    }
}
