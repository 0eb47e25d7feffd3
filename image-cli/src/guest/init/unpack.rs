//! An archive unpacked into what is mounted, with all that it has: owners, modes, times, attributes, holes, devices, links.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

use image_core::fs::Time;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use super::super::fault::{Fault, Task};
use super::give::{give, give_times};
use super::remove::{check_mounts, remove_at};
use super::tree::{Tree, is_directory};
use crate::files::{Entry, Kind, Owners, Unpack};

type Outcome<T> = Result<T, Fault>;

/// Content is read and written in such pieces, in bytes.
const PIECE: usize = 1 << 20;
/// After so many bytes, or so many entries, it is told how far it is.
const TOLD_BYTES: u64 = 8 << 20;
const TOLD_ENTRIES: u64 = 500;

/// Unpacks `archive` into `tree`, and tells `far` how many bytes that were by now: how many entries it had.
pub(super) fn unpack(
    archive: File,
    tree: &Tree,
    mounts: &[std::path::PathBuf],
    far: &mut dyn FnMut(u64),
) -> Outcome<u64> {
    let unpack = Unpack::new(BufReader::with_capacity(PIECE, archive), Owners::default());
    let mut writer = Writer { tree, mounts, unpack, far, bytes: 0, told: (0, 0), buffer: vec![0; PIECE] };
    let mut count = 0;
    // What is made in a directory changes its times: they are given at the end.
    let mut directories: Vec<(Vec<u8>, Time)> = Vec::new();
    while let Some(entry) =
        writer.unpack.entry().map_err(|error| Fault::new(Task::Read, "", format!("{error:#}")))?
    {
        writer.write(&entry)?;
        count += 1;
        writer.tell(count);
        if entry.kind == Kind::Directory {
            directories.push((entry.path, entry.modified));
        }
    }
    for (path, modified) in directories.into_iter().rev() {
        let (parent, name) = tree.parent(&path, Task::Unpack)?;
        // A later entry may have put something else there.
        if is_directory(&parent, &name).is_ok_and(|own| own == Some(true)) {
            give_times(&parent, &name, modified)
                .map_err(|error| Fault::of(Task::Unpack, absolute(&path), error))?;
        }
    }
    Ok(count)
}

/// A path of an archive as one of the image.
fn absolute(path: &[u8]) -> Vec<u8> {
    let own = path.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
    let own = own.strip_prefix(b"/").unwrap_or(own);
    [b"/", own.strip_suffix(b"/").unwrap_or(own)].concat()
}

struct Writer<'a> {
    tree: &'a Tree,
    /// Absolute paths of what stays where it is.
    mounts: &'a [std::path::PathBuf],
    unpack: Unpack<BufReader<File>>,
    far: &'a mut dyn FnMut(u64),
    bytes: u64,
    /// Bytes and entries that were told.
    told: (u64, u64),
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn tell(&mut self, entries: u64) {
        if self.bytes - self.told.0 >= TOLD_BYTES || entries.saturating_sub(self.told.1) >= TOLD_ENTRIES {
            self.told = (self.bytes, entries.max(self.told.1));
            (self.far)(self.bytes);
        }
    }

    fn write(&mut self, entry: &Entry) -> Outcome<()> {
        let path = absolute(&entry.path);
        let failed = |error: Errno| Fault::of(Task::Unpack, &path, error);
        let (parent, name) = self.tree.parent(&path, Task::Unpack)?;
        let there = is_directory(&parent, &name).map_err(failed)?;
        if entry.kind == Kind::Directory && there == Some(true) {
            let own = openat(&parent, name.as_slice(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
            self.tree.check_volume(&own, &path, Task::Unpack)?;
            return give(&parent, &name, entry).map_err(failed);
        }
        self.tree.check_volume(&parent, &path, Task::Unpack)?;
        if there.is_some() {
            check_mounts(&path, self.mounts, Task::Unpack)?;
        }
        if entry.kind == Kind::HardLink {
            return self.link(&parent, &name, entry, &path);
        }
        if there.is_some() {
            remove_at(&parent, &name).map_err(failed)?;
        }
        let name_of = name.as_slice();
        let node = |kind: FileType| {
            let (major, minor) = entry.device;
            mknodat(&parent, name_of, kind, Mode::RUSR, makedev(major, minor))
        };
        match entry.kind {
            Kind::Directory => mkdirat(&parent, name_of, Mode::RWXU),
            Kind::Link => symlinkat(entry.link.as_slice(), &parent, name_of),
            Kind::CharacterDevice => node(FileType::CharacterDevice),
            Kind::BlockDevice => node(FileType::BlockDevice),
            Kind::Pipe => mknodat(&parent, name_of, FileType::Fifo, Mode::RUSR, 0),
            _ => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&parent, name_of, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                self.fill(&File::from(file), entry, &path)?;
                Ok(())
            }
        }
        .map_err(failed)?;
        give(&parent, &name, entry).map_err(failed)
    }

    /// Writes the content of `entry`; where it has holes, nothing.
    fn fill(&mut self, file: &File, entry: &Entry, path: &[u8]) -> Outcome<()> {
        let failed = |error: std::io::Error| Fault::of(Task::Unpack, path, error);
        for range in &entry.data {
            let mut at = range.offset();
            while at < range.end() {
                let count = (range.end() - at).min(PIECE as u64) as usize;
                let piece = &mut self.buffer[..count];
                self.unpack.read_exact(piece).map_err(|error| Fault::of(Task::Read, path, error))?;
                file.write_all_at(piece, at).map_err(failed)?;
                at += count as u64;
                self.bytes += count as u64;
                self.tell(0);
            }
        }
        file.set_len(entry.size).map_err(failed)
    }

    /// Makes `name` in `parent` another name of what `entry` says.
    fn link(&self, parent: &std::os::fd::OwnedFd, name: &[u8], entry: &Entry, path: &[u8]) -> Outcome<()> {
        let failed = |error: Errno| Fault::of(Task::Unpack, path, error);
        let (folder, first) = self.tree.parent(&entry.link, Task::Unpack)?;
        let number = |folder, name: &[u8]| {
            statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|own| (own.st_dev, own.st_ino))
        };
        let own = number(&folder, &first).map_err(|error| match error {
            Errno::NOENT => {
                Fault::new(Task::Unpack, path, "the file that it is another name of is not there")
            }
            error => failed(error),
        })?;
        match number(parent, name) {
            // It is that already.
            Ok(there) if there == own => return Ok(()),
            Ok(_) => drop(remove_at(parent, name).map_err(failed)?),
            Err(_) => {}
        }
        linkat(&folder, first.as_slice(), parent, name, AtFlags::empty()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_in_what_is_told() {
        for (path, told) in
            [("./etc/a", "/etc/a"), ("/etc/", "/etc"), ("etc", "/etc"), ("./", "/"), ("./.a", "/.a")]
        {
            assert_eq!(absolute(path.as_bytes()), told.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_ends_early_is_a_fault_of_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::open(folder.path().to_str().unwrap()).unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, [1; 700]).unwrap();
        let fault = unpack(File::open(&path).unwrap(), &tree, &[], &mut |_| {}).unwrap_err();
        assert_eq!((fault.task, fault.errno), (Task::Read, None));
    }
}
