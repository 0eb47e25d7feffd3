//! Which packages are installed in a tree of files, told from the databases of its package managers.
//!
//! ```text
//! /var/lib/dpkg/status, status.d/…            dpkg      text
//! /lib/apk/db/installed                       apk       text
//! /var/lib/pacman/local/…/desc                pacman    text, a file for each package
//! /usr/lib/sysimage/rpm, /var/lib/rpm         rpm       headers in an SQLite, ndb or Berkeley DB file
//! ```
//!
//! Nothing is run and nothing is written: the files are bytes of an image, and may say anything.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod apk;
mod dpkg;
mod field;
pub(crate) mod os_release;
mod pacman;
mod rpm;
mod rule;
mod source;
mod stanza;
#[cfg(test)]
mod tests;
mod text;

pub use os_release::{OsRelease, os_release};
pub use rule::{Cause, DatabaseError, DatabaseRule};
pub use source::{Content, Source};

/// What a database may have at most: twice as many as the largest distribution has altogether.
const PACKAGES_MAX: usize = 1 << 17;

/// Whose database tells of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageKind {
    /// dpkg: Debian, Ubuntu and what is made of them.
    Dpkg,
    /// rpm: Fedora, RHEL, SUSE, Amazon Linux and others.
    Rpm,
    /// apk: Alpine and others.
    Apk,
    /// pacman: Arch and others.
    Pacman,
}

/// An installed package. Bytes that are no UTF-8 are replaced with U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub struct Package {
    /// Its name, without the architecture.
    pub name: String,
    /// Its version as its manager tells it: for rpm with the epoch, if it has one, and the release.
    pub version: String,
    /// The machines that it is for, in the manager's words; empty, if the database says nothing.
    pub architecture: String,
    /// Whose database it is in.
    pub kind: PackageKind,
}

/// All installed packages of all databases that are in `source`, sorted by name, version and architecture. No database is
/// no package.
///
/// # Errors
/// The first database, of those that there are, that cannot be read whole: the file and what is wrong with it.
pub fn installed(source: &dyn Source) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = dpkg::installed(source)?;
    packages.append(&mut rpm::installed(source)?);
    packages.append(&mut apk::installed(source)?);
    packages.append(&mut pacman::installed(source)?);
    packages.sort_unstable();
    Ok(packages)
}
