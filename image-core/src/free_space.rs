//! Free space: what the filesystems on a disk count as free, which becomes holes.
//!
//! ```text
//! disk ─► partitions (or none) ─┬─► ext2/3/4, XFS, Btrfs, FAT ─► what is free ──────────────────┐
//!                               ├─► swap space ─► all but its first page ───────────────────────┤
//!                               └─► LVM ─► what no logical volume has; filesystems on those ────┤
//!                                                                                               ▼
//! disk ────────────────────────────────────────────────────────────────────────► WithoutFreeSpace ─► the same disk, with holes there
//! ```
//!
//! Deleted files, and what an installation wrote and removed: a quarter of a disk that was lived in. Only where it is sure what is
//! free is anything left out (see [`Filesystem::free_ranges`](crate::fs::Filesystem::free_ranges)); everything else is in use, also what is
//! between partitions, where boot loaders are.

mod holes;
mod logical;
mod place;
mod survey;

use std::sync::Arc;

pub use holes::WithoutFreeSpace;
pub use place::Place;

use crate::block::{BlockRead, ByteRange, Ranges, Window};
use crate::error::Result;
use crate::fs::FilesystemKind;
use logical::Physical;
use place::{Found, places};
use survey::{Survey, free_in};

/// What was found on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FreeSpace {
    /// What is free: ascending, none overlaps another.
    pub unused: Vec<ByteRange>,
    /// What was looked into, and how many bytes of it are free.
    pub filesystems: Vec<(Place, u64)>,
    /// What could not be believed, and why: all of it is in use.
    pub skipped: Vec<(Place, String)>,
    /// What was not to be looked into.
    pub ignored: Vec<Place>,
}

/// Looks for what is free on `disk`: in its partitions, or in the filesystem that it is.
///
/// # Errors
/// Of the disk, and of a broken partition table. A broken filesystem is only skipped.
pub fn find_free_space(disk: &Arc<dyn BlockRead>) -> Result<FreeSpace> {
    find_free_space_except(disk, &|_| false)
}

/// As [`find_free_space`], but for the filesystems that `is_ignored` says: all of them is in use.
///
/// # Errors
/// As [`find_free_space`].
pub fn find_free_space_except(
    disk: &Arc<dyn BlockRead>,
    is_ignored: &dyn Fn(&Place) -> bool,
) -> Result<FreeSpace> {
    let mut survey = Survey { found: FreeSpace::default(), free: Ranges::default(), is_ignored };
    let mut physical = Vec::new();
    for found in places(disk)? {
        if survey.ignores(&found.place) {
            continue;
        }
        let kind = found.place.signature.as_ref().map(|signature| signature.kind);
        match (found.doubt, kind) {
            (Some(doubt), _) => survey.skip_because(found.place, doubt),
            (None, Some(FilesystemKind::Lvm)) => {
                physical.push(Physical::new(disk, Found { doubt: None, ..found })?);
            }
            (None, Some(kind)) => {
                let free = free_on(disk, found.range, kind);
                survey.take_or_skip(found.place, free)?;
            }
            (None, None) => (),
        }
    }
    if !physical.is_empty() {
        logical::look(&physical, &mut survey)?;
    }
    Ok(FreeSpace { unused: survey.free.into_sorted()?, ..survey.found })
}

/// Where on `disk` the filesystem of `kind` that is all of `range` has free space.
fn free_on(disk: &Arc<dyn BlockRead>, range: ByteRange, kind: FilesystemKind) -> Result<Vec<ByteRange>> {
    let free = free_in(Arc::new(Window::new(Arc::clone(disk), range)?), kind)?;
    free.iter().try_for_each(|own| own.check_within(range.len()))?;
    Ok(free.into_iter().map(|own| own.moved(range.offset())).collect())
}
