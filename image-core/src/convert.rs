//! Conversion: source → extents → workers → ordered sink, on all cores, in bounded memory.
//!
//! ```text
//! BlockRead ─► planner ─► batches ─► worker ─► worker … ─► pieces, in order ─► Sink
//!              (extents)             (read, find zeroes, encode)     └─► digests of the content
//! ```
//!
//! - The planner asks for extents a window at a time and cuts what is data into batches of about 256 KiB, longer ones
//!   where nothing is compressed; holes are never read.
//! - What comes next is prefetched by the source some megabytes ahead, so that a disk reads while batches are worked on.
//! - A worker takes a batch, reads it into a buffer that is used again and again, looks for zeroes and encodes.
//! - The worker that completes the batch whose turn it is gives it, and those waiting behind it, to the sink.
//!   So no thread only hands things on, and the sink sees pieces in ascending order, one at a time:
//!   its output is the same for any number of workers.
//! - What is plain in a host file, and stays so, is not read: the worker looks for zeroes, and the sink has the kernel
//!   copy it, once, or share it.
//! - No worker runs further ahead than a small number of batches: that bounds the memory, whatever the size.

mod batch;
mod digests;
mod planner;
mod queue;
mod sink;
mod target;
mod worker;

use std::num::NonZeroUsize;

use crate::block::{BlockRead, ByteRange};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::progress::Progress;

pub use sink::{CopyOffload, Encoder, Piece, Sink};
pub use target::{DiskSink, NonSparseSink, StreamSink, Zeroes};

/// How to convert.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many workers; `None` is one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Digests to make of the content, as a reader of the disk sees it.
    pub digests: &'a [Algorithm],
    /// Told of what is done; can stop the work.
    pub progress: &'a dyn Progress,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { threads: None, digests: &[], progress: &() }
    }
}

/// What a conversion did, in bytes of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The size of the source.
    pub size: u64,
    /// What was read.
    pub read: u64,
    /// What the sink was given as other than zeroes.
    pub stored: u64,
    /// In the order they were asked for.
    pub digests: Vec<Digest>,
}

/// Copies all of `source` to `sink`, and finishes it.
///
/// ```
/// use image_core::block::{BlockWrite, MemoryDisk};
/// use image_core::convert::{DiskSink, Options, Zeroes, convert};
///
/// let source = MemoryDisk::new(1 << 20);
/// source.write_at(b"hello", 70_000)?;
/// let target = MemoryDisk::new(1 << 20);
/// let summary = convert(&source, &mut DiskSink::new(&target, Zeroes::AlreadyThere), &Options::default())?;
/// assert_eq!(target.to_bytes(), source.to_bytes());
/// assert_eq!((summary.read, summary.stored), (512, 4096));
/// # Ok::<(), image_core::Error>(())
/// ```
///
/// # Errors
/// Of the source or the sink, with the guest offset; of several the one at the lowest offset, whatever the number of
/// workers. [`Cancelled`](crate::ErrorKind::Cancelled) if `progress` says so. The sink was not finished then, so
/// what it wrote is not an image.
pub fn convert(source: &dyn BlockRead, sink: &mut dyn Sink, options: &Options) -> Result<Summary> {
    convert_over(None, source, sink, options)
}

/// As [`convert`], into an image with a backing file that reads as `base`: units that are the same there are left out.
///
/// # Errors
/// As [`convert`], and of `base`.
pub fn convert_over(
    base: Option<&dyn BlockRead>,
    source: &dyn BlockRead,
    sink: &mut dyn Sink,
    options: &Options,
) -> Result<Summary> {
    let unit = sink.unit_size();
    let encoder = sink.encoder()?;
    // The digests want to see the bytes, and so does who compares them.
    let unseen = options.digests.is_empty() && base.is_none() && begins_in_file(source);
    let copies = if encoder.is_none() && unseen { sink.copy_offload() } else { None };
    let batch_len = batch::batch_len(unit, encoder.is_some(), copies);
    let reflinks = copies.is_some_and(|copies| copies.reflinks);
    let planner = planner::Planner::new(source, unit, batch_len, !reflinks);
    let worker = |encoder| worker::Worker { source, base, encoder, unit, batch_len, copies };
    let (totals, digests) = std::thread::scope(|scope| {
        let digests = digests::Digests::start(scope, options.digests);
        let target = batch::Target::new(sink, source, copies);
        let queue = queue::OrderedQueue::new(planner, target, &digests, options.progress);
        std::thread::scope(|scope| {
            let call_others = || {
                let threads = options.threads.or_else(|| std::thread::available_parallelism().ok());
                for encoder in queue.add_workers(threads.map_or(1, NonZeroUsize::get)) {
                    let (queue, worker) = (&queue, worker(encoder));
                    scope.spawn(move || worker.run(queue, || {}));
                }
            };
            worker(encoder).run(&queue, call_others);
        });
        queue.finish().map(|totals| (totals, digests.finish()))
    })?;
    sink.finish()?;
    Ok(Summary { size: source.size(), read: totals.read, stored: totals.stored, digests })
}

/// Whether the start of `source`, where a disk has its tables, is as it is in a file: then most of it is.
fn begins_in_file(source: &dyn BlockRead) -> bool {
    // What is wrong there, reading tells.
    source.size() > 0 && source.file_range(ByteRange::whole(1)).is_ok_and(|found| found.is_some())
}

#[cfg(test)]
mod tests;
