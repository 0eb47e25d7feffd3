//! Long names: 13 letters of UTF-16 in each of up to 20 entries, the last part first, before the short name they belong to.
//!
//! ```text
//! 0 number, 0x40 on the last part │ 1 five letters │ 11 0x0f │ 13 checksum of the short name │ 14 six letters │ 28 two
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "Long Directory Entries". Parts that are out of order, or whose checksum is
//! another one, were left behind by what knows short names only: they count as nothing. A half of a pair of surrogates without the
//! other is shown as U+FFFD.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::entry::Slot;
use crate::fs::field::{part, u8_at, u16_at};

/// On the number of the last part.
pub(super) const LAST: u8 = 0x40;
/// As many parts have the longest name.
const PARTS_MAX: u8 = 20;
/// Letters in a part.
pub(super) const PART_LEN: usize = 13;

/// Parts of a long name that were met, and wait for the rest.
#[derive(Debug, Default)]
pub(super) struct LongName {
    /// From the last part to the first.
    parts: Vec<[u16; PART_LEN]>,
    checksum: u8,
    /// How many are still to come.
    left: u8,
}

impl LongName {
    /// Takes the part in `slot`; one that does not follow the part before begins anew, or nothing.
    pub(super) fn push(&mut self, slot: &Slot) {
        let number = u8_at(slot, 0);
        let index = number & !LAST;
        if number & LAST != 0 {
            self.forget();
            if !(1..=PARTS_MAX).contains(&index) {
                return;
            }
            self.checksum = u8_at(slot, 13);
            self.left = index;
        }
        if self.left == 0 || index != self.left || self.checksum != u8_at(slot, 13) {
            self.forget();
            return;
        }
        self.left = index.saturating_sub(1);
        let mut letters = [0; PART_LEN];
        letters.iter_mut().zip(places()).for_each(|(letter, at)| *letter = u16_at(slot, at));
        self.parts.push(letters);
    }

    /// Gives up what was met.
    pub(super) fn forget(&mut self) {
        self.parts.clear();
        self.left = 0;
    }

    /// The name, if it is whole and belongs to the short name of `slot`. One that no file can have counts as none.
    pub(super) fn take(&mut self, slot: &Slot) -> Option<String> {
        let is_whole = !self.parts.is_empty() && self.left == 0 && self.checksum == checksum(slot);
        let letters = self.parts.iter().rev().flatten().copied().take_while(|letter| *letter != 0);
        let name: String = char::decode_utf16(letters).map(|found| found.unwrap_or('\u{fffd}')).collect();
        self.forget();
        (is_whole && may_be(&name)).then_some(name)
    }
}

/// Where in a part its letters are.
pub(super) fn places() -> impl Iterator<Item = usize> {
    (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2))
}

/// Whether a file can have this name.
pub(super) fn may_be(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Of a short name: its bytes added up, turned by a bit each time.
pub(super) fn checksum(slot: &Slot) -> u8 {
    part(slot, 0, 11).iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The parts of `name` before the short name of `slot`.
    pub(in super::super) fn parts(name: &str, slot: &Slot) -> Vec<Slot> {
        let mut letters: Vec<u16> = name.encode_utf16().collect();
        if !letters.len().is_multiple_of(PART_LEN) {
            letters.push(0);
        }
        letters.resize(letters.len().next_multiple_of(PART_LEN), 0xffff);
        let count = letters.len() / PART_LEN;
        let slots = letters.chunks(PART_LEN).enumerate().map(|(index, letters)| {
            let mut part = [0; 32];
            part[0] = (index as u8 + 1) | if index + 1 == count { LAST } else { 0 };
            (part[11], part[13]) = (0x0f, checksum(slot));
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
            for (letter, at) in letters.iter().zip(places) {
                part[at..at + 2].copy_from_slice(&letter.to_le_bytes());
            }
            part
        });
        let mut slots: Vec<Slot> = slots.collect();
        slots.reverse();
        slots
    }

    fn joined(slots: &[Slot], short: &Slot) -> Option<String> {
        let mut name = LongName::default();
        slots.iter().for_each(|slot| name.push(slot));
        name.take(short)
    }

    #[test]
    fn names_are_joined_and_orphans_are_not() {
        let mut short: Slot = [b' '; 32];
        short[..3].copy_from_slice(b"A~1");
        for name in ["a", "exactly13char", "fourteen chars", "日本語 😀 ελληνικά кириллица", &"x".repeat(255)]
        {
            let slots = parts(name, &short);
            assert_eq!(joined(&slots, &short).as_deref(), Some(name));
            let other = [b'B'; 32];
            assert_eq!(joined(&slots, &other), None, "another checksum");
            assert_eq!(joined(&slots[1..], &short), None, "without its last part");
            assert_eq!(joined(&slots[..slots.len() - 1], &short), None, "without its first part");
            let twice = [&slots[..1], &slots[..]].concat();
            assert_eq!(joined(&twice, &short).as_deref(), Some(name), "begun anew");
        }
        for name in ["a/b", ".", ".."] {
            assert_eq!(joined(&parts(name, &short), &short), None);
        }
        assert_eq!(joined(&[], &short), None);
        let mut lone = parts("abc", &short);
        lone[0][3..5].copy_from_slice(&0xd800_u16.to_le_bytes());
        assert_eq!(joined(&lone, &short).as_deref(), Some("a\u{fffd}c"));
    }
}
