//! Gaps between partitions and swap space, wiped: what they are is `audit/space.rs`'s to know.
//!
//! ```text
//! gaps: all of them        swap: all behind the header, so it still is swap space
//! ```
//!
//! And what is unused in filesystems that are only read here: what they count as free.

use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, ZeroMode};
use image_core::free_space::find_free_space;
use image_core::fs::FilesystemKind;

use super::overlay::Overlay;
use super::patched::Patched;
use crate::audit::{View, gaps, swap_page};
use crate::error::Context;
use crate::system::Volume;

/// It is read in pieces of this size.
const PIECE: u64 = 1 << 20;

/// Wipes gaps and swap partitions of `view`'s disk: what they are to be goes into `patched`, what is written into the folder `work`.
/// Answers with how many bytes other than zero there were.
pub(super) fn wipe<D: BlockRead>(
    view: &View,
    patched: &mut Patched<D>,
    work: &std::path::Path,
) -> crate::Result<u64> {
    let mut places = match view.table() {
        Some(table) => gaps(&**view.disk(), table)?,
        None => Vec::new(),
    };
    for volume in view.volumes().iter().filter(|volume| volume.signature.kind == FilesystemKind::Swap) {
        let window = volume.content(view.disk())?;
        if let Some(page) = swap_page(&window)? {
            places.push(ByteRange::between(volume.range.offset() + page, volume.range.end()));
        }
    }
    let mut wiped = 0;
    for place in places.into_iter().filter(|place| !place.is_empty()) {
        let window = image_core::block::Window::new(Arc::clone(view.disk()), place)?;
        let path = work.join(format!("gap-{:x}", place.offset()));
        let overlay = Overlay::new(Arc::new(window), &path)?;
        let found = wipe_all(&overlay)
            .with_context(|| format!("wiping {} bytes at {:#x}", place.len(), place.offset()))?;
        if found > 0 {
            patched.put(place, Arc::new(overlay))?;
        }
        wiped += found;
    }
    Ok(wiped)
}

/// A filesystem without what was in its unused space.
pub(super) struct Emptied {
    pub(super) disk: Arc<dyn BlockRead>,
    /// The bytes other than zero that were there.
    pub(super) wiped: u64,
    /// What stays, in words.
    pub(super) notes: Vec<String>,
}

/// Wipes what the filesystem in `content`, which is at `place` of the image, counts as free; what is written lies in the folder `work`.
///
/// # Errors
/// If it cannot be read.
pub(super) fn wipe_free(
    content: &Arc<dyn BlockRead>,
    place: &Volume,
    work: &std::path::Path,
) -> crate::Result<Emptied> {
    let found = find_free_space(content).context("looking for free space")?;
    let notes = found.skipped.iter().map(|(_, why)| {
        format!("{} ({}): its unused space stays as it is: {why}", place.name(), place.signature.kind)
    });
    let notes = notes.collect();
    let path = work.join(format!("free-{:x}", place.range.offset()));
    let overlay = Overlay::new(Arc::clone(content), &path)?;
    let mut wiped = 0;
    for range in found.unused {
        wiped += wipe_range(&overlay, range)?;
    }
    Ok(Emptied { disk: Arc::new(overlay), wiped, notes })
}

/// Wipes all of `disk`.
fn wipe_all(disk: &Overlay) -> crate::Result<u64> {
    wipe_range(disk, ByteRange::whole(disk.size()))
}

fn wipe_range(disk: &Overlay, range: ByteRange) -> crate::Result<u64> {
    let mut wiped = 0;
    for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        let mut at = extent.range.offset();
        while at < extent.range.end() {
            let mut bytes = vec![0; (extent.range.end() - at).min(PIECE) as usize];
            disk.read_at(&mut bytes, at)?;
            let stale = bytes.iter().filter(|byte| **byte != 0).count() as u64;
            let end = at + bytes.len() as u64;
            if stale > 0 {
                disk.write_zeroes(ByteRange::between(at, end), ZeroMode::Punch)?;
            }
            wiped += stale;
            at = end;
        }
    }
    Ok(wiped)
}
