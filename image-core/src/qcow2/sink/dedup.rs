//! Which compressed clusters were stored last, to be found again by their bytes.
//!
//! ```text
//! bytes ─► hash ─► place      the last 65,536: in clusters of 64 KiB, 4 GiB of the disk
//! ```
//!
//! A hash only says where to look: the caller compares the bytes. What is found depends on the order in which clusters
//! were stored, not on the hashes, unless two of them are equal by chance.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use super::super::entry::CompressedPlace;
use super::super::offset::HostOffset;

/// How many places are remembered: 5 MiB at most, however large the image is.
const MAX_PLACES: usize = 1 << 16;

/// The hash of a compressed cluster's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }
}

/// Places of compressed clusters.
#[derive(Debug, Default)]
pub(super) struct DedupIndex {
    places: HashMap<Key, CompressedPlace>,
    /// The same in the order in which they were stored.
    order: VecDeque<(Key, HostOffset)>,
}

impl DedupIndex {
    /// Where bytes of this hash were stored last.
    pub(super) fn find(&self, key: Key) -> Option<CompressedPlace> {
        self.places.get(&key).copied()
    }

    /// Remembers that bytes of this hash are at `place`; forgets what was stored longest ago.
    pub(super) fn remember(&mut self, key: Key, place: CompressedPlace) {
        if self.order.len() == MAX_PLACES
            && let Some((oldest, offset)) = self.order.pop_front()
            // A later copy has its own turn.
            && self.find(oldest).is_some_and(|place| place.offset == offset)
        {
            self.places.remove(&oldest);
        }
        self.places.insert(key, place);
        self.order.push_back((key, place.offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> CompressedPlace {
        CompressedPlace { offset: HostOffset(offset), len: 100 }
    }

    #[test]
    fn the_last_places_are_remembered_and_no_more() {
        let mut stored = DedupIndex::default();
        let key = |number: u64| Key::of(&number.to_le_bytes());
        let count = MAX_PLACES as u64;
        for number in 0..count {
            stored.remember(key(number), place(number));
        }
        // A later copy of the third is not forgotten with the first copy.
        stored.remember(key(2), place(count));
        assert_eq!((stored.find(key(0)), stored.find(key(1))), (None, Some(place(1))));
        for number in 1..=3 {
            stored.remember(key(count + number), place(count + number));
        }
        assert_eq!((stored.find(key(1)), stored.find(key(3))), (None, None));
        assert_eq!(stored.find(key(2)), Some(place(count)));
        assert_eq!(stored.find(key(4)), Some(place(4)));
        for number in 2 * count..3 * count {
            stored.remember(key(number), place(number));
        }
        assert_eq!((stored.places.len(), stored.order.len()), (MAX_PLACES, MAX_PLACES));
        assert_eq!(stored.find(key(2)), None);
    }
}
