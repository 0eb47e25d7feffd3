//! Several disks one behind the other as one disk.

use super::{BlockRead, ByteRange, Extents, MapEntry};
use crate::error::{Error, Result};

/// Each disk but the last is followed by zeroes up to a multiple of so many bytes.
const SECTOR: u64 = 512;

/// Disks one behind the other, in the order they were given.
pub struct Concatenated<D> {
    /// With where each begins.
    disks: Vec<(u64, D)>,
    size: u64,
}

/// A part of one of the disks, or of the zeroes behind it.
struct Part<'a, D> {
    /// The disk and where on it; `None` for zeroes.
    on: Option<(&'a D, ByteRange)>,
    /// Where on all of it.
    range: ByteRange,
}

impl<D: BlockRead> Concatenated<D> {
    /// All of `disks`, each in whole sectors of 512 bytes but the last.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if they are larger than 2⁶³ bytes together.
    pub fn new(disks: impl IntoIterator<Item = D>) -> Result<Self> {
        let mut placed = Vec::new();
        let (mut start, mut size) = (0_u64, 0);
        for disk in disks {
            size = start.saturating_add(disk.size());
            if size > i64::MAX as u64 {
                return Err(Error::invalid("the disks are larger than 2^63 bytes together"));
            }
            placed.push((start, disk));
            start = size.next_multiple_of(SECTOR);
        }
        Ok(Self { disks: placed, size })
    }

    /// The same, with the last in whole sectors too.
    pub fn in_whole_sectors(self) -> Self {
        Self { size: self.size.next_multiple_of(SECTOR), ..self }
    }

    /// The parts that `range` consists of.
    fn parts(&self, range: ByteRange) -> Result<Vec<Part<'_, D>>> {
        range.check_within(self.size)?;
        let mut parts = Vec::new();
        let mut at = range.offset();
        let first = self.disks.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        for (index, (start, disk)) in self.disks.iter().enumerate().skip(first) {
            if at >= range.end() {
                break;
            }
            let own = ByteRange::between(at, range.end().min(start + disk.size()));
            if !own.is_empty() {
                let on = ByteRange::between(own.offset() - start, own.end() - start);
                parts.push(Part { on: Some((disk, on)), range: own });
                at = own.end();
            }
            let next = self.disks.get(index + 1).map_or(self.size, |(next, _)| *next);
            let gap = ByteRange::between(at, range.end().min(next));
            if !gap.is_empty() {
                parts.push(Part { on: None, range: gap });
                at = gap.end();
            }
        }
        Ok(parts)
    }
}

impl<D: BlockRead> BlockRead for Concatenated<D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = buf;
        let range = ByteRange::new(offset, rest.len() as u64)?;
        for part in self.parts(range)? {
            let (bytes, behind) = rest.split_at_mut(part.range.len() as usize);
            match part.on {
                Some((disk, on)) => disk.read_at(bytes, on.offset())?,
                None => bytes.fill(0),
            }
            rest = behind;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        for part in self.parts(range)? {
            match part.on {
                Some((disk, on)) => {
                    for extent in disk.extents(on)?.iter() {
                        extents.push(extent.range.len(), extent.kind);
                    }
                }
                None => extents.push(part.range.len(), super::ExtentKind::Hole),
            }
        }
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let mut list = Vec::new();
        for part in self.parts(range)? {
            match part.on {
                Some((disk, on)) => {
                    let up = part.range.offset() - on.offset();
                    list.extend(disk.map_entries(on)?.into_iter().map(|entry| entry.moved_up(up)));
                }
                None => list.push(MapEntry::of(part.range, super::ExtentKind::Hole)),
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{ExtentKind, MemoryDisk};

    #[test]
    fn each_begins_at_a_sector() {
        let disks = [vec![1; 700], Vec::new(), vec![2; 512], vec![3; 100]];
        let all = Concatenated::new(disks.clone().map(MemoryDisk::from_bytes)).unwrap();
        let mut expected = disks[0].clone();
        expected.resize(1024, 0);
        expected.extend([&disks[2][..], &disks[3]].concat());
        assert_eq!(all.size(), expected.len() as u64);
        for (start, end) in [(0, 1636), (0, 1), (600, 1100), (700, 1024), (1023, 1537), (1636, 1636)] {
            let mut bytes = vec![9; end - start];
            all.read_at(&mut bytes, start as u64).unwrap();
            assert!(bytes == expected[start..end], "{start}..{end}");
            let range = ByteRange::between(start as u64, end as u64);
            assert_eq!(all.extents(range).unwrap().range(), range);
            let map_entries = all.map_entries(range).unwrap();
            assert_eq!(map_entries.iter().map(|it| it.range.len()).sum::<u64>(), range.len());
        }
        assert_eq!(all.extents(ByteRange::whole(1636)).unwrap().total(ExtentKind::Hole), 324);
        assert!(all.read_at(&mut [0], 1636).is_err());
        let whole = all.in_whole_sectors();
        let mut end = [9; 13];
        whole.read_at(&mut end, whole.size() - 13).unwrap();
        assert_eq!((whole.size(), end), (2048, [0; 13]));
    }
}
