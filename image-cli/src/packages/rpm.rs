//! The database of rpm: a header of each package, in a file of one of three kinds.
//!
//! ```text
//! rpmdb.sqlite     SQLite: a table Packages of numbers and headers      since Fedora 33, RHEL 9
//! Packages.db      ndb: slots that lead to headers                      SUSE
//! Packages         Berkeley DB: a hash of numbers and headers           up to RHEL 8, Amazon Linux 2
//! ```
//! rpm's documentation of its database backends. Keys to check packages with are records as well; they are left out.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod berkeley;
mod digest;
mod header;
mod ndb;
mod sqlite;

use super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::source::{Content, Source, open};
use super::{PACKAGES_MAX, Package};

/// One is often a link to another; the first that has a database counts.
const DIRECTORIES: [&str; 3] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"];
/// A header has at most so many bytes: the largest that are known have a tenth.
const HEADER_MAX: u64 = 1 << 26;
/// A database has at most so many bytes: the largest that are known have a fifth.
const DATABASE_MAX: u64 = 1 << 31;

/// Takes the packages of headers, one after the other.
#[derive(Debug, Default)]
struct Packages(Vec<Package>);

impl Packages {
    /// Takes record `record`, which has this header.
    fn take(&mut self, record: u64, header: &[u8]) -> Result<(), DatabaseRule> {
        if self.0.len() >= PACKAGES_MAX {
            return Err(DatabaseRule::TooManyPackages(PACKAGES_MAX));
        }
        self.0.extend(header::package(record, header)?);
        Ok(())
    }
}

/// How much the headers of a file can have together: no more than the file, for none is in it twice.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    /// Whether `len` more bytes are possible; then they are taken off.
    fn takes(&mut self, len: u64) -> bool {
        match self.0.checked_sub(len) {
            Some(rest) if len <= HEADER_MAX => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }
}

/// All packages of the first database that there is. A newer kind of file is preferred: older ones stay behind when a database
/// is rebuilt.
pub(super) fn installed(source: &dyn Source) -> Result<Vec<Package>, DatabaseError> {
    type Read = fn(&dyn Content, &mut Packages) -> Result<(), DatabaseRule>;
    let others: [(&str, Read); 2] = [("Packages.db", ndb::read), ("Packages", berkeley::read)];
    for directory in DIRECTORIES {
        let mut packages = Packages::default();
        let path = format!("{directory}/rpmdb.sqlite");
        if let Some(content) = open_database(source, &path)? {
            sqlite::read(source, &path, content, &mut packages)?;
            return Ok(packages.0);
        }
        for (name, read) in others {
            let path = format!("{directory}/{name}");
            if let Some(content) = open_database(source, &path)? {
                read(content.as_ref(), &mut packages).of(&path)?;
                return Ok(packages.0);
            }
        }
    }
    Ok(Vec::new())
}

/// The database at `path`, if there is one.
fn open_database<'a>(
    source: &'a dyn Source,
    path: &str,
) -> Result<Option<Box<dyn Content + 'a>>, DatabaseError> {
    match open(source, path)? {
        Some(content) if content.size() > DATABASE_MAX => {
            Err(DatabaseRule::TooLong { len: content.size(), limit: DATABASE_MAX }).of(path)
        }
        content => Ok(content),
    }
}
