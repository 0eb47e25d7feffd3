//! The parser of the highest levels: of all ways through the input, the one that costs the fewest bits.
//!
//! ```text
//! t h e _ c a t _ a n d _ t h e _ c a r
//!                         └──────────┘        every match that a search finds, at every position,
//!                           └────────┘        and every shorter one
//! price(i) = min( literal + price(i + 1), length + distance + price(i + length) … )      back to front
//! ```
//!
//! What a symbol costs depends on how often it will be chosen, and that on what it costs. So the lazy parser goes first;
//! each pass then takes its prices from the blocks of the pass before.

use std::ops::Range;

use super::entropy::log2;
use super::lazy::{self, Effort};
use super::split;
use super::symbols::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, MAX_MATCH, MIN_MATCH, distance_extra_bits, distance_symbol,
    length_extra_bits, length_symbol,
};
use super::tokens::{Histogram, Tokens};
use super::window::{Match, View, Window};

/// Prices are counted in this part of a bit.
const PER_BIT: f32 = 64.0;

/// What each choice costs in a block.
struct Prices {
    literals: [u32; 256],
    /// By length, extra bits included; the first three are no lengths.
    lengths: [u32; MAX_MATCH + 1],
    /// By distance symbol, extra bits included.
    distances: [u32; DISTANCE_SYMBOLS],
}

impl Prices {
    /// The prices of an ideal code for symbols that occur so often.
    fn of(histogram: &Histogram) -> Self {
        let price = |count: u32, sum: u32, extra: u32| {
            // What has not occurred yet might, once; it must not be free, nor out of the question.
            let bits = log2(sum.max(1)) - if count == 0 { -1.0 } else { log2(count) };
            (bits.max(0.1) * PER_BIT) as u32 + extra * PER_BIT as u32
        };
        let sum = histogram.litlen.iter().sum::<u32>() + 1;
        let mut prices =
            Self { literals: [0; 256], lengths: [0; MAX_MATCH + 1], distances: [0; DISTANCE_SYMBOLS] };
        for (slot, &count) in prices.literals.iter_mut().zip(&histogram.litlen[..END_OF_BLOCK]) {
            *slot = price(count, sum, 0);
        }
        for length in MIN_MATCH..=MAX_MATCH {
            let symbol = length_symbol(length);
            prices.lengths[length] = price(histogram.litlen[symbol], sum, length_extra_bits(symbol));
        }
        let sum = histogram.distance.iter().sum();
        for (symbol, slot) in prices.distances.iter_mut().enumerate() {
            *slot = price(histogram.distance[symbol], sum, distance_extra_bits(symbol));
        }
        prices
    }
}

/// The parser and its scratch space.
pub(super) struct Optimal {
    /// The matches of all positions, one position after the other, each longer and farther than the one before.
    matches: Vec<Match>,
    /// Where the matches of each position begin, and after the last position where they end.
    starts: Vec<u32>,
    /// The price from each position to the end.
    prices: Vec<u32>,
    /// What to do at each position; a length of zero is a literal.
    choices: Vec<Match>,
}

impl Optimal {
    pub(super) fn new() -> Self {
        Self { matches: Vec::new(), starts: Vec::new(), prices: Vec::new(), choices: Vec::new() }
    }

    /// Parses the bytes in `range` of the window, improving the lazy parse `passes` times.
    pub(super) fn parse(
        &mut self,
        window: &mut Window,
        range: Range<usize>,
        tokens: &mut Tokens,
        effort: &Effort,
    ) {
        lazy::parse(window, range.clone(), tokens, effort);
        let view = window.view();
        self.collect(view, range.clone(), effort);
        for _ in 0..effort.passes {
            split::merge_sections(&mut tokens.sections);
            self.choose(view, range.clone(), tokens);
            tokens.clear();
            self.follow(view, range.clone(), tokens, effort.section);
        }
    }

    /// Finds the matches of all positions.
    fn collect(&mut self, view: View<'_>, range: Range<usize>, effort: &Effort) {
        self.matches.clear();
        self.starts.clear();
        // Inside a long match nothing better is likely, and looking for it is what takes forever in long runs.
        let mut covered = range.start;
        for at in range.clone() {
            self.starts.push(self.matches.len() as u32);
            let most = (range.end - at).min(MAX_MATCH);
            if most < 4 || at < covered {
                continue;
            }
            if let Some(distance) = view.three(at) {
                self.matches.push(Match { length: 3, distance });
            }
            view.each_longer(at, most, effort.depth, |found| self.matches.push(found));
            if let Some(longest) = self.matches[self.starts[at - range.start] as usize..].last()
                && longest.length >= effort.nice
            {
                covered = at + longest.length;
            }
        }
        self.starts.push(self.matches.len() as u32);
    }

    /// Finds the cheapest way from each position to the end, at the prices of the blocks in `tokens`.
    fn choose(&mut self, view: View<'_>, range: Range<usize>, tokens: &Tokens) {
        self.prices.clear();
        self.prices.resize(range.len() + 1, 0);
        self.choices.clear();
        self.choices.resize(range.len(), Match::default());
        for block in tokens.sections.iter().rev() {
            let cost = Prices::of(&block.histogram);
            for at in block.bytes.clone().rev() {
                let index = at - range.start;
                let mut best = cost.literals[usize::from(view.byte(at))] + self.prices[index + 1];
                let mut choice = Match::default();
                let mut length = MIN_MATCH;
                for found in &self.matches[self.starts[index] as usize..self.starts[index + 1] as usize] {
                    let distance = cost.distances[distance_symbol(found.distance)];
                    while length <= found.length {
                        let price = cost.lengths[length] + distance + self.prices[index + length];
                        if price < best {
                            best = price;
                            choice = Match { length, distance: found.distance };
                        }
                        length += 1;
                    }
                }
                self.prices[index] = best;
                self.choices[index] = choice;
            }
        }
    }

    /// Takes down the cheapest way.
    fn follow(&self, view: View<'_>, range: Range<usize>, tokens: &mut Tokens, section_len: usize) {
        let mut at = range.start;
        loop {
            let mut section = tokens.section(at);
            let section_end = lazy::section_end(at, range.end, section_len);
            while at < section_end {
                let choice = self.choices[at - range.start];
                if choice.length == 0 {
                    section.literal(view.byte(at));
                    at += 1;
                } else {
                    section.copy(choice.length, choice.distance);
                    at += choice.length;
                }
            }
            section.finish(at);
            if at == range.end {
                return;
            }
        }
    }
}
