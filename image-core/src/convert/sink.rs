//! What a conversion writes to: pieces in ascending order, from one thread.

use crate::block::ByteRange;
use crate::error::Result;

/// What a worker made of one unit.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// All zeroes.
    Zero,
    /// The bytes as they are.
    Plain(Vec<u8>),
    /// The bytes as the sink's own [`Encoder`] packed them.
    Compressed(Vec<u8>),
}

/// Turns the bytes of a unit into a [`Piece`]; one for each worker, with scratch space of its own.
pub trait Encoder: Send {
    /// Packs the bytes of one unit (of the sink's unit size; the last may be shorter).
    /// The same bytes always give the same piece.
    ///
    /// # Errors
    /// Whatever the codec says.
    fn encode(&mut self, unit: Vec<u8>) -> Result<Piece>;
}

/// A new image, written front to back.
pub trait Sink: Send {
    /// The bytes that are encoded as one: a power of two.
    fn unit_size(&self) -> u64;

    /// A new encoder, for one worker.
    fn encoder(&self) -> Box<dyn Encoder>;

    /// Takes the next piece. Ranges ascend without overlaps; what is left out reads as zeroes.
    /// Ranges of [`Piece::Zero`] may span many units, other pieces are of one.
    ///
    /// # Errors
    /// Whatever the storage says; the sink is of no use afterwards.
    fn put(&mut self, range: ByteRange, piece: Piece) -> Result<()>;

    /// Completes the image. Nothing written is valid before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn finish(&mut self) -> Result<()>;
}
