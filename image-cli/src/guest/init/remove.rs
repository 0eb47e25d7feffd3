//! Files that are removed, directories with all that is in them; but nothing that is mounted.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat, unlinkat};
use rustix::io::Errno;

use super::super::fault::{Fault, Task};
use super::tree::{Tree, is_directory};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what is at the absolute `path`: how many names that were, none if nothing is there.
pub(super) fn remove(tree: &Tree, path: &[u8], mounts: &[PathBuf]) -> Result<u64, Fault> {
    check_mounts(path, mounts, Task::Remove)?;
    let (parent, name) = match tree.parent(path, Task::Remove) {
        Ok(found) => found,
        Err(_) if is_gone(tree, path) => return Ok(0),
        Err(fault) => return Err(fault),
    };
    let failed = |error: Errno| Fault::of(Task::Remove, path, error);
    match is_directory(&parent, &name).map_err(failed)? {
        None => Ok(0),
        Some(_) => {
            tree.check_volume(&parent, path, Task::Remove)?;
            remove_at(&parent, &name).map_err(failed)
        }
    }
}

/// Whether a directory that `path` would be in is not there.
fn is_gone(tree: &Tree, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
    ends.map(|end| &path[..end]).any(|way| {
        tree.parent(way, Task::Remove)
            .is_ok_and(|(parent, name)| matches!(is_directory(&parent, &name), Ok(None)))
    })
}

/// Fails if something is mounted at `path` or beneath it.
pub(super) fn check_mounts(path: &[u8], mounts: &[PathBuf], task: Task) -> Result<(), Fault> {
    use std::os::unix::ffi::OsStrExt;

    let own: PathBuf = Path::new("/").join(Path::new(std::ffi::OsStr::from_bytes(path)));
    match mounts.iter().any(|mount| mount.starts_with(&own)) {
        true => Err(Fault::new(task, path, "a volume is mounted there")),
        false => Ok(()),
    }
}

/// Removes `name` in `parent`: how many names that were.
pub(super) fn remove_at(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<u64> {
    if is_directory(&parent, name)? != Some(true) {
        return unlink(&parent, name, AtFlags::empty()).map(|()| 1);
    }
    let mut removed = 0;
    let mut open = vec![Level::open(&parent, name)?];
    while let Some(level) = open.last_mut() {
        let Some(name) = level.names.pop() else {
            let done = open.pop().map(|level| level.name).unwrap_or_default();
            match open.last() {
                Some(above) => unlink(&above.folder, &done, AtFlags::REMOVEDIR)?,
                None => unlink(&parent, &done, AtFlags::REMOVEDIR)?,
            }
            removed += 1;
            continue;
        };
        if is_directory(&level.folder, &name)? == Some(true) {
            let below = Level::open(&level.folder, &name)?;
            open.push(below);
        } else {
            unlink(&level.folder, &name, AtFlags::empty())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    folder: OwnedFd,
    names: Vec<Vec<u8>>,
}

impl Level {
    fn open(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        let folder = openat(parent, name, DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let own = entry?.file_name().to_bytes().to_vec();
            if !matches!(own.as_slice(), b"." | b"..") {
                names.push(own);
            }
        }
        Ok(Self { name: name.to_vec(), folder, names })
    }
}

/// Takes `name` away, even if it, or the directory that it is in, must not change (chattr(1), "i" and "a").
fn unlink(parent: impl AsFd, name: &[u8], flags: AtFlags) -> rustix::io::Result<()> {
    match unlinkat(&parent, name, flags) {
        Err(Errno::PERM) => {
            // Devices and links have no flags, and would be opened.
            if is_file_or_directory(&parent, name)? {
                let own = openat(
                    &parent,
                    name,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let kept = ioctl_getflags(&own)? - (IFlags::IMMUTABLE | IFlags::APPEND);
                ioctl_setflags(&own, kept)?;
            }
            unlinkat(&parent, name, flags)
        }
        outcome => outcome,
    }
}

fn is_file_or_directory(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<bool> {
    let own = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rustix::fs::FileType::from_raw_mode(own.st_mode);
    Ok(kind.is_file() || kind.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let deep = format!("a/{}", "d/".repeat(300));
        std::fs::create_dir_all(folder.path().join(&deep)).unwrap();
        std::fs::write(folder.path().join(&deep).join("file"), "").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("a/link")).unwrap();
        std::fs::write(folder.path().join("b"), "").unwrap();
        let parent = std::fs::File::open(folder.path()).unwrap();
        assert_eq!(remove_at(&parent, b"a").unwrap(), 1 + 300 + 2);
        assert_eq!(remove_at(&parent, b"b").unwrap(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(remove_at(&parent, b"b"), Err(Errno::NOENT));
    }

    #[test]
    fn what_is_not_there_is_gone_and_what_is_mounted_stays() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let tree = Tree::open(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(remove(&tree, b"/etc/none", &[]), Ok(0));
        assert_eq!(remove(&tree, b"/none/of/it", &[]), Ok(0));
        let mounts = [PathBuf::from("/"), PathBuf::from("/var/lib")];
        for path in ["/", "/var", "/var/lib"] {
            assert!(remove(&tree, path.as_bytes(), &mounts).is_err(), "{path}");
        }
        assert_eq!(remove(&tree, b"/var/li", &mounts), Ok(0));
    }
}
