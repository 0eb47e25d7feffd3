//! The checksums of XFS: CRC-32C over a structure in which the checksum itself counts as zeroes, stored little endian.
//!
//! XFS Algorithms & Data Structures, "Metadata Integrity".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crc::{CRC_32_ISCSI, Crc, Table};

use super::field::le32_at;

const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC-32C of `parts`, one behind the other.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC32C.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The checksum that `bytes` should have at `at`.
pub(super) fn sum(bytes: &[u8], at: usize) -> u32 {
    let behind = bytes.get(at.saturating_add(4)..).unwrap_or_default();
    crc32c(&[bytes.get(..at).unwrap_or_default(), &[0; 4], behind])
}

/// Whether `bytes` have their checksum at `at`.
pub(super) fn is_sound(bytes: &[u8], at: usize) -> bool {
    bytes.len() >= at.saturating_add(4) && sum(bytes, at) == le32_at(bytes, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_itself_counts_as_zeroes() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
        let mut bytes = b"a structure".to_vec();
        let right = sum(&bytes, 4);
        bytes[4..8].copy_from_slice(&right.to_le_bytes());
        assert!(is_sound(&bytes, 4));
        bytes[10] ^= 1;
        assert!(!is_sound(&bytes, 4) && !is_sound(&bytes[..6], 4));
    }
}
