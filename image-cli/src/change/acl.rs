//! Access control lists, as making a file and changing its mode change them.
//!
//! ```text
//! default list of the directory, mode asked for ─► list and mode of what is made; a directory hands the list down, too
//! list of a file, new mode ─► list with the new rights of the owner, of everybody, and of the mask or the group
//! ```
//! acl(5), "OBJECT CREATION AND DEFAULT ACLs" and "CORRESPONDENCE BETWEEN ACL ENTRIES AND FILE PERMISSION BITS"; the bytes are those of
//! `linux/posix_acl_xattr.h`.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// The list that says who may use a file.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list that a directory hands down.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The version that there is.
const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY: usize = 8;
/// Whose rights an entry says: of these four there is one at most.
const OWNER: u16 = 0x01;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    rights: u16,
    id: [u8; 4],
}

impl List {
    /// `None` for what is no list.
    fn of(value: &[u8]) -> Option<Self> {
        let (entries, []) = value.strip_prefix(&VERSION)?.as_chunks::<ENTRY>() else { return None };
        let entry = |bytes: &[u8; ENTRY]| {
            let [tag, tag_high, rights, rights_high, id @ ..] = *bytes;
            let (tag, rights) =
                (u16::from_le_bytes([tag, tag_high]), u16::from_le_bytes([rights, rights_high]));
            Entry { tag, rights, id }
        };
        Some(Self(entries.iter().map(entry).collect()))
    }

    fn bytes(&self) -> Vec<u8> {
        let entry = |own: &Entry| {
            let ([tag, tag_high], [rights, rights_high]) = (own.tag.to_le_bytes(), own.rights.to_le_bytes());
            let [a, b, c, d] = own.id;
            [tag, tag_high, rights, rights_high, a, b, c, d]
        };
        VERSION.into_iter().chain(self.0.iter().flat_map(entry)).collect()
    }

    /// Which entry the mode of the file tells as that of its group.
    fn group(&self) -> u16 {
        if self.0.iter().any(|own| own.tag == MASK) { MASK } else { GROUP }
    }

    /// Whether a mode says less than it.
    fn is_more_than_a_mode(&self) -> bool {
        self.0.iter().any(|own| !matches!(own.tag, OWNER | GROUP | OTHERS))
    }
}

/// What the mode `mode` says of an entry with this tag, of which `group` stands for the group.
fn rights_of(mode: u16, tag: u16, group: u16) -> Option<u16> {
    match tag {
        OWNER => Some(mode >> 6 & 7),
        OTHERS => Some(mode & 7),
        tag if tag == group => Some(mode >> 3 & 7),
        _ => None,
    }
}

/// The mode and the list of what is made with `mode` in a directory with this `default` list; `None` if that is none.
pub(super) fn handed_down(default: &[u8], mode: u16) -> Option<(u16, Option<Vec<u8>>)> {
    let mut list = List::of(default)?;
    let group = list.group();
    let mut made = mode & !0o777;
    for own in &mut list.0 {
        if let Some(rights) = rights_of(mode, own.tag, group) {
            own.rights &= rights;
            made |= match own.tag {
                OWNER => own.rights << 6,
                OTHERS => own.rights,
                _ => own.rights << 3,
            };
        }
    }
    Some((made, list.is_more_than_a_mode().then(|| list.bytes())))
}

/// The list `access` of a file that gets `mode`; `None` if it is none.
pub(super) fn with_mode(access: &[u8], mode: u16) -> Option<Vec<u8>> {
    let mut list = List::of(access)?;
    let group = list.group();
    for own in &mut list.0 {
        own.rights = rights_of(mode, own.tag, group).unwrap_or(own.rights);
    }
    Some(list.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        List(
            entries.iter().map(|(tag, rights)| Entry { tag: *tag, rights: *rights, id: [0xff; 4] }).collect(),
        )
        .bytes()
    }

    #[test]
    fn a_list_handed_down_gives_no_more_than_was_asked_for() {
        let default = list(&[(OWNER, 7), (2, 7), (GROUP, 5), (MASK, 7), (OTHERS, 1)]);
        let access = list(&[(OWNER, 6), (2, 7), (GROUP, 5), (MASK, 6), (OTHERS, 0)]);
        assert_eq!(handed_down(&default, 0o2666), Some((0o2660, Some(access))));
        // Three entries are a mode.
        let default = list(&[(OWNER, 7), (GROUP, 5), (OTHERS, 0)]);
        assert_eq!(handed_down(&default, 0o666), Some((0o640, None)));
        assert_eq!(handed_down(b"\x01\0\0\0", 0o666), None);
        assert_eq!(handed_down(&default[..9], 0o666), None);
    }

    #[test]
    fn a_mode_changes_the_mask_where_there_is_one() {
        let access = list(&[(OWNER, 6), (2, 7), (GROUP, 5), (MASK, 7), (OTHERS, 4)]);
        let changed = list(&[(OWNER, 7), (2, 7), (GROUP, 5), (MASK, 5), (OTHERS, 0)]);
        assert_eq!(with_mode(&access, 0o750), Some(changed));
        let access = list(&[(OWNER, 6), (GROUP, 5), (OTHERS, 4)]);
        assert_eq!(with_mode(&access, 0o701), Some(list(&[(OWNER, 7), (GROUP, 0), (OTHERS, 1)])));
    }
}
