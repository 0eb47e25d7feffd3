//! Gaps between partitions and swap space, wiped: what they are is `audit/space.rs`'s to know.
//!
//! ```text
//! gaps: all of them        swap: all behind the header, so it still is swap space
//! ```

use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, ZeroMode};
use image_core::fs::FilesystemKind;

use super::overlay::Overlay;
use super::patched::Patched;
use crate::audit::{View, gaps, swap_page};
use crate::error::Context;

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

/// Wipes all of `disk`.
fn wipe_all(disk: &Overlay) -> crate::Result<u64> {
    let mut wiped = 0;
    let whole = ByteRange::whole(disk.size());
    for extent in disk.extents(whole)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
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
