//! Sparse files: where there is data, and a map of that for the archive.
//!
//! ```text
//! number of ranges\n │ offset\n length\n │ offset\n length\n │ … zeroes up to a block │ the data of all ranges
//! ```
//! GNU tar manual, "Storing Sparse Files", format 1.0.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use image_core::block::{BlockRead, ByteRange, ExtentKind};

use super::header::BLOCK;

/// So much of a file is asked about at once, in bytes.
const STRETCH: u64 = 1 << 30;
/// More ranges than these, and it is stored whole.
const RANGES_MAX: usize = 1 << 18;
/// Files that are missing less than this are stored whole, in bytes.
const WORTH: u64 = 4096;

/// Where `content` has data.
pub(super) fn data_of(content: &dyn BlockRead) -> crate::Result<Vec<ByteRange>> {
    let mut ranges: Vec<ByteRange> = Vec::new();
    let mut at = 0_u64;
    while at < content.size() {
        let stretch = ByteRange::between(at, at.saturating_add(STRETCH).min(content.size()));
        for extent in content.extents(stretch)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
            match ranges.last_mut() {
                Some(last) if last.end() == extent.range.offset() => {
                    *last = ByteRange::between(last.offset(), extent.range.end());
                }
                _ => ranges.push(extent.range),
            }
        }
        if ranges.len() > RANGES_MAX {
            return Ok(vec![ByteRange::whole(content.size())]);
        }
        at = stretch.end();
    }
    Ok(ranges)
}

/// The data of a sparse file, as an archive has it.
pub(super) struct Map {
    ranges: Vec<ByteRange>,
    text: Vec<u8>,
}

impl Map {
    /// Of a file of `size` bytes with data in `ranges`; `None` for one that is better stored whole.
    pub(super) fn of(ranges: &[ByteRange], size: u64) -> Option<Self> {
        let stored: u64 = ranges.iter().map(|range| range.len()).sum();
        if size.saturating_sub(stored) < WORTH {
            return None;
        }
        let mut ranges = ranges.to_vec();
        // Where it ends is told by an empty range.
        if ranges.last().is_none_or(|last| last.end() < size) {
            ranges.push(ByteRange::between(size, size));
        }
        let mut text = format!("{}\n", ranges.len());
        for range in &ranges {
            text.push_str(&format!("{}\n{}\n", range.offset(), range.len()));
        }
        let mut text = text.into_bytes();
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        Some(Self { ranges, text })
    }

    /// The map itself.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What follows the map.
    pub(super) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.ranges.iter().copied()
    }

    /// How many bytes the map and the data have.
    pub(super) fn stored_len(&self) -> u64 {
        self.ranges().map(ByteRange::len).sum::<u64>().saturating_add(self.text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_tells_where_data_is_and_where_the_file_ends() {
        let map = Map::of(&[ByteRange::between(4096, 8192)], 1 << 20).unwrap();
        assert!(map.text().starts_with(b"2\n4096\n4096\n1048576\n0\n\0"));
        assert_eq!((map.text().len(), map.stored_len()), (512, 512 + 4096));
        assert!(Map::of(&[ByteRange::between(0, 8192)], 8192 + 4095).is_none());
        assert!(Map::of(&[], 4096).unwrap().text().starts_with(b"1\n4096\n0\n"));
    }
}
