//! The files of an archive, told as those of an image or a folder are: to be compared.
//!
//! ```text
//! archive ─► entries, in any order ─► the last one of each path ─► by path
//!              content: where in the archive it is          a folder that is in paths alone: nothing but that it is one
//! compressed ─► unpacked into a file that has no name any more
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, Extents, FileDisk};
use image_core::fs::{Node, NodeId, NodeKind};

use super::by_names;
use super::owners::Owners;
use super::tar::{Entry, Kind, Unpack, inside};
use crate::error::{Context, bail, err};
use crate::monitor::Monitor;
use crate::packed::{packing_of, unpack_file};
use crate::printable::printable;

/// An archive has no more entries.
const ENTRIES_MAX: usize = 1 << 22;
/// Where headers of POSIX and of GNU tar have their mark, and how it begins.
const MARK_AT: usize = 257;
const MARK: &[u8; 5] = b"ustar";
/// So much of an archive tells that it is one, in bytes.
const BEGIN: u64 = 512;

/// The files of an archive.
pub struct Archived {
    file: Arc<FileDisk>,
    /// By path, in the order of a walk.
    entries: Vec<Stored>,
}

/// An entry, and where its content is in the archive.
pub(super) struct Stored {
    entry: Entry,
    begin: u64,
    /// Which file it is, of all that are in the archive.
    id: NodeId,
    links: u32,
    /// Whether it is only in the paths of others.
    is_implied: bool,
}

impl std::fmt::Debug for Archived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archived").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Archived {
    /// Whether the file `path` is a tar archive, be it compressed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_one(path: &Path) -> crate::Result<bool> {
        let doing = || format!("reading {}", path.display());
        let file = File::open(path).with_context(doing)?;
        let mut begin = Vec::new();
        match packing_of(path)? {
            None => file.take(BEGIN).read_to_end(&mut begin).with_context(doing)?,
            // What cannot be unpacked is told by whoever needs it.
            Some(packing) => packing
                .unpack(BufReader::new(file))
                .and_then(|all| all.take(BEGIN).read_to_end(&mut begin))
                .unwrap_or(0),
        };
        Ok(begin.get(MARK_AT..).is_some_and(|rest| rest.starts_with(MARK)))
    }

    /// The archive `path`, which may be compressed: then it is unpacked in the folder `work`. Names in access control lists are those of
    /// `owners`.
    ///
    /// # Errors
    /// If it is none, cannot be read, or is damaged; if there is no room for it.
    pub fn open(path: &Path, work: &Path, owners: Owners, monitor: Monitor<'_>) -> crate::Result<Self> {
        let opened =
            |path: &Path| FileDisk::open(path).with_context(|| format!("opening {}", path.display()));
        let file = match packing_of(path)? {
            None => opened(path)?,
            Some(packing) => {
                let doing = || format!("making a file in {}", work.display());
                let folder = tempfile::tempdir_in(work).with_context(doing)?;
                let unpacked = folder.path().join("archive.tar");
                unpack_file(path, packing, &unpacked, monitor)?;
                opened(&unpacked)?
            }
        };
        let file = Arc::new(file);
        let entries = read(&file, owners, monitor).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { file, entries })
    }

    /// What is beneath `start`, each with its path from there.
    ///
    /// # Errors
    /// If there is nothing of that name.
    pub(super) fn beneath(&self, start: &Path) -> crate::Result<impl Iterator<Item = (Vec<u8>, &Stored)>> {
        let start = start.strip_prefix("/").unwrap_or(start).as_os_str().as_bytes().to_vec();
        let inside = move |path: &[u8]| match path.strip_prefix(start.as_slice())? {
            rest if start.is_empty() || rest.is_empty() => Some(rest.to_vec()),
            rest => rest.strip_prefix(b"/").map(<[u8]>::to_vec),
        };
        let entries = self.entries.iter();
        let mut found = entries.filter_map(move |own| Some((inside(&own.entry.path)?, own))).peekable();
        match found.peek() {
            Some(_) => Ok(found),
            None => Err(err!("there is no such file in the archive")),
        }
    }
}

impl Stored {
    /// Whether nothing is known of it but that it is a folder.
    pub(super) fn is_implied(&self) -> bool {
        self.is_implied
    }

    pub(super) fn node(&self) -> Node {
        let entry = &self.entry;
        let kind = match entry.kind {
            Kind::File | Kind::HardLink => NodeKind::File,
            Kind::Link => NodeKind::Link,
            Kind::CharacterDevice => NodeKind::CharacterDevice,
            Kind::BlockDevice => NodeKind::BlockDevice,
            Kind::Directory => NodeKind::Directory,
            Kind::Pipe => NodeKind::Pipe,
        };
        let is_device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice);
        Node {
            id: self.id,
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            allocated: 0,
            links: self.links,
            flags: 0,
            accessed: entry.modified,
            changed: entry.modified,
            modified: entry.modified,
            created: None,
            device: is_device.then_some(entry.device),
        }
    }

    pub(super) fn target(&self) -> Vec<u8> {
        self.entry.link.clone()
    }

    pub(super) fn attributes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.entry.attributes.iter().map(|own| (own.name.clone(), own.value.clone())).collect()
    }

    /// What is in it: pieces of the archive, one behind the other, and zeroes between them.
    pub(super) fn content(&self, archive: &Archived) -> Content {
        let mut at = self.begin;
        let placed = |range: &ByteRange| {
            let begin = at;
            at = at.saturating_add(range.len());
            (*range, begin)
        };
        let pieces = self.entry.data.iter().map(placed).collect();
        Content { file: Arc::clone(&archive.file), size: self.entry.size, pieces }
    }
}

/// A file that is in an archive.
pub(super) struct Content {
    file: Arc<FileDisk>,
    size: u64,
    /// What of it is stored, and where in the archive.
    pieces: Vec<(ByteRange, u64)>,
}

impl BlockRead for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> image_core::Result<()> {
        buf.fill(0);
        let wanted = ByteRange::new(offset, buf.len() as u64)?;
        wanted.check_within(self.size)?;
        for (from, to, place) in self.stored(wanted) {
            let (first, end) = (from.saturating_sub(offset) as usize, to.saturating_sub(offset) as usize);
            self.file.read_at(buf.get_mut(first..end).unwrap_or_default(), place)?;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> image_core::Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        let mut at = range.offset();
        for (from, to, _) in self.stored(range) {
            extents.push(from.saturating_sub(at), ExtentKind::Hole);
            extents.push(to.saturating_sub(from), ExtentKind::Data);
            at = to;
        }
        extents.push(range.end().saturating_sub(at), ExtentKind::Hole);
        Ok(extents)
    }
}

impl Content {
    /// What of `wanted` is stored: from where, to where, and at which place of the archive.
    fn stored(&self, wanted: ByteRange) -> impl Iterator<Item = (u64, u64, u64)> {
        let first = self.pieces.partition_point(|(range, _)| range.end() <= wanted.offset());
        let near = self.pieces.iter().skip(first).take_while(move |(range, _)| range.offset() < wanted.end());
        near.filter_map(move |(range, begin)| {
            let (from, to) = (range.offset().max(wanted.offset()), range.end().min(wanted.end()));
            (from < to).then(|| (from, to, begin.saturating_add(from.saturating_sub(range.offset()))))
        })
    }
}

/// Reads what follows one place of a file after the other.
struct Follow<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Follow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.at)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

/// All entries of the archive `file`, by path.
fn read(file: &FileDisk, owners: Owners, monitor: Monitor<'_>) -> crate::Result<Vec<Stored>> {
    let mut unpack = Unpack::new(Follow { file: file.file(), at: 0 }, owners);
    let mut all: BTreeMap<Vec<u8>, Stored> = BTreeMap::new();
    let mut count = 0_u64;
    while let Some(mut entry) = unpack.entry()? {
        monitor.check()?;
        if all.len() >= ENTRIES_MAX {
            bail!("there are more than {ENTRIES_MAX} files in it");
        }
        count = count.saturating_add(1);
        entry.path = plain(&entry.path)?;
        let begin = unpack.input().at;
        let stored = match entry.kind {
            Kind::HardLink => {
                let first = plain(&entry.link)?;
                let first = all.get(&first).ok_or_else(|| {
                    err!(
                        "{}: it is another name of {}, which does not come before it",
                        printable(&String::from_utf8_lossy(&entry.path)),
                        printable(&String::from_utf8_lossy(&entry.link))
                    )
                })?;
                Stored { entry: Entry { path: entry.path, ..first.entry.clone() }, ..*first }
            }
            _ => Stored { entry, begin, id: NodeId::new(count), links: 1, is_implied: false },
        };
        all.insert(stored.entry.path.clone(), stored);
    }
    add_implied(&mut all);
    let mut names: BTreeMap<NodeId, u32> = BTreeMap::new();
    for own in all.values() {
        let count = names.entry(own.id).or_default();
        *count = count.saturating_add(1);
    }
    let mut entries: Vec<Stored> = all.into_values().collect();
    for own in &mut entries {
        own.links = names.get(&own.id).copied().unwrap_or(1);
    }
    entries.sort_by(|one, other| by_names(&one.entry.path, &other.entry.path));
    Ok(entries)
}

/// Adds the folders that are in paths alone.
fn add_implied(all: &mut BTreeMap<Vec<u8>, Stored>) {
    let mut missing: BTreeSet<Vec<u8>> = BTreeSet::new();
    for path in all.keys() {
        for above in Path::new(OsStr::from_bytes(path)).ancestors().skip(1) {
            let above = above.as_os_str().as_bytes();
            if all.contains_key(above) || !missing.insert(above.to_vec()) {
                break;
            }
        }
    }
    for (path, number) in missing.into_iter().zip((0..u64::MAX).rev()) {
        let id = NodeId::new(number);
        let entry = Entry::folder(path.clone());
        all.insert(path, Stored { entry, begin: 0, id, links: 1, is_implied: true });
    }
}

/// A path without a slash in front, and without what leads nowhere.
fn plain(path: &[u8]) -> crate::Result<Vec<u8>> {
    let found = inside(path)
        .ok_or_else(|| err!("{}: its path leads up", printable(&String::from_utf8_lossy(path))))?;
    Ok(found.into_os_string().into_vec())
}
