//! A disk that is read until somebody asks for an end: whatever a rule reads then fails, so none goes on for long.

use image_core::block::{BlockRead, ByteRange, Extents, FileDisk, FileRange, MapEntry};

use crate::monitor::CancellationToken;

/// A disk whose reads a token stops.
pub(super) struct Stoppable<D> {
    disk: D,
    cancel: CancellationToken,
}

impl<D> Stoppable<D> {
    /// `disk`, until `cancel` is cancelled.
    pub(super) fn new(disk: D, cancel: &CancellationToken) -> Self {
        Self { disk, cancel: cancel.clone() }
    }
}

impl<D: BlockRead> BlockRead for Stoppable<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> image_core::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(image_core::Error::cancelled());
        }
        self.disk.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> image_core::Result<Extents> {
        self.disk.extents(range)
    }

    fn map_entries(&self, range: ByteRange) -> image_core::Result<Vec<MapEntry>> {
        self.disk.map_entries(range)
    }

    fn prefetch(&self, range: ByteRange) {
        self.disk.prefetch(range);
    }

    fn as_file(&self) -> Option<&FileDisk> {
        self.disk.as_file()
    }

    fn file_range(&self, range: ByteRange) -> image_core::Result<Option<FileRange<'_>>> {
        self.disk.file_range(range)
    }
}
