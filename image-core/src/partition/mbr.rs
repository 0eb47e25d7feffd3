//! Master boot records: partitions of old disks, and what protects a GPT from those who know only these.
//!
//! ```text
//! 0x000 boot code │ 0x1b8 signature │ 0x1be four entries of 16 bytes │ 0x1fe 55 aa
//! entry: flag │ CHS start (3) │ type │ CHS end (3) │ first LBA (4) │ sectors (4)
//! ```
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::sector::{field, read_bytes, sectors};
use super::{Partition, PartitionKind, PartitionTable, SECTOR_SIZE, Scheme};
use crate::block::{BlockRead, ByteRange};
use crate::error::{Error, Result};

/// The type of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;
/// How many logical partitions are followed.
const LOGICAL_LIMIT: u32 = 128;

/// A rule that an MBR breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MbrRule {
    /// A partition must lie on the disk.
    #[error("partition {number} has {count} sectors from sector {first:#x} on, which is not on this disk")]
    OutsideDisk {
        /// Which.
        number: u32,
        /// Its first sector.
        first: u64,
        /// Its sectors.
        count: u64,
    },
    /// The chain of logical partitions must end.
    #[error("the chain of logical partitions does not end after {LOGICAL_LIMIT} of them")]
    EndlessChain,
}

/// A rule for the MBR of a GPT disk that an importer of images holds it against (UEFI 2.10, 5.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectiveRule {
    /// The record must be there.
    #[error("the first sector is no master boot record")]
    Missing,
    /// The protective entry must be the only one.
    #[error("the protective entry is not alone: this is a hybrid MBR")]
    Hybrid,
    /// It must begin behind the record.
    #[error("the protective entry begins at sector {0:#x}, not at 1")]
    Start(u32),
    /// Its old-style address must say the same.
    #[error("the protective entry's CHS start is {0:02x?}, not [00, 02, 00]")]
    ChsStart([u8; 3]),
    /// A boot flag is 0 or 0x80.
    #[error("an entry's boot flag is {0:#04x}, neither 0x00 nor 0x80")]
    BootFlag(u8),
}

/// One of the four entries.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    flag: u8,
    chs_start: [u8; 3],
    kind: u8,
    first: u32,
    count: u32,
}

impl Entry {
    fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            flag: field::<1>(bytes, 0)[0],
            chs_start: field(bytes, 1),
            kind: field::<1>(bytes, 4)[0],
            first: u32::from_le_bytes(field(bytes, 8)),
            count: u32::from_le_bytes(field(bytes, 12)),
        }
    }

    fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// The first sector of a disk.
#[derive(Debug)]
pub(super) struct Record {
    signature: u32,
    entries: [Entry; 4],
}

impl Record {
    /// Whether it says that the disk has a GPT.
    pub(super) fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    fn from_sector(sector: &[u8]) -> Option<Self> {
        if field::<2>(sector, 0x1fe) != [0x55, 0xaa] {
            return None;
        }
        let (entries, _) = sector.get(0x1be..0x1fe)?.as_chunks::<16>();
        let mut parsed = [Entry::default(); 4];
        for (entry, bytes) in parsed.iter_mut().zip(entries) {
            *entry = Entry::from_bytes(bytes);
        }
        Some(Self { signature: u32::from_le_bytes(field(sector, 0x1b8)), entries: parsed })
    }
}

/// The first sector, if it is a master boot record.
///
/// The boot sector of a filesystem without a table ends with the same two bytes: its flags or sizes give it away.
pub(super) fn read_record(disk: &(impl BlockRead + ?Sized)) -> Result<Option<Record>> {
    let Some(sector) = read_bytes(disk, 0, SECTOR_SIZE as usize)? else { return Ok(None) };
    let record = Record::from_sector(&sector);
    Ok(record.filter(|record| {
        record.entries.iter().all(|entry| entry.flag & 0x7f == 0) && record.entries.iter().any(Entry::is_used)
    }))
}

/// The partitions of `record`, the first sector of `disk`; `None` if they make no sense at all.
pub(super) fn read(disk: &(impl BlockRead + ?Sized), record: &Record) -> Result<Option<PartitionTable>> {
    let mut partitions = Vec::new();
    let mut extended = None;
    for (number, entry) in (1..).zip(&record.entries) {
        if !entry.is_used() {
            continue;
        }
        let range = place(disk, number, u64::from(entry.first), entry)?;
        if entry.is_extended() {
            extended.get_or_insert(range);
        } else {
            partitions.push(partition(number, range, entry));
        }
    }
    if let Some(extended) = extended {
        read_logical(disk, extended, &mut partitions)?;
    }
    let scheme = Scheme::Mbr { signature: record.signature };
    Ok(Some(PartitionTable { scheme, sector_size: SECTOR_SIZE, partitions, defects: Vec::new() }))
}

/// The partitions inside an extended one: a chain of records, each with a partition and the place of the next.
fn read_logical(
    disk: &(impl BlockRead + ?Sized),
    extended: ByteRange,
    partitions: &mut Vec<Partition>,
) -> Result<()> {
    let base = extended.offset() / SECTOR_SIZE;
    let mut at = base;
    for number in 5..LOGICAL_LIMIT.saturating_add(5) {
        let sector = read_bytes(disk, at.saturating_mul(SECTOR_SIZE), SECTOR_SIZE as usize)?;
        let Some(record) = sector.as_deref().and_then(Record::from_sector) else { return Ok(()) };
        let [own, next, ..] = record.entries;
        if own.is_used() {
            let range = place(disk, number, at.saturating_add(u64::from(own.first)), &own)?;
            partitions.push(partition(number, range, &own));
        }
        if !next.is_extended() || !next.is_used() {
            return Ok(());
        }
        at = base.saturating_add(u64::from(next.first));
    }
    Err(Error::corrupt(MbrRule::EndlessChain))
}

fn place(disk: &(impl BlockRead + ?Sized), number: u32, first: u64, entry: &Entry) -> Result<ByteRange> {
    let count = u64::from(entry.count);
    sectors(first, count, SECTOR_SIZE, disk.size())
        .ok_or_else(|| Error::corrupt(MbrRule::OutsideDisk { number, first, count }))
}

fn partition(number: u32, range: ByteRange, entry: &Entry) -> Partition {
    Partition { number, range, kind: PartitionKind::Mbr(entry.kind), guid: None, name: String::new() }
}

/// Every rule that the MBR of a GPT disk breaks; none for a clean one.
///
/// # Errors
/// Whatever the disk says.
pub fn check_protective(disk: &(impl BlockRead + ?Sized)) -> Result<Vec<ProtectiveRule>> {
    let sector = read_bytes(disk, 0, SECTOR_SIZE as usize)?;
    let Some(record) = sector.as_deref().and_then(Record::from_sector) else {
        return Ok(vec![ProtectiveRule::Missing]);
    };
    let mut broken = Vec::new();
    if record.entries.iter().filter(|entry| entry.kind != 0).count() != 1 {
        broken.push(ProtectiveRule::Hybrid);
    }
    for entry in record.entries {
        if entry.flag & 0x7f != 0 {
            broken.push(ProtectiveRule::BootFlag(entry.flag));
        }
        if entry.kind != PROTECTIVE {
            continue;
        }
        if entry.first != 1 {
            broken.push(ProtectiveRule::Start(entry.first));
        }
        if entry.chs_start != [0x00, 0x02, 0x00] {
            broken.push(ProtectiveRule::ChsStart(entry.chs_start));
        }
    }
    Ok(broken)
}
