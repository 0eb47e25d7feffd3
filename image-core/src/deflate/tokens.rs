//! What a parser found: literals and matches, cut into sections with a histogram each.
//!
//! ```text
//! sequence:  [ some literals, then one match or none ]
//! section:   a few KiB of input, as sequences, and how often each symbol occurs in them
//! block:     one section or several neighbours that share a code (see `split`)
//! ```

use std::ops::Range;

use super::symbols::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, LITLEN_SYMBOLS, distance_extra_bits, distance_symbol, length_extra_bits,
    length_symbol,
};

/// Literals and the match behind them. The literals themselves are in the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub(super) literals: u16,
    /// Length of the match; zero if there is none.
    pub(super) length: u16,
    pub(super) distance: u16,
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
    /// Its sequences, as indices into [`Tokens::sequences`].
    pub(super) sequences: Range<usize>,
    /// Its bytes, as offsets into the window.
    pub(super) bytes: Range<usize>,
    pub(super) histogram: Histogram,
}

/// All sequences of a segment, in sections.
pub(super) struct Tokens {
    pub(super) sequences: Vec<Sequence>,
    pub(super) sections: Vec<Section>,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { sequences: Vec::new(), sections: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.sequences.clear();
        self.sections.clear();
    }

    /// Begins a section at byte `start` of the window.
    pub(super) fn section(&mut self, start: usize) -> SectionWriter<'_> {
        let sequence = self.sequences.len();
        self.sections.push(Section {
            sequences: sequence..sequence,
            bytes: start..start,
            histogram: Histogram::new(),
        });
        let index = self.sections.len() - 1;
        SectionWriter { sequences: &mut self.sequences, section: &mut self.sections[index], literals: 0 }
    }
}

/// Takes down literals and matches as a parser finds them.
pub(super) struct SectionWriter<'a> {
    sequences: &'a mut Vec<Sequence>,
    section: &'a mut Section,
    literals: u16,
}

impl SectionWriter<'_> {
    /// The next byte stands for itself.
    #[inline(always)]
    pub(super) fn literal(&mut self, byte: u8) {
        self.section.histogram.litlen[usize::from(byte)] += 1;
        self.literals += 1;
    }

    /// The next `length` bytes are those `distance` back.
    #[inline(always)]
    pub(super) fn copy(&mut self, length: usize, distance: usize) {
        self.section.histogram.litlen[length_symbol(length)] += 1;
        self.section.histogram.distance[distance_symbol(distance)] += 1;
        self.sequences.push(Sequence {
            literals: self.literals,
            length: length as u16,
            distance: distance as u16,
        });
        self.literals = 0;
    }

    /// Ends the section before byte `end` of the window.
    pub(super) fn finish(self, end: usize) {
        if self.literals != 0 {
            self.sequences.push(Sequence { literals: self.literals, length: 0, distance: 0 });
        }
        self.section.bytes.end = end;
        self.section.sequences.end = self.sequences.len();
    }
}
