//! Locks that QEMU understands: what a program does with an image, and what it lets others do meanwhile.
//!
//! ```text
//! byte 100 + n of the file   held by whoever does n
//! byte 200 + n               held by whoever lets nobody else do n          n: 0 reads, 1 writes, 3 resizes
//! ```
//!
//! All of them are shared locks of the open file (`F_OFD_SETLK`), so any number of programs may hold the same byte, and
//! they end when it is closed. Who wants to do n asks whether byte 200 + n could be locked exclusively;
//! who forbids n asks so for byte 100 + n. First held, then asked: of two that come at once at most one stays. Where a
//! filesystem has no locks there are none. Source: QEMU, `block/file-posix.c`, and what its programs hold while they run.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{Error, ErrorKind, Result};

/// The byte of the first deed that somebody does.
const DOES: libc::off_t = 100;
/// The byte of the first deed that somebody forbids.
const FORBIDS: libc::off_t = 200;
/// More than the number of any deed.
const DEEDS: libc::off_t = 100;

/// Something that is done with an image; the number is that of QEMU's permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Deed {
    /// Reads, and relies on what it reads.
    Read = 0,
    /// Writes.
    Write = 1,
    /// Changes the size of the file.
    Resize = 3,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Resize => "resize",
        })
    }
}

/// What is done with a file, and what nobody else may do with it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    does: &'static [Deed],
    forbids: &'static [Deed],
}

impl Access {
    /// Reads what others may change meanwhile.
    pub const LOOK: Self = Self { does: &[Deed::Read], forbids: &[] };
    /// Reads what must stay as it is.
    pub const READ: Self = Self { does: &[Deed::Read], forbids: &[Deed::Write, Deed::Resize] };
    /// Writes, alone.
    pub const WRITE: Self =
        Self { does: &[Deed::Read, Deed::Write, Deed::Resize], forbids: &[Deed::Write, Deed::Resize] };
}

/// What another program that has the file open stands against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// It does what must not be done meanwhile.
    #[error("it is in use: another program has it open to {0} it")]
    Does(Deed),
    /// It lets nobody else do what is wanted.
    #[error("it is in use: another program has it open and lets nobody else {0} it")]
    Forbids(Deed),
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
    for (deeds, base) in [(access.does, DOES), (access.forbids, FORBIDS)] {
        for &deed in deeds {
            match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(base + deed as i64, libc::F_RDLCK))) {
                // Only somebody who does not lock as QEMU does has an exclusive lock.
                Err(Errno::EAGAIN | Errno::EACCES) => return Err(InUse::Forbids(deed).into()),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
                Ok(_) => {}
            }
        }
    }
    for deed in [Deed::Read, Deed::Write, Deed::Resize] {
        let is_free = |base: libc::off_t| is_free(file, base + deed as i64).map_err(std::io::Error::from);
        if access.does.contains(&deed) && !is_free(FORBIDS)? {
            return Err(InUse::Forbids(deed).into());
        }
        if access.forbids.contains(&deed) && !is_free(DOES)? {
            return Err(InUse::Does(deed).into());
        }
    }
    Ok(())
}

/// Gives up all that [`hold`] took, whoever else has a descriptor of the open file.
pub(super) fn release(file: &File) {
    let all = libc::flock { l_len: FORBIDS + DEEDS - DOES, ..byte(DOES, libc::F_UNLCK) };
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
        assert_eq!(both(Access::WRITE, Access::LOOK), Ok(()));
        assert_eq!(both(Access::LOOK, Access::WRITE), Ok(()));
        assert_eq!(both(Access::WRITE, Access::WRITE), Err(InUse::Forbids(Deed::Write)));
        assert_eq!(both(Access::READ, Access::WRITE), Err(InUse::Forbids(Deed::Write)));
        assert_eq!(both(Access::WRITE, Access::READ), Err(InUse::Does(Deed::Write)));
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
