//! What a file of the host is, where it can be no disk.

use std::fs::{File, FileType, Metadata};
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::fstatfs;

use crate::error::Error;

/// Why a file is no disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADisk {
    /// A folder.
    #[error("it is a folder, neither a regular file nor a block device")]
    Folder,
    /// A pipe, from which bytes come in one order and once.
    #[error("it is a pipe, neither a regular file nor a block device")]
    Pipe,
    /// A character device, like a terminal.
    #[error("it is a character device, neither a regular file nor a block device")]
    CharacterDevice,
    /// A socket.
    #[error("it is a socket, neither a regular file nor a block device")]
    Socket,
    /// A file as those in /proc: there is more in it than its size of 0 says, and nobody knows how much.
    #[error(
        "it has a size of 0 and yet holds something, as files do that the kernel makes while they are read"
    )]
    Unsized,
    /// A file as those in /sys: its size is the most that may be in it, not what is.
    #[error("it is made by the kernel while it is read, and its size says nothing of what is in it")]
    MadeWhileRead,
}

impl From<NotADisk> for Error {
    fn from(source: NotADisk) -> Self {
        Self::invalid(source)
    }
}

/// Filesystems without files on a disk (magic.h of Linux). Reading one of their files may wait for ever: they are not read.
const MADE_BY_THE_KERNEL: [i64; 8] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6265_6570, // configfs
];

/// Refuses what is neither a regular file nor a block device.
pub(super) fn check_kind(kind: FileType) -> Result<(), NotADisk> {
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    Err(match kind {
        _ if kind.is_dir() => NotADisk::Folder,
        _ if kind.is_fifo() => NotADisk::Pipe,
        _ if kind.is_char_device() => NotADisk::CharacterDevice,
        _ => NotADisk::Socket,
    })
}

/// Refuses a regular file that holds more or less than its size says.
pub(super) fn check_size(file: &File, metadata: &Metadata) -> Result<(), NotADisk> {
    if !metadata.is_file() {
        return Ok(());
    }
    let made_by_kernel = fstatfs(file).is_ok_and(|system| MADE_BY_THE_KERNEL.contains(&system.f_type));
    match metadata.len() {
        0 if made_by_kernel => Err(NotADisk::Unsized),
        // Other filesystems of that kind: what is read now decides. A file that is open for writing alone has nothing yet.
        0 if file.read_at(&mut [0], 0).is_ok_and(|len| len > 0) => Err(NotADisk::Unsized),
        1.. if made_by_kernel => Err(NotADisk::MadeWhileRead),
        _ => Ok(()),
    }
}
