//! An entry of a directory: 32 bytes of a file, a directory, a label, or a part of a long name.
//!
//! ```text
//! 0 name, 8 and 3 │ 11 attributes │ 12 small letters │ 13 made: hundredths │ 14 time │ 16 date │ 18 read: date
//! 20 first cluster, upper half │ 22 changed: time │ 24 date │ 26 first cluster, lower half │ 28 size
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "FAT Directory Structure". The bits of byte 12 are those of
//! Windows NT: a name that has small letters only needs no long one.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::code_page::CodePage;
use super::layout::Width;
use super::times::time;
use crate::fs::Time;
use crate::fs::field::{field, u8_at, u16_at, u32_at};

/// An entry as it is on the disk.
pub(super) type Slot = [u8; 32];

/// Attributes.
pub(super) const READ_ONLY: u8 = 0x01;
const LABEL: u8 = 0x08;
pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const ARCHIVE: u8 = 0x20;
pub(super) const LONG_NAME: u8 = 0x0f;
const LONG_NAME_MASK: u8 = 0x3f;
/// First bytes of names.
const END: u8 = 0;
pub(super) const DELETED: u8 = 0xe5;
/// Stands for 0xe5, which is a letter in Japanese.
const E5: u8 = 0x05;
/// Bits of byte 12.
const SMALL_BASE: u8 = 0x08;
const SMALL_EXTENSION: u8 = 0x10;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Nothing, and nothing behind it.
    End,
    /// Nothing any more.
    Deleted,
    /// A part of a long name.
    LongName,
    /// The label of the volume.
    Label,
    /// `.` or `..`.
    Dots,
    /// A file or a directory.
    Short,
}

/// What `slot` is.
pub(super) fn slot_kind(slot: &Slot) -> SlotKind {
    let attributes = u8_at(slot, 11);
    match u8_at(slot, 0) {
        END => SlotKind::End,
        DELETED => SlotKind::Deleted,
        _ if attributes & LONG_NAME_MASK == LONG_NAME => SlotKind::LongName,
        _ if attributes & LABEL != 0 => SlotKind::Label,
        b'.' if slot.starts_with(b".          ") || slot.starts_with(b"..         ") => SlotKind::Dots,
        _ => SlotKind::Short,
    }
}

/// Whether `slot` is a directory's, be it `.` or `..`.
pub(super) fn is_directory(slot: &Slot) -> bool {
    matches!(slot_kind(slot), SlotKind::Dots | SlotKind::Short) && u8_at(slot, 11) & DIRECTORY != 0
}

/// An entry of a file or a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShortEntry {
    pub(super) attributes: u8,
    pub(super) cluster: u32,
    pub(super) size: u64,
    pub(super) modified: Time,
    pub(super) accessed: Time,
    pub(super) created: Option<Time>,
}

impl ShortEntry {
    pub(super) fn new(slot: &Slot, width: Width) -> Self {
        let high = if width == Width::Fat32 { u32::from(u16_at(slot, 20)) } else { 0 };
        let made = u16_at(slot, 16);
        Self {
            attributes: u8_at(slot, 11),
            cluster: high << 16 | u32::from(u16_at(slot, 26)),
            size: u64::from(u32_at(slot, 28)),
            modified: time(u16_at(slot, 24), u16_at(slot, 22), 0),
            accessed: time(u16_at(slot, 18), 0, 0),
            created: (made != 0).then(|| time(made, u16_at(slot, 14), u8_at(slot, 13))),
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.attributes & READ_ONLY != 0
    }
}

/// The short name of `slot` as it is shown; empty if it has none.
pub(super) fn short_name(slot: &Slot, page: CodePage) -> String {
    let small = u8_at(slot, 12);
    let mut base: [u8; 8] = field(slot, 0);
    if let Some(first) = base.first_mut().filter(|first| **first == E5) {
        *first = DELETED;
    }
    let extension: [u8; 3] = field(slot, 8);
    let mut name = shown(&base, small & SMALL_BASE != 0, page);
    let extension = shown(&extension, small & SMALL_EXTENSION != 0, page);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name
}

fn shown(padded: &[u8], is_small: bool, page: CodePage) -> String {
    let len = padded.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last.saturating_add(1));
    let letter = |byte: &u8| {
        let letter = page.char(*byte);
        if is_small { page.lowered(letter) } else { letter }
    };
    padded.iter().take(len).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &[u8; 11], attributes: u8, small: u8) -> Slot {
        let mut slot = [0; 32];
        slot[..11].copy_from_slice(name);
        (slot[11], slot[12]) = (attributes, small);
        slot
    }

    #[test]
    fn short_names_are_shown_with_small_letters_where_that_is_said() {
        for (name, small, shown) in [
            (b"README  TXT", 0, "README.TXT"),
            (b"README  TXT", 0x08, "readme.TXT"),
            (b"README  TXT", 0x10, "README.txt"),
            (b"README  TXT", 0x18, "readme.txt"),
            (b"A B        ", 0, "A B"),
            (b"\x05BC     D  ", 0, "\u{3c3}BC.D"),
            (b"\x80\x8e      \xe2  ", 0x18, "çä.Γ"),
        ] {
            assert_eq!(short_name(&slot(name, 0x20, small), CodePage::Cp437), shown);
        }
    }

    #[test]
    fn what_entries_are() {
        for (name, attributes, kind) in [
            (b"\0          ", 0, SlotKind::End),
            (b"\xe5BC        ", 0x20, SlotKind::Deleted),
            (b"ABC        ", 0x0f, SlotKind::LongName),
            (b"ABC        ", 0x08, SlotKind::Label),
            (b"ABC        ", 0x28, SlotKind::Label),
            (b".          ", 0x10, SlotKind::Dots),
            (b"..         ", 0x10, SlotKind::Dots),
            (b".A         ", 0x10, SlotKind::Short),
            (b"ABC        ", 0x27, SlotKind::Short),
        ] {
            assert_eq!(slot_kind(&slot(name, attributes, 0)), kind, "{name:?}");
        }
        let mut both = slot(b"ABC        ", 0x10, 0);
        (both[20], both[26]) = (1, 2);
        assert_eq!(ShortEntry::new(&both, Width::Fat32).cluster, 0x1_0002);
        assert_eq!(ShortEntry::new(&both, Width::Fat16).cluster, 2);
    }
}
