//! Writes blocks: stored, with the fixed code, or with a code of their own, whichever is smallest (RFC 1951, 3.2.3–3.2.7).
//!
//! ```text
//! last? 1 │ type 2 │ 00 stored    to the next byte, LEN 16, its complement 16, the bytes
//!                  │ 01 fixed     symbols in the code of the specification
//!                  │ 10 dynamic   header, symbols in the code that the header describes
//! ```
//!
//! The size of each form is counted before anything is written, so a stream that will not fit is given up early and
//! the writer makes room only once for each block.

use super::bits::{BitWriter, MOST_BITS};
use super::header::Header;
use super::huffman::{self, Code};
use super::symbols::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, LITLEN_SYMBOLS, MAX_CODE_BITS, MAX_MATCH, MIN_MATCH, distance_extra_bits,
    length_base, length_extra_bits, length_symbol,
};
use super::tokens::{Histogram, Token};

/// Most bytes in a stored block.
const MAX_STORED: usize = 0xffff;

/// What is to be written as one block.
pub(super) struct Block<'a> {
    pub(super) tokens: &'a [Token],
    /// The bytes that the tokens stand for.
    pub(super) bytes: &'a [u8],
    pub(super) histogram: &'a Histogram,
    pub(super) last: bool,
}

/// The codes of a block, as tokens look them up.
struct Codes {
    /// Literals, then lengths with their extra bits.
    items: [Item; 512],
    /// Distances; those without a code, and none, have no bits.
    distance: [Distance; 32],
    end: Code,
}

/// The bits of a literal or of a length, extra bits included.
#[derive(Clone, Copy, Default)]
struct Item {
    bits: u32,
    length: u8,
}

/// The bits of a distance symbol, and how many extra bits follow.
#[derive(Clone, Copy, Default)]
struct Distance {
    bits: u16,
    length: u8,
    extra: u8,
}

impl Codes {
    fn new(litlen: &[Code], distance: &[Code]) -> Self {
        let mut codes = Self {
            items: [Item::default(); 512],
            distance: [Distance::default(); 32],
            end: litlen[END_OF_BLOCK],
        };
        for (item, code) in codes.items.iter_mut().zip(&litlen[..END_OF_BLOCK]) {
            *item = Item { bits: u32::from(code.bits), length: code.length };
        }
        for (item, length) in codes.items[256..].iter_mut().zip(MIN_MATCH..=MAX_MATCH) {
            let symbol = length_symbol(length);
            let code = litlen[symbol];
            let extra = (length - length_base(symbol)) as u32;
            *item = Item {
                bits: u32::from(code.bits) | extra << code.length,
                length: code.length + length_extra_bits(symbol) as u8,
            };
        }
        for (symbol, (slot, code)) in
            codes.distance.iter_mut().zip(distance).enumerate().take(DISTANCE_SYMBOLS)
        {
            *slot =
                Distance { bits: code.bits, length: code.length, extra: distance_extra_bits(symbol) as u8 };
        }
        codes
    }

    /// The bits of `token`, 48 at most, and how many they are.
    #[inline(always)]
    fn of(&self, token: Token) -> (u64, u32) {
        let item = self.items[token.item()];
        let distance = self.distance[token.distance_symbol()];
        // A literal goes the same way with no bits for a distance: cheaper than a branch guessed wrong.
        let mut sum = u64::from(item.bits);
        let mut count = u32::from(item.length);
        sum |= u64::from(distance.bits) << count;
        count += u32::from(distance.length);
        sum |= token.distance_extra() << count;
        count += u32::from(distance.extra);
        (sum, count)
    }
}

/// Lengths of a block's two codes.
struct Lengths {
    litlen: [u8; LITLEN_SYMBOLS],
    distance: [u8; DISTANCE_SYMBOLS],
}

impl Lengths {
    /// The best code for these counts; `litlen` includes the end of the block.
    fn best(litlen: &[u32; LITLEN_SYMBOLS], distance: &[u32; DISTANCE_SYMBOLS]) -> Self {
        let mut lengths = Self { litlen: [0; LITLEN_SYMBOLS], distance: [0; DISTANCE_SYMBOLS] };
        huffman::code_lengths(litlen, MAX_CODE_BITS, &mut lengths.litlen);
        huffman::code_lengths(distance, MAX_CODE_BITS, &mut lengths.distance);
        lengths
    }

    /// How many bits the symbols take, without extra bits.
    fn symbol_bits(&self, litlen: &[u32; LITLEN_SYMBOLS], distance: &[u32; DISTANCE_SYMBOLS]) -> u64 {
        let product = |(&count, &length): (&u32, &u8)| u64::from(count * u32::from(length));
        let litlen: u64 = litlen.iter().zip(&self.litlen).map(product).sum();
        let distance: u64 = distance.iter().zip(&self.distance).map(product).sum();
        litlen + distance
    }

    fn codes(&self) -> Codes {
        let mut litlen = [Code::default(); LITLEN_SYMBOLS];
        huffman::codes(&self.litlen, &mut litlen);
        let mut distance = [Code::default(); DISTANCE_SYMBOLS];
        huffman::codes(&self.distance, &mut distance);
        Codes::new(&litlen, &distance)
    }
}

/// The code length of a literal/length symbol in a fixed block (3.2.6).
fn fixed_litlen_bits(symbol: usize) -> u8 {
    match symbol {
        0..=143 => 8,
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    }
}

/// The codes of a fixed block.
fn fixed_codes() -> Codes {
    // The code is complete only with symbols that never occur, so its lengths cannot come from `Lengths`.
    let mut lengths = [0; 288];
    lengths.iter_mut().enumerate().for_each(|(symbol, length)| *length = fixed_litlen_bits(symbol));
    let mut litlen = [Code::default(); 288];
    huffman::codes(&lengths, &mut litlen);
    let mut distance = [Code::default(); 32];
    huffman::codes(&[5; 32], &mut distance);
    Codes::new(&litlen, &distance)
}

impl Block<'_> {
    /// Writes the block in its smallest form. False, and nothing written, if the stream would go beyond bit `limit`.
    pub(super) fn write(&self, bits: &mut BitWriter<'_>, limit: u64) -> bool {
        let mut litlen = self.histogram.litlen;
        litlen[END_OF_BLOCK] = 1;
        let extra = self.histogram.extra_bits();
        let lengths = Lengths::best(&litlen, &self.histogram.distance);
        let header = Header::new(&lengths.litlen, &lengths.distance);
        let dynamic = 3 + header.bits() + lengths.symbol_bits(&litlen, &self.histogram.distance) + extra;
        let fixed_symbols: u64 = (0..LITLEN_SYMBOLS)
            .map(|symbol| u64::from(litlen[symbol]) * u64::from(fixed_litlen_bits(symbol)))
            .sum();
        let distances: u32 = self.histogram.distance.iter().sum();
        let fixed = 3 + fixed_symbols + 5 * u64::from(distances) + extra;
        let stored = stored_bits(bits.position(), self.bytes.len());
        let size = dynamic.min(fixed).min(stored);
        if bits.position() + size > limit {
            return false;
        }
        if stored == size {
            return write_stored(bits, self.bytes, self.last, limit);
        }
        bits.reserve(size);
        let end = bits.position() + size;
        let last = u64::from(self.last);
        if fixed == size {
            bits.put(last | 0b01 << 1, 3);
            bits.flush();
            self.write_symbols(bits, &fixed_codes());
        } else {
            bits.put(last | 0b10 << 1, 3);
            header.write(bits);
            self.write_symbols(bits, &lengths.codes());
        }
        debug_assert_eq!(bits.position(), end, "a block is not as long as it was counted to be");
        true
    }

    fn write_symbols(&self, bits: &mut BitWriter<'_>, codes: &Codes) {
        // Most pairs of tokens fit between two flushes, and the second is looked up while the first is written.
        let (pairs, rest) = self.tokens.as_chunks::<2>();
        for &[first, second] in pairs {
            let (first, second) = (codes.of(first), codes.of(second));
            bits.put(first.0, first.1);
            if first.1 + second.1 > MOST_BITS {
                bits.flush();
            }
            bits.put(second.0, second.1);
            bits.flush();
        }
        for &token in rest {
            let (sum, count) = codes.of(token);
            bits.put(sum, count);
            bits.flush();
        }
        bits.put(u64::from(codes.end.bits), u32::from(codes.end.length));
        bits.flush();
    }
}

/// How many bits `len` bytes take as stored blocks that begin at bit `position` of the stream.
fn stored_bits(position: u64, len: usize) -> u64 {
    let first_pad = (position + 3).next_multiple_of(8) - (position + 3);
    let blocks = len.div_ceil(MAX_STORED).max(1) as u64;
    // From the second block on, type and padding are a byte.
    3 + first_pad + (blocks - 1) * 8 + blocks * 32 + len as u64 * 8
}

/// Writes `bytes` as stored blocks. False, and nothing written, if the stream would go beyond bit `limit`.
pub(super) fn write_stored(bits: &mut BitWriter<'_>, bytes: &[u8], last: bool, limit: u64) -> bool {
    let size = stored_bits(bits.position(), bytes.len());
    if bits.position() + size > limit {
        return false;
    }
    bits.reserve(size);
    let mut rest = bytes;
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_STORED));
        bits.put(u64::from(last && later.is_empty()), 3);
        bits.align();
        let len = now.len() as u16;
        bits.bytes(&len.to_le_bytes());
        bits.bytes(&(!len).to_le_bytes());
        bits.bytes(now);
        rest = later;
        if rest.is_empty() {
            return true;
        }
    }
}
