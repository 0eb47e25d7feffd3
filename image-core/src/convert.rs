//! Conversion: source → extents → workers → ordered sink, on all cores, in bounded memory.
//!
//! ```text
//! BlockRead ─► planner ─► units ─► worker ─► worker … ─► pieces, in order ─► Sink
//!              (extents)           (read, find zeroes, encode)               (raw, qcow2)
//! ```
//!
//! The sink sees pieces in ascending order from one thread, so its output is the same for any number of workers.

mod sink;

pub use sink::{Encoder, Piece, Sink};
