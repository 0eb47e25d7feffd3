//! What a rule has looked at. Nobody can say that an image keeps a rule without it.
//!
//! ```text
//! a rule asks ─► View ─► Watch notes the place, once it has been read ─► Looked ─► Check, with the verdict "ok"
//! ```
//!
//! A file that is not there has been looked for, and is a place; one that cannot be read is none. What several rules need is read
//! once, perhaps ahead of them and by another thread: each that asks for it has looked where it was read ([`Shared`]).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use serde::Serialize;

use crate::error::err;

/// So many places are told of a rule; of more, their number.
const TOLD: usize = 100;

/// The places that a rule has looked at: there is at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Looked {
    /// In their order; made by [`Watch`] and by nobody else.
    places: Vec<String>,
}

impl Looked {
    /// The places: paths in the image, or parts of the disk.
    #[cfg(test)]
    pub(super) fn places(&self) -> &[String] {
        &self.places
    }
}

/// Notes where a rule looks; a thread judges one at a time.
#[derive(Debug, Default)]
pub(super) struct Watch {
    noted: Mutex<HashMap<ThreadId, Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    places: BTreeSet<String>,
    more: usize,
}

impl Noted {
    fn add(&mut self, place: &str) {
        if self.places.contains(place) {
            return;
        }
        match self.places.len() < TOLD {
            true => _ = self.places.insert(place.to_owned()),
            false => self.more = self.more.saturating_add(1),
        }
    }
}

impl Watch {
    fn noted(&self) -> MutexGuard<'_, HashMap<ThreadId, Noted>> {
        // A place is noted as a whole or not at all.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `noted` into the place of what this thread noted, which is the answer.
    fn replace(&self, noted: Noted) -> Noted {
        self.noted().insert(thread::current().id(), noted).unwrap_or_default()
    }

    /// Notes that the file or folder `path` was looked at, or looked for.
    pub(super) fn path(&self, path: &Path) {
        self.place(&path.to_string_lossy());
    }

    /// Notes a place that is no file.
    pub(super) fn place(&self, place: &str) {
        self.noted().entry(thread::current().id()).or_default().add(place);
    }

    /// Notes what another thread noted.
    fn add(&self, other: &Noted) {
        let mut noted = self.noted();
        let own = noted.entry(thread::current().id()).or_default();
        other.places.iter().for_each(|place| own.add(place));
        own.more = own.more.saturating_add(other.more);
    }

    /// What this thread noted since it asked last; `None` if that is nothing.
    pub(super) fn taken(&self) -> Option<Looked> {
        let Noted { places, more } = self.replace(Noted::default());
        let mut places: Vec<String> = places.into_iter().collect();
        if more > 0 {
            places.push(format!("{more} more"));
        }
        (!places.is_empty()).then_some(Looked { places })
    }
}

/// What several rules need to know, read once: by who asks first, while others wait.
pub(super) struct Shared<T> {
    read: OnceLock<Reading<T>>,
}

struct Reading<T> {
    found: Result<T, String>,
    noted: Noted,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { read: OnceLock::new() }
    }
}

impl<T> Shared<T> {
    /// What `read` finds, or found; its places are noted, whoever read them.
    ///
    /// # Errors
    /// Why it could not be read.
    pub(super) fn get(&self, watch: &Watch, read: impl FnOnce() -> crate::Result<T>) -> crate::Result<&T> {
        let reading = self.read.get_or_init(|| {
            let before = watch.replace(Noted::default());
            let found = read().map_err(|error| format!("{error:#}"));
            Reading { found, noted: watch.replace(before) }
        });
        watch.add(&reading.noted);
        reading.found.as_ref().map_err(|why| err!("{why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_once_and_many_of_them_counted() {
        let watch = Watch::default();
        assert_eq!(watch.taken(), None);
        watch.path("/etc/passwd".as_ref());
        watch.path("/etc/passwd".as_ref());
        watch.place("the partition table");
        assert_eq!(watch.taken().unwrap().places(), ["/etc/passwd", "the partition table"]);
        assert_eq!(watch.taken(), None);
        for number in 0..150 {
            watch.place(&format!("{number:03}"));
        }
        let looked = watch.taken().unwrap();
        assert_eq!((looked.places().len(), looked.places()[100].as_str()), (101, "50 more"));
    }

    #[test]
    fn what_another_thread_read_was_looked_at_by_each_that_asks() {
        let watch = Watch::default();
        let shared = Shared::default();
        let read = || {
            watch.place("read once");
            Ok(7)
        };
        watch.place("mine");
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                watch.place("another's");
                shared.get(&watch, read).copied().unwrap()
            });
            assert_eq!(other.join().unwrap(), 7);
        });
        for before in [&["mine", "read once"][..], &["read once"]] {
            assert_eq!(shared.get(&watch, || panic!("it was read")).unwrap(), &7);
            assert_eq!(watch.taken().unwrap().places(), before);
        }
        let broken: Shared<u8> = Shared::default();
        for _ in 0..2 {
            let why = broken.get(&watch, || Err(err!("no disk"))).unwrap_err();
            assert_eq!(why.to_string(), "no disk");
        }
    }
}
