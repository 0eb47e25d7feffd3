//! Pages of a disk that were read and are kept: as many as fit, those that are used again the longest.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;
use std::sync::Arc;

/// How many pages are kept.
const PAGES: usize = 128;

/// Pages that were read, and a hand that goes round: what was used since it last came by stays.
#[derive(Default)]
pub(super) struct Pages {
    places: HashMap<u64, usize>,
    kept: Vec<Page>,
    hand: usize,
}

struct Page {
    number: u64,
    bytes: Arc<[u8]>,
    is_used: bool,
}

impl Pages {
    /// The page `number`, if it is kept.
    pub(super) fn find(&mut self, number: u64) -> Option<Arc<[u8]>> {
        let page = self.kept.get_mut(*self.places.get(&number)?)?;
        page.is_used = true;
        Some(Arc::clone(&page.bytes))
    }

    /// Forgets the page `number`: it is another one now.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(page) = self.places.remove(&number).and_then(|place| self.kept.get_mut(place)) {
            // No page has this number.
            (page.number, page.is_used) = (u64::MAX, false);
        }
    }

    /// Keeps the page `number`, in place of one that was not used for long.
    pub(super) fn keep(&mut self, number: u64, bytes: Arc<[u8]>) {
        // Two may have read it at once.
        if self.places.contains_key(&number) {
            return;
        }
        let page = Page { number, bytes, is_used: false };
        if self.kept.len() < PAGES {
            self.places.insert(number, self.kept.len());
            self.kept.push(page);
            return;
        }
        // Two rounds at most: the first one makes all unused.
        for _ in 0..PAGES.saturating_mul(2) {
            self.hand = self.hand.saturating_add(1).checked_rem(PAGES).unwrap_or(0);
            let Some(old) = self.kept.get_mut(self.hand) else { return };
            if old.is_used {
                old.is_used = false;
                continue;
            }
            self.places.remove(&old.number);
            self.places.insert(number, self.hand);
            *old = page;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_make_room_for_each_other() {
        let mut pages = Pages::default();
        for number in 0..1000 {
            pages.keep(number, vec![number as u8].into());
            assert_eq!(pages.find(0).unwrap()[0], 0, "what is used all the time stays");
        }
        assert_eq!((pages.kept.len(), pages.places.len()), (PAGES, PAGES));
        assert_eq!(pages.find(999).unwrap()[0], 231);
        assert!(pages.find(500).is_none());
        pages.forget(999);
        assert!(pages.find(999).is_none());
        (0..1000).for_each(|number| pages.keep(number + 5000, vec![number as u8].into()));
        assert_eq!((pages.kept.len(), pages.places.len()), (PAGES, PAGES));
    }
}
