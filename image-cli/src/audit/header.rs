//! What an image file says of itself, before its disk is read.

use image_core::block::FileDisk;
use image_core::format::Image;

use crate::error::Context;
use crate::glance::inspect::{Inspected, inspect_disk};

/// What is known of an image file before its disk is read.
#[derive(Debug)]
pub(crate) struct Facts {
    /// What Glance would say.
    pub(super) inspected: Inspected,
    pub(super) is_dirty: bool,
    pub(super) is_corrupt: bool,
    pub(super) snapshot_count: u32,
}

impl Facts {
    /// Those of `image`.
    ///
    /// # Errors
    /// If its file cannot be read again.
    pub(crate) fn of(image: &Image) -> crate::Result<Self> {
        let file = FileDisk::open(image.path())?;
        let inspected =
            inspect_disk(&file).with_context(|| format!("inspecting {}", image.path().display()))?;
        let header = image.as_qcow2().map(image_core::qcow2::Qcow2::header);
        Ok(Self {
            inspected,
            is_dirty: header.as_ref().is_some_and(|header| header.is_dirty()),
            is_corrupt: header.as_ref().is_some_and(|header| header.is_corrupt()),
            snapshot_count: header.map_or(0, |header| header.snapshots.count),
        })
    }
}
