//! The alphabets of deflate: how a match length or a distance becomes a symbol and extra bits (RFC 1951, 3.2.5).
//!
//! ```text
//! literal/length   0 … 255 a byte │ 256 end of block │ 257 … 285 a length of 3 … 258
//! distance         0 … 29, of which this encoder uses 0 … 23: a distance of 1 … 4096
//! ```
//!
//! A symbol names a range of values that starts at its base; the extra bits say which of them is meant.

/// Shortest match that has a symbol.
pub(super) const MIN_MATCH: usize = 3;
/// Longest match that has a symbol.
pub(super) const MAX_MATCH: usize = 258;
/// How far back a match may lie. The format allows 32,768; the readers that this encoder writes for inflate with a
/// window of 4 KiB, as QEMU's own writer promises them.
pub(super) const MAX_DISTANCE: usize = 4096;

/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// Symbols of the literal/length alphabet that may occur (286 and 287 have codes in a fixed block, but no meaning).
pub(super) const LITLEN_SYMBOLS: usize = 286;
/// Symbols of the distance alphabet that this encoder uses.
pub(super) const DISTANCE_SYMBOLS: usize = 24;
/// Symbols of the alphabet in which code lengths are written.
pub(super) const CODELEN_SYMBOLS: usize = 19;

/// Longest code of the literal/length and distance alphabets.
pub(super) const MAX_CODE_BITS: u8 = 15;
/// Longest code of the alphabet in which code lengths are written.
pub(super) const MAX_CODELEN_BITS: u8 = 7;

/// The order in which the lengths of the code length code itself are sent (3.2.7).
pub(super) const CODELEN_ORDER: [u8; CODELEN_SYMBOLS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// First length of each length symbol, counted from 257.
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
/// Extra bits of each length symbol, counted from 257.
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// Symbol less 257 of each length; entries 0 … 2 are not lengths.
const LENGTH_SLOT: [u8; MAX_MATCH + 1] = length_slots();

const fn length_slots() -> [u8; MAX_MATCH + 1] {
    let mut slots = [0; MAX_MATCH + 1];
    let mut slot = 0;
    while slot < LENGTH_BASE.len() {
        let end = if slot + 1 < LENGTH_BASE.len() { LENGTH_BASE[slot + 1] as usize } else { MAX_MATCH + 1 };
        let mut length = LENGTH_BASE[slot] as usize;
        while length < end {
            slots[length] = slot as u8;
            length += 1;
        }
        slot += 1;
    }
    slots
}

/// The literal/length symbol of a match length (3 … 258).
#[inline]
pub(super) const fn length_symbol(length: usize) -> usize {
    END_OF_BLOCK + 1 + LENGTH_SLOT[length] as usize
}

/// The first length of a literal/length symbol (257 … 285).
#[inline]
pub(super) fn length_base(symbol: usize) -> usize {
    usize::from(LENGTH_BASE[symbol - END_OF_BLOCK - 1])
}

/// How many extra bits follow a literal/length symbol: none for literals and the end of the block.
#[inline]
pub(super) fn length_extra_bits(symbol: usize) -> u32 {
    if symbol <= END_OF_BLOCK { 0 } else { u32::from(LENGTH_EXTRA[symbol - END_OF_BLOCK - 1]) }
}

/// The symbol of a distance (1 … 4096).
///
/// From 5 on, the symbol is twice the position of the highest set bit of `distance - 1` plus the bit below it.
#[inline]
pub(super) fn distance_symbol(distance: usize) -> usize {
    let less_one = (distance - 1) as u32;
    if less_one < 2 {
        return less_one as usize;
    }
    let high = less_one.ilog2();
    (2 * high + (less_one >> (high - 1) & 1)) as usize
}

/// How many extra bits follow a distance symbol.
#[inline]
pub(super) fn distance_extra_bits(symbol: usize) -> u32 {
    (symbol as u32 >> 1).saturating_sub(1)
}

/// The first distance of a symbol.
#[inline]
pub(super) fn distance_base(symbol: usize) -> usize {
    if symbol < 2 { symbol + 1 } else { ((2 | symbol & 1) << (symbol / 2 - 1)) + 1 }
}
