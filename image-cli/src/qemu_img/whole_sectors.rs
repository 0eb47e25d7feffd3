//! Files whose last sector is not whole, mapped as QEMU maps them: what is missing of it are zeroes of that file.
//!
//! ```text
//! 0                    1000   1024                    64 KiB
//! │ depth 1, base.raw  │ zero │ nothing               │
//! └ a backing file of 1000 bytes ┘
//! ```

use image_core::Result;
use image_core::block::{BlockRead, ByteRange, HostPlace, MapEntry};

/// Files are counted in units of so many bytes.
const SECTOR: u64 = 512;

/// A disk in whole sectors, for its map.
pub(super) struct WholeSectors<D>(pub(super) D);

impl<D: BlockRead> WholeSectors<D> {
    /// What there is of the zeroes behind a file's end at `at`, which is none of a sector's ends.
    fn rest_of_sector(&self, at: u64) -> Result<Option<MapEntry>> {
        let sector = ByteRange::between(at / SECTOR * SECTOR, at.next_multiple_of(SECTOR));
        let before = self.0.map_entries(ByteRange::between(sector.offset(), at.min(self.0.size())))?;
        let last = before.into_iter().rev().find_map(|stretch| Some((stretch.host.clone()?, stretch)));
        Ok(last.map(|(host, stretch)| {
            let offset = host.offset + (at - stretch.range.offset());
            MapEntry {
                range: ByteRange::between(at, sector.end()),
                present: true,
                zero: true,
                data: false,
                host: Some(HostPlace { offset, ..host }),
                ..stretch
            }
        }))
    }
}

impl<D: BlockRead> BlockRead for WholeSectors<D> {
    fn size(&self) -> u64 {
        self.0.size().next_multiple_of(SECTOR)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let there = self.0.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (bytes, behind) = buf.split_at_mut(there);
        behind.fill(0);
        if bytes.is_empty() { Ok(()) } else { self.0.read_at(bytes, offset) }
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        let end = self.0.size();
        let mut found = Vec::new();
        if range.offset() < end {
            found = self.0.map_entries(ByteRange::between(range.offset(), range.end().min(end)))?;
        }
        if range.end() > end {
            let rest = ByteRange::between(range.offset().max(end), range.end());
            found.push(MapEntry { zero: true, ..MapEntry::nothing(rest) });
        }
        let mut whole = Vec::with_capacity(found.len());
        for stretch in found {
            let start = stretch.range.offset();
            let is_nothing = !stretch.present && stretch.host.is_none();
            let rest = match is_nothing && !start.is_multiple_of(SECTOR) {
                true => self.rest_of_sector(start)?,
                false => None,
            };
            let Some(mut rest) = rest else {
                whole.push(stretch);
                continue;
            };
            let seam = rest.range.end().min(stretch.range.end());
            rest.range = ByteRange::between(start, seam);
            whole.push(rest);
            if seam < stretch.range.end() {
                whole.push(MapEntry { range: ByteRange::between(seam, stretch.range.end()), ..stretch });
            }
        }
        Ok(whole)
    }
}
