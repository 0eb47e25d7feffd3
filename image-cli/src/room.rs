//! How much may still be written where something of unknown length goes: of what is free, a part is left to others.

use std::os::fd::AsFd;

/// Of what is free, one byte in so many is left.
const SPARED: u64 = 20;

/// How many bytes may still be written into the filesystem that `file` is on.
///
/// # Errors
/// If it does not say how many are free.
pub(crate) fn room(file: impl AsFd) -> std::io::Result<u64> {
    let found = rustix::fs::fstatvfs(file)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok(free.saturating_sub(free / SPARED))
}
