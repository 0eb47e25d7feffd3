//! Marks for zeroes, which version 2 does not know, replaced in the tables of the disk and of all snapshots at once.
//!
//! ```text
//! zero, no backing file   ─► nothing                      in a new L2 table beside the old one; L1 tables that
//! zero, a backing file    ─► a new cluster of zeroes      lead to it do so in as many places as before
//! ```

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use super::super::super::entry::{HostCluster, L1Entry, L2Entry, Mapping};
use super::super::super::header::{Header, TablePlace};
use super::super::super::offset::{GuestOffset, HostOffset};
use super::super::super::table::{l2_entry, set_l2_entry};
use super::super::transaction::table_range;
use super::change;
use super::tables::{Change, tables};
use crate::block::{BlockWrite, ByteRange};
use crate::error::{Doing, Result};

/// Gives the image L2 tables without marks for zeroes; over a backing file clusters of zeroes take their place. The disk
/// and the snapshots read the same. Returns the new header.
///
/// # Errors
/// As [`create_snapshot`](super::create_snapshot).
pub(in super::super) fn expand_zero_clusters(
    file: &dyn BlockWrite,
    header: &Header,
    over_backing: bool,
) -> Result<Header> {
    change(file, header, |change, snapshots| {
        let (mut replaced, mut snapshot_changed) = (BTreeMap::new(), false);
        let active = change.transaction.header.l1;
        if let Some(l1) = change.expand(active, over_backing, &mut replaced)? {
            change.transaction.header.l1 = l1;
        }
        for snapshot in snapshots {
            if let Some(l1) = change.expand(snapshot.l1, over_backing, &mut replaced)? {
                snapshot.l1 = l1;
                snapshot_changed = true;
            }
        }
        Ok(snapshot_changed)
    })
    .doing(|| "expanding zero clusters")
}

/// What takes the place of an L2 table that several L1 tables lead to.
#[derive(Default)]
struct Replacement {
    /// The new table, if the old one has marks.
    table: Option<HostOffset>,
    /// New clusters of zeroes.
    added: Vec<ByteRange>,
    /// Clusters that were set aside for zeroes.
    removed: Vec<ByteRange>,
}

impl Change<'_, '_> {
    /// Replaces the L2 tables with marks that the L1 table at `place` leads to; returns the new L1 table, if there are
    /// any.
    fn expand(
        &mut self,
        place: TablePlace,
        over_backing: bool,
        replaced: &mut BTreeMap<HostOffset, Replacement>,
    ) -> Result<Option<TablePlace>> {
        let old = self.read_l1(place)?;
        let mut new = old.clone();
        for (index, table) in tables(&old) {
            let known = replaced.get(&table.offset);
            let offset = match known {
                // Another L1 table leads to it: all counts that it had from this one too.
                Some(known) => {
                    if let Some(offset) = known.table {
                        self.transaction.add(self.table_cluster(HostCluster { offset, ..table })?)?;
                        known.added.iter().try_for_each(|&cluster| self.transaction.add(cluster))?;
                        known.removed.iter().try_for_each(|&cluster| self.transaction.remove(cluster))?;
                        self.transaction.remove(self.table_cluster(table)?)?;
                    }
                    known.table
                }
                None => {
                    let is_shared = self.transaction.count(table.offset)? > 1;
                    let replacement = self.unmark_table(index, table, over_backing, is_shared)?;
                    let offset = replacement.table;
                    if is_shared {
                        replaced.insert(table.offset, replacement);
                    }
                    offset
                }
            };
            if let (Some(offset), Some(entry)) = (offset, new.get_mut(index)) {
                *entry = L1Entry::new(HostCluster { offset, ..table });
            }
        }
        if new == old {
            return Ok(None);
        }
        let l1 = self.put_l1(&new)?;
        self.transaction.remove(table_range(place)?)?;
        Ok(Some(l1))
    }

    /// Replaces one L2 table, if it has marks; what else leads to it must know how, if it is shared.
    fn unmark_table(
        &mut self,
        index: usize,
        table: HostCluster,
        over_backing: bool,
        is_shared: bool,
    ) -> Result<Replacement> {
        let geometry = self.format.geometry;
        let mut bytes = self.read_l2(index, table)?.bytes;
        let zeroes = vec![0; geometry.cluster_size() as usize];
        let (mut replacement, mut is_marked) = (Replacement::default(), false);
        for index in 0..geometry.l2_count() {
            let entry = l2_entry(&bytes, index, geometry);
            // Guest offsets are told by `read_l2`, which has decoded all of them.
            let Mapping::Zero(set_aside) = entry.decode(self.format, GuestOffset(0))? else { continue };
            is_marked = true;
            let mut new = Mapping::Unallocated;
            if over_backing {
                let offset = self.transaction.put(&zeroes)?;
                new = Mapping::Allocated(HostCluster { offset, copied: table.copied });
                if is_shared {
                    replacement.added.push(ByteRange::new(offset.0, geometry.cluster_size())?);
                }
            }
            if let Some(cluster) = set_aside {
                let cluster = ByteRange::new(cluster.offset.0, geometry.cluster_size())?;
                self.transaction.remove(cluster)?;
                if is_shared {
                    replacement.removed.push(cluster);
                }
            }
            set_l2_entry(&mut bytes, index, L2Entry::encode(new, self.format)?, geometry);
        }
        if is_marked {
            replacement.table = Some(self.transaction.put(&bytes)?);
            self.transaction.remove(self.table_cluster(table)?)?;
        }
        Ok(replacement)
    }
}
