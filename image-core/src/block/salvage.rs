//! A damaged disk as one that can be read: what cannot is zeroes, and is remembered.

use std::sync::{Mutex, PoisonError};

use super::{BlockRead, ByteRange, ExtentKind, Extents, MapEntry};
use crate::error::{Error, ErrorKind, Result};

/// What cannot be read is found out in pieces of so many bytes.
const SECTOR: u64 = 512;

/// The extents of a disk are asked for in pieces of so many bytes where they cannot be told of all of it.
const ASKED: u64 = 64 * 1024;

/// Called for each part that could not be read, with the reason. From any thread, in any order.
type Tell<'a> = dyn Fn(ByteRange, &Error) + Sync + Send + 'a;

/// A disk of which what cannot be read is zeroes.
pub struct Salvage<'a, D> {
    disk: D,
    tell: Box<Tell<'a>>,
    /// Ascending, without overlaps or neighbours.
    lost: Mutex<Vec<ByteRange>>,
}

impl<'a, D: BlockRead> Salvage<'a, D> {
    /// What can be read of `disk`; `tell` hears of every part that cannot.
    pub fn new(disk: D, tell: impl Fn(ByteRange, &Error) + Sync + Send + 'a) -> Self {
        Self { disk, tell: Box::new(tell), lost: Mutex::default() }
    }

    /// What could not be read so far, ascending.
    pub fn lost(&self) -> Vec<ByteRange> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads what can be read of half, a quarter, … of `buf`.
    fn read_parts(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Err(error) = self.disk.read_at(buf, offset) else { return Ok(()) };
        if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Cancelled) {
            return Err(error);
        }
        let range = ByteRange::new(offset, buf.len() as u64)?;
        let middle = (offset + range.len() / 2).next_multiple_of(SECTOR);
        if middle >= range.end() {
            buf.fill(0);
            if self.remember(range) {
                (self.tell)(range, &error);
            }
            return Ok(());
        }
        let (one, other) = buf.split_at_mut((middle - offset) as usize);
        self.read_parts(one, offset)?;
        self.read_parts(other, middle)
    }

    /// Whether that is new.
    fn remember(&self, range: ByteRange) -> bool {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let first = lost.partition_point(|known| known.end() < range.offset());
        let end = first + lost[first..].partition_point(|known| known.offset() <= range.end());
        if lost[first..end].iter().any(|known| known.contains(range)) {
            return false;
        }
        let start = lost[first..end].first().map_or(range.offset(), |it| it.offset().min(range.offset()));
        let stop = lost[first..end].last().map_or(range.end(), |it| it.end().max(range.end()));
        lost.splice(first..end, [ByteRange::between(start, stop)]);
        true
    }
}

impl<D: BlockRead> BlockRead for Salvage<'_, D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.size())?;
        self.read_parts(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        if let Ok(extents) = self.disk.extents(range) {
            return Ok(extents);
        }
        let mut extents = Extents::starting_at(range.offset());
        let mut at = range.offset();
        while at < range.end() {
            let end = (at + 1).next_multiple_of(ASKED).min(range.end());
            match self.disk.extents(ByteRange::between(at, end)) {
                Ok(part) => part.iter().for_each(|extent| extents.push(extent.range.len(), extent.kind)),
                // Reading it tells what is lost.
                Err(_) => extents.push_until(end, ExtentKind::Data),
            }
            at = end;
        }
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let extents = self.extents(range)?;
        Ok(extents.iter().map(|extent| MapEntry::of(extent.range, extent.kind)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn what_cannot_be_read_is_zeroes_and_known_to_the_sector() {
        let disk = MemoryDisk::from_bytes(vec![7; 10_000]);
        disk.fail_reads_in(ByteRange::between(3000, 5000));
        let told = Mutex::new(0);
        let salvage = Salvage::new(&disk, |range, error| {
            assert_eq!(error.kind(), ErrorKind::Io);
            *told.lock().unwrap() += range.len();
        });
        let mut bytes = vec![1; 10_000];
        salvage.read_at(&mut bytes, 0).unwrap();
        assert_eq!(salvage.lost(), [ByteRange::between(2560, 5120)]);
        assert!(bytes[2560..5120].iter().all(|&byte| byte == 0));
        assert!(bytes[..2560].iter().chain(&bytes[5120..]).all(|&byte| byte == 7));
        salvage.read_at(&mut bytes[..1000], 2800).unwrap();
        assert_eq!(salvage.lost(), [ByteRange::between(2560, 5120)], "the same is not told twice");
        drop(salvage);
        assert_eq!(told.into_inner().unwrap(), 2560);
    }

    #[test]
    fn a_wrong_range_is_no_damage() {
        let salvage = Salvage::new(MemoryDisk::new(1000), |_, _| panic!("nothing is lost"));
        assert_eq!(salvage.read_at(&mut [0; 2], 999).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
