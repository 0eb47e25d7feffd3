//! A part of a disk in blocks, as dd(1) counts.
//!
//! ```text
//! 0 ──────── skip ───────────────── skip + count ──── size      in blocks; the last one may be cut short
//!            └──────── excerpt ─────┘
//! ```

use super::ByteRange;

/// Which blocks of a disk are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DdRange {
    /// The bytes of a block; at least 1.
    pub block_len: u64,
    /// The blocks in front of it.
    pub skip: u64,
    /// Its blocks; all to the end if there is no number.
    pub count: Option<u64>,
}

impl DdRange {
    /// Where it lies on a disk of `size` bytes, as far as that reaches; `None` if it begins behind its end.
    pub fn range(&self, size: u64) -> Option<ByteRange> {
        let start = self.skip.checked_mul(self.block_len).filter(|&start| start <= size)?;
        let len = self.count.map_or(u64::MAX, |count| count.saturating_mul(self.block_len));
        Some(ByteRange::between(start, start.saturating_add(len).min(size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_at_the_end_of_the_disk() {
        let range = |block_len, skip, count| DdRange { block_len, skip, count }.range(1000);
        assert_eq!(range(512, 0, None), Some(ByteRange::between(0, 1000)));
        assert_eq!(range(512, 1, Some(1)), Some(ByteRange::between(512, 1000)));
        assert_eq!(range(3, 7, Some(2)), Some(ByteRange::between(21, 27)));
        assert_eq!(range(500, 1, Some(0)), Some(ByteRange::between(500, 500)));
        assert_eq!(range(500, 2, None), Some(ByteRange::between(1000, 1000)));
        assert_eq!(range(1001, 1, None), None);
        assert_eq!(range(2, u64::MAX, Some(1)), None);
        assert_eq!(range(u64::MAX, 0, Some(u64::MAX)), Some(ByteRange::between(0, 1000)));
    }
}
