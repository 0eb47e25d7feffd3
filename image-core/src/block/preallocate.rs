//! Setting storage aside before anything is written, so that later writes cannot run out of space.

use std::fmt;
use std::str::FromStr;

use super::{BlockWrite, ByteRange, ZeroMode};
use crate::error::{Error, Result};

/// Zeroes written at a time.
const CHUNK: usize = 1 << 20;

/// How much is done ahead of the first write. The names are QEMU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Preallocation {
    /// Nothing: the file grows.
    #[default]
    Off,
    /// Every cluster has its place; the file is sparse. Not for raw images, which have no clusters.
    Metadata,
    /// And the filesystem keeps room for it.
    Falloc,
    /// And zeroes were written there.
    Full,
}

impl Preallocation {
    /// Sets storage aside for `range` of `file`, which reads as zeroes and goes on to.
    ///
    /// # Errors
    /// Whatever the storage says, most often that it is full.
    pub fn set_aside(self, file: &dyn BlockWrite, range: ByteRange) -> Result<()> {
        match self {
            Self::Off | Self::Metadata => Ok(()),
            Self::Falloc if range.is_empty() => Ok(()),
            Self::Falloc => file.write_zeroes(range, ZeroMode::Keep),
            Self::Full => {
                let zeroes = vec![0; range.len().min(CHUNK as u64) as usize];
                let mut at = range.offset();
                while at < range.end() {
                    let len = (range.end() - at).min(zeroes.len() as u64);
                    file.write_at(&zeroes[..len as usize], at)?;
                    at += len;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Preallocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        })
    }
}

impl FromStr for Preallocation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::Off, Self::Metadata, Self::Falloc, Self::Full];
        let found = all.into_iter().find(|mode| mode.to_string() == name);
        found.ok_or_else(|| {
            Error::invalid(format!("preallocation {name:?}: there are off, metadata, falloc and full"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BlockRead, FileDisk, is_zero};
    use super::*;

    #[test]
    fn storage_is_there_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for mode in ["off", "metadata", "falloc", "full"] {
            let disk = FileDisk::create_new(folder.path().join(mode), 3 << 20).unwrap();
            let mode: Preallocation = mode.parse().unwrap();
            mode.set_aside(&disk, ByteRange::between(1 << 20, (3 << 20) - 100)).unwrap();
            let allocated = disk.allocated_size().unwrap();
            assert_eq!(allocated >= (2 << 20) - 4096, mode >= Preallocation::Falloc, "{mode}: {allocated}");
            assert!(allocated <= (2 << 20) + 4096 && disk.size() == 3 << 20, "{mode}: {allocated}");
            let mut bytes = vec![1; 3 << 20];
            disk.read_at(&mut bytes, 0).unwrap();
            assert!(is_zero(&bytes), "{mode}");
        }
        assert!("fallocate".parse::<Preallocation>().is_err());
    }
}
