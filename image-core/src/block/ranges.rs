//! Ranges of a disk that are collected, in memory that is bounded however many there are.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::ByteRange;
use crate::error::{Error, Result};

/// More ranges are not kept: 64 MiB of them.
const LIMIT: usize = 1 << 22;

/// What must hold for ranges that are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangesRule {
    /// None overlaps another.
    #[error("what is at {0:#x} is told twice")]
    Twice(u64),
    /// None overlaps what is in use.
    #[error("what is at {0:#x} is told as free, and is in use")]
    InUse(u64),
}

/// Ranges of which none may overlap another. Where there are too many, the shortest are left out: whoever collects must be right
/// with fewer.
#[derive(Debug)]
pub(crate) struct Ranges {
    list: Vec<ByteRange>,
    /// What nothing in the list may overlap.
    used: Vec<ByteRange>,
    /// What is taken out of the list.
    left: Vec<ByteRange>,
    /// What was found wrong when there were too many.
    broken: Option<RangesRule>,
    limit: usize,
    /// Shorter ones are left out.
    shortest: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { list: Vec::new(), used: Vec::new(), left: Vec::new(), broken: None, limit: LIMIT, shortest: 1 }
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
            self.broken = self.broken.or(sort(&mut self.list));
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

    /// Says that `range` is in use.
    pub(crate) fn add_used(&mut self, range: ByteRange) {
        match self.used.last_mut() {
            Some(last) if last.end() == range.offset() => {
                *last = ByteRange::between(last.offset(), range.end());
            }
            _ => self.used.push(range),
        }
    }

    /// Takes `range` out of all that are added, before and behind; says whether there is room for it.
    #[must_use]
    pub(crate) fn leave(&mut self, range: ByteRange) -> bool {
        self.left.push(range);
        self.left.len() < LIMIT
    }

    /// All that were kept, in their order and as long as they can be.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`RangesRule`].
    pub(crate) fn into_sorted(mut self) -> Result<Vec<ByteRange>> {
        let broken = self.broken.or(sort(&mut self.list)).or_else(|| {
            let overlaps = |used: &ByteRange| {
                let first = self.list.partition_point(|range| range.end() <= used.offset());
                self.list.get(first)?.intersection(*used)
            };
            let both = self.used.iter().filter(|used| !used.is_empty()).find_map(overlaps)?;
            Some(RangesRule::InUse(both.offset()))
        });
        match broken {
            Some(rule) => Err(Error::corrupt(rule)),
            None if self.left.is_empty() => Ok(self.list),
            None => Ok(without(&self.list, self.left)),
        }
    }
}

/// What of `list` is in none of `left`.
fn without(list: &[ByteRange], mut left: Vec<ByteRange>) -> Vec<ByteRange> {
    left.sort_unstable_by_key(|range| range.offset());
    let (mut kept, mut left) = (Vec::new(), left.into_iter().peekable());
    for range in list {
        let mut at = range.offset();
        while let Some(next) = left.peek().filter(|next| next.offset() < range.end()) {
            kept.push(ByteRange::between(at, next.offset()));
            at = at.max(next.end());
            // The rest of it may be in what comes next.
            if next.end() > range.end() {
                break;
            }
            left.next();
        }
        kept.push(ByteRange::between(at, range.end()));
    }
    kept.retain(|range| !range.is_empty());
    kept
}

/// Puts `list` in order and makes one of neighbours; says what is wrong with it.
fn sort(list: &mut Vec<ByteRange>) -> Option<RangesRule> {
    list.sort_unstable_by_key(|range| range.offset());
    let pairs = list.iter().zip(list.iter().skip(1));
    let mut overlaps = pairs.filter(|(range, next)| range.end() > next.offset());
    let broken = overlaps.next().map(|(_, next)| RangesRule::Twice(next.offset()));
    list.dedup_by(|next, range| {
        let is_behind = range.end() == next.offset();
        if is_behind {
            *range = ByteRange::between(range.offset(), next.end());
        }
        is_behind
    });
    broken
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
        assert_eq!(ranges.into_sorted().unwrap(), [range(10, 50), range(60, 61)]);
    }

    #[test]
    fn of_too_many_the_longest_stay() {
        let mut ranges = Ranges { limit: 100, ..Ranges::default() };
        for at in 0..1000 {
            // Every tenth is long.
            ranges.add(range(at * 1000, at * 1000 + if at % 10 == 0 { 500 } else { 1 }));
        }
        let kept = ranges.into_sorted().unwrap();
        assert!(
            kept.len() <= 100
                && kept.iter().filter(|range| range.len() == 500).count() == 100.min(kept.len())
        );
        // Stripes of two disks are no reason to give any up.
        let mut ranges = Ranges { limit: 100, ..Ranges::default() };
        for at in 0..1000 {
            ranges.extend([range(at * 4, at * 4 + 4), range(9000 + at * 4, 9004 + at * 4)]);
        }
        assert_eq!(ranges.into_sorted().unwrap(), [range(0, 4000), range(9000, 13000)]);
    }
    #[test]
    fn what_contradicts_itself_is_refused() {
        let rule = |limit, list: &[ByteRange], used: &[ByteRange]| {
            let mut ranges = Ranges { limit, ..Ranges::default() };
            ranges.extend(list.iter().copied());
            used.iter().for_each(|used| ranges.add_used(*used));
            ranges.into_sorted().map_err(|error| error.cause().copied())
        };
        let twice = |at| Err(Some(RangesRule::Twice(at)));
        assert_eq!(rule(9, &[range(0, 10), range(20, 31), range(30, 40)], &[]), twice(30));
        assert_eq!(rule(9, &[range(30, 40), range(50, 60), range(30, 40)], &[]), twice(30));
        assert_eq!(rule(9, &[range(30, 40), range(20, 50)], &[]), twice(30));
        // Of three the shortest would not be kept.
        assert_eq!(rule(3, &[range(20, 31), range(30, 32), range(60, 90)], &[]), twice(30));
        let in_use = |at| Err(Some(RangesRule::InUse(at)));
        let free = [range(0, 10), range(20, 30)];
        assert_eq!(rule(9, &free, &[range(10, 12), range(12, 20), range(25, 25)]), Ok(free.to_vec()));
        assert_eq!(rule(9, &free, &[range(10, 12), range(12, 21)]), in_use(20));
        assert_eq!(rule(9, &free, &[range(40, 50), range(9, 30)]), in_use(9));
        assert_eq!(rule(9, &free, &[range(22, 23)]), in_use(22));
    }
    #[test]
    fn what_is_left_is_in_none() {
        let left = |left: &[ByteRange]| {
            let mut ranges = Ranges::default();
            ranges.extend([range(10, 20), range(30, 40), range(50, 60)]);
            assert!(left.iter().all(|range| ranges.leave(*range)));
            ranges.into_sorted().unwrap()
        };
        assert_eq!(left(&[range(0, 10), range(20, 30)]), left(&[]));
        assert_eq!(left(&[range(55, 70), range(5, 12)]), [range(12, 20), range(30, 40), range(50, 55)]);
        assert_eq!(left(&[range(15, 55), range(16, 17), range(33, 57)]), [range(10, 15), range(57, 60)]);
        assert_eq!(
            left(&[range(32, 34), range(32, 33), range(36, 38)]),
            [range(10, 20), range(30, 32), range(34, 36), range(38, 40), range(50, 60)]
        );
        assert_eq!(left(&[range(0, 99)]), []);
    }
}
