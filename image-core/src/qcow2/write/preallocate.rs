//! A place for every cluster before anything is written.
//!
//! ```text
//! nothing there        ─► a cluster that reads as zeroes; with extended L2 entries one of which nothing is used yet
//! zeroes, no cluster   ─► zeroes, with a cluster set aside
//! anything else        ─► as it is
//! ```

use std::sync::PoisonError;

use super::super::entry::{HostCluster, Mapping, Subclusters};
use super::super::geometry::{GuestOffset, HostOffset};
use super::bitmaps::Which;
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
        self.begin(state, Which::Enabled)?;
        let mut run = ByteRange::whole(0);
        self.for_each_cluster(range, |guest, _| {
            let Some(place) = self.preallocate_cluster(state, guest)? else { return Ok(()) };
            if run.end() == place.offset() && !run.is_empty() {
                run = ByteRange::between(run.offset(), place.end());
            } else {
                self.set_aside(run, how)?;
                run = place;
            }
            self.commit_if_large(state)
        })
        .doing(|| format!("setting clusters aside (preallocation {how})"))?;
        self.set_aside(run, how).doing(|| format!("setting storage aside (preallocation {how})"))?;
        self.commit(state)
    }

    /// The place of the cluster at `guest`, if it is new.
    fn preallocate_cluster(&self, state: &mut State, guest: GuestOffset) -> Result<Option<ByteRange>> {
        let geometry = self.image.geometry();
        let shows_through = self.image.backing().is_some_and(|backing| backing.size() > guest.0);
        let old = self.image.mapping(guest)?;
        let place = |offset: HostOffset| ByteRange::new(offset.0, geometry.cluster_size());
        let new = |cluster: HostCluster| match old {
            Mapping::Zero(None) => Some(Mapping::Zero(Some(cluster))),
            Mapping::Unallocated if geometry.extended_l2() => {
                Some(Mapping::Divided { cluster: Some(cluster), subclusters: Subclusters::default() })
            }
            Mapping::Divided { cluster: None, subclusters } => {
                Some(Mapping::Divided { cluster: Some(cluster), subclusters })
            }
            Mapping::Unallocated => Some(Mapping::Allocated(cluster)),
            _ => None,
        };
        let probe = HostCluster { offset: HostOffset(0), copied: true };
        if new(probe).is_none() {
            return Ok(None);
        }
        if shows_through && old == Mapping::Unallocated && !geometry.extended_l2() {
            return Err(Error::invalid(format!(
                "guest offset {guest}: a cluster set aside would hide what the backing file has there"
            )));
        }
        let cluster = self.new_cluster(state, guest)?;
        // The place of a freed cluster may still hold what it held.
        let fresh = place(cluster.offset)?;
        if self.data_file.is_none()
            && let Some(there) = fresh.intersection(ByteRange::whole(self.file.size()))
        {
            self.guard(state, there, guest)?;
            self.file.write_zeroes(there, ZeroMode::Punch)?;
        }
        if let Some(mapping) = new(cluster) {
            self.set_mapping(state, guest, mapping)?;
        }
        Ok(Some(fresh))
    }

    /// Makes the file long enough for `run`, and sets storage aside for it.
    fn set_aside(&self, run: ByteRange, how: Preallocation) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
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
