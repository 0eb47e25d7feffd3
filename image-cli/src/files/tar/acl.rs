//! Access control lists as text: as the kernel tells them in bytes, and as archives have them in words.
//!
//! ```text
//! version 2 │ tag, rights, number │ tag, rights, number │ …      user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::r--
//! ```
//! acl(5), "SHORT TEXT FORM"; `linux/posix_acl_xattr.h`. Numbers stay numbers: names are another machine's.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::files::owners::Owners;

/// The version that there is.
const VERSION: [u8; 4] = [2, 0, 0, 0];
/// The length of an entry.
const ENTRY: usize = 8;

/// `value` of `system.posix_acl_access` or `…_default` as text; `None` for what is none.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&VERSION)?;
    if !entries.len().is_multiple_of(ENTRY) || entries.is_empty() {
        return None;
    }
    let words: Option<Vec<String>> = entries.chunks_exact(ENTRY).map(entry).collect();
    Some(words?.join(","))
}

fn entry(bytes: &[u8]) -> Option<String> {
    let [tag, tag_high, rights, rights_high, id @ ..] = bytes else { return None };
    let id = u32::from_le_bytes(id.try_into().ok()?);
    let (who, has_id) = match u16::from_le_bytes([*tag, *tag_high]) {
        0x01 => ("user", false),
        0x02 => ("user", true),
        0x04 => ("group", false),
        0x08 => ("group", true),
        0x10 => ("mask", false),
        0x20 => ("other", false),
        _ => return None,
    };
    let rights = u16::from_le_bytes([*rights, *rights_high]);
    let letter = |bit, letter| if rights & bit != 0 { letter } else { '-' };
    let number = if has_id { id.to_string() } else { String::new() };
    Some(format!("{who}:{number}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
}

/// The bytes of a list that is `text`, in the same form, perhaps with the names of `owners`; `None` for what is none, and for other
/// names.
pub(super) fn bytes(text: &str, owners: &Owners) -> Option<Vec<u8>> {
    /// Of entries that are nobody's in particular.
    const NOBODY: u32 = u32::MAX;
    let mut entries = Vec::new();
    for word in text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
        let mut fields = word.split(':');
        let (who, name, rights) = (fields.next()?, fields.next()?, fields.next()?);
        let (tag, id): (u16, u32) = match (who, name) {
            ("user" | "u", "") => (0x01, NOBODY),
            ("user" | "u", id) => (0x02, owners.uid(id)?),
            ("group" | "g", "") => (0x04, NOBODY),
            ("group" | "g", id) => (0x08, owners.gid(id)?),
            ("mask" | "m", "") => (0x10, NOBODY),
            ("other" | "o", "") => (0x20, NOBODY),
            _ => return None,
        };
        let mut bits = 0_u16;
        for letter in rights.chars() {
            bits |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        entries.push((tag, id, bits));
    }
    // The kernel takes them in this order (posix_acl_valid).
    entries.sort_unstable();
    let mut value = VERSION.to_vec();
    for (tag, id, bits) in &entries {
        value.extend(tag.to_le_bytes());
        value.extend(bits.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    (!entries.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_told_in_words() {
        let nobody = Owners::default();
        let mut value = VERSION.to_vec();
        for (tag, rights, id) in
            [(1_u16, 7_u16, u32::MAX), (2, 5, 1000), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 4, 0)]
        {
            value.extend(tag.to_le_bytes());
            value.extend(rights.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        assert_eq!(
            bytes("other::r--\ngroup::r-x,user:1000:r-x,mask::r-x,u::rwx", &nobody).unwrap()[..12],
            value[..12]
        );
        assert_eq!(
            (bytes("user:ann:r--", &nobody), bytes("", &nobody), bytes("user::rz-", &nobody)),
            (None, None, None)
        );
        assert_eq!(text(&value).unwrap(), "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::r--");
        assert_eq!(text(&value[..value.len() - 1]), None);
        assert_eq!(text(b""), None);
        assert_eq!(text(&[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
