//! Ranges of a disk that are collected, in memory that is bounded however many there are.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::ByteRange;

/// More ranges are not kept: 64 MiB of them.
const LIMIT: usize = 1 << 22;

/// Ranges, none of which overlaps another. Where there are too many, the shortest are left out: whoever collects must be right
/// with fewer.
#[derive(Debug)]
pub(crate) struct Ranges {
    list: Vec<ByteRange>,
    limit: usize,
    /// Shorter ones are left out.
    shortest: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { list: Vec::new(), limit: LIMIT, shortest: 1 }
    }
}

impl Ranges {
    /// Adds `range`.
    pub(crate) fn add(&mut self, range: ByteRange) {
        match self.list.last_mut() {
            Some(last) if last.end() == range.offset() => {
                *last = ByteRange::between(last.offset(), range.end());
                return;
            }
            _ if range.len() < self.shortest => return,
            _ => self.list.push(range),
        }
        if self.list.len() >= self.limit {
            self.sort();
            while self.list.len() > self.limit / 2 {
                self.shortest = self.shortest.saturating_mul(2);
                self.list.retain(|range| range.len() >= self.shortest);
            }
        }
    }

    /// Adds all of `ranges`.
    pub(crate) fn extend(&mut self, ranges: impl IntoIterator<Item = ByteRange>) {
        ranges.into_iter().for_each(|range| self.add(range));
    }

    /// All that were kept, in their order and as long as they can be.
    pub(crate) fn into_sorted(mut self) -> Vec<ByteRange> {
        self.sort();
        self.list
    }

    fn sort(&mut self) {
        self.list.sort_unstable_by_key(|range| range.offset());
        self.list.dedup_by(|next, range| {
            let is_behind = range.end() == next.offset();
            if is_behind {
                *range = ByteRange::between(range.offset(), next.end());
            }
            is_behind
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::between(start, end)
    }

    #[test]
    fn neighbours_become_one_in_whatever_order_they_come() {
        let mut ranges = Ranges::default();
        ranges.extend([
            range(30, 40),
            range(40, 50),
            range(0, 0),
            range(10, 20),
            range(20, 30),
            range(60, 61),
        ]);
        assert_eq!(ranges.into_sorted(), [range(10, 50), range(60, 61)]);
    }

    #[test]
    fn of_too_many_the_longest_stay() {
        let mut ranges = Ranges { limit: 100, ..Ranges::default() };
        for at in 0..1000 {
            // Every tenth is long.
            ranges.add(range(at * 1000, at * 1000 + if at % 10 == 0 { 500 } else { 1 }));
        }
        let kept = ranges.into_sorted();
        assert!(
            kept.len() <= 100
                && kept.iter().filter(|range| range.len() == 500).count() == 100.min(kept.len())
        );
        // Stripes of two disks are no reason to give any up.
        let mut ranges = Ranges { limit: 100, ..Ranges::default() };
        for at in 0..1000 {
            ranges.extend([range(at * 4, at * 4 + 4), range(9000 + at * 4, 9004 + at * 4)]);
        }
        assert_eq!(ranges.into_sorted(), [range(0, 4000), range(9000, 13000)]);
    }
}
