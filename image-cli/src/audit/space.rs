//! What of a disk is in no file of a filesystem that is looked into: gaps between partitions, swap space.
//!
//! ```text
//! table, what is before the first partition │ partition │ gap │ partition │ gap │ backup GPT
//!                                    boot loaders live in front of the first partition: that is no gap
//!
//! swap   boot sectors, header: label, UUID │ pages
//! ```
//!
//! UEFI specification, 5.3 (GPT); in an MBR with an extended partition all of that is in use, for logical partitions are told
//! between them. Swap: `struct swap_header` of Linux, a page of the machine that made it.

use std::path::PathBuf;

use image_core::block::{BlockRead, ByteRange};
use image_core::partition::{PartitionTable, Scheme};

use super::View;
use super::view::LIMIT;
use crate::system::is_disc;

/// Pages that a swap space may have been made for.
const PAGES: [u64; 5] = [4096, 8192, 16_384, 32_768, 65_536];
/// What is at the end of the first one.
const MARK: &[u8; 10] = b"SWAPSPACE2";

/// The size of the page that a swap space begins with; `None` for what is none.
pub(crate) fn swap_page(disk: &dyn BlockRead) -> crate::Result<Option<u64>> {
    for page in PAGES.into_iter().filter(|page| *page <= disk.size()) {
        let mut mark = [0; MARK.len()];
        disk.read_at(&mut mark, page - MARK.len() as u64)?;
        if mark == *MARK {
            return Ok(Some(page));
        }
    }
    Ok(None)
}

/// What lies between the partitions of `table` and behind the last one.
pub(crate) fn gaps(disk: &dyn BlockRead, table: &PartitionTable) -> crate::Result<Vec<ByteRange>> {
    // What partitions leave of a CD has files.
    if is_disc(disk, table)? {
        return Ok(Vec::new());
    }
    let mut used: Vec<ByteRange> = table.partitions.iter().map(|partition| partition.range).collect();
    let end = match table.scheme {
        Scheme::Gpt { .. } => {
            if !table.defects.is_empty() {
                // Which copy is right is not known, nor what lies where.
                return Ok(Vec::new());
            }
            // The last sector that a partition may have.
            let mut last = [0; 8];
            disk.read_at(&mut last, table.sector_size + 48)?;
            u64::from_le_bytes(last).saturating_add(1).saturating_mul(table.sector_size).min(disk.size())
        }
        Scheme::Mbr { .. } => {
            used.extend(extended(disk, table.sector_size)?);
            disk.size()
        }
    };
    used.sort_by_key(|range| range.offset());
    let mut found = Vec::new();
    let Some(mut at) = used.first().map(|range| range.offset()) else { return Ok(found) };
    for range in used {
        found.push(ByteRange::between(at, range.offset()));
        at = at.max(range.end());
    }
    found.push(ByteRange::between(at, end));
    Ok(found.into_iter().filter(|range| !range.is_empty()).collect())
}

/// The extended partitions of a master boot record.
fn extended(disk: &dyn BlockRead, sector_size: u64) -> crate::Result<Vec<ByteRange>> {
    let mut record = [0; 512];
    disk.read_at(&mut record, 0)?;
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let entries = record[446..510].chunks_exact(16).filter(|entry| matches!(entry[4], 0x05 | 0x0f | 0x85));
    let ranges = entries.map(|entry| {
        let start = number(&entry[8..12]) * sector_size;
        ByteRange::between(start, start + number(&entry[12..16]) * sector_size)
    });
    Ok(ranges.collect())
}

/// The swap files that fstab names.
pub(crate) fn swap_files(view: &View) -> crate::Result<Vec<PathBuf>> {
    let Some(bytes) = view.root().read("/etc/fstab".as_ref(), LIMIT)? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let files = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, _, kind) = (words.next()?, words.next()?, words.next()?);
        (device.starts_with('/') && !device.starts_with("/dev/") && kind == "swap")
            .then(|| PathBuf::from(device))
    });
    Ok(files.collect())
}

#[cfg(test)]
mod tests {
    use image_core::block::{BlockWrite, MemoryDisk};
    use image_core::partition::{NewPartition, kind, write_gpt};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn gaps_are_what_is_neither_a_partition_nor_a_table() {
        let disk = MemoryDisk::new(64 << 20);
        let part = |number: u32, start: u64, end: u64| NewPartition {
            number,
            range: ByteRange::between(start << 20, end << 20),
            kind: kind::LINUX_FILESYSTEM,
            guid: Uuid::from_u128(u128::from(number)),
            name: String::new(),
        };
        write_gpt(&disk, Uuid::from_u128(9), &[part(1, 30, 40), part(2, 2, 10), part(3, 10, 20)]).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        let found = gaps(&disk, &table).unwrap();
        // The backup GPT has 33 sectors.
        let expected =
            [ByteRange::between(20 << 20, 30 << 20), ByteRange::between(40 << 20, (64 << 20) - 33 * 512)];
        assert_eq!(found, expected);
    }

    #[test]
    fn logical_partitions_and_what_tells_of_them_are_kept() {
        let disk = MemoryDisk::new(16 << 20);
        let mut record = vec![0; 512];
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        for (index, (kind, start, count)) in
            [(0x83_u8, 2048_u32, 2048_u32), (0x05, 8192, 8192)].into_iter().enumerate()
        {
            let at = 446 + 16 * index;
            record[at + 4] = kind;
            record[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            record[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
        }
        disk.write_at(&record, 0).unwrap();
        let table = PartitionTable::read(&disk).unwrap().unwrap();
        let sectors = |from: u64, to: u64| ByteRange::between(from * 512, to * 512);
        assert_eq!(gaps(&disk, &table).unwrap(), [sectors(4096, 8192), sectors(16_384, 32_768)]);
    }

    #[test]
    fn swap_space_is_known_by_the_end_of_its_first_page() {
        let disk = MemoryDisk::new(1 << 20);
        assert_eq!(swap_page(&disk).unwrap(), None);
        disk.write_at(MARK, 65_536 - 10).unwrap();
        assert_eq!(swap_page(&disk).unwrap(), Some(65_536));
        disk.write_at(MARK, 4086).unwrap();
        assert_eq!(swap_page(&disk).unwrap(), Some(4096));
    }
}
