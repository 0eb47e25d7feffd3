//! Where fetched files are kept: in the cache, by what is in them.
//!
//! ```text
//! cache/files/sha256-DIGEST          a whole file, verified when it came and whenever it is used
//!             partial-NAME           the first bytes of one
//!             partial-NAME.state     what its server calls the file that they are of
//!             partial-NAME.lock      held while it grows
//! ```
//! NAME is a digest of the address and of what is wanted.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::{self, File, FileTimes, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image_core::block::{BlockRead, FileDisk};
use image_core::digest::{Algorithm, Digest, Hasher, digests_of};

use super::Wanted;
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;

/// After so long without use a file is removed.
const FORGET: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// So often it is looked whether another build is through with a file.
const LOOK: Duration = Duration::from_millis(100);

/// A folder of such files.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// Where a file is while it is fetched.
pub(super) struct Partial {
    pub(super) file: PathBuf,
    pub(super) state: PathBuf,
}

impl Partial {
    /// Begins anew.
    pub(super) fn forget(&self) -> crate::Result<()> {
        for path in [&self.state, &self.file] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Store {
    /// The one in `cache`, without files that nobody used for long.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub(crate) fn open(cache: &Path, now: SystemTime) -> crate::Result<Self> {
        let folder = cache.join("files");
        let doing = || format!("opening the cache {}", folder.display());
        fs::create_dir_all(&folder).with_context(doing)?;
        for entry in fs::read_dir(&folder).with_context(doing)?.flatten() {
            let times = entry.metadata().and_then(|found| Ok(found.accessed()?.max(found.modified()?)));
            let is_old = times.is_ok_and(|used| now.duration_since(used).is_ok_and(|unused| unused > FORGET));
            if is_old {
                // Another build may have removed it.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder })
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}-{}", digest.algorithm, digest.hex))
    }

    /// The file with these digests, if it is here and still has them.
    ///
    /// # Errors
    /// If it cannot be read, or the caller stops it.
    pub(crate) fn kept(&self, digests: &[Digest], monitor: Monitor<'_>) -> crate::Result<Option<PathBuf>> {
        for path in digests.iter().map(|digest| self.place(digest)).filter(|path| path.is_file()) {
            if self.is_what_is_wanted(&path, digests, monitor)? {
                // Filesystems may not note when a file was read.
                let used = FileTimes::new().set_accessed(SystemTime::now());
                let _ = File::open(&path).and_then(|file| file.set_times(used));
                return Ok(Some(path));
            }
            monitor.warning(&format!("{} is damaged, and is fetched again", path.display()));
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(None)
    }

    /// Whether the file `path` has all of `digests`.
    ///
    /// # Errors
    /// If it cannot be read, or the caller stops it.
    pub(crate) fn is_what_is_wanted(
        &self,
        path: &Path,
        digests: &[Digest],
        monitor: Monitor<'_>,
    ) -> crate::Result<bool> {
        Ok(digests_of_file(path, digests, monitor)? == digests)
    }

    /// Waits until nobody else fetches `wanted`, and holds it.
    pub(super) fn hold(&self, wanted: &Wanted, monitor: Monitor<'_>) -> crate::Result<File> {
        let path = self.folder.join(format!("{}.lock", name(wanted)));
        let doing = || format!("locking {}", path.display());
        let file = File::create(&path).with_context(doing)?;
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
                Err(TryLockError::WouldBlock) => {}
            }
            if !is_told {
                monitor.note(&format!("another build is fetching {}", wanted.url));
                is_told = true;
            }
            monitor.check()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Where `wanted` is while it is fetched.
    pub(super) fn partial(&self, wanted: &Wanted) -> Partial {
        let name = name(wanted);
        Partial { file: self.folder.join(&name), state: self.folder.join(format!("{name}.state")) }
    }

    /// Gives what was fetched its name, if it is what was wanted.
    pub(super) fn keep(
        &self,
        place: &Partial,
        wanted: &Wanted,
        monitor: Monitor<'_>,
    ) -> crate::Result<PathBuf> {
        let found = digests_of_file(&place.file, &wanted.digests, monitor)?;
        let wrong = wanted.digests.iter().zip(&found).find(|(wanted, found)| wanted != found);
        if let Some((expected, found)) = wrong {
            place.forget()?;
            return Err(err!(
                "{} is not the file that is wanted: its {} is {}, not {}",
                wanted.url,
                found.algorithm,
                found.hex,
                expected.hex
            ))
            .hint(
                || "its publisher may have replaced it: compare with the digest that is published beside it",
            );
        }
        let digest = wanted.digests.first().ok_or_else(|| err!("nothing says what {} is", wanted.url))?;
        let path = self.place(digest);
        fs::rename(&place.file, &path).with_context(|| format!("keeping {}", path.display()))?;
        place.forget()?;
        Ok(path)
    }
}

/// The digests of the file `path` by the algorithms of `digests`, in their order.
fn digests_of_file(path: &Path, digests: &[Digest], monitor: Monitor<'_>) -> crate::Result<Vec<Digest>> {
    let algorithms: Vec<Algorithm> = digests.iter().map(|digest| digest.algorithm).collect();
    let disk = FileDisk::open(path)?;
    let watch = monitor.bytes("verifying", disk.size());
    let found = digests_of(&disk, &algorithms, &watch);
    monitor.check()?;
    found.with_context(|| format!("reading {}", path.display()))
}

fn name(wanted: &Wanted) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(wanted.url.as_bytes());
    for digest in &wanted.digests {
        hasher.update(b"\n");
        hasher.update(digest.hex.as_bytes());
    }
    format!("partial-{}", hasher.finish().hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::silent;

    fn digest_of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn what_is_kept_is_verified_when_it_is_used_and_forgotten_when_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let store = Store::open(dir.path(), now).unwrap();
        let digests = [digest_of(b"content")];
        assert_eq!(store.kept(&digests, silent()).unwrap(), None);
        let path = store.place(&digests[0]);
        fs::write(&path, "content").unwrap();
        assert_eq!(store.kept(&digests, silent()).unwrap().as_deref(), Some(path.as_path()));
        fs::write(&path, "contend").unwrap();
        assert_eq!(store.kept(&digests, silent()).unwrap(), None);
        assert!(!path.exists(), "what is damaged goes");
        fs::write(&path, "content").unwrap();
        Store::open(dir.path(), now + FORGET - Duration::from_secs(60)).unwrap();
        assert!(path.exists());
        Store::open(dir.path(), now + FORGET + Duration::from_secs(60)).unwrap();
        assert!(!path.exists());
    }
}
