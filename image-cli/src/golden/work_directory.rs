//! The work directory: one build's own, held while anything of the build lives, removed by the next build if it was killed.
//!
//! ```text
//! /var/tmp/goldimg-XXXXXX/    owner: who builds; mode 0700
//!   lock                      locked (flock(2), shared) by outer and by inner; removed last
//!   kept                      only with --keep: nobody removes it
//!   …                         whatever a build needs
//! ```
//!
//! A directory is removed only if it is of this user, is no link, has a lock that says that it is goldimg's, and nobody
//! holds that. A lock ends with the last process that holds it, however that ends.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::namespace;
use crate::error::{Context, bail};
use crate::monitor::Monitor;

/// Where a build works, unless it is told where.
pub(crate) const USUAL: &str = "/var/tmp";
/// What the names of work directories begin with, before six letters and digits.
const PREFIX: &str = "goldimg-";
const LOCK: &str = "lock";
const KEPT: &str = "kept";
/// What is in a lock.
const MARK: &str = "the work directory of a goldimg build\n";
/// How often making one is tried, if another build takes each for an abandoned one.
const ATTEMPTS: u32 = 16;

/// A work directory, held.
#[derive(Debug)]
pub(crate) struct WorkDirectory {
    path: PathBuf,
    /// Held by being open.
    _lock: File,
}

impl WorkDirectory {
    /// Makes a new one in `parent` that nobody else can enter; with `kept` it is marked as one to be kept.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn create(parent: &Path, kept: bool) -> crate::Result<Self> {
        let doing = || format!("making a work directory in {}", parent.display());
        // Not that of the new directory, which another build may be removing.
        let parent = parent.canonicalize().with_context(doing)?;
        for _ in 0..ATTEMPTS {
            let directory =
                tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent).with_context(doing)?;
            let path = directory.keep();
            match new_lock(&path) {
                Ok(lock) => {
                    if kept {
                        File::create(path.join(KEPT)).with_context(doing)?;
                    }
                    return Ok(Self { path, _lock: lock });
                }
                // Another build took it for an abandoned one, before there was a lock in it.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).with_context(doing),
            }
        }
        bail!("{}: other builds removed it each time", doing())
    }

    /// Holds the one at `path` too: as inner, which may live on for a moment when outer was killed.
    ///
    /// # Errors
    /// If it is not there, or is being removed.
    pub(crate) fn hold(path: &Path) -> crate::Result<Self> {
        let doing = || format!("holding the work directory {}", path.display());
        let lock = File::open(path.join(LOCK)).with_context(doing)?;
        flock(&lock, FlockOperation::NonBlockingLockShared).with_context(doing)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all in it, whoever owns it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub(crate) fn remove(self) -> crate::Result<()> {
        let doing = || format!("removing the work directory {}", self.path.display());
        // The lock last: if this is cut short, the next build goes on.
        for entry in fs::read_dir(&self.path).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            if entry.file_name() != LOCK {
                namespace::remove(&entry.path())?;
            }
        }
        fs::remove_file(self.path.join(LOCK)).with_context(doing)?;
        match fs::remove_dir(&self.path) {
            // An empty one may be removed by any build of this user.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(doing),
            _ => Ok(()),
        }
    }
}

fn new_lock(directory: &Path) -> std::io::Result<File> {
    let path = directory.join(LOCK);
    let mut lock = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    lock.write_all(MARK.as_bytes())?;
    flock(&lock, FlockOperation::NonBlockingLockShared)?;
    match is_at(&lock, &path) {
        true => Ok(lock),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// Whether the open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let found = (file.metadata().ok(), path.symlink_metadata().ok());
    matches!(found, (Some(open), Some(there)) if (open.dev(), open.ino()) == (there.dev(), there.ino()))
}

/// Removes the work directories in `parents` that killed builds of this user left behind, and tells of each.
pub(crate) fn remove_abandoned(parents: &[&Path], monitor: Monitor<'_>) {
    let mut parents: Vec<PathBuf> = parents.iter().filter_map(|parent| parent.canonicalize().ok()).collect();
    parents.sort();
    parents.dedup();
    for parent in parents {
        for directory in abandoned(&parent) {
            let path = directory.path().to_owned();
            match directory.remove() {
                Ok(()) => monitor
                    .note(&format!("removed {}, which a build that was killed left behind", path.display())),
                Err(error) => monitor.warning(&format!("{error:#}")),
            }
        }
    }
}

/// The abandoned ones in `parent`, each held so that nobody else takes it.
fn abandoned(parent: &Path) -> Vec<WorkDirectory> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(take).collect()
}

/// The directory at `path`, if it is an abandoned one.
fn take(path: PathBuf) -> Option<WorkDirectory> {
    let letters = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let me = rustix::process::geteuid().as_raw();
    let is_mine = |meta: &fs::Metadata| meta.uid() == me;
    let is_named_so = letters.len() == 6 && letters.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_named_so || !path.symlink_metadata().is_ok_and(|meta| meta.is_dir() && is_mine(&meta)) {
        return None;
    }
    let no_link = i32::try_from(OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits()).ok()?;
    let lock = match File::options().read(true).custom_flags(no_link).open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Killed before it had a lock: nothing is in it. One that has something in it is not removed by this.
            let _ = fs::remove_dir(&path);
            return None;
        }
        Err(_) => return None,
    };
    let mut mark = String::new();
    lock.try_clone().ok()?.take(MARK.len() as u64 + 1).read_to_string(&mut mark).ok()?;
    let is_lock = mark == MARK && lock.metadata().is_ok_and(|meta| meta.is_file() && is_mine(&meta));
    if !is_lock || path.join(KEPT).symlink_metadata().is_ok() {
        return None;
    }
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        // Since it was opened, another build may have removed it.
        Ok(()) => is_at(&lock, &path.join(LOCK)).then_some(WorkDirectory { path, _lock: lock }),
        Err(Errno::WOULDBLOCK) => None,
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(directories: &[WorkDirectory]) -> Vec<&Path> {
        directories.iter().map(WorkDirectory::path).collect()
    }

    #[test]
    fn what_is_held_by_anybody_is_not_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let outer = WorkDirectory::create(parent.path(), false).unwrap();
        let path = outer.path().to_owned();
        let inner = WorkDirectory::hold(&path).unwrap();
        assert!(abandoned(parent.path()).is_empty());
        drop(outer);
        assert!(abandoned(parent.path()).is_empty());
        drop(inner);
        fs::create_dir_all(path.join("tree/etc")).unwrap();
        let found = abandoned(parent.path());
        assert_eq!(paths(&found), [path.as_path()]);
        // It is taken: no other build finds it, and no process of its own comes back to it.
        assert!(abandoned(parent.path()).is_empty());
        assert!(WorkDirectory::hold(&path).is_err());
        for directory in found {
            directory.remove().unwrap();
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_that_is_cut_short_in_removing_is_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = WorkDirectory::create(parent.path(), false).unwrap().path().to_owned();
        fs::remove_file(path.join(LOCK)).unwrap();
        // Without anything in it, it goes at once.
        assert!(abandoned(parent.path()).is_empty() && !path.exists());
    }

    #[test]
    fn what_is_not_surely_ours_stays() {
        let parent = tempfile::tempdir().unwrap();
        let here = |name: &str| parent.path().join(name);
        let precious = here("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join(LOCK), MARK).unwrap();
        symlink(&precious, here("goldimg-Linked")).unwrap();
        // A lock that is a link, one that says something else, none, and names that are not ours.
        for (name, lock) in
            [("goldimg-Abc123", None), ("goldimg-Abc124", Some("x")), ("goldimg-Abc125", Some(""))]
        {
            fs::create_dir(here(name)).unwrap();
            fs::write(here(name).join("file"), "").unwrap();
            match lock {
                Some("") => symlink(precious.join(LOCK), here(name).join(LOCK)).unwrap(),
                Some(content) => fs::write(here(name).join(LOCK), content).unwrap(),
                None => {}
            }
        }
        for name in ["goldimg-", "goldimg-Abc12", "goldimg-Abc1234", "goldimg-Abc_12", "other-Abc123"] {
            fs::create_dir(here(name)).unwrap();
            fs::write(here(name).join(LOCK), MARK).unwrap();
        }
        let kept = WorkDirectory::create(parent.path(), true).unwrap().path().to_owned();
        let before = fs::read_dir(parent.path()).unwrap().count();
        assert!(abandoned(parent.path()).is_empty());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), before);
        assert!(kept.join(KEPT).exists() && precious.join(LOCK).exists());
        assert!(abandoned(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn builds_side_by_side_never_take_each_others_directory() {
        let parent = tempfile::tempdir().unwrap();
        let build = || {
            for _ in 0..50 {
                let own = WorkDirectory::create(parent.path(), false).unwrap();
                fs::write(own.path().join("mine"), "").unwrap();
                for other in abandoned(parent.path()) {
                    assert_ne!(other.path(), own.path());
                    other.remove().unwrap();
                }
                fs::read(own.path().join("mine")).unwrap();
                // Every second one is killed.
                drop(own);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(build);
            }
        });
        for left in abandoned(parent.path()) {
            left.remove().unwrap();
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
