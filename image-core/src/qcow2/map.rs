//! Where the guest's bytes come from: this image, or one below it, and where in which file.
//!
//! ```text
//! run         ┌─ nothing there ─► the backing file's entries, one deeper; past its end zeroes that nobody wrote
//! of the    ──┼─ zero ──────────► zero, with the place that is set aside
//! active L1   ├─ plain ─────────► data, with its place; zero too, where only metadata was preallocated
//!             └─ compressed ────► data without a place
//! ```
//!
//! Answers are those of QEMU's block layer (`qemu-img map` prints them), errors those of reading.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use super::image::Qcow2;
use super::offset::{GuestOffset, HostOffset};
use super::runs::{Run, RunKind};
use crate::block::{ByteRange, ExtentKind, Extents, HostPlace, MapEntry, push_backing_entries};
use crate::error::Result;

/// What an entry says, apart from where.
const NOTHING: MapEntry = MapEntry::nothing(ByteRange::EMPTY);

/// The names of the files, made once for many entries.
struct Files {
    clusters: Option<Arc<Path>>,
}

impl Files {
    fn place(&self, offset: HostOffset) -> HostPlace {
        HostPlace { file: self.clusters.clone(), offset: offset.0 }
    }
}

/// The entries of `range`, which is on the disk.
pub(super) fn map_entries(image: &Qcow2, range: ByteRange) -> Result<Vec<MapEntry>> {
    let files = Files { clusters: image.cluster_file().as_file().map(|file| file.path().into()) };
    let mut list = Vec::new();
    for run in image.runs(range) {
        let run = run?;
        let (range, guest) = (run.range, GuestOffset(run.range.offset()));
        match run.kind {
            RunKind::Zero(aside) => {
                let host = aside.map(|host| files.place(host));
                list.push(MapEntry { range, present: true, zero: true, host, ..NOTHING });
            }
            RunKind::Plain(host) => {
                image.plain_range(guest, host, range.len())?;
                plain(image, &files, run, host, &mut list)?;
            }
            RunKind::Compressed(place) => {
                image.compressed_range(guest, place)?;
                list.push(MapEntry { range, present: true, data: true, compressed: true, ..NOTHING });
            }
            RunKind::Backing(aside) => backing(image, range, aside.map(|host| files.place(host)), &mut list)?,
        }
    }
    Ok(list)
}

/// Where only metadata was preallocated, clusters are data that was never written: holes of the file.
fn plain(image: &Qcow2, files: &Files, run: Run, host: HostOffset, list: &mut Vec<MapEntry>) -> Result<()> {
    let there = ByteRange::new(host.0, run.range.len())?;
    let extents = match image.is_metadata_preallocated() {
        true => image.cluster_file().extents(there)?,
        false => Extents::uniform(there, ExtentKind::Data),
    };
    let mut at = run.range.offset();
    for extent in extents.iter() {
        let range = ByteRange::new(at, extent.range.len())?;
        let place = files.place(HostOffset(extent.range.offset()));
        let zero = extent.kind.reads_as_zero();
        list.push(MapEntry { range, present: true, data: true, zero, host: Some(place), ..NOTHING });
        at = range.end();
    }
    Ok(())
}

fn backing(
    image: &Qcow2,
    range: ByteRange,
    aside: Option<HostPlace>,
    list: &mut Vec<MapEntry>,
) -> Result<()> {
    let beyond = push_backing_entries(image.backing().map(|backing| &**backing), range, list)?;
    if !beyond.is_empty() {
        let skipped = beyond.offset().saturating_sub(range.offset());
        let host = aside.map(|host| HostPlace { offset: host.offset.saturating_add(skipped), ..host });
        list.push(MapEntry { range: beyond, zero: true, host, ..NOTHING });
    }
    Ok(())
}
