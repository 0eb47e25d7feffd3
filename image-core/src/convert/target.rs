//! Sinks that know no format: onto a disk, and into a stream.

use std::io::Write;

use super::sink::{CopyOffload, Encoder, Piece, Sink};
use crate::block::{BlockWrite, ByteRange, FileRange, ZeroMode};
use crate::error::{Doing, Error, Result};

/// The shortest run of zeroes that stays a hole: a block of most filesystems.
const SPARSE_UNIT: u64 = 4096;

/// From so many bytes on, finding storage for a run beforehand costs less than finding it page by page.
const ROOM_LEN: u64 = 256 * 1024;

/// So many zeroes are written at a time, at least.
const ZEROES_LEN: u64 = 1 << 20;

/// What a [`DiskSink`] does about zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroes {
    /// Nothing: the disk was just made and reads as zeroes.
    AlreadyThere,
    /// They are written, giving storage back where that is possible: the disk holds something else.
    Write,
    /// They are written as bytes or as storage set aside, so that all of the disk is allocated.
    Allocate,
}

/// Onto a disk as it is: a raw file, a block device, an image that is open for writing.
pub struct DiskSink<D> {
    disk: D,
    zeroes: Zeroes,
    unit: u64,
}

impl<D: BlockWrite> DiskSink<D> {
    /// Onto `disk`, which must be at least as large as the source.
    pub fn new(disk: D, zeroes: Zeroes) -> Self {
        Self { disk, zeroes, unit: SPARSE_UNIT }
    }

    /// Sets the shortest run of zeroes that is treated as such, in bytes: a power of two from 512 to 2 MiB.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other lengths.
    pub fn with_sparse_unit(mut self, unit: u64) -> Result<Self> {
        if !unit.is_power_of_two() || !(512..=2 * 1024 * 1024).contains(&unit) {
            return Err(Error::invalid(format!(
                "runs of {unit} zeroes cannot be looked for: a power of two from 512 bytes to 2 MiB can"
            )));
        }
        self.unit = unit;
        Ok(self)
    }
}

impl<D: BlockWrite> Sink for DiskSink<D> {
    fn unit_size(&self) -> u64 {
        self.unit
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(None)
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        match (piece, self.zeroes) {
            (Piece::Plain(bytes), _) => {
                if range.len() >= ROOM_LEN {
                    self.disk.make_room(range);
                }
                self.disk.write_at(bytes, range.offset())
            }
            (Piece::Unchanged, _) => range.check_within(self.disk.size()),
            (Piece::Zero, Zeroes::AlreadyThere) => range.check_within(self.disk.size()),
            (Piece::Zero, Zeroes::Write) => self.disk.write_zeroes(range, ZeroMode::Punch),
            (Piece::Zero, Zeroes::Allocate) => self.disk.write_zeroes(range, ZeroMode::Keep),
            (Piece::Compressed(_), _) => unreachable!("a disk has no encoder"),
        }
    }

    /// Only where that shares storage: zeroes, of which a disk has to find shorter runs, then cost nothing.
    fn copy_offload(&self) -> Option<CopyOffload> {
        let filesystem = self.disk.filesystem().filter(|filesystem| filesystem.reflinks)?;
        Some(CopyOffload { device: filesystem.device, find_zeroes: false, reflinks: true })
    }

    fn put_copy(&mut self, range: ByteRange, from: FileRange<'_>) -> Result<()> {
        self.disk.copy_from(from.file, from.range, range.offset())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Into another sink, with every zero as a byte: so that all of the target has a place of its own.
pub struct NonSparseSink<S> {
    sink: S,
    /// One unit of zeroes, as the sink compresses it.
    compressed: Option<Vec<u8>>,
}

impl<S: Sink> NonSparseSink<S> {
    /// Into `sink`.
    ///
    /// # Errors
    /// As [`Sink::encoder`] and [`Encoder::encode`].
    pub fn new(sink: S) -> Result<Self> {
        let mut compressed = Vec::new();
        let encoded = match sink.encoder()? {
            Some(mut encoder) => encoder.encode(&vec![0; sink.unit_size() as usize], &mut compressed)?,
            None => false,
        };
        Ok(Self { sink, compressed: encoded.then_some(compressed) })
    }
}

impl<S: Sink> Sink for NonSparseSink<S> {
    fn unit_size(&self) -> u64 {
        self.sink.unit_size()
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        self.sink.encoder()
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        if piece != Piece::Zero {
            return self.sink.put(range, piece);
        }
        let step = match self.compressed {
            Some(_) => self.sink.unit_size(),
            None => ZEROES_LEN.max(self.sink.unit_size()),
        };
        let zeroes =
            if self.compressed.is_some() { Vec::new() } else { vec![0; step.min(range.len()) as usize] };
        let mut at = range.offset();
        while at < range.end() {
            let part = ByteRange::between(at, at.saturating_add(step).min(range.end()));
            self.sink.put(
                part,
                match &self.compressed {
                    Some(compressed) => Piece::Compressed(compressed),
                    None => Piece::Plain(&zeroes[..part.len() as usize]),
                },
            )?;
            at = part.end();
        }
        Ok(())
    }

    fn copy_offload(&self) -> Option<CopyOffload> {
        self.sink.copy_offload()
    }

    fn put_copy(&mut self, range: ByteRange, from: FileRange<'_>) -> Result<()> {
        self.sink.put_copy(range, from)
    }

    fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }
}

/// Into anything that takes bytes in order: a pipe, standard output. Zeroes are written.
pub struct StreamSink<W> {
    stream: W,
}

impl<W: Write + Send> StreamSink<W> {
    /// Into `stream`, which should not collect small writes: there are none but at the end.
    pub fn new(stream: W) -> Self {
        Self { stream }
    }
}

impl<W: Write + Send> Sink for StreamSink<W> {
    fn unit_size(&self) -> u64 {
        // No holes in a stream: large units, written whole.
        64 * 1024
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(None)
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
        let doing = || "writing to the output stream";
        if let Piece::Plain(bytes) = piece {
            return self.stream.write_all(bytes).doing(doing);
        }
        if piece == Piece::Unchanged {
            return Err(Error::invalid("a stream has no backing file"));
        }
        let mut left = range.len();
        while left > 0 {
            let len = left.min(ZEROES.len() as u64);
            self.stream.write_all(&ZEROES[..len as usize]).doing(doing)?;
            left -= len;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.stream.flush().doing(|| "writing to the output stream")
    }
}
