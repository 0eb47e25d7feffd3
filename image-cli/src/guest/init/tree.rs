//! The image's filesystems as process 1 has mounted them: paths become open directories, name by name and never through a link.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

use super::super::fault::{Fault, Task};

type Outcome<T> = Result<T, Fault>;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is mounted.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The device of what is in memory, and on no volume.
    memory: u64,
}

impl Tree {
    /// All that is mounted at `path` at the moment.
    pub(super) fn open(path: &str) -> Outcome<Self> {
        let failed = |error: Errno| Fault::of(Task::Begin, path, error);
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(failed)?;
        let memory = rustix::fs::stat("/").map_err(failed)?.st_dev;
        Ok(Self { root, memory })
    }

    /// The directory that `path` is in, and its name there; of the root, that and `.`.
    pub(super) fn parent(&self, path: &[u8], task: Task) -> Outcome<(OwnedFd, Vec<u8>)> {
        let names = names(path, task)?;
        let (name, way) = match names.split_last() {
            Some((name, way)) => (name.to_vec(), way),
            None => (b".".to_vec(), &[][..]),
        };
        let mut folder = self.open_root(path, task)?;
        for own in way {
            folder = openat(&folder, *own, DIRECTORY, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => Fault::new(task, path, "a link or a file is in its way"),
                Errno::NOENT => Fault::new(task, path, "a directory on its way is not there"),
                error => Fault::of(task, path, error),
            })?;
        }
        Ok((folder, name))
    }

    /// The directory at `path`, which is made where it is missing and on no volume.
    pub(super) fn make_folder(&self, path: &[u8]) -> Outcome<OwnedFd> {
        let failed = |error: Errno| Fault::of(Task::Mount, path, error);
        let mut folder = self.open_root(path, Task::Mount)?;
        for own in names(path, Task::Mount)? {
            folder = match openat(&folder, own, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) if !self.is_on_a_volume(&folder) => {
                    mkdirat(&folder, own, Mode::RWXU).map_err(failed)?;
                    openat(&folder, own, DIRECTORY, Mode::empty()).map_err(failed)?
                }
                found => found.map_err(failed)?,
            };
        }
        Ok(folder)
    }

    /// Fails if what is made in `folder` would be on none of the image's volumes.
    pub(super) fn check_volume(&self, folder: impl AsFd, path: &[u8], task: Task) -> Outcome<()> {
        match self.is_on_a_volume(folder) {
            true => Ok(()),
            false => Err(Fault::new(task, path, "it is on none of the volumes that are changed")),
        }
    }

    fn is_on_a_volume(&self, folder: impl AsFd) -> bool {
        fstat(folder).is_ok_and(|own| own.st_dev != self.memory)
    }

    fn open_root(&self, path: &[u8], task: Task) -> Outcome<OwnedFd> {
        openat(&self.root, ".", DIRECTORY, Mode::empty()).map_err(|error| Fault::of(task, path, error))
    }
}

/// The names of a path, from the root on.
fn names(path: &[u8], task: Task) -> Outcome<Vec<&[u8]>> {
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    match names.contains(&b"..".as_slice()) {
        true => Err(Fault::new(task, path, "its path leads up")),
        false => Ok(names),
    }
}

/// A path to what is open.
pub(super) fn way_to(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Whether `name` in `folder` is a directory; `None` if it is not there.
pub(super) fn is_directory(folder: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<bool>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(own) => Ok(Some(rustix::fs::FileType::from_raw_mode(own.st_mode).is_dir())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed_name_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let mut tree = Tree::open(folder.path().to_str().unwrap()).unwrap();
        let name = |path: &str| tree.parent(path.as_bytes(), Task::Unpack).map(|(_, name)| name);
        assert_eq!(name("./usr/lib/a/").unwrap(), b"a");
        assert_eq!((name("/").unwrap(), name("lib").unwrap()), (b".".to_vec(), b"lib".to_vec()));
        for (path, words) in [
            ("lib/a", "a link or a file is in its way"),
            ("file/a", "a link or a file is in its way"),
            ("none/a", "a directory on its way is not there"),
            ("usr/../../a", "its path leads up"),
        ] {
            assert_eq!(name(path).unwrap_err().words, words, "{path}");
        }
        tree.memory = fstat(&tree.root).unwrap().st_dev;
        let made = tree.make_folder(b"/usr/new/one").unwrap();
        assert!(folder.path().join("usr/new/one").is_dir());
        assert!(tree.check_volume(&made, b"/usr/new/one", Task::Unpack).is_err());
        tree.memory += 1;
        assert!(tree.check_volume(&made, b"/usr/new/one", Task::Unpack).is_ok());
        assert!(tree.make_folder(b"/usr/other").is_err());
    }
}
