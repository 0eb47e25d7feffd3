//! The files of a system unpacked into a tree, from archives that nobody answers for.
//!
//! ```text
//! entry ─► its folder, opened within the tree, links of the tree followed in it ─► its name, never followed ─► file, folder, link
//! .wh.NAME ─► NAME goes            .wh..wh..opq ─► what layers below put into its folder goes
//! ```
//! A layer is an archive that lies over others (OCI Image Format Specification, "Image Layer Filesystem Changeset"). No path leads out of
//! the tree: openat2(2) with RESOLVE_IN_ROOT finds folders, and a name is one name. Devices are not made: a system makes its own.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image_core::fs::{Attribute, Time};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Advise, Context, bail, err};
use crate::files::{Entry, Kind, Owners, Unpack, path_inside};
use crate::monitor::Monitor;
use crate::printable::printable;
use crate::room::room;

/// Read and written at once, in bytes.
const PIECE: usize = 256 << 10;
/// Folders in folders that are removed, each of which is kept open.
const DEPTH_MAX: usize = 256;
/// An archive has no more entries: four times what the largest system has.
const ENTRIES_MAX: u64 = 1 << 23;
/// What a layer says of another one's files begins with this.
const WHITEOUT: &[u8] = b".wh.";
/// That nothing of the layers below is in a folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Folders are found beneath the root alone, and links of the tree lead nowhere else.
pub(super) fn within() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
}

/// A tree that archives are unpacked into, one over the other.
pub(in crate::golden) struct Unpacking<'a> {
    root: OwnedFd,
    monitor: Monitor<'a>,
    /// Bytes that may still be written.
    room: u64,
    entries: u64,
    /// Devices outside of /dev that were not made.
    left_out: u64,
    /// Names of attributes that no file can have here.
    refused: BTreeSet<Vec<u8>>,
}

/// What the paths of an archive are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// All files: a name is a name.
    Whole,
    /// What is different from the archives below.
    Layer,
}

impl<'a> Unpacking<'a> {
    /// Into the directory `root`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(in crate::golden) fn into(root: &Path, monitor: Monitor<'a>) -> crate::Result<Self> {
        let doing = || format!("opening {}", root.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::openat(CWD, root, flags, Mode::empty()).with_context(doing)?;
        let room = room(&root_fd).with_context(doing)?;
        Ok(Self { root: root_fd, monitor, room, entries: 0, left_out: 0, refused: BTreeSet::new() })
    }

    /// Unpacks `archive` over what is there.
    ///
    /// # Errors
    /// If it is damaged, has a path that leads out, or there is no room.
    pub(super) fn add(&mut self, archive: &mut dyn Read, meaning: Meaning) -> crate::Result<()> {
        let mut unpack = Unpack::new(archive, Owners::default());
        let mut made: BTreeSet<PathBuf> = BTreeSet::new();
        // What is made in a folder changes its times: they are given at the end.
        let mut folders: Vec<(PathBuf, Time)> = Vec::new();
        while let Some(entry) = unpack.entry()? {
            self.monitor.check()?;
            self.entries = self.entries.saturating_add(1);
            if self.entries > ENTRIES_MAX {
                bail!("there are more than {ENTRIES_MAX} files in it");
            }
            let shown = printable(&String::from_utf8_lossy(&entry.path));
            let path = relative(&entry.path).with_context(|| shown.clone())?;
            let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
            if meaning == Meaning::Layer && name.starts_with(WHITEOUT) {
                self.whiteout(&path, &made).with_context(|| format!("removing for {shown}"))?;
                continue;
            }
            self.entry(&mut unpack, &entry, &path).with_context(|| format!("unpacking {shown}"))?;
            if entry.kind == Kind::Directory {
                folders.push((path.clone(), entry.modified));
            }
            if meaning == Meaning::Layer {
                made.insert(path);
            }
        }
        for (path, modified) in folders.into_iter().rev() {
            // Something else may have come in its place.
            if let Ok(folder) = self.folder(&path) {
                set_times(folder.as_fd(), modified)?;
            }
        }
        Ok(())
    }

    /// Unpacks `archive`, in which a name is a name.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(in crate::golden) fn add_whole(&mut self, archive: &mut dyn Read) -> crate::Result<()> {
        self.add(archive, Meaning::Whole)
    }

    /// Whether all that the archives have is in the tree.
    pub(in crate::golden) fn is_faithful(&self) -> bool {
        self.left_out == 0 && self.refused.is_empty()
    }

    /// What was left out, to be told.
    pub(super) fn tell(&self) {
        if self.left_out > 0 {
            self.monitor.note(&format!(
                "{} devices of the base were left out: a system makes its own",
                self.left_out
            ));
        }
        for name in &self.refused {
            let name = printable(&String::from_utf8_lossy(name));
            self.monitor
                .note(&format!("attributes {name} of the base were left out: they cannot be given here"));
        }
    }

    /// The folder at `path` in the tree.
    fn folder(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), within())
    }

    /// The same, made if it is missing.
    fn folder_made(&self, path: &Path) -> crate::Result<OwnedFd> {
        match self.folder(path) {
            Err(Errno::NOENT) => {}
            found => return found.context("its folder cannot be opened"),
        }
        let mut folder = self.folder(Path::new(""))?;
        let mut so_far = PathBuf::new();
        for part in path.components() {
            so_far.push(part);
            folder = match self.folder(&so_far) {
                Err(Errno::NOENT) => {
                    let name = part.as_os_str();
                    rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))
                        .context("its folder cannot be made")?;
                    rustix::fs::openat(
                        &folder,
                        name,
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?
                }
                found => found.context("its folder cannot be opened")?,
            };
        }
        Ok(folder)
    }

    fn entry(&mut self, content: &mut dyn Read, entry: &Entry, path: &Path) -> crate::Result<()> {
        let Some(name) = path.file_name() else {
            // The root itself.
            if entry.kind == Kind::Directory {
                let root = self.folder(Path::new(""))?;
                return self.give(root.as_fd(), entry);
            }
            bail!("it has no name");
        };
        let folder = self.folder_made(path.parent().unwrap_or(Path::new("")))?;
        if matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
            if !path.starts_with("dev") {
                self.left_out = self.left_out.saturating_add(1);
            }
            return Ok(());
        }
        let is_folder = kind_of(folder.as_fd(), name)? == Some(FileType::Directory);
        if !(is_folder && entry.kind == Kind::Directory) {
            remove(folder.as_fd(), name, 0)?;
        }
        match entry.kind {
            Kind::Directory => {
                if !is_folder {
                    rustix::fs::mkdirat(&folder, name, Mode::RWXU)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let own = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
                self.give(own.as_fd(), entry)
            }
            Kind::HardLink => {
                let first = relative(&entry.link)?;
                let other = first.file_name().ok_or_else(|| err!("it is another name of nothing"))?;
                let from = self
                    .folder(first.parent().unwrap_or(Path::new("")))
                    .context("it is another name of what is not there")?;
                rustix::fs::linkat(&from, other, &folder, name, AtFlags::empty())
                    .context("it is another name of what is not there")
            }
            Kind::Link => {
                rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), &folder, name)?;
                owned(
                    rustix::fs::chownat(
                        &folder,
                        name,
                        Some(Uid::from_raw(entry.uid)),
                        Some(Gid::from_raw(entry.gid)),
                        AtFlags::SYMLINK_NOFOLLOW,
                    ),
                    entry,
                )?;
                let times = times(entry.modified);
                Ok(rustix::fs::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
            }
            Kind::Pipe => {
                rustix::fs::mknodat(&folder, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let own = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
                self.give(own.as_fd(), entry)
            }
            _ => self.file(content, entry, folder.as_fd(), name),
        }
    }

    fn file(
        &mut self,
        content: &mut dyn Read,
        entry: &Entry,
        folder: BorrowedFd<'_>,
        name: &OsStr,
    ) -> crate::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        let mut buffer = vec![0; PIECE];
        for range in &entry.data {
            let mut at = range.offset();
            while at < range.end() {
                self.monitor.check()?;
                let len = range.end().saturating_sub(at).min(PIECE as u64) as usize;
                let piece = buffer.get_mut(..len).unwrap_or_default();
                content.read_exact(piece).context("reading the archive")?;
                self.room = match self.room.checked_sub(len as u64) {
                    Some(room) => room,
                    None => {
                        bail!("the files are larger than the room that there is (No space left on device)")
                    }
                };
                file.write_all_at(piece, at)?;
                at = at.saturating_add(len as u64);
            }
        }
        file.set_len(entry.size)?;
        self.give(file.as_fd(), entry)
    }

    /// Gives an open file all that the archive says of it, in the order in which nothing takes away another.
    fn give(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> crate::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        owned(rustix::fs::fchown(file, uid, gid), entry)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))?;
        for Attribute { name, value } in &entry.attributes {
            match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => {
                    self.refused.insert(name.clone());
                }
                Err(error) => {
                    let name = printable(&String::from_utf8_lossy(name));
                    return Err(error).with_context(|| format!("giving it the attribute {name}"));
                }
            }
        }
        set_times(file, entry.modified)
    }

    /// What a layer takes away of those below, of which `made` is nothing.
    fn whiteout(&self, path: &Path, made: &BTreeSet<PathBuf>) -> crate::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let folder = match self.folder(parent) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            found => found?,
        };
        if name == OPAQUE {
            for name in names(folder.as_fd())? {
                self.clear(folder.as_fd(), &parent.join(&name), &name, made)?;
            }
            return Ok(());
        }
        let gone = name.strip_prefix(WHITEOUT).unwrap_or_default();
        // What else begins so twice is a file of aufs's own.
        if gone.starts_with(WHITEOUT) {
            return Ok(());
        }
        if matches!(gone, b"" | b"." | b"..") {
            bail!("it takes away what has no name");
        }
        let gone = OsStr::from_bytes(gone);
        if made.contains(&parent.join(gone)) {
            return Ok(());
        }
        remove(folder.as_fd(), gone, 0)
    }

    /// Removes `name` in `folder`, called `path` in the tree, but for what this layer made.
    fn clear(
        &self,
        folder: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        made: &BTreeSet<PathBuf>,
    ) -> crate::Result<()> {
        let has_own = made.range(path.to_owned()..).next().is_some_and(|own| own.starts_with(path));
        if !has_own {
            return remove(folder, name, 0);
        }
        if kind_of(folder, name)? != Some(FileType::Directory) || path.components().count() > DEPTH_MAX {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        for name in names(inner.as_fd())? {
            self.clear(inner.as_fd(), &path.join(&name), &name, made)?;
        }
        Ok(())
    }
}

/// Where the path of an entry is in the tree.
fn relative(path: &[u8]) -> crate::Result<PathBuf> {
    let found = path_inside(path).ok_or_else(|| err!("its path leads up, out of the tree"))?;
    if path.contains(&0) {
        bail!("its path has a zero in it");
    }
    Ok(found)
}

/// What an owner that cannot be given means.
fn owned(given: rustix::io::Result<()>, entry: &Entry) -> crate::Result<()> {
    match given {
        Err(Errno::INVAL) => Err(err!("it belongs to {}:{}, and no such ids can be given here", entry.uid, entry.gid))
            .hint(|| "a build has the subordinate ids of /etc/subuid and /etc/subgid: 65536 of each, from 0 on in the image"),
        given => given.context("giving it to its owner"),
    }
}

fn times(modified: Time) -> Timestamps {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(file: BorrowedFd<'_>, modified: Time) -> crate::Result<()> {
    // Some times cannot be had on some filesystems, and none is worth a failure: sealing sets those that are too late.
    match rustix::fs::futimens(file, &times(modified)) {
        Err(Errno::INVAL) => Ok(()),
        set => Ok(set?),
    }
}

/// What has this name in `folder`, if anything has.
fn kind_of(folder: BorrowedFd<'_>, name: &OsStr) -> crate::Result<Option<FileType>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).context("looking what is there"),
    }
}

fn names(folder: BorrowedFd<'_>) -> crate::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Removes what has this name in `folder`, with all beneath it; nothing, if nothing has.
fn remove(folder: BorrowedFd<'_>, name: &OsStr, depth: usize) -> crate::Result<()> {
    if depth > DEPTH_MAX {
        bail!("what is to go has folders in more than {DEPTH_MAX} folders");
    }
    match kind_of(folder, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            for name in names(inner.as_fd())? {
                remove(inner.as_fd(), &name, depth.saturating_add(1))?;
            }
            Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?),
    }
}

#[cfg(test)]
pub(super) mod tests;
