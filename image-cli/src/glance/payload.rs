//! The bytes that are sent: read once, front to back, hashed and counted on the way, in constant memory.

pub(crate) mod converted;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use image_core::digest::{Algorithm, Hasher};
use image_core::progress::Progress;

use crate::error::Context;
use crate::monitor::Bytes;

/// Read at a time.
const CHUNK_LEN: usize = 1 << 20;

/// Where an image's bytes come from; each attempt to send them opens it anew.
pub(crate) trait Payload {
    /// Opens it at its first byte.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn open(&self) -> crate::Result<Box<dyn Read + '_>>;

    /// In bytes, where it is known beforehand.
    fn len(&self) -> Option<u64>;
}

/// A file, as it is.
#[derive(Debug)]
pub(crate) struct FilePayload {
    path: PathBuf,
    len: u64,
}

impl FilePayload {
    /// A file of `len` bytes.
    pub(crate) fn new(path: &Path, len: u64) -> Self {
        Self { path: path.to_owned(), len }
    }
}

impl Payload for FilePayload {
    fn open(&self) -> crate::Result<Box<dyn Read + '_>> {
        let file = File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        Ok(Box::new(file))
    }

    fn len(&self) -> Option<u64> {
        Some(self.len)
    }
}

/// What was sent, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) md5: String,
    pub(crate) sha256: String,
    pub(crate) sha512: String,
    /// In bytes.
    pub(crate) len: u64,
}

impl Digests {
    /// Of bytes that nobody read, in a dry run.
    pub(crate) fn unknown() -> Self {
        Self { md5: String::new(), sha256: String::new(), sha512: String::new(), len: 0 }
    }

    /// Glance's name of an algorithm → the digest, where it is one of ours.
    pub(crate) fn by_name(&self, algorithm: &str) -> Option<&str> {
        match algorithm {
            "md5" => Some(&self.md5),
            "sha256" => Some(&self.sha256),
            "sha512" => Some(&self.sha512),
            _ => None,
        }
    }
}

/// A reader that hashes and counts what passes, and stops when the user asks for it.
pub(crate) struct Measured<'a> {
    inner: Box<dyn Read + 'a>,
    announced: Option<u64>,
    progress: Option<&'a Bytes<'a>>,
    md5: Hasher,
    sha256: Hasher,
    sha512: Hasher,
    len: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl<'a> Measured<'a> {
    /// Around a payload just opened.
    pub(crate) fn new(
        inner: Box<dyn Read + 'a>,
        announced: Option<u64>,
        progress: Option<&'a Bytes<'a>>,
    ) -> Self {
        Self {
            inner,
            announced,
            progress,
            md5: Hasher::new(Algorithm::Md5),
            sha256: Hasher::new(Algorithm::Sha256),
            sha512: Hasher::new(Algorithm::Sha512),
            len: 0,
            ended: false,
            failure: None,
        }
    }

    /// Why reading failed, where it was reading that failed.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The digests of all that passed, where all has passed.
    pub(crate) fn finish(self) -> Option<Digests> {
        let whole = self.ended || self.announced == Some(self.len);
        whole.then(|| Digests {
            md5: self.md5.finish().hex,
            sha256: self.sha256.finish().hex,
            sha512: self.sha512.finish().hex,
            len: self.len,
        })
    }

    fn read_checked(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_some_and(Progress::is_cancelled) {
            return Err(io::Error::other(image_core::Error::cancelled()));
        }
        let limit = self.announced.map_or(u64::MAX, |announced| announced.saturating_sub(self.len));
        let room = buf.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let count = self.inner.read(buf.get_mut(..room).unwrap_or_default())?;
        if count == 0 && room > 0 {
            self.ended = true;
            if self.announced.is_some() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter while it was sent",
                ));
            }
        }
        Ok(count)
    }
}

impl Read for Measured<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.read_checked(buf) {
            Ok(count) => {
                let passed = buf.get(..count).unwrap_or_default();
                self.md5.update(passed);
                self.sha256.update(passed);
                self.sha512.update(passed);
                self.len = self.len.saturating_add(count as u64);
                if let Some(progress) = self.progress {
                    progress.add(count as u64);
                }
                Ok(count)
            }
            Err(error) => {
                // The one who reads wraps it into an error of its own: what is kept says it better.
                let told = io::Error::new(error.kind(), error.to_string());
                self.failure = Some(error);
                Err(told)
            }
        }
    }
}

/// The error itself, out of the wrapping that a reader needs: it tells whether the user stopped the work.
pub(crate) fn failure(error: io::Error) -> crate::Error {
    match error.downcast::<image_core::Error>() {
        Ok(inner) => inner.into(),
        Err(error) => error.into(),
    }
}

/// Reads a payload to its end without sending it.
///
/// # Errors
/// Where it cannot be read, or the user stops it.
pub(crate) fn digests_of(payload: &dyn Payload, progress: Option<&Bytes<'_>>) -> crate::Result<Digests> {
    let mut reader = Measured::new(payload.open()?, payload.len(), progress);
    let mut buf = vec![0; CHUNK_LEN];
    loop {
        match reader.read(&mut buf) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(reader.take_failure().map_or_else(|| error.into(), failure)),
        }
    }
    reader.finish().context("the image was not read to its end")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytewise(&'static [u8], Option<u64>);

    impl Payload for Bytewise {
        fn open(&self) -> crate::Result<Box<dyn Read + '_>> {
            Ok(Box::new(self.0.take(u64::MAX)))
        }
        fn len(&self) -> Option<u64> {
            self.1
        }
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        // RFC 1321, A.5; FIPS 180-4 examples for "abc".
        let digests = digests_of(&Bytewise(b"abc", Some(3)), None).unwrap();
        assert_eq!(digests.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(digests.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(digests.sha512.starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(digests.len, 3);
        assert_eq!(digests_of(&Bytewise(b"abc", None), None).unwrap(), digests);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
        let error = digests_of(&Bytewise(b"abc", Some(4)), None).unwrap_err();
        assert!(error.to_string().contains("became shorter"), "{error}");
        assert_eq!(digests_of(&Bytewise(b"abcdef", Some(3)), None).unwrap().len, 3);
    }
}
