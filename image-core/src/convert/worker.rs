//! A worker: reads a batch, finds its zeroes, encodes its units.

use super::batch::{Batch, Pieces, Stored};
use super::queue::OrderedQueue;
use super::sink::{CopyOffload, Encoder};
use crate::block::{BlockRead, ByteRange, is_zero};
use crate::error::{Doing, Result};

/// How much of a unit is looked at before all of it is read, only to know whether it is zeroes: a line of the cache, for
/// that memory is cold.
const GLANCE: usize = 64;

/// How much is looked at next where those are zeroes: it stays in a core's nearest cache.
const SECOND_GLANCE: usize = 16 * 1024;

/// What a worker works with.
pub(super) struct Worker<'a> {
    pub(super) source: &'a dyn BlockRead,
    /// What the target reads where nothing is stored, if that is not zeroes.
    pub(super) base: Option<&'a dyn BlockRead>,
    pub(super) encoder: Option<Box<dyn Encoder>>,
    pub(super) unit: u64,
    /// The bytes of units that a batch holds at most.
    pub(super) batch_len: u64,
    pub(super) copies: Option<CopyOffload>,
}

impl Worker<'_> {
    /// Works until the line ends; `call_others` when it turns out that there is work for more than one.
    pub(super) fn run(mut self, queue: &OrderedQueue<'_>, call_others: impl FnOnce()) {
        // Should this thread panic, the others must not wait for its batch.
        let _ends_line = queue.end_on_panic();
        let mut call_others = Some(call_others);
        while let Some((ticket, mut batch)) = queue.take() {
            if !batch.data.is_empty()
                && queue.has_more()
                && let Some(call_others) = call_others.take()
            {
                call_others();
            }
            for range in batch.ahead.drain(..) {
                self.source.prefetch(range);
            }
            let done = self.process(&mut batch);
            queue.complete(ticket, done.map(|()| batch));
        }
    }

    /// Reads what is data in `batch` and makes the pieces that cover its range.
    fn process(&mut self, batch: &mut Batch) -> Result<()> {
        let unit = self.unit;
        let Batch { range: batch_range, data, buffer, compressed, pieces, ahead: _ } = batch;
        pieces.clear();
        compressed.clear();
        let mut buffer_at = 0;
        let mut guest_at = batch_range.offset();
        let mut data = data.as_slice();
        while let Some(&first) = data.first() {
            // A run of units: all that are touched by extents which lie in the same or neighbouring units.
            let mut start = first.offset() / unit * unit;
            let mut end = start;
            let mut count = 0;
            while let Some(range) = data.get(count)
                && range.offset() / unit * unit <= end
            {
                end = range.end().next_multiple_of(unit);
                count += 1;
            }
            self.leave_gap(ByteRange::between(guest_at, start), pieces)?;
            let (run, behind) = data.split_at(count);
            data = behind;
            guest_at = end.min(batch_range.end());
            start = self.leave_to_sink(ByteRange::between(start, end), run, pieces)?;
            if start >= end {
                continue;
            }
            let run_end = buffer_at + (end - start) as usize;
            if buffer.len() < run_end {
                // What is copied needs no room: often there is only an odd end to read.
                let len = if self.copies.is_some() { run_end } else { self.batch_len as usize };
                buffer.resize(len, 0);
            }
            fill(self.source, &mut buffer[buffer_at..run_end], start, run)?;
            for (at, guest) in
                (buffer_at..run_end).step_by(unit as usize).zip((start..).step_by(unit as usize))
            {
                let range = ByteRange::between(guest, (guest + unit).min(batch_range.end()));
                let bytes = &buffer[at..at + unit as usize];
                if self.is_in_base(bytes, range)? {
                    pieces.push(range, Stored::Same { at });
                    continue;
                }
                let stored = store(bytes, at, &mut self.encoder, compressed)
                    .doing(|| format!("compressing the {} bytes at guest offset {guest:#x}", range.len()))?;
                pieces.push(range, stored);
            }
            buffer_at = run_end;
        }
        self.leave_gap(ByteRange::between(guest_at, batch_range.end()), pieces)
    }

    /// Makes pieces of `gap`, which is zeroes: they are only stored where the base may have something else.
    fn leave_gap(&self, gap: ByteRange, pieces: &mut Pieces) -> Result<()> {
        let Some(base) = self.base else {
            pieces.push(gap, Stored::Zero);
            return Ok(());
        };
        let mut at = gap.offset();
        let covered = gap.intersection(ByteRange::whole(base.size())).unwrap_or_default();
        for extent in base.extents(covered)?.iter().filter(|extent| !extent.kind.reads_as_zero()) {
            let start = (extent.range.offset() / self.unit * self.unit).max(at);
            let end = extent.range.end().next_multiple_of(self.unit).min(gap.end()).max(start);
            pieces.push(ByteRange::between(at, start), Stored::SameZero);
            pieces.push(ByteRange::between(start, end), Stored::Zero);
            at = end;
        }
        pieces.push(ByteRange::between(at, gap.end()), Stored::SameZero);
        Ok(())
    }

    /// Whether the base has these bytes, a unit, at `range`, which ends before the unit at the end of the disk.
    fn is_in_base(&self, bytes: &[u8], range: ByteRange) -> Result<bool> {
        let Some(base) = self.base else { return Ok(false) };
        let mut there = vec![0; bytes.len()];
        let covered = base.size().saturating_sub(range.offset()).min(range.len()) as usize;
        let doing =
            || format!("reading {covered} bytes at guest offset {:#x} of the backing file", range.offset());
        base.read_at(&mut there[..covered], range.offset().min(base.size())).doing(doing)?;
        Ok(there == bytes)
    }

    /// Makes pieces of the first of `units` as far as the sink can copy them from a file, holes between `data` with
    /// them; returns their end.
    fn leave_to_sink(&self, units: ByteRange, data: &[ByteRange], pieces: &mut Pieces) -> Result<u64> {
        let mut at = units.offset();
        let Some(copies) = self.copies else { return Ok(at) };
        let mut data = data.iter().copied().peekable();
        // A unit that the disk ends in is filled up.
        let whole_end = units.end().min(self.source.size()) / self.unit * self.unit;
        while at < whole_end {
            let part = match self.source.file_range(ByteRange::between(at, whole_end))? {
                Some(part) if part.file.device() == copies.device => part.range.len() / self.unit * self.unit,
                _ => 0,
            };
            if part == 0 {
                break;
            }
            let end = at + part;
            if !copies.find_zeroes {
                pieces.push(ByteRange::between(at, end), Stored::FileRange);
                at = end;
            }
            while at < end {
                while data.next_if(|range| range.end() <= at).is_some() {}
                let first = data.peek().map_or(at, |range| range.offset().max(at));
                let unit = ByteRange::between(at, at + self.unit);
                let zero = self.reads_as_zero(unit, first.min(unit.end() - 1))?;
                pieces.push(unit, if zero { Stored::Zero } else { Stored::FileRange });
                at = unit.end();
            }
        }
        Ok(at)
    }

    /// Whether `unit` is zeroes: a glance from `first` on, before which it is a hole, tells of most that it is not.
    fn reads_as_zero(&self, unit: ByteRange, first: u64) -> Result<bool> {
        let read = |room: &mut [u8], at: u64| {
            let len = (unit.end() - at).min(room.len() as u64);
            let bytes = &mut room[..len as usize];
            self.source
                .read_at(bytes, at)
                .doing(|| format!("reading {len} bytes at guest offset {at:#x}"))
                .map(|()| is_zero(bytes).then_some(at + len))
        };
        let mut zeroes_to = read(&mut [0; GLANCE], first)?;
        while let Some(at) = zeroes_to.filter(|at| *at < unit.end()) {
            zeroes_to = read(&mut [0; SECOND_GLANCE], at)?;
        }
        Ok(zeroes_to.is_some())
    }
}

/// Fills `run`, which begins at `start` of the disk, with `data`, and with zeroes between.
fn fill(source: &dyn BlockRead, run: &mut [u8], start: u64, data: &[ByteRange]) -> Result<()> {
    let mut filled = 0;
    let run_range = ByteRange::between(start, start + run.len() as u64);
    // What is before it, the sink copies.
    for range in data.iter().filter_map(|range| range.intersection(run_range)) {
        let at = (range.offset() - start) as usize;
        run[filled..at].fill(0);
        filled = at + range.len() as usize;
        source
            .read_at(&mut run[at..filled], range.offset())
            .doing(|| format!("reading {} bytes at guest offset {:#x}", range.len(), range.offset()))?;
    }
    run[filled..].fill(0);
    Ok(())
}

fn store(
    bytes: &[u8],
    plain: usize,
    encoder: &mut Option<Box<dyn Encoder>>,
    compressed: &mut Vec<u8>,
) -> Result<Stored> {
    if is_zero(bytes) {
        return Ok(Stored::Zero);
    }
    let at = compressed.len();
    if let Some(encoder) = encoder
        && encoder.encode(bytes, compressed)?
    {
        return Ok(Stored::Compressed { at, len: compressed.len() - at, plain });
    }
    Ok(Stored::Plain { at: plain })
}
