//! Security attributes of the root directory: they tell whether the files of a filesystem were labelled.
//!
//! ```text
//! inode, behind its own fields   magic │ entry │ entry │ 0 …… values        places count from the first entry
//! a block of its own             header, 32 bytes │ entry │ 0 …… values     places count from the block
//!
//! entry   0 length of the name │ 1 prefix │ 2 place of the value │ 4 inode │ 8 its size │ 16 name, in steps of 4
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extended Attributes").
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::layout::{Ext4Rule, Superblock, field};
use crate::block::BlockRead;
use crate::error::{Doing, Error, Result};

const MAGIC: [u8; 4] = 0xea02_0000_u32.to_le_bytes();
/// Before the entries in a block of their own.
const HEADER_LEN: usize = 32;
/// Of an entry, without its name.
const ENTRY_LEN: usize = 16;
/// The prefix `security.` as a number.
const SECURITY: u8 = 6;

/// The attribute `security.NAME` that the root directory of `disk`, an ext filesystem, has.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a filesystem with impossible tables; whatever the disk says.
pub fn root_security_attribute(disk: &(impl BlockRead + ?Sized), name: &str) -> Result<Option<Vec<u8>>> {
    let doing = || "reading the attributes of the root directory";
    let superblock = Superblock::read(disk)?;
    let groups = superblock.groups(disk)?;
    let Some(group) = groups.first() else { return Ok(None) };
    // The second inode of all.
    let size = superblock.inode_size();
    let offset = group.inode_table.saturating_mul(superblock.block_size).saturating_add(size);
    let mut inode = vec![0; size as usize];
    disk.read_at(&mut inode, offset).doing(doing)?;
    let own_len = usize::from(u16::from_le_bytes(field(&inode, 0x80))).saturating_add(0x80);
    let inside = inode.get(own_len..).unwrap_or_default();
    if let Some(entries) = inside.strip_prefix(&MAGIC)
        && let Some(value) = find(entries, entries, name)
    {
        return Ok(Some(value));
    }
    let (low, high) = (u32::from_le_bytes(field(&inode, 0x68)), u16::from_le_bytes(field(&inode, 0x76)));
    let block = u64::from(low) | u64::from(high) << 32;
    if block == 0 {
        return Ok(None);
    }
    if block >= superblock.block_count {
        let what = "block of the root directory's attributes";
        return Err(Error::corrupt(Ext4Rule::OutsideFilesystem { group: 0, what, block })).doing(doing);
    }
    let mut bytes = vec![0; superblock.block_size as usize];
    disk.read_at(&mut bytes, block.saturating_mul(superblock.block_size)).doing(doing)?;
    let entries = bytes.get(HEADER_LEN..).filter(|_| bytes.starts_with(&MAGIC));
    Ok(entries.and_then(|entries| find(entries, &bytes, name)))
}

/// The value of `security.NAME` among `entries`; places count from the beginning of `values`.
fn find(entries: &[u8], values: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut rest = entries;
    while field::<4>(rest, 0) != [0; 4] {
        let name_end = usize::from(*rest.first()?).saturating_add(ENTRY_LEN);
        let is_it = rest.get(1) == Some(&SECURITY) && rest.get(ENTRY_LEN..name_end)? == name.as_bytes();
        // Large values are inodes of their own; labels are not large.
        if is_it && field::<4>(rest, 4) == [0; 4] {
            let place = usize::from(u16::from_le_bytes(field(rest, 2)));
            let len = u32::from_le_bytes(field(rest, 8)) as usize;
            return values.get(place..place.saturating_add(len)).map(<[u8]>::to_vec);
        }
        rest = rest.get(name_end.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    #[test]
    fn entries_that_lie_are_no_attribute() {
        // `security.selinux` with a value of three bytes at 28.
        let mut entries = vec![7, 6, 28, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        entries.extend(b"selinux\0");
        entries.extend([0; 4]);
        entries.extend(b"a:b");
        assert_eq!(find(&entries, &entries, "selinux").unwrap(), b"a:b");
        assert_eq!(find(&entries, &entries, "selinuy"), None);
        assert_eq!(find(&entries[..20], &entries, "selinux"), None);
        assert_eq!(find(&entries, &entries[..29], "selinux"), None);
        for (at, byte) in [(0, 255), (1, 1), (3, 255), (4, 1), (11, 255)] {
            let mut lies = entries.clone();
            lies[at] = byte;
            assert_eq!(find(&lies, &lies, "selinux"), None, "{at}");
        }
    }
}
