//! A new file that is complete or not there: written beside its place, and put there in one step.
//!
//! ```text
//! path ─► links resolved ─► place ─┬─ free:  written beside it ──────────────────────────► named, if still free
//!                                  ├─ taken: beside it, with the rights of what is there ► exchanged, the old one goes
//!                                  └─ taken by an empty file that cannot be renamed ─────► written where it is
//! ```
//!
//! - **What can be known before the work is**: a place where nothing can be renamed, rights that cannot be kept, a file
//!   that another program uses. That file stays locked until it is replaced.
//! - **What was there keeps its nature**: a symbolic link stays and what it names is replaced; mode, owner, group, ACL,
//!   extended attributes and flags of the old file are those of the new one. Other hard links keep the old content.
//! - **A crash or kill of this program leaves the old file or the new one.** After a loss of power that holds with
//!   [`keep_synced`](NewFile::keep_synced) alone: [`keep`](NewFile::keep) returns before anything is on the disk, and the
//!   new file may then be short or empty, as any file that was just written. Exchanging two names does that on ext4, too;
//!   renaming over a file writes all of it out first there (`auto_da_alloc`, ext4(5)), which takes longer than the copy.

mod attributes;
mod place;

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempPath;

pub use place::{PlaceError, PlaceRule};

use crate::block::{Access, BlockWrite, FileDisk};
use crate::error::{Doing, Error, Result};
use place::Place;

/// Names of unfinished files begin so.
pub const PREFIX: &str = ".goldimg-";

/// What is done about a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and no new file is made.
    Refuse,
    /// It is replaced, if no other program uses it.
    Replace,
    /// It is replaced; the caller sees to it that no other program uses it.
    ReplaceOwn,
}

/// A file in the making. One that is not kept is gone, and what was there is as it was.
#[derive(Debug)]
pub struct NewFile {
    disk: FileDisk,
    way: Way,
    /// Where it goes, without links.
    place: PathBuf,
}

#[derive(Debug)]
enum Way {
    /// Under another name, and what it replaces.
    Beside { unfinished: TempPath, old: Option<FileDisk> },
    /// Into an empty file.
    InPlace(Emptied),
}

/// A file that becomes empty again unless it is kept.
#[derive(Debug)]
struct Emptied {
    file: File,
    kept: bool,
}

impl Drop for Emptied {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing can be done about what stays.
            let _ = self.file.set_len(0);
        }
    }
}

impl NewFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) (cause: [`PlaceError`]) if it cannot be there, or `existing` says so;
    /// [`InUse`](crate::ErrorKind::InUse); [`Io`](crate::ErrorKind::Io).
    pub fn at(path: &Path, existing: Existing) -> Result<Self> {
        let place = Place::find(path)?;
        let Some(there) = &place.there else { return Self::beside(&place, None) };
        if existing == Existing::Refuse {
            return Err(place.refuse(PlaceRule::Exists));
        }
        let old = FileDisk::open(&place.path)?;
        if existing == Existing::Replace {
            old.lock(Access::WRITE)?;
        }
        match place.obstacle(there) {
            None => Self::beside(&place, Some(old)),
            Some(obstacle) if there.len() > 0 || obstacle.holds_for_content() => Err(place.refuse(obstacle)),
            // Nothing is lost whatever happens.
            Some(obstacle) => {
                let disk = FileDisk::open_writable(&place.path).map_err(|_| place.refuse(obstacle))?;
                drop(old);
                if existing == Existing::Replace {
                    disk.lock(Access::WRITE)?;
                }
                let doing = || format!("opening {}", place.path.display());
                let emptied = Emptied { file: disk.file().try_clone().doing(doing)?, kept: false };
                Ok(Self { disk, way: Way::InPlace(emptied), place: place.path })
            }
        }
    }

    /// The file itself, for what is written from its beginning on and is as long as it gets.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io).
    pub fn writer(&self) -> Result<File> {
        self.disk.file().try_clone().doing(|| format!("opening {}", self.place.display()))
    }

    fn beside(place: &Place, old: Option<FileDisk>) -> Result<Self> {
        let (file, unfinished) = tempfile::Builder::new()
            .prefix(PREFIX)
            // What the umask leaves of it, as for any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&place.folder)
            .doing(|| format!("making a file in {}", place.folder.display()))?
            .into_parts();
        if let Some(old) = &old {
            attributes::adopt(old.file(), &file, &place.path)?;
        }
        let disk = FileDisk::from_file(file, &place.path)?;
        Ok(Self { disk, way: Way::Beside { unfinished, old }, place: place.path.clone() })
    }

    /// The file, empty at first.
    pub fn disk(&self) -> &FileDisk {
        &self.disk
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        match &self.way {
            Way::Beside { unfinished, .. } => unfinished,
            Way::InPlace(_) => &self.place,
        }
    }

    /// Where it will be, without symbolic links.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The folder that it will be in.
    pub fn folder(&self) -> &Path {
        place::folder_of(&self.place)
    }

    /// How many other names (hard links) what it replaces has; they keep the old content.
    pub fn other_names(&self) -> u64 {
        match &self.way {
            Way::Beside { old: Some(old), .. } => {
                old.file().metadata().map_or(0, |metadata| metadata.nlink().saturating_sub(1))
            }
            _ => 0,
        }
    }

    /// Puts it in its place. A loss of power soon after may leave it short or empty.
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) (cause: [`PlaceError`]) if the place was taken meanwhile by something else;
    /// [`Io`](crate::ErrorKind::Io).
    pub fn keep(self) -> Result<()> {
        self.put(false)
    }

    /// The same, and returns when it survives a loss of power.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub fn keep_synced(self) -> Result<()> {
        self.disk.flush()?;
        let folder = self.folder().to_owned();
        self.put(true)?;
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.doing(|| format!("syncing {}", folder.display()))
    }

    fn put(self, synced: bool) -> Result<()> {
        let Self { disk, way, place } = self;
        let doing = || format!("renaming the finished file to {}", place.display());
        let refuse = |rule| Error::from(PlaceError { path: place.clone(), rule });
        match way {
            Way::InPlace(mut emptied) => emptied.kept = true,
            Way::Beside { unfinished, old: None } => match unfinished.persist_noclobber(&place) {
                Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => {
                    return Err(refuse(PlaceRule::Exists));
                }
                named => named.map_err(|failed| failed.error).doing(doing)?,
            },
            Way::Beside { unfinished, old: Some(old) } => {
                // Writing took some of it away, or it was changed meanwhile.
                attributes::adopt(old.file(), disk.file(), &place)?;
                if !is_at(&old, &place) {
                    return Err(refuse(PlaceRule::Changed));
                }
                let exchange = || renameat_with(CWD, &*unfinished, CWD, &place, RenameFlags::EXCHANGE);
                // What is on the disk already is not written again: one step then leaves nothing behind.
                if synced || exchange().is_err() {
                    unfinished.persist(&place).map_err(|failed| failed.error).doing(doing)?;
                } else if is_at(&old, &unfinished) {
                    unfinished.close().doing(|| format!("removing what was at {}", place.display()))?;
                } else {
                    // Whoever put it there a moment ago gets it back.
                    exchange().doing(doing)?;
                    return Err(refuse(PlaceRule::Changed));
                }
            }
        }
        Ok(())
    }
}

/// Whether the name `path` is of `file`.
fn is_at(file: &FileDisk, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let there = fs::symlink_metadata(path).map(identity);
    file.file().metadata().map(identity).is_ok_and(|own| there.is_ok_and(|there| there == own))
}

#[cfg(test)]
mod tests;
