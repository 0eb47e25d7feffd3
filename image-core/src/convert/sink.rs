//! What a conversion writes to: pieces in ascending order, one at a time.

use crate::block::{BlockRead, ByteRange, FileRange};
use crate::error::Result;

/// What becomes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// All zeroes: a range of any length.
    Zero,
    /// What the backing file has: a range of any length. Only in a conversion over one.
    Unchanged,
    /// The bytes as they are: one unit or several that follow each other.
    Plain(&'a [u8]),
    /// One unit as the sink's own [`Encoder`] compressed it.
    Compressed(&'a [u8]),
}

/// Packs the bytes of units; one for each worker, with scratch space of its own.
pub trait Encoder: Send {
    /// Appends to `compressed` what stands for `unit`, whole units even at the end of the disk (filled up with zeroes).
    /// `false` if it is better stored as it is: then `compressed` is as it was.
    /// The same bytes always give the same answer.
    ///
    /// # Errors
    /// Whatever the codec says.
    fn encode(&mut self, unit: &[u8], compressed: &mut Vec<u8>) -> Result<bool>;
}

/// What a sink takes from a host file by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOffload {
    /// From files on the filesystem of this device.
    pub device: u64,
    /// Units of nothing but zeroes are to be given as such; else they may be copied like others.
    pub find_zeroes: bool,
    /// Copying shares storage, so that many bytes cost no more than few.
    pub reflinks: bool,
}

/// A new image, written front to back.
pub trait Sink: Send {
    /// The bytes that are zero, compressed or plain as one: a power of two from 512 bytes to 2 MiB.
    fn unit_size(&self) -> u64;

    /// A new encoder, for one worker; `None` if everything is stored as it is.
    ///
    /// # Errors
    /// If the codec cannot be set up.
    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>>;

    /// Takes the next piece. The ranges follow each other without gaps from 0 to the end of the disk, and begin at
    /// multiples of the unit size.
    ///
    /// # Errors
    /// Whatever the storage says; the sink is of no use afterwards.
    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()>;

    /// What it copies by itself, if that is cheaper than to be given bytes; only asked where it has no encoder.
    fn copy_offload(&self) -> Option<CopyOffload> {
        None
    }

    /// As [`put`](Self::put) of plain bytes, which are `from` of a host file that fits [`copy_offload`](Self::copy_offload).
    ///
    /// # Errors
    /// As [`put`](Self::put), and as reading the file.
    fn put_copy(&mut self, range: ByteRange, from: FileRange<'_>) -> Result<()> {
        let mut bytes = vec![0; range.len() as usize];
        from.file.read_at(&mut bytes, from.range.offset())?;
        self.put(range, Piece::Plain(&bytes))
    }

    /// Completes the image. Nothing written is valid before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn finish(&mut self) -> Result<()>;
}

/// The methods of [`Sink`], each answered by another one.
macro_rules! sink_as {
    ($this:ident => $sink:expr) => {
        fn unit_size(&$this) -> u64 {
            $sink.unit_size()
        }
        fn encoder(&$this) -> Result<Option<Box<dyn Encoder>>> {
            $sink.encoder()
        }
        fn put(&mut $this, range: ByteRange, piece: Piece<'_>) -> Result<()> {
            $sink.put(range, piece)
        }
        fn copy_offload(&$this) -> Option<CopyOffload> {
            $sink.copy_offload()
        }
        fn put_copy(&mut $this, range: ByteRange, from: FileRange<'_>) -> Result<()> {
            $sink.put_copy(range, from)
        }
        fn finish(&mut $this) -> Result<()> {
            $sink.finish()
        }
    };
}

impl<S: Sink + ?Sized> Sink for &mut S {
    sink_as!(self => (**self));
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    sink_as!(self => (**self));
}
