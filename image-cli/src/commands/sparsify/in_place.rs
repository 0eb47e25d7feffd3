//! The image itself: holes in a raw file, clusters of a qcow2 given back.
//!
//! ```text
//! unused    ░░░░░░░░░░░░░░░░░░░░░░░░░
//! clusters  │ ▓▓▓▓░ │ ░░░░░ │ ░░░░▓ │     whole ones are given back; in others zeroes are written
//! ```
//! Parts of a cluster that is compressed, or that a snapshot has too, stay: writing would make the image larger. What shows through
//! from a backing file is not in this image, and is only hidden where a whole cluster is unused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use goldimg::monitor::Bytes;
use image_core::block::{BlockRead, BlockWrite, ByteRange, ExtentKind, ZeroMode};
use image_core::format::{ImageWriter, References, Share, WriteOptions};
use image_core::free_space::FreeSpace;
use image_core::progress::Progress;
use image_core::qcow2::{GuestOffset, Mapping, Qcow2};

use super::super::image::{Unclosed, advised};
use super::{Args, Done};
use crate::ui::Ui;

/// So much is done between two looks at whether to stop.
const PIECE: u64 = 256 << 20;

/// Gives back what `survey` finds unused of the image.
pub(super) fn sparsify(
    args: &Args,
    survey: &dyn Fn(&Arc<dyn BlockRead>) -> anyhow::Result<FreeSpace>,
    ui: &Ui,
) -> anyhow::Result<(FreeSpace, Done)> {
    let references = if args.allow_backing { References::AllowBeneath } else { References::Refuse };
    let options =
        WriteOptions { format: args.format, references, share: Share::RawWriters, parse_filename: None };
    let unclosed = Unclosed::look(&args.image, args.format);
    let image = Arc::new(advised(ImageWriter::open(&args.image, options))?);
    unclosed.tell(ui);
    let found = survey(&(Arc::clone(&image) as Arc<dyn BlockRead>))?;
    let allocated = || fs::metadata(&args.image).map(|file| (file.len(), file.blocks() * 512));
    let (_, before) = allocated()?;
    let doing = || format!("giving back what is unused of {}", args.image.display());
    let watch = ui.bytes("sparsifying", found.unused.iter().map(|range| range.len()).sum());
    let mut left = 0;
    for range in &found.unused {
        let mut at = range.offset();
        while at < range.end() {
            let piece = ByteRange::between(at, range.end().min(at.saturating_add(PIECE) / PIECE * PIECE));
            left += give_back(&image, piece, &watch).with_context(doing)?;
            at = piece.end();
        }
    }
    drop(watch);
    let (format, virtual_size) = (image.format(), image.size());
    let image = Arc::into_inner(image).ok_or_else(|| anyhow!("the image is still being read"))?;
    image.close().with_context(doing)?;
    let (file_size, allocated_size) = allocated()?;
    let (path, allocated_before) = (args.image.clone(), Some(before));
    Ok((found, Done { path, format, virtual_size, file_size, allocated_size, allocated_before, left }))
}

/// Gives back `range`; answers with how many bytes of it stayed.
fn give_back(image: &ImageWriter, range: ByteRange, watch: &Bytes<'_>) -> anyhow::Result<u64> {
    if watch.is_cancelled() {
        return Err(image_core::Error::cancelled().into());
    }
    let mut left = 0;
    for extent in image.extents(range)?.iter().filter(|extent| extent.kind != ExtentKind::Hole) {
        match image.as_qcow2() {
            None => image.write_zeroes(extent.range, ZeroMode::Punch)?,
            Some(qcow2) => {
                let Parts { whole, rests } = parts(extent.range, range, qcow2.image());
                if !whole.is_empty() {
                    image.write_zeroes(whole, ZeroMode::Punch)?;
                }
                for rest in rests.into_iter().filter(|rest| !rest.is_empty()) {
                    match stays(qcow2.image(), rest)? {
                        Stays::Nowhere => image.write_zeroes(rest, ZeroMode::Punch)?,
                        Stays::Here => left += rest.len(),
                        Stays::Elsewhere => (),
                    }
                }
            }
        }
    }
    watch.advance(range.len());
    Ok(left)
}

/// Whole clusters, and what is before and behind them.
struct Parts {
    whole: ByteRange,
    rests: [ByteRange; 2],
}

/// `extent` of the unused `range`, in clusters of `image`. The last cluster ends with the disk.
fn parts(extent: ByteRange, range: ByteRange, image: &Qcow2) -> Parts {
    let size = image.geometry().cluster_size();
    // A cluster of which a part alone is stored is whole if all of it is unused.
    let start = extent.offset() / size * size;
    let start = if start >= range.offset() { start } else { start.saturating_add(size) };
    let end = extent.end().div_ceil(size).saturating_mul(size).min(image.size());
    let end = if end <= range.end() { end } else { extent.end() / size * size };
    if start >= end {
        let middle = (extent.offset() / size + 1).saturating_mul(size).min(extent.end());
        let rests = [ByteRange::between(extent.offset(), middle), ByteRange::between(middle, extent.end())];
        return Parts { whole: ByteRange::EMPTY, rests };
    }
    let before = ByteRange::between(extent.offset(), start.min(extent.end()));
    let behind = ByteRange::between(end.max(extent.offset()), extent.end());
    Parts { whole: ByteRange::between(start, end), rests: [before, behind] }
}

/// What becomes of a part of a cluster.
enum Stays {
    /// Zeroes can be written over it.
    Nowhere,
    /// In the image, for it is compressed or shared.
    Here,
    /// In a backing file.
    Elsewhere,
}

fn stays(image: &Qcow2, rest: ByteRange) -> anyhow::Result<Stays> {
    Ok(match image.mapping(GuestOffset(rest.offset()))? {
        Mapping::Allocated(host) if host.copied => Stays::Nowhere,
        Mapping::Subclusters { cluster: Some(host), .. } if host.copied => Stays::Nowhere,
        Mapping::Unallocated | Mapping::Zero(_) | Mapping::Subclusters { cluster: None, .. } => {
            Stays::Elsewhere
        }
        _ => Stays::Here,
    })
}
