//! The cache of packages: a `.deb` that one build has fetched, the next one does not.
//!
//! ```text
//! cache/debian-bookworm/*.deb ── hard links ──► work directory/packages/*.deb   (one build's own)
//!                             ◄── new ones ──      └─► /var/cache/apt/archives in the tree, as the lower layer of
//!                                                      an overlay: what is written there goes with the build
//! ```
//!
//! apt takes a package that is there already by its size alone. So nothing comes into the cache that was within reach of
//! a step or of a package's script: packages are fetched outside the tree, and shared before any of it runs.
//!
//! Each build has a folder of its own, so builds run side by side, and none sees what another is still fetching.
//! Packages that no build has used for a while are removed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Context;
use crate::golden::recipe::Base;

/// After so long without use a package is removed.
const FORGET: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// A build's own view of the cache.
#[derive(Debug)]
pub(crate) struct PackageCache {
    shared: PathBuf,
    own: PathBuf,
}

impl PackageCache {
    /// Opens the cache in `folder` for the release that `base` names; `own` becomes the build's own folder.
    ///
    /// # Errors
    /// If a folder cannot be made or written.
    pub(crate) fn open(folder: &Path, own: PathBuf, base: &Base) -> crate::Result<Self> {
        let shared = folder.join(format!("{}-{}", base.facts().name, base.release));
        let doing = || format!("opening the package cache {}", shared.display());
        fs::create_dir_all(&shared).with_context(doing)?;
        fs::create_dir_all(&own).with_context(doing)?;
        for package in packages(&shared).with_context(doing)? {
            let (kept, copy) = (shared.join(&package), own.join(&package));
            match fs::hard_link(&kept, &copy) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    fs::copy(&kept, &copy).with_context(doing)?;
                }
                // Another build may be removing it.
                _ => {}
            }
        }
        Ok(Self { shared, own })
    }

    /// The folder with the packages, for apt to fetch to.
    pub(crate) fn folder(&self) -> &Path {
        &self.own
    }

    /// Shares what was fetched, and forgets what nobody uses. To be called before a program of the tree runs.
    ///
    /// # Errors
    /// If a file cannot be moved or removed.
    pub(crate) fn share(&self, now: SystemTime) -> crate::Result<()> {
        let doing = || format!("keeping packages in {}", self.shared.display());
        for package in packages(&self.own).with_context(doing)? {
            let (fetched, kept) = (&self.own.join(&package), self.shared.join(&package));
            let (Ok(new), old) = (fetched.metadata(), kept.metadata().ok()) else { continue };
            // A copy has the size of what it is a copy of, and is not worth another look.
            if old.is_some_and(|old| old.ino() == new.ino() || old.len() == new.len()) {
                continue;
            }
            // Beside it first: the cache may be on another filesystem.
            let beside = self.shared.join(format!(".{}-{}", std::process::id(), package.display()));
            fs::copy(fetched, &beside).and_then(|_| fs::rename(&beside, &kept)).with_context(doing)?;
        }
        for package in packages(&self.shared).with_context(doing)? {
            let path = self.shared.join(package);
            let unused = path.metadata().and_then(|meta| meta.accessed()).ok();
            if unused.and_then(|used| now.duration_since(used).ok()).is_some_and(|age| age > FORGET) {
                // Another build may have removed it.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// The names of the packages in `folder`.
fn packages(folder: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    names.filter(|name| name.as_ref().map_or(true, |name| name.to_string_lossy().ends_with(".deb"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::recipe::example;

    fn open(dir: &Path, base: &Base) -> crate::Result<PackageCache> {
        let own = tempfile::Builder::new().tempdir_in(dir).unwrap().keep();
        PackageCache::open(dir, own, base)
    }

    #[test]
    fn what_one_build_fetched_the_next_one_has() {
        let dir = tempfile::tempdir().unwrap();
        let base = example().base;
        let first = open(dir.path(), &base).unwrap();
        let beside = open(dir.path(), &base).unwrap();
        fs::write(first.folder().join("a_1_amd64.deb"), "a").unwrap();
        fs::write(first.folder().join("lock"), "").unwrap();
        assert!(!beside.folder().join("a_1_amd64.deb").exists());
        first.share(SystemTime::now()).unwrap();
        beside.share(SystemTime::now()).unwrap();
        let next = open(dir.path(), &base).unwrap();
        assert_eq!(fs::read(next.folder().join("a_1_amd64.deb")).unwrap(), b"a");
        assert!(!next.folder().join("lock").exists());
        // A damaged package that was fetched again replaces the old one.
        fs::remove_file(next.folder().join("a_1_amd64.deb")).unwrap();
        fs::write(next.folder().join("a_1_amd64.deb"), "better").unwrap();
        next.share(SystemTime::now()).unwrap();
        assert_eq!(fs::read(dir.path().join("debian-bookworm/a_1_amd64.deb")).unwrap(), b"better");
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let base = example().base;
        let cache = open(dir.path(), &base).unwrap();
        fs::write(cache.folder().join("a.deb"), "a").unwrap();
        cache.share(SystemTime::now()).unwrap();
        let much_later = SystemTime::now() + FORGET + Duration::from_secs(60);
        open(dir.path(), &base).unwrap().share(much_later).unwrap();
        assert!(!dir.path().join("debian-bookworm/a.deb").exists());
    }
}
