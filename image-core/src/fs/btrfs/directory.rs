//! Names of a directory: each one twice, by its hash to be looked up, by a number that counts up to be listed.
//!
//! ```text
//! DIR_ITEM  directory, hash     name │ another name with the same hash …
//! DIR_INDEX directory, number   name
//!
//! name   0 key of what it names, 17 bytes │ 25 length of data │ 27 length of name │ 29 kind │ 30 name │ data
//! ```
//! A key of a tree's root names a subvolume. Extended attributes are stored in the same way, with their values as data.
//! Btrfs documentation, "On-disk format" (btrfs_dir_item).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Btrfs;
use super::checksum::name_hash;
use super::field::{u8_at, u16_at};
use super::key::{DIR_INDEX, DIR_ITEM, EMPTY_DIRECTORY, INODE_ITEM, KEY_LEN, Key, ROOT_ITEM};
use super::rule::BtrfsRule;
use super::tree::Cursor;
use crate::error::{Doing, Error, Result};
use crate::fs::{Node, NodeEntry, NodeId, NodeKind};

/// Of a name without the name.
const NAME_LEN: usize = 30;

/// A name in an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) target: Key,
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// The value of an attribute.
    pub(super) data: &'a [u8],
    /// All of it, as it is stored.
    pub(super) bytes: &'a [u8],
}

/// The names in `item`; else the field that makes no sense.
pub(super) fn names(item: &[u8]) -> std::result::Result<Vec<Name<'_>>, &'static str> {
    let mut all = Vec::new();
    let mut rest = item;
    while !rest.is_empty() {
        let data_len = usize::from(u16_at(rest, KEY_LEN.saturating_add(8)));
        let name_len = usize::from(u16_at(rest, KEY_LEN.saturating_add(10)));
        let name_end = NAME_LEN.saturating_add(name_len);
        let (bytes, behind) = rest.split_at_checked(name_end.saturating_add(data_len)).ok_or("length")?;
        let name = bytes.get(NAME_LEN..name_end).filter(|name| !name.is_empty()).ok_or("name")?;
        let data = bytes.get(name_end..).unwrap_or_default();
        all.push(Name { target: Key::at(bytes, 0), kind: u8_at(bytes, 29), name, data, bytes });
        rest = behind;
    }
    Ok(all)
}

/// What a name in a directory says that it names.
fn kind_of(number: u8) -> Option<NodeKind> {
    Some(match number {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3 => NodeKind::CharacterDevice,
        4 => NodeKind::BlockDevice,
        5 => NodeKind::Pipe,
        6 => NodeKind::Socket,
        7 => NodeKind::Link,
        _ => return None,
    })
}

fn wrong(directory: NodeId, what: &'static str) -> Error {
    let NodeId { subvolume: tree, number: object } = directory;
    Error::corrupt(BtrfsRule::Item { tree, object, item: "directory entry", what })
}

impl Btrfs {
    /// What `name` names in the directory `id`.
    pub(super) fn lookup_name(&self, id: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let doing = || format!("looking up a name in inode {} of subvolume {}", id.number, id.subvolume);
        self.find_name(id, name).doing(doing)
    }

    fn find_name(&self, id: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let tree = self.subvolume_tree(id.subvolume)?;
        let Some(item) = tree.get(self.blocks(), Key::new(id.number, DIR_ITEM, name_hash(name)))? else {
            return Ok(None);
        };
        let names = names(&item).map_err(|what| wrong(id, what))?;
        names.iter().find(|found| found.name == name).map(|found| self.target(id, found)).transpose()
    }

    /// What `name` in `directory` names: an inode of the same subvolume, or the root of another.
    fn target(&self, directory: NodeId, name: &Name<'_>) -> Result<NodeId> {
        match name.target.kind {
            INODE_ITEM => Ok(NodeId { number: name.target.object, ..directory }),
            ROOT_ITEM => {
                let is_here = self.is_subvolume_at(directory, name.target.object, name.name)?;
                let elsewhere = NodeId { number: EMPTY_DIRECTORY, ..directory };
                if is_here { self.root_of(name.target.object) } else { Ok(elsewhere) }
            }
            _ => Err(wrong(directory, "target")),
        }
    }

    /// The names in `directory`, in the order in which they were made.
    pub(super) fn read_directory(&self, directory: &Node) -> Result<ReadDirectory<'_>> {
        let tree = self.subvolume_tree(directory.id.subvolume)?;
        let cursor = tree.items(self.blocks(), directory.id.number, DIR_INDEX);
        Ok(ReadDirectory { fs: self, directory: directory.id, cursor: Some(cursor) })
    }
}

/// The names in a directory, one after the other. Behind an error there is nothing more.
pub(super) struct ReadDirectory<'a> {
    fs: &'a Btrfs,
    directory: NodeId,
    cursor: Option<Cursor<'a>>,
}

impl ReadDirectory<'_> {
    fn step(&mut self) -> Result<Option<NodeEntry>> {
        let wrong = |what| wrong(self.directory, what);
        let Some(item) = self.cursor.as_mut().and_then(Cursor::next).transpose()? else { return Ok(None) };
        let names = names(&item).map_err(wrong)?;
        let [name] = names.as_slice() else { return Err(wrong("count of names")) };
        if name.name.iter().any(|byte| matches!(byte, 0 | b'/')) || matches!(name.name, b"." | b"..") {
            return Err(wrong("name"));
        }
        let id = self.fs.target(self.directory, name)?;
        Ok(Some(NodeEntry { name: name.name.to_vec(), id, kind: kind_of(name.kind) }))
    }
}

impl Iterator for ReadDirectory<'_> {
    type Item = Result<NodeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let NodeId { subvolume, number } = self.directory;
        let doing = || format!("reading the directory of inode {number} of subvolume {subvolume}");
        let step = self.step().doing(doing).transpose();
        if !matches!(step, Some(Ok(_))) {
            self.cursor = None;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_hash_are_one_behind_the_other() {
        let name = |object: u8, name: &[u8], data: &[u8]| {
            let mut bytes = vec![0; NAME_LEN];
            bytes[0] = object;
            bytes[8] = INODE_ITEM;
            bytes[25] = data.len() as u8;
            bytes[27] = name.len() as u8;
            bytes[29] = 2;
            [&bytes, name, data].concat()
        };
        let item = [name(1, b"one", b"value"), name(2, b"two", b"")].concat();
        let found = names(&item).unwrap();
        assert_eq!((found[0].name, found[0].data), (&b"one"[..], &b"value"[..]));
        assert_eq!((found[1].name, found[1].target.object, found[1].kind), (&b"two"[..], 2, 2));
        assert_eq!([found[0].bytes, found[1].bytes].concat(), item);
        assert_eq!(names(&item[..item.len() - 1]), Err("length"));
        assert_eq!(names(&name(1, b"", b"x")), Err("name"));
    }
}
