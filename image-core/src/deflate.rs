//! A deflate encoder for clusters of disk images: one buffer in, one raw stream out (RFC 1951).
//!
//! ```text
//! input ─► window ─► parser ─► sections ─► blocks ─► bits
//!          links     literals,  with a     code,
//!          to what   matches    histogram  header,
//!          came                            symbols
//!          before
//!
//! stream:  │ block │ block │ … │ last block │ zero bits to the next byte
//! block:   last? 1 │ type 2 │ stored: bytes │ fixed: symbols │ dynamic: header, symbols
//! symbol:  a literal byte │ a length 3 … 258 and a distance 1 … 4096 │ end of block
//! ```
//!
//! No distance is above 4096, because several readers of qcow2 inflate with a window of 4 KiB, as QEMU writes it.
//! Nothing is kept from one input to the next: the same input gives the same stream, whatever came before.
//!
//! # Where the time goes, and what was tried
//!
//! At the default level a third of the time goes into links, a third into searching, an eighth into writing symbols; the
//! rest into codes, headers and splitting. A branch guessed wrong costs more than a comparison, so:
//!
//! - Links are made ahead of the parser in a loop without branches, and lead only to equal bytes: 16 % faster than
//!   links that a search has to reject. The same filter with branches is slower than none.
//! - That a link leads too far is left to the search, which has to look anyway: 11 %.
//! - Literals and matches go through the writer the same way, without a branch: 12 %.
//! - Once a match of 8 bytes is found, one comparison at the end of the next candidate rejects it: 11 %.
//! - Matches of 3 bytes pay only where literals are dear; every eighth byte of a section decides how far away: 0.3 to 0.8 %
//!   of the size.
//! - Sections of 8 KiB gain up to 1.7 % of the size over one block for all. 4 KiB gain another 0.4 % of a root
//!   filesystem, for 5 to 10 % of the speed.
//!
//! What did not help: tables of 14 or 15 bits (as fast, slightly larger output), instructions beyond the baseline of
//! x86-64, a limit for the distance of matches of 4 bytes, other weights of length against distance.
//! There is no unsafe code: arrays of the right size leave next to no checks to remove.

mod bits;
mod block;
mod entropy;
mod header;
mod huffman;
mod lazy;
mod optimal;
mod probe;
mod split;
mod symbols;
mod tokens;
mod window;

use std::ops::Range;

use bits::BitWriter;
use block::Block;
use lazy::Effort;
use optimal::Optimal;
use tokens::Tokens;
use window::Window;

/// How hard to compress: 1 is fastest, 9 smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The fastest.
    pub const FASTEST: Self = Self(1);
    /// The smallest.
    pub const SMALLEST: Self = Self(9);

    /// A level from 1 to 9; none for other numbers.
    pub fn new(level: u8) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }
}

impl Default for Level {
    /// No larger than what zlib's level 6 makes with the same window.
    fn default() -> Self {
        Self(6)
    }
}

/// What the levels mean, from 1 to 9: depth, nice length, lookahead, section, passes.
///
/// 1 is greedy, 2 to 7 are lazy, 8 and 9 choose the cheapest way through all matches.
const EFFORTS: [Effort; 9] = [
    effort(1, 32, 0, 16384, 0),
    effort(2, 32, 1, 16384, 0),
    effort(3, 64, 1, 16384, 0),
    effort(5, 100, 1, 8192, 0),
    effort(7, 130, 1, 8192, 0),
    effort(10, 130, 1, 8192, 0),
    effort(32, 258, 2, 4096, 0),
    effort(24, 48, 1, 4096, 1),
    effort(400, 130, 2, 2048, 3),
];

const fn effort(depth: u32, nice: usize, lookahead: u32, section: usize, passes: u32) -> Effort {
    Effort { depth, nice, lookahead, section, passes }
}

/// Makes deflate streams.
pub struct Encoder {
    window: Box<Window>,
    tokens: Tokens,
    optimal: Optimal,
    effort: Effort,
}

impl Encoder {
    /// An encoder of this level, with its own scratch space (about half a MiB).
    pub fn new(level: Level) -> Self {
        let effort = EFFORTS[usize::from(level.0 - 1)];
        Self { window: Box::new(Window::new()), tokens: Tokens::new(), optimal: Optimal::new(), effort }
    }

    /// Appends the stream of `input` to `out`.
    ///
    /// False, and `out` as it was, if the stream would be longer than `limit` bytes.
    #[must_use]
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
        let start = out.len();
        let limit = (start as u64).saturating_add(limit as u64).saturating_mul(8);
        let mut bits = BitWriter::new(out);
        self.window.clear(input.len());
        let mut rest = input;
        loop {
            let segment = self.window.load(rest);
            rest = &rest[segment.len()..];
            let last = rest.is_empty();
            if !self.encode_segment(segment, last, &mut bits, limit) {
                out.truncate(start);
                return false;
            }
            if last {
                bits.finish();
                return true;
            }
        }
    }

    /// Writes the blocks of the bytes in `segment`. False if the stream would go beyond bit `limit`.
    fn encode_segment(
        &mut self,
        segment: Range<usize>,
        last: bool,
        bits: &mut BitWriter<'_>,
        limit: u64,
    ) -> bool {
        if self.is_incompressible(segment.clone()) {
            return block::write_stored(bits, self.window.bytes(segment), last, limit);
        }
        self.tokens.clear();
        if self.effort.passes == 0 {
            lazy::parse(&mut self.window, segment, &mut self.tokens, &self.effort);
        } else {
            self.optimal.parse(&mut self.window, segment, &mut self.tokens, &self.effort);
        }
        let Tokens { tokens, sections } = &mut self.tokens;
        split::merge_sections(sections);
        let count = sections.len();
        sections.iter().enumerate().all(|(index, section)| {
            let block = Block {
                tokens: &tokens[section.tokens.clone()],
                bytes: self.window.bytes(section.bytes.clone()),
                histogram: &section.histogram,
                last: last && index + 1 == count,
            };
            block.write(bits, limit)
        })
    }

    /// Whether there is nothing to gain in this segment.
    fn is_incompressible(&mut self, segment: Range<usize>) -> bool {
        /// Repetitions of 4 bytes that chance may bring. Copying one saves 7 bits at most.
        const MAX_REPEATS: usize = 2;
        probe::looks_random(self.window.bytes(segment.clone())) && self.window.repeats(segment) <= MAX_REPEATS
    }
}

#[cfg(test)]
mod tests;
