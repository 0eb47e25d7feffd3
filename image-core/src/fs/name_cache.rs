//! Names of directories that were asked for one: looking for each of many names must not read all of them each time.
//!
//! ```text
//! name ─► as it is? ─► without its case, if that does not count ─► without its case, a second name of a file?
//! ```
//!
//! The two directories that were asked last are kept, if they have no more than a few MiB. Letters are compared one by one
//! (Unicode, simple case mappings).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NodeId;
use crate::error::Result;

/// How many directories' names are kept.
const DIRECTORIES: usize = 2;
/// Directories with more bytes are not kept: the names may take several times as much.
const LEN_MAX: u64 = 4 << 20;

/// The names of directories that were asked.
pub(super) struct NameCache {
    /// Whether the case of letters counts.
    has_case: bool,
    kept: Mutex<Vec<(NodeId, Arc<Names>)>>,
}

/// The names of one directory.
#[derive(Default)]
pub(super) struct Names {
    exact: HashMap<Vec<u8>, NodeId>,
    folded: HashMap<String, NodeId>,
    has_case: bool,
    /// What the second names lead to, for the time when all first ones are known.
    second: Vec<(String, NodeId)>,
}

impl Names {
    /// Has `name` lead to `id`, unless it leads somewhere already.
    pub(super) fn add(&mut self, name: Vec<u8>, id: NodeId) {
        if let (false, Ok(text)) = (self.has_case, str::from_utf8(&name)) {
            self.folded.entry(folded(text)).or_insert(id);
        }
        self.exact.entry(name).or_insert(id);
    }

    /// Has `name` lead to `id` whatever its case, unless a first name is the same.
    pub(super) fn add_second(&mut self, name: &str, id: NodeId) {
        self.second.push((folded(name), id));
    }

    fn finish(&mut self) {
        for (name, id) in std::mem::take(&mut self.second) {
            self.folded.entry(name).or_insert(id);
        }
    }

    fn find(&self, name: &[u8]) -> Option<NodeId> {
        let text = str::from_utf8(name).ok().filter(|_| !self.has_case);
        self.exact.get(name).or_else(|| self.folded.get(&folded(text?))).copied()
    }
}

/// `name` without its case.
fn folded(name: &str) -> String {
    let fold = |letter: char| {
        let large = single(letter.to_uppercase(), letter);
        single(large.to_lowercase(), large)
    };
    name.chars().map(fold).collect()
}

/// The one letter of `letters`, or `other` where they are more.
fn single(mut letters: impl Iterator<Item = char>, other: char) -> char {
    match (letters.next(), letters.next()) {
        (Some(letter), None) => letter,
        _ => other,
    }
}

impl NameCache {
    /// No names yet.
    pub(super) fn new(has_case: bool) -> Self {
        Self { has_case, kept: Mutex::default() }
    }

    /// What `name` leads to in `directory`, which has `len` bytes, and whose names `read` tells.
    ///
    /// # Errors
    /// That of `read`, if the name was not among those before it.
    pub(super) fn find(
        &self,
        directory: NodeId,
        len: u64,
        name: &[u8],
        read: impl FnOnce(&mut Names) -> Result<()>,
    ) -> Result<Option<NodeId>> {
        let known = self.kept().iter().find(|kept| kept.0 == directory).map(|kept| Arc::clone(&kept.1));
        if let Some(names) = known {
            return Ok(names.find(name));
        }
        let mut names = Names { has_case: self.has_case, ..Names::default() };
        let read = read(&mut names);
        names.finish();
        let found = names.find(name);
        match read {
            Err(error) if found.is_none() => return Err(error),
            Ok(()) if len <= LEN_MAX => {
                let mut kept = self.kept();
                kept.truncate(DIRECTORIES.saturating_sub(1));
                kept.insert(0, (directory, Arc::new(names)));
            }
            _ => (),
        }
        Ok(found)
    }

    /// Forgets all names: something has another one now.
    pub(super) fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(NodeId, Arc<Names>)>> {
        // Nothing in there is ever half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn case_is_folded_letter_by_letter() {
        for (one, other) in [("ReadMe", "README"), ("ÄÖÜ", "äöü"), ("Σίσυφος", "ΣΊΣΥΦΟΣ"), ("Жук", "жУК")]
        {
            assert_eq!(folded(one), folded(other));
        }
        // No letter becomes two.
        assert_ne!(folded("straße"), folded("STRASSE"));
        assert_eq!(folded("ŉﬁ"), "ŉﬁ");
    }

    #[test]
    fn names_are_found_as_they_are_first_and_directories_are_kept() {
        let id = NodeId::new;
        let fill = |names: &mut Names| {
            names.add_second("C", id(9));
            for (name, to) in [(&b"a"[..], 1), (b"A", 2), (b"b", 3), (b"\xff", 4)] {
                names.add(name.to_vec(), id(to));
            }
            Ok(())
        };
        for (has_case, expected) in
            [(true, [Some(2), None, None, Some(4)]), (false, [Some(2), Some(3), Some(9), Some(4)])]
        {
            let cache = NameCache::new(has_case);
            let ask = |name: &[u8]| cache.find(id(5), 100, name, fill).unwrap().map(|found| found.number);
            assert_eq!([&b"A"[..], b"B", b"c", b"\xff"].map(ask), expected);
            let again = cache.find(id(5), 100, b"A", |_| Err(Error::invalid("read again"))).unwrap();
            assert_eq!(again, Some(id(2)));
            assert!(cache.find(id(6), 100, b"A", |_| Err(Error::invalid("broken"))).is_err());
        }
    }
}
