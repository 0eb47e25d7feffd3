//! Blocks of an inode that are one behind the other, and where on the disk they are.
//!
//! ```text
//! extent, 128 bits   1 never written │ 54 first block, in the file │ 52 first block, on the disk │ 21 how many
//! ```
//! XFS Algorithms & Data Structures, "Data Extents".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::ops::Range;

use super::field::u64_at;

/// The length of an extent.
pub(super) const EXTENT_LEN: usize = 16;
/// No fork has blocks from here on: they are counted with 54 bits.
pub(super) const BLOCKS_END: u64 = 1 << 54;

/// Where a run's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From this block of the disk on.
    Data(u64),
    /// Set aside and never written: zeroes.
    Unwritten,
    /// Nowhere: zeroes.
    Hole,
}

/// Blocks of an inode that are one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted in the inode.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
    pub(super) place: Place,
}

impl Run {
    pub(super) fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// What of it lies in `range`.
    pub(super) fn within(self, range: &Range<u64>) -> Option<Self> {
        let first = self.first.max(range.start);
        let count = self.end().min(range.end).saturating_sub(first);
        let skipped = first.saturating_sub(self.first);
        let place = match self.place {
            Place::Data(block) => Place::Data(block.saturating_add(skipped)),
            other => other,
        };
        (count > 0).then_some(Self { first, count, place })
    }
}

/// An extent as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) count: u64,
    /// The first block, by its number, which is no place yet.
    pub(super) number: u64,
    pub(super) is_written: bool,
}

impl Extent {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (high, low) = (u64_at(bytes, 0), u64_at(bytes, 8));
        Self {
            first: high >> 9 & BLOCKS_END.saturating_sub(1),
            count: low & 0x1f_ffff,
            number: (high & 0x1ff) << 43 | low >> 21,
            is_written: high >> 63 == 0,
        }
    }
}

/// Runs in ascending order, and the range of the inode's blocks that they answer for: what they leave out is a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) covers: Range<u64>,
    pub(super) runs: Vec<Run>,
}

impl Leaf {
    /// The run that `block`, which it covers, is in, from there on; a hole up to the next one.
    pub(super) fn at(&self, block: u64) -> Run {
        let index = self.runs.partition_point(|run| run.end() <= block);
        let end = self.covers.end;
        match self.runs.get(index) {
            Some(run) if run.first <= block => run.within(&(block..end)),
            Some(next) => Some(hole(block, next.first.min(end))),
            None => Some(hole(block, end)),
        }
        .unwrap_or_else(|| hole(block, end))
    }
}

pub(super) fn hole(first: u64, end: u64) -> Run {
    Run { first, count: end.saturating_sub(first), place: Place::Hole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leaf_leaves_out_is_a_hole() {
        let run = |first, count, place| Run { first, count, place };
        let runs =
            vec![run(10, 5, Place::Data(100)), run(15, 2, Place::Unwritten), run(40, 1, Place::Data(7))];
        let leaf = Leaf { covers: 4..50, runs };
        assert_eq!(leaf.at(4), run(4, 6, Place::Hole));
        assert_eq!(leaf.at(12), run(12, 3, Place::Data(102)));
        assert_eq!(leaf.at(16), run(16, 1, Place::Unwritten));
        assert_eq!(leaf.at(17), run(17, 23, Place::Hole));
        assert_eq!(leaf.at(41), run(41, 9, Place::Hole));
        assert_eq!(run(10, 5, Place::Data(100)).within(&(15..20)), None);
    }

    #[test]
    fn extents_are_packed_into_two_numbers() {
        let packed = |bits: u128| Extent::from_bytes(&bits.to_be_bytes());
        let bits = 0x12_3456_789a_bcde_u128 << 73 | 0x8_7654_3210_fedc << 21 | 0x1f_fffe;
        let extent = Extent {
            first: 0x12_3456_789a_bcde,
            count: 0x1f_fffe,
            number: 0x8_7654_3210_fedc,
            is_written: true,
        };
        assert_eq!(packed(bits), extent);
        assert_eq!(packed(bits | 1 << 127), Extent { is_written: false, ..extent });
    }
}
