//! The blocks of an inode, written down anew: what it has no more is free, what stays is not moved.
//!
//! ```text
//! clusters before │▒▒▒▒▒▒▒▒│        │▒▒▒▒│
//! clusters after  │    ▒▒▒▒│▒▒▒▒▒▒▒▒│          ─► what is above and not below is given back
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::Ext4Writer;
use super::mapping::put_empty;
use crate::error::{Error, Result};
use crate::fs::ext4::inode::{FLAG_EXTENTS, Inode};
use crate::fs::ext4::mapping::each_part;
use crate::fs::ext4::run::{Part, Place, Run};

/// More pieces of one file are not written down anew: of 32 MB of memory.
const RUNS_MAX: usize = 1 << 20;

impl Ext4Writer {
    /// What `inode` has, in order, holes left out.
    pub(super) fn runs_of(&self, inode: &Inode) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        each_part(&self.fs, inode, &mut |part| match part {
            Part::Run(_) if runs.len() >= RUNS_MAX => {
                Err(Error::unsupported("the file lies in too many pieces"))
            }
            Part::Run(run) => {
                runs.push(run);
                Ok(())
            }
            Part::Node { .. } => Ok(()),
        })?;
        Ok(runs)
    }

    /// Has inode `number` have just `runs`, which are in order.
    pub(super) fn set_runs(&mut self, number: u32, runs: &[Run]) -> Result<()> {
        let inode = self.fs.inode(number)?;
        let stays = runs.iter().filter_map(|run| match run.place {
            Place::Data(block) | Place::Unwritten(block) => {
                let last = block.saturating_add(run.count).saturating_sub(1);
                Some(self.cluster_of(block)..self.cluster_of(last).saturating_add(1))
            }
            Place::Hole => None,
        });
        let stays = merged(stays.collect());
        let had = self.clusters_of(&inode)?.into_iter();
        let had = merged(had.map(|(first, count)| first..first.saturating_add(count)).collect());
        let gone = without(&had, &stays).into_iter();
        let gone = gone.map(|range| (range.start, range.end.saturating_sub(range.start))).collect();
        let freed = self.free_clusters(gone)?;
        let has_extents = inode.has(FLAG_EXTENTS);
        self.edit_inode(number, |_, bytes| put_empty(bytes, has_extents))?;
        self.count_clusters(&inode, i64::try_from(freed).unwrap_or(i64::MAX).saturating_neg())?;
        runs.iter().try_for_each(|run| self.append(number, run))
    }

    /// Cuts `inode` behind its first `count` blocks.
    pub(super) fn cut(&mut self, inode: &Inode, count: u64) -> Result<()> {
        let runs = self.runs_of(inode)?;
        match runs.last().is_some_and(|run| run.end() > count) {
            true => self.set_runs(inode.number, &outside(&runs, &(count..u64::MAX))),
            false => Ok(()),
        }
    }
}

/// What of `runs` is not in `range`.
pub(super) fn outside(runs: &[Run], range: &Range<u64>) -> Vec<Run> {
    let before = 0..range.start;
    let behind = range.end..u64::MAX;
    runs.iter().flat_map(|run| [run.within(&before), run.within(&behind)]).flatten().collect()
}

/// `ranges` in order, those that touch as one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// What of `all` is in none of `others`; both are merged.
fn without(all: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut others = others.iter().peekable();
    for range in all {
        let mut at = range.start;
        while let Some(other) = others.peek().filter(|other| other.start < range.end) {
            if at < other.start {
                left.push(at..other.start);
            }
            at = at.max(other.end);
            if other.end > range.end {
                break;
            }
            others.next();
        }
        if at < range.end {
            left.push(at..range.end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_cut_out_of_what_goes() {
        let one = |start: u64, end: u64| std::iter::once(start..end).collect::<Vec<_>>();
        assert_eq!(without(&one(10, 20), &one(12, 15)), [10..12, 15..20]);
        assert_eq!(without(&one(10, 20), &one(0, 10)), one(10, 20));
        assert_eq!(without(&one(10, 20), &one(5, 36)), []);
        assert_eq!(without(&[10..20, 30..40], &one(15, 35)), [10..15, 35..40]);
        assert_eq!(without(&[10..20, 30..40], &[0..12, 13..14, 38..50]), [12..13, 14..20, 30..38]);
        assert_eq!(merged(vec![5..7, 1..3, 3..4, 6..9]), [1..4, 5..9]);
    }

    #[test]
    fn runs_are_cut_at_both_ends() {
        let run = |first, count, block| Run { first, count, place: Place::Data(block) };
        assert_eq!(outside(&[run(0, 10, 100)], &(3..5)), [run(0, 3, 100), run(5, 5, 105)]);
        assert_eq!(outside(&[run(0, 4, 100), run(4, 4, 50)], &(2..6)), [run(0, 2, 100), run(6, 2, 52)]);
        assert_eq!(outside(&[run(8, 1, 1)], &(2..6)), [run(8, 1, 1)]);
    }
}
