//! Directories brought behind one sector: which have to go to new clusters, and which sector then leads to them.
//!
//! ```text
//! /            one sector: of EFI and of what else there is             ◄── is it enough? else one higher
//! └ EFI        2 names are new, in 2 sectors  ─► new clusters
//!   ├ BOOT     nothing new                    ─► new clusters too, for its .. says where EFI is
//!   └ debian   new                            ─► has its own already; .. is put right
//! ```
//! A `..` that leads to the root directory is 0, wherever that is: of directories in the root directory only those go that
//! have changes beneath.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::FatWriter;
use super::entries::put_cluster;
use super::geometry::ROOT_CLUSTER_AT;
use super::overlay::Sectors;
use super::survey::{Found, directories};
use crate::block::BlockRead;
use crate::error::Result;
use crate::fs::fat::layout::{FIRST_CLUSTER, Layout, Root};

/// The directories of a FAT, the root directory first, each after the one that it is in.
struct Tree {
    found: Vec<Found>,
    /// Which of them the one is in.
    parents: Vec<usize>,
    /// The sectors of each that are to be others; none of new clusters.
    changed: BTreeMap<usize, BTreeSet<u64>>,
    /// Those of the disk that have a new cluster behind theirs.
    extended: BTreeSet<usize>,
}

impl Tree {
    /// From the one `at` up to the root directory.
    fn way(&self, at: usize) -> Vec<usize> {
        let mut way = vec![at];
        let mut at = at;
        while at != 0 {
            at = self.parents.get(at).copied().unwrap_or(0);
            way.push(at);
        }
        way
    }
}

/// What goes to new clusters.
struct Moves {
    is_root_moved: bool,
    /// With all that is beneath them.
    tops: BTreeSet<usize>,
}

impl FatWriter {
    /// Brings all changes behind one sector, if that can be.
    pub(super) fn gather(&mut self) -> Result<()> {
        if !self.is_extended && self.switches(&self.overlay.changed()?).len() <= 1 {
            return Ok(());
        }
        let tree = self.tree()?;
        let moves = self.moves(&tree);
        self.apply(&tree, &moves)?;
        self.is_extended = false;
        Ok(())
    }

    /// Those of `sectors` in which somebody finds another thing at once: of directories that are on the disk, and the boot sector.
    pub(super) fn switches(&self, sectors: &Sectors) -> BTreeSet<u64> {
        let layout = self.layout();
        let is_switch = |number: &u64| {
            let offset = self.overlay.place(*number);
            match cluster_of(layout, offset) {
                Some(cluster) => !self.clusters.new.get(cluster),
                None => !(layout.table.offset()..layout.table.end()).contains(&offset),
            }
        };
        sectors.keys().copied().filter(is_switch).collect()
    }

    fn tree(&self) -> Result<Tree> {
        let mut found = vec![Found { first: 0, parent: 0, entry: 0 }];
        found.extend(directories(&self.fat.volume)?);
        let indexes: HashMap<u32, usize> =
            found.iter().enumerate().map(|(index, own)| (own.first, index)).collect();
        let parents = found.iter().map(|own| indexes.get(&own.parent).copied().unwrap_or(0)).collect();
        let switches = self.switches(&self.overlay.changed()?);
        let (mut changed, mut extended) = (BTreeMap::new(), BTreeSet::new());
        for (index, own) in found.iter().enumerate() {
            let mut sectors = BTreeSet::new();
            for (offset, len) in self.pieces(own.first)? {
                let numbers = self.overlay.number(offset)..self.overlay.number(offset.saturating_add(len));
                sectors.extend(switches.range(numbers));
            }
            if !sectors.is_empty() {
                changed.insert(index, sectors);
            }
            let chain = self.directory_chain(own.first)?;
            let is_new = |cluster: &u32| self.clusters.new.get(*cluster);
            if chain.first().is_some_and(|first| !is_new(first)) && chain.iter().any(is_new) {
                extended.insert(index);
            }
        }
        Ok(Tree { found, parents, changed, extended })
    }

    /// The clusters of the directory from `first` on; none of a root directory that has its own place.
    fn directory_chain(&self, first: u32) -> Result<Vec<u32>> {
        match (first, self.fat.volume.root()) {
            (0, Root::Fixed(_)) => Ok(Vec::new()),
            (0, Root::Cluster(first)) => self.chain(first),
            _ => self.chain(first),
        }
    }

    /// Looks for the lowest directory in which all changes meet, and up from there for the first in which they are in one sector.
    fn moves(&self, tree: &Tree) -> Moves {
        let mut ways: Vec<Vec<usize>> = Vec::new();
        for index in tree.changed.keys().chain(&tree.extended) {
            let mut way = tree.way(*index);
            way.reverse();
            ways.push(way);
        }
        let mut common = ways.first().cloned().unwrap_or_default();
        for way in &ways {
            let len = common.iter().zip(way).take_while(|(one, other)| one == other).count();
            common.truncate(len);
        }
        while let Some(top) = common.pop() {
            let depth = common.len();
            let below: BTreeSet<usize> =
                ways.iter().filter_map(|way| way.get(depth.saturating_add(1)).copied()).collect();
            let mut sectors = tree.changed.get(&top).cloned().unwrap_or_default();
            let entries = below.iter().filter_map(|index| tree.found.get(*index));
            sectors.extend(entries.map(|own| self.overlay.number(own.entry)));
            let is_one = sectors.len() <= 1 && !tree.extended.contains(&top);
            if is_one || top == 0 {
                let is_root_moved = !is_one && matches!(self.fat.volume.root(), Root::Cluster(_));
                return Moves { is_root_moved, tops: below };
            }
        }
        Moves { is_root_moved: false, tops: BTreeSet::new() }
    }

    fn apply(&mut self, tree: &Tree, moves: &Moves) -> Result<()> {
        // Where clusters of directories went, and how directories begin now.
        let mut places: HashMap<u32, u32> = HashMap::new();
        let mut firsts: HashMap<usize, u32> = HashMap::new();
        if moves.is_root_moved {
            let first = self.copy_directory(0, &mut places)?;
            self.put(&first.to_le_bytes(), ROOT_CLUSTER_AT)?;
            self.fat.volume.root_cluster.store(first, std::sync::atomic::Ordering::Relaxed);
        }
        for (index, own) in tree.found.iter().enumerate().skip(1) {
            let parent = tree.parents.get(index).copied().unwrap_or(0);
            let is_moved = moves.tops.contains(&index) || firsts.contains_key(&parent);
            if !is_moved {
                continue;
            }
            let first = match self.clusters.new.get(own.first) {
                true => own.first,
                false => self.copy_directory(own.first, &mut places)?,
            };
            firsts.insert(index, first);
            if first != own.first {
                let (at, entry) = (self.layout().place(first), self.moved(own.entry, &places));
                self.edit_slot(at, |slot| put_cluster(slot, first))?;
                self.edit_slot(entry, |slot| put_cluster(slot, first))?;
            }
            if let Some(above) = firsts.get(&parent).copied() {
                self.put_parent(first, above)?;
            }
        }
        Ok(())
    }

    /// Where the entry at `offset` is now.
    fn moved(&self, offset: u64, places: &HashMap<u32, u32>) -> u64 {
        let layout = self.layout();
        let Some(cluster) = cluster_of(layout, offset) else { return offset };
        let Some(new) = places.get(&cluster) else { return offset };
        offset.saturating_sub(layout.place(cluster)).saturating_add(layout.place(*new))
    }

    /// Copies the directory from `first` on to new clusters, and gives back those that it had. The first new one.
    fn copy_directory(&mut self, first: u32, places: &mut HashMap<u32, u32>) -> Result<u32> {
        let chain = self.directory_chain(first)?;
        let mut last = None;
        let mut new_first = 0;
        for cluster in &chain {
            let range = self.cluster_range(*cluster)?;
            let mut bytes = vec![0; range.len() as usize];
            self.overlay.read_at(&mut bytes, range.offset())?;
            let new = self.take_cluster(last)?;
            self.put(&bytes, self.layout().place(new))?;
            places.insert(*cluster, new);
            new_first = if last.is_none() { new } else { new_first };
            last = Some(new);
        }
        self.release(chain.first().copied().unwrap_or(0))?;
        Ok(new_first)
    }
}

/// The cluster that `offset` is in.
pub(super) fn cluster_of(layout: &Layout, offset: u64) -> Option<u32> {
    let index = offset.checked_sub(layout.data)?.checked_div(layout.cluster_size)?;
    let cluster = index.saturating_add(u64::from(FIRST_CLUSTER));
    (cluster < u64::from(layout.end)).then_some(cluster as u32)
}
