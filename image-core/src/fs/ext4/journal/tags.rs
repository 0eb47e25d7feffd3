//! What the journal's own blocks list: descriptors the blocks that copies follow of, revocations those whose copies do not count.
//!
//! ```text
//! descriptor   header, 12 │ tag │ (UUID, 16) │ tag │ tag │ …                            │ CRC, 4
//! tag          block │ checksum, 2 │ flags, 2 │ (block, upper half)       without checksums of blocks, and with those of version 2
//!              block │ flags │ block, upper half │ checksum               version 3
//! revocation   header, 12 │ length │ block │ block │ …                                  │ CRC, 4
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Journal (jbd2)": "Descriptor Block", "Revocation Block").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::{CHECKSUM_V2, CHECKSUM_V3, Journal, WIDE};
use crate::error::{Error, Result};
use crate::fs::ext4::checksum::crc32c;
use crate::fs::ext4::field::{be32_at, field, put, wide};

/// Before what a block lists.
pub(super) const HEADER_LEN: usize = 12;
/// Behind it, where blocks have checksums.
pub(super) const TAIL_LEN: usize = 4;

pub(super) const ESCAPED: u32 = 0x1;
pub(super) const SAME_UUID: u32 = 0x2;
pub(super) const LAST: u32 = 0x8;

/// A tag: the copy that follows is of this block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) block: u64,
    /// Of the copy and its transaction; version 2 has the lower half.
    pub(super) checksum: u32,
    pub(super) is_escaped: bool,
}

/// How a journal writes its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    incompatible: u32,
    seed: u32,
}

impl Form {
    pub(super) fn of(journal: &Journal<'_>) -> Self {
        Self { incompatible: journal.incompatible, seed: journal.seed }
    }

    fn has(self, feature: u32) -> bool {
        self.incompatible & feature != 0
    }

    fn has_tail(self) -> bool {
        self.has(CHECKSUM_V2 | CHECKSUM_V3)
    }

    pub(super) fn tag_len(self) -> usize {
        // Version 2 makes room for a longer checksum behind each tag, and leaves it empty.
        match (self.has(CHECKSUM_V3), self.has(CHECKSUM_V2), self.has(WIDE)) {
            (true, _, _) => 16,
            (_, true, true) => 14,
            (_, true, false) => 10,
            (_, false, true) => 12,
            (_, false, false) => 8,
        }
    }

    /// Whether a block that lists something has its checksum; also where there are none.
    pub(super) fn is_sound(self, block: &[u8]) -> bool {
        if !self.has_tail() {
            return true;
        }
        let end = block.len().saturating_sub(TAIL_LEN);
        crc32c(self.seed, &[block.get(..end).unwrap_or_default(), &[0; TAIL_LEN]]) == be32_at(block, end)
    }

    fn end(self, block: &[u8]) -> usize {
        if self.has_tail() { block.len().saturating_sub(TAIL_LEN) } else { block.len() }
    }

    /// The tags of a descriptor.
    pub(super) fn tags(self, block: &[u8]) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut rest = block.get(HEADER_LEN..self.end(block)).unwrap_or_default();
        while let Some((tag, behind)) = rest.split_at_checked(self.tag_len()) {
            let (flags, high, checksum) = match self.has(CHECKSUM_V3) {
                true => (be32_at(tag, 4), be32_at(tag, 8), be32_at(tag, 12)),
                false => {
                    let half = |at| u32::from(u16::from_be_bytes(field(tag, at)));
                    (half(6), be32_at(tag, 8), half(4))
                }
            };
            let high = if self.has(WIDE) { high } else { 0 };
            tags.push(Tag { block: wide(be32_at(tag, 0), high), checksum, is_escaped: flags & ESCAPED != 0 });
            if flags & LAST != 0 {
                break;
            }
            rest = if flags & SAME_UUID != 0 { behind } else { behind.get(16..).unwrap_or_default() };
        }
        tags
    }

    /// Whether `copy`, of transaction `sequence`, is what `checksum` says; also where there are none.
    pub(super) fn is_copy_sound(self, copy: &[u8], sequence: u32, checksum: u32) -> bool {
        let mask = match (self.has(CHECKSUM_V3), self.has(CHECKSUM_V2)) {
            (true, _) => u32::MAX,
            (_, true) => 0xffff,
            _ => return true,
        };
        self.copy_checksum(copy, sequence) & mask == checksum & mask
    }

    /// The checksum of `copy`, of transaction `sequence`.
    pub(super) fn copy_checksum(self, copy: &[u8], sequence: u32) -> u32 {
        crc32c(self.seed, &[&sequence.to_be_bytes(), copy])
    }

    /// Puts a tag of `block` at `at` of a descriptor.
    ///
    /// # Errors
    /// If its number is too large for this journal.
    pub(super) fn put_tag(
        self,
        descriptor: &mut [u8],
        at: usize,
        block: u64,
        flags: u32,
        checksum: u32,
    ) -> Result<()> {
        let high = (block >> 32) as u32;
        if high != 0 && !self.has(WIDE) {
            let what = format!("block {block} is too far for the numbers of this journal");
            return Err(Error::unsupported(what));
        }
        let mut set = |offset: usize, bytes: &[u8]| put(descriptor, at.saturating_add(offset), bytes);
        set(0, &(block as u32).to_be_bytes());
        if self.has(CHECKSUM_V3) {
            set(4, &flags.to_be_bytes());
            set(8, &high.to_be_bytes());
            set(12, &checksum.to_be_bytes());
            return Ok(());
        }
        if self.has(CHECKSUM_V2) {
            set(4, &(checksum as u16).to_be_bytes());
        }
        set(6, &(flags as u16).to_be_bytes());
        if self.has(WIDE) {
            set(8, &high.to_be_bytes());
        }
        Ok(())
    }

    /// Makes the checksum of a block that lists something, where there is one.
    pub(super) fn put_tail(self, block: &mut [u8]) {
        if self.has_tail() {
            let end = block.len().saturating_sub(TAIL_LEN);
            put(block, end, &[0; TAIL_LEN]);
            let sum = crc32c(self.seed, &[block]);
            put(block, end, &sum.to_be_bytes());
        }
    }

    /// The blocks that a revocation lists.
    pub(super) fn revoked(self, block: &[u8]) -> Vec<u64> {
        let said = be32_at(block, HEADER_LEN) as usize;
        let list = block.get(HEADER_LEN.saturating_add(4)..said.min(self.end(block))).unwrap_or_default();
        match self.has(WIDE) {
            true => list.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect(),
            false => {
                list.as_chunks::<4>().0.iter().map(|bytes| u64::from(u32::from_be_bytes(*bytes))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(words: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        bytes.resize(128, 0);
        bytes
    }

    #[test]
    fn tags_have_five_forms() {
        let form = |incompatible| Form { incompatible, seed: 7 };
        let tag = |block, checksum, is_escaped| Tag { block, checksum, is_escaped };
        // Block 5, escaped; its UUID; block 6, the last one.
        let uuid = [1, 2, 3, 4];
        let old = block(&[&[5, 0x1234_0001], &uuid[..], &[6, 0x000a]].concat());
        assert_eq!(form(0).tags(&old), [tag(5, 0x1234, true), tag(6, 0, false)]);
        let long = block(&[&[5, 0x0000_0001, 9], &uuid[..], &[6, 0x000a, 0]].concat());
        assert_eq!(form(WIDE).tags(&long), [tag(5 | 9 << 32, 0, true), tag(6, 0, false)]);
        let third = block(&[&[5, 1, 9, 0xabcd], &uuid[..], &[6, 10, 0, 1]].concat());
        assert_eq!(form(CHECKSUM_V3).tags(&third), [tag(5, 0xabcd, true), tag(6, 1, false)]);
        assert_eq!(form(CHECKSUM_V3 | WIDE).tags(&third)[0], tag(5 | 9 << 32, 0xabcd, true));
        let mut second = block(&[]);
        second[12..30].copy_from_slice(&[0, 0, 0, 5, 0x12, 0x34, 0, 2, 0, 0, 0, 0, 0, 6, 0, 0, 0, 8]);
        assert_eq!(form(CHECKSUM_V2).tags(&second), [tag(5, 0x1234, false), tag(6, 0, false)]);
        assert_eq!((form(CHECKSUM_V2).tag_len(), form(CHECKSUM_V2 | WIDE).tag_len()), (10, 14));
        // Without a last one, up to the end of the block.
        assert_eq!(form(0).tags(&block(&[0, 2].repeat(40))).len(), (128 - 12) / 8);
        assert_eq!(form(CHECKSUM_V3).tags(&block(&[0, 2, 0, 0].repeat(40))).len(), (128 - 12 - 4) / 16);
    }

    #[test]
    fn tags_are_read_as_they_were_written() {
        for incompatible in [0, WIDE, CHECKSUM_V2, CHECKSUM_V2 | WIDE, CHECKSUM_V3, CHECKSUM_V3 | WIDE] {
            let form = Form { incompatible, seed: 7 };
            let mut descriptor = vec![0; 128];
            let block = if form.has(WIDE) { 5 | 9 << 32 } else { 5 };
            form.put_tag(&mut descriptor, HEADER_LEN, block, ESCAPED, 0xabcd).unwrap();
            let second = HEADER_LEN + form.tag_len() + 16;
            form.put_tag(&mut descriptor, second, 6, SAME_UUID | LAST, 1).unwrap();
            form.put_tail(&mut descriptor);
            assert!(form.is_sound(&descriptor));
            let checksum = if form.has_tail() { 0xabcd } else { 0 };
            let tags = form.tags(&descriptor);
            assert_eq!(tags[0], Tag { block, checksum, is_escaped: true });
            assert_eq!((tags.len(), tags[1].block, tags[1].is_escaped), (2, 6, false));
            assert_eq!(form.put_tag(&mut descriptor, HEADER_LEN, 1 << 32, 0, 0).is_ok(), form.has(WIDE));
        }
    }

    #[test]
    fn revocations_end_where_they_say() {
        let form = |incompatible| Form { incompatible, seed: 7 };
        let list = block(&[24, 3, 4, 5]);
        assert_eq!(form(0).revoked(&list), [3, 4]);
        assert_eq!(form(WIDE).revoked(&list), [3 << 32 | 4]);
        let long = block(&[u32::MAX, 3]);
        assert_eq!(form(0).revoked(&long).len(), (128 - 16) / 4);
        assert_eq!(form(CHECKSUM_V3).revoked(&long).len(), (128 - 20) / 4);
        assert!(form(0).revoked(&block(&[0])).is_empty());
    }
}
