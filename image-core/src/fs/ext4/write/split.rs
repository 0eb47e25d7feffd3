//! A name put into a directory with an index: if the block that it belongs into is full, its upper half by hash is moved.
//!
//! ```text
//! node    … │ hash a ─► full block │ hash c ─► …    becomes    … │ hash a ─► lower half │ hash b ─► upper half │ hash c ─► …
//! no room in the node?   its upper half becomes a node beside it, to which the node above leads
//! no room in any?        what the root leads to becomes a node, and the root leads to that one alone
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Hash Tree Directories"). An index has two levels of nodes, three with large_dir;
//! one that has no room for one more is refused, as by Linux (fs/ext4/namei.c, ext4_dx_add_entry).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Ext4Writer;
use super::insert::{NewEntry, kind_at};
use crate::error::{Error, Result};
use crate::fs::ext4::directory::{block_of, entry_at, names_of, wrong};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u32_at};
use crate::fs::ext4::htree::{self, ENTRY_LEN};
use crate::fs::ext4::inode::Inode;
use crate::fs::ext4::lookup::{self, HtreeNode, HtreePath};

/// A name with its hash.
struct Hashed {
    hash: u32,
    name: Vec<u8>,
    inode: u32,
    kind: u8,
}

impl Hashed {
    fn entry(&self) -> NewEntry<'_> {
        NewEntry { name: &self.name, inode: self.inode, kind: self.kind }
    }
}

impl Ext4Writer {
    pub(super) fn insert_by_index(&mut self, parent: &Inode, entry: &NewEntry<'_>) -> Result<()> {
        let path = lookup::path_to(&self.fs, parent, entry.name)?
            .ok_or_else(|| Error::unsupported("the directory has an index that is not known here"))?;
        let area = names_of(&self.fs, parent, path.leaf, block_of(&self.fs, parent, path.leaf)?)?;
        if let Some(gap) = self.gap(parent, path.leaf, &area, entry.len())? {
            return self.put_in_gap(parent, path.leaf, entry, gap);
        }
        let Some(node) = path.nodes.last().filter(|node| !node.is_full()) else {
            self.make_room(parent, &path)?;
            let parent = self.fs.inode(parent.number)?;
            return self.insert_by_index(&parent, entry);
        };
        let mut names = self.names_with_hashes(parent, &area, &path)?;
        let hash = path.hash.of(&lookup::folded(parent, entry.name)).0;
        names.push(Hashed { hash, name: entry.name.to_vec(), inode: entry.inode, kind: entry.kind });
        names.sort_by_key(|name| name.hash);
        let half = middle(&names).ok_or_else(|| Error::unsupported("too many names have one hash"))?;
        let (lower, upper) = names.split_at(half);
        let first = upper.first().map_or(0, |name| name.hash);
        let goes_on = lower.last().is_some_and(|name| name.hash == first);
        let entries: Vec<NewEntry<'_>> = upper.iter().map(Hashed::entry).collect();
        let new = self.append_names(parent, &entries)?;
        let parent = self.fs.inode(parent.number)?;
        let block = self.directory_block(&parent, path.leaf)?;
        let entries: Vec<NewEntry<'_>> = lower.iter().map(Hashed::entry).collect();
        self.put_names(&parent, block, &entries)?;
        self.point_to(&parent, node, first | u32::from(goes_on), new)
    }

    fn names_with_hashes(&self, parent: &Inode, area: &[u8], path: &HtreePath) -> Result<Vec<Hashed>> {
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        let mut names = Vec::new();
        let mut at = 0;
        while at < area.len() {
            let entry =
                entry_at(&self.fs, parent, area, at).map_err(|what| wrong(parent, path.leaf, what))?;
            if entry.inode != 0 {
                let folded = lookup::folded(parent, entry.name);
                if folded.len() != entry.name.len() || !entry.name.is_ascii() && lookup::is_folded(parent) {
                    return Err(Error::unsupported("names that are not ASCII would have to be moved"));
                }
                names.push(Hashed {
                    hash: path.hash.of(&folded).0,
                    name: entry.name.to_vec(),
                    inode: entry.inode,
                    kind: kind_at(area, at, has_kinds),
                });
            }
            at = entry.next;
        }
        Ok(names)
    }

    /// Brings room nearer to the last node of `path`, which has none: one full node is divided, or there is one more level.
    fn make_room(&mut self, parent: &Inode, path: &HtreePath) -> Result<()> {
        let above = path.nodes.iter().rposition(|node| !node.is_full());
        let below = above.map_or(0, |above| above.saturating_add(1));
        let Some(full) = path.nodes.get(below) else { return Ok(()) };
        match above.and_then(|above| path.nodes.get(above)) {
            Some(above) => self.divide(parent, above, full),
            None if path.may_grow => self.add_level(parent, full),
            None => Err(Error::unsupported("the index of the directory is full")),
        }
    }

    /// Moves the upper half of `full` into a node of its own, to which `above`, which has room, leads too.
    fn divide(&mut self, parent: &Inode, above: &HtreeNode, full: &HtreeNode) -> Result<()> {
        let lower = full.count / 2;
        if lower == 0 {
            return Err(Error::unsupported("the index of the directory has nodes with room for one entry"));
        }
        let block = self.directory_block(parent, full.number)?;
        let [from, end] = [lower, full.count]
            .map(|count| full.entries_at.saturating_add(usize::from(count).saturating_mul(ENTRY_LEN)));
        let upper = self.fs.blocks().block(block)?.get(from..end).unwrap_or_default().to_vec();
        let new = self.append_node(parent, &upper)?;
        self.edit_index_node(parent, full, |node| {
            node.get_mut(from..end).unwrap_or_default().fill(0);
            htree::put_count(node, full.entries_at, full.limit, lower);
        })?;
        self.point_to(parent, above, u32_at(&upper, 0), new)
    }

    /// Moves all that `root` leads to into a node of its own, to which it leads from then on.
    fn add_level(&mut self, parent: &Inode, root: &HtreeNode) -> Result<()> {
        let block = self.directory_block(parent, root.number)?;
        let begin = root.entries_at;
        let end = begin.saturating_add(usize::from(root.count).saturating_mul(ENTRY_LEN));
        let entries = self.fs.blocks().block(block)?.get(begin..end).unwrap_or_default().to_vec();
        let new = self.append_node(parent, &entries)?;
        self.edit_index_node(parent, root, |node| {
            node.get_mut(begin..end).unwrap_or_default().fill(0);
            htree::put_count(node, begin, root.limit, 1);
            put(node, begin.saturating_add(4), &(new as u32).to_le_bytes());
            htree::add_level(node);
        })
    }

    /// Gives the directory `parent` one more block, a node with `entries` as they lie in another one. Answers with its number.
    fn append_node(&mut self, parent: &Inode, entries: &[u8]) -> Result<u64> {
        // As it is now: it may have got a block before.
        let parent = self.fs.inode(parent.number)?;
        let (number, block) = self.append_block(&parent)?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |node| {
            node.fill(0);
            let at = htree::put_node(node, entries, has_sums);
            if has_sums {
                htree::put_checksum(parent.seed, node, at);
            }
        })?;
        Ok(number)
    }

    /// Changes a node of the index of the directory `parent`, and makes its checksum.
    fn edit_index_node(
        &mut self,
        parent: &Inode,
        node: &HtreeNode,
        edit: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let block = self.directory_block(parent, node.number)?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |bytes| {
            edit(bytes);
            if has_sums {
                htree::put_checksum(parent.seed, bytes, node.entries_at);
            }
        })
    }

    /// Has `node` lead to block `new` for hashes from `hash` on.
    fn point_to(&mut self, parent: &Inode, node: &HtreeNode, hash: u32, new: u64) -> Result<()> {
        let at = |index: usize| node.entries_at.saturating_add(index.saturating_mul(ENTRY_LEN));
        self.edit_index_node(parent, node, |bytes| {
            let place = at(node.chosen.saturating_add(1));
            let end = at(usize::from(node.count));
            if end <= bytes.len() && place <= end {
                bytes.copy_within(place..end, place.saturating_add(ENTRY_LEN));
            }
            put(bytes, place, &hash.to_le_bytes());
            put(bytes, place.saturating_add(4), &(new as u32).to_le_bytes());
            htree::put_count(bytes, node.entries_at, node.limit, node.count.saturating_add(1));
        })
    }
}

/// Where `names`, sorted, are to be divided: near the middle of their bytes, with names on both sides.
fn middle(names: &[Hashed]) -> Option<usize> {
    let all: usize = names.iter().map(|name| name.entry().len()).sum();
    let mut before = 0_usize;
    let mut half = 0;
    for (index, name) in names.iter().enumerate() {
        if before.saturating_mul(2) >= all {
            break;
        }
        before = before.saturating_add(name.entry().len());
        half = index.saturating_add(1);
    }
    let half = half.min(names.len().saturating_sub(1));
    let is_one_hash = names.first().map(|name| name.hash) == names.last().map(|name| name.hash);
    (half > 0 && !is_one_hash).then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_divided_in_the_middle_of_their_bytes() {
        let name = |hash, len| Hashed { hash, name: vec![b'x'; len], inode: 12, kind: 1 };
        assert_eq!(middle(&[name(2, 10), name(4, 10), name(6, 10), name(8, 10)]), Some(2));
        assert_eq!(middle(&[name(2, 200), name(4, 10), name(6, 10)]), Some(1));
        assert_eq!(middle(&[name(2, 10), name(4, 200)]), Some(1));
        assert_eq!(middle(&[name(2, 10), name(2, 10)]), None);
        assert_eq!(middle(&[name(2, 10)]), None);
    }
}
