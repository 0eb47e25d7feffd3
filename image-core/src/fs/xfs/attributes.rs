//! Extended attributes: in the inode, in a block, or in a tree of blocks by the hashes of their names.
//!
//! ```text
//! in the inode   0 length │ 2 how many │ entry │ entry …   entry   0 length of the name │ 1 of the value │ 2 flags │ name, value
//! leaf           header │ 0 hash │ 4 place, 6 flags │ hash … │ …… names with values, or where those are
//!                                        └─► 0 length of the value │ 2 of the name │ name, value
//!                                        └─► 0 block of the value │ 4 its length │ 8 of the name │ name
//! ```
//! XFS Algorithms & Data Structures, "Extended Attributes". Names and values are as listxattr(2) and getxattr(2) have them: an
//! access control list is told twice, as it is stored and as acl(5) says.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::HashSet;

use super::Xfs;
use super::access_list::told;
use super::field::{part, u8_at, u16_at, u32_at};
use super::hashes::HashTree;
use super::header::REMOTE;
use super::inode::{Fork, Form, Inode};
use super::rule::{XfsRule, XfsStructure};
use crate::error::{Doing, Error, Result};
use crate::fs::Attribute;

/// Marks of a leaf, before and since version 5, and where its entries begin.
const LEAF: (u16, usize) = (0xfbee, 32);
const LEAF_V5: (u16, usize) = (0x3bee, 80);
/// Where a leaf has the number of its entries: behind what all blocks of a tree begin with.
const COUNT_AT: usize = 12;
const COUNT_AT_V5: usize = 56;
/// The length of an entry of a leaf.
const ENTRY_LEN: usize = 8;
/// Before a value in each of its blocks.
const VALUE_HEADER_LEN: usize = 56;
/// The longest value.
const VALUE_MAX: u32 = 1 << 16;
/// What all values of one inode may have.
const VALUES_LIMIT: usize = 1 << 26;

const LOCAL: u8 = 0x1;
const ROOT: u8 = 0x2;
const SECURE: u8 = 0x4;
/// Where its names are, which is not told to programs.
const PARENT: u8 = 0x8;
/// Being made, or removed.
const INCOMPLETE: u8 = 0x80;

/// Where a value is.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Here(&'a [u8]),
    /// In blocks from this one on, so many bytes.
    Blocks(u64, u32),
}

/// An attribute as it is stored.
#[derive(Debug, PartialEq, Eq)]
struct RawEntry<'a> {
    flags: u8,
    name: &'a [u8],
    value: Value<'a>,
}

/// What the names of a space begin with; `None` for what is not told to programs, `Err` for no space.
fn prefix(flags: u8) -> std::result::Result<Option<&'static str>, &'static str> {
    match flags & (ROOT | SECURE | PARENT) {
        _ if flags & INCOMPLETE != 0 => Ok(None),
        0 => Ok(Some("user.")),
        ROOT => Ok(Some("trusted.")),
        SECURE => Ok(Some("security.")),
        PARENT => Ok(None),
        _ => Err("space"),
    }
}

/// The attributes in an inode.
fn short_form(bytes: &[u8]) -> std::result::Result<Vec<RawEntry<'_>>, &'static str> {
    let bytes = bytes.get(..usize::from(u16_at(bytes, 0))).ok_or("length")?;
    let mut at = 4_usize;
    let mut found = Vec::new();
    for _ in 0..u8_at(bytes, 2) {
        let name_at = at.saturating_add(3);
        let value_at = name_at.saturating_add(usize::from(u8_at(bytes, at)));
        let end = value_at.saturating_add(usize::from(u8_at(bytes, at.saturating_add(1))));
        if end > bytes.len() {
            return Err("entry");
        }
        let flags = u8_at(bytes, at.saturating_add(2)) | LOCAL;
        let value = Value::Here(part(bytes, value_at, end));
        found.push(RawEntry { flags, name: part(bytes, name_at, value_at), value });
        at = end;
    }
    Ok(found)
}

/// The attributes of a leaf, whose entries begin at `entries_at`.
fn leaf(
    bytes: &[u8],
    count_at: usize,
    entries_at: usize,
) -> std::result::Result<Vec<RawEntry<'_>>, &'static str> {
    let count = usize::from(u16_at(bytes, count_at));
    let entries = part(bytes, entries_at, count.saturating_mul(ENTRY_LEN).saturating_add(entries_at));
    if entries.len() / ENTRY_LEN != count {
        return Err("number of entries");
    }
    let mut found = Vec::with_capacity(count);
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let (at, flags) = (usize::from(u16_at(entry, 4)), u8_at(entry, 6));
        let stored = bytes.get(at..).unwrap_or_default();
        let is_local = flags & LOCAL != 0;
        let (len_at, name_at) = if is_local { (2, 3) } else { (8, 9) };
        let name_end = usize::from(u8_at(stored, len_at)).saturating_add(name_at);
        let name = stored.get(name_at..name_end).filter(|name| !name.is_empty()).ok_or("name")?;
        let value = match is_local {
            true => {
                let end = name_end.saturating_add(usize::from(u16_at(stored, 0)));
                Value::Here(stored.get(name_end..end).ok_or("value")?)
            }
            false => Value::Blocks(u64::from(u32_at(stored, 0)), u32_at(stored, 4)),
        };
        found.push(RawEntry { flags, name, value });
    }
    Ok(found)
}

impl Xfs {
    /// The attributes of `inode`, in the order in which they are stored.
    pub(super) fn attributes_of(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let mut list = List { fs: self, inode, all: Vec::new(), left: VALUES_LIMIT };
        if let Some(fork) = &inode.attributes {
            list.read(fork).doing(|| format!("reading the attributes of inode {}", inode.number))?;
        }
        Ok(list.all)
    }
}

/// The attributes of an inode that were read so far.
struct List<'a> {
    fs: &'a Xfs,
    inode: &'a Inode,
    all: Vec<Attribute>,
    /// How much more their values may have.
    left: usize,
}

impl List<'_> {
    fn read(&mut self, fork: &Fork) -> Result<()> {
        match fork.form {
            Form::Local => {
                let entries = short_form(&fork.bytes).map_err(|what| self.wrong(what))?;
                entries.iter().try_for_each(|entry| self.take(fork, entry))
            }
            Form::Extents if fork.count == 0 => Ok(()),
            _ => self.read_leaves(fork),
        }
    }

    /// Reads one leaf after the other; each is met once.
    fn read_leaves(&mut self, fork: &Fork) -> Result<()> {
        let has_sums = self.fs.superblock().has_sums;
        let structure = XfsStructure::Attributes;
        let tree = HashTree { fs: self.fs, fork, root: 0, count: 1, structure };
        let ((mark, entries_at), count_at) = if has_sums { (LEAF_V5, COUNT_AT_V5) } else { (LEAF, COUNT_AT) };
        let mut next = tree.find(0)?;
        let mut seen = HashSet::new();
        while let Some(found) = next {
            if found.mark != mark {
                return Err(self.wrong("mark"));
            }
            let entries = leaf(&found.bytes, count_at, entries_at).map_err(|what| self.wrong(what))?;
            entries.iter().try_for_each(|entry| self.take(fork, entry))?;
            next = match found.next {
                0 => None,
                number if seen.insert(number) => Some(tree.block(number)?),
                _ => return Err(self.wrong("order")),
            };
        }
        Ok(())
    }

    fn take(&mut self, fork: &Fork, entry: &RawEntry<'_>) -> Result<()> {
        let Some(prefix) = prefix(entry.flags).map_err(|what| self.wrong(what))? else { return Ok(()) };
        let value = match entry.value {
            Value::Here(value) => value.to_vec(),
            Value::Blocks(first, len) => self.value(fork, first, len)?,
        };
        let left = self.left.checked_sub(value.len().saturating_add(entry.name.len()));
        self.left = left.ok_or_else(|| {
            Error::unsupported(format!(
                "inode {} has attributes of more than {VALUES_LIMIT} bytes",
                fork.inode
            ))
        })?;
        let list = match entry.name {
            b"SGI_ACL_FILE" if prefix == "trusted." => Some("system.posix_acl_access"),
            b"SGI_ACL_DEFAULT" if prefix == "trusted." => Some("system.posix_acl_default"),
            _ => None,
        };
        if let Some(name) = list {
            let value = told(&value).ok_or_else(|| self.wrong("access list"))?;
            self.all.push(Attribute { name: name.into(), value });
        }
        self.all.push(Attribute { name: [prefix.as_bytes(), entry.name].concat(), value });
        Ok(())
    }

    /// The value of `len` bytes in the blocks from `first` on.
    fn value(&self, fork: &Fork, first: u64, len: u32) -> Result<Vec<u8>> {
        if len > VALUE_MAX {
            return Err(self.wrong("length of a value"));
        }
        let superblock = self.fs.superblock();
        let len = len as usize;
        let mut value = Vec::with_capacity(len);
        let mut number = first;
        while value.len() < len {
            let found = self.fs.fork_block(fork, number, 1)?;
            let (place, bytes) = found.ok_or_else(|| self.wrong("place of a value"))?;
            let left = len.saturating_sub(value.len());
            if superblock.has_sums {
                let structure = XfsStructure::Value(fork.inode, number);
                if !bytes.starts_with(b"XARM") {
                    return Err(XfsRule::foreign(structure, "mark"));
                }
                REMOTE.check(self.fs, &bytes, place, Some(fork.inode), structure)?;
                let here = left.min(bytes.len().saturating_sub(VALUE_HEADER_LEN));
                if (u32_at(&bytes, 4) as usize, u32_at(&bytes, 8) as usize) != (value.len(), here) {
                    return Err(XfsRule::foreign(structure, "length"));
                }
                value.extend(bytes.iter().skip(VALUE_HEADER_LEN).take(here));
            } else {
                value.extend(bytes.iter().take(left));
            }
            number = number.saturating_add(1);
        }
        Ok(value)
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::corrupt(XfsRule::Attributes { inode: self.inode.number, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_entries_lie_one_behind_the_other() {
        let bytes = [0, 14, 2, 0, 1, 2, 0, b'a', 1, 2, 1, 0, 4, b'b', 9];
        let found = short_form(&bytes).unwrap();
        assert_eq!(found[0], RawEntry { flags: LOCAL, name: b"a", value: Value::Here(&[1, 2]) });
        assert_eq!(found[1], RawEntry { flags: SECURE | LOCAL, name: b"b", value: Value::Here(&[]) });
        assert_eq!(short_form(&bytes[..13]), Err("length"));
        let mut lies = bytes;
        lies[9] = 4;
        lies[10] = 3;
        assert_eq!(short_form(&lies), Err("entry"));
        assert_eq!(short_form(&[0; 0]), Ok(Vec::new()));
    }

    #[test]
    fn entries_of_a_leaf_lead_to_their_names() {
        let mut bytes = vec![0; 100];
        bytes[13] = 2;
        bytes[32..48].copy_from_slice(&[0, 0, 0, 1, 0, 60, 1, 0, 0, 0, 0, 2, 0, 70, 2, 0]);
        bytes[60..66].copy_from_slice(&[0, 2, 1, b'x', 7, 8]);
        bytes[70..81].copy_from_slice(&[0, 0, 0, 5, 0, 0, 16, 0, 2, b'y', b'z']);
        let found = leaf(&bytes, 12, 32).unwrap();
        assert_eq!(found[0], RawEntry { flags: LOCAL, name: b"x", value: Value::Here(&[7, 8]) });
        assert_eq!(found[1], RawEntry { flags: ROOT, name: b"yz", value: Value::Blocks(5, 4096) });
        for (at, byte, what) in
            [(12, 1, "number of entries"), (37, 99, "name"), (60, 1, "value"), (62, 0, "name")]
        {
            let mut lies = bytes.clone();
            lies[at] = byte;
            assert_eq!(leaf(&lies, 12, 32), Err(what), "{at}");
        }
    }

    #[test]
    fn spaces_have_prefixes_unless_they_are_not_told() {
        assert_eq!(prefix(LOCAL), Ok(Some("user.")));
        assert_eq!(prefix(ROOT), Ok(Some("trusted.")));
        assert_eq!(prefix(SECURE | LOCAL), Ok(Some("security.")));
        assert_eq!((prefix(PARENT | LOCAL), prefix(INCOMPLETE)), (Ok(None), Ok(None)));
        assert_eq!(prefix(ROOT | SECURE), Err("space"));
    }
}
