//! The checksums of tree blocks and data: one of four kinds for the whole filesystem; and the hash of names.
//!
//! ```text
//! CRC-32C 4 bytes │ xxHash 8 │ SHA-256 32 │ BLAKE2b 32        stored little endian, in a field of 32 bytes or one behind the other
//! ```
//! Btrfs documentation, "Checksumming" and "On-disk format".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crc::{Algorithm, Crc, Table};
use sha2::{Digest, Sha256};

use super::blake2b::blake2b;
use super::field::put;
use super::xxhash::xxh64;

/// CRC-32C without the inversion at its end.
const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x1cf9_6d7c,
    residue: 0,
});

/// Room for any checksum.
pub(super) const SUM_MAX: usize = 32;

/// Which checksum a filesystem has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChecksumKind {
    Crc32c,
    XxHash,
    Sha256,
    Blake2b,
}

impl ChecksumKind {
    /// By the superblock's number.
    pub(super) fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Crc32c,
            1 => Self::XxHash,
            2 => Self::Sha256,
            3 => Self::Blake2b,
            _ => return None,
        })
    }

    /// How many bytes it has.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::XxHash => 8,
            Self::Sha256 | Self::Blake2b => SUM_MAX,
        }
    }

    /// The checksum of `bytes`, and zeroes behind it.
    pub(super) fn sum(self, bytes: &[u8]) -> [u8; SUM_MAX] {
        let mut sum = [0; SUM_MAX];
        match self {
            Self::Crc32c => put(&mut sum, 0, &(!crc32c(u32::MAX, bytes)).to_le_bytes()),
            Self::XxHash => put(&mut sum, 0, &xxh64(bytes).to_le_bytes()),
            Self::Sha256 => sum = Sha256::digest(bytes).into(),
            Self::Blake2b => sum = blake2b(bytes),
        }
        sum
    }

    /// Whether `stored` begins with the checksum of `bytes`.
    pub(super) fn is_of(self, stored: &[u8], bytes: &[u8]) -> bool {
        stored.get(..self.len()).is_some_and(|stored| self.sum(bytes).starts_with(stored))
    }
}

/// CRC-32C of `bytes`, going on from `seed`, not inverted.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // The crate takes a value to begin with the other way round.
    let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// What a name, also of an attribute, is found by.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(crc32c(!1, name))
}

/// What a name in the directory `parent` is found by in the extended references of an inode.
pub(super) fn reference_hash(parent: u64, name: &[u8]) -> u64 {
    // The lower half of the number is the seed.
    u64::from(crc32c(parent as u32, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_usual_ones() {
        assert_eq!(ChecksumKind::Crc32c.sum(b"123456789")[..5], [0x83, 0x92, 0x06, 0xe3, 0]);
        assert!(ChecksumKind::XxHash.is_of(&0xef46_db37_51d8_e999_u64.to_le_bytes(), b""));
        assert_eq!(ChecksumKind::Sha256.sum(b"")[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert!(!ChecksumKind::Sha256.is_of(&[0xe3, 0xb0, 0xc4, 0x42], b""));
        assert_eq!(ChecksumKind::from_number(4), None);
    }

    #[test]
    fn names_have_the_hash_of_the_kernel() {
        // Every filesystem has the name "default" in its root tree.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
