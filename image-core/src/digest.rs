//! Digests of files and disks: SHA-256, SHA-512 and MD5.
//!
//! SHA-256 and SHA-512 for those who check a download (`SHA256SUMS`, Glance's `os_hash_value`), MD5 for Glance's old
//! `checksum` field; it protects against nothing but accidents.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Error, Result};
use crate::progress::Progress;

/// Zeroes fed, and bytes read, at a time.
const CHUNK: usize = 256 * 1024;

/// Which digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
    /// MD5 (RFC 1321).
    Md5,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Md5];

    /// As it is spelt on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| {
            Error::invalid(format!("no digest is called {name:?}: sha256, sha512 and md5 are known"))
        })
    }
}

/// A finished digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Which.
    pub algorithm: Algorithm,
    /// In lower-case hexadecimal digits.
    pub hex: String,
}

/// A digest in the making.
pub struct Hasher(State);

enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
}

impl Hasher {
    /// Of no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
        })
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
        }
    }

    /// Appends `count` zeroes.
    pub fn update_zeroes(&mut self, count: u64) {
        static ZEROES: [u8; CHUNK] = [0; CHUNK];
        let mut left = count;
        while left > 0 {
            let len = left.min(CHUNK as u64);
            self.update(&ZEROES[..len as usize]);
            left -= len;
        }
    }

    /// The digest of all that was appended.
    pub fn finish(self) -> Digest {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.0 {
            State::Sha256(state) => Digest { algorithm: Algorithm::Sha256, hex: hex(&state.finalize()) },
            State::Sha512(state) => Digest { algorithm: Algorithm::Sha512, hex: hex(&state.finalize()) },
            State::Md5(state) => Digest { algorithm: Algorithm::Md5, hex: hex(&state.finalize()) },
        }
    }
}

/// Digests of all bytes of `disk`, each in a thread of its own; holes are not read.
/// `progress` is told of the disk's bytes once, by the first digest.
///
/// # Errors
/// Of the disk; [`Cancelled`](crate::ErrorKind::Cancelled) if `progress` says so.
pub fn digests_of(
    disk: &dyn BlockRead,
    algorithms: &[Algorithm],
    progress: &dyn Progress,
) -> Result<Vec<Digest>> {
    std::thread::scope(|scope| {
        let start = |(index, &algorithm): (usize, &Algorithm)| {
            scope.spawn(move || digest_of(disk, algorithm, progress, index == 0))
        };
        let threads: Vec<_> = algorithms.iter().enumerate().map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn digest_of(
    disk: &dyn BlockRead,
    algorithm: Algorithm,
    progress: &dyn Progress,
    tells: bool,
) -> Result<Digest> {
    /// Bounds the list of extents.
    const WINDOW: u64 = 64 * 1024 * 1024;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < disk.size() {
        let window = ByteRange::between(at, disk.size().min(at + WINDOW));
        for extent in disk.extents(window)?.iter() {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            if extent.kind.reads_as_zero() {
                hasher.update_zeroes(extent.range.len());
                continue;
            }
            let mut offset = extent.range.offset();
            while offset < extent.range.end() {
                let len = (extent.range.end() - offset).min(CHUNK as u64);
                let bytes = &mut buffer[..len as usize];
                disk.read_at(bytes, offset).doing(|| format!("making the {algorithm} digest"))?;
                hasher.update(bytes);
                offset += len;
            }
        }
        if tells {
            progress.advance(window.len());
        }
        at = window.end();
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, MemoryDisk};

    /// The vectors of FIPS 180-4 and RFC 1321 for "abc".
    #[test]
    fn the_standards_own_examples() {
        let expect = [
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
        ];
        for (algorithm, hex) in expect {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish(), Digest { algorithm, hex: hex.to_owned() });
        }
    }

    #[test]
    fn holes_count_as_zeroes() {
        let disk = MemoryDisk::new(3 * CHUNK + 700);
        disk.write_at(&[5; 1000], CHUNK as u64 - 100).unwrap();
        let mut whole = Hasher::new(Algorithm::Sha256);
        whole.update(&disk.to_bytes());
        let found = digests_of(&disk, &[Algorithm::Md5, Algorithm::Sha256], &()).unwrap();
        assert_eq!(found[1], whole.finish());
        assert_eq!(found[0].algorithm, Algorithm::Md5);
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse::<Algorithm>().unwrap(), algorithm);
        }
        assert!("crc32".parse::<Algorithm>().unwrap_err().to_string().contains("sha512"));
    }
}
