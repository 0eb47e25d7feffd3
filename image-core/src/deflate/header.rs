//! The header of a dynamic block: the code lengths of both alphabets, run-length coded, then Huffman coded
//! (RFC 1951, 3.2.7).
//!
//! ```text
//! HLIT 5 │ HDIST 5 │ HCLEN 4 │ lengths of the code length code, 3 each │ the lengths, as symbols:
//!                                0 … 15  this length
//!                                16      the length before, 3 … 6 times   (2 extra bits)
//!                                17      zero, 3 … 10 times               (3 extra bits)
//!                                18      zero, 11 … 138 times             (7 extra bits)
//! ```
//!
//! Which runs to use depends on what the symbols cost, and that on which runs are used: a first guess takes every
//! run, then the cheapest way through the lengths is found for the code that the guess leads to.

use super::bits::BitWriter;
use super::huffman::{self, Code};
use super::symbols::{
    CODELEN_ORDER, CODELEN_SYMBOLS, DISTANCE_SYMBOLS, LITLEN_SYMBOLS, MAX_CODELEN_BITS, length_symbol,
};

const MAX_LENGTHS: usize = LITLEN_SYMBOLS + DISTANCE_SYMBOLS;
/// Fewest literal/length codes that a header can announce.
const MIN_LITLEN: usize = length_symbol(3);

/// One symbol of the run-length coded lengths.
#[derive(Debug, Clone, Copy, Default)]
struct Item {
    symbol: u8,
    /// How many lengths it stands for.
    span: u8,
}

/// A header, ready to be written.
pub(super) struct Header {
    litlen_count: usize,
    distance_count: usize,
    items: [Item; MAX_LENGTHS],
    item_count: usize,
    codes: [Code; CODELEN_SYMBOLS],
    bits: u64,
}

impl Header {
    /// Codes the lengths of a block's two codes.
    pub(super) fn new(litlen: &[u8; LITLEN_SYMBOLS], distance: &[u8; DISTANCE_SYMBOLS]) -> Self {
        let litlen_count = used(litlen).max(MIN_LITLEN);
        let distance_count = used(distance).max(1);
        let mut all = [0; MAX_LENGTHS];
        all[..litlen_count].copy_from_slice(&litlen[..litlen_count]);
        all[litlen_count..litlen_count + distance_count].copy_from_slice(&distance[..distance_count]);
        let all = &all[..litlen_count + distance_count];
        let mut header = Self {
            litlen_count,
            distance_count,
            items: [Item::default(); MAX_LENGTHS],
            item_count: 0,
            codes: [Code::default(); CODELEN_SYMBOLS],
            bits: 0,
        };
        // What symbols cost before anything is known: runs are cheap.
        header.choose(all, &[4; CODELEN_SYMBOLS]);
        let lengths = header.code_items();
        let first_bits = header.bits;
        let first = (header.items, header.item_count, header.codes);
        header.choose(all, &lengths);
        header.code_items();
        if header.bits > first_bits {
            (header.items, header.item_count, header.codes) = first;
            header.bits = first_bits;
        }
        header
    }

    /// How many bits [`Header::write`] will write.
    pub(super) fn bits(&self) -> u64 {
        self.bits
    }

    /// Finds the cheapest items for `all` when each symbol costs `costs` bits, back to front.
    fn choose(&mut self, all: &[u8], costs: &[u8; CODELEN_SYMBOLS]) {
        // A symbol that the guess did not use must stay possible, at the price of a long code.
        let cost_of =
            |symbol: usize| -> u32 { if costs[symbol] == 0 { 7 } else { u32::from(costs[symbol]) } };
        let mut best = [0u32; MAX_LENGTHS + 1];
        let mut choice = [Item::default(); MAX_LENGTHS];
        let mut run = 0;
        for at in (0..all.len()).rev() {
            let value = all[at];
            run = if all.get(at + 1) == Some(&value) { run + 1 } else { 1 };
            let mut cheapest = cost_of(usize::from(value)) + best[at + 1];
            let mut item = Item { symbol: value, span: 1 };
            let mut consider = |symbol: u8, span: usize| {
                let cost = cost_of(usize::from(symbol)) + extra_bits(symbol) + best[at + span];
                if cost < cheapest {
                    cheapest = cost;
                    item = Item { symbol, span: span as u8 };
                }
            };
            if at > 0 && all[at - 1] == value {
                (3..=run.min(6)).for_each(|span| consider(16, span));
            }
            if value == 0 {
                (3..=run.min(10)).for_each(|span| consider(17, span));
                if run >= 11 {
                    consider(18, run.min(138));
                }
            }
            best[at] = cheapest;
            choice[at] = item;
        }
        let (mut at, mut count) = (0, 0);
        while at < all.len() {
            self.items[count] = choice[at];
            at += usize::from(choice[at].span);
            count += 1;
        }
        self.item_count = count;
    }

    /// Makes the code of the chosen items and counts the bits of the whole header. Returns the code's lengths.
    fn code_items(&mut self) -> [u8; CODELEN_SYMBOLS] {
        let mut counts = [0; CODELEN_SYMBOLS];
        for item in &self.items[..self.item_count] {
            counts[usize::from(item.symbol)] += 1;
        }
        let mut lengths = [0; CODELEN_SYMBOLS];
        huffman::code_lengths(&counts, MAX_CODELEN_BITS, &mut lengths);
        huffman::codes(&lengths, &mut self.codes);
        let items: u64 = (0..CODELEN_SYMBOLS)
            .map(|symbol| {
                u64::from(counts[symbol]) * u64::from(u32::from(lengths[symbol]) + extra_bits(symbol as u8))
            })
            .sum();
        self.bits = 14 + 3 * self.codelen_count() as u64 + items;
        lengths
    }

    /// How many lengths of the code length code are sent: the last ones of the odd order may be left out.
    fn codelen_count(&self) -> usize {
        let last = CODELEN_ORDER.iter().rposition(|&symbol| self.codes[usize::from(symbol)].length != 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    /// Writes the header, behind the three bits that begin the block.
    pub(super) fn write(&self, bits: &mut BitWriter<'_>) {
        let codelen_count = self.codelen_count();
        bits.put((self.litlen_count - MIN_LITLEN) as u64, 5);
        bits.put((self.distance_count - 1) as u64, 5);
        bits.put((codelen_count - 4) as u64, 4);
        bits.flush();
        for &symbol in &CODELEN_ORDER[..codelen_count] {
            bits.put(u64::from(self.codes[usize::from(symbol)].length), 3);
            bits.flush();
        }
        for item in &self.items[..self.item_count] {
            let code = self.codes[usize::from(item.symbol)];
            bits.put(u64::from(code.bits), u32::from(code.length));
            let base = if item.symbol == 18 { 11 } else { 3 };
            if item.symbol >= 16 {
                bits.put(u64::from(item.span - base), extra_bits(item.symbol));
            }
            bits.flush();
        }
    }
}

/// How many lengths there are up to the last that is not zero.
fn used(lengths: &[u8]) -> usize {
    lengths.iter().rposition(|&length| length != 0).map_or(0, |last| last + 1)
}

/// How many extra bits follow a symbol of the code length alphabet.
fn extra_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}
