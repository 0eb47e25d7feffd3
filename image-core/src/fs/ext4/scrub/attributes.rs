//! Attributes: what lies between the last name and the first value, and between values, is nobody's.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Scrub;
use crate::error::Result;
use crate::fs::ext4::attributes::{ENTRY_LEN, HEADER_LEN};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{field, u16_at, u32_at};
use crate::fs::ext4::inode::Inode;
use crate::fs::ext4::write::attributes::put_block_checksum;

/// Wipes what is in none of the entries that begin at `start` of `bytes`, nor in their values, which count from `base`.
pub(super) fn wipe_gap(bytes: &mut [u8], start: usize, base: usize) {
    let mut at = start;
    let mut values = Vec::new();
    while at.saturating_add(4) <= bytes.len() && u32_at(bytes, at) != 0 {
        let name = usize::from(field::<1>(bytes, at)[0]);
        let (place, len) =
            (usize::from(u16_at(bytes, at.saturating_add(2))), u32_at(bytes, at.saturating_add(8)) as usize);
        if u32_at(bytes, at.saturating_add(4)) == 0 && len > 0 {
            let begin = base.saturating_add(place);
            // Its hash is of whole words: what fills up the last one stays.
            values.push((begin, begin.saturating_add(len).next_multiple_of(4)));
        }
        let end = at.saturating_add(ENTRY_LEN).saturating_add(name);
        at = end.next_multiple_of(4);
        bytes.get_mut(end..at).unwrap_or_default().fill(0);
    }
    values.sort_unstable();
    for (begin, end) in values {
        if begin > at {
            bytes.get_mut(at..begin).unwrap_or_default().fill(0);
        }
        at = at.max(end);
    }
    bytes.get_mut(at..).unwrap_or_default().fill(0);
}

impl Scrub<'_> {
    /// Wipes the block of attributes of `inode`.
    pub(super) fn attribute_block(&mut self, inode: &Inode) -> Result<()> {
        let number = inode.attribute_block;
        if number == 0 || !self.attribute_blocks.insert(number) {
            return Ok(());
        }
        let (seed, has_sums) = (self.fs.superblock().seed, self.fs.superblock().has(features::METADATA_CSUM));
        self.edit_block(number, |bytes| {
            let before = bytes.to_vec();
            wipe_gap(bytes, HEADER_LEN, 0);
            if has_sums && before != bytes {
                put_block_checksum(seed, number, bytes);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_stay_and_all_else_goes() {
        let mut bytes = vec![0xaa; 80];
        // `user.ab` with five bytes at 60, and one without a value.
        bytes[..24].copy_from_slice(&[
            2, 1, 60, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9, 9, 9, 9, b'a', b'b', 7, 7, 1, 1, 0, 0,
        ]);
        bytes[24..48].fill(0);
        bytes[36] = b'c';
        wipe_gap(&mut bytes, 0, 0);
        assert_eq!(bytes[12..20], [9, 9, 9, 9, b'a', b'b', 0, 0]);
        assert_eq!(bytes[36], b'c');
        assert_eq!(bytes[40..60], [0; 20]);
        assert_eq!(bytes[60..68], [0xaa; 8]);
        assert_eq!(bytes[68..], [0; 12]);
    }
}
