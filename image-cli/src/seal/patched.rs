//! A disk, with other disks in place of parts of it.

use std::sync::Arc;

use image_core::Result;
use image_core::block::{BlockRead, ByteRange, Extents};

use crate::error::bail;

/// A part, and where it is.
type Part = (ByteRange, Arc<dyn BlockRead>);

/// A disk, with other disks in place of parts of it. Parts do not overlap.
pub(crate) struct Patched<D> {
    disk: Arc<D>,
    /// In the order of the disk.
    parts: Vec<Part>,
}

impl<D: BlockRead> Patched<D> {
    pub(super) fn new(disk: Arc<D>) -> Self {
        Self { disk, parts: Vec::new() }
    }

    /// Puts `part`, of the same size, in place of `range`.
    ///
    /// # Errors
    /// If the size is another, or there is something else in part of that place.
    pub(super) fn put(&mut self, range: ByteRange, part: Arc<dyn BlockRead>) -> crate::Result<()> {
        if part.size() != range.len() {
            bail!("{range:?} is replaced by {} bytes", part.size());
        }
        let overlaps = |own: &ByteRange| own.offset() < range.end() && range.offset() < own.end();
        if self.parts.iter().any(|(own, _)| overlaps(own)) {
            bail!("{range:?} is replaced twice");
        }
        self.parts.push((range, part));
        self.parts.sort_by_key(|(range, _)| range.offset());
        Ok(())
    }

    /// Whether nothing is in place of anything.
    pub(super) fn is_unchanged(&self) -> bool {
        self.parts.is_empty()
    }

    /// `range` in pieces, each with the part it is in.
    fn pieces(&self, range: ByteRange) -> Vec<(ByteRange, Option<&Part>)> {
        let mut pieces = Vec::new();
        let mut at = range.offset();
        for part in &self.parts {
            let (start, end) = (part.0.offset().max(at), part.0.end().min(range.end()));
            if start >= end {
                continue;
            }
            if at < start {
                pieces.push((ByteRange::between(at, start), None));
            }
            pieces.push((ByteRange::between(start, end), Some(part)));
            at = end;
        }
        if at < range.end() {
            pieces.push((ByteRange::between(at, range.end()), None));
        }
        pieces
    }
}

impl<D: BlockRead> BlockRead for Patched<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = buf;
        for (piece, part) in self.pieces(ByteRange::new(offset, rest.len() as u64)?) {
            let (own, later) = rest.split_at_mut(piece.len() as usize);
            match part {
                Some((place, part)) => part.read_at(own, piece.offset() - place.offset())?,
                None => self.disk.read_at(own, piece.offset())?,
            }
            rest = later;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        let mut extents = Extents::starting_at(range.offset());
        for (piece, part) in self.pieces(range) {
            let found = match part {
                Some((place, part)) => {
                    part.extents(ByteRange::new(piece.offset() - place.offset(), piece.len())?)?
                }
                None => self.disk.extents(piece)?,
            };
            for extent in found.iter() {
                extents.push(extent.range.len(), extent.kind);
            }
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use image_core::block::{BlockWrite, FileDisk, MemoryDisk};

    use super::*;

    #[test]
    fn each_byte_comes_from_where_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let mut patched = Patched::new(Arc::new(MemoryDisk::from_bytes(vec![1; 64 << 10])));
        for (start, end) in [(40, 48), (8, 16)] {
            let part = FileDisk::create_new(dir.path().join(start.to_string()), (end - start) << 10).unwrap();
            part.write_at(&[2; 1024], 0).unwrap();
            patched.put(ByteRange::between(start << 10, end << 10), Arc::new(part)).unwrap();
        }
        let mut expected = vec![1; 64 << 10];
        for start in [8 << 10, 40 << 10] {
            expected[start..start + (8 << 10)].fill(0);
            expected[start..start + 1024].fill(2);
        }
        for (offset, len) in [(0, 64 << 10), (9 << 10, 1 << 10), (1, 45 << 10), (47 << 10, 17 << 10)] {
            let mut bytes = vec![0; len];
            patched.read_at(&mut bytes, offset as u64).unwrap();
            assert!(bytes == expected[offset..offset + len], "{offset} {len}");
            let extents = patched.extents(ByteRange::new(offset as u64, len as u64).unwrap()).unwrap();
            assert_eq!(extents.iter().map(|extent| extent.range.len()).sum::<u64>(), len as u64);
        }
        let again = FileDisk::create_new(dir.path().join("again"), 4 << 10).unwrap();
        assert!(patched.put(ByteRange::between(10 << 10, 14 << 10), Arc::new(again)).is_err());
    }
}
