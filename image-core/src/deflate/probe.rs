//! Knows data that cannot be compressed before any work is done: ciphertext, and what was compressed before.
//!
//! It says so only when nothing is to be gained: the bytes of each piece are spread as evenly as chance spreads them
//! (so no code is shorter than 8 bits), and no 4 bytes occur twice within reach (so there is nothing to copy).
//! Most data is recognised as compressible by its first piece.

use super::entropy::entropy_bits;

/// Bytes looked at together. Fewer would let a short stretch of text hide less well, but chance spreads fewer bytes
/// less evenly.
const PIECE: usize = 4096;
/// Bits by which a code fitted to random bytes seems shorter than 8 bits a byte.
///
/// For `n` bytes spread evenly over 256 values the mean is `255 / (2 ln 2)` = 184 and the standard deviation 16,
/// whatever `n` is (that of a chi-squared distribution). Six deviations more is still less than the header of a block.
const CHANCE_BITS: f32 = 184.0 + 6.0 * 16.0;

/// Whether the bytes alone give no reason to hope for a shorter code. False for fewer than 4 KiB: they are not worth it.
pub(super) fn looks_random(bytes: &[u8]) -> bool {
    if bytes.len() < PIECE {
        return false;
    }
    let mut total = [0u32; 256];
    let mut rest = bytes;
    while !rest.is_empty() {
        // The last piece takes what is left, up to just below two pieces.
        let (piece, behind) = rest.split_at(if rest.len() < 2 * PIECE { rest.len() } else { PIECE });
        let counts = count_bytes(piece);
        if gain(&counts, piece.len()) > CHANCE_BITS {
            return false;
        }
        total.iter_mut().zip(&counts).for_each(|(sum, &count)| *sum += count);
        rest = behind;
    }
    gain(&total, bytes.len()) <= CHANCE_BITS
}

/// Bits that an ideal code would save.
fn gain(counts: &[u32; 256], len: usize) -> f32 {
    len as f32 * 8.0 - entropy_bits(counts).0
}

/// How often each byte occurs.
fn count_bytes(bytes: &[u8]) -> [u32; 256] {
    // Two tables: the same byte twice in a row does not have to wait for its own count.
    let (mut even, mut odd) = ([0u32; 256], [0u32; 256]);
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        even[usize::from(pair[0])] += 1;
        odd[usize::from(pair[1])] += 1;
    }
    for &byte in pairs.remainder() {
        even[usize::from(byte)] += 1;
    }
    even.iter_mut().zip(&odd).for_each(|(sum, &count)| *sum += count);
    even
}
