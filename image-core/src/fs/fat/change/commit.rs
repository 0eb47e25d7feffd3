//! All changes written, in the order in which a kill at any moment leaves the former files or these.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::FatWriter;
use super::bits::Bits;
use super::clusters::put_link;
use super::geometry::{FREE_AT, ROOT_CLUSTER_AT, UNKNOWN};
use super::overlay::{Overlay, Sectors};
use super::relocate::cluster_of;
use crate::error::{Doing, Error, Result};
use crate::fs::fat::entry::{Slot, SlotKind, slot_kind};
use crate::fs::fat::layout::{ENTRY_LEN, FIRST_CLUSTER, Root};
use crate::fs::field::part;

/// So many bytes are written at once.
const PIECE: usize = 1 << 20;

impl FatWriter {
    /// Brings all changes behind the writing of one sector, in memory. After it, nodes that were known before are others;
    /// [`commit`](Self::commit) does it, too, and has room for all then.
    ///
    /// # Errors
    /// [`FatRefusal::NoSpace`](super::FatRefusal::NoSpace) if there is no room for the directories that have to move;
    /// [`Invalid`](crate::ErrorKind::Invalid) after a change that failed half-way; whatever the disk says.
    pub fn prepare(&mut self) -> Result<()> {
        let done = match self.is_half_done {
            true => Err(Error::invalid("a change before failed half-way: nothing is written")),
            false => self.attempt(Self::gather),
        };
        done.doing(|| "bringing the changes to the FAT into order")
    }

    /// Writes all changes, and goes on with what is on the disk then; without changes nothing is written. What is stopped half-way leaves
    /// the former files or these, and clusters that are lost. (Of several sectors of the root directory of FAT12 and FAT16, which cannot
    /// move, it leaves those of these changes that were written.)
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn commit(&mut self) -> Result<()> {
        self.prepare()?;
        let done = self.write_out();
        // Nobody knows what is on the disk.
        self.is_half_done |= done.is_err();
        done.doing(|| "writing the changes to the FAT")
    }

    fn write_out(&mut self) -> Result<()> {
        let (layout, disk) = (self.layout().clone(), Arc::clone(self.overlay.disk()));
        let is_table = |number: &u64| cluster_of(&layout, self.overlay.place(*number)).is_none();
        let changed = self.overlay.changed()?;
        if changed.is_empty() {
            return Ok(());
        }
        let switches = self.in_order(&changed)?;
        let first = Overlay::new(Arc::clone(&disk), self.geometry.sector);
        let mut at = FIRST_CLUSTER;
        while let Some(cluster) = self.clusters.new.next_set(at, layout.end) {
            put_link(&first, &layout, cluster, self.fat.volume.table.get(cluster)?)?;
            at = cluster.saturating_add(1);
        }
        let has_tables = changed.keys().any(|number| is_table(number) && !switches.contains(number));
        if has_tables {
            self.put_info(UNKNOWN, None)?;
        }
        self.write_tables(&first.changed()?)?;
        let new = some(&changed, |number| !is_table(number) && !switches.contains(number));
        self.write(&new, 0, 0)?;
        disk.flush()?;
        for number in &switches {
            let sector = changed.get(number).map(|sector| &**sector).unwrap_or_default();
            disk.write_at(sector, self.overlay.place(*number))?;
        }
        disk.flush()?;
        if let (Some(backup), Some(boot)) = (self.geometry.backup, changed.get(&0)) {
            let root = part(boot, ROOT_CLUSTER_AT as usize, 4);
            disk.write_at(root, backup.saturating_add(ROOT_CLUSTER_AT))?;
        }
        self.write_tables(&self.overlay.changed()?)?;
        if has_tables {
            let next = self.clusters.next;
            let next = if next < layout.end { next } else { FIRST_CLUSTER };
            self.put_info(self.clusters.free, Some(next))?;
        }
        disk.flush()?;
        self.settle();
        Ok(())
    }

    /// What is in memory is on the disk.
    fn settle(&mut self) {
        self.overlay.clear();
        let clusters = &mut self.clusters;
        for (from, count) in clusters.freed.drain(..) {
            (from..from.saturating_add(count)).for_each(|cluster| clusters.taken.clear(cluster));
        }
        clusters.new = Bits::new(self.fat.volume.layout().end);
    }

    /// The sectors of `changed` that make the changes count, in the order in which they are to be written: one, or some of a root
    /// directory that has its own place.
    fn in_order(&self, changed: &Sectors) -> Result<Vec<u64>> {
        let mut switches: Vec<u64> = self.switches(changed).into_iter().collect();
        if switches.len() <= 1 {
            return Ok(switches);
        }
        let root: BTreeSet<u64> = match self.fat.volume.root() {
            Root::Fixed(range) => {
                (self.overlay.number(range.offset())..self.overlay.number(range.end())).collect()
            }
            Root::Cluster(_) => BTreeSet::new(),
        };
        if !switches.iter().all(|number| root.contains(number)) {
            return Err(Error::invalid("changes of several directories cannot be written at once"));
        }
        let mut losing = BTreeSet::new();
        for number in &switches {
            let new = changed.get(number).map(|sector| &**sector).unwrap_or_default();
            let mut old = vec![0; new.len()];
            self.overlay.disk().read_at(&mut old, self.overlay.place(*number))?;
            let (old, _) = old.as_chunks::<{ ENTRY_LEN as usize }>();
            let (new, _) = new.as_chunks::<{ ENTRY_LEN as usize }>();
            let goes = |(old, new): (&Slot, &Slot)| {
                slot_kind(old) == SlotKind::Short && part(old, 0, 11) != part(new, 0, 11)
            };
            if old.iter().zip(new).any(goes) {
                losing.insert(*number);
            }
        }
        switches.sort_by_key(|number| losing.contains(number));
        Ok(switches)
    }

    /// Writes sectors of the table that counts, and those of all others.
    fn write_tables(&self, sectors: &Sectors) -> Result<()> {
        let table = self.layout().table;
        let is_inside = |number: u64| (table.offset()..table.end()).contains(&self.overlay.place(number));
        let inside = some(sectors, |number| is_inside(*number));
        for copy in &self.geometry.tables {
            self.write(&inside, table.offset(), *copy)?;
        }
        Ok(())
    }

    /// Writes `sectors`, those that lie together at once, as far behind `to` as they are behind `from`.
    fn write(&self, sectors: &Sectors, from: u64, to: u64) -> Result<()> {
        let disk = self.overlay.disk();
        let place = |number: u64| self.overlay.place(number).saturating_sub(from).saturating_add(to);
        let mut waiting: Option<(u64, Vec<u8>, u64)> = None;
        for (number, sector) in sectors {
            waiting = match waiting {
                Some((first, mut bytes, next)) if next == *number && bytes.len() < PIECE => {
                    bytes.extend_from_slice(sector);
                    Some((first, bytes, number.saturating_add(1)))
                }
                before => {
                    if let Some((first, bytes, _)) = before {
                        disk.write_at(&bytes, place(first))?;
                    }
                    Some((*number, sector.to_vec(), number.saturating_add(1)))
                }
            };
        }
        if let Some((first, bytes, _)) = waiting {
            disk.write_at(&bytes, place(first))?;
        }
        Ok(())
    }

    /// Has FSInfo say how many clusters are free, and where to look for one.
    fn put_info(&self, free: u32, next: Option<u32>) -> Result<()> {
        let Some(offset) = self.geometry.info else { return Ok(()) };
        let mut bytes = free.to_le_bytes().to_vec();
        bytes.extend(next.map(u32::to_le_bytes).into_iter().flatten());
        self.overlay.disk().write_at(&bytes, offset.saturating_add(FREE_AT))
    }
}

/// Those of `sectors` whose numbers `is_wanted` says.
fn some(sectors: &Sectors, is_wanted: impl Fn(&u64) -> bool) -> Sectors {
    let wanted = sectors.iter().filter(|(number, _)| is_wanted(number));
    wanted.map(|(number, sector)| (*number, sector.clone())).collect()
}
