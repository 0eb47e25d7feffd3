//! Sectors that are to be others, over those of the disk: whoever reads sees them as if they were there.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::block::{BlockRead, BlockWrite, ByteRange};
use crate::error::Result;
use crate::fs::field::{copy, put};

/// Sectors by their numbers.
pub(super) type Sectors = BTreeMap<u64, Box<[u8]>>;

/// A disk under sectors that are in memory.
pub(super) struct Overlay {
    disk: Arc<dyn BlockWrite>,
    /// In bytes.
    sector: u64,
    held: RwLock<Sectors>,
    /// How often anything was put.
    count: AtomicU64,
}

impl Overlay {
    /// `disk` as it is, in sectors of `sector` bytes.
    pub(super) fn new(disk: Arc<dyn BlockWrite>, sector: u64) -> Self {
        Self { disk, sector: sector.max(1), held: RwLock::default(), count: AtomicU64::new(0) }
    }

    /// The disk itself.
    pub(super) fn disk(&self) -> &Arc<dyn BlockWrite> {
        &self.disk
    }

    /// `bytes` at `offset` from now on, in memory.
    pub(super) fn put(&self, bytes: &[u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, bytes.len() as u64)?.check_within(self.size())?;
        let mut held = self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.count.fetch_add(1, Ordering::Relaxed);
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let number = self.number(at);
            let start = number.saturating_mul(self.sector);
            let inside = at.saturating_sub(start);
            let len = self.sector.saturating_sub(inside).min(rest.len() as u64);
            let Some((now, behind)) = rest.split_at_checked(len as usize) else { break };
            let sector = match held.entry(number) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(new) => {
                    let len = self.sector.min(self.size().saturating_sub(start));
                    let mut sector = vec![0; len as usize];
                    self.disk.read_at(&mut sector, start)?;
                    new.insert(sector.into())
                }
            };
            put(sector, inside as usize, now);
            rest = behind;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    /// What is in `range` is that of the disk again; both of its ends are ends of sectors.
    pub(super) fn drop_range(&self, range: ByteRange) {
        let mut held = self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let numbers = self.number(range.offset())..self.number(range.end());
        let inside: Vec<u64> = held.range(numbers).map(|(number, _)| *number).collect();
        inside.iter().for_each(|number| drop(held.remove(number)));
    }

    /// All is that of the disk again.
    pub(super) fn clear(&self) {
        self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    /// How many bytes are in memory.
    pub(super) fn held_len(&self) -> u64 {
        let held = self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (held.len() as u64).saturating_mul(self.sector)
    }

    /// How often anything was put.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Which sector `offset` is in.
    pub(super) fn number(&self, offset: u64) -> u64 {
        offset.checked_div(self.sector).unwrap_or(0)
    }

    /// Where sector `number` is.
    pub(super) fn place(&self, number: u64) -> u64 {
        number.saturating_mul(self.sector)
    }

    /// Whether the sector at `offset` is in memory.
    pub(super) fn is_held(&self, offset: u64) -> bool {
        let held = self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.contains_key(&self.number(offset))
    }

    /// The sectors that are another thing than on the disk.
    pub(super) fn changed(&self) -> Result<Sectors> {
        let held = self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut changed = Sectors::new();
        for (number, sector) in &*held {
            let mut old = vec![0; sector.len()];
            self.disk.read_at(&mut old, self.place(*number))?;
            if old != **sector {
                changed.insert(*number, sector.clone());
            }
        }
        Ok(changed)
    }
}

impl BlockRead for Overlay {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.disk.read_at(buf, offset)?;
        let held = self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let end = offset.saturating_add(buf.len() as u64);
        for (number, sector) in held.range(self.number(offset)..end.div_ceil(self.sector)) {
            let start = self.place(*number);
            let from = sector.get(offset.saturating_sub(start) as usize..).unwrap_or_default();
            let target = buf.get_mut(start.saturating_sub(offset) as usize..).unwrap_or_default();
            copy(target, from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;

    #[test]
    fn what_is_put_is_read_and_the_disk_stays() {
        let disk = Arc::new(MemoryDisk::from_bytes(vec![1; 2100]));
        let overlay = Overlay::new(Arc::clone(&disk) as Arc<dyn BlockWrite>, 512);
        let mut expected = vec![1; 2100];
        for (offset, len) in [(500, 30), (2047, 53), (0, 1), (1024, 0)] {
            overlay.put(&vec![9; len], offset as u64).unwrap();
            expected[offset..offset + len].fill(9);
        }
        for (offset, len) in [(0, 2100), (511, 2), (529, 3), (2099, 1), (600, 1200), (2100, 0)] {
            let mut buf = vec![0; len];
            overlay.read_at(&mut buf, offset as u64).unwrap();
            assert_eq!(buf, expected[offset..offset + len], "{offset} {len}");
        }
        assert!(overlay.put(&[1; 2], 2099).is_err() && disk.to_bytes() == vec![1; 2100]);
        assert_eq!(overlay.changed().unwrap().keys().copied().collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!((overlay.held_len(), overlay.count()), (4 * 512, 4));
        overlay.put(&[1; 18], 512).unwrap();
        assert_eq!(overlay.changed().unwrap().len(), 3);
        overlay.drop_range(ByteRange::new(1536, 1024).unwrap());
        assert!(overlay.is_held(511) && !overlay.is_held(2048));
    }
}
