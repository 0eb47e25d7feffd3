//! The database of dpkg: a stanza for each package.
//!
//! ```text
//! /var/lib/dpkg/status          all packages
//! /var/lib/dpkg/updates/0001…   stanzas that replace those of status: what was not yet taken over
//! /var/lib/dpkg/status.d/…      a package each, in images that were made without dpkg
//! ```
//! deb-control(5), dpkg(1) ("PACKAGE STATES"), and dpkg's documentation of its database's journal.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::source::{Source, list, text};
use super::stanza::{Stanza, Stanzas};
use super::text::text_of;
use super::{PACKAGES_MAX, Package, PackageKind};

const DIRECTORY: &str = "/var/lib/dpkg";
/// Names in it.
const FIELDS: [&str; 4] = ["Package", "Version", "Architecture", "Status"];

/// The packages whose files are there, by name and architecture; a package without a version has none.
type Found = BTreeMap<(String, String), Option<String>>;

/// All packages with their files unpacked, whether they are configured or not.
pub(super) fn installed(source: &dyn Source) -> Result<Vec<Package>, DatabaseError> {
    let mut found = Found::new();
    read(source, &format!("{DIRECTORY}/status"), false, &mut found)?;
    let updates = format!("{DIRECTORY}/updates");
    for name in list(source, &updates)? {
        // Others are being written.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            read(source, &format!("{updates}/{name}"), false, &mut found)?;
        }
    }
    let pieces = format!("{DIRECTORY}/status.d");
    for name in list(source, &pieces)? {
        if !name.ends_with(".md5sums") {
            read(source, &format!("{pieces}/{name}"), true, &mut found)?;
        }
    }
    let package = |((name, architecture), version): (_, Option<_>)| {
        version.map(|version| Package { name, version, architecture, kind: PackageKind::Dpkg })
    };
    Ok(found.into_iter().filter_map(package).collect())
}

/// The stanzas of the file at `path`, if there is one. `is_piece`: without a status, a package is installed.
fn read(source: &dyn Source, path: &str, is_piece: bool, found: &mut Found) -> Result<(), DatabaseError> {
    let Some(text) = text(source, path)? else { return Ok(()) };
    for stanza in Stanzas::new(&text, FIELDS, false) {
        let stanza = stanza.of(path)?;
        take(&stanza, is_piece, found).of(path)?;
    }
    Ok(())
}

fn take(stanza: &Stanza<'_, 4>, is_piece: bool, found: &mut Found) -> Result<(), DatabaseRule> {
    let [name, version, architecture, status] = stanza.values;
    let name = name.filter(|name| !name.is_empty()).ok_or(stanza.wrong("begins a package without a name"))?;
    let has_files = match status {
        Some(status) => has_files(status).ok_or(stanza.wrong("begins a package of an unknown status"))?,
        None => is_piece,
    };
    let version = match (has_files, version) {
        (true, None | Some(b"")) => return Err(stanza.wrong("begins a package without a version")),
        (true, Some(version)) => Some(text_of(version)?),
        (false, _) => None,
    };
    found.insert((text_of(name)?, text_of(architecture.unwrap_or_default())?), version);
    match found.len() > PACKAGES_MAX {
        true => Err(DatabaseRule::TooManyPackages(PACKAGES_MAX)),
        false => Ok(()),
    }
}

/// Whether the files of a package with this status are there: its last word tells, behind what is wanted and what is wrong.
fn has_files(status: &[u8]) -> Option<bool> {
    let mut words = status.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (_, _, state) = (words.next()?, words.next()?, words.next()?);
    match state.to_ascii_lowercase().as_slice() {
        b"installed" | b"half-configured" | b"unpacked" | b"triggers-awaited" | b"triggers-pending" => {
            Some(true)
        }
        // Of the third, some files may be there, and no one knows which.
        b"not-installed" | b"config-files" | b"half-installed" => Some(false),
        _ => None,
    }
}
