//! Locks that QEMU understands: which permissions a program has on an image, and which it shares with others.
//!
//! ```text
//! byte 100 + n of the file   held by whoever has permission n
//! byte 200 + n               held by whoever does not share n             n: 0 read, 1 write, 3 resize
//! ```
//!
//! All of them are shared locks of the open file (`F_OFD_SETLK`), so any number of programs may hold the same byte, and
//! they end when it is closed. Who wants permission n asks whether byte 200 + n could be locked exclusively;
//! who does not share n asks so for byte 100 + n. First held, then asked: of two that come at once at most one stays. Where a
//! filesystem has no locks there are none. Source: QEMU, `block/file-posix.c`, and what its programs hold while they run.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{Error, ErrorKind, Result};

/// The byte of the first permission that somebody has (QEMU: `RAW_LOCK_PERM_BASE`).
const PERMISSIONS_AT: libc::off_t = 100;
/// The byte of the first permission that somebody does not share (QEMU: `RAW_LOCK_SHARED_BASE`).
const UNSHARED_AT: libc::off_t = 200;
/// More than the number of any permission.
const PERMISSION_LIMIT: libc::off_t = 100;

/// What may be done with an image; the number is that of QEMU's `BLK_PERM_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Permission {
    /// Reads, and relies on what it reads.
    Read = 0,
    /// Writes.
    Write = 1,
    /// Changes the size of the file.
    Resize = 3,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Resize => "resize",
        })
    }
}

/// The permissions on a file that are taken, and those that nobody else may have meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    permissions: &'static [Permission],
    unshared: &'static [Permission],
}

impl Access {
    /// Reads what others may change meanwhile.
    pub const READ_SHARED: Self = Self { permissions: &[Permission::Read], unshared: &[] };
    /// Reads what must stay as it is.
    pub const READ: Self =
        Self { permissions: &[Permission::Read], unshared: &[Permission::Write, Permission::Resize] };
    /// Writes, alone.
    pub const WRITE: Self = Self {
        permissions: &[Permission::Read, Permission::Write, Permission::Resize],
        unshared: &[Permission::Write, Permission::Resize],
    };
}

/// What another program that has the file open stands against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// It has a permission that is not shared with it.
    #[error("it is in use: another program has it open to {0} it")]
    Taken(Permission),
    /// It does not share what is wanted.
    #[error("it is in use: another program has it open and lets nobody else {0} it")]
    Unshared(Permission),
}

/// A file that is in use: of a chain of images it need not be the one that the caller named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("opening {}", path.display())]
pub struct FileInUse {
    /// What it was opened as.
    pub path: PathBuf,
    /// What another program does with it.
    pub source: InUse,
}

impl From<InUse> for Error {
    fn from(source: InUse) -> Self {
        Self::new(ErrorKind::InUse, source)
    }
}

/// Holds the locks of `access` for as long as `file` is open.
///
/// # Errors
/// [`ErrorKind::InUse`] (cause: [`InUse`]); the locks are left to the file, which is of no use to the caller any more.
pub(super) fn hold(file: &File, access: Access) -> Result<()> {
    if is_free(file, 0).is_err() {
        return Ok(());
    }
    for (permissions, base) in [(access.permissions, PERMISSIONS_AT), (access.unshared, UNSHARED_AT)] {
        for &permission in permissions {
            match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(base + permission as i64, libc::F_RDLCK))) {
                // Only somebody who does not lock as QEMU does has an exclusive lock.
                Err(Errno::EAGAIN | Errno::EACCES) => return Err(InUse::Unshared(permission).into()),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
                Ok(_) => {}
            }
        }
    }
    for permission in [Permission::Read, Permission::Write, Permission::Resize] {
        let is_free =
            |base: libc::off_t| is_free(file, base + permission as i64).map_err(std::io::Error::from);
        if access.permissions.contains(&permission) && !is_free(UNSHARED_AT)? {
            return Err(InUse::Unshared(permission).into());
        }
        if access.unshared.contains(&permission) && !is_free(PERMISSIONS_AT)? {
            return Err(InUse::Taken(permission).into());
        }
    }
    Ok(())
}

/// Gives up all that [`hold`] took, whoever else has a descriptor of the open file.
pub(super) fn release(file: &File) {
    let all = libc::flock {
        l_len: UNSHARED_AT + PERMISSION_LIMIT - PERMISSIONS_AT,
        ..byte(PERMISSIONS_AT, libc::F_UNLCK)
    };
    // Where it fails the locks end with the descriptor.
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&all));
}

/// Whether nobody else holds the byte at `offset`.
fn is_free(file: &File, offset: libc::off_t) -> nix::Result<bool> {
    let mut answer = byte(offset, libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut answer))?;
    Ok(answer.l_type == libc::F_UNLCK as libc::c_short)
}

fn byte(offset: libc::off_t, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset,
        l_len: 1,
        // Required to be 0 for locks of the open file.
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::FileDisk;

    #[test]
    fn who_writes_is_alone_and_who_looks_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let both = |one: Access, other: Access| {
            let (one_file, other_file) = (open(), open());
            hold(&one_file, one).unwrap();
            // What is held by the file itself does not count.
            hold(&one_file, one).unwrap();
            hold(&other_file, other).map_err(|error| *error.cause::<InUse>().unwrap())
        };
        assert_eq!(both(Access::READ, Access::READ), Ok(()));
        assert_eq!(both(Access::WRITE, Access::READ_SHARED), Ok(()));
        assert_eq!(both(Access::READ_SHARED, Access::WRITE), Ok(()));
        assert_eq!(both(Access::WRITE, Access::WRITE), Err(InUse::Unshared(Permission::Write)));
        assert_eq!(both(Access::READ, Access::WRITE), Err(InUse::Unshared(Permission::Write)));
        assert_eq!(both(Access::WRITE, Access::READ), Err(InUse::Taken(Permission::Write)));
    }

    #[test]
    fn a_second_descriptor_does_not_keep_what_was_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        let disk = FileDisk::open_writable(&path).unwrap();
        disk.lock(Access::WRITE).unwrap();
        let inherited = disk.file().try_clone().unwrap();
        let next = FileDisk::open_writable(&path).unwrap();
        assert!(next.lock(Access::READ).is_err());
        drop(next);
        drop(disk);
        FileDisk::open_writable(&path).unwrap().lock(Access::WRITE).unwrap();
        // Nor does a file that was never locked give up what somebody else holds by it.
        hold(&inherited, Access::WRITE).unwrap();
        drop(FileDisk::from_file(inherited.try_clone().unwrap(), &path).unwrap());
        assert!(FileDisk::open_writable(&path).unwrap().lock(Access::READ).is_err());
    }
}
