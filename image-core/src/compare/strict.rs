//! The strict comparison: whether two disks are stored alike, not only whether they read alike.

use crate::block::{BlockRead, MapEntry};
use crate::error::Result;
use crate::map::Map;

/// The first byte before `until` of which the maps of the disks differ: in what is allocated, zero, data, compressed or
/// has a place, or in where the last entry begins. Where the places are and how deep makes no difference.
///
/// # Errors
/// Whatever the disks say.
pub fn first_difference_of_maps(
    one: &dyn BlockRead,
    other: &dyn BlockRead,
    until: u64,
) -> Result<Option<u64>> {
    let (mut ones, mut others) = (Map::new(one), Map::new(other));
    let (mut left, mut right) = (ones.next().transpose()?, others.next().transpose()?);
    let until = until.min(one.size()).min(other.size());
    let mut at = 0;
    while at < until
        && let (Some(a), Some(b)) = (&left, &right)
    {
        if status(a, one.size()) != status(b, other.size()) {
            return Ok(Some(at));
        }
        at = a.range.end().min(b.range.end());
        if a.range.end() == at {
            left = ones.next().transpose()?;
        }
        if right.as_ref().is_some_and(|b| b.range.end() == at) {
            right = others.next().transpose()?;
        }
    }
    Ok(None)
}

/// What QEMU's block layer calls the status of an entry.
fn status(entry: &MapEntry, size: u64) -> (bool, bool, bool, bool, bool, bool) {
    let last = entry.depth == 0 && entry.range.end() == size;
    let MapEntry { present, zero, data, compressed, .. } = *entry;
    (present, zero, data, compressed, entry.host.is_some(), last)
}
