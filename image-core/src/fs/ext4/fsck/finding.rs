//! What makes a filesystem inconsistent: each kind, and where.

use std::fmt;

/// Something that two places of a filesystem say differently. `e2fsck -fn` tells of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A structure breaks a rule: in these words.
    Damaged(String),
    /// A block is this inode's and somebody else's; inode 0 stands for the tables of a group.
    BlockTwice {
        /// The inode, or 0.
        inode: u32,
        /// The block.
        block: u64,
    },
    /// Blocks of files or tables are free as the block bitmap of this group tells.
    UsedButFree {
        /// The group.
        group: u64,
        /// How many bits are wrong.
        count: u64,
    },
    /// Blocks that are nobody's are in use as the block bitmap of this group tells.
    FreeButUsed {
        /// The group.
        group: u64,
        /// How many bits are wrong.
        count: u64,
    },
    /// A group has another number of free blocks, free inodes or directories than it says.
    Count {
        /// The group.
        group: u64,
        /// What is counted.
        what: &'static str,
        /// What it says.
        says: u64,
        /// What was counted.
        counted: u64,
    },
    /// An inode in use has no name.
    NoName(u32),
    /// A name leads to an inode that is free.
    NameOfFree {
        /// The directory.
        directory: u32,
        /// The inode that it names.
        inode: u32,
    },
    /// An inode counts more or fewer names than it has, by so many.
    Links {
        /// The inode.
        inode: u32,
        /// What it counts too few, or, below zero, too many.
        missing: i64,
    },
    /// A directory says that another one is above it than the one that names it.
    Parent {
        /// The directory.
        directory: u32,
        /// What it says.
        says: u32,
        /// Where its name is; 0 for nowhere.
        named_in: u32,
    },
    /// A directory cannot be reached from the root.
    Unreachable(u32),
    /// A name says that its inode is of another kind than it is.
    Kind {
        /// The directory.
        directory: u32,
        /// The inode that it names.
        inode: u32,
    },
    /// A block of attributes, or an attribute that is an inode, is used by more or fewer than it counts.
    References {
        /// The block, or the inode.
        what: u64,
        /// What it counts.
        says: u64,
        /// What was counted.
        counted: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => f.write_str(what),
            Self::BlockTwice { inode: 0, block } => write!(f, "block {block} is in two tables"),
            Self::BlockTwice { inode, block } => write!(f, "block {block} is inode {inode}'s and another's"),
            Self::UsedButFree { group, count } => {
                write!(f, "{count} blocks of group {group} are in use, and free as its bitmap tells")
            }
            Self::FreeButUsed { group, count } => {
                write!(f, "{count} blocks of group {group} are nobody's, and in use as its bitmap tells")
            }
            Self::Count { group, what, says, counted } => {
                write!(f, "group {group} says that it has {says} {what}, and has {counted}")
            }
            Self::NoName(inode) => write!(f, "inode {inode} is in use and has no name"),
            Self::NameOfFree { directory, inode } => {
                write!(f, "directory inode {directory} names inode {inode}, which is free")
            }
            Self::Links { inode, missing } if *missing < 0 => {
                write!(f, "inode {inode} counts {} names too many", missing.unsigned_abs())
            }
            Self::Links { inode, missing } => write!(f, "inode {inode} counts {missing} names too few"),
            Self::Parent { directory, says, named_in: 0 } => {
                write!(f, "directory inode {directory} is in none, and says that it is in inode {says}")
            }
            Self::Parent { directory, says, named_in } => {
                write!(f, "directory inode {directory} is in inode {named_in}, and says that it is in {says}")
            }
            Self::Unreachable(directory) => {
                write!(f, "directory inode {directory} cannot be reached from the root")
            }
            Self::Kind { directory, inode } => {
                write!(f, "directory inode {directory} says that inode {inode} is of another kind than it is")
            }
            Self::References { what, says, counted } => {
                write!(f, "the attributes in {what} count {says} users, and have {counted}")
            }
        }
    }
}
