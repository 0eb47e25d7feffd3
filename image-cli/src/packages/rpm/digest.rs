//! The checksums of a header's region: SHA-256 in hexadecimal digits, and before rpm 4.14 SHA-1.
//!
//! ```text
//! 8e ad e8 01 │ 00 00 00 00 │ tags of the region │ length of its data │ its tags │ its data
//! ```
//!
//! They tell damage. SHA-1 is no protection against what was made to deceive, and here it need not be: whoever can write the
//! database can write the checksum as well.
//! RPM's documentation of its package format (version 4); FIPS 180-4, section 6.1.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use sha2::{Digest, Sha256};

/// Before each header in a package file; in databases it is left out.
const START: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// Of a tag.
const TAG_LEN: usize = 16;

/// What is in front of the tags.
fn start(tags: &[u8], data: &[u8]) -> [u8; 16] {
    let count = tags.len().checked_div(TAG_LEN).unwrap_or(0) as u32;
    let numbers = (u64::from(count) << 32) | u64::from(data.len() as u32);
    (u128::from(u64::from_be_bytes(START)) << 64 | u128::from(numbers)).to_be_bytes()
}

/// Whether `said` is the SHA-256 of a region.
pub(super) fn is_sha256(said: &[u8], tags: &[u8], data: &[u8]) -> bool {
    let mut digest = Sha256::new();
    for part in [&start(tags, data), tags, data] {
        digest.update(part);
    }
    is_hex_of(said, &digest.finalize())
}

/// Whether `said` is the SHA-1 of a region.
pub(super) fn is_sha1(said: &[u8], tags: &[u8], data: &[u8]) -> bool {
    is_hex_of(said, &sha1(&[&start(tags, data), tags, data]))
}

fn is_hex_of(said: &[u8], digest: &[u8]) -> bool {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from_digit(u32::from(digit), 16).map_or(0, |digit| digit as u8));
    said.iter().map(u8::to_ascii_lowercase).eq(digits)
}

/// SHA-1 of `parts`, one behind the other.
fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut block = [0_u8; 64];
    let mut filled = 0_usize;
    let mut put = |byte: u8| {
        if let Some(place) = block.get_mut(filled) {
            *place = byte;
        }
        filled = filled.wrapping_add(1) & 63;
        if filled == 0 {
            mix(&mut state, &block);
        }
        filled
    };
    parts.iter().flat_map(|part| part.iter()).for_each(|byte| {
        put(*byte);
    });
    let bits = parts.iter().map(|part| part.len() as u64).fold(0, u64::wrapping_add).wrapping_mul(8);
    let mut at = put(0x80);
    while at != 56 {
        at = put(0);
    }
    bits.to_be_bytes().into_iter().for_each(|byte| {
        put(byte);
    });
    let mut digest = [0; 20];
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// Mixes a block into the state.
fn mix(state: &mut [u32; 5], block: &[u8; 64]) {
    // The last sixteen words of the schedule, the oldest first.
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.first_chunk().copied().map_or(0, u32::from_be_bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in 0..80 {
        let (chosen, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let [word, _, third, _, _, _, _, _, ninth, _, _, _, _, fourteenth, _, _] = words;
        let mixed = [chosen, e, constant, word].into_iter().fold(a.rotate_left(5), u32::wrapping_add);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, mixed);
        words.rotate_left(1);
        if let Some(last) = words.last_mut() {
            *last = (word ^ third ^ ninth ^ fourteenth).rotate_left(1);
        }
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(parts: &[&[u8]]) -> String {
        sha1(parts).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn sha1_is_as_the_standard_has_it() {
        assert_eq!(hex(&[]), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&[b"a", b"", b"bc"]), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&[two_blocks]), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(&[&vec![b'a'; 1_000_000]]), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }
}
