//! The head of the log, where it ends, and its tail, where what counts begins.
//!
//! ```text
//! cycles of the sectors   7 7 7 7 7 7 │ 6 6 6 6      the head is where the older cycle begins; in a log that was never filled,
//!                                     head            where there is none yet
//! ```
//!
//! Several records may have been on their way to the disk as the machine stopped: sectors of the older cycle before the head, and
//! records with another checksum than they say, mean that the log ends before them.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Log;
use super::record::{LEN_MAX, MAGIC, RecordHeader};
use crate::error::Result;
use crate::fs::xfs::field::{u8_at, u32_at};
use crate::fs::xfs::overlay::SECTOR;
use crate::fs::xfs::rule::XfsRule;

/// Records that may be on their way at once.
const AT_ONCE: u64 = 8;
/// Sectors of the longest record, with its headers.
const RECORD_MAX: u64 = (LEN_MAX as u64) / SECTOR + 8;
/// Sectors that are read at once as records are looked for.
const STEP: u64 = 128;
/// An operation that says that the filesystem was unmounted.
const UNMOUNT: u8 = 0x20;

/// A log that has something to say: the sector of its first record, and the one behind its last.
pub(super) struct OpenLog {
    pub(super) tail: u64,
    pub(super) head: u64,
}

/// Where the log begins and ends; `None` if it has nothing to say.
pub(super) fn find(log: &Log<'_>) -> Result<Option<OpenLog>> {
    let Some(mut head) = cycle_head(log)? else { return Ok(None) };
    // A record that is not all there was not finished.
    let mut last = last_before(log, head)?;
    if last.is_some_and(|last| log.after(last.sector, last.len()) != head) {
        head = last.map_or(head, |last| last.sector);
        last = last_before(log, head)?;
    }
    let Some(last) = last else { return Err(XfsRule::in_log("head: no record is before sector", head)) };
    if is_unmount(log, &last, head)? {
        return Ok(None);
    }
    let Some(last) = last_sound(log, last)? else {
        return Err(XfsRule::in_log("head: no sound record is before sector", head));
    };
    let head = log.after(last.sector, last.len());
    if is_unmount(log, &last, head)? {
        return Ok(None);
    }
    if last.tail >= log.sectors {
        return Err(XfsRule::in_log("tail", last.tail));
    }
    Ok(Some(OpenLog { tail: last.tail, head }))
}

/// The sector that is one cycle behind those before it; `None` if nothing was ever written.
fn cycle_head(log: &Log<'_>) -> Result<Option<u64>> {
    let end = log.sectors;
    let (first, last) = (cycle_at(log, 0)?, cycle_at(log, end.saturating_sub(1))?);
    if first == 0 {
        return Ok(None);
    }
    if last != 0 && first != last && first != last.wrapping_add(1) || last == 0 && first != 1 {
        return Err(XfsRule::in_log("cycle", u64::from(last)));
    }
    // In a log that is full to its end, sectors of the cycle before that are not written yet.
    let (mut head, older) = if first == last { (end, last.wrapping_sub(1)) } else { (0, last) };
    if head == 0 {
        let (mut low, mut high) = (0, end.saturating_sub(1));
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            if cycle_at(log, middle)? == last { high = middle } else { low = middle }
        }
        head = high;
    }
    let scanned = AT_ONCE.saturating_mul(RECORD_MAX);
    // What lies before the ring's beginning is one cycle older still.
    let at_end = scanned.saturating_sub(head).min(end.saturating_sub(head));
    if at_end > 0 && older != 0 {
        let hole = first_of_cycle(log, end.saturating_sub(at_end), end, older.wrapping_sub(1))?;
        if let Some(hole) = hole {
            return Ok(Some(hole));
        }
    }
    let hole = first_of_cycle(log, head.saturating_sub(scanned), head, older)?;
    Ok(Some(hole.unwrap_or(head).checked_rem(end).unwrap_or(0)))
}

fn cycle_at(log: &Log<'_>, sector: u64) -> Result<u32> {
    Ok(cycle_of(&log.read(sector, 1)?))
}

/// The cycle of a sector: behind the mark, if it is a header.
fn cycle_of(sector: &[u8]) -> u32 {
    match u32_at(sector, 0) {
        MAGIC => u32_at(sector, 4),
        cycle => cycle,
    }
}

/// The first sector from `start` to `end` that has the cycle `cycle`.
fn first_of_cycle(log: &Log<'_>, start: u64, end: u64, cycle: u32) -> Result<Option<u64>> {
    let mut at = start;
    while at < end {
        let bytes = log.read(at, STEP.min(end.saturating_sub(at)))?;
        let found = bytes.chunks_exact(SECTOR as usize).position(|sector| cycle_of(sector) == cycle);
        if let Some(index) = found {
            return Ok(Some(at.saturating_add(index as u64)));
        }
        at = at.saturating_add(STEP);
    }
    Ok(None)
}

/// The last record that begins before `head`.
fn last_before(log: &Log<'_>, head: u64) -> Result<Option<RecordHeader>> {
    let most = RECORD_MAX.min(log.sectors.saturating_sub(1));
    let mut seen = 0;
    while seen < most {
        let count = STEP.min(most.saturating_sub(seen));
        seen = seen.saturating_add(count);
        let start = log.before(head, seen);
        let bytes = log.read(start, count)?;
        for (index, sector) in bytes.chunks_exact(SECTOR as usize).enumerate().rev() {
            let at = log.after(start, index as u64);
            if let Some(found) = RecordHeader::from_bytes(log, at, sector)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The last record, of those that end with `last`, before which all are sound that were on their way with it.
fn last_sound(log: &Log<'_>, last: RecordHeader) -> Result<Option<RecordHeader>> {
    let (mut found, mut at) = (Some(last), last);
    for _ in 0..AT_ONCE {
        let is_sound = at.is_sound(log, &at.read(log)?);
        let Some(before) = last_before(log, at.sector)? else { return Ok(found.filter(|_| is_sound)) };
        let goes_on = log.after(before.sector, before.len()) == at.sector && before.lsn < at.lsn;
        if !is_sound {
            found = goes_on.then_some(before);
        }
        if !goes_on || at.sector == last.tail {
            break;
        }
        at = before;
    }
    Ok(found)
}

/// Whether `last`, which ends at `head`, says that the filesystem was unmounted.
fn is_unmount(log: &Log<'_>, last: &RecordHeader, head: u64) -> Result<bool> {
    if last.operations != 1 || log.after(last.sector, last.len()) != head {
        return Ok(false);
    }
    // Only the first bytes of a sector are elsewhere.
    let record = last.read(log)?;
    let data_at = record.len().saturating_sub((last.data_len() as usize).min(record.len()));
    Ok(u8_at(&record, data_at.saturating_add(9)) & UNMOUNT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDisk;
    use crate::fs::xfs::superblock::Superblock;
    use crate::fs::xfs::superblock::tests::bytes;

    fn head(cycles: &[u32]) -> Option<u64> {
        let disk: Vec<u8> = cycles
            .iter()
            .flat_map(|cycle| {
                let mut sector = cycle.to_be_bytes().to_vec();
                sector.resize(512, 0);
                sector
            })
            .collect();
        let disk = MemoryDisk::from_bytes(disk);
        let superblock = Superblock::from_bytes(&bytes(), 1500 << 12, false).unwrap();
        let log = Log { disk: &disk, superblock: &superblock, start: 0, sectors: cycles.len() as u64 };
        cycle_head(&log).unwrap()
    }

    #[test]
    fn the_head_is_where_the_older_cycle_begins() {
        assert_eq!(head(&[0, 0, 0, 0]), None);
        assert_eq!(head(&[1, 1, 0, 0, 0]), Some(2));
        assert_eq!(head(&[1, 0, 1, 0, 0]), Some(1), "a record was not written yet");
        assert_eq!(head(&[7, 7, 7, 6, 6]), Some(3));
        assert_eq!(head(&[7, 6, 7, 6, 6]), Some(1));
        assert_eq!(head(&[7, 7, 7, 7]), Some(0));
        assert_eq!(head(&[7, 7, 6, 7]), Some(2));
        assert_eq!(head(&[7, 6, 6, 5, 6]), Some(3), "before the ring's beginning");
    }
}
