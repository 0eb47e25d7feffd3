//! A name put into a directory with an index: if the block that it belongs into is full, its upper half by hash is moved.
//!
//! ```text
//! index   … │ hash a ─► full block │ hash c ─► …    becomes    … │ hash a ─► lower half │ hash b ─► upper half │ hash c ─► …
//! ```
//! Linux kernel documentation, filesystems/ext4 ("Hash Tree Directories"). An index that has no room for one more is refused.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Changes;
use super::insert::{NewEntry, kind_at};
use crate::error::{Error, Result};
use crate::fs::ext4::directory::{block_of, entry_at, names_of, wrong};
use crate::fs::ext4::features;
use crate::fs::ext4::field::{put, u16_at};
use crate::fs::ext4::index::{self, ENTRY_LEN, Way};
use crate::fs::ext4::inode::Inode;

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

impl Changes {
    pub(super) fn insert_by_index(&mut self, parent: &Inode, entry: &NewEntry<'_>) -> Result<()> {
        let way = index::way_to(&self.fs, parent, entry.name)?
            .ok_or_else(|| Error::unsupported("the directory has an index that is not known here"))?;
        let area = names_of(&self.fs, parent, way.leaf, block_of(&self.fs, parent, way.leaf)?)?;
        if let Some(gap) = self.gap(parent, way.leaf, &area, entry.len())? {
            return self.put_in_gap(parent, way.leaf, entry, gap);
        }
        if way.count >= way.limit {
            return Err(Error::unsupported("the index of the directory is full"));
        }
        let mut names = self.names_with_hashes(parent, &area, &way)?;
        let hash = way.hash.of(&index::folded(parent, entry.name)).0;
        names.push(Hashed { hash, name: entry.name.to_vec(), inode: entry.inode, kind: entry.kind });
        names.sort_by_key(|name| name.hash);
        let half = middle(&names).ok_or_else(|| Error::unsupported("too many names have one hash"))?;
        let (lower, upper) = names.split_at(half);
        let first = upper.first().map_or(0, |name| name.hash);
        let goes_on = lower.last().is_some_and(|name| name.hash == first);
        let entries: Vec<NewEntry<'_>> = upper.iter().map(Hashed::entry).collect();
        let new = self.append_names(parent, &entries)?;
        let parent = self.fs.inode(parent.number)?;
        let block = self.directory_block(&parent, way.leaf)?;
        let entries: Vec<NewEntry<'_>> = lower.iter().map(Hashed::entry).collect();
        self.put_names(&parent, block, &entries)?;
        self.point_to(&parent, &way, first | u32::from(goes_on), new)
    }

    fn names_with_hashes(&self, parent: &Inode, area: &[u8], way: &Way) -> Result<Vec<Hashed>> {
        let has_kinds = self.fs.superblock().has(features::FILETYPE);
        let mut names = Vec::new();
        let mut at = 0;
        while at < area.len() {
            let entry = entry_at(&self.fs, parent, area, at).map_err(|what| wrong(parent, way.leaf, what))?;
            if entry.inode != 0 {
                let folded = index::folded(parent, entry.name);
                if folded.len() != entry.name.len() || !entry.name.is_ascii() && index::is_folded(parent) {
                    return Err(Error::unsupported("names that are not ASCII would have to be moved"));
                }
                names.push(Hashed {
                    hash: way.hash.of(&folded).0,
                    name: entry.name.to_vec(),
                    inode: entry.inode,
                    kind: kind_at(area, at, has_kinds),
                });
            }
            at = entry.next;
        }
        Ok(names)
    }

    /// Has the node at the end of `way` lead to block `new` for hashes from `hash` on.
    fn point_to(&mut self, parent: &Inode, way: &Way, hash: u32, new: u64) -> Result<()> {
        let block = self.directory_block(parent, way.node)?;
        let has_sums = self.fs.superblock().has(features::METADATA_CSUM);
        self.fs.blocks().change(block, |node| {
            let at = |index: usize| way.entries_at.saturating_add(index.saturating_mul(ENTRY_LEN));
            let place = at(way.chosen.saturating_add(1));
            let end = at(usize::from(way.count));
            if end <= node.len() && place <= end {
                node.copy_within(place..end, place.saturating_add(ENTRY_LEN));
            }
            put(node, place, &hash.to_le_bytes());
            put(node, place.saturating_add(4), &(new as u32).to_le_bytes());
            let count = u16_at(node, way.entries_at.saturating_add(2)).saturating_add(1);
            put(node, way.entries_at.saturating_add(2), &count.to_le_bytes());
            if has_sums {
                index::put_checksum(parent.seed, node, way.entries_at);
            }
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
