//! What a rule has looked at. Nobody can say that an image keeps a rule without it.
//!
//! ```text
//! a rule asks ─► View ─► Watch notes the place, once it has been read ─► Looked ─► Check, with the verdict "ok"
//! ```
//!
//! A file that is not there has been looked for, and is a place; one that cannot be read is none.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

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

/// Notes where a rule looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    places: BTreeSet<String>,
    more: usize,
}

impl Watch {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        // A place is noted as a whole or not at all.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the file or folder `path` was looked at, or looked for.
    pub(super) fn path(&self, path: &Path) {
        self.place(&path.to_string_lossy());
    }

    /// Notes a place that is no file.
    pub(super) fn place(&self, place: &str) {
        let mut noted = self.noted();
        if noted.places.contains(place) {
            return;
        }
        match noted.places.len() < TOLD {
            true => _ = noted.places.insert(place.to_owned()),
            false => noted.more = noted.more.saturating_add(1),
        }
    }

    /// What was noted since it was asked last; `None` if that is nothing.
    pub(super) fn taken(&self) -> Option<Looked> {
        let Noted { places, more } = std::mem::take(&mut *self.noted());
        let mut places: Vec<String> = places.into_iter().collect();
        if more > 0 {
            places.push(format!("{more} more"));
        }
        (!places.is_empty()).then_some(Looked { places })
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
}
