//! A part of an image that is being changed: what is written lies in a file beside, and the image stays as it is.
//!
//! ```text
//! read ─► written or wiped? ── no ──► the part of the image
//!              └ written ─► the file, at the same place      └ wiped ─► zeroes, and a hole
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use image_core::Result;
use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, FileDisk, ZeroMode};

/// What of the image is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    Wiped,
}

/// By where each begins: where it ends, and what it is. None overlaps another.
type Ranges = BTreeMap<u64, (u64, Kind)>;

/// A disk, and what is to be in place of parts of it.
pub(super) struct Overlay {
    below: Arc<dyn BlockRead>,
    above: FileDisk,
    ranges: RwLock<Ranges>,
}

impl Overlay {
    /// Over `below`, with the file `path` for what is written.
    ///
    /// # Errors
    /// If that cannot be made.
    pub(super) fn new(below: Arc<dyn BlockRead>, path: &Path) -> Result<Self> {
        let above = FileDisk::create_new(path, below.size())?;
        Ok(Self { below, above, ranges: RwLock::default() })
    }

    /// Whether nothing was changed.
    pub(super) fn is_unchanged(&self) -> bool {
        self.ranges().is_empty()
    }

    fn ranges(&self) -> RwLockReadGuard<'_, Ranges> {
        // Nothing in there is ever half done.
        self.ranges.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what `range` is from now on.
    fn set(&self, range: ByteRange, kind: Kind) {
        if range.is_empty() {
            return;
        }
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut end) = (range.offset(), range.end());
        let touching = ranges.range(..=end).rev().take_while(|(_, (own, _))| *own >= start);
        for (own, (own_end, own_kind)) in touching.map(|(at, own)| (*at, *own)).collect::<Vec<_>>() {
            ranges.remove(&own);
            if own_kind == kind {
                start = start.min(own);
                end = end.max(own_end);
                continue;
            }
            if own < range.offset() {
                ranges.insert(own, (range.offset(), own_kind));
            }
            if own_end > range.end() {
                ranges.insert(range.end(), (own_end, own_kind));
            }
        }
        ranges.insert(start, (end, kind));
    }

    /// `range` in pieces, each with what replaces it.
    fn pieces(&self, range: ByteRange) -> Vec<(ByteRange, Option<Kind>)> {
        let ranges = self.ranges();
        let first = ranges.range(..=range.offset()).next_back().map_or(range.offset(), |(start, _)| *start);
        let mut pieces = Vec::new();
        let mut at = range.offset();
        for (start, (end, kind)) in ranges.range(first..range.end().max(first)) {
            let (start, end) = ((*start).max(at), (*end).min(range.end()));
            if start >= end {
                continue;
            }
            if at < start {
                pieces.push((ByteRange::between(at, start), None));
            }
            pieces.push((ByteRange::between(start, end), Some(*kind)));
            at = end;
        }
        if at < range.end() {
            pieces.push((ByteRange::between(at, range.end()), None));
        }
        pieces
    }
}

impl BlockRead for Overlay {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = buf;
        for (piece, kind) in self.pieces(ByteRange::new(offset, rest.len() as u64)?) {
            let (own, later) = rest.split_at_mut(piece.len() as usize);
            match kind {
                Some(Kind::Written) => self.above.read_at(own, piece.offset())?,
                Some(Kind::Wiped) => own.fill(0),
                None => self.below.read_at(own, piece.offset())?,
            }
            rest = later;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        let mut extents = Extents::starting_at(range.offset());
        for (piece, kind) in self.pieces(range) {
            match kind {
                Some(Kind::Written) => extents.push(piece.len(), ExtentKind::Data),
                Some(Kind::Wiped) => extents.push(piece.len(), ExtentKind::Hole),
                None => {
                    for extent in self.below.extents(piece)?.iter() {
                        extents.push(extent.range.len(), extent.kind);
                    }
                }
            }
        }
        Ok(extents)
    }
}

impl BlockWrite for Overlay {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size())?;
        self.above.write_at(buf, offset)?;
        self.set(range, Kind::Written);
        Ok(())
    }

    fn write_zeroes(&self, range: ByteRange, _mode: ZeroMode) -> Result<()> {
        range.check_within(self.size())?;
        self.set(range, Kind::Wiped);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        // It is read back, and goes when all is done.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use image_core::block::MemoryDisk;

    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let below = Arc::new(MemoryDisk::from_bytes(vec![1; 4096]));
        let overlay = Overlay::new(below, &dir.path().join("above")).unwrap();
        assert!(overlay.is_unchanged());
        let mut expected = vec![1_u8; 4096];
        let mut seed = 7_usize;
        for step in 0..400 {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
            let (start, len) = (seed % 4000, seed / 4000 % 97);
            let end = (start + len).min(4096);
            if step % 3 == 0 {
                overlay.write_zeroes(ByteRange::between(start as u64, end as u64), ZeroMode::Punch).unwrap();
                expected[start..end].fill(0);
            } else {
                overlay.write_at(&vec![step as u8; end - start], start as u64).unwrap();
                expected[start..end].fill(step as u8);
            }
            let mut bytes = vec![9; 4096];
            overlay.read_at(&mut bytes, 0).unwrap();
            assert!(bytes == expected, "step {step}");
            let mut end = 0;
            for extent in overlay.extents(ByteRange::whole(4096)).unwrap().iter() {
                assert_eq!(extent.range.offset(), end);
                end = extent.range.end();
                let own = &expected[extent.range.offset() as usize..end as usize];
                assert!(extent.kind == ExtentKind::Data || own.iter().all(|byte| *byte == 0));
            }
            assert_eq!(end, 4096);
        }
        assert!(!overlay.is_unchanged());
        let mut part = [0; 50];
        overlay.read_at(&mut part, 1000).unwrap();
        assert_eq!(part[..], expected[1000..1050]);
    }
}
