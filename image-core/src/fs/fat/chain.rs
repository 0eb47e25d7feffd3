//! The clusters of a file, one behind the other, and where in them a byte is.
//!
//! ```text
//! chain   5 6 7 │ 20 21 │ 9 …
//! marks   0: 5, 3 clusters    3: 20, 2 clusters    5: 9 …
//! ```
//!
//! A chain is walked once, to its end. Where it has more pieces than are kept, every other mark is dropped; what lies between
//! marks is walked again. A chain that leads back into itself is found with one cluster to compare with, which moves on when the
//! way from it has doubled (R. P. Brent, "An improved Monte Carlo factorization algorithm", 1980, section 2).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::FatRule;
use super::table::{Link, Table};
use crate::block::BlockRead;
use crate::error::{Error, Result};

/// How many marks are kept: 768 KiB.
const MARKS_MAX: usize = 1 << 16;

/// Clusters that follow one another on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Which of the chain the first one is.
    index: u32,
    cluster: u32,
    count: u32,
}

/// The clusters of a file or directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    marks: Vec<Mark>,
    /// One of so many pieces gets a mark.
    step: u32,
    pieces: u32,
    count: u32,
}

impl Chain {
    /// The chain from `first` on, up to `limit` clusters; none if that is 0.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`FatRule`] for one that is longer, or does not end.
    pub(super) fn read<D: BlockRead>(table: &Table<D>, first: u32, limit: u32) -> Result<Self> {
        match Self::walk(table, first, limit) {
            (chain, None) => Ok(chain),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`read`](Self::read), with as much of the chain as there is before what is wrong.
    pub(super) fn walk<D: BlockRead>(table: &Table<D>, first: u32, limit: u32) -> (Self, Option<Error>) {
        let mut chain = Self { step: 1, ..Self::default() };
        if first == 0 {
            return (chain, None);
        }
        let (mut at, mut compared, mut way, mut doubled) = (first, first, 0_u32, 1_u32);
        loop {
            let link = match table.next(at) {
                Ok(link) => link,
                Err(error) => return (chain, Some(error)),
            };
            if chain.count >= limit {
                return (chain, Some(Error::corrupt(FatRule::LongChain { first, limit })));
            }
            chain.push(at);
            let what = match link {
                Link::End => return (chain, None),
                Link::Next(next) if next == compared => {
                    return chain.before_loop(table, first, way.saturating_add(1));
                }
                Link::Next(next) => {
                    at = next;
                    way = way.saturating_add(1);
                    if way == doubled {
                        (compared, way, doubled) = (next, 0, doubled.saturating_mul(2));
                    }
                    continue;
                }
                Link::Free => "a free cluster",
                Link::Bad => "a bad cluster",
                Link::Impossible(_) => "a number that no cluster has",
            };
            return (chain, Some(Error::corrupt(FatRule::Chain { first, cluster: at, what })));
        }
    }

    /// The same chain up to where it comes to a cluster again; the way round is `round` long.
    fn before_loop<D: BlockRead>(&self, table: &Table<D>, first: u32, round: u32) -> (Self, Option<Error>) {
        let mut count = 0_u32;
        while count.saturating_add(round) < self.count {
            let here = self.locate(table, count).map(|found| found.0);
            let ahead = self.locate(table, count.saturating_add(round)).map(|found| found.0);
            match (here, ahead) {
                (Ok(here), Ok(ahead)) if here != ahead => count = count.saturating_add(1),
                _ => break,
            }
        }
        let mut chain = self.clone();
        chain.count = count.saturating_add(round).min(self.count);
        (chain, Some(Error::corrupt(FatRule::Loop(first))))
    }

    fn push(&mut self, cluster: u32) {
        let index = self.count;
        self.count = index.saturating_add(1);
        if let Some(last) = self.marks.last_mut()
            && last.index.saturating_add(last.count) == index
            && last.cluster.saturating_add(last.count) == cluster
        {
            last.count = last.count.saturating_add(1);
            return;
        }
        let piece = self.pieces;
        self.pieces = piece.saturating_add(1);
        if piece.checked_rem(self.step) != Some(0) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut is_kept = false;
            self.marks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.step = self.step.saturating_mul(2);
        }
        self.marks.push(Mark { index, cluster, count: 1 });
    }

    /// How many clusters it has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Cluster `index` of the chain, and how many follow it on the disk, itself included.
    pub(super) fn locate<D: BlockRead>(&self, table: &Table<D>, index: u32) -> Result<(u32, u32)> {
        let behind = self.marks.partition_point(|mark| mark.index <= index);
        let Some(mark) = self.marks.get(behind.saturating_sub(1)).filter(|_| index < self.count) else {
            return Err(Error::invalid(format!("the chain has {} clusters", self.count)));
        };
        let inside = index.saturating_sub(mark.index);
        if inside < mark.count {
            let left = mark.count.saturating_sub(inside).min(self.count.saturating_sub(index));
            return Ok((mark.cluster.saturating_add(inside), left));
        }
        let mut cluster = mark.cluster.saturating_add(mark.count).saturating_sub(1);
        for _ in mark.count..=inside {
            match table.next(cluster)? {
                Link::Next(next) => cluster = next,
                _ => return Err(Error::corrupt(FatRule::NoCluster(cluster))),
            }
        }
        Ok((cluster, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Layout, Root, Width};
    use super::*;
    use crate::block::{ByteRange, MemoryDisk};

    fn table(numbers: &[u32]) -> Table<MemoryDisk> {
        let bytes: Vec<u8> = [0, 0].iter().chain(numbers).flat_map(|number| number.to_le_bytes()).collect();
        let (table, end) = (ByteRange::whole(bytes.len() as u64), numbers.len() as u32 + 2);
        let root = Root::Cluster(2);
        let layout = Layout {
            width: Width::Fat32,
            cluster_size: 512,
            table,
            root,
            data: 512,
            end,
            copies: Vec::new(),
            is_dirty: false,
        };
        Table::new(MemoryDisk::from_bytes(bytes), layout)
    }

    const END: u32 = 0x0fff_ffff;

    #[test]
    fn a_chain_is_found_in_pieces() {
        let table = table(&[3, 7, END, 0, 0, 8, 4]);
        let chain = Chain::read(&table, 2, 99).unwrap();
        let found: Vec<_> = (0..5).map(|index| chain.locate(&table, index).unwrap()).collect();
        assert_eq!(found, [(2, 2), (3, 1), (7, 2), (8, 1), (4, 1)]);
        assert!(chain.locate(&table, 5).is_err());
        assert_eq!(Chain::read(&table, 0, 99).unwrap().count(), 0);
        assert!(matches!(Chain::read(&table, 2, 4).unwrap_err().cause(), Some(FatRule::LongChain { .. })));
        assert!(matches!(Chain::read(&table, 5, 4).unwrap_err().cause(), Some(FatRule::Chain { .. })));
        assert!(matches!(Chain::read(&table, 9, 4).unwrap_err().cause(), Some(FatRule::NoCluster(9))));
    }

    #[test]
    fn every_loop_is_found_and_what_is_before_it_stays() {
        for len in 1..40_u32 {
            for back in 0..len {
                let mut numbers: Vec<u32> = (1..=len).map(|index| index + 2).collect();
                *numbers.last_mut().unwrap() = back + 2;
                let (chain, error) = Chain::walk(&table(&numbers), 2, 10_000);
                assert!(matches!(error.unwrap().cause(), Some(FatRule::Loop(2))), "{len} {back}");
                assert_eq!(chain.count(), len, "{len} {back}");
            }
        }
    }

    #[test]
    fn a_chain_of_very_many_pieces_takes_little_memory() {
        // Backwards: no cluster follows another.
        let len = 300_000_u32;
        let mut numbers: Vec<u32> = (0..len).map(|index| index + 1).collect();
        numbers[0] = END;
        let table = table(&numbers);
        let chain = Chain::read(&table, len + 1, len).unwrap();
        assert!(chain.marks.len() <= MARKS_MAX && chain.count() == len);
        for index in (0..len).step_by(997).chain([len - 1]) {
            assert_eq!(chain.locate(&table, index).unwrap(), (len + 1 - index, 1));
        }
    }
}
