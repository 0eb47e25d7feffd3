//! A partition made larger on a disk that was: in place, under its number, with all else as it is.
//!
//! ```text
//! GPT   last usable sector, the entry's last sector, both headers and lists; the backup goes to the new end   UEFI 2.10, 5.3
//! MBR   the entry's count of sectors
//! ```
//! Attributes, names and GUIDs, the boot code and whatever else a table has stay byte for byte.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::gpt::{CRC, TABLE_LIMIT};
use super::sector::{field, read_bytes};
use super::{Partition, PartitionTable, SECTOR_SIZE, Scheme};
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Error, Result};

/// Partitions end at a multiple of this, in bytes, as growpart 0.34 leaves them.
const ALIGNMENT: u64 = 1 << 20;
/// Where an MBR has its entries, and how long each is.
const ENTRIES_AT: usize = 0x1be;
const ENTRY: usize = 16;
/// The type of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;

/// Has partition `number` of `disk`, whose table `table` is, reach to the end of the disk, or to the next partition; and the backup of
/// a GPT lie at the end. With no number only the latter. Answers with where the partition is now.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a partition that there is not; [`Unsupported`](crate::ErrorKind::Unsupported) for a logical
/// one of an MBR, and a table that has defects; whatever the disk says.
pub fn grow(
    disk: &impl BlockWrite,
    table: &PartitionTable,
    number: Option<u32>,
) -> Result<Option<ByteRange>> {
    let own = match number {
        None => None,
        Some(number) => {
            let own = table.partition(number);
            Some(own.ok_or_else(|| Error::invalid(format!("there is no partition {number}")))?)
        }
    };
    match table.scheme {
        Scheme::Gpt { .. } => grow_gpt(disk, table, own),
        Scheme::Mbr { .. } => grow_mbr(disk, table, own),
    }
}

/// Where `own` ends when it is as large as it can be, before `limit`; where it ends now if that is further.
fn end_of(own: &Partition, table: &PartitionTable, limit: u64) -> u64 {
    let starts = table.partitions.iter().map(|other| other.range.offset());
    let next = starts.filter(|start| *start >= own.range.end()).min().unwrap_or(u64::MAX).min(limit);
    let aligned = next.checked_div(ALIGNMENT).unwrap_or(0).saturating_mul(ALIGNMENT);
    aligned.max(own.range.end())
}

fn grow_gpt(
    disk: &impl BlockWrite,
    table: &PartitionTable,
    own: Option<&Partition>,
) -> Result<Option<ByteRange>> {
    let moved_only = |defect: &super::GptRule| matches!(defect, super::GptRule::BackupNotLast { .. });
    // The backup of a disk that was made larger is where its end was.
    if let Some(defect) = table.defects.iter().find(|defect| !moved_only(defect) && !is_lost_backup(defect)) {
        return Err(Error::unsupported(defect.to_string()));
    }
    let size = table.sector_size;
    let sectors = |bytes: u64| bytes.div_ceil(size);
    let last = disk.size().checked_div(size).unwrap_or(0).saturating_sub(1);
    let lost = || Error::unsupported("the primary GPT cannot be read");
    let mut header = read_bytes(disk, size, size as usize)?.ok_or_else(lost)?;
    let u32_at = |at| u32::from_le_bytes(field(&header, at));
    let (count, entry_size) = (u64::from(u32_at(0x50)), u64::from(u32_at(0x54)));
    let entries_len = count.saturating_mul(entry_size);
    if !header.starts_with(b"EFI PART") || entries_len > TABLE_LIMIT {
        return Err(lost());
    }
    let entries_at = u64::from_le_bytes(field(&header, 0x48));
    let backup_entries = last.saturating_sub(sectors(entries_len));
    let last_usable = backup_entries.saturating_sub(1);
    let mut entries =
        read_bytes(disk, entries_at.saturating_mul(size), entries_len as usize)?.ok_or_else(lost)?;
    let mut range = None;
    if let Some(own) = own {
        let end = end_of(own, table, last_usable.saturating_add(1).saturating_mul(size));
        let at = u64::from(own.number).saturating_sub(1).saturating_mul(entry_size).saturating_add(0x28);
        let last = end.checked_div(size).unwrap_or(0).saturating_sub(1);
        put(&mut entries, at as usize, &last.to_le_bytes());
        range = Some(ByteRange::between(own.range.offset(), end));
    }
    put(&mut header, 0x58, &CRC.checksum(&entries).to_le_bytes());
    put(&mut header, 0x30, &last_usable.to_le_bytes());
    let mut backup = header.clone();
    for (header, lba, other, entries) in
        [(&mut header, 1, last, entries_at), (&mut backup, last, 1, backup_entries)]
    {
        put(header, 0x18, &lba.to_le_bytes());
        put(header, 0x20, &other.to_le_bytes());
        put(header, 0x48, &entries.to_le_bytes());
        sign(header);
    }
    // The primary copy last: until then it says what was.
    disk.write_at(&entries, backup_entries.saturating_mul(size))?;
    disk.write_at(&backup, last.saturating_mul(size))?;
    protect(disk, last)?;
    disk.write_at(&entries, entries_at.saturating_mul(size))?;
    disk.write_at(&header, size)?;
    Ok(range)
}

/// Whether it says no more than that no backup is where the disk ends now.
fn is_lost_backup(defect: &super::GptRule) -> bool {
    matches!(defect, super::GptRule::NoHeader { lba } if *lba > 1)
}

/// Makes the checksum of a header.
fn sign(header: &mut [u8]) {
    let len = u32::from_le_bytes(field(header, 0x0c)) as usize;
    put(header, 0x10, &[0; 4]);
    let sum = CRC.checksum(header.get(..len).unwrap_or_default());
    put(header, 0x10, &sum.to_le_bytes());
}

/// Has the protective entry cover the disk up to sector `last`.
fn protect(disk: &impl BlockWrite, last: u64) -> Result<()> {
    let Some(mut sector) = read_bytes(disk, 0, SECTOR_SIZE as usize)? else { return Ok(()) };
    let count = u32::try_from(last).unwrap_or(u32::MAX);
    for index in 0..4_usize {
        let at = ENTRIES_AT.saturating_add(index.saturating_mul(ENTRY));
        if sector.get(at.saturating_add(4)) == Some(&PROTECTIVE) {
            put(&mut sector, at.saturating_add(12), &count.to_le_bytes());
        }
    }
    disk.write_at(&sector, 0)
}

fn grow_mbr(
    disk: &impl BlockWrite,
    table: &PartitionTable,
    own: Option<&Partition>,
) -> Result<Option<ByteRange>> {
    let Some(own) = own else { return Ok(None) };
    if own.number > 4 {
        return Err(Error::unsupported(format!("partition {} is a logical one", own.number)));
    }
    // Sectors are counted with 32 bits.
    let most = u64::from(u32::MAX).saturating_mul(SECTOR_SIZE);
    let lost = || Error::unsupported("the MBR cannot be read");
    let mut sector = read_bytes(disk, 0, SECTOR_SIZE as usize)?.ok_or_else(lost)?;
    // Logical partitions lie in an extended one, which begins with a table of its own and is no partition of the list.
    let starts = (0..4_usize).filter_map(|index| {
        let at = ENTRIES_AT.saturating_add(index.saturating_mul(ENTRY));
        let entry = sector.get(at..at.saturating_add(ENTRY))?;
        let start = u64::from(u32::from_le_bytes(field(entry, 8))).saturating_mul(SECTOR_SIZE);
        (field::<1>(entry, 4) != [0] && start >= own.range.end()).then_some(start)
    });
    let limit = starts.min().unwrap_or(u64::MAX).min(disk.size());
    let end = end_of(own, table, limit).min(own.range.offset().saturating_add(most));
    let count = end.saturating_sub(own.range.offset()).checked_div(SECTOR_SIZE).unwrap_or(0);
    let index = own.number.saturating_sub(1) as usize;
    let at = ENTRIES_AT.saturating_add(index.saturating_mul(ENTRY)).saturating_add(12);
    put(&mut sector, at, &u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    disk.write_at(&sector, 0)?;
    Ok(Some(ByteRange::between(own.range.offset(), end)))
}

/// Puts `bytes` at `at`, as far as there is room.
fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    for (target, byte) in target.iter_mut().skip(at).zip(bytes) {
        *target = *byte;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{NewPartition, kind, write_gpt};
    use super::*;
    use crate::block::MemoryDisk;

    fn partition(number: u32, start: u64, end: u64) -> NewPartition {
        NewPartition {
            number,
            range: ByteRange::between(start << 20, end << 20),
            kind: kind::LINUX_FILESYSTEM,
            guid: Uuid::from_u128(u128::from(number)),
            name: format!("part {number}"),
        }
    }

    #[test]
    fn the_last_partition_reaches_the_new_end_and_both_copies_say_so() {
        let disk = MemoryDisk::new(8 << 20);
        write_gpt(&disk, Uuid::from_u128(7), &[partition(2, 1, 2), partition(1, 3, 6)]).unwrap();
        disk.resize(20 << 20).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        let range = grow(&disk, &table, Some(1)).unwrap().unwrap();
        // The last MiB has the backup in it.
        assert_eq!(range, ByteRange::between(3 << 20, 19 << 20));
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        assert_eq!((table.defects.len(), table.partition(1).unwrap().range), (0, range));
        assert_eq!(table.partition(1).unwrap().name, "part 1");
        assert_eq!(super::super::check_protective(&disk).unwrap(), []);
        // One before another ends there.
        let range = grow(&disk, &table, Some(2)).unwrap().unwrap();
        assert_eq!(range, ByteRange::between(1 << 20, 3 << 20));
        assert!(grow(&disk, &table, Some(3)).is_err());
    }

    #[test]
    fn a_partition_of_an_mbr_reaches_the_new_end() {
        let disk = MemoryDisk::new(4 << 20);
        let mut sector = [0; 512];
        sector[0x1be..0x1ce].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_at(&sector, 0).unwrap();
        disk.resize(16 << 20).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        let range = grow(&disk, &table, Some(1)).unwrap().unwrap();
        assert_eq!(range, ByteRange::between(1 << 20, 16 << 20));
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        assert_eq!(table.partition(1).unwrap().range, range);
    }

    #[test]
    fn an_extended_partition_is_in_the_way() {
        let disk = MemoryDisk::new(16 << 20);
        let mut sector = [0; 512];
        // 1 to 3 MiB, and an extended one from 5 MiB on, whose first logical partition begins at 6 MiB.
        sector[0x1be..0x1ce].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[0x1ce..0x1de].copy_from_slice(&[0, 0, 2, 0, 0x05, 0, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0]);
        sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_at(&sector, 0).unwrap();
        let mut logical = [0; 512];
        logical[0x1be..0x1ce].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        logical[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_at(&logical, 5 << 20).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        assert_eq!(table.partitions.len(), 2, "{table:?}");
        let range = grow(&disk, &table, Some(1)).unwrap().unwrap();
        assert_eq!(range, ByteRange::between(1 << 20, 5 << 20));
    }
}
