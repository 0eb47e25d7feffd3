//! BLAKE2b with 32 bytes of hash and no key, one of the checksums that a filesystem may have.
//!
//! RFC 7693, sections 2 and 3.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::field::{copy, put};

/// Of a hash, in bytes.
const HASH_LEN: usize = 32;
const BLOCK_LEN: usize = 128;

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Which words of the message each of twelve rounds mixes in; the last two are the first two again.
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// Mixes two words of the message into four of the state.
fn mix([a, b, c, d]: [u64; 4], x: u64, y: u64) -> [u64; 4] {
    let a = a.wrapping_add(b).wrapping_add(x);
    let d = (d ^ a).rotate_right(32);
    let c = c.wrapping_add(d);
    let b = (b ^ c).rotate_right(24);
    let a = a.wrapping_add(b).wrapping_add(y);
    let d = (d ^ a).rotate_right(16);
    let c = c.wrapping_add(d);
    let b = (b ^ c).rotate_right(63);
    [a, b, c, d]
}

/// A round: four columns, then four diagonals, which are columns of rows that are turned.
fn round(
    [mut a, mut b, mut c, mut d]: [[u64; 4]; 4],
    words: &[u64; 16],
    order: &[usize; 16],
) -> [[u64; 4]; 4] {
    let (pairs, _) = order.as_chunks::<2>();
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    for (half, turn) in pairs.as_chunks::<4>().0.iter().zip([1, 3]) {
        for ((((a, b), c), d), [x, y]) in a.iter_mut().zip(&mut b).zip(&mut c).zip(&mut d).zip(half) {
            [*a, *b, *c, *d] = mix([*a, *b, *c, *d], word(*x), word(*y));
        }
        // Before the diagonals by one, two and three places; behind them the other way, which is the rest of four.
        b.rotate_left(turn);
        c.rotate_left(2);
        d.rotate_right(turn);
    }
    [a, b, c, d]
}

fn compress(state: &mut [u64; 8], block: &[u8; BLOCK_LEN], count: u64, is_last: bool) {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = *state;
    let [v0, v1, v2, v3, v4, v5, v6, v7] = IV;
    let last = if is_last { !v6 } else { v6 };
    let mut rows = [[s0, s1, s2, s3], [s4, s5, s6, s7], [v0, v1, v2, v3], [v4 ^ count, v5, last, v7]];
    for order in SIGMA.iter().chain(SIGMA.iter().take(2)) {
        rows = round(rows, &words, order);
    }
    let [a, b, c, d] = rows;
    let mixed = a.iter().chain(&b).zip(c.iter().chain(&d));
    for (word, (one, other)) in state.iter_mut().zip(mixed) {
        *word ^= one ^ other;
    }
}

/// The hash of `bytes`.
pub(super) fn blake2b(bytes: &[u8]) -> [u8; HASH_LEN] {
    let mut state = IV;
    if let Some(first) = state.first_mut() {
        // No key, one lane; the length of the hash.
        *first ^= 0x0101_0000 ^ HASH_LEN as u64;
    }
    let mut rest = bytes;
    let mut count: u64 = 0;
    while let Some((block, behind)) =
        rest.split_first_chunk::<BLOCK_LEN>().filter(|(_, behind)| !behind.is_empty())
    {
        count = count.saturating_add(BLOCK_LEN as u64);
        compress(&mut state, block, count, false);
        rest = behind;
    }
    let mut block = [0; BLOCK_LEN];
    copy(&mut block, rest);
    compress(&mut state, &block, count.saturating_add(rest.len() as u64), true);
    let mut hash = [0; HASH_LEN];
    for (index, word) in state.iter().enumerate() {
        put(&mut hash, index.saturating_mul(8), &word.to_le_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: [u8; 32]) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hashes_are_those_of_the_reference() {
        assert_eq!(hex(blake2b(b"")), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
        assert_eq!(hex(blake2b(b"abc")), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    }
}
