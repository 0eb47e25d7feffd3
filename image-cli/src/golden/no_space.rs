//! When there is no room left: which filesystem is full, and what helps.
//!
//! ```text
//! error, or the last words of apt, dpkg, mke2fs, a step ─► "no space left"? ─► every place that a build writes to
//!                                                                              ─► the fullest: its size, its remedy
//! ```

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, statvfs};

use super::log::Log;
use crate::error::Advise;
use crate::size::Size;

/// How programs say it, the C library's words first.
const WORDS: [&str; 5] = [
    "No space left on device",
    "Disk quota exceeded",
    "enough free space in",
    "ENOSPC",
    "write error: disk full",
];
/// A filesystem with less than this part free is taken for full: what failed may have taken its file away again.
const NEARLY: u64 = 20;
/// How much of the log is looked at, in bytes.
const TAIL: u64 = 64 << 10;

/// A place that a build writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) what: What,
    pub(crate) path: PathBuf,
}

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Memory,
    WorkDirectory,
    Output,
    Cache,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the memory filesystem that the build works in",
            Self::WorkDirectory => "the filesystem of the work directory",
            Self::Output => "the filesystem of the outputs",
            Self::Cache => "the filesystem of the package cache",
        })
    }
}

impl What {
    fn remedy(self) -> &'static str {
        match self {
            Self::Memory => "build on disk, with --work-dir /var/tmp or another folder with room",
            Self::WorkDirectory => "make room there, or build elsewhere with --work-dir DIR",
            Self::Output => "make room there, or write elsewhere with -o DIR",
            Self::Cache => "make room there, or keep packages elsewhere with --cache-dir DIR",
        }
    }
}

/// How much there is of a filesystem.
#[derive(Debug, Clone, Copy)]
struct Room {
    size: u64,
    free: u64,
    /// Whether it could hold another file.
    files: bool,
}

impl From<StatVfs> for Room {
    fn from(stat: StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // Filesystems without a table of inodes say that they have none.
        Self {
            size: bytes(stat.f_blocks),
            free: bytes(stat.f_bavail),
            files: stat.f_files == 0 || stat.f_favail > 0,
        }
    }
}

/// Adds to a failure for want of room which of `places` is full, and what helps.
///
/// # Errors
/// As `result`.
pub(crate) fn explain<T>(result: crate::Result<T>, log: Option<&Log>, places: &[Place]) -> crate::Result<T> {
    let Err(error) = result else { return result };
    if !is_for_want_of_room(&error) && !log.is_some_and(says_so) {
        return Err(error);
    }
    let rooms: Vec<(&Place, Room)> =
        places.iter().filter_map(|place| Some((place, statvfs(&place.path).ok()?.into()))).collect();
    match hint(&rooms) {
        Some(hint) => Err(error).hint(|| hint),
        None => Err(error),
    }
}

/// What to say of places with so much room.
fn hint(rooms: &[(&Place, Room)]) -> Option<String> {
    let told = |(place, room): &(&Place, Room)| {
        let full = match room.files {
            true => format!("{} of {} are free", Size(room.free), Size(room.size)),
            false => "it has no room for another file".into(),
        };
        format!("{} is full ({}: {full}): {}", place.what, place.path.display(), place.what.remedy())
    };
    let is_full = |room: &Room| !room.files || room.free < room.size / NEARLY;
    let full: Vec<String> = rooms.iter().filter(|(_, room)| is_full(room)).map(told).collect();
    if !full.is_empty() {
        return Some(full.join("\n"));
    }
    // What was written is gone already: then the smallest is the likeliest.
    let (place, room) = rooms.iter().min_by_key(|(_, room)| room.free)?;
    Some(format!(
        "there is room again ({} has {} free at {}): {}",
        place.what,
        Size(room.free),
        place.path.display(),
        place.what.remedy()
    ))
}

fn is_for_want_of_room(error: &crate::Error) -> bool {
    error.links().any(|link| {
        let kind = link.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
            || has_words(&link.to_string())
    })
}

/// Whether the end of the log says it: the last words of what failed may be about what came of it.
fn says_so(log: &Log) -> bool {
    // Of the stage that failed.
    tail(log.path()).is_ok_and(|text| has_words(text.rsplit("\n# == ").next().unwrap_or_default()))
}

/// The end of the file at `path`.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn has_words(text: &str) -> bool {
    WORDS.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use crate::error::{Context, err};

    use super::*;
    use crate::error::rendered;

    fn place(what: What) -> Place {
        Place { what, path: "/somewhere".into() }
    }

    #[test]
    fn the_full_place_is_named_with_its_remedy() {
        let (memory, output) = (place(What::Memory), place(What::Output));
        let roomy = Room { size: 100 << 30, free: 50 << 30, files: true };
        let full = Room { size: 3 << 30, free: 4096, files: true };
        let said = hint(&[(&memory, full), (&output, roomy)]).unwrap();
        assert_eq!(
            said,
            "the memory filesystem that the build works in is full (/somewhere: 4.00 KiB of 3.00 GiB are free): \
             build on disk, with --work-dir /var/tmp or another folder with room"
        );
        let no_files = Room { files: false, ..roomy };
        let said = hint(&[(&memory, roomy), (&output, no_files)]).unwrap();
        assert!(said.contains("outputs is full (/somewhere: it has no room for another file)"), "{said}");
        let said = hint(&[(&output, roomy), (&memory, Room { free: 40 << 30, ..roomy })]).unwrap();
        assert!(said.starts_with("there is room again") && said.contains("--work-dir"), "{said}");
        assert_eq!(hint(&[]), None);
    }

    #[test]
    fn want_of_room_is_known_by_its_number_or_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let places = [Place { what: What::WorkDirectory, path: dir.path().into() }];
        let hinted = |error: crate::Error| {
            rendered(&explain::<()>(Err(error), None, &places).unwrap_err()).contains("--work-dir")
        };
        let by_number: std::io::Error = rustix::io::Errno::NOSPC.into();
        assert!(hinted(crate::Error::from(by_number).context("writing").context("stage")));
        let quota: std::io::Error = rustix::io::Errno::DQUOT.into();
        assert!(hinted(quota.into()));
        assert!(hinted(err!("dpkg failed\n  | cannot copy: No space left on device")));
        assert!(!hinted(err!("no such file")));
        explain(Ok(()), None, &places).unwrap();
        // dpkg said it long before its last words.
        let log = Log::create(&dir.path().join("log")).unwrap();
        log.note("== an earlier stage\nNo space left on device").unwrap();
        log.note("== the stage").unwrap();
        let failed = |log: &Log| {
            let failed = Err::<(), _>(err!("apt-get failed")).context("stage");
            rendered(&explain(failed, Some(log), &places).unwrap_err()).contains("--work-dir")
        };
        assert!(!failed(&log));
        log.note(&format!("cannot copy: No space left on device\n{}", "later words\n".repeat(30))).unwrap();
        assert!(failed(&log));
    }
}
