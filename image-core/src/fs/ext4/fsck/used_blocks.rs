//! Which blocks are in use: a bit for each, and nothing at all for long ranges that are wholly in use.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashMap;

/// Blocks whose bits are kept together: 4 KiB of them.
const PIECE: u64 = 1 << 15;
const WORDS: usize = 1 << 9;

/// Blocks that are somebody's.
#[derive(Debug, Default)]
pub(in super::super) struct UsedBlocks {
    pieces: HashMap<u64, Piece>,
}

#[derive(Debug)]
enum Piece {
    Part { words: Box<[u64; WORDS]>, count: u64 },
    Whole,
}

impl UsedBlocks {
    /// Marks `count` blocks from `first` on as used. The first of them that was used already, if there is one.
    pub(super) fn mark(&mut self, first: u64, count: u64) -> Option<u64> {
        let end = first.saturating_add(count);
        let mut twice = None;
        let mut at = first;
        while at < end {
            let number = at / PIECE;
            let piece_end = number.saturating_add(1).saturating_mul(PIECE);
            let upto = end.min(piece_end);
            let empty = || Piece::Part { words: Box::new([0; WORDS]), count: 0 };
            let piece = self.pieces.entry(number).or_insert_with(empty);
            let found = piece.mark(at % PIECE, upto.saturating_sub(at));
            twice = twice.or(found.map(|inside| number.saturating_mul(PIECE).saturating_add(inside)));
            at = upto;
        }
        twice
    }

    /// The blocks of `range` that are nobody's, as runs: first and how many.
    pub(in super::super) fn free_in(&self, range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        let mut runs = Vec::new();
        let mut begun = None;
        let mut at = range.start;
        while at < range.end {
            // Whole pieces and words go in one step.
            let (is_claimed, len) = self.same_from(at);
            let end = at.saturating_add(len).min(range.end);
            match (is_claimed, begun) {
                (false, None) => begun = Some(at),
                (true, Some(first)) => {
                    runs.push((first, at.saturating_sub(first)));
                    begun = None;
                }
                _ => {}
            }
            at = end;
        }
        if let Some(first) = begun {
            runs.push((first, range.end.saturating_sub(first)));
        }
        runs
    }

    /// Whether `block` is somebody's, and how many from it on surely are the same.
    fn same_from(&self, block: u64) -> (bool, u64) {
        let left = PIECE.saturating_sub(block % PIECE);
        match self.pieces.get(&(block / PIECE)) {
            None => (false, left),
            Some(Piece::Whole) => (true, left),
            Some(Piece::Part { words, .. }) => {
                let word = words.get((block % PIECE / 64) as usize).copied().unwrap_or(0) >> (block % 64);
                let is_claimed = word & 1 != 0;
                let same = if is_claimed { (!word).trailing_zeros() } else { word.trailing_zeros() };
                (is_claimed, u64::from(same).min(64_u64.saturating_sub(block % 64)).max(1))
            }
        }
    }
}

impl Piece {
    fn mark(&mut self, first: u64, len: u64) -> Option<u64> {
        let Self::Part { words, count } = self else { return Some(first) };
        let end = first.saturating_add(len);
        let mut twice = None;
        for index in first / 64..end.div_ceil(64) {
            let start = index.saturating_mul(64);
            let from = first.saturating_sub(start);
            let upto = end.saturating_sub(start).min(64);
            let below = |bits: u64| if bits >= 64 { u64::MAX } else { (1_u64 << bits).wrapping_sub(1) };
            let mask = below(upto) & !below(from);
            let Some(word) = words.get_mut(index as usize) else { continue };
            let again = *word & mask;
            if again != 0 && twice.is_none() {
                twice = Some(start.saturating_add(u64::from(again.trailing_zeros())));
            }
            *word |= mask;
            *count = count.saturating_add(u64::from((mask & !again).count_ones()));
        }
        if *count >= PIECE {
            *self = Self::Whole;
        }
        twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_twice_is_told_and_what_is_left_is_found() {
        let mut used_blocks = UsedBlocks::default();
        assert_eq!(used_blocks.mark(10, 5), None);
        assert_eq!(used_blocks.mark(63, 130), None);
        assert_eq!(used_blocks.mark(0, 11), Some(10));
        assert_eq!(used_blocks.mark(192, 1), Some(192));
        assert_eq!(used_blocks.free_in(0..200), [(15, 48), (193, 7)]);
        assert_eq!(used_blocks.mark(193, PIECE * 3), None);
        assert!(matches!(used_blocks.pieces[&1], Piece::Whole));
        assert_eq!(used_blocks.mark(PIECE + 5, 1), Some(PIECE + 5));
        assert_eq!(used_blocks.free_in(0..PIECE * 3 + 200), [(15, 48), (PIECE * 3 + 193, 7)]);
        assert_eq!(used_blocks.free_in(PIECE * 9..PIECE * 9 + 3), [(PIECE * 9, 3)]);
    }
}
