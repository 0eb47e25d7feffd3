//! What a Btrfs filesystem may not be: each rule that is broken, and where.
//!
//! Here it is the error of whatever was asked for, and of nothing else: all other files are still read.

use std::fmt;

/// A structure with a checksum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksummed {
    /// The superblock.
    Superblock,
    /// The tree block at this logical address.
    TreeBlock(u64),
    /// A sector of a file.
    Data {
        /// Which inode.
        inode: u64,
        /// Where in the file, in bytes; of a compressed extent, where that begins.
        offset: u64,
    },
}

impl fmt::Display for Checksummed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("the superblock"),
            Self::TreeBlock(block) => write!(f, "tree block {block:#x}"),
            Self::Data { inode, offset } => write!(f, "the data of inode {inode} at file offset {offset:#x}"),
        }
    }
}

/// A rule that a Btrfs filesystem breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtrfsRule {
    /// The superblock's mark must be there.
    #[error("there is no Btrfs superblock")]
    NoSuperblock,
    /// Sizes must make sense.
    #[error("the superblock has an impossible {field}: {value:#x}")]
    Superblock {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// What has a checksum must have the right one.
    #[error("{0} has another checksum than it says")]
    Checksum(Checksummed),
    /// What is in a file must have a checksum, unless the file has none at all.
    #[error("the data of inode {inode} at file offset {offset:#x} has no checksum")]
    NoChecksum {
        /// Which inode.
        inode: u64,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// A chunk's fields must make sense.
    #[error("the chunk at logical address {logical:#x} has an impossible {what}")]
    Chunk {
        /// Where it begins.
        logical: u64,
        /// Which field.
        what: &'static str,
    },
    /// Every address must be in a chunk.
    #[error("no chunk has the logical address {0:#x}")]
    NoChunk(u64),
    /// Chunks must be on the disk.
    #[error("logical address {logical:#x} is outside the disk")]
    OutsideDisk {
        /// The first address that is asked for.
        logical: u64,
    },
    /// A tree block must be the one that leads to it says.
    #[error("tree block {block:#x} has an impossible {what}")]
    TreeBlock {
        /// Its logical address.
        block: u64,
        /// Which field.
        what: &'static str,
    },
    /// A tree that is asked for must be there.
    #[error("there is no tree {0}")]
    NoTree(u64),
    /// A subvolume must be there, and not be one that is being deleted.
    #[error("there is no subvolume {0}")]
    NoSubvolume(u64),
    /// An inode must be there.
    #[error("there is no inode {inode} in subvolume {subvolume}")]
    NoInode {
        /// The subvolume.
        subvolume: u64,
        /// The inode.
        inode: u64,
    },
    /// An item must be as long as its fields, and these must make sense.
    #[error("the {item} of object {object} in tree {tree} has an impossible {what}")]
    Item {
        /// Which tree.
        tree: u64,
        /// Whose.
        object: u64,
        /// What it describes.
        item: &'static str,
        /// Which field.
        what: &'static str,
    },
    /// What a file has at a place must be told in fields that make sense.
    #[error("the extent of inode {inode} at file offset {offset:#x} has an impossible {what}")]
    Extent {
        /// Which inode.
        inode: u64,
        /// Where in the file the extent begins, in bytes.
        offset: u64,
        /// Which field.
        what: &'static str,
    },
    /// The log must fit the subvolume that it belongs to.
    #[error("the log of subvolume {subvolume} has an impossible {what}")]
    Log {
        /// Which subvolume.
        subvolume: u64,
        /// What is wrong.
        what: &'static str,
    },
}
