//! What a FAT may not be: each rule that is broken, and where.

/// A rule that a FAT breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FatRule {
    /// A boot sector's fields must make sense.
    #[error("the boot sector has an impossible {field}: {value:#x}")]
    BootSector {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// What is asked for must be on the disk.
    #[error("the {what} is at offset {offset:#x}, outside this disk of {size} bytes")]
    OutsideDisk {
        /// What.
        what: &'static str,
        /// Where it is said to be.
        offset: u64,
        /// Of the disk.
        size: u64,
    },
    /// Clusters are numbered from 2 to as many as there are.
    #[error("there is no cluster {0:#x}")]
    NoCluster(u32),
    /// All tables must be alike.
    #[error("the file allocation table at {0:#x} differs from that which counts")]
    OtherTable(u64),
    /// A chain must lead from cluster to cluster up to its end.
    #[error("the chain from cluster {first:#x} has {what} behind cluster {cluster:#x}")]
    Chain {
        /// The first cluster of the chain.
        first: u32,
        /// The cluster whose successor is wrong.
        cluster: u32,
        /// What is there instead.
        what: &'static str,
    },
    /// A chain must not lead back into itself.
    #[error("the chain from cluster {0:#x} leads back into itself")]
    Loop(u32),
    /// A chain must not be longer than what it is of can be.
    #[error("the chain from cluster {first:#x} has more than {limit} clusters")]
    LongChain {
        /// The first cluster of the chain.
        first: u32,
        /// How many it may have.
        limit: u32,
    },
    /// A chain must have room for its file.
    #[error("a file of {size} bytes has clusters for {room} only")]
    ShortChain {
        /// Of the file.
        size: u64,
        /// What its clusters hold.
        room: u64,
    },
    /// A directory has a cluster.
    #[error("the directory of the entry at {0:#x} has no cluster")]
    NoDirectory(u64),
    /// A directory begins with `.`, which is itself, and `..`, which is the one that it is in.
    #[error("the directory of the entry at {0:#x} does not begin with . and .. that are right")]
    Dots(u64),
    /// A cluster is in one chain.
    #[error("cluster {0:#x} is in two files")]
    CrossLink(u32),
    /// A directory has 65,536 entries at most.
    #[error("a directory has more than {0} entries")]
    LargeDirectory(u64),
    /// A name must be one that a file can have.
    #[error("the entry at {0:#x} has a name that no file can have")]
    Name(u64),
    /// An entry must be one of a file or a directory.
    #[error("there is no file or directory at {0:#x}")]
    NoEntry(u64),
}
