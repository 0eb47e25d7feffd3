//! Where the guest's bytes come from: this image, or one below it, and where in which file.
//!
//! ```text
//! run         ┌─ nothing there ─► the backing file's stretches, one deeper; past its end zeroes that nobody wrote
//! of the    ──┼─ zero ──────────► zero, with the place that is set aside
//! active L1   ├─ plain ─────────► data, with its place; zero too, where only metadata was preallocated
//!             └─ compressed ────► data without a place
//! ```
//!
//! Answers are those of QEMU's block layer (`qemu-img map` prints them), errors those of reading.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use super::geometry::{GuestOffset, HostOffset};
use super::header::Header;
use super::layout::REFCOUNT_TABLE_OFFSET;
use super::read::{Qcow2, Run, Treatment};
use super::refcount::RefcountBlock;
use super::table::for_each_u64;
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents, FileDisk, HostPlace, Stretch};
use crate::error::Result;

/// What a stretch is, apart from where.
const NOTHING: Stretch = Stretch::nothing(ByteRange::EMPTY);

/// How many bytes of refcount blocks are looked at to tell whether an image is preallocated.
const LOOKED_AT: u64 = 64 << 20;

/// The names of the files, made once for many stretches.
struct Files {
    clusters: Option<Arc<Path>>,
}

impl Files {
    fn place(&self, offset: HostOffset) -> HostPlace {
        HostPlace { file: self.clusters.clone(), offset: offset.0 }
    }
}

/// The stretches of `range`, which is on the disk.
pub(super) fn stretches(image: &Qcow2, range: ByteRange) -> Result<Vec<Stretch>> {
    let files = Files { clusters: image.cluster_file().as_file().map(|file| file.path().into()) };
    let mut list = Vec::new();
    for run in image.runs(range) {
        let run = run?;
        let (range, guest) = (run.range, GuestOffset(run.range.offset()));
        match run.treatment {
            Treatment::Zero(aside) => {
                let host = aside.map(|host| files.place(host));
                list.push(Stretch { range, present: true, zero: true, host, ..NOTHING });
            }
            Treatment::Plain(host) => {
                image.plain_range(guest, host, range.len())?;
                plain(image, &files, run, host, &mut list)?;
            }
            Treatment::Compressed(place) => {
                image.compressed_range(guest, place)?;
                list.push(Stretch { range, present: true, data: true, compressed: true, ..NOTHING });
            }
            Treatment::Backing(aside) => {
                backing(image, range, aside.map(|host| files.place(host)), &mut list)?
            }
        }
    }
    Ok(list)
}

/// Where only metadata was preallocated, clusters are data that was never written: holes of the file.
fn plain(image: &Qcow2, files: &Files, run: Run, host: HostOffset, list: &mut Vec<Stretch>) -> Result<()> {
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
        list.push(Stretch { range, present: true, data: true, zero, host: Some(place), ..NOTHING });
        at = range.end();
    }
    Ok(())
}

fn backing(image: &Qcow2, range: ByteRange, aside: Option<HostPlace>, list: &mut Vec<Stretch>) -> Result<()> {
    let mut at = range.offset();
    if let Some(backing) = image.backing()
        && let Some(covered) = range.intersection(ByteRange::whole(backing.size()))
    {
        let deeper = |stretch: Stretch| Stretch { depth: stretch.depth.saturating_add(1), ..stretch };
        list.extend(backing.stretches(covered)?.into_iter().map(deeper));
        at = covered.end();
    }
    let beyond = ByteRange::between(at, range.end());
    if !beyond.is_empty() {
        let skipped = at.saturating_sub(range.offset());
        let host = aside.map(|host| HostPlace { offset: host.offset.saturating_add(skipped), ..host });
        list.push(Stretch { range: beyond, zero: true, host, ..NOTHING });
    }
    Ok(())
}

/// Whether far more clusters are counted as used than its filesystem has set aside for the file: then allocated
/// clusters are worth a look for holes. The threshold is QEMU's: a ninth and two clusters more.
pub(super) fn is_metadata_preallocated(file: &FileDisk, header: &Header) -> Result<bool> {
    let geometry = header.geometry;
    let stored = geometry.cluster_index(file.allocated_size()?);
    let ninth_more = stored.saturating_mul(10).checked_div(9).unwrap_or_default();
    let threshold = ninth_more.max(stored.saturating_add(2));
    let clusters = geometry.clusters_for(file.size());
    if clusters < threshold {
        return Ok(false);
    }
    let mut table = Vec::new();
    let per_block = geometry.refcounts_per_block();
    let wanted = clusters.div_ceil(per_block).saturating_mul(8).min(header.refcount_table_len());
    for_each_u64(file, ByteRange::new(header.refcount_table.offset.0, wanted)?, |index, entry| {
        if entry != 0 {
            table.push((index, entry & REFCOUNT_TABLE_OFFSET));
        }
        Ok(())
    })?;
    // A table that names more than this is either that of a very large image or names some again and again.
    table.truncate(LOOKED_AT.checked_div(geometry.cluster_size()).unwrap_or_default() as usize);
    let mut counted = 0_u64;
    let mut bytes = vec![0; geometry.cluster_size() as usize];
    for (index, host) in table {
        file.read_at(&mut bytes, host)?;
        let block = RefcountBlock::from_bytes(geometry, std::mem::take(&mut bytes));
        let first = index.saturating_mul(per_block);
        let used = (0..clusters.saturating_sub(first).min(per_block)).filter(|&at| block.count(at) != 0);
        counted = counted.saturating_add(used.count() as u64);
        if counted >= threshold {
            return Ok(true);
        }
        bytes = block.into_bytes();
    }
    Ok(false)
}
