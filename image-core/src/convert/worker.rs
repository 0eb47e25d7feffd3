//! A worker: reads a batch, finds its zeroes, encodes its units.

use super::batch::{Batch, Stored, batch_len};
use super::line::Line;
use super::sink::Encoder;
use crate::block::{BlockRead, ByteRange, is_zero};
use crate::error::{Doing, Result};

/// Works until the line ends.
pub(super) fn run(source: &dyn BlockRead, line: &Line<'_>, mut encoder: Option<Box<dyn Encoder>>, unit: u64) {
    // Should this thread panic, the others must not wait for its batch.
    let _ends_line = line.end_on_panic();
    while let Some((ticket, mut batch)) = line.take() {
        let done = process(source, &mut batch, encoder.as_deref_mut(), unit);
        line.deliver(ticket, done.map(|()| batch));
    }
}

/// Reads what is data in `batch` and makes the pieces that cover its range.
fn process(
    source: &dyn BlockRead,
    batch: &mut Batch,
    mut encoder: Option<&mut (dyn Encoder + 'static)>,
    unit: u64,
) -> Result<()> {
    let Batch { range: batch_range, data, buffer, packed, pieces } = batch;
    pieces.clear();
    packed.clear();
    if buffer.is_empty() && !data.is_empty() {
        buffer.resize(batch_len(unit) as usize, 0);
    }
    let mut buffer_at = 0;
    let mut guest_at = batch_range.offset();
    let mut data = data.as_slice();
    while let Some(first) = data.first() {
        // A run of units: all that are touched by extents which lie in the same or neighbouring units.
        let start = first.offset() / unit * unit;
        let mut end = start;
        let mut count = 0;
        while let Some(range) = data.get(count)
            && range.offset() / unit * unit <= end
        {
            end = range.end().next_multiple_of(unit);
            count += 1;
        }
        let run_end = buffer_at + (end - start) as usize;
        fill(source, &mut buffer[buffer_at..run_end], start, &data[..count])?;
        pieces.push(ByteRange::between(guest_at, start), Stored::Zero);
        for (at, guest) in (buffer_at..run_end).step_by(unit as usize).zip((start..).step_by(unit as usize)) {
            let range = ByteRange::between(guest, (guest + unit).min(batch_range.end()));
            let stored = store(&buffer[at..at + unit as usize], at, &mut encoder, packed)
                .doing(|| format!("packing the {} bytes at guest offset {guest:#x}", range.len()))?;
            pieces.push(range, stored);
        }
        data = &data[count..];
        buffer_at = run_end;
        guest_at = end.min(batch_range.end());
    }
    pieces.push(ByteRange::between(guest_at, batch_range.end()), Stored::Zero);
    Ok(())
}

/// Fills `run`, which begins at `start` of the disk, with `data`, and with zeroes between.
fn fill(source: &dyn BlockRead, run: &mut [u8], start: u64, data: &[ByteRange]) -> Result<()> {
    let mut filled = 0;
    for range in data {
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
    encoder: &mut Option<&mut (dyn Encoder + 'static)>,
    packed: &mut Vec<u8>,
) -> Result<Stored> {
    if is_zero(bytes) {
        return Ok(Stored::Zero);
    }
    let at = packed.len();
    if let Some(encoder) = encoder
        && encoder.encode(bytes, packed)?
    {
        return Ok(Stored::Packed { at, len: packed.len() - at, plain });
    }
    Ok(Stored::Plain { at: plain })
}
