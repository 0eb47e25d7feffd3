//! Extended attributes: in the inode behind its own fields, in a block of their own, and large ones in inodes of their own.
//!
//! ```text
//! inode, behind its own fields   magic │ entry │ entry │ 0 …… values        places count from the first entry
//! a block of its own             header, 32 bytes │ entry │ 0 …… values     places count from the block
//!
//! entry   0 length of the name │ 1 prefix │ 2 place of the value │ 4 its inode, or 0 │ 8 its size │ 16 name, in steps of 4
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Extended Attributes"), and acl(5) for access control lists, which are stored
//! shorter than getxattr(2) tells them. Order and values are as listxattr(2) and getxattr(2) have them.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::blocks::Block;
use super::checksum::crc32c;
use super::field::{field, u16_at, u32_at};
use super::inode::{FLAG_EA_INODE, Inode};
use super::rule::{Checksummed, Ext4Rule};
use super::run;
use super::{Ext4, features};
use crate::block::ByteRange;
use crate::error::{Doing, Error, Result};
use crate::fs::node::Attribute;

pub(super) const MAGIC: [u8; 4] = 0xea02_0000_u32.to_le_bytes();
/// Before the entries in a block of their own.
pub(super) const HEADER_LEN: usize = 32;
/// Of an entry, without its name.
pub(super) const ENTRY_LEN: usize = 16;
/// What a kernel takes for a value.
const VALUE_LIMIT: u64 = 1 << 24;
/// What all values of one inode may have.
const VALUES_LIMIT: u64 = 1 << 25;

/// The prefix of what the filesystem itself keeps as attributes, and its name for content.
pub(super) const SYSTEM: u8 = 7;
pub(super) const CONTENT: &[u8] = b"data";

/// The prefixes of access control lists, which have no name behind them.
pub(super) const ACCESS_LIST: u8 = 2;
pub(super) const DEFAULT_LIST: u8 = 3;

/// An entry, and where its value is.
pub(super) struct RawEntry<'a> {
    pub(super) prefix: u8,
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

pub(super) enum Value<'a> {
    Here(&'a [u8]),
    Inode(u32, u64),
}

/// What a prefix stands for, and whether a name follows; `None` for what is not told to programs.
fn prefix(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        8 => "system.richacl",
        10 => "gnu.",
        // Lustre's, the filesystem's own, encryption's context.
        _ => return None,
    })
}

/// The prefix of an attribute's name and the rest of it; `None` for a name that none can have.
pub(super) fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    (1..=10).find_map(|number| {
        let prefix = prefix(number)?;
        let rest = name.strip_prefix(prefix.as_bytes())?;
        // A name follows where the prefix says so.
        (prefix.ends_with('.') != rest.is_empty()).then_some((number, rest))
    })
}

/// The entries of `area`; places of values count from the beginning of `values`.
pub(super) fn entries<'a>(
    area: &'a [u8],
    values: &'a [u8],
) -> std::result::Result<Vec<RawEntry<'a>>, &'static str> {
    let mut found = Vec::new();
    let mut rest = area;
    while rest.len() >= 4 && field::<4>(rest, 0) != [0; 4] {
        let [name_len, prefix] = field(rest, 0);
        let name_end = ENTRY_LEN.saturating_add(usize::from(name_len));
        let name = rest.get(ENTRY_LEN..name_end).ok_or("name")?;
        let (place, len) = (usize::from(u16_at(rest, 2)), u32_at(rest, 8));
        let value = match u32_at(rest, 4) {
            0 if len == 0 => Value::Here(&[]),
            0 => Value::Here(values.get(place..place.saturating_add(len as usize)).ok_or("value")?),
            inode => Value::Inode(inode, u64::from(len)),
        };
        found.push(RawEntry { prefix, name, value });
        rest = rest.get(name_end.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

impl Ext4 {
    /// The extended attributes of `inode`, those in the inode first.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with an [`Ext4Rule`]; whatever the disk says.
    pub fn attributes(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let doing = || format!("reading the attributes of inode {}", inode.number);
        let mut all = Vec::new();
        let mut left = VALUES_LIMIT;
        self.each_entry(inode, &mut |entry| {
            let Some(prefix) = prefix(entry.prefix) else { return Ok(()) };
            let len = match entry.value {
                Value::Here(value) => value.len() as u64,
                Value::Inode(_, len) => len,
            };
            left = left.checked_sub(len).ok_or_else(|| wrong(inode, "size"))?;
            let value = self.value(inode, &entry)?;
            let is_list = matches!(entry.prefix, 2 | 3);
            let value =
                if is_list { access_list(&value).ok_or_else(|| wrong(inode, "access list"))? } else { value };
            all.push(Attribute { name: [prefix.as_bytes(), entry.name].concat(), value });
            Ok(())
        })
        .doing(doing)?;
        Ok(all)
    }

    /// The value of the extended attribute `name` of `inode`.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn attribute(&self, inode: &Inode, name: &str) -> Result<Option<Vec<u8>>> {
        let all = self.attributes(inode)?;
        Ok(all.into_iter().find(|found| found.name == name.as_bytes()).map(|found| found.value))
    }

    /// What of an inode's content does not fit where its blocks would be told.
    pub(super) fn inline_value(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut content = None;
        if let Some(area) = inode.inside.strip_prefix(&MAGIC) {
            let found = entries(area, area).map_err(|what| wrong(inode, what))?;
            for entry in found.iter().filter(|entry| entry.prefix == SYSTEM && entry.name == CONTENT) {
                content = Some(self.value(inode, entry)?);
            }
        }
        Ok(content.unwrap_or_default())
    }

    fn each_entry(&self, inode: &Inode, each: &mut dyn FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
        if let Some(area) = inode.inside.strip_prefix(&MAGIC) {
            entries(area, area).map_err(|what| wrong(inode, what))?.into_iter().try_for_each(&mut *each)?;
        }
        let Some(block) = self.attribute_block(inode)? else { return Ok(()) };
        let area = block.get(HEADER_LEN..).unwrap_or_default();
        entries(area, &block).map_err(|what| wrong(inode, what))?.into_iter().try_for_each(each)
    }

    /// The block of attributes of `inode`, checked; `None` if it has none.
    pub(super) fn attribute_block(&self, inode: &Inode) -> Result<Option<Block>> {
        let number = inode.attribute_block;
        if number == 0 {
            return Ok(None);
        }
        run::check(self, inode, number, 1)?;
        let block = self.blocks().block(number)?;
        // One block of header and entries: the third field is how many blocks there are.
        if !block.starts_with(&MAGIC) || u32_at(&block, 8) != 1 {
            return Err(wrong(inode, "mark"));
        }
        let (before, behind) = (block.get(..16).unwrap_or_default(), block.get(20..).unwrap_or_default());
        let sum = crc32c(self.superblock().seed, &[&number.to_le_bytes(), before, &[0; 4], behind]);
        if self.superblock().has(features::METADATA_CSUM) && sum != u32_at(&block, 16) {
            return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Attributes(inode.number, number))));
        }
        Ok(Some(block))
    }

    fn value(&self, inode: &Inode, entry: &RawEntry<'_>) -> Result<Vec<u8>> {
        let (number, len) = match entry.value {
            Value::Here(value) => return Ok(value.to_vec()),
            Value::Inode(number, len) => (number, len),
        };
        let holder = self.inode(number)?;
        if !holder.has(FLAG_EA_INODE) || holder.size != len || len > VALUE_LIMIT {
            return Err(wrong(inode, "inode of a value"));
        }
        let mut value = vec![0; len as usize];
        self.read_runs(&holder, &mut value, ByteRange::whole(len))?;
        // Its checksum is where others have the time of their last reading; Lustre's say whose they are instead.
        let found = holder.accessed.seconds as u32;
        let is_lustres =
            holder.modified.seconds as u32 == inode.number && holder.generation == inode.generation;
        if crc32c(self.superblock().seed, &[&value]) != found && !is_lustres {
            return Err(Error::corrupt(Ext4Rule::Checksum(Checksummed::Value(number))));
        }
        Ok(value)
    }
}

pub(super) fn wrong(inode: &Inode, what: &'static str) -> Error {
    Error::corrupt(Ext4Rule::Attributes { inode: inode.number, what })
}

/// An access control list as getxattr(2) tells it: version 2, and eight bytes for each entry, of which ext4 leaves out the last
/// four where nobody is named.
fn access_list(stored: &[u8]) -> Option<Vec<u8>> {
    let mut rest = stored.strip_prefix(&1_u32.to_le_bytes())?;
    let mut list = 2_u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let tag = u16_at(rest, 0);
        // A user's or a group's.
        let len = if matches!(tag, 0x02 | 0x08) { 8 } else { 4 };
        list.extend(rest.get(..len)?);
        if len == 4 {
            list.extend([0xff; 4]);
        }
        rest = rest.get(len..)?;
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_lie_are_not_read() {
        // `security.selinux` with a value of three bytes at 28.
        let mut area = vec![7, 6, 28, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        area.extend(b"selinux\0");
        area.extend([0; 4]);
        area.extend(b"a:b");
        let found = entries(&area, &area).unwrap();
        let [RawEntry { prefix: 6, name: b"selinux", value: Value::Here(b"a:b") }] = &found[..] else {
            panic!("another entry");
        };
        assert_eq!(entries(&area[..20], &area).err(), Some("name"));
        assert_eq!(entries(&area, &area[..29]).err(), Some("value"));
        for (at, byte, what) in [(0, 255, "name"), (3, 255, "value"), (11, 255, "value")] {
            let mut lies = area.clone();
            lies[at] = byte;
            assert_eq!(entries(&lies, &lies).err(), Some(what), "{at}");
        }
        area[4] = 1;
        assert!(matches!(entries(&area, &area).unwrap()[0].value, Value::Inode(1, 3)));
    }

    #[test]
    fn names_have_a_prefix_and_a_rest() {
        assert_eq!(split_name(b"user.a.b"), Some((1, &b"a.b"[..])));
        assert_eq!(split_name(b"system.posix_acl_default"), Some((DEFAULT_LIST, &b""[..])));
        assert_eq!(split_name(b"security.capability"), Some((6, &b"capability"[..])));
        for name in ["user.", "system.posix_acl_accessx", "system.data", "other.x", ""] {
            assert_eq!(split_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn access_lists_are_told_longer_than_they_are_stored() {
        let stored = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 0, 0];
        let told = [
            2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 0, 0, 0xff,
            0xff, 0xff, 0xff,
        ];
        assert_eq!(access_list(&stored).unwrap(), told);
        assert_eq!(access_list(&stored[..10]), None);
        assert_eq!(access_list(&stored[4..]), None);
    }
}
