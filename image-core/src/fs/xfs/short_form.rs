//! Directories in their inode.
//!
//! ```text
//! 0 how many │ 1 how many inodes are wide, the parent too │ 2 parent, 4 or 8 bytes │ entry │ entry …
//! entry   0 length │ 1 where it would be in a block │ 3 name │ its kind, if there are kinds │ inode, 4 or 8 bytes
//! ```
//! XFS Algorithms & Data Structures, "Short Form Directories".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::directory::{RawEntry, is_name, kind_of};
use super::field::{part, u8_at, u32_at, u64_at};

/// The names in `bytes`; `Err` is what is wrong with them. Where the next one is is not told.
pub(super) fn entries(bytes: &[u8], has_kinds: bool) -> std::result::Result<Vec<RawEntry<'_>>, &'static str> {
    let count = u8_at(bytes, 0);
    let inode_len: usize = if u8_at(bytes, 1) == 0 { 4 } else { 8 };
    let mut at = inode_len.saturating_add(2);
    let mut found = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let name_at = at.saturating_add(3);
        let kind_at = name_at.saturating_add(usize::from(u8_at(bytes, at)));
        let inode_at = kind_at.saturating_add(usize::from(has_kinds));
        let next = inode_at.saturating_add(inode_len);
        if next > bytes.len() {
            return Err("an entry of an impossible length");
        }
        let name = part(bytes, name_at, kind_at);
        if !is_name(name) {
            return Err("a name that no file can have");
        }
        let inode = if inode_len == 4 { u64::from(u32_at(bytes, inode_at)) } else { u64_at(bytes, inode_at) };
        let kind = if has_kinds { kind_of(u8_at(bytes, kind_at)) } else { None };
        found.push(RawEntry { name, inode, kind, next });
        at = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::NodeKind;

    #[test]
    fn inodes_are_narrow_or_wide() {
        let narrow =
            [2, 0, 0, 0, 0, 128, 1, 0, 96, b'a', 2, 0, 0, 0, 131, 2, 0, 112, b'b', b'c', 1, 0, 0, 0, 132];
        let found = entries(&narrow, true).unwrap();
        assert_eq!(found[0], RawEntry { name: b"a", inode: 131, kind: Some(NodeKind::Directory), next: 15 });
        assert_eq!((found[1].name, found[1].inode), (&b"bc"[..], 132));
        let wide = [1, 1, 0, 0, 0, 0, 0, 0, 0, 128, 1, 0, 96, b'a', 0, 0, 0, 1, 0, 0, 0, 5];
        assert_eq!(entries(&wide, false).unwrap()[0].inode, 1 << 32 | 5);
        assert_eq!(entries(&[0; 6], true), Ok(Vec::new()));
        assert_eq!(entries(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 128], true), Ok(Vec::new()), "a wide parent alone");
    }

    #[test]
    fn entries_lie_within_the_inode() {
        let bytes = [1, 0, 0, 0, 0, 128, 1, 0, 96, b'a', 2, 0, 0, 0, 131];
        assert_eq!(entries(&bytes[..14], true), Err("an entry of an impossible length"));
        for (at, byte) in [(6, 0), (9, b'/'), (9, 0)] {
            let mut lies = bytes;
            lies[at] = byte;
            assert!(entries(&lies, true).is_err(), "{at}");
        }
    }
}
