//! FATs made for EFI system partitions, and rid of a file (Microsoft's "FAT: General Overview of On-Disk Format", 1.03).
//!
//! What is made is the same for the same input: serial number and times are given, not taken from the machine. Its
//! clusters are small enough for enough of them: firmware tells FAT32 from FAT16 by their number alone.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "of numbers that are the caller's, or the crate's"
)]

use std::path::Path;

use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::time::{FatDateTime, StaticTimeProvider};
use hadris_fat::{DirectoryEntry, FatDir, FatVolume, FatVolumeWriteExt, FileEntry, SeekFrom};

use crate::block::{BlockRead, BlockWrite, Stream};
use crate::error::{Doing, Error, Result};

/// The smallest volume with enough clusters for FAT32, in bytes: 65,525 of a sector each, and the tables.
const FAT32_MIN: u64 = 33 << 20;
/// More entries than a directory is read for.
const ENTRY_LIMIT: usize = 65_536;

/// How a FAT is made.
#[derive(Debug, Clone)]
pub struct NewFat {
    /// Its label, up to 11 characters; empty for none.
    pub label: String,
    /// Its serial number.
    pub serial: u32,
    /// The time of all that is in it, in seconds since 1970; 1980 at least.
    pub seconds: u64,
    /// The sector where its partition begins on the disk.
    pub hidden_sectors: u32,
}

/// A file to put into it.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where, with `/` between names; directories are made as needed.
    pub path: String,
    /// What.
    pub content: Vec<u8>,
}

/// Makes a FAT of all of `disk`, which must read as zeroes, with `files` in it: FAT32 from 33 MiB on, else FAT16.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a size that no FAT has, or files that do not fit.
pub fn make_fat(disk: &impl BlockWrite, options: &NewFat, files: &[NewFile]) -> Result<()> {
    let fat_type = if disk.size() >= FAT32_MIN { FatTypeSelection::Fat32 } else { FatTypeSelection::Fat16 };
    let mut format = FatFormatOptions::new(disk.size())
        .fat_type(fat_type)
        .hidden_sectors(options.hidden_sectors)
        .volume_id(options.serial);
    if !options.label.is_empty() {
        format = format.volume_label(&options.label);
    }
    FatVolumeFormatter::format(FatStream(Stream::new(disk)), format).map_err(invalid)?;

    // The crate wants a clock that lives as long as the program: a few bytes for each volume that is made.
    let time = date_time(options.seconds);
    let clock: &'static StaticTimeProvider = Box::leak(Box::new(StaticTimeProvider(time)));
    let volume =
        FatVolume::builder(FatStream(Stream::new(disk))).time_provider(clock).open().map_err(invalid)?;
    for file in files {
        write(&volume, file).doing(|| format!("writing {} into the FAT", file.path))?;
    }
    volume.sync().map_err(invalid)
}

fn write<D: BlockWrite>(volume: &FatVolume<FatStream<D>>, file: &NewFile) -> Result<()> {
    let mut parents: Vec<&str> = file.path.split('/').filter(|name| !name.is_empty()).collect();
    let name = parents.pop().ok_or_else(|| Error::invalid("a file without a name"))?;
    let mut directory = volume.root_dir();
    for parent in parents {
        directory = match directory.find(parent).map_err(invalid)? {
            Some(entry) => volume.open_dir_entry(&entry).map_err(invalid)?,
            None => volume.create_dir(&directory, parent).map_err(invalid)?,
        };
    }
    let entry = volume.create_file(&directory, name).map_err(invalid)?;
    overwrite(volume, &entry, &file.content)
}

/// Writes `content` where the file of `entry` has its own, and behind it.
fn overwrite<D: BlockWrite>(
    volume: &FatVolume<FatStream<D>>,
    entry: &FileEntry,
    content: &[u8],
) -> Result<()> {
    let mut writer = volume.write_file(entry).map_err(invalid)?;
    let mut rest = content;
    while !rest.is_empty() {
        let count = writer.write(rest).map_err(invalid)?;
        if count == 0 {
            return Err(Error::invalid("there is no more room"));
        }
        rest = &rest[count..];
    }
    writer.finish().map_err(invalid)
}

/// `seconds` since 1970 as FAT has it, in UTC (days to calendar by the usual 400-year reckoning from 1 March).
fn date_time(seconds: u64) -> FatDateTime {
    let seconds = seconds.max(315_532_800);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    FatDateTime::new(
        u16::try_from(year).unwrap_or(u16::MAX),
        month as u8,
        day as u8,
        (rest / 3600) as u8,
        (rest / 60 % 60) as u8,
        (rest % 60) as u8,
    )
}

fn invalid(error: hadris_fat::Error) -> Error {
    Error::invalid(error.to_string())
}

fn broken(error: hadris_fat::Error) -> Error {
    Error::corrupt(error.to_string())
}

/// A stream in the words of the FAT crate.
struct FatStream<D>(Stream<D>);

impl<D: BlockRead> hadris_fat::Read for FatStream<D> {
    type Error = hadris_fat::sync::ErrorKind;

    fn read(&mut self, buf: &mut [u8]) -> hadris_fat::IoResult<usize, Self::Error> {
        std::io::Read::read(&mut self.0, buf).map_err(io_error)
    }
}

impl<D: BlockWrite> hadris_fat::Write for FatStream<D> {
    type Error = hadris_fat::sync::ErrorKind;

    fn write(&mut self, buf: &[u8]) -> hadris_fat::IoResult<usize, Self::Error> {
        std::io::Write::write(&mut self.0, buf).map_err(io_error)
    }

    fn flush(&mut self) -> hadris_fat::IoResult<(), Self::Error> {
        Ok(())
    }
}

impl<D: BlockRead> hadris_fat::Seek for FatStream<D> {
    type Error = hadris_fat::sync::ErrorKind;

    fn seek(&mut self, to: SeekFrom) -> hadris_fat::IoResult<u64, Self::Error> {
        let to = match to {
            SeekFrom::Start(offset) => std::io::SeekFrom::Start(offset),
            SeekFrom::End(distance) => std::io::SeekFrom::End(distance),
            SeekFrom::Current(distance) => std::io::SeekFrom::Current(distance),
        };
        std::io::Seek::seek(&mut self.0, to).map_err(io_error)
    }
}

/// The crate takes a kind, no words.
fn io_error(error: std::io::Error) -> hadris_fat::sync::Error<hadris_fat::sync::ErrorKind> {
    hadris_fat::sync::Error::from_kind(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => hadris_fat::sync::ErrorKind::UnexpectedEof,
        _ => hadris_fat::sync::ErrorKind::Other,
    })
}

/// Removes the file or empty directory `path` from the FAT that is all of `disk`. Zeroes are written over what was in it.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) if there is no such file, or something is in that directory;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a FAT that is broken; whatever the disk says.
pub fn remove_from_fat(disk: &impl BlockWrite, path: &Path) -> Result<()> {
    let doing = || format!("removing {} from the FAT", path.display());
    let files = Volume::open(disk)?;
    let Some(Some(entry)) = files.find(path).doing(doing)? else {
        return Err(Error::invalid("it is not there")).doing(doing);
    };
    if !entry.is_directory() {
        let zeroes = vec![0; entry.len() as usize];
        overwrite(&files.volume, &entry, &zeroes).doing(doing)?;
    }
    files.volume.delete(&entry).and_then(|()| files.volume.sync()).map_err(invalid).doing(doing)
}

type Directory<'a, D> = FatDir<'a, FatStream<D>>;

/// A FAT in the words of the crate.
struct Volume<D: BlockRead> {
    volume: FatVolume<FatStream<D>>,
}

impl<D: BlockRead> Volume<D> {
    fn open(disk: D) -> Result<Self> {
        let volume = FatVolume::open(FatStream(Stream::new(disk)));
        Ok(Self { volume: volume.map_err(broken).doing(|| "opening the FAT")? })
    }

    /// The entry of `path`; the inner `None` is the root directory, which has none.
    fn find(&self, path: &Path) -> Result<Option<Option<FileEntry>>> {
        let mut found: Option<FileEntry> = None;
        for name in path.components() {
            let std::path::Component::Normal(name) = name else { continue };
            let Some(directory) = self.directory(found.as_ref())? else { return Ok(None) };
            let name = name.to_string_lossy();
            match self.entries(&directory)?.into_iter().find(|entry| entry.name().eq_ignore_ascii_case(&name))
            {
                Some(entry) => found = Some(entry),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    fn directory(&self, entry: Option<&FileEntry>) -> Result<Option<Directory<'_, D>>> {
        match entry {
            None => Ok(Some(self.volume.root_dir())),
            Some(entry) if entry.is_directory() => {
                self.volume.open_dir_entry(entry).map(Some).map_err(broken)
            }
            Some(_) => Ok(None),
        }
    }

    fn entries(&self, directory: &Directory<'_, D>) -> Result<Vec<FileEntry>> {
        let mut entries = Vec::new();
        let mut iter = directory.entries();
        while let Some(entry) = iter.next_entry() {
            let DirectoryEntry::Entry(entry) = entry.map_err(broken)?;
            if !matches!(&*entry.name(), "." | "..") {
                entries.push(entry);
            }
            if entries.len() > ENTRY_LIMIT {
                return Err(Error::corrupt(format!("a directory has more than {ENTRY_LIMIT} entries")));
            }
        }
        Ok(entries)
    }
}
