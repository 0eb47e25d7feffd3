//! What is different between the files of two images, or of an image and a folder or an archive.
//!
//! ```text
//! one   ─► Item, Item, … ─┐ by path    both have it: what of it is different, content last
//! other ─► Item, Item, … ─┴─────────►  only one has it: added, removed
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use image_core::block::{BlockRead, ByteRange, ExtentKind};
use image_core::fs::{Node, NodeKind};
use serde::Serialize;

use super::item::{Both, Item, Tree};
use super::record;
use crate::monitor::CancellationToken;

/// Content is compared in such pieces, in bytes.
const PIECE: usize = 1 << 20;
/// So much of a file is asked about at once, in bytes.
const STRETCH: u64 = 1 << 30;

/// What of files is compared besides what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffOptions {
    /// What is in them, and where links point to.
    pub content: bool,
    /// Permissions.
    pub modes: bool,
    /// Users and groups.
    pub owners: bool,
    /// When they were changed.
    pub times: bool,
    /// Extended attributes.
    pub attributes: bool,
}

impl DiffOptions {
    /// All of it.
    pub fn new() -> Self {
        Self { content: true, modes: true, owners: true, times: true, attributes: true }
    }
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A file that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Its path; what is no UTF-8 in it is replaced.
    pub path: String,
    /// What happened to it on the way from the first to the second.
    pub what: What,
    /// What of it is different, if both have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it.
    Changed,
}

/// A property that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Which: `type`, `content`, `size`, `mode`, `user`, `group`, `modified`, `target`, `device`, `links`, or the name of an attribute.
    pub property: String,
    /// What it was, in words; `None` for content, and what was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is now, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Calls `found` with every file that is different between `one` and `other`, by path.
///
/// # Errors
/// If a file cannot be read; those of `found`.
pub fn diff(
    one: &Tree,
    other: &Tree,
    options: DiffOptions,
    cancel: &CancellationToken,
    found: &mut dyn FnMut(Difference) -> crate::Result<()>,
) -> crate::Result<()> {
    for next in Both::new(one.items()?, other.items()?) {
        cancel.check()?;
        let (before, after) = next?;
        let path = before.as_ref().or(after.as_ref()).map(Item::shown).unwrap_or_default();
        let (what, changes) = match (&before, &after) {
            // Of which an archive only says that it is a directory.
            (Some(before), Some(after))
                if before.node.kind == after.node.kind && (before.is_implied() || after.is_implied()) =>
            {
                continue;
            }
            (Some(before), Some(after)) => (What::Changed, changes_of(before, after, options, cancel)?),
            (Some(_), None) => (What::Removed, Vec::new()),
            (None, _) => (What::Added, Vec::new()),
        };
        if what != What::Changed || !changes.is_empty() {
            found(Difference { path, what, changes })?;
        }
    }
    Ok(())
}

/// What of a file is different. What is asked for is compared, content last.
///
/// # Errors
/// If one of the two cannot be read.
pub(crate) fn changes_of(
    before: &Item<'_>,
    after: &Item<'_>,
    options: DiffOptions,
    cancel: &CancellationToken,
) -> crate::Result<Vec<Change>> {
    let mut changes = Changes(Vec::new());
    let (one, other) = (&before.node, &after.node);
    changes.compare("type", record::word(one.kind), record::word(other.kind));
    if one.kind != other.kind {
        return Ok(changes.0);
    }
    if options.modes {
        changes.compare("mode", format!("{:04o}", one.mode), format!("{:04o}", other.mode));
    }
    if options.owners {
        changes.compare("user", one.uid, other.uid);
        changes.compare("group", one.gid, other.gid);
    }
    if options.times && one.kind != NodeKind::Link {
        changes.compare("modified", record::time(one.modified), record::time(other.modified));
    }
    let device =
        |node: &Node| node.device.map(|(major, minor)| format!("{major}:{minor}")).unwrap_or_default();
    changes.compare("device", device(one), device(other));
    if options.attributes {
        attributes(before, after, &mut changes)?;
    }
    if one.kind != NodeKind::Directory {
        changes.compare("links", one.links, other.links);
    }
    if options.content {
        match one.kind {
            NodeKind::Link => {
                let shown = |target: Vec<u8>| String::from_utf8_lossy(&target).into_owned();
                changes.compare("target", shown(before.target()?), shown(after.target()?));
            }
            NodeKind::File if one.size != other.size => changes.compare("size", one.size, other.size),
            NodeKind::File if !same_content(&*before.content()?, &*after.content()?, cancel)? => {
                changes.0.push(Change { property: "content".to_owned(), before: None, after: None });
            }
            _ => {}
        }
    }
    Ok(changes.0)
}

struct Changes(Vec<Change>);

impl Changes {
    fn compare<T: PartialEq + ToString>(&mut self, property: &str, before: T, after: T) {
        if before != after {
            let (before, after) = (Some(before.to_string()), Some(after.to_string()));
            self.0.push(Change { property: property.to_owned(), before, after });
        }
    }
}

fn attributes(before: &Item<'_>, after: &Item<'_>, changes: &mut Changes) -> crate::Result<()> {
    let (one, other) = (before.attributes()?, after.attributes()?);
    let names: std::collections::BTreeSet<&Vec<u8>> = one.keys().chain(other.keys()).collect();
    for name in names {
        let (was, is) = (one.get(name), other.get(name));
        if was != is {
            let shown = |value: Option<&Vec<u8>>| value.map(|value| record::value(value));
            let property = String::from_utf8_lossy(name).into_owned();
            changes.0.push(Change { property, before: shown(was), after: shown(is) });
        }
    }
    Ok(())
}

/// Whether two files of the same size have the same bytes. Where neither has anything stored, both are zeroes.
pub(crate) fn same_content(
    one: &dyn BlockRead,
    other: &dyn BlockRead,
    cancel: &CancellationToken,
) -> crate::Result<bool> {
    if one.size() != other.size() {
        return Ok(false);
    }
    let len = one.size().min(PIECE as u64) as usize;
    let (mut bytes, mut others) = (vec![0; len], vec![0; len]);
    let mut at = 0_u64;
    while at < one.size() {
        let stretch = ByteRange::between(at, at.saturating_add(STRETCH).min(one.size()));
        // What was compared for one need not be compared again for the other.
        let mut done = at;
        for range in stored(one, other, stretch)? {
            let mut from = range.offset().max(done);
            while from < range.end() {
                cancel.check()?;
                let count = range.end().saturating_sub(from).min(PIECE as u64) as usize;
                let own = bytes.get_mut(..count).unwrap_or_default();
                let theirs = others.get_mut(..count).unwrap_or_default();
                one.read_at(own, from)?;
                other.read_at(theirs, from)?;
                if own != theirs {
                    return Ok(false);
                }
                from = from.saturating_add(count as u64);
            }
            done = done.max(range.end());
        }
        at = stretch.end();
    }
    Ok(true)
}

/// Where one of the two has something stored, by offset.
fn stored(one: &dyn BlockRead, other: &dyn BlockRead, stretch: ByteRange) -> crate::Result<Vec<ByteRange>> {
    let (ours, theirs) = (one.extents(stretch)?, other.extents(stretch)?);
    let is_data = |extent: &image_core::block::Extent| extent.kind == ExtentKind::Data;
    let mut ranges: Vec<ByteRange> =
        ours.iter().filter(is_data).chain(theirs.iter().filter(is_data)).map(|extent| extent.range).collect();
    ranges.sort_unstable_by_key(|range| range.offset());
    Ok(ranges)
}
