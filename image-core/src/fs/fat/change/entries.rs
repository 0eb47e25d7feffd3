//! Entries put into directories and taken out.
//!
//! ```text
//! directory   … │ removed │ removed │ in use │ 0 the end │ …
//! a new name  as few sectors as it can be, those that are changed anyway first; else a new cluster behind the last one
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashSet;

use super::name::{ShortName, shown, slots};
use super::refusal::FatRefusal;
use super::{FatWriter, survey};
use crate::block::BlockRead;
use crate::error::{Error, Result};
use crate::fs::fat::directory::{ENTRIES_MAX, Records};
use crate::fs::fat::entry::{DELETED, ShortEntry, Slot, SlotKind, slot_kind};
use crate::fs::fat::layout::{ENTRY_LEN, Root};
use crate::fs::fat::long_name::{LAST, checksum};
use crate::fs::fat::rule::FatRule;
use crate::fs::field::{field, put, u8_at};

/// As much as so many sectors that are changed counts a name that is in two.
const SPLIT_COST: usize = 4;

/// All slots of a directory, to its last cluster.
struct Listed {
    slots: Vec<(u64, Slot)>,
    /// The first one that is not in use, nor any behind it.
    end: usize,
}

impl FatWriter {
    /// The entry at `number`, of a file or a directory that is not the root directory.
    pub(super) fn entry(&self, number: u64) -> Result<ShortEntry> {
        self.fat.short_entry(number)
    }

    /// The first cluster of the directory `number`; 0 is the root directory.
    pub(super) fn directory_first(&self, number: u64) -> Result<u32> {
        if number == 0 {
            return Ok(0);
        }
        let entry = self.entry(number)?;
        match entry.is_directory() {
            true => Ok(entry.cluster),
            false => Err(FatRefusal::NotADirectory.into()),
        }
    }

    /// Edits the slot at `offset`.
    pub(super) fn edit_slot(&mut self, offset: u64, edit: impl FnOnce(&mut Slot)) -> Result<()> {
        self.check_held()?;
        let mut slot: Slot = [0; 32];
        self.overlay.read_at(&mut slot, offset)?;
        edit(&mut slot);
        self.put(&slot, offset)
    }

    /// `bytes` at `offset`, in memory.
    pub(super) fn put(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.overlay.put(bytes, offset)?;
        self.fat.volume.forget(offset, bytes.len() as u64);
        Ok(())
    }

    /// Where the directory from `first` on lies: pieces without a gap.
    pub(super) fn pieces(&self, first: u32) -> Result<Vec<(u64, u64)>> {
        let first = match (first, self.fat.volume.root()) {
            (0, Root::Fixed(range)) => return Ok(vec![(range.offset(), range.len())]),
            (0, Root::Cluster(first)) => first,
            _ => first,
        };
        let layout = self.layout();
        Ok(self.chain(first)?.iter().map(|cluster| (layout.place(*cluster), layout.cluster_size)).collect())
    }

    fn listed(&self, first: u32) -> Result<Listed> {
        let mut slots = Vec::new();
        for (offset, len) in self.pieces(first)? {
            if slots.len() as u64 >= ENTRIES_MAX {
                return Err(Error::corrupt(FatRule::LargeDirectory(ENTRIES_MAX)));
            }
            let mut bytes = vec![0; len as usize];
            self.overlay.read_at(&mut bytes, offset)?;
            let (own, _) = bytes.as_chunks::<{ ENTRY_LEN as usize }>();
            slots.extend((offset..).step_by(ENTRY_LEN as usize).zip(own.iter().copied()));
        }
        let end = slots.iter().position(|(_, slot)| slot_kind(slot) == SlotKind::End);
        Ok(Listed { end: end.unwrap_or(slots.len()), slots })
    }

    /// Whether nothing is in the directory from `first` on.
    pub(super) fn is_empty(&self, first: u32) -> Result<bool> {
        let listed = self.listed(first)?;
        let used = listed.slots.iter().take(listed.end);
        Ok(!used.into_iter().any(|(_, slot)| slot_kind(slot) == SlotKind::Short))
    }

    /// Gives the entry `rest`, in which the name does not count, the name `name` in the directory `number`. Where it is then.
    pub(super) fn put_entry(&mut self, number: u64, name: &str, rest: &Slot) -> Result<u64> {
        let first = self.directory_first(number)?;
        let (mut short, mut long) = (HashSet::<ShortName>::new(), HashSet::<String>::new());
        for (_, slot) in self.listed(first)?.slots {
            if slot_kind(&slot) == SlotKind::Short {
                short.insert(field(&slot, 0));
            }
        }
        // No short name may be the long one of another file.
        let mut records = Records::new(survey::directory(&self.fat.volume, first, number));
        while let Some(record) = records.step(&self.fat.volume)? {
            if record.alias.is_some() && record.name.len() <= 12 {
                long.insert(record.name.to_ascii_uppercase());
            }
        }
        let mut set = slots(name, |own| short.contains(own) || long.contains(&shown(own)))?;
        if let Some(last) = set.last_mut() {
            let name: ShortName = field(last, 0);
            *last = *rest;
            put(last, 0, &name);
            // Small letters are in the long name.
            put(last, 12, &[0]);
        }
        self.place_set(first, &set)
    }

    /// Puts `set` into the directory from `first` on. Where its last one is.
    fn place_set(&mut self, first: u32, set: &[Slot]) -> Result<u64> {
        let mut listed = self.listed(first)?;
        let is_fixed = first == 0 && matches!(self.fat.volume.root(), Root::Fixed(_));
        let mut found = self.find_room(&listed, set.len(), is_fixed);
        // A long name may take two clusters.
        while found.is_none() {
            self.extend_directory(first, listed.slots.len())?;
            listed = self.listed(first)?;
            found = self.find_room(&listed, set.len(), is_fixed);
        }
        let at = found.unwrap_or(listed.end);
        let end = at.saturating_add(set.len());
        let mut last = 0;
        for (offset, slot) in listed.slots.iter().take(at).skip(listed.end) {
            let mut unused = *slot;
            put(&mut unused, 0, &[DELETED]);
            self.put(&unused, *offset)?;
        }
        for ((offset, _), slot) in listed.slots.iter().skip(at).zip(set) {
            self.put(slot, *offset)?;
            last = *offset;
        }
        // What was behind the end may be anything.
        if end > listed.end
            && let Some((offset, slot)) = listed.slots.get(end)
            && slot_kind(slot) != SlotKind::End
        {
            self.put(&[0; ENTRY_LEN as usize], *offset)?;
        }
        Ok(last)
    }

    /// Where `count` slots are free one behind the other, so that as few sectors as possible are changed by them. In a root directory
    /// that cannot move, a name is in one sector if it can be: what is left of the one before goes unused.
    fn find_room(&self, listed: &Listed, count: usize, is_fixed: bool) -> Option<usize> {
        // Which sectors would be changed for the first time.
        let mut fresh: Vec<Option<u64>> = Vec::with_capacity(listed.slots.len());
        let (mut last, mut is_held) = (None, false);
        for (offset, _) in &listed.slots {
            let number = self.overlay.number(*offset);
            if last != Some(number) {
                (last, is_held) = (Some(number), self.overlay.is_held(*offset));
            }
            fresh.push(Some(number).filter(|_| !is_held));
        }
        let (mut best, mut run) = (None, 0_usize);
        for (index, (_, slot)) in listed.slots.iter().enumerate() {
            let is_free = index >= listed.end || u8_at(slot, 0) == DELETED;
            run = if is_free { run.saturating_add(1) } else { 0 };
            let behind = index.saturating_add(1);
            let start = behind.saturating_sub(count);
            let number =
                |index: usize| listed.slots.get(index).map(|(offset, _)| self.overlay.number(*offset));
            let is_gap = start > listed.end;
            let begins_sector = is_gap && number(start) != number(start.saturating_sub(1));
            if run < count || is_gap && !(is_fixed && begins_sector) {
                continue;
            }
            let mut sectors: Vec<u64> =
                fresh.get(start..behind).into_iter().flatten().flatten().copied().collect();
            sectors.dedup();
            let is_split = is_fixed && number(start) != number(index);
            let more = if is_split { SPLIT_COST } else { usize::from(is_gap) };
            let cost = sectors.len().saturating_add(more);
            if best.is_none_or(|(_, least)| cost < least) {
                best = Some((start, cost));
            }
            if cost == 0 {
                break;
            }
        }
        best.map(|(start, _)| start)
    }

    /// Puts a cluster of zeroes behind the directory from `first` on, which has `count` slots.
    fn extend_directory(&mut self, first: u32, count: usize) -> Result<()> {
        let first = match (first, self.fat.volume.root()) {
            (0, Root::Fixed(_)) => return Err(FatRefusal::DirectoryFull(count as u64).into()),
            (0, Root::Cluster(first)) => first,
            _ => first,
        };
        let more = self.layout().cluster_size.checked_div(ENTRY_LEN).unwrap_or(0);
        if more.saturating_add(count as u64) > ENTRIES_MAX {
            return Err(FatRefusal::DirectoryFull(ENTRIES_MAX).into());
        }
        let last = self.chain(first)?.last().copied();
        let cluster = self.take_cluster(last)?;
        self.is_extended |= !self.clusters.new.get(first);
        self.put(&vec![0; self.layout().cluster_size as usize], self.layout().place(cluster))
    }

    /// Removes the entry at `offset`, with its long name, from the directory `number`. What it was.
    pub(super) fn take_entry(&mut self, number: u64, offset: u64) -> Result<Slot> {
        self.check_held()?;
        let listed = self.listed(self.directory_first(number)?)?;
        let at = listed.slots.iter().take(listed.end).position(|(own, _)| *own == offset);
        let Some((at, (_, slot))) = at.and_then(|at| Some((at, listed.slots.get(at)?))) else {
            return Err(Error::corrupt(FatRule::NoEntry(offset)));
        };
        self.put(&[DELETED], offset)?;
        for ((offset, part), index) in listed.slots.iter().take(at).rev().zip(1_u8..) {
            let is_part = slot_kind(part) == SlotKind::LongName
                && u8_at(part, 0) & !LAST == index
                && u8_at(part, 13) == checksum(slot);
            if !is_part {
                break;
            }
            self.put(&[DELETED], *offset)?;
            if u8_at(part, 0) & LAST != 0 {
                break;
            }
        }
        Ok(*slot)
    }
}

/// Has `slot` begin with `cluster`.
pub(super) fn put_cluster(slot: &mut Slot, cluster: u32) {
    put(slot, 20, &((cluster >> 16) as u16).to_le_bytes());
    put(slot, 26, &(cluster as u16).to_le_bytes());
}
