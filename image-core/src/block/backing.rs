//! What is beneath a disk, where that says nothing itself: a backing file, or parent, which may be shorter.
//!
//! ```text
//! guest range ─┬─ within the backing file ─► what that has
//!              └─ behind its end, or none ─► zeroes, a hole
//! ```

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::{BlockRead, ByteRange, ExtentKind, Extents, MapEntry};
use crate::error::Result;

/// Fills `buf` with what `backing` has at `offset`.
///
/// # Errors
/// Of the backing file.
pub(crate) fn read_backing(
    backing: Option<&(impl BlockRead + ?Sized)>,
    buf: &mut [u8],
    offset: u64,
) -> Result<()> {
    let Some(backing) = backing else {
        buf.fill(0);
        return Ok(());
    };
    let there = backing.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    let (covered, beyond) = buf.split_at_mut(there);
    beyond.fill(0);
    if covered.is_empty() {
        return Ok(());
    }
    backing.read_at(covered, offset)
}

/// Appends the extents of `range` as `backing` has them.
///
/// # Errors
/// Of the backing file.
pub(crate) fn push_backing_extents(
    backing: Option<&(impl BlockRead + ?Sized)>,
    range: ByteRange,
    extents: &mut Extents,
) -> Result<()> {
    if let Some(backing) = backing
        && let Some(covered) = range.intersection(ByteRange::whole(backing.size()))
    {
        for extent in backing.extents(covered)?.iter() {
            extents.push(extent.range.len(), extent.kind);
        }
    }
    extents.push_until(range.end(), ExtentKind::Hole);
    Ok(())
}

/// Appends what is set aside at `there` in `file`, which may be holes there: zeroes then. Nothing past the end of the file.
///
/// # Errors
/// Of the file.
pub(crate) fn push_stored_extents(
    file: &(impl BlockRead + ?Sized),
    there: ByteRange,
    extents: &mut Extents,
) -> Result<()> {
    if there.end() > file.size() {
        return Ok(());
    }
    for extent in file.extents(there)?.iter() {
        let kind = if extent.kind.reads_as_zero() { ExtentKind::Zero } else { ExtentKind::Data };
        extents.push(extent.range.len(), kind);
    }
    Ok(())
}

/// Appends the entries of `range` as `backing` has them, one image deeper. Answers with what lies behind its end.
///
/// # Errors
/// Of the backing file.
pub(crate) fn push_backing_entries(
    backing: Option<&(impl BlockRead + ?Sized)>,
    range: ByteRange,
    list: &mut Vec<MapEntry>,
) -> Result<ByteRange> {
    let mut at = range.offset();
    if let Some(backing) = backing
        && let Some(covered) = range.intersection(ByteRange::whole(backing.size()))
    {
        let deeper = |entry: MapEntry| MapEntry { depth: entry.depth.saturating_add(1), ..entry };
        list.extend(backing.map_entries(covered)?.into_iter().map(deeper));
        at = covered.end();
    }
    Ok(ByteRange::between(at, range.end()))
}
