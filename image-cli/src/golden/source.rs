//! What lies beside the recipe, read without leaving its folder.
//!
//! ```text
//! the recipe's folder, opened once ─► name ─► name ─► Entry: a file, a folder, a link, or what cannot be copied
//! ```
//!
//! Where `from` leads is found by name, links followed, and must be beneath the recipe's folder. What is read is then
//! opened name by name, each in the folder before it and no link followed: a link that somebody puts there meanwhile
//! is an error, and nothing outside is ever opened. What is neither a file nor a folder is not opened at all.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub(crate) mod attributes;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use crate::error::{Advise, Context, bail, err};
use crate::printable::printable;

/// How a name in a folder is opened: never through a link, and never waiting for a pipe's other end.
const NAME: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An open folder beside the recipe, or the recipe's own.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    /// From the recipe's folder, for people.
    path: PathBuf,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    /// What it is, for people.
    Special(&'static str),
}

/// A name in an open folder, and what was behind it when it was looked up.
#[derive(Debug)]
pub(crate) struct Entry<'f> {
    folder: &'f Folder,
    name: OsString,
    status: Stat,
}

/// What `from` of a step names: the folder that it is in, and its name there.
#[derive(Debug)]
pub(crate) struct Source {
    folder: Folder,
    name: OsString,
}

impl Source {
    /// Opens what `from` names beneath `folder`, the recipe's.
    ///
    /// # Errors
    /// If there is nothing, or it leads out of the folder.
    pub(crate) fn open(folder: &Path, from: &Path) -> crate::Result<Self> {
        let doing = || format!("opening {} beside the recipe", shown(from));
        let folder = folder.canonicalize().with_context(|| format!("opening {}", shown(folder)))?;
        let found = folder.join(from).canonicalize().with_context(doing)?;
        let Ok(inside) = found.strip_prefix(&folder) else {
            bail!("{} leads out of the recipe's folder, to {}", shown(from), shown(&found));
        };
        let directory = NAME | OFlags::DIRECTORY;
        let handle = openat(CWD, &folder, directory, Mode::empty()).with_context(doing)?;
        let mut folder = Folder { handle, path: PathBuf::new() };
        let mut names: Vec<&OsStr> = inside
            .components()
            .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
            .collect();
        // The recipe's folder itself has no name in another one.
        let name = names.pop().unwrap_or(OsStr::new(".")).to_owned();
        for name in names {
            let handle = openat(&folder.handle, name, directory, Mode::empty()).with_context(doing)?;
            folder = Folder { handle, path: folder.path.join(name) };
        }
        Ok(Self { folder, name })
    }

    /// What it is now.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn entry(&self) -> crate::Result<Entry<'_>> {
        self.folder.entry(self.name.clone())
    }
}

impl Folder {
    /// Its names, in the order of their bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn names(&self) -> crate::Result<Vec<OsString>> {
        let doing = || format!("reading the folder {}", shown(&self.path));
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What is behind one of its names.
    ///
    /// # Errors
    /// If there is nothing (any more).
    pub(crate) fn entry(&self, name: OsString) -> crate::Result<Entry<'_>> {
        let status = statat(&self.handle, &name, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("looking at {}", shown(&self.path.join(&name))))?;
        Ok(Entry { folder: self, name, status })
    }

    /// An open handle of it.
    pub(crate) fn handle(&self) -> &OwnedFd {
        &self.handle
    }
}

impl<'f> Entry<'f> {
    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match FileType::from_raw_mode(self.status.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::BlockDevice | FileType::CharacterDevice => Kind::Special("a device"),
            FileType::Fifo => Kind::Special("a named pipe"),
            FileType::Socket => Kind::Special("a socket"),
            FileType::Unknown => Kind::Special("of an unknown kind"),
        }
    }

    /// Its permission bits, with set-user-ID and its kin.
    pub(crate) fn mode(&self) -> u32 {
        self.status.st_mode & 0o7777
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.status.st_size).unwrap_or(0)
    }

    /// When it was changed last: seconds after 1970, and nanoseconds.
    pub(crate) fn modified(&self) -> (i64, i64) {
        (self.status.st_mtime, self.status.st_mtime_nsec.cast_signed())
    }

    /// What all names of the same file have in common.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.status.st_dev, self.status.st_ino)
    }

    /// Whether it may have other names.
    pub(crate) fn has_other_names(&self) -> bool {
        self.status.st_nlink > 1
    }

    /// Where it is, from the recipe's folder, for people.
    pub(crate) fn path(&self) -> PathBuf {
        match self.name.as_bytes() {
            b"." => self.folder.path.clone(),
            _ => self.folder.path.join(&self.name),
        }
    }

    /// Where it is, for messages.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path())
    }

    /// Opens the file.
    ///
    /// # Errors
    /// If it cannot be read, or is not the file any more that was looked at.
    pub(crate) fn open_file(&self) -> crate::Result<File> {
        self.open(NAME).map(File::from)
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// As [`Entry::open_file`].
    pub(crate) fn open_folder(&self) -> crate::Result<Folder> {
        Ok(Folder { handle: self.open(NAME | OFlags::DIRECTORY)?, path: self.path() })
    }

    fn open(&self, how: OFlags) -> crate::Result<OwnedFd> {
        let doing = || format!("opening {} beside the recipe", self.shown());
        let handle = openat(&self.folder.handle, &self.name, how, Mode::empty()).with_context(doing)?;
        let now = fstat(&handle).with_context(doing)?;
        if (now.st_dev, now.st_ino) != self.identity() {
            return Err(self.changed());
        }
        Ok(handle)
    }

    /// Where the link points to.
    ///
    /// # Errors
    /// If it is no link any more.
    pub(crate) fn read_link(&self) -> crate::Result<OsString> {
        let target = readlinkat(&self.folder.handle, &self.name, Vec::new())
            .with_context(|| format!("reading the link {}", self.shown()))?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Makes sure that the open `file` is as it was when the entry was looked at.
    ///
    /// # Errors
    /// If it was written to meanwhile.
    pub(crate) fn unchanged(&self, file: &File) -> crate::Result<()> {
        let now = fstat(file).with_context(|| format!("looking at {}", self.shown()))?;
        let state = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        match state(&now) == state(&self.status) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// That somebody else works on it.
    pub(crate) fn changed(&self) -> crate::Error {
        let error = Err::<(), _>(err!("{} was changed while it was copied", self.shown()));
        error.hint(|| "build again when nothing writes to it").expect_err("made from an error")
    }
}

/// A path as a terminal may show it.
pub(crate) fn shown(path: &Path) -> String {
    match path.as_os_str().is_empty() {
        true => ".".into(),
        false => printable(&path.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests;
