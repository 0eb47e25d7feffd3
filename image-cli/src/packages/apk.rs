//! The database of apk: a stanza for each package, with names of one letter.
//!
//! ```text
//! P:musl      name        V:1.2.4-r2  version        A:x86_64  architecture        F:, R: …  its files
//! ```
//! Alpine's documentation of the format of apk's index and of its list of installed packages.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::source::{Source, text};
use super::stanza::{Stanza, Stanzas};
use super::text::text_of;
use super::{PACKAGES_MAX, Package, PackageKind};

/// The first that is there is the database: newer versions have it below /usr.
const PATHS: [&str; 2] = ["/usr/lib/apk/db/installed", "/lib/apk/db/installed"];

/// All packages.
pub(super) fn installed(source: &dyn Source) -> Result<Vec<Package>, DatabaseError> {
    for path in PATHS {
        if let Some(text) = text(source, path)? {
            return packages(&text).of(path);
        }
    }
    Ok(Vec::new())
}

fn packages(text: &[u8]) -> Result<Vec<Package>, DatabaseRule> {
    let mut packages = Vec::new();
    for stanza in Stanzas::new(text, ["P", "V", "A"], true) {
        packages.push(package(&stanza?)?);
        if packages.len() > PACKAGES_MAX {
            return Err(DatabaseRule::TooManyPackages(PACKAGES_MAX));
        }
    }
    Ok(packages)
}

fn package(stanza: &Stanza<'_, 3>) -> Result<Package, DatabaseRule> {
    let [name, version, architecture] = stanza.values;
    let name = name.filter(|name| !name.is_empty()).ok_or(stanza.wrong("begins a package without a name"))?;
    let version = version
        .filter(|version| !version.is_empty())
        .ok_or(stanza.wrong("begins a package without a version"))?;
    Ok(Package {
        name: text_of(name)?,
        version: text_of(version)?,
        architecture: text_of(architecture.unwrap_or_default())?,
        kind: PackageKind::Apk,
    })
}
