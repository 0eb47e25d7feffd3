//! What a disk is looked through for, place by place.

use std::sync::Arc;

use super::{FreeSpace, Place};
use crate::block::{BlockRead, ByteRange, Ranges};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FilesystemKind, free_ranges_of_swap, open};

/// What is free in the filesystem of `kind` that is all of `disk`.
pub(super) fn free_in(disk: Arc<dyn BlockRead>, kind: FilesystemKind) -> Result<Vec<ByteRange>> {
    match kind {
        FilesystemKind::Swap => free_ranges_of_swap(&*disk),
        // Packed once and never written to.
        FilesystemKind::Squashfs => Ok(Vec::new()),
        FilesystemKind::Luks => Err(Error::unsupported("it is encrypted")),
        FilesystemKind::Ntfs => Err(Error::unsupported("what is free in NTFS is not known here")),
        _ => open(disk)?.free_ranges(),
    }
}

/// What was found so far.
pub(super) struct Survey<'a> {
    pub(super) found: FreeSpace,
    pub(super) free: Ranges,
    pub(super) is_ignored: &'a dyn Fn(&Place) -> bool,
}

impl Survey<'_> {
    /// Whether `place` is not to be looked into, which is noted.
    pub(super) fn ignores(&mut self, place: &Place) -> bool {
        let is_ignored = (self.is_ignored)(place);
        self.found.ignored.extend(is_ignored.then(|| place.clone()));
        is_ignored
    }

    /// Takes what is free in `place`, by its places on the disk.
    pub(super) fn take(&mut self, place: Place, free: impl IntoIterator<Item = ByteRange>) {
        let mut bytes = 0_u64;
        for range in free {
            bytes = bytes.saturating_add(range.len());
            self.free.add(range);
        }
        self.found.filesystems.push((place, bytes));
    }

    pub(super) fn take_or_skip(&mut self, place: Place, free: Result<Vec<ByteRange>>) -> Result<()> {
        match free {
            Ok(free) => self.take(place, free),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => self.skip(place, &error),
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, place: Place, error: &Error) {
        self.skip_because(place, chain(error));
    }

    pub(super) fn skip_because(&mut self, place: Place, why: String) {
        self.found.skipped.push((place, why));
    }
}

/// An error and its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
