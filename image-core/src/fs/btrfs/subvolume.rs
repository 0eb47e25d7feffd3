//! Subvolumes: trees of files, each with a name in a directory of another.
//!
//! ```text
//! ROOT_REF     parent, subvolume      0 directory │ 8 number │ 16 length of the name │ 18 name
//! ROOT_BACKREF subvolume, parent      the same
//! ```
//! A name leads to a subvolume only if there is a ROOT_REF for it: in a snapshot there is none for those that were in its
//! source. Btrfs documentation, "On-disk format" (btrfs_root_ref) and "Subvolumes".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::sync::Arc;

use super::Btrfs;
use super::field::u16_at;
use super::key::{FIRST_OBJECT, FS_TREE, INODE_REF, Key, ROOT_BACKREF, ROOT_ITEM, ROOT_TREE, is_subvolume};
use super::roots::{checked_root, reference};
use super::rule::BtrfsRule;
use crate::error::{Doing, Error, Result};
use crate::fs::node::{NodeId, SubvolumeChoice};

/// The longest path that is told, and how much all of them may have, in bytes.
const PATH_LIMIT: usize = 1 << 16;
const PATHS_LIMIT: usize = 1 << 24;
/// What a step on a path takes besides the name.
const STEP_COST: usize = 16;

/// A subvolume, or a snapshot of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number, as `subvolid=` has it: 5 for the one at the top.
    pub id: u64,
    /// The subvolume that its name is in; `None` for the one at the top and those that have no name.
    pub parent: Option<u64>,
    /// Its path from the top, without a leading `/`; empty for the one at the top, `None` if there is no way from there.
    pub path: Option<Vec<u8>>,
    /// Whether it is read-only.
    pub is_read_only: bool,
    /// Whether it is what is mounted if no other is asked for.
    pub is_default: bool,
    /// The transaction that last changed it.
    pub generation: u64,
    /// Its UUID; all zeroes for one of an old kernel.
    pub uuid: [u8; 16],
}

impl Btrfs {
    /// All subvolumes, by their numbers; without those that are being deleted.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`BtrfsRule`]; whatever the disk says.
    pub fn subvolumes(&self) -> Result<Vec<Subvolume>> {
        let doing = || "listing the subvolumes";
        let default = self.default_subvolume().doing(doing)?;
        let mut all: Vec<Subvolume> = Vec::new();
        let mut left = PATHS_LIMIT;
        for item in self.root_tree().range(self.blocks(), Key::new(FS_TREE, ROOT_ITEM, 0), Key::MAX) {
            let item = item.doing(doing)?;
            let id = item.key.object;
            if item.key.kind != ROOT_ITEM || !is_subvolume(id) {
                continue;
            }
            let found = checked_root(id, &item).doing(doing)?;
            if found.references == 0 {
                continue;
            }
            // Of several with one number the last one counts.
            all.pop_if(|last| last.id == id);
            all.push(Subvolume {
                id,
                parent: self.place_of(id).doing(doing)?.map(|place| place.directory.subvolume),
                path: self.path_of(id, &mut left).doing(doing)?,
                is_read_only: found.is_read_only,
                is_default: id == default,
                generation: found.root.generation,
                uuid: found.uuid,
            });
        }
        Ok(all)
    }

    /// The same filesystem as it is seen from another subvolume.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if there is no such subvolume; else as [`subvolumes`](Self::subvolumes).
    pub fn open_subvolume(&self, choice: SubvolumeChoice<'_>) -> Result<Self> {
        let id = match choice {
            SubvolumeChoice::Id(0) => FS_TREE,
            SubvolumeChoice::Id(id) => id,
            SubvolumeChoice::Path(path) => self.subvolume_at(path)?,
        };
        match self.opened_subvolume(id) {
            Ok(_) => Ok(Self { shared: Arc::clone(&self.shared), subvolume: id }),
            Err(error) if error.cause() == Some(&BtrfsRule::NoSubvolume(id)) => {
                Err(Error::invalid(format!("there is no subvolume {id}")))
            }
            Err(error) => Err(error),
        }
    }

    fn subvolume_at(&self, path: &[u8]) -> Result<u64> {
        let mut at = self.root_of(FS_TREE)?;
        let missing = || Error::invalid(format!("{} is no subvolume", path.escape_ascii()));
        for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            at = self.lookup_name(at, name)?.ok_or_else(missing)?;
        }
        if at.number == FIRST_OBJECT { Ok(at.subvolume) } else { Err(missing()) }
    }

    /// Where the name of the subvolume `id` is.
    fn place_of(&self, id: u64) -> Result<Option<SubvolumePlace>> {
        let Some(item) = self.root_tree().items(self.blocks(), id, ROOT_BACKREF).next().transpose()? else {
            return Ok(None);
        };
        let wrong = || {
            Error::corrupt(BtrfsRule::Item {
                tree: ROOT_TREE,
                object: id,
                item: "back reference",
                what: "length",
            })
        };
        let (number, name) = reference(&item).ok_or_else(wrong)?;
        let directory = NodeId { subvolume: item.key.offset, number };
        Ok(Some(SubvolumePlace { directory, name: name.to_vec() }))
    }

    /// The path of the subvolume `id` from the top; what it takes is taken from `left`.
    fn path_of(&self, id: u64, left: &mut usize) -> Result<Option<Vec<u8>>> {
        let mut path = PathUpwards { names: Vec::new(), len: 0, left };
        let mut at = id;
        path.spend(STEP_COST)?;
        while at != FS_TREE {
            let Some(SubvolumePlace { directory, name }) = self.place_of(at)? else { return Ok(None) };
            let mut number = directory.number;
            at = directory.subvolume;
            if !path.push(name)? {
                return Ok(None);
            }
            while number != FIRST_OBJECT {
                let found = self.name_of(NodeId { subvolume: at, number })?;
                let Some((parent, name)) = found else { return Ok(None) };
                if !path.push(name)? {
                    return Ok(None);
                }
                number = parent;
            }
        }
        path.names.reverse();
        Ok(Some(path.names.join(&b'/')))
    }

    /// The directory that the directory `id` is in, and its name there.
    fn name_of(&self, id: NodeId) -> Result<Option<(u64, Vec<u8>)>> {
        let tree = match self.opened_subvolume(id.subvolume) {
            Err(error) if error.cause() == Some(&BtrfsRule::NoSubvolume(id.subvolume)) => return Ok(None),
            other => other?.tree,
        };
        let Some(item) = tree.items(self.blocks(), id.number, INODE_REF).next().transpose()? else {
            return Ok(None);
        };
        let len = usize::from(u16_at(&item, 8));
        let name = item.get(10..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        Ok(Some((item.key.offset, name.to_vec())))
    }
}

/// A directory, and a name in it.
struct SubvolumePlace {
    directory: NodeId,
    name: Vec<u8>,
}

/// Names on the way up.
struct PathUpwards<'a> {
    names: Vec<Vec<u8>>,
    len: usize,
    left: &'a mut usize,
}

impl PathUpwards<'_> {
    /// Adds a name; `false` if there are so many that they lead round.
    fn push(&mut self, name: Vec<u8>) -> Result<bool> {
        let len = name.len().saturating_add(STEP_COST);
        self.spend(len)?;
        self.len = self.len.saturating_add(len);
        self.names.push(name);
        Ok(self.len <= PATH_LIMIT)
    }

    fn spend(&mut self, len: usize) -> Result<()> {
        let left = self.left.checked_sub(len);
        *self.left = left.ok_or_else(|| Error::unsupported("the paths of all subvolumes are too long"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_round_end() {
        let mut left = PATHS_LIMIT;
        let mut path = PathUpwards { names: Vec::new(), len: 0, left: &mut left };
        let steps = (0..PATH_LIMIT).take_while(|_| path.push(b"again".to_vec()).unwrap()).count();
        assert_eq!(steps, PATH_LIMIT / 21);
        *path.left = 20;
        assert!(path.push(b"again".to_vec()).is_err());
    }
}
