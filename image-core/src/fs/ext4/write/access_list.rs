//! Access control lists: as programs tell them and as an inode stores them, and the mode that goes with one.
//!
//! ```text
//! told     version 2 │ tag, rights, id │ tag, rights, id │ …         8 bytes each
//! stored   version 1 │ tag, rights │ tag, rights, id │ …             the id only where somebody is named
//! ```
//! acl(5), posix_acl_xattr.h; Linux kernel documentation, filesystems/ext4 ("Extended Attributes", "POSIX ACLs").
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::fs::ext4::field::{put, u16_at};

/// The prefix `security.` of attributes.
pub(super) const SECURITY: u8 = 6;

const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Of an entry that names nobody, and of one that does.
const SHORT: usize = 4;
const LONG: usize = 8;

fn len_of(tag: u16) -> usize {
    if matches!(tag, USER | GROUP) { LONG } else { SHORT }
}

/// The stored form of the list `told`, `Some(None)` for one without entries; `None` for what is no list.
pub(super) fn stored(told: &[u8]) -> Option<Option<Vec<u8>>> {
    let entries = told.strip_prefix(&2_u32.to_le_bytes())?;
    if entries.is_empty() {
        return Some(None);
    }
    let (entries, rest) = entries.as_chunks::<8>();
    let mut list = 1_u32.to_le_bytes().to_vec();
    let mut tags = Vec::new();
    for entry in entries {
        let (tag, rights) = (u16_at(entry, 0), u16_at(entry, 2));
        if !matches!(tag, OWNER | USER | OWNING_GROUP | GROUP | MASK | OTHER) || rights > 7 {
            return None;
        }
        tags.push(tag);
        list.extend(entry.get(..len_of(tag))?);
    }
    let count = |wanted: u16| tags.iter().filter(|tag| **tag == wanted).count();
    let names_some = count(USER) > 0 || count(GROUP) > 0;
    // Tags ascend in the order in which they count.
    let is_list = rest.is_empty()
        && tags.is_sorted()
        && [OWNER, OWNING_GROUP, OTHER].into_iter().all(|tag| count(tag) == 1)
        && count(MASK) <= 1
        && (count(MASK) == 1 || !names_some);
    is_list.then_some(Some(list))
}

/// Where the entries of a stored list are: each with its tag.
fn entries(list: &[u8]) -> Vec<(usize, u16)> {
    let mut found = Vec::new();
    let mut at = SHORT;
    while at.saturating_add(SHORT) <= list.len() {
        let tag = u16_at(list, at);
        found.push((at, tag));
        at = at.saturating_add(len_of(tag));
    }
    found
}

fn rights(list: &[u8], wanted: u16) -> Option<u16> {
    let found = entries(list).into_iter().find(|(_, tag)| *tag == wanted);
    found.map(|(at, _)| u16_at(list, at.saturating_add(2)) & 7)
}

/// The nine permission bits that a stored list stands for, and whether it says no more than these.
pub(super) fn mode_of(list: &[u8]) -> (u16, bool) {
    let of = |tag| rights(list, tag).unwrap_or(0);
    let group = rights(list, MASK).unwrap_or_else(|| of(OWNING_GROUP));
    let is_all = entries(list).iter().all(|(_, tag)| matches!(*tag, OWNER | OWNING_GROUP | OTHER));
    (of(OWNER) << 6 | group << 3 | of(OTHER), is_all)
}

/// A stored list as it is after chmod(2).
pub(super) fn with_mode(list: &[u8], mode: u16) -> Vec<u8> {
    let mut list = list.to_vec();
    let found = entries(&list);
    let has_mask = found.iter().any(|(_, tag)| *tag == MASK);
    for (at, tag) in found {
        let rights = match tag {
            OWNER => mode >> 6 & 7,
            OWNING_GROUP if !has_mask => mode >> 3 & 7,
            MASK => mode >> 3 & 7,
            OTHER => mode & 7,
            _ => continue,
        };
        put(&mut list, at.saturating_add(2), &rights.to_le_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(rights.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        list
    }

    #[test]
    fn lists_are_stored_shorter_and_follow_the_mode() {
        let none = u32::MAX;
        let list = told(&[(1, 6, none), (2, 4, 1000), (4, 5, none), (0x10, 7, none), (0x20, 1, none)]);
        let list = stored(&list).unwrap().unwrap();
        assert_eq!(list.len(), 4 + 4 * 4 + 8);
        assert_eq!(mode_of(&list), (0o671, false));
        assert_eq!(mode_of(&with_mode(&list, 0o7750)), (0o750, false));
        let plain = stored(&told(&[(1, 6, none), (4, 4, none), (0x20, 0, none)])).unwrap().unwrap();
        assert_eq!(mode_of(&plain), (0o640, true));
        assert_eq!(stored(&2_u32.to_le_bytes()), Some(None));
        for wrong in [
            &told(&[(1, 6, none), (4, 4, none)])[..],
            &told(&[(1, 6, none), (2, 4, 5), (4, 4, none), (0x20, 0, none)]),
            &told(&[(4, 4, none), (1, 6, none), (0x20, 0, none)]),
            &told(&[(1, 9, none), (4, 4, none), (0x20, 0, none)]),
            &told(&[(1, 6, none)])[..10],
            b"",
        ] {
            assert_eq!(stored(wrong), None);
        }
    }
}
