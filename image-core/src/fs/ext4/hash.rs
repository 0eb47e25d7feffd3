//! The hashes of names, by which the index of a directory is sorted.
//!
//! ```text
//! name ─► words of 4 bytes, padded with its length ─► half of MD4, or TEA ─► major hash (even), minor hash
//! name ─► byte by byte ─► the hash that was there first
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Hash Tree Directories"): half MD4 is three rounds of 8 steps of RFC 1320's
//! functions; TEA is the cipher of Wheeler and Needham, 16 rounds, with the name as its key.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// A hash that stands for the end of all; no name has it.
const END: u32 = 0xffff_fffe;

/// How names are hashed: s_def_hash_version and an index's own field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashKind {
    Legacy,
    HalfMd4,
    Tea,
}

/// How the names of one directory are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameHash {
    pub(super) kind: HashKind,
    /// Whether bytes from 128 on count as such, or as less than 0.
    pub(super) is_unsigned: bool,
    /// The filesystem's; all zeroes for the usual one.
    pub(super) seed: [u32; 4],
}

impl NameHash {
    /// By the number of an index, of a filesystem that hashes bytes as unsigned or not; `None` for one that needs a key.
    pub(super) fn new(version: u8, is_unsigned: bool, seed: [u32; 4]) -> Option<Self> {
        let kind = match version {
            0 | 3 => HashKind::Legacy,
            1 | 4 => HashKind::HalfMd4,
            2 | 5 => HashKind::Tea,
            _ => return None,
        };
        Some(Self { kind, is_unsigned: is_unsigned || version >= 3, seed })
    }

    /// The major and the minor hash of `name`.
    pub(super) fn of(self, name: &[u8]) -> (u32, u32) {
        let usual = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        let mut state = if self.seed == [0; 4] { usual } else { self.seed };
        let (major, minor) = match self.kind {
            HashKind::Legacy => (self.legacy(name), 0),
            HashKind::HalfMd4 => {
                for (index, piece) in name.chunks(32).enumerate() {
                    half_md4(&mut state, self.words(piece, rest_of(name, index, 32)));
                }
                (state[1], state[2])
            }
            HashKind::Tea => {
                for (index, piece) in name.chunks(16).enumerate() {
                    tea(&mut state, self.words(piece, rest_of(name, index, 16)));
                }
                (state[0], state[1])
            }
        };
        let major = major & !1;
        (if major == END { END.wrapping_sub(2) } else { major }, minor)
    }

    fn byte(self, byte: u8) -> u32 {
        match self.is_unsigned {
            true => u32::from(byte),
            false => i32::from(byte.cast_signed()).cast_unsigned(),
        }
    }

    fn legacy(self, name: &[u8]) -> u32 {
        let (mut last, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for byte in name {
            let mut hash = before.wrapping_add(last ^ self.byte(*byte).wrapping_mul(7_152_373));
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            before = last;
            last = hash;
        }
        last << 1
    }

    /// `piece` as words, the first byte uppermost, with the name's length from here on, `rest`, in each byte that it leaves.
    fn words<const N: usize>(self, piece: &[u8], rest: usize) -> [u32; N] {
        let mut words = [(rest as u32).wrapping_mul(0x0101_0101); N];
        for (word, bytes) in words.iter_mut().zip(piece.chunks(4)) {
            for byte in bytes {
                *word = self.byte(*byte).wrapping_add(*word << 8);
            }
        }
        words
    }
}

/// How much of `name` there is from its piece `index` of `len` bytes on.
fn rest_of(name: &[u8], index: usize, len: usize) -> usize {
    name.len().saturating_sub(index.saturating_mul(len))
}

fn half_md4(state: &mut [u32; 4], words: [u32; 8]) {
    type Round = (fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let rounds: [Round; 3] = [
        (choose, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (majority, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (parity, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (function, constant, order, shifts) in rounds {
        for (index, shift) in order.into_iter().zip(shifts.into_iter().cycle()) {
            let word = words.get(index).copied().unwrap_or(0);
            let sum = a.wrapping_add(function(b, c, d)).wrapping_add(word).wrapping_add(constant);
            // The four change places after each step.
            (a, b, c, d) = (d, sum.rotate_left(shift), b, c);
        }
    }
    for (state, value) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(value);
    }
}

fn tea(state: &mut [u32; 4], key: [u32; 4]) {
    let [a, b, c, d] = key;
    let (mut left, mut right, mut sum) = (state[0], state[1], 0_u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        let mix = |value: u32, one: u32, other: u32| {
            (value << 4).wrapping_add(one) ^ value.wrapping_add(sum) ^ (value >> 5).wrapping_add(other)
        };
        left = left.wrapping_add(mix(right, a, b));
        right = right.wrapping_add(mix(left, c, d));
    }
    state[0] = state[0].wrapping_add(left);
    state[1] = state[1].wrapping_add(right);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `debugfs -R "dx_hash -h …"`: the number of the hash, a name, major and minor hash.
    const HASHES: &[(u8, &str, (u32, u32))] = &[
        (0, "file_name.txt", (0xb8f3_b666, 0)),
        (0, "x*40", (0x382d_277e, 0)),
        (0, "äöü", (0xe32d_0194, 0)),
        (1, "file_name.txt", (0xfefe_d91c, 0x01c1_c190)),
        (1, "sixteen-letters.", (0x4650_c7fc, 0xeed2_303c)),
        (1, "x*40", (0xa583_68b6, 0x7a9f_8ab7)),
        (1, "äöü", (0x606c_99be, 0x6791_b2d1)),
        (2, "file_name.txt", (0xf028_ddee, 0x1309_00b1)),
        (2, "x*40", (0xb3f4_bbfc, 0xbfd5_48a9)),
        (2, "äöü", (0x18ed_4406, 0x6131_74b0)),
    ];

    #[test]
    fn names_have_the_hashes_that_debugfs_says() {
        let long = [b'x'; 40];
        for (version, name, hash) in HASHES {
            let name = if *name == "x*40" { &long[..] } else { name.as_bytes() };
            let kind = NameHash::new(*version, false, [0; 4]).unwrap();
            assert_eq!(kind.of(name), *hash, "{version} {name:?}");
        }
        assert_eq!(NameHash::new(6, false, [0; 4]), None);
    }
}
