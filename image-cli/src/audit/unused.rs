//! Rules of unused space: what was removed is gone, and not only out of sight.
//!
//! ```text
//! ext2/3/4      blocks of no file and no table      swap      what was in memory: all behind the header, of partitions and files
//! the disk      between and behind partitions       others    not read here, and said so
//! ```

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, is_zero};
use image_core::fs::{FilesystemKind, unused_ranges};
use image_core::partition::{PartitionTable, Scheme};

use super::Subject;
use super::rule::{Finding, Judgement, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "deleted-keys",
        "no private key can be read in unused space",
        "what is removed from a filesystem stays until it is overwritten",
        keys,
    )
    .reads(&["unused space", "the partition table", "the disk", "/etc/fstab"]),
    Rule::should(
        "unused-space",
        "unused space is empty: the image is small, and nothing in it can be recovered",
        "OpenStack image guide, converting: sparse images",
        stale,
    )
    .reads(&["unused space", "the partition table", "the disk", "/etc/fstab"]),
];

const FIX: &str = "goldimg seal makes holes of it";
/// It is read in pieces of this size, in bytes.
const PIECE: u64 = 1 << 20;
/// Less than this is what every filesystem leaves, in bytes.
const LITTLE: u64 = 1 << 20;
/// How the first line of a private key ends (RFC 7468).
const KEY: &[u8] = b"PRIVATE KEY-----";
/// The header of swap space is in its first page; the largest has 64 KiB.
const SWAP_PAGES: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];

/// What is left in unused space.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Where something is left, and how many bytes are in blocks that are not all zeroes.
    places: Vec<(String, u64)>,
    /// Where a private key begins.
    keys: Vec<String>,
    /// Filesystems whose unused space is not known here.
    unknown: Vec<String>,
}

impl Stale {
    /// Reads what is stored in `ranges` of `disk`. `at` tells where an offset is.
    fn read(
        &mut self,
        place: String,
        disk: &dyn BlockRead,
        ranges: impl IntoIterator<Item = ByteRange>,
        at: impl Fn(u64) -> String,
    ) -> anyhow::Result<()> {
        let mut bytes = 0_u64;
        for range in ranges {
            for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                bytes += self.piece(disk, extent.range, &at)?;
            }
        }
        if bytes > 0 {
            self.places.push((place, bytes));
        }
        Ok(())
    }

    /// How many bytes of `range` are in blocks that are not all zeroes.
    fn piece(
        &mut self,
        disk: &dyn BlockRead,
        range: ByteRange,
        told: impl Fn(u64) -> String,
    ) -> anyhow::Result<u64> {
        let (mut at, mut stale) = (range.offset(), 0);
        while at < range.end() {
            let mut bytes = vec![0; range.end().saturating_sub(at).min(PIECE) as usize];
            disk.read_at(&mut bytes, at)?;
            let blocks = bytes.chunks(4096).filter(|block| !is_zero(block));
            stale += blocks.map(|block| block.len() as u64).sum::<u64>();
            // The marker's first byte is seldom; a key begins in one block.
            let marks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'P');
            let keys =
                marks.filter(|(index, _)| bytes.get(*index..).is_some_and(|rest| rest.starts_with(KEY)));
            self.keys.extend(keys.map(|(index, _)| told(at + index as u64)));
            at += bytes.len() as u64;
        }
        Ok(stale)
    }
}

/// What is left there, read by the rule that asks first.
fn look<'a>(subject: &Subject<'a>) -> anyhow::Result<&'a Stale> {
    let known = &subject.view.stale;
    subject.view.watch().place("unused space");
    match known.get() {
        Some(found) => Ok(found),
        None => read(subject).map(|found| known.get_or_init(|| found)),
    }
}

/// Reads all that is in no file of any filesystem.
fn read(subject: &Subject<'_>) -> anyhow::Result<Stale> {
    let mut found = Stale::default();
    let view = subject.view;
    for volume in view.volumes() {
        let window = volume.window(Arc::clone(view.disk()))?;
        let at = |offset: u64| format!("offset {:#x} of the disk", volume.range.offset() + offset);
        match volume.signature.kind {
            kind if kind.is_ext() => {
                found.read(
                    format!("unused blocks of {}", volume.name()),
                    &window,
                    unused_ranges(&window)?,
                    at,
                )?;
            }
            FilesystemKind::Swap => {
                let behind = behind_header(&window)?;
                found.read(format!("swap space, {}", volume.name()), &window, behind, at)?;
            }
            FilesystemKind::Fat | FilesystemKind::Iso9660 | FilesystemKind::Squashfs => {}
            kind => found.unknown.push(format!("{}: {kind}", volume.name())),
        }
    }
    for path in swap_files(subject)? {
        if let Some(content) = view.root().content(path.as_ref())? {
            let behind = behind_header(&*content)?;
            found
                .read(format!("swap space, {path}"), &*content, behind, |at| format!("{path}, at {at:#x}"))?;
        }
    }
    if let Some(table) = view.table() {
        let at = |offset: u64| format!("offset {offset:#x} of the disk");
        let between = between(table, view.disk().size());
        found.read("between and behind partitions".to_owned(), &**view.disk(), between, at)?;
    }
    Ok(found)
}

/// All of a swap space but its header; nothing of what is none.
fn behind_header(disk: &dyn BlockRead) -> anyhow::Result<Option<ByteRange>> {
    for page in SWAP_PAGES.into_iter().filter(|page| *page <= disk.size()) {
        let mut magic = [0; 10];
        disk.read_at(&mut magic, page.saturating_sub(10))?;
        if matches!(&magic, b"SWAPSPACE2" | b"SWAP-SPACE") {
            return Ok(Some(ByteRange::between(page, disk.size())));
        }
    }
    Ok(None)
}

/// The files that fstab has for swap space.
fn swap_files(subject: &Subject<'_>) -> anyhow::Result<Vec<String>> {
    let file = |line: String| {
        let mut words = line.split_whitespace();
        let device = words.next()?.to_owned();
        let is_swap = words.nth(1) == Some("swap");
        (is_swap && device.starts_with('/') && !device.starts_with("/dev/")).then_some(device)
    };
    Ok(super::boot::fstab_lines(subject)?.into_iter().filter_map(file).collect())
}

/// What is in no partition and in no table. What lies in front of the first partition is a boot loader's.
fn between(table: &PartitionTable, size: u64) -> Vec<ByteRange> {
    let mut taken: Vec<ByteRange> = table.partitions.iter().map(|partition| partition.range).collect();
    taken.sort_by_key(|range| range.offset());
    let Some(mut at) = taken.first().map(|range| range.offset()) else { return Vec::new() };
    // The second copy of a GPT: 128 entries of 128 bytes, and a sector.
    let table_len = match table.scheme {
        Scheme::Gpt { .. } => (16 << 10) + table.sector_size,
        Scheme::Mbr { .. } => 0,
    };
    let end = size.saturating_sub(table_len);
    let mut gaps = Vec::new();
    for range in taken.into_iter().chain([ByteRange::between(end, end)]) {
        if range.offset() > at {
            gaps.push(ByteRange::between(at, range.offset()));
        }
        at = at.max(range.end());
    }
    gaps
}

fn keys(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let found = look(subject)?;
    let told = |place: &String| Finding::new(place.clone(), "a private key that was removed", FIX);
    let findings: Vec<Finding> = found.keys.iter().map(told).collect();
    Ok(judged(found, findings, "none".to_owned()))
}

fn stale(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let found = look(subject)?;
    let bytes: u64 = found.places.iter().map(|(_, bytes)| bytes).sum();
    let told =
        |(place, bytes): &(String, u64)| Finding::new(place.clone(), format!("{bytes} bytes are in it"), FIX);
    let findings: Vec<Finding> =
        if bytes < LITTLE { Vec::new() } else { found.places.iter().map(told).collect() };
    Ok(judged(found, findings, format!("{bytes} bytes in it")))
}

/// Nothing is said to be fine of what was not seen.
fn judged(found: &Stale, findings: Vec<Finding>, kept: String) -> Judgement {
    match findings.is_empty() && !found.unknown.is_empty() {
        true => Judgement::Open(format!("unused space is not read here: {}", found.unknown.join(", "))),
        false => Judgement::of(findings, kept),
    }
}

#[cfg(test)]
mod tests {
    use image_core::block::MemoryDisk;
    use image_core::partition::{Partition, PartitionKind};

    use super::*;

    #[test]
    fn what_is_in_no_partition_is_between_them_or_behind() {
        let partition = |start: u64, end: u64| Partition {
            number: 1,
            range: ByteRange::between(start << 20, end << 20),
            kind: PartitionKind::Mbr(0x83),
            guid: None,
            name: String::new(),
        };
        let scheme = Scheme::Mbr { signature: 0 };
        let partitions = vec![partition(10, 20), partition(1, 4), partition(4, 8)];
        let table = PartitionTable { scheme, sector_size: 512, partitions, defects: Vec::new() };
        let gaps = [ByteRange::between(8 << 20, 10 << 20), ByteRange::between(20 << 20, 32 << 20)];
        assert_eq!(between(&table, 32 << 20), gaps);
        assert_eq!(between(&table, 20 << 20), gaps[..1]);
        assert_eq!(between(&PartitionTable { partitions: Vec::new(), ..table }, 32 << 20), []);
    }

    #[test]
    fn the_header_of_swap_space_is_no_trace() {
        for page in SWAP_PAGES {
            let mut bytes = vec![1; 128 << 10];
            bytes[page as usize - 10..page as usize].copy_from_slice(b"SWAPSPACE2");
            let range = behind_header(&MemoryDisk::from_bytes(bytes)).unwrap();
            assert_eq!(range, Some(ByteRange::between(page, 128 << 10)));
        }
        assert_eq!(behind_header(&MemoryDisk::from_bytes(vec![1; 100])).unwrap(), None);
    }
}
