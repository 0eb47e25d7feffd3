//! The local database of pacman: a directory for each package, and in it a file of sections.
//!
//! ```text
//! /var/lib/pacman/local/bash-5.2.026-2/desc       %NAME%        a line with a name
//!                       ALPM_DB_VERSION           bash          lines of values
//!                                                               an empty line
//! ```
//! alpm-db-desc(5).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::{DatabaseError, DatabaseRule, OfFile};
use super::source::{Source, list, text};
use super::text::text_of;
use super::{PACKAGES_MAX, Package, PackageKind};

const DIRECTORY: &str = "/var/lib/pacman/local";
/// What is in it beside the packages.
const VERSION: &str = "ALPM_DB_VERSION";

/// All packages.
pub(super) fn installed(source: &dyn Source) -> Result<Vec<Package>, DatabaseError> {
    let names = list(source, DIRECTORY)?;
    if names.len() > PACKAGES_MAX {
        return Err(DatabaseRule::TooManyPackages(PACKAGES_MAX)).of(DIRECTORY);
    }
    // Others that begin with a dot are none of its own.
    let is_package = |name: &&String| *name != VERSION && !name.starts_with('.');
    names.iter().filter(is_package).filter_map(|name| package(source, name).transpose()).collect()
}

/// The package of the directory `name`; `None`, if that is no directory.
fn package(source: &dyn Source, name: &str) -> Result<Option<Package>, DatabaseError> {
    let directory = format!("{DIRECTORY}/{name}");
    let path = format!("{directory}/desc");
    match text(source, &path)? {
        Some(text) => parse(&text).of(&path).map(Some),
        None if matches!(source.open(&directory), Ok(Some(_))) => Ok(None),
        None => Err(DatabaseRule::Missing).of(&path),
    }
}

fn parse(text: &[u8]) -> Result<Package, DatabaseRule> {
    let [mut name, mut version, mut architecture] = [const { None }; 3];
    let mut section: Option<&mut Option<String>> = None;
    let mut count: u64 = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        match line {
            b"%NAME%" => section = Some(&mut name),
            b"%VERSION%" => section = Some(&mut version),
            b"%ARCH%" => section = Some(&mut architecture),
            b"" => section = None,
            value => {
                // Of a section, the first line is its value.
                if let Some(place) = section.take() {
                    *place = Some(text_of(value)?);
                }
            }
        }
        count = count.saturating_add(1);
    }
    let missing = |what| DatabaseRule::Line { line: count, what };
    Ok(Package {
        name: name.ok_or(missing("ends a package without a name"))?,
        version: version.ok_or(missing("ends a package without a version"))?,
        architecture: architecture.unwrap_or_default(),
        kind: PackageKind::Pacman,
    })
}
