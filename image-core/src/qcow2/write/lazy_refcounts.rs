//! Lazy refcounts: written when an image is closed, and what makes up for it after a crash.
//!
//! ```text
//! lazy refcounts   first change ─► dirty bit ─► tables, without counts … ─► close: counts ─► bit cleared
//! opened dirty     ─► every reference is counted again, as by a repair ─► bit cleared ─► as any other image
//! ```
//!
//! While the bit is set nobody believes the counts, so they may wait: writes and flushes do without them. Section:
//! "Feature bits" (dirty, lazy refcounts).

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::super::feature_bits;
use super::super::header::Header;
use super::super::repair::{Repair, repair};
use super::{Qcow2Writer, State};
use crate::block::BlockWrite;
use crate::error::{Doing, Error, Result};

/// The header of the image in `file`, which `header` describes, once its refcounts are right: an image that was not
/// closed with lazy refcounts is repaired, as QEMU does when it opens one for writing.
///
/// # Errors
/// [`Refused`](crate::ErrorKind::Refused) for an image that is marked corrupt, or that has other damage beside wrong
/// refcounts; as [`repair`].
pub(super) fn repair_if_dirty(file: &dyn BlockWrite, header: &Header) -> Result<Header> {
    if !header.is_dirty() || header.is_corrupt() {
        feature_bits::refuse_unsound(header)?;
        return Ok(header.clone());
    }
    let doing = || "repairing the image, which was not closed";
    let left = repair(file, Repair::All, &mut |_| {}).doing(doing)?.left;
    if (left.corruptions, left.check_errors) != (0, 0) {
        return Err(Error::refused(format!(
            "{} errors are left that a repair does not fix: check the image",
            left.corruptions.saturating_add(left.check_errors)
        ))
        .doing(doing()));
    }
    Header::read(file)
}

impl Qcow2Writer {
    /// Whether counts wait until the image is closed.
    pub(super) fn refcounts_are_lazy(&self) -> bool {
        self.image.header().has_lazy_refcounts()
    }

    /// Says on disk that the refcounts are not right, before anything makes them so.
    pub(super) fn mark_dirty(&self, state: &State) -> Result<()> {
        let mut header = Header::clone(&self.image.header());
        if header.is_dirty() || !state.allocator.is_changed() {
            return Ok(());
        }
        feature_bits::mark_dirty(&*self.file, &mut header)?;
        self.image.set_header(header);
        Ok(())
    }

    /// The counts are in the file.
    pub(super) fn mark_clean(&self) -> Result<()> {
        let mut header = Header::clone(&self.image.header());
        if header.is_dirty() {
            feature_bits::mark_consistent(&*self.file, &mut header)?;
            self.image.set_header(header);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
