//! Refcounts as they are in a refcount block: 1 to 64 bits wide.
//!
//! ```text
//! 16 bits (the default)   │ 0: 2 bytes │ 1: 2 bytes │ …        big-endian, as from 8 bits on
//! 2 bits                  │ 3 2 1 0 │ 7 6 5 4 │ …            the first in the least significant bits of a byte
//! ```
//!
//! Section: "Host cluster management".

use super::geometry::Geometry;

/// The counts of one refcount block, which is one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefcountBlock {
    bytes: Vec<u8>,
    bits: usize,
}

impl RefcountBlock {
    /// All zero.
    pub fn new(geometry: Geometry) -> Self {
        Self::from_bytes(geometry, vec![0; geometry.cluster_size() as usize])
    }

    /// As it is on disk: a whole cluster. What is missing counts as zeroes.
    pub fn from_bytes(geometry: Geometry, mut bytes: Vec<u8>) -> Self {
        bytes.resize(geometry.cluster_size() as usize, 0);
        Self { bytes, bits: geometry.refcount_bits() as usize }
    }

    /// As it is on disk.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As it is on disk, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The count at `index`, which is below [`Geometry::refcounts_per_block`].
    pub fn count(&self, index: u64) -> u64 {
        let (at, shift) = self.place(index);
        if self.bits < 8 {
            return u64::from(self.bytes[at] >> shift) & self.mask();
        }
        self.bytes[at..at + self.bits / 8].iter().fold(0, |count, byte| count << 8 | u64::from(*byte))
    }

    /// Sets the count at `index`; `count` is at most [`Geometry::max_refcount`].
    pub fn set_count(&mut self, index: u64, count: u64) {
        debug_assert!(count <= self.mask(), "{count} does not fit into {} bits", self.bits);
        let (at, shift) = self.place(index);
        if self.bits < 8 {
            let others = self.bytes[at] & !((self.mask() as u8) << shift);
            self.bytes[at] = others | (count as u8) << shift;
            return;
        }
        let len = self.bits / 8;
        self.bytes[at..at + len].copy_from_slice(&count.to_be_bytes()[8 - len..]);
    }

    /// The byte and the bit in it where a count starts.
    fn place(&self, index: u64) -> (usize, usize) {
        let first_bit = index as usize * self.bits;
        (first_bit / 8, first_bit % 8)
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(order: u32) -> RefcountBlock {
        RefcountBlock::new(Geometry::new(9, order, false).unwrap())
    }

    #[test]
    fn the_bytes_are_as_the_specification_says() {
        for (order, index, count, at, expect) in [
            (0, 9, 1, 1, vec![0b10]),
            (1, 6, 3, 1, vec![0b11_0000]),
            (2, 1, 0xa, 0, vec![0xa0]),
            (3, 5, 0xfe, 5, vec![0xfe]),
            (4, 2, 0x1234, 4, vec![0x12, 0x34]),
            (5, 1, 0x0102_0304, 4, vec![1, 2, 3, 4]),
            (6, 1, u64::MAX - 1, 8, vec![255, 255, 255, 255, 255, 255, 255, 254]),
        ] {
            let mut block = block(order);
            block.set_count(index, count);
            assert_eq!(block.as_bytes()[at..at + expect.len()], expect, "order {order}");
            assert_eq!(block.count(index), count);
            assert_eq!(block.as_bytes().iter().filter(|byte| **byte != 0).count(), expect.len());
        }
    }

    #[test]
    fn neighbours_keep_their_counts() {
        for order in 0..=6 {
            let mut block = block(order);
            let max = u64::MAX >> (64 - (1 << order));
            let last = 512 * 8 / (1 << order) - 1;
            for index in [0, 1, 2, 3, last - 1, last] {
                block.set_count(index, max);
            }
            block.set_count(1, 0);
            let counts: Vec<_> = [0, 1, 2, 3, 4, last - 1, last].map(|index| block.count(index)).into();
            assert_eq!(counts, [max, 0, max, max, 0, max, max], "order {order}");
        }
    }
}
