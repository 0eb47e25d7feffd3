//! What a parser found: literals and matches, cut into sections with a histogram each.
//!
//! ```text
//! token:     a literal, or a match
//! section:   a few KiB of input, as tokens, and how often each symbol occurs in them
//! block:     one section or several neighbours that share a code (see `split`)
//! ```

use std::ops::Range;

use super::symbols::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, LITLEN_SYMBOLS, MIN_MATCH, distance_base, distance_extra_bits,
    distance_symbol, length_extra_bits, length_symbol,
};
use super::window::{SPAN, zeroes};

/// A literal or a match, in the form that the block writer looks codes up with.
///
/// ```text
/// bits 0 … 8    a literal, or 256 + length - 3
/// bits 9 … 13   the distance symbol; 24, which has no code, for a literal
/// bits 14 … 23  the extra bits of the distance
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Token(u32);

impl Token {
    #[inline(always)]
    pub(super) fn literal(byte: u8) -> Self {
        Self(u32::from(byte) | (DISTANCE_SYMBOLS as u32) << 9)
    }

    #[inline(always)]
    pub(super) fn copy(length: usize, distance: usize) -> Self {
        let symbol = distance_symbol(distance);
        let extra = distance - distance_base(symbol);
        Self((256 + length - MIN_MATCH) as u32 | (symbol as u32) << 9 | (extra as u32) << 14)
    }

    /// A literal below 256, or 256 + length - 3.
    #[inline(always)]
    pub(super) fn item(self) -> usize {
        (self.0 % 512) as usize
    }

    /// The distance symbol, or [`DISTANCE_SYMBOLS`].
    #[inline(always)]
    pub(super) fn distance_symbol(self) -> usize {
        (self.0 >> 9 & 31) as usize
    }

    /// The extra bits of the distance.
    #[inline(always)]
    pub(super) fn distance_extra(self) -> u64 {
        u64::from(self.0 >> 14)
    }
}

/// How often each symbol occurs. The end of the block is not counted here.
#[derive(Clone)]
pub(super) struct Histogram {
    pub(super) litlen: [u32; LITLEN_SYMBOLS],
    pub(super) distance: [u32; DISTANCE_SYMBOLS],
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { litlen: [0; LITLEN_SYMBOLS], distance: [0; DISTANCE_SYMBOLS] }
    }

    /// Adds another histogram, symbol by symbol.
    pub(super) fn add(&mut self, other: &Self) {
        self.litlen.iter_mut().zip(&other.litlen).for_each(|(sum, &count)| *sum += count);
        self.distance.iter_mut().zip(&other.distance).for_each(|(sum, &count)| *sum += count);
    }

    /// Extra bits of all symbols together.
    pub(super) fn extra_bits(&self) -> u64 {
        let lengths = (END_OF_BLOCK + 1..LITLEN_SYMBOLS)
            .map(|symbol| u64::from(self.litlen[symbol]) * u64::from(length_extra_bits(symbol)));
        let distances = (0..DISTANCE_SYMBOLS)
            .map(|symbol| u64::from(self.distance[symbol]) * u64::from(distance_extra_bits(symbol)));
        lengths.sum::<u64>() + distances.sum::<u64>()
    }
}

/// A stretch of input, parsed.
#[derive(Clone)]
pub(super) struct Section {
    /// Its tokens, as indices into those of the segment.
    pub(super) tokens: Range<usize>,
    /// Its bytes, as offsets into the window.
    pub(super) bytes: Range<usize>,
    pub(super) histogram: Histogram,
}

/// All tokens of a segment, in sections.
pub(super) struct Tokens {
    /// A token stands for at least one byte, so there are no more than positions.
    pub(super) tokens: Box<[Token; SPAN]>,
    pub(super) sections: Vec<Section>,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { tokens: zeroes(), sections: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.sections.clear();
    }

    /// Begins a section at byte `start` of the window.
    pub(super) fn section(&mut self, start: usize) -> SectionWriter<'_> {
        let first = self.sections.last().map_or(0, |section| section.tokens.end);
        self.sections.push(Section {
            tokens: first..first,
            bytes: start..start,
            histogram: Histogram::new(),
        });
        let index = self.sections.len() - 1;
        SectionWriter { tokens: &mut self.tokens, section: &mut self.sections[index], count: first }
    }
}

/// Takes down literals and matches as a parser finds them.
pub(super) struct SectionWriter<'a> {
    tokens: &'a mut [Token; SPAN],
    section: &'a mut Section,
    count: usize,
}

impl SectionWriter<'_> {
    /// The next byte stands for itself.
    #[inline(always)]
    pub(super) fn literal(&mut self, byte: u8) {
        self.section.histogram.litlen[usize::from(byte)] += 1;
        self.push(Token::literal(byte));
    }

    /// The next `length` bytes are those `distance` back.
    #[inline(always)]
    pub(super) fn copy(&mut self, length: usize, distance: usize) {
        let token = Token::copy(length, distance);
        self.section.histogram.litlen[length_symbol(length)] += 1;
        self.section.histogram.distance[token.distance_symbol()] += 1;
        self.push(token);
    }

    #[inline(always)]
    fn push(&mut self, token: Token) {
        self.tokens[self.count % SPAN] = token;
        self.count += 1;
    }

    /// Ends the section before byte `end` of the window.
    pub(super) fn finish(self, end: usize) {
        self.section.bytes.end = end;
        self.section.tokens.end = self.count;
    }
}
