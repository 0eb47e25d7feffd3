//! What every filesystem has: nodes with a number, an owner, times and attributes, whatever it calls them (inodes, entries).

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Special,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

impl From<NodeKind> for FileKind {
    fn from(kind: NodeKind) -> Self {
        match kind {
            NodeKind::File => Self::File,
            NodeKind::Directory => Self::Directory,
            NodeKind::Link => Self::Link,
            _ => Self::Special,
        }
    }
}

impl NodeKind {
    /// By the upper four bits of a mode (inode(7)).
    pub fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            0x1 => Self::Pipe,
            0x2 => Self::CharacterDevice,
            0x4 => Self::Directory,
            0x6 => Self::BlockDevice,
            0x8 => Self::File,
            0xa => Self::Link,
            0xc => Self::Socket,
            _ => return None,
        })
    }
}

/// A time to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970; before it, less than 0.
    pub seconds: i64,
    /// And so many nanoseconds, which count forwards.
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, such as `user.mime_type`.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What tells a node from all others of its filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId {
    /// The subvolume that it is in, where there are several (Btrfs); else 0.
    pub subvolume: u64,
    /// The number of its inode; where there are none (FAT, ISO 9660), where on the disk it is told of.
    pub number: u64,
}

impl NodeId {
    /// Of a filesystem without subvolumes.
    pub fn new(number: u64) -> Self {
        Self { subvolume: 0, number }
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What tells it from others.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Its permission bits, with set-user-ID and its kin; where there are none, 0o755.
    pub mode: u32,
    /// Its owner; where there is none, 0.
    pub uid: u32,
    /// Its group; where there is none, 0.
    pub gid: u32,
    /// Its size in bytes, as stat(2) tells it.
    pub size: u64,
    /// What is set aside for it, in bytes.
    pub allocated: u64,
    /// How many names it has, as stat(2) tells them.
    pub links: u32,
    /// Its flags, as `lsattr` tells them by letters (`FS_IOC_GETFLAGS`).
    pub flags: u32,
    /// When it was last read.
    pub accessed: Time,
    /// When anything of it was last changed.
    pub changed: Time,
    /// When its content was last changed.
    pub modified: Time,
    /// When it was made, where that is recorded.
    pub created: Option<Time>,
    /// Of a device: its major and minor number.
    pub device: Option<(u32, u32)>,
}

impl Node {
    /// Its kind and permissions as one number, as `st_mode` has them.
    pub fn st_mode(&self) -> u32 {
        let kind = match self.kind {
            NodeKind::Pipe => 0o01_0000,
            NodeKind::CharacterDevice => 0o02_0000,
            NodeKind::Directory => 0o04_0000,
            NodeKind::BlockDevice => 0o06_0000,
            NodeKind::File => 0o10_0000,
            NodeKind::Link => 0o12_0000,
            NodeKind::Socket => 0o14_0000,
        };
        kind | self.mode
    }
}

/// How a subvolume is chosen, as by mount(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubvolumeChoice<'a> {
    /// By its number, as `subvolid=`: 0 for the one at the top.
    Id(u64),
    /// By its path from the top, as `subvol=`.
    Path(&'a [u8]),
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// The name, as the filesystem has it: no `/`, no zero.
    pub name: Vec<u8>,
    /// What it names.
    pub id: NodeId,
    /// What that is, if the directory says so.
    pub kind: Option<NodeKind>,
}

/// How a filesystem was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// Nothing waits in a journal or log, and it does not say that it is in use.
    pub is_clean: bool,
    /// How far it reaches on its disk, in bytes from its beginning.
    pub size: u64,
}

/// How full a filesystem is, as statvfs(3) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes for files, free ones included.
    pub size: u64,
    /// Of these, the free ones.
    pub free: u64,
}
