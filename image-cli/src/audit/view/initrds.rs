//! Initrds, for the rules of booting: each is unpacked once.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image_core::block::BlockRead;

use super::super::initrd::Initrd;

/// An initrd, or why it is none.
pub(in super::super) type Outcome = Result<Arc<Initrd>, String>;

/// More than any initrd has: a file may be larger than its disk.
const SIZE_LIMIT: u64 = 2 << 30;

/// What was read of initrds, by path.
#[derive(Default)]
pub(super) struct Initrds {
    read: Mutex<BTreeMap<PathBuf, Outcome>>,
}

impl Initrds {
    fn read(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Outcome>> {
        // Nothing in there is ever half done.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read of `path`, if it was.
    pub(super) fn known(&self, path: &Path) -> Option<Outcome> {
        self.read().get(path).cloned()
    }

    /// Reads `content`, the file `path`.
    pub(super) fn open(&self, path: &Path, content: Box<dyn BlockRead>) -> Outcome {
        let opened = match content.size() {
            size if size > SIZE_LIMIT => Err(format!("it has {size} bytes, more than any initrd")),
            _ => {
                let mut stream = BufReader::with_capacity(256 << 10, Stream { content, at: 0 });
                let read = Initrd::read(&mut stream, &mut |_, _| Ok(()));
                read.map(Arc::new).map_err(|error| format!("{error:#}"))
            }
        };
        self.read().insert(path.to_owned(), opened.clone());
        opened
    }
}

/// A disk from its beginning to its end.
struct Stream {
    content: Box<dyn BlockRead>,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.size().saturating_sub(self.at).min(buf.len() as u64) as usize;
        let (target, _) = buf.split_at_mut(count);
        self.content.read_at(target, self.at).map_err(std::io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
