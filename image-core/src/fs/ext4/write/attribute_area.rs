//! Entries of attributes laid out in the place that they have: in an inode behind its own fields, or in a block.
//!
//! ```text
//! entries from the front │ 0 0 0 0 │ …… │ values from the end, each in steps of 4
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extended Attributes"). In a block the entries are sorted and have hashes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::fs::ext4::attributes::{ENTRY_LEN, HEADER_LEN, MAGIC};
use crate::fs::ext4::field::put;

/// A value, as it is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Here(Vec<u8>),
    /// In an inode of its own, with its length and its checksum.
    Inode {
        number: u32,
        len: u64,
        sum: u32,
    },
}

/// An attribute, as it is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) prefix: u8,
    pub(super) name: Vec<u8>,
    pub(super) value: Stored,
}

impl Entry {
    pub(super) fn is(&self, (prefix, name): (u8, &[u8])) -> bool {
        self.prefix == prefix && self.name == name
    }

    fn len(&self) -> usize {
        ENTRY_LEN.saturating_add(self.name.len()).next_multiple_of(4)
    }

    fn value_len(&self) -> usize {
        match &self.value {
            Stored::Here(value) => value.len().next_multiple_of(4),
            Stored::Inode { .. } => 0,
        }
    }

    /// Of its name and value, by which a kernel finds blocks that are the same.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        let step = |hash: u32, word: u32| hash.rotate_left(16) ^ word;
        match &self.value {
            Stored::Inode { sum, .. } => step(name, *sum),
            Stored::Here(value) => value.chunks(4).fold(name, |hash, piece| {
                let mut word = [0; 4];
                put(&mut word, 0, piece);
                step(hash, u32::from_le_bytes(word))
            }),
        }
    }
}

/// Lays `entries` out from `start` of `area` on, up to its end; `false`, and nothing is changed, if they do not fit.
fn lay_out(area: &mut [u8], start: usize, entries: &[Entry], has_hashes: bool) -> bool {
    let needed: usize = entries.iter().map(|entry| entry.len().saturating_add(entry.value_len())).sum();
    // Four zeroes end the list.
    if needed.saturating_add(4) > area.len().saturating_sub(start) {
        return entries.is_empty();
    }
    area.get_mut(start..).unwrap_or_default().fill(0);
    let (mut at, mut end) = (start, area.len());
    for entry in entries {
        let (place, inode, len) = match &entry.value {
            Stored::Here(value) => {
                end = end.saturating_sub(entry.value_len());
                put(area, end, value);
                (if value.is_empty() { 0 } else { end as u16 }, 0, value.len() as u32)
            }
            Stored::Inode { number, len, .. } => (0, *number, *len as u32),
        };
        let hash = if has_hashes || inode != 0 { entry.hash() } else { 0 };
        put(area, at, &[entry.name.len() as u8, entry.prefix]);
        put(area, at.saturating_add(2), &place.to_le_bytes());
        for (offset, word) in [(4_usize, inode), (8, len), (12, hash)] {
            put(area, at.saturating_add(offset), &word.to_le_bytes());
        }
        put(area, at.saturating_add(ENTRY_LEN), &entry.name);
        at = at.saturating_add(entry.len());
    }
    true
}

/// Puts `entries` into `area`, all that is behind an inode's own fields; `false`, and nothing is changed, if they do not fit.
pub(super) fn put_inside(area: &mut [u8], entries: &[Entry]) -> bool {
    let Some((mark, rest)) = area.split_at_mut_checked(MAGIC.len()) else { return entries.is_empty() };
    let fits = lay_out(rest, 0, entries, false);
    if fits {
        mark.copy_from_slice(if entries.is_empty() { &[0; 4] } else { &MAGIC });
    }
    fits
}

/// Puts `entries` into `block`, which one inode uses; `false`, and nothing is changed, if they do not fit. Its checksum is not made.
pub(super) fn put_block(block: &mut [u8], entries: &[Entry]) -> bool {
    let mut sorted = entries.to_vec();
    let key = |entry: &Entry| (entry.prefix, entry.name.len(), entry.name.clone());
    sorted.sort_by_key(key);
    if !lay_out(block, HEADER_LEN, &sorted, true) {
        return false;
    }
    block.get_mut(..HEADER_LEN).unwrap_or_default().fill(0);
    let hash = sorted.iter().fold(0_u32, |hash, entry| hash.rotate_left(16) ^ entry.hash());
    put(block, 0, &MAGIC);
    put(block, 4, &[1, 0, 0, 0, 1]);
    put(block, 12, &hash.to_le_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ext4::attributes::{RawEntry, Value, entries};

    #[test]
    fn entries_are_read_as_they_were_laid_out() {
        let entry = |name: &[u8], value| Entry { prefix: 1, name: name.to_vec(), value };
        let all = [
            entry(b"long", Stored::Here(vec![7; 10])),
            entry(b"b", Stored::Here(Vec::new())),
            entry(b"a", Stored::Inode { number: 9, len: 70_000, sum: 3 }),
        ];
        let mut block = vec![9; 256];
        assert!(put_block(&mut block, &all));
        let found = entries(&block[HEADER_LEN..], &block).unwrap();
        let [
            RawEntry { prefix: 1, name: b"a", value: Value::Inode(9, 70_000) },
            RawEntry { name: b"b", value: Value::Here(b""), .. },
            RawEntry { name: b"long", value: Value::Here(long), .. },
        ] = &found[..]
        else {
            panic!("other entries");
        };
        assert_eq!(*long, [7; 10]);
        let mut area = vec![9; 4 + 3 * 20 + 12 + 4];
        assert!(put_inside(&mut area, &all));
        assert_eq!(entries(&area[4..], &area[4..]).unwrap().len(), 3);
        let before = area.clone();
        assert!(!put_inside(&mut area[..], &[&all[..], &all[1..2]].concat()));
        assert_eq!(area, before);
        assert!(put_inside(&mut area, &[]) && area.iter().all(|byte| *byte == 0));
        assert!(put_inside(&mut [], &[]) && !put_inside(&mut [], &all));
    }
}
