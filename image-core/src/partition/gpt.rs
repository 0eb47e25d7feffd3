//! GUID partition tables (UEFI specification 2.10, 5.3).
//!
//! ```text
//! header  0x00 "EFI PART" │ 0x08 revision │ 0x0c size │ 0x10 CRC │ 0x18 own LBA │ 0x20 other LBA
//!         0x28 first usable │ 0x30 last usable │ 0x38 disk GUID │ 0x48 entries' LBA │ 0x50 count │ 0x54 size │ 0x58 CRC
//! entry   0x00 kind │ 0x10 GUID │ 0x20 first LBA │ 0x28 last LBA │ 0x30 attributes │ 0x38 name, 36 × UTF-16
//! ```
//!
//! Read here, written by the `gpt` crate: so each checks the other. (That crate's own reader trusts counts, and its
//! `write` numbers partitions anew, so its parts are used one by one.)
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use gpt::disk::LogicalBlockSize;
use gpt::header::HeaderBuilder;
use gpt::mbr::ProtectiveMBR;
use uuid::Uuid;

use super::sector::{field, read_bytes, sectors};
use super::{Partition, PartitionKind, PartitionTable, SECTOR_SIZE, Scheme};
use crate::block::{BlockRead, BlockWrite, ByteRange, Stream};
use crate::error::{Error, Result};

const SIGNATURE: [u8; 8] = *b"EFI PART";
/// More entries than any tool writes, in bytes of table.
pub(super) const TABLE_LIMIT: u64 = 1 << 20;
pub(super) const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// A rule that a GPT breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GptRule {
    /// There must be a header.
    #[error("there is no GPT header at sector {lba:#x}")]
    NoHeader {
        /// Where.
        lba: u64,
    },
    /// A header's size, place and table must make sense.
    #[error("the GPT header at sector {lba:#x} has an impossible {field}")]
    Header {
        /// Where.
        lba: u64,
        /// What.
        field: &'static str,
    },
    /// A header's checksum must match.
    #[error("the checksum of the GPT header at sector {lba:#x} is wrong")]
    HeaderChecksum {
        /// Where.
        lba: u64,
    },
    /// The entries' checksum must match.
    #[error("the checksum of the GPT entries at sector {lba:#x} is wrong")]
    EntriesChecksum {
        /// Where.
        lba: u64,
    },
    /// A partition must lie among the usable sectors.
    #[error("partition {number} lies from sector {first:#x} to {last:#x}, outside the usable sectors")]
    OutsideUsable {
        /// Which.
        number: u32,
        /// Its first sector.
        first: u64,
        /// Its last sector.
        last: u64,
    },
    /// Partitions must not overlap.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// The backup header must be in the disk's last sector.
    #[error("the backup GPT is at sector {lba:#x}, not in the last one, {last:#x}")]
    BackupNotLast {
        /// Where it is.
        lba: u64,
        /// Where it belongs.
        last: u64,
    },
    /// Both copies must say the same.
    #[error("the primary and the backup GPT differ")]
    CopiesDiffer,
}

/// One copy of the table, parsed.
#[derive(Debug, PartialEq, Eq)]
struct Copy {
    guid: Uuid,
    other_lba: u64,
    partitions: Vec<Partition>,
}

/// The table of `disk`: the primary one, or the backup where that is broken.
pub(super) fn read(disk: &(impl BlockRead + ?Sized)) -> Result<PartitionTable> {
    let mut first_error = None;
    // A disk with sectors of 4096 bytes has its header at byte 4096.
    for sector_size in [SECTOR_SIZE, 4096] {
        match read_both(disk, sector_size) {
            Ok(table) => return Ok(table),
            Err(error) => {
                if error.cause::<GptRule>().is_none() {
                    return Err(error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| Error::corrupt(GptRule::NoHeader { lba: 1 })))
}

fn read_both(disk: &(impl BlockRead + ?Sized), sector_size: u64) -> Result<PartitionTable> {
    let last = disk.size().checked_div(sector_size).unwrap_or(0).saturating_sub(1);
    let mut defects = Vec::new();
    let primary = read_copy(disk, 1, sector_size)?;
    let backup_lba = primary.as_ref().map_or(last, |copy| copy.other_lba);
    let backup = read_copy(disk, backup_lba, sector_size)?;
    let copy = match (primary, backup) {
        (Ok(primary), Ok(backup)) => {
            if backup_lba != last {
                defects.push(GptRule::BackupNotLast { lba: backup_lba, last });
            }
            if primary.guid != backup.guid || primary.partitions != backup.partitions {
                defects.push(GptRule::CopiesDiffer);
            }
            primary
        }
        (Ok(sound), Err(rule)) | (Err(rule), Ok(sound)) => {
            defects.push(rule);
            sound
        }
        (Err(rule), Err(_)) => return Err(Error::corrupt(rule)),
    };
    Ok(PartitionTable {
        scheme: Scheme::Gpt { guid: copy.guid },
        sector_size,
        partitions: copy.partitions,
        defects,
    })
}

/// The copy whose header is at `lba`. The outer error is the disk's, the inner one the table's.
fn read_copy(
    disk: &(impl BlockRead + ?Sized),
    lba: u64,
    sector_size: u64,
) -> Result<std::result::Result<Copy, GptRule>> {
    let header = read_bytes(disk, lba.saturating_mul(sector_size), sector_size as usize)?;
    let header = match header {
        Some(header) if header.starts_with(&SIGNATURE) => header,
        _ => return Ok(Err(GptRule::NoHeader { lba })),
    };
    let geometry = match Geometry::parse(&header, lba) {
        Ok(geometry) => geometry,
        Err(rule) => return Ok(Err(rule)),
    };
    let offset = geometry.entries_lba.saturating_mul(sector_size);
    let Some(entries) = read_bytes(disk, offset, geometry.entries_len)? else {
        return Ok(Err(GptRule::Header { lba, field: "place of its entries" }));
    };
    if CRC.checksum(&entries) != geometry.entries_crc {
        return Ok(Err(GptRule::EntriesChecksum { lba: geometry.entries_lba }));
    }
    Ok(geometry.partitions(&entries, sector_size, disk.size()).map(|partitions| Copy {
        guid: geometry.guid,
        other_lba: geometry.other_lba,
        partitions,
    }))
}

/// What a header says, checked as far as it can be by itself.
#[derive(Debug)]
struct Geometry {
    guid: Uuid,
    other_lba: u64,
    first_usable: u64,
    last_usable: u64,
    entries_lba: u64,
    entry_size: usize,
    entries_len: usize,
    entries_crc: u32,
}

impl Geometry {
    fn parse(header: &[u8], lba: u64) -> std::result::Result<Self, GptRule> {
        let u32_at = |at| u32::from_le_bytes(field(header, at));
        let u64_at = |at| u64::from_le_bytes(field(header, at));
        let wrong = |field| GptRule::Header { lba, field };
        let size = u32_at(0x0c) as usize;
        if size < 0x5c {
            return Err(wrong("size"));
        }
        let mut summed = header.get(..size).ok_or_else(|| wrong("size"))?.to_vec();
        if let Some(crc) = summed.get_mut(0x10..0x14) {
            crc.fill(0);
        }
        if CRC.checksum(&summed) != u32_at(0x10) {
            return Err(GptRule::HeaderChecksum { lba });
        }
        if u64_at(0x18) != lba {
            return Err(wrong("place of its own"));
        }
        let (count, entry_size) = (u32_at(0x50), u32_at(0x54));
        if !(128..=4096).contains(&entry_size) || !entry_size.is_power_of_two() {
            return Err(wrong("entry size"));
        }
        let entries_len = u64::from(count).saturating_mul(u64::from(entry_size));
        if entries_len > TABLE_LIMIT {
            return Err(wrong("number of entries"));
        }
        Ok(Self {
            guid: Uuid::from_bytes_le(field(header, 0x38)),
            other_lba: u64_at(0x20),
            first_usable: u64_at(0x28),
            last_usable: u64_at(0x30),
            entries_lba: u64_at(0x48),
            entry_size: entry_size as usize,
            entries_len: entries_len as usize,
            entries_crc: u32_at(0x58),
        })
    }

    /// The entries in use, by number.
    fn partitions(
        &self,
        entries: &[u8],
        sector_size: u64,
        size: u64,
    ) -> std::result::Result<Vec<Partition>, GptRule> {
        let mut partitions: Vec<Partition> = Vec::new();
        for (number, entry) in (1..).zip(entries.chunks_exact(self.entry_size)) {
            let kind = Uuid::from_bytes_le(field(entry, 0x00));
            if kind.is_nil() {
                continue;
            }
            let (first, last) =
                (u64::from_le_bytes(field(entry, 0x20)), u64::from_le_bytes(field(entry, 0x28)));
            let usable = self.first_usable <= first && last <= self.last_usable;
            let range = last
                .checked_sub(first)
                .and_then(|distance| distance.checked_add(1))
                .and_then(|count| sectors(first, count, sector_size, size))
                .filter(|_| usable)
                .ok_or(GptRule::OutsideUsable { number, first, last })?;
            partitions.push(Partition {
                number,
                range,
                kind: PartitionKind::Gpt(kind),
                guid: Some(Uuid::from_bytes_le(field(entry, 0x10))),
                name: name_of(entry),
            });
        }
        match first_overlap(&partitions) {
            Some((one, other)) => Err(GptRule::Overlap(one, other)),
            None => Ok(partitions),
        }
    }
}

fn name_of(entry: &[u8]) -> String {
    let (units, _) = entry.get(0x38..0x80).unwrap_or_default().as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn first_overlap(partitions: &[Partition]) -> Option<(u32, u32)> {
    let mut placed: Vec<(u64, u64, u32)> =
        partitions.iter().map(|each| (each.range.offset(), each.range.end(), each.number)).collect();
    placed.sort_unstable();
    let pairs = placed.iter().zip(placed.iter().skip(1));
    pairs.into_iter().find(|(one, other)| other.0 < one.1).map(|(one, other)| (one.2, other.2))
}

/// A partition to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartition {
    /// Its number, from 1 to 128.
    pub number: u32,
    /// Where, in bytes: whole sectors of [`SECTOR_SIZE`], within what the table leaves.
    pub range: ByteRange,
    /// What it is for: one of [`kind`](super::kind).
    pub kind: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its name, up to 36 UTF-16 units.
    pub name: String,
}

/// Writes a protective MBR without boot code and both copies of a GPT of 128 entries onto `disk`, a whole number of
/// sectors of [`SECTOR_SIZE`]. The partitions' own content is left as it is.
///
/// The MBR is what every importer of images accepts: the protective entry alone, boot flag 0, CHS 0/2/0, LBA 1.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for partitions that do not fit, overlap or share a number; whatever the
/// disk says.
pub fn write_gpt(
    disk: &(impl BlockWrite + std::fmt::Debug),
    guid: Uuid,
    partitions: &[NewPartition],
) -> Result<()> {
    let total = disk.size() / SECTOR_SIZE;
    if !disk.size().is_multiple_of(SECTOR_SIZE) || total < 128 {
        return Err(Error::invalid(format!(
            "a GPT needs a disk of whole sectors, 64 KiB at least, not {} bytes",
            disk.size()
        )));
    }
    let last = total.saturating_sub(1);
    let block = LogicalBlockSize::Lb512;
    let mut stream = Stream::new(disk);
    let mut primary = HeaderBuilder::new().disk_guid(guid).backup_lba(last).build(block).map_err(refused)?;
    let mut backup = HeaderBuilder::from_header(&primary).primary(false).build(block).map_err(refused)?;
    check_new(partitions, primary.first_usable, primary.last_usable)?;

    ProtectiveMBR::with_lb_size(u32::try_from(last).unwrap_or(u32::MAX))
        .overwrite_lba0(&mut stream)
        .map_err(refused)?;
    for header in [&primary, &backup] {
        let (start, size) = (header.part_start, header.part_size);
        gpt::partition::Partition::write_zero_entries_to_device(
            &mut stream,
            0,
            u64::from(header.num_parts),
            start,
            block,
            size,
        )?;
        for each in partitions {
            let index = u64::from(each.number).saturating_sub(1);
            entry(each).write_to_device(&mut stream, index, start, block, size)?;
        }
    }
    backup.write_backup(&mut stream, block).map_err(refused)?;
    primary.write_primary(&mut stream, block).map_err(refused)?;
    Ok(())
}

fn entry(new: &NewPartition) -> gpt::partition::Partition {
    gpt::partition::Partition {
        part_type_guid: gpt::partition_types::Type::from(new.kind),
        part_guid: new.guid,
        first_lba: new.range.offset() / SECTOR_SIZE,
        last_lba: (new.range.end() / SECTOR_SIZE).saturating_sub(1),
        flags: 0,
        name: new.name.clone(),
    }
}

/// The crate's error for a table that it will not write.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(error)
}

fn check_new(partitions: &[NewPartition], first_usable: u64, last_usable: u64) -> Result<()> {
    let usable = ByteRange::between(
        first_usable.saturating_mul(SECTOR_SIZE),
        last_usable.saturating_add(1).saturating_mul(SECTOR_SIZE),
    );
    for (index, new) in partitions.iter().enumerate() {
        let whole =
            new.range.offset().is_multiple_of(SECTOR_SIZE) && new.range.len().is_multiple_of(SECTOR_SIZE);
        if new.range.is_empty() || !whole || !usable.contains(new.range) {
            return Err(Error::invalid(format!(
                "partition {} of {} bytes at {:#x} does not fit into the usable part of the disk, {:#x} to {:#x}",
                new.number,
                new.range.len(),
                new.range.offset(),
                usable.offset(),
                usable.end()
            )));
        }
        if !(1..=128).contains(&new.number) || new.name.encode_utf16().count() > 36 {
            return Err(Error::invalid(format!(
                "partition {} {:?}: no such number, or too long a name",
                new.number, new.name
            )));
        }
        for other in partitions.iter().take(index) {
            if other.number == new.number || other.range.intersection(new.range).is_some() {
                return Err(Error::invalid(format!(
                    "partitions {} and {} are in each other's place",
                    other.number, new.number
                )));
            }
        }
    }
    Ok(())
}
