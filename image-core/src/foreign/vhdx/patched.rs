//! A file as it would be after its log was replayed.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::log::Patches;
use crate::block::{BlockRead, ByteRange};
use crate::error::Result;

/// A file, and what its log puts over it.
pub(super) struct Patched<D> {
    file: D,
    patches: Option<Arc<Patches>>,
}

impl<D: BlockRead> Patched<D> {
    pub(super) fn new(file: D, patches: Option<Arc<Patches>>) -> Self {
        Self { file, patches }
    }
}

impl<D: BlockRead> BlockRead for Patched<D> {
    fn size(&self) -> u64 {
        let told = self.patches.as_ref().map_or(0, |patches| patches.file_size);
        self.file.size().max(told)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size())?;
        // What the log makes of the file beyond its end is zeroes where it writes nothing.
        let there = self.file.size().saturating_sub(offset).min(range.len()) as usize;
        let (covered, beyond) = buf.split_at_mut(there);
        beyond.fill(0);
        if !covered.is_empty() {
            self.file.read_at(covered, offset)?;
        }
        if let Some(patches) = &self.patches {
            patches.apply(buf, offset);
        }
        Ok(())
    }

    fn prefetch(&self, range: ByteRange) {
        if let Some(there) = range.intersection(ByteRange::whole(self.file.size())) {
            self.file.prefetch(there);
        }
    }
}
