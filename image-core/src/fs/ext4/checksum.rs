//! The checksums of ext4's metadata and of its journal.
//!
//! ```text
//! seed of the filesystem = CRC-32C(its UUID), or the superblock's field
//! seed of an inode       = CRC-32C(seed, number, generation)
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Checksums"). A CRC goes on from where another stopped.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crc::{Algorithm, Crc, Table};

/// CRC-32C as ext4 uses it: inverted at its start, not at its end.
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

/// The journal's first kind of checksum, over all blocks of a transaction.
const CRC32_BE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_MPEG_2);

/// Of group descriptors before there were checksums of all metadata (uninit_bg).
const CRC16: Crc<u16> = Crc::<u16>::new(&crc::CRC_16_MODBUS);

/// What a checksum begins with where nothing comes before it.
pub(super) const START: u32 = u32::MAX;

/// CRC-32C of `parts`, going on from `seed`.
pub(super) fn crc32c(seed: u32, parts: &[&[u8]]) -> u32 {
    // The crate takes a value to begin with the other way round.
    let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The big-endian CRC-32 of `bytes`, going on from `seed`.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC32_BE.digest_with_initial(seed);
    digest.update(bytes);
    digest.finalize()
}

/// CRC-16 of `parts`.
pub(super) fn crc16(parts: &[&[u8]]) -> u16 {
    let mut digest = CRC16.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_go_on_from_each_other() {
        // The usual value of CRC-32C is inverted.
        assert_eq!(!crc32c(START, &[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(crc32c(START, &[b"1234"]), &[b"56", b"789"]), crc32c(START, &[b"123456789"]));
        assert_eq!(crc32_be(START, b"123456789"), 0x0376_e6e7);
        assert_eq!(crc32_be(crc32_be(START, b"123"), b"456789"), 0x0376_e6e7);
        assert_eq!(crc16(&[b"1234", b"56789"]), 0x4b37);
    }
}
