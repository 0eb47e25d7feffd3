//! What belongs to no file of a FAT becomes zeroes: free clusters, behind the ends of files, entries that were removed.
//!
//! ```text
//! boot sector, FATs, copies │ root directory (FAT12, FAT16) │ clusters from 2 on
//!            └─► a number for each cluster: 0 free │ the next one │ end
//! directory   entries of 32 bytes: 0xe5 removed │ 0 the end of all │ …
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03. All is looked at before anything is written: a cluster that two have
//! would be somebody's content.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashSet;

use crate::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, ZeroMode};
use crate::error::{Doing, Error, Result};

/// More of a file allocation table is not read at once.
const TABLE_MAX: u64 = 64 << 20;
const ENTRY_LEN: usize = 32;
/// Marks of entries, and attributes of them.
const REMOVED: u8 = 0xe5;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// Bytes are looked at in pieces of this size.
const PIECE: u64 = 1 << 20;

/// Makes zeroes, or holes, of all bytes that belong to no file of the FAT that is all of `disk`. Answers with how many bytes other than
/// zero there were.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for impossible numbers, and clusters that two files have: then nothing was written;
/// whatever the disk says.
pub fn scrub_fat(disk: &dyn BlockWrite) -> Result<u64> {
    let doing = || "wiping what belongs to no file of the FAT";
    let fat = Fat::read(disk).doing(doing)?;
    let found = fat.survey(disk).doing(doing)?;
    let mut wiped = 0_u64;
    for range in found.ranges {
        wiped = wiped.saturating_add(wipe(disk, range).doing(doing)?);
    }
    for (offset, old, new) in found.entries {
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).count() as u64;
        wiped = wiped.saturating_add(count(&old).saturating_sub(count(&new)));
        disk.write_at(&new, offset).doing(doing)?;
    }
    Ok(wiped)
}

/// Where a FAT has what, in bytes.
struct Fat {
    table: Vec<u8>,
    /// Bits of a number in the table.
    bits: u64,
    cluster_size: u64,
    /// Where cluster 2 is.
    data: u64,
    /// The number behind the last cluster.
    end: u64,
    root: Root,
}

#[derive(Clone, Copy)]
enum Root {
    At(ByteRange),
    Cluster(u64),
}

/// What is to be wiped.
#[derive(Default)]
struct Found {
    ranges: Vec<ByteRange>,
    /// Pieces of directories: where, what is there, and what is to be.
    entries: Vec<(u64, Vec<u8>, Vec<u8>)>,
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let own = bytes.get(at..at.saturating_add(len)).unwrap_or_default();
    own.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn wrong(what: &str) -> Error {
    Error::corrupt(format!("the FAT has an impossible {what}"))
}

impl Fat {
    fn read(disk: &dyn BlockRead) -> Result<Self> {
        let mut boot = [0; 512];
        disk.read_at(&mut boot, 0)?;
        let field = |at, len| number(&boot, at, len);
        let (sector, per_cluster) = (field(0x0b, 2), field(0x0d, 1));
        if !sector.is_power_of_two() || !(512..=4096).contains(&sector) || !per_cluster.is_power_of_two() {
            return Err(wrong("size of a sector or a cluster"));
        }
        let either = |short: u64, long: u64| if short == 0 { long } else { short };
        let (tables, table_sectors) = (field(0x10, 1), either(field(0x16, 2), field(0x24, 4)));
        let root_entries = field(0x11, 2);
        let root_start = field(0x0e, 2).saturating_add(tables.saturating_mul(table_sectors));
        let root_sectors = root_entries.saturating_mul(32).div_ceil(sector);
        let data_start = root_start.saturating_add(root_sectors);
        let total = either(field(0x13, 2), field(0x20, 4));
        let clusters = total.saturating_sub(data_start).checked_div(per_cluster).unwrap_or(0);
        // FAT32 has no length in 16 bits: that tells it from others, however few clusters it has.
        let bits = match (field(0x16, 2), clusters) {
            (0, _) => 32,
            (_, 0..4085) => 12,
            _ => 16,
        };
        let end = clusters.saturating_add(2);
        let table_len = table_sectors.saturating_mul(sector);
        let is_whole =
            total.saturating_mul(sector) <= disk.size() && end.saturating_mul(bits).div_ceil(8) <= table_len;
        if tables == 0 || clusters == 0 || !is_whole || table_len > TABLE_MAX {
            return Err(wrong("size"));
        }
        let mut table = vec![0; table_len as usize];
        disk.read_at(&mut table, field(0x0e, 2).saturating_mul(sector))?;
        let at = ByteRange::new(root_start.saturating_mul(sector), root_entries.saturating_mul(32))?;
        let root = if bits == 32 { Root::Cluster(field(0x2c, 4)) } else { Root::At(at) };
        let cluster_size = per_cluster.saturating_mul(sector);
        Ok(Self { table, bits, cluster_size, data: data_start.saturating_mul(sector), end, root })
    }

    /// What the table says of `cluster`.
    fn next(&self, cluster: u64) -> u64 {
        match self.bits {
            12 => {
                let at = cluster.saturating_add(cluster >> 1) as usize;
                let pair = number(&self.table, at, 2);
                if cluster & 1 == 0 { pair & 0xfff } else { pair >> 4 }
            }
            16 => number(&self.table, cluster.saturating_mul(2) as usize, 2),
            _ => number(&self.table, cluster.saturating_mul(4) as usize, 4) & 0x0fff_ffff,
        }
    }

    fn place(&self, cluster: u64) -> Result<ByteRange> {
        let start = cluster.saturating_sub(2).saturating_mul(self.cluster_size).saturating_add(self.data);
        ByteRange::new(start, self.cluster_size)
    }

    /// The clusters from `first` on, each of which nobody had before.
    fn chain(&self, first: u64, seen: &mut HashSet<u64>) -> Result<Vec<ByteRange>> {
        let mut places = Vec::new();
        let mut at = first;
        // A file without content has none.
        while at != 0 {
            if !(2..self.end).contains(&at) || self.next(at) == 0 {
                return Err(wrong("chain of clusters"));
            }
            if !seen.insert(at) {
                return Err(Error::corrupt(format!("cluster {at} of the FAT is in two files")));
            }
            places.push(self.place(at)?);
            at = self.next(at);
            // Bad clusters are in no chain; what is behind them is its end.
            if at >= (0x0fff_fff8 & (u64::MAX >> 64_u64.saturating_sub(self.bits))) {
                break;
            }
        }
        Ok(places)
    }

    fn survey(&self, disk: &dyn BlockRead) -> Result<Found> {
        let mut found = Found::default();
        let mut seen = HashSet::new();
        let mut waiting = match self.root {
            Root::At(place) => vec![vec![place]],
            Root::Cluster(first) => vec![self.chain(first, &mut seen)?],
        };
        while let Some(places) = waiting.pop() {
            let mut is_over = false;
            for place in places {
                let mut old = vec![0; place.len() as usize];
                disk.read_at(&mut old, place.offset())?;
                let mut new = old.clone();
                for entry in new.chunks_exact_mut(ENTRY_LEN) {
                    is_over |= entry.first() == Some(&0);
                    if is_over {
                        entry.fill(0);
                    } else if entry.first() == Some(&REMOVED) {
                        entry.get_mut(1..).unwrap_or_default().fill(0);
                    } else if let Some(inside) = self.entry(entry, &mut seen, &mut found)? {
                        waiting.push(inside);
                    }
                }
                if new != old {
                    found.entries.push((place.offset(), old, new));
                }
            }
        }
        for cluster in (2..self.end).filter(|cluster| self.next(*cluster) == 0) {
            let place = self.place(cluster)?;
            match found.ranges.last_mut() {
                Some(last) if last.end() == place.offset() => {
                    *last = ByteRange::between(last.offset(), place.end())
                }
                _ => found.ranges.push(place),
            }
        }
        Ok(found)
    }

    /// Looks at an entry in use: where a directory has its own, and what a file has behind its end.
    fn entry(
        &self,
        entry: &[u8],
        seen: &mut HashSet<u64>,
        found: &mut Found,
    ) -> Result<Option<Vec<ByteRange>>> {
        let attributes = number(entry, 0x0b, 1) as u8;
        // Labels, and parts of long names.
        if attributes & LABEL != 0 || entry.starts_with(b". ") || entry.starts_with(b".. ") {
            return Ok(None);
        }
        let first = number(entry, 0x14, 2) << 16 | number(entry, 0x1a, 2);
        let first = if self.bits == 32 { first } else { first & 0xffff };
        let places = self.chain(first, seen)?;
        if attributes & DIRECTORY != 0 {
            return Ok(Some(places));
        }
        let mut left = number(entry, 0x1c, 4);
        for place in places {
            let used = left.min(place.len());
            left = left.saturating_sub(used);
            if used < place.len() {
                found.ranges.push(ByteRange::between(place.offset().saturating_add(used), place.end()));
            }
        }
        Ok(None)
    }
}

/// Wipes `range`; what is zeroes already is left alone.
fn wipe(disk: &dyn BlockWrite, range: ByteRange) -> Result<u64> {
    let mut wiped = 0_u64;
    for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        let mut at = extent.range.offset();
        while at < extent.range.end() {
            let mut bytes = vec![0; extent.range.end().saturating_sub(at).min(PIECE) as usize];
            disk.read_at(&mut bytes, at)?;
            let stale = bytes.iter().filter(|byte| **byte != 0).count() as u64;
            let end = at.saturating_add(bytes.len() as u64);
            if stale > 0 {
                disk.write_zeroes(ByteRange::between(at, end), ZeroMode::Punch)?;
            }
            wiped = wiped.saturating_add(stale);
            at = end;
        }
    }
    Ok(wiped)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::block::MemoryDisk;
    use crate::fs::{Files, NewFat, NewFile, make_fat, open, remove_from_fat};

    fn count(disk: &MemoryDisk, wanted: &[u8]) -> usize {
        disk.to_bytes().windows(wanted.len()).filter(|window| *window == wanted).count()
    }

    /// `mkfs.fat -F 32` makes one of any size.
    #[test]
    fn a_small_fat32_is_one() {
        let disk = MemoryDisk::new(20 << 20);
        let mut boot = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x0b, &512_u16.to_le_bytes());
        put(0x0d, &[1]);
        put(0x0e, &32_u16.to_le_bytes());
        put(0x10, &[2]);
        put(0x20, &40_960_u32.to_le_bytes());
        put(0x24, &316_u32.to_le_bytes());
        put(0x2c, &2_u32.to_le_bytes());
        disk.write_at(&boot, 0).unwrap();
        let fat = Fat::read(&disk).unwrap();
        assert_eq!((fat.bits, fat.end), (32, 40_960 - 32 - 2 * 316 + 2));
        assert!(matches!(fat.root, Root::Cluster(2)));
    }

    #[test]
    fn removed_files_free_clusters_and_ends_are_wiped_and_files_stay() {
        for size in [4 << 20, 40 << 20] {
            let disk = Arc::new(MemoryDisk::new(size));
            let file = |path: &str, content: Vec<u8>| NewFile { path: path.into(), content };
            let files = [
                file("loader/random-seed", b"SECRET-SEED".repeat(2000)),
                file("loader/loader.conf", b"timeout 0".to_vec()),
                file("EFI/BOOT/BOOTX64.EFI", vec![7; 100_000]),
            ];
            let options = NewFat { label: "ESP".into(), serial: 1, seconds: 0, hidden_sectors: 0 };
            make_fat(&*disk, &options, &files).unwrap();
            // Behind a file's end, and in what is free: wherever a cluster holds neither.
            let bytes = disk.to_bytes();
            let find =
                |wanted: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
            disk.write_at(b"SECRET-TAIL", find(b"timeout 0") as u64 + 9).unwrap();
            disk.write_at(b"SECRET-FREE", size as u64 - 70_000).unwrap();
            remove_from_fat(&*disk, Path::new("/loader/random-seed")).unwrap();
            assert_eq!(count(&disk, b"SECRET-"), 2, "what was in the file went with it");
            assert!(scrub_fat(&*disk).unwrap() > 30);
            for secret in [&b"SECRET-"[..], b"a\0n\0d\0o\0"] {
                assert_eq!(count(&disk, secret), 0, "{}", String::from_utf8_lossy(secret));
            }
            assert_eq!(scrub_fat(&*disk).unwrap(), 0);
            let files = open(Arc::clone(&disk) as Arc<dyn BlockRead>).unwrap();
            assert_eq!(files.read("/loader/loader.conf".as_ref(), 99).unwrap().unwrap(), b"timeout 0");
            assert!(
                files.read("/EFI/BOOT/BOOTX64.EFI".as_ref(), 1 << 20).unwrap().unwrap() == vec![7; 100_000]
            );
        }
    }

    #[test]
    fn a_cluster_that_two_files_have_is_refused_before_anything_is_wiped() {
        let disk = MemoryDisk::new(4 << 20);
        let file = |path: &str| NewFile { path: path.into(), content: path.as_bytes().repeat(50) };
        let options = NewFat { label: String::new(), serial: 1, seconds: 0, hidden_sectors: 0 };
        make_fat(&disk, &options, &[file("A.TXT"), file("B.TXT")]).unwrap();
        let bytes = disk.to_bytes();
        let entry = |name: &[u8]| bytes.windows(11).position(|window| window == name).unwrap();
        let first = &bytes[entry(b"A       TXT") + 0x1a..][..2];
        disk.write_at(first, entry(b"B       TXT") as u64 + 0x1a).unwrap();
        let before = disk.to_bytes();
        assert!(scrub_fat(&disk).unwrap_err().to_string().contains("wiping"));
        assert!(disk.to_bytes() == before);
    }
}
