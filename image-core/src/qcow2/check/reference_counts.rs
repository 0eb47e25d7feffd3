//! How often each cluster of the file is referenced, in bounded memory.
//!
//! ```text
//! clusters of the file  │ page │ page │ … │ page │      2^16 counts of 16 bits each, made when first touched
//!                       lo ──── counted now ──── hi ─── the next pass
//! ```
//!
//! One pass is enough for files of up to a terabyte (64 KiB clusters). When the pages run out, the highest is given up
//! and everything from there on is left for another pass over the tables.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// log2 of the clusters in a page.
const PAGE_BITS: u32 = 16;
/// Pages held at a time: 32 MiB.
const MAX_PAGES: usize = 256;
/// Pages held where everything must be counted at once: 256 MiB.
const MAX_PAGES_REBUILDING: usize = 2048;

/// Counts of one pass.
#[derive(Debug)]
pub(in super::super) struct ReferenceCounts {
    pages: BTreeMap<u64, Box<[u16]>>,
    /// What counts over 65,535 have more; few, for each stands for 65,535 references.
    more: HashMap<u64, u64>,
    first_page: u64,
    end_page: u64,
    /// One more than the highest cluster referenced in any pass.
    end: u64,
    max_pages: usize,
}

impl ReferenceCounts {
    /// Nothing counted yet; the first pass begins.
    pub(in super::super) fn new() -> Self {
        Self {
            pages: BTreeMap::new(),
            more: HashMap::new(),
            first_page: 0,
            end_page: u64::MAX,
            end: 0,
            max_pages: MAX_PAGES,
        }
    }

    /// Nothing counted yet, and room for all that is going to be, except in extreme files.
    pub(in super::super) fn for_rebuilding() -> Self {
        Self { max_pages: MAX_PAGES_REBUILDING, ..Self::new() }
    }

    /// Whether something was left for another pass.
    pub(in super::super) fn is_partial(&self) -> bool {
        self.end_page != u64::MAX
    }

    /// Forgets what was counted and turns to what was left; `false` if nothing was.
    pub(in super::super) fn next_pass(&mut self) -> bool {
        if self.end_page == u64::MAX {
            return false;
        }
        self.pages.clear();
        self.more.clear();
        self.first_page = self.end_page;
        self.end_page = u64::MAX;
        true
    }

    /// The clusters of this pass.
    pub(in super::super) fn window(&self) -> Range<u64> {
        let cluster = |page: u64| page.saturating_mul(1 << PAGE_BITS);
        cluster(self.first_page)..cluster(self.end_page)
    }

    /// One more than the highest cluster that is referenced.
    pub(in super::super) fn end(&self) -> u64 {
        self.end
    }

    /// Counts `weight` more references to `cluster`.
    pub(in super::super) fn add(&mut self, cluster: u64, weight: u64) {
        self.end = self.end.max(cluster.saturating_add(1));
        let page = cluster.wrapping_shr(PAGE_BITS);
        if page < self.first_page || page >= self.end_page || !self.make_room(page) {
            return;
        }
        let counts = self.pages.entry(page).or_insert_with(|| vec![0; 1 << PAGE_BITS].into());
        let Some(count) = counts.get_mut((cluster & 0xffff) as usize) else { return };
        let sum = u64::from(*count).saturating_add(weight);
        *count = sum.min(u64::from(u16::MAX)) as u16;
        if let Some(excess) = sum.checked_sub(u64::from(u16::MAX)).filter(|&excess| excess > 0) {
            let more = self.more.entry(cluster).or_default();
            *more = more.saturating_add(excess);
        }
    }

    /// Whether `page` is or can be held; gives up the highest page for a lower one.
    fn make_room(&mut self, page: u64) -> bool {
        if self.pages.len() < self.max_pages || self.pages.contains_key(&page) {
            return true;
        }
        let Some((&highest, _)) = self.pages.last_key_value() else { return true };
        self.end_page = page.max(highest);
        if page > highest {
            return false;
        }
        self.pages.remove(&highest);
        let first_given_up = self.window().end;
        self.more.retain(|&cluster, _| cluster < first_given_up);
        true
    }

    /// How often `cluster`, which is of this pass, was counted.
    pub(in super::super) fn count(&self, cluster: u64) -> u64 {
        let page = self.pages.get(&cluster.wrapping_shr(PAGE_BITS));
        let count = page.and_then(|page| page.get((cluster & 0xffff) as usize)).copied().unwrap_or_default();
        match count {
            u16::MAX => u64::from(count).saturating_add(self.more.get(&cluster).copied().unwrap_or_default()),
            count => u64::from(count),
        }
    }

    /// The parts of `clusters` that have a page, ascending.
    pub(in super::super) fn touched(&self, clusters: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let (first, last) =
            (clusters.start.wrapping_shr(PAGE_BITS), clusters.end.saturating_sub(1).wrapping_shr(PAGE_BITS));
        let pages = (!clusters.is_empty()).then(|| self.pages.range(first..=last)).into_iter().flatten();
        pages.map(move |(&page, _)| {
            let start = page.wrapping_shl(PAGE_BITS);
            start.max(clusters.start)..start.saturating_add(1 << PAGE_BITS).min(clusters.end)
        })
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "numbers of a test are its own")]
mod tests {
    use super::*;

    #[test]
    fn counts_over_16_bits_are_exact() {
        let mut counts = ReferenceCounts::new();
        counts.add(5, 65_535);
        assert_eq!(counts.count(5), 65_535);
        counts.add(5, 1);
        counts.add(5, 100_000);
        counts.add(6, u64::MAX);
        assert_eq!((counts.count(5), counts.count(6), counts.count(7)), (165_536, u64::MAX, 0));
        assert_eq!(counts.end(), 7);
    }

    #[test]
    fn passes_together_count_everything_once() {
        let clusters: Vec<u64> = (0..100).map(|index| (index * 37 % 100) << PAGE_BITS | index).collect();
        let mut counts = ReferenceCounts { max_pages: 7, ..ReferenceCounts::new() };
        let (mut seen, mut passes) = (0, 0);
        loop {
            for &cluster in &clusters {
                counts.add(cluster, 3);
            }
            let window = counts.window();
            assert!(counts.pages.len() <= 7);
            for &cluster in clusters.iter().filter(|cluster| window.contains(cluster)) {
                assert_eq!(counts.count(cluster), 3);
                seen += 1;
            }
            passes += 1;
            if !counts.next_pass() {
                break;
            }
        }
        assert_eq!((seen, passes), (100, 15));
    }

    #[test]
    fn what_is_touched_is_cut_to_the_range() {
        let mut counts = ReferenceCounts::new();
        counts.add(10, 1);
        counts.add(3 << PAGE_BITS, 1);
        let ranges: Vec<_> = counts.touched(5..(3 << PAGE_BITS) + 2).collect();
        assert_eq!(ranges, [5..1 << PAGE_BITS, 3 << PAGE_BITS..(3 << PAGE_BITS) + 2]);
        assert_eq!(counts.touched(7..7).count(), 0);
    }
}
