//! A place for every cluster before anything is written.
//!
//! ```text
//! nothing there        ─► a cluster that is allocated; with extended L2 entries one of which nothing is used yet
//! zeroes, no cluster   ─► zeroes, with a cluster set aside
//! anything else        ─► as it is
//!
//! with storage:  │ all that is used │ refcounts for what follows │ the clusters, in a row │ end of the file
//!                        ▲ L2 tables, where there is room            a cluster that the disk ended in moves there too
//! ```
//!
//! Where storage is set aside too, that is in one go and as QEMU's programs do it: the filesystem has to divide nothing
//! later, so that the file takes no more of it when it is written.

use std::sync::PoisonError;

use super::super::entry::{HostCluster, Mapping, Subclusters};
use super::super::offset::{GuestOffset, HostOffset};
use super::bitmaps::Recording;
use super::cluster::ClusterState;
use super::{Qcow2Writer, State};
use crate::block::{BlockRead, BlockWrite, ByteRange, Preallocation, ZeroMode};
use crate::error::{Doing, Error, Result};

impl Qcow2Writer {
    /// Sets clusters aside for `range`, and storage as `how` says; what the disk reads as stays the same.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) where a cluster would hide what the backing file has; else whatever the
    /// storage says. Clusters that were set aside before an error stay so.
    pub fn preallocate(&self, range: ByteRange, how: Preallocation) -> Result<()> {
        range.check_within(self.size())?;
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::Enabled)?;
        let geometry = self.image.geometry();
        let whole =
            ByteRange::between(geometry.cluster_start(range.offset()), geometry.round_up(range.end()));
        if range.is_empty() {
            return Ok(());
        }
        let stored = how > Preallocation::Metadata;
        if stored && self.data_file.is_none() && !self.has_clusters_behind_first(whole)? {
            self.place_in_area(state, whole, range.offset().saturating_sub(whole.offset()), how)
        } else {
            self.place_where_there_is_room(state, whole, how)
        }
        .doing(|| format!("setting clusters aside (preallocation {how})"))?;
        self.flush_metadata(state)
    }

    /// Whether a cluster of `range` has a place already, other than the first.
    fn has_clusters_behind_first(&self, range: ByteRange) -> Result<bool> {
        let geometry = self.image.geometry();
        let mut at = range.offset().saturating_add(geometry.cluster_size());
        while at < range.end() {
            // No table, no cluster.
            if self.image.l1().entry(GuestOffset(at)).decode(geometry, GuestOffset(at))?.is_none() {
                at = geometry.l2_start(at).saturating_add(geometry.l2_coverage());
                continue;
            }
            if with_place(self.image.mapping(GuestOffset(at))?, PROBE, geometry.extended_l2()).is_none() {
                return Ok(true);
            }
            at = at.saturating_add(geometry.cluster_size());
        }
        Ok(false)
    }

    /// Gives the clusters of `range` places in a row at the end of the file, with storage. What the first one reads
    /// as goes with it: `kept` bytes of it, or all if it has a place already.
    fn place_in_area(
        &self,
        state: &mut State,
        range: ByteRange,
        kept: u64,
        how: Preallocation,
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let size = geometry.cluster_size();
        let first = GuestOffset(range.offset());
        let placed = with_place(self.image.mapping(first)?, PROBE, geometry.extended_l2()).is_none();
        let moves = placed || kept > 0;
        let mut moved = if moves { self.cluster_bytes(first)? } else { Vec::new() };
        if kept > 0 {
            moved.truncate(kept as usize);
        }
        let rest = ByteRange::between(first.0.saturating_add(if moves { size } else { 0 }), range.end());
        self.refuse_hiding(rest)?;
        // All that was done so far is counted in the file.
        self.flush_with_refcounts(state)?;
        let count = geometry.clusters_for(range.len());
        let tables = count.div_ceil(geometry.l2_count()).saturating_add(2);
        let old_len = self.file.size();
        let start = state.allocator.area_at_end(&*self.file, count.saturating_add(tables))?;
        state.allocator.take(&*self.file, start, count)?;
        let area = ByteRange::new(start.saturating_mul(size), count.saturating_mul(size))?;
        if let Some(there) = area.intersection(ByteRange::whole(old_len)) {
            self.guard(state, there, first)?;
        }
        if area.end() > old_len {
            self.file.resize(area.end())?;
        }
        how.set_aside(&*self.file, area).doing(|| format!("preallocating storage (preallocation={how})"))?;
        // Zeroes too, as with QEMU: where storage is divided then does not depend on what they are.
        self.file.write_at(&moved, area.offset())?;
        // With it the place of the old table is free, for the L2 tables.
        self.flush_with_refcounts(state)?;
        for index in 0..count {
            let guest = GuestOffset(range.offset().saturating_add(index.saturating_mul(size)));
            let offset = HostOffset(area.offset().saturating_add(index.saturating_mul(size)));
            self.set_place(state, guest, HostCluster { offset, copied: true }, index == 0 && moves)?;
            self.flush_if_large(state)?;
        }
        Ok(())
    }

    /// What the cluster at `guest` reads as; zeroes behind the end of the disk.
    fn cluster_bytes(&self, guest: GuestOffset) -> Result<Vec<u8>> {
        let size = self.image.geometry().cluster_size();
        let mut bytes = vec![0; size as usize];
        let len = size.min(self.size().saturating_sub(guest.0)) as usize;
        self.image.read_at(bytes.get_mut(..len).unwrap_or_default(), guest.0)?;
        Ok(bytes)
    }

    /// Maps the cluster at `guest` to `host`, which has nothing, or all that was `moved` there.
    fn set_place(&self, state: &mut State, guest: GuestOffset, host: HostCluster, moved: bool) -> Result<()> {
        let old = self.image.mapping(guest)?;
        let new = match old {
            Mapping::Zero(_) => Mapping::Zero(Some(host)),
            _ if moved => Mapping::Allocated(host),
            _ => with_place(old, host, self.image.geometry().extended_l2()).unwrap_or(old),
        };
        self.set_mapping(state, guest, new)?;
        if let Some(place) =
            ClusterState::of(old).freed(self.image.geometry()).filter(|_| self.data_file.is_none())
        {
            state.pending.free(place);
        }
        Ok(())
    }

    /// Gives the clusters of `range` that have none places where there is room, those that follow each other in a row.
    fn place_where_there_is_room(
        &self,
        state: &mut State,
        range: ByteRange,
        how: Preallocation,
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let size = geometry.cluster_size();
        let mut at = range.offset();
        while at < range.end() {
            let end = range.end().min(geometry.l2_start(at).saturating_add(geometry.l2_coverage()));
            let mut run = ByteRange::between(at, at);
            // Fewer than a refcount block counts are taken in a row.
            let most = size.saturating_mul(geometry.refcounts_per_block().saturating_sub(1));
            while run.end() < end
                && run.len() < most
                && with_place(self.image.mapping(GuestOffset(run.end()))?, PROBE, geometry.extended_l2())
                    .is_some()
            {
                run = ByteRange::between(at, run.end().saturating_add(size));
            }
            at = run.end().max(at.saturating_add(if run.is_empty() { size } else { 0 }));
            if run.is_empty() {
                continue;
            }
            self.refuse_hiding(run)?;
            let place = self.new_clusters(state, run)?;
            // The place of a freed cluster may still hold what it held.
            if self.data_file.is_none()
                && let Some(there) = place.intersection(ByteRange::whole(self.file.size()))
            {
                self.guard(state, there, GuestOffset(run.offset()))?;
                self.file.write_zeroes(there, ZeroMode::Punch)?;
            }
            for index in 0..geometry.clusters_for(run.len()) {
                let step = index.saturating_mul(size);
                let offset = HostOffset(place.offset().saturating_add(step));
                let guest = GuestOffset(run.offset().saturating_add(step));
                self.set_place(state, guest, HostCluster { offset, copied: true }, false)?;
            }
            self.set_aside(place, how).doing(|| format!("preallocating storage (preallocation={how})"))?;
            self.flush_if_large(state)?;
        }
        Ok(())
    }

    /// Places for the clusters of `run`, which one L2 table maps: in the data file there is no choice.
    fn new_clusters(&self, state: &mut State, run: ByteRange) -> Result<ByteRange> {
        self.own_l2_table(state, GuestOffset(run.offset()))?;
        let offset = match self.data_file {
            Some(_) => run.offset(),
            None => {
                let count = self.image.geometry().clusters_for(run.len());
                state.allocator.allocate_ahead(&*self.file, count)?.0
            }
        };
        ByteRange::new(offset, run.len())
    }

    /// A cluster hides what the backing file has there, unless subclusters tell that nothing of it is used.
    fn refuse_hiding(&self, range: ByteRange) -> Result<()> {
        let geometry = self.image.geometry();
        let backing_end = self.image.backing().map_or(0, |backing| backing.size()).min(range.end());
        let mut at = range.offset();
        while at < backing_end && !geometry.extended_l2() {
            let guest = GuestOffset(at);
            if self.image.mapping(guest)? == Mapping::Unallocated {
                return Err(Error::invalid(format!(
                    "guest offset {guest}: a cluster set aside would hide what the backing file has there"
                )));
            }
            at = at.saturating_add(geometry.cluster_size());
        }
        Ok(())
    }

    /// Makes the file long enough for `run`, and sets storage aside for it.
    fn set_aside(&self, run: ByteRange, how: Preallocation) -> Result<()> {
        let file = self.cluster_file();
        if self.data_file.is_some() {
            // It is as long as the disk, whose last cluster may reach further.
            let there = run.intersection(ByteRange::whole(file.size()));
            return there.map_or(Ok(()), |there| how.set_aside(file, there));
        }
        if run.end() > file.size() {
            file.resize(run.end())?;
        }
        how.set_aside(file, run)
    }
}

/// Stands for any cluster.
const PROBE: HostCluster = HostCluster { offset: HostOffset(0), copied: true };

/// The mapping of a cluster that gets the place `host`; `None` if it has one.
fn with_place(old: Mapping, host: HostCluster, extended_l2: bool) -> Option<Mapping> {
    match old {
        Mapping::Zero(None) => Some(Mapping::Zero(Some(host))),
        Mapping::Unallocated if extended_l2 => {
            Some(Mapping::Subclusters { cluster: Some(host), subclusters: Subclusters::default() })
        }
        Mapping::Subclusters { cluster: None, subclusters } => {
            Some(Mapping::Subclusters { cluster: Some(host), subclusters })
        }
        Mapping::Unallocated => Some(Mapping::Allocated(host)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
