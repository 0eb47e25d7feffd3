//! Initrds: each is unpacked once, for the rules of booting and for those of secrets.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use image_core::block::BlockRead;

use super::super::contents::{Opened, Search};

/// An initrd, or why it is none.
pub(in super::super) type Outcome = Result<Arc<Opened>, String>;

/// What was read of initrds, by path.
#[derive(Default)]
pub(in super::super) struct Initrds {
    read: Mutex<BTreeMap<PathBuf, Arc<OnceLock<Outcome>>>>,
}

impl Initrds {
    fn read(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<OnceLock<Outcome>>>> {
        // Nothing in there is ever half done.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read of `path`, if it was.
    pub(super) fn known(&self, path: &Path) -> Option<Outcome> {
        self.read().get(path)?.get().cloned()
    }

    /// What is in `content`, the file `path`: who asks first reads it, and others wait.
    pub(in super::super) fn open(&self, path: &Path, content: &dyn BlockRead, search: &Search) -> Outcome {
        let place = Arc::clone(self.read().entry(path.to_owned()).or_default());
        let outcome = place.get_or_init(|| {
            let mut stream = BufReader::with_capacity(256 << 10, Stream { content, at: 0 });
            Opened::read(&mut stream, search).map(Arc::new).map_err(|error| format!("{error:#}"))
        });
        outcome.clone()
    }
}

/// A disk from its beginning to its end.
struct Stream<'a> {
    content: &'a dyn BlockRead,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.size().saturating_sub(self.at).min(buf.len() as u64) as usize;
        let (target, _) = buf.split_at_mut(count);
        self.content.read_at(target, self.at).map_err(std::io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
