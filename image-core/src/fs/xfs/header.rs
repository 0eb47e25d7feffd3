//! What blocks of metadata say of themselves since version 5: where they belong, to whom, and their checksum.
//!
//! ```text
//! field       in sectors  tree of extents   directory   index of hashes, attributes   value, target
//! checksum                64                4           12                            12
//! place       8 bytes     24                8           16                            40
//! filesystem  16 bytes    40                24          32                            16
//! inode       8 bytes     56                40          48                            32
//! ```
//! XFS Algorithms & Data Structures, "Metadata Integrity", and the structures of each kind.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Xfs;
use super::blocks::Block;
use super::field::{field, u64_at};
use super::overlay::SECTOR;
use super::rule::{XfsRule, XfsStructure};
use crate::error::{Error, Result};

/// Where a kind of block has what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    sum: usize,
    place: usize,
    uuid: usize,
    inode: usize,
}

/// A block of an extent tree.
pub(super) const EXTENTS: Header = Header { sum: 64, place: 24, uuid: 40, inode: 56 };
/// A block of names.
pub(super) const NAMES: Header = Header { sum: 4, place: 8, uuid: 24, inode: 40 };
/// A block of hashes, of names or attributes.
pub(super) const HASHES: Header = Header { sum: 12, place: 16, uuid: 32, inode: 48 };
/// A block of a value, or a target.
pub(super) const REMOTE: Header = Header { sum: 12, place: 40, uuid: 16, inode: 32 };

impl Header {
    /// Holds `bytes`, which were read from block `place`, against what they say they are: `structure`, of `inode` unless its
    /// owner does not count.
    pub(super) fn check(
        &self,
        fs: &Xfs,
        bytes: &Block,
        place: u64,
        inode: Option<u64>,
        structure: XfsStructure,
    ) -> Result<()> {
        let superblock = fs.superblock();
        if !superblock.has_sums {
            return Ok(());
        }
        if !fs.blocks().is_sound(place, bytes, self.sum) {
            return Err(Error::corrupt(XfsRule::Checksum(structure)));
        }
        if field::<16>(bytes, self.uuid) != superblock.uuid {
            return Err(XfsRule::foreign(structure, "filesystem"));
        }
        let sector = place.saturating_mul(superblock.block_size) / SECTOR;
        if u64_at(bytes, self.place) != sector {
            return Err(XfsRule::foreign(structure, "place"));
        }
        match inode.is_none_or(|inode| u64_at(bytes, self.inode) == inode) {
            true => Ok(()),
            false => Err(XfsRule::foreign(structure, "inode")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::MemoryDisk;
    use crate::fs::xfs::checksum::sum;
    use crate::fs::xfs::superblock::tests::bytes as superblock_bytes;

    #[test]
    fn a_block_of_another_place_or_owner_is_not_taken() {
        let mut disk = superblock_bytes();
        disk.resize(1500 << 12, 0);
        let fs = Xfs::open(Arc::new(MemoryDisk::from_bytes(disk))).unwrap();
        let mut bytes = vec![0; 4096];
        bytes[16..24].copy_from_slice(&80_u64.to_be_bytes());
        bytes[32..48].copy_from_slice(&[7; 16]);
        bytes[48..56].copy_from_slice(&131_u64.to_be_bytes());
        let seal = |mut bytes: Vec<u8>| {
            let right = sum(&bytes, 12);
            bytes[12..16].copy_from_slice(&right.to_le_bytes());
            bytes
        };
        let check = |bytes: &[u8], place, inode| {
            let bytes = Block::new(bytes.to_vec(), false);
            HASHES
                .check(&fs, &bytes, place, inode, XfsStructure::Directory(131, 5))
                .map_err(|error| error.cause::<XfsRule>().cloned())
        };
        let foreign =
            |field| Err(Some(XfsRule::Foreign { structure: XfsStructure::Directory(131, 5), field }));
        let right = seal(bytes.clone());
        assert_eq!(check(&right, 10, Some(131)), Ok(()));
        assert_eq!(check(&right, 11, Some(131)), foreign("place"));
        assert_eq!(check(&right, 10, Some(132)), foreign("inode"));
        assert_eq!(check(&right, 10, None), Ok(()));
        assert_eq!(check(&bytes, 9, None), Err(Some(XfsRule::Checksum(XfsStructure::Directory(131, 5)))));
        bytes[40] = 8;
        assert_eq!(check(&seal(bytes), 10, None), foreign("filesystem"));
    }
}
