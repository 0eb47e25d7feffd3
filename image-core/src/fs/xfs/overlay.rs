//! Sectors as a log says that they are, laid over those of a disk.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use super::field::copy;
use crate::block::BlockRead;
use crate::error::{Error, Result};

/// The smallest sector, by which logs count whatever sectors a disk has.
pub(super) const SECTOR: u64 = 512;
/// More sectors than that are not kept: 256 MiB.
const SECTORS_MAX: usize = 1 << 19;

/// Sectors by their number.
#[derive(Default)]
pub(super) struct Overlay {
    sectors: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Fills `buf` with what is at `offset` of `disk`, this laid over it.
    pub(super) fn read_at(&self, disk: &dyn BlockRead, buf: &mut [u8], offset: u64) -> Result<()> {
        disk.read_at(buf, offset)?;
        if self.sectors.is_empty() {
            return Ok(());
        }
        let end = offset.saturating_add(buf.len() as u64);
        for (sector, content) in self.sectors.range(offset / SECTOR..end.div_ceil(SECTOR)) {
            let start = sector.saturating_mul(SECTOR);
            let into = start.saturating_sub(offset) as usize;
            let from = offset.saturating_sub(start) as usize;
            copy(buf.get_mut(into..).unwrap_or_default(), content.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// Lays `bytes`, whole sectors, over those from `sector` on.
    pub(super) fn put(&mut self, sector: u64, bytes: &[u8]) -> Result<()> {
        for (number, content) in (sector..).zip(bytes.chunks_exact(SECTOR as usize)) {
            self.sectors.insert(number, content.into());
        }
        if self.sectors.len() > SECTORS_MAX {
            return Err(Error::unsupported(format!("the log changes more than {SECTORS_MAX} sectors")));
        }
        Ok(())
    }

    /// Whether any of the `len` bytes at `offset` are laid over.
    pub(super) fn is_over(&self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len).div_ceil(SECTOR);
        !self.sectors.is_empty() && self.sectors.range(offset / SECTOR..end).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn the_last_that_was_laid_over_is_read() {
        let disk = MemoryDisk::from_bytes(vec![1; 4096]);
        let mut overlay = Overlay::default();
        overlay.put(2, &[2; 1024]).unwrap();
        overlay.put(3, &[3; 512]).unwrap();
        assert!(overlay.is_over(1023, 2) && overlay.is_over(2047, 1) && !overlay.is_over(2048, 512));
        let mut buf = [0; 1028];
        overlay.read_at(&disk, &mut buf, 1022).unwrap();
        assert_eq!((&buf[..3], &buf[513..515], &buf[1025..]), (&[1, 1, 2][..], &[2, 3][..], &[3, 1, 1][..]));
        overlay.read_at(&disk, &mut buf[..2], 1535).unwrap();
        assert_eq!(buf[..2], [2, 3]);
        assert!(overlay.read_at(&disk, &mut buf, 4000).is_err());
    }
}
