//! Where a new file goes: links resolved, and whether it can go there at all.

use std::fmt;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, accessat, statx};
use rustix::process::geteuid;

use crate::error::{Doing, Error, Result};

/// So many links may follow each other, as in the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Why a new file cannot be at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} {rule}", path = path.display())]
pub struct PlaceError {
    /// The place.
    pub path: PathBuf,
    /// What is in the way.
    pub rule: PlaceRule,
}

/// What keeps a new file from a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaceRule {
    /// Something is there, and is not to be replaced.
    Exists,
    /// A folder is there, or the name can only be that of one.
    Folder,
    /// What is there is no file.
    NoFile,
    /// The file there is mounted by itself: names of such a file cannot change.
    MountPoint,
    /// Nothing can be renamed in its folder.
    ReadOnlyFolder,
    /// The file, or its folder, is immutable or append-only.
    Immutable,
    /// The file is another user's, in a folder where everybody may rename only his own.
    Sticky,
    /// A link there is another user's, in a folder where everybody may make links.
    LinkOfOthers,
    /// The links there do not come to an end, or to what the system finds.
    Links,
    /// The new file cannot be given the owner or group of the old one.
    Owner {
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// The new file cannot be given an attribute of the old one: an ACL, a label, or another.
    Attribute,
    /// Another file is there than at the beginning.
    Changed,
}

impl fmt::Display for PlaceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "exists",
            Self::Folder => "is a folder",
            Self::NoFile => "is neither a file nor a block device",
            Self::MountPoint => "is a mount point: what is mounted there cannot be replaced by another file",
            Self::ReadOnlyFolder => "cannot be replaced: its folder cannot be written",
            Self::Immutable => "cannot be replaced: it or its folder is immutable or append-only",
            Self::Sticky => "cannot be replaced: it is another user's, and its folder is sticky",
            Self::LinkOfOthers => "is reached by another user's link in a folder that everybody can write",
            Self::Links => "is a link that cannot be followed",
            Self::Owner { uid, gid } => {
                return write!(
                    f,
                    "cannot be replaced: a new file cannot have its owner and group ({uid}:{gid})"
                );
            }
            Self::Attribute => "cannot be replaced: a new file cannot have its attributes",
            Self::Changed => "was replaced by something else meanwhile",
        })
    }
}

impl PlaceRule {
    /// Whether it is in the way of new content too, not only of another file.
    pub(super) fn holds_for_content(self) -> bool {
        self == Self::Immutable
    }
}

impl From<PlaceError> for Error {
    fn from(source: PlaceError) -> Self {
        Self::refused(source)
    }
}

/// Where a file goes.
#[derive(Debug)]
pub(super) struct Place {
    /// The path, the last part of which is no link.
    pub(super) path: PathBuf,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// The regular file that is there.
    pub(super) there: Option<Metadata>,
}

impl Place {
    /// Finds out where `path` leads.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let refuse = |rule| Err(PlaceError { path: path.to_owned(), rule }.into());
        if path.as_os_str().as_bytes().ends_with(b"/") || path.file_name().is_none() {
            return refuse(PlaceRule::Folder);
        }
        let seen = look(path, fs::metadata(path))?;
        let real = resolve(path)?;
        let there = look(&real, fs::symlink_metadata(&real))?;
        // Links of /proc need not lead where they say.
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        if seen.as_ref().map(identity) != there.as_ref().map(identity) {
            return refuse(PlaceRule::Links);
        }
        match &there {
            Some(there) if there.is_dir() => return refuse(PlaceRule::Folder),
            Some(there) if !there.is_file() => return refuse(PlaceRule::NoFile),
            _ => {}
        }
        Ok(Self { folder: folder_of(&real).to_owned(), path: real, there })
    }

    /// The refusal for this place.
    pub(super) fn refuse(&self, rule: PlaceRule) -> Error {
        PlaceError { path: self.path.clone(), rule }.into()
    }

    /// What keeps the file that is there from being replaced by another one.
    pub(super) fn obstacle(&self, there: &Metadata) -> Option<PlaceRule> {
        const FIXED: StatxAttributes = StatxAttributes::IMMUTABLE.union(StatxAttributes::APPEND);
        let attributes = |path: &Path| {
            let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
            found.map_or(StatxAttributes::empty(), |found| found.stx_attributes)
        };
        let own = attributes(&self.path);
        if own.intersects(FIXED) || attributes(&self.folder).intersects(FIXED) {
            return Some(PlaceRule::Immutable);
        }
        if own.contains(StatxAttributes::MOUNT_ROOT) {
            return Some(PlaceRule::MountPoint);
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        if accessat(CWD, &self.folder, access, AtFlags::EACCESS).is_err() {
            return Some(PlaceRule::ReadOnlyFolder);
        }
        let user = geteuid();
        let is_others = |owner: u32| owner != user.as_raw() && !user.is_root();
        let sticky = |folder: Metadata| folder.mode() & 0o1000 != 0 && is_others(folder.uid());
        let sticky = fs::metadata(&self.folder).is_ok_and(sticky);
        (sticky && is_others(there.uid())).then_some(PlaceRule::Sticky)
    }
}

/// What is there; nothing is no failure, but a name that is too long or a folder that is none is.
fn look(path: &Path, found: std::io::Result<Metadata>) -> Result<Option<Metadata>> {
    match found {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(|| format!("looking at {}", path.display())),
    }
}

/// Follows links in the last part of `path`, also to what is not there.
fn resolve(path: &Path) -> Result<PathBuf> {
    let mut real = path.to_owned();
    for _ in 0..MAX_LINKS {
        match look(&real, fs::symlink_metadata(&real))? {
            Some(there) if there.is_symlink() => {
                if is_of_others(&real, &there) {
                    return Err(PlaceError { path: real, rule: PlaceRule::LinkOfOthers }.into());
                }
                let target = fs::read_link(&real).doing(|| format!("reading the link {}", real.display()))?;
                real = real.parent().unwrap_or(Path::new("")).join(target);
            }
            _ => return Ok(real),
        }
    }
    Err(PlaceError { path: path.to_owned(), rule: PlaceRule::Links }.into())
}

/// Whether the kernel would not follow the link `path` either (sysctl fs.protected_symlinks): in a sticky folder that
/// everybody can write, those of others lead astray.
fn is_of_others(path: &Path, link: &Metadata) -> bool {
    let Ok(folder) = fs::metadata(folder_of(path)) else { return false };
    let shared = folder.mode() & 0o1002 == 0o1002;
    shared && link.uid() != geteuid().as_raw() && link.uid() != folder.uid()
}

/// The folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
