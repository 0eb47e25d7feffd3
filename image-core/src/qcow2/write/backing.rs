//! What an image says itself, and what it leaves to its backing file: made more, or made nothing.
//!
//! ```text
//! copy_from_backing │ own │ old ≠ new: stored │ old = new: left │ own │      before a new backing file takes the old one's place
//! make_empty        │     │                   │                 │     │      after all that it said went to its backing file
//! ```

use std::sync::PoisonError;

use super::super::compress::Compressor;
use super::super::corrupt::Corrupt;
use super::super::extension::Extension;
use super::super::feature_bits;
use super::super::header::{Header, Version};
use super::super::layout::MAX_BACKING_NAME_LEN;
use super::super::offset::GuestOffset;
use super::super::runs::RunKind;
use super::bitmaps::Recording;
use super::{Qcow2Writer, State, lazy_refcounts};
use crate::block::{BlockRead, BlockWrite, ByteRange, ZeroMode, is_zero};
use crate::error::{Doing, Error, Result};

/// Bytes that are compared at a time, unless a cluster has more.
const STEP: u64 = 1 << 20;

impl Qcow2Writer {
    /// Stores what shows through from the backing file wherever `new`, or zeroes without one, would show something
    /// else: after it, the image reads the same over either. With `compress`, whole clusters are stored compressed.
    /// Tells `done` of the bytes that were looked at.
    ///
    /// # Errors
    /// Whatever reading the backing files and writing says, and what `done` says.
    pub fn copy_from_backing(
        &self,
        new: Option<&dyn BlockRead>,
        compress: bool,
        done: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut compressor = if compress { Some(self.compressor(None)?) } else { None };
        let step = STEP.max(self.image.geometry().cluster_size());
        let mut at = 0;
        while at < self.size() {
            let range = ByteRange::between(at, at.saturating_add(step).min(self.size()));
            {
                let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
                let state = &mut *self.state();
                self.begin(state, Recording::Enabled)?;
                let runs = self.image.runs(range).collect::<Result<Vec<_>>>()?;
                for run in runs.into_iter().filter(|run| matches!(run.kind, RunKind::Backing(_))) {
                    self.copy_run_from_backing(state, run.range, new, compressor.as_mut())?;
                }
                self.write_staged(state)?;
                self.flush_if_large(state)?;
            }
            done(range.len())?;
            at = range.end();
        }
        Ok(())
    }

    /// Stores the parts of `range`, which shows the backing file, that `new` has otherwise.
    fn copy_run_from_backing(
        &self,
        state: &mut State,
        range: ByteRange,
        new: Option<&dyn BlockRead>,
        mut compressor: Option<&mut Compressor>,
    ) -> Result<()> {
        let nothing = |disk: Option<&dyn BlockRead>| match disk {
            Some(disk) => match range.intersection(ByteRange::whole(disk.size())) {
                Some(there) => Ok(disk.extents(there)?.iter().all(|extent| extent.kind.reads_as_zero())),
                None => Ok(true),
            },
            None => Ok::<_, Error>(true),
        };
        if nothing(self.image.backing().map(|backing| &**backing))? && nothing(new)? {
            return Ok(());
        }
        let (mut old_bytes, mut new_bytes) = (vec![0; range.len() as usize], vec![0; range.len() as usize]);
        self.image.read_at(&mut old_bytes, range.offset())?;
        if let Some(new) = new {
            let there = new.size().saturating_sub(range.offset()).min(range.len()) as usize;
            if let Some(part) = new_bytes.get_mut(..there).filter(|part| !part.is_empty()) {
                new.read_at(part, range.offset()).doing(|| "reading the new backing file")?;
            }
        }
        let (mut old_rest, mut new_rest) = (&*old_bytes, &*new_bytes);
        self.for_each_cluster(range, |guest, within| {
            let (old, behind) = old_rest.split_at_checked(within.len() as usize).unwrap_or_default();
            let (new, new_behind) = new_rest.split_at_checked(within.len() as usize).unwrap_or_default();
            (old_rest, new_rest) = (behind, new_behind);
            self.settle_cluster(state, guest, within.offset(), (old, new), compressor.as_deref_mut())
        })
    }

    /// Stores the parts of a cluster, `old` from `in_cluster` bytes into it on, that `new` has otherwise: compressed as
    /// a whole, else each subcluster by itself.
    fn settle_cluster(
        &self,
        state: &mut State,
        guest: GuestOffset,
        in_cluster: u64,
        (old, new): (&[u8], &[u8]),
        compressor: Option<&mut Compressor>,
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let has_zeroes = self.image.header().version == Version::V3;
        let there = geometry.cluster_size().min(self.size().saturating_sub(guest.0));
        if let Some(compressor) = compressor.filter(|_| old.len() as u64 == there)
            && old != new
            && !(has_zeroes && is_zero(old))
        {
            return self.store_compressed(state, guest, old, compressor);
        }
        // A run ends where a subcluster does: each part of a cluster is of whole ones.
        let unit = geometry.subcluster_size() as usize;
        let mut at = in_cluster;
        for (old, new) in old.chunks(unit).zip(new.chunks(unit)) {
            let part = ByteRange::new(at, old.len() as u64)?;
            at = part.end();
            if old == new {
                continue;
            }
            // Whatever the backing file shows there by now.
            if has_zeroes && is_zero(old) {
                self.zero(state, guest, part, (ZeroMode::Punch, true))?;
            } else {
                self.store(state, guest, part.offset(), old)?;
            }
        }
        Ok(())
    }

    /// Makes the image say nothing of its disk: all of it is what its backing file shows, or zeroes.
    ///
    /// # Errors
    /// Whatever the storage says. What was dropped before an error stays so.
    pub fn make_empty(&self) -> Result<()> {
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::Enabled)?;
        let mapped = self.image.l1().count().saturating_mul(self.image.geometry().l2_coverage());
        self.drop_mappings(state, ByteRange::whole(mapped))?;
        // The first commit drops, the second one writes down what is free.
        self.flush_metadata(state)?;
        self.flush_metadata(state)?;
        self.cut_end(state)
    }

    /// Completes the image and puts another backing file's name, or none, into its header. What the image reads as may
    /// change by that: see [`copy_from_backing`](Self::copy_from_backing).
    ///
    /// # Errors
    /// As [`change_backing_file`].
    pub fn close_with_backing_file(self, backing: Option<(&[u8], Option<&str>)>) -> Result<()> {
        let header = self.complete()?;
        change_backing_file(&*self.file, &header, backing).map(drop)
    }
}

/// Puts another backing file's name and format, or none, into the header of the image in `file`; returns it.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for a name of no bytes or more than 1023, and beside a raw data file;
/// [`Unsupported`](crate::ErrorKind::Unsupported) if the first cluster has no room for it;
/// [`Refused`](crate::ErrorKind::Refused) for images that must be repaired; whatever the storage says.
pub fn change_backing_file(
    file: &dyn BlockWrite,
    header: &Header,
    backing: Option<(&[u8], Option<&str>)>,
) -> Result<Header> {
    let mut header = lazy_refcounts::repair_if_dirty(file, header)?;
    header.extensions.retain(|extension| !matches!(extension, Extension::BackingFormat(_)));
    header.backing_name = None;
    if let Some((name, format)) = backing {
        if !(1..=MAX_BACKING_NAME_LEN as usize).contains(&name.len()) {
            let len = name.len() as u32;
            return Err(Error::invalid(Corrupt::BackingName { offset: 0, len }));
        }
        if header.is_data_file_raw() {
            return Err(Error::invalid("a raw data file cannot leave anything to a backing file"));
        }
        header.backing_name = Some(name.to_vec());
        if let Some(format) = format {
            header.extensions.insert(0, Extension::BackingFormat(format.as_bytes().to_vec()));
        }
    }
    feature_bits::update_header(file, &header)?;
    Ok(header)
}

#[cfg(test)]
mod tests;
