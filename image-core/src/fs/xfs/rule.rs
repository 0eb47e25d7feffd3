//! What an XFS filesystem may not be: each rule that is broken, and where.
//!
//! A kernel that finds the same shuts the filesystem down or refuses the file; here it is the error of whatever was asked for,
//! and of nothing else: the other files are still read.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fmt;

use crate::error::Error;

/// A structure that says what it is, and has a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum XfsStructure {
    /// The superblock.
    Superblock,
    /// The free space header of an allocation group.
    FreeSpace(u32),
    /// A block of the tree of free space of an allocation group, by its place in that.
    FreeTree(u32, u64),
    /// An inode.
    Inode(u64),
    /// A block of the extent tree of an inode, by its place.
    Extents(u64, u64),
    /// A block of a directory, by its place in it.
    Directory(u64, u64),
    /// A block of attributes of an inode, by its place among them.
    Attributes(u64, u64),
    /// A block of an attribute's value, by its place among the attributes.
    Value(u64, u64),
    /// The target of a link.
    Link(u64),
    /// A record of the log, by the sector where it begins.
    LogRecord(u64),
}

impl fmt::Display for XfsStructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("the superblock"),
            Self::FreeSpace(group) => write!(f, "the free space header of group {group}"),
            Self::FreeTree(group, block) => write!(f, "block {block}, free space of group {group},"),
            Self::Inode(inode) => write!(f, "inode {inode}"),
            Self::Extents(inode, block) => write!(f, "block {block:#x}, extents of inode {inode},"),
            Self::Directory(inode, block) => write!(f, "block {block} of directory inode {inode}"),
            Self::Attributes(inode, block) => write!(f, "block {block} of the attributes of inode {inode}"),
            Self::Value(inode, block) => {
                write!(f, "the value in block {block} of the attributes of inode {inode}")
            }
            Self::Link(inode) => write!(f, "the target of link inode {inode}"),
            Self::LogRecord(sector) => write!(f, "the log record at sector {sector}"),
        }
    }
}

/// A rule that an XFS filesystem breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XfsRule {
    /// The superblock's mark must be there.
    #[error("there is no XFS superblock")]
    NoSuperblock,
    /// Sizes must make sense.
    #[error("the superblock has an impossible {field}: {value:#x}")]
    Superblock {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// All blocks must be on the disk.
    #[error("the filesystem has {blocks} blocks, which this disk of {size} bytes does not hold")]
    LargerThanDisk {
        /// As the superblock says.
        blocks: u64,
        /// Of the disk, in bytes.
        size: u64,
    },
    /// What has a checksum must have the right one.
    #[error("{0} has another checksum than it says")]
    Checksum(XfsStructure),
    /// What says what it is must be that.
    #[error("{structure} has another {field} than belongs there")]
    Foreign {
        /// Which structure.
        structure: XfsStructure,
        /// What it says otherwise: its mark, place, owner or filesystem.
        field: &'static str,
    },
    /// An inode's number must lead to a place in an allocation group.
    #[error("there is no inode {0}")]
    NoInode(u64),
    /// An inode's fields must make sense.
    #[error("inode {inode} has an impossible {field}: {value:#x}")]
    Inode {
        /// Which inode.
        inode: u64,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The blocks of an inode must be in the filesystem, each run in one allocation group.
    #[error("inode {inode} has block {block:#x}, outside the filesystem")]
    Block {
        /// Which inode.
        inode: u64,
        /// The first block of the run, as it is stored.
        block: u64,
    },
    /// An inode cannot have more blocks than there are.
    #[error("inode {0} has more blocks than the filesystem")]
    TooManyBlocks(u64),
    /// Extents must be in order, each beneath the one that leads to it.
    #[error("the extents of inode {inode} have an impossible {what}")]
    Extents {
        /// Which inode.
        inode: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A directory's names must fill its blocks, each within its own, and be found by their hashes.
    #[error("directory inode {inode} has {what} in block {block}")]
    Directory {
        /// Which inode.
        inode: u64,
        /// Which block of the directory.
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A link's target must be in it.
    #[error("the link of inode {inode} has a target of {len} bytes")]
    Link {
        /// Which inode.
        inode: u64,
        /// What its size says.
        len: u64,
    },
    /// Attributes must lie within their place.
    #[error("the attributes of inode {inode} have an impossible {what}")]
    Attributes {
        /// Which inode.
        inode: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// What is free must be told in order, and as much of it as its header says.
    #[error("the free space of group {group} has an impossible {what}")]
    FreeSpace {
        /// Which group.
        group: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// The log's fields must make sense.
    #[error("the log has an impossible {field}: {value:#x}")]
    Log {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl XfsRule {
    /// The error of a field of the log that makes no sense.
    pub(super) fn in_log(field: &'static str, value: u64) -> Error {
        Error::corrupt(Self::Log { field, value })
    }

    /// The error of a structure that says of itself what it is not.
    pub(super) fn foreign(structure: XfsStructure, field: &'static str) -> Error {
        Error::corrupt(Self::Foreign { structure, field })
    }
}
