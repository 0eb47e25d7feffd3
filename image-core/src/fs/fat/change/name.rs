//! Names that are given: the long one as it is, and the short one that goes with it.
//!
//! ```text
//! README.TXT           short alone
//! readme.txt           README.TXT and the long one
//! grub configuration   GRUBCO~1 and the long one: the first number that is free in the directory
//! ```
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, "Long Directory Entries" ("Basis-Name Generation Algorithm"). As Linux
//! does it (`shortname=mixed`), small letters take a long name, and no bits beside the short one. Short names are ASCII, for which
//! code page a reader takes nobody knows.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::refusal::FatRefusal;
use crate::error::Result;
use crate::fs::fat::entry::{LONG_NAME, Slot};
use crate::fs::fat::long_name::{LAST, PART_LEN, checksum, places};
use crate::fs::field::put;

/// Letters of UTF-16 in a name.
const LETTERS_MAX: usize = 255;
/// A number behind `~` is no larger.
const NUMBER_MAX: u32 = 999_999;
/// Bytes of a short name before the dot, and behind it.
const BASE: usize = 8;
const EXTENSION: usize = 3;

/// A short name as an entry has it.
pub(super) type ShortName = [u8; BASE + EXTENSION];

/// `name` as a name that a file of a FAT can have.
pub(super) fn checked(name: &[u8]) -> Result<&str> {
    let refuse = |why| Err(FatRefusal::Name(why).into());
    let Ok(text) = str::from_utf8(name) else { return refuse("it is not UTF-8") };
    if matches!(text, "" | "." | "..") {
        return refuse("it is no name at all");
    }
    if text.chars().any(|letter| letter < ' ' || "\"*/:<>?\\|\u{7f}".contains(letter)) {
        return refuse("it has a control character or one of \" * / : < > ? \\ |");
    }
    if text.ends_with(['.', ' ']) {
        return refuse("it ends with a dot or a space");
    }
    if text.encode_utf16().count() > LETTERS_MAX {
        return refuse("it has more than 255 letters");
    }
    Ok(text)
}

/// The slots of the file `name`, its short one last and with nothing but the name. `is_taken` tells of short names.
///
/// # Errors
/// [`FatRefusal::DirectoryFull`] if all short names are taken.
pub(super) fn slots(name: &str, is_taken: impl Fn(&ShortName) -> bool) -> Result<Vec<Slot>> {
    let basis = Basis::of(name);
    let plain = basis.number(None);
    let mut slot: Slot = [0; 32];
    if basis.is_whole && shown(&plain) == name {
        put(&mut slot, 0, &plain);
        return Ok(vec![slot]);
    }
    let is_free = |short: &ShortName| !is_taken(short);
    let whole = Some(plain).filter(|short| basis.is_whole && is_free(short));
    let numbered = || (1..=NUMBER_MAX).map(|number| basis.number(Some(number))).find(is_free);
    let short = whole.or_else(numbered).ok_or(FatRefusal::DirectoryFull(u64::from(NUMBER_MAX)))?;
    put(&mut slot, 0, &short);
    let mut slots = long_slots(name, &slot);
    slots.push(slot);
    Ok(slots)
}

/// What a short name is made of.
struct Basis {
    base: Vec<u8>,
    extension: Vec<u8>,
    /// Whether nothing but the case of letters is lost in it.
    is_whole: bool,
}

impl Basis {
    fn of(name: &str) -> Self {
        let mut is_whole = true;
        let bare: String = name.chars().filter(|letter| *letter != ' ').collect();
        let bare = bare.trim_start_matches('.');
        is_whole &= bare.len() == name.len();
        let (base, extension) = bare.rsplit_once('.').unwrap_or((bare, ""));
        let mut part = |text: &str, most: usize| {
            let letter = |letter: char| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_uppercase() as u8,
                _ if letter.is_ascii() && "$%'-_@~`!(){}^#&".contains(letter) => letter as u8,
                _ => b'_',
            };
            let bytes: Vec<u8> = text.chars().filter(|letter| *letter != '.').map(letter).collect();
            is_whole &= bytes.len() <= most && text.to_ascii_uppercase().as_bytes() == bytes;
            bytes
        };
        let (mut base, mut extension) = (part(base, BASE), part(extension, EXTENSION));
        if base.is_empty() {
            is_whole = false;
            base.push(b'_');
        }
        base.truncate(BASE);
        extension.truncate(EXTENSION);
        Self { base, extension, is_whole }
    }

    /// The short name, with `~number` at the end of what is before the dot.
    fn number(&self, number: Option<u32>) -> ShortName {
        let mut short = [b' '; BASE + EXTENSION];
        let tail = number.map(|number| format!("~{number}")).unwrap_or_default();
        let room = BASE.saturating_sub(tail.len());
        let kept = self.base.get(..room.min(self.base.len())).unwrap_or_default();
        put(&mut short, 0, kept);
        put(&mut short, kept.len(), tail.as_bytes());
        put(&mut short, BASE, &self.extension);
        short
    }
}

/// `short` as it is written with a dot.
pub(super) fn shown(short: &ShortName) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, extension) = short.split_at(BASE);
    match text(extension) {
        none if none.is_empty() => text(base),
        extension => text(base) + "." + &extension,
    }
}

/// The parts of `name` before the short name of `slot`, in the order in which they are on the disk.
fn long_slots(name: &str, slot: &Slot) -> Vec<Slot> {
    let mut letters: Vec<u16> = name.encode_utf16().collect();
    if !letters.len().is_multiple_of(PART_LEN) {
        letters.push(0);
    }
    letters.resize(letters.len().next_multiple_of(PART_LEN), 0xffff);
    let mut slots: Vec<Slot> = Vec::new();
    for (letters, number) in letters.chunks(PART_LEN).zip(1_u8..) {
        let mut part: Slot = [0; 32];
        put(&mut part, 0, &[number]);
        put(&mut part, 11, &[LONG_NAME]);
        put(&mut part, 13, &[checksum(slot)]);
        letters.iter().zip(places()).for_each(|(letter, at)| put(&mut part, at, &letter.to_le_bytes()));
        slots.push(part);
    }
    if let Some(first) = slots.last_mut().and_then(|part| part.first_mut()) {
        *first |= LAST;
    }
    slots.reverse();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fat::long_name::tests::parts;

    fn short(name: &str, taken: &[&str]) -> String {
        let slots = slots(name, |short| taken.contains(&shown(short).as_str())).unwrap();
        let last = slots.last().unwrap();
        if slots.len() > 1 {
            assert_eq!(slots[..slots.len() - 1], parts(name, last));
        }
        shown(last[..11].try_into().unwrap()) + if slots.len() > 1 { "+" } else { "" }
    }

    #[test]
    fn short_names_are_made() {
        for (name, made) in [
            ("README.TXT", "README.TXT"),
            ("A", "A"),
            ("readme.txt", "README.TXT+"),
            ("Readme", "README+"),
            ("loader.conf", "LOADER~1.CON+"),
            ("grub configuration", "GRUBCO~1+"),
            (".bashrc", "BASHRC~1+"),
            ("a.b.c", "AB~1.C+"),
            ("Größe.txt", "GR__E~1.TXT+"),
            ("日本", "__~1+"),
            ("a+b.c=d", "A_B~1.C_D+"),
            (" ..x", "X~1+"),
            (". .", "_~1+"),
            ("A B", "AB~1+"),
            ("TOO-LONG-NAME.TXT", "TOO-LO~1.TXT+"),
            ("NAME.TEXT", "NAME~1.TEX+"),
            ("{}~!#$%&", "{}~!#$%&"),
        ] {
            assert_eq!(short(name, &[]), made, "{name}");
        }
        assert_eq!(short("readme.txt", &["README.TXT"]), "README~1.TXT+");
        assert_eq!(short("readme.text", &["README~1.TEX", "README~2.TEX"]), "README~3.TEX+");
        let many: Vec<String> = (1..=10).map(|number| format!("ABCDEF~{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(short("abcdefghij", &many), "ABCDE~10+", "another one of eight letters");
        assert!(slots("abcdefghij", |_| true).is_err());
        assert_eq!(short(&"x".repeat(255), &[]), "XXXXXX~1+");
    }

    #[test]
    fn names_that_no_file_has_are_refused() {
        for name in ["a", "ä b.c", " a", ".a", "a+b", &"😀".repeat(127)] {
            assert_eq!(checked(name.as_bytes()).unwrap(), name);
        }
        let long = "x".repeat(256);
        for name in [&b""[..], b".", b"..", b"a/b", b"a:b", b"a\nb", b"a.", b"a ", b"\xff", long.as_bytes()] {
            let error = checked(name).unwrap_err();
            assert!(matches!(error.cause(), Some(FatRefusal::Name(_))), "{name:?}");
        }
        assert!(checked("😀".repeat(128).as_bytes()).is_err());
    }
}
