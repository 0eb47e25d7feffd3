//! Access control lists, which are stored otherwise than getxattr(2) tells them.
//!
//! ```text
//! stored   how many │ entry │ …     entry   0 tag, 4 bytes │ 4 user or group │ 8 permissions, 2 bytes │ 2 unused
//! told     2        │ entry │ …     entry   0 tag, 2 bytes │ 2 permissions │ 4 user or group, or 0xffffffff        little endian
//! ```
//! XFS Algorithms & Data Structures, "Access Control Lists", and acl(5).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::field::{u16_at, u32_at};

const ENTRY_LEN: usize = 12;
const USER: u32 = 0x02;
const GROUP: u32 = 0x08;

/// The list `stored` as getxattr(2) tells it; `None` if it is none.
pub(super) fn told(stored: &[u8]) -> Option<Vec<u8>> {
    let entries = stored.get(4..)?;
    if entries.len() % ENTRY_LEN != 0 || entries.len() / ENTRY_LEN != u32_at(stored, 0) as usize {
        return None;
    }
    let mut list = 2_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let tag = u32_at(entry, 0);
        let who = if matches!(tag, USER | GROUP) { u32_at(entry, 4) } else { u32::MAX };
        list.extend(u16::try_from(tag).ok()?.to_le_bytes());
        list.extend(u16_at(entry, 8).to_le_bytes());
        list.extend(who.to_le_bytes());
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_named_but_users_and_groups() {
        let stored = [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 2, 0, 0, 3, 0xe8, 0, 4, 0, 0];
        let list = [2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3, 0, 0];
        assert_eq!(told(&stored).unwrap(), list);
        assert_eq!(told(&stored[..16]), None);
        assert_eq!(told(&[]), None);
    }
}
