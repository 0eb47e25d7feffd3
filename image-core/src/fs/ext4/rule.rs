//! What an ext filesystem may not be: each rule that is broken, and where.
//!
//! A kernel that finds the same remounts what it has read-only or refuses the file; here it is the error of whatever was asked
//! for, and of nothing else: the other files are still read.

use std::fmt;

use crate::error::Error;

/// A structure with a checksum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksummed {
    /// The superblock.
    Superblock,
    /// The descriptor of a group.
    Group(u64),
    /// An inode.
    Inode(u32),
    /// The extents of an inode, in this block.
    Extents(u32, u64),
    /// The names of a directory, in this block of it.
    Names(u32, u64),
    /// The index of a directory, in this block of it.
    Index(u32, u64),
    /// The attributes of an inode, in this block.
    Attributes(u32, u64),
    /// The value of an attribute, which is this inode.
    Value(u32),
    /// The journal's superblock.
    Journal,
    /// A block of the journal.
    JournalBlock(u64),
}

impl fmt::Display for Checksummed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("the superblock"),
            Self::Group(group) => write!(f, "the descriptor of group {group}"),
            Self::Inode(inode) => write!(f, "inode {inode}"),
            Self::Extents(inode, block) => write!(f, "block {block:#x}, extents of inode {inode},"),
            Self::Names(inode, block) => write!(f, "block {block} of directory inode {inode}"),
            Self::Index(inode, block) => write!(f, "the index in block {block} of directory inode {inode}"),
            Self::Attributes(inode, block) => write!(f, "block {block:#x}, attributes of inode {inode},"),
            Self::Value(inode) => write!(f, "the attribute that is inode {inode}"),
            Self::Journal => f.write_str("the journal's superblock"),
            Self::JournalBlock(block) => write!(f, "block {block} of the journal"),
        }
    }
}

/// A rule that an ext filesystem breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4Rule {
    /// The superblock's mark must be there.
    #[error("there is no ext4 superblock")]
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
        /// Of the disk.
        size: u64,
    },
    /// A group's tables must be in the filesystem.
    #[error("the {what} of group {group} is at block {block:#x}, outside the filesystem")]
    OutsideFilesystem {
        /// Which group.
        group: u64,
        /// Which table.
        what: &'static str,
        /// Where it is said to be.
        block: u64,
    },
    /// A block bitmap must be what its group says.
    #[error("the block bitmap of group {group} has {what} than the group says")]
    Bitmap {
        /// Which group.
        group: u64,
        /// What differs.
        what: &'static str,
    },
    /// What has a checksum must have the right one.
    #[error("{0} has another checksum than it says")]
    Checksum(Checksummed),
    /// Inodes are numbered from 1 to as many as there are.
    #[error("there is no inode {0}")]
    NoInode(u32),
    /// An inode's fields must make sense.
    #[error("inode {inode} has an impossible {field}: {value:#x}")]
    Inode {
        /// Which inode.
        inode: u32,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The blocks of an inode must be in the filesystem, and not where its superblock is.
    #[error("inode {inode} has block {block:#x}, outside the filesystem")]
    Block {
        /// Which inode.
        inode: u32,
        /// The first block that is outside.
        block: u64,
    },
    /// An inode cannot have more blocks than there are.
    #[error("inode {0} has more blocks than the filesystem")]
    TooManyBlocks(u32),
    /// Extents must be in order, each beneath the one that leads to it.
    #[error("the extents of inode {inode} have an impossible {what}")]
    Extents {
        /// Which inode.
        inode: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// A directory's names must fill its blocks, each within its own.
    #[error("directory inode {inode} has {what} in block {block}")]
    Directory {
        /// Which inode.
        inode: u32,
        /// Which block of the directory.
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A directory is beneath one directory only, and not beneath itself.
    #[error("directory inode {0} is in more than one place")]
    SecondPlace(u32),
    /// A link's target must be in it.
    #[error("the link of inode {inode} has a target of {len} bytes")]
    Link {
        /// Which inode.
        inode: u32,
        /// What its size says.
        len: u64,
    },
    /// Attributes must lie within their place.
    #[error("the attributes of inode {inode} have an impossible {what}")]
    Attributes {
        /// Which inode.
        inode: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// The journal's fields must make sense.
    #[error("the journal has an impossible {field}: {value:#x}")]
    Journal {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Ext4Rule {
    /// The error of a field of the journal that makes no sense.
    pub(super) fn in_journal(field: &'static str, value: u64) -> Error {
        Error::corrupt(Self::Journal { field, value })
    }
}
