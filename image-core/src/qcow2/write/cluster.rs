//! One guest cluster: what is written where when some of its bytes change.
//!
//! ```text
//! own cluster        │ ∙∙∙∙∙∙ new new ∙∙∙∙∙∙ │   in place; subclusters that were not allocated are filled up
//! shared, compressed │ old │ new new │ old      │   into a new cluster: what was allocated is copied
//! nothing            │  0  │ new new │  0       │   into a new cluster: filled up from the backing file
//! ```
//!
//! A cluster without extended L2 entries is treated as one that has a single subcluster.

use super::super::entry::{HostCluster, Mapping, Subclusters};
use super::super::geometry::Geometry;
use super::super::header::Version;
use super::super::offset::{GuestOffset, HostOffset};
use super::{Qcow2Writer, State};
use crate::block::{BlockRead, ByteRange, ZeroMode, is_zero};
use crate::error::Result;

/// What a mapping means for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClusterState {
    /// The cluster, unless it is compressed or there is none.
    host: Option<HostCluster>,
    /// Subclusters that have bytes in `host` (or, compressed, all).
    allocated: u32,
    /// Subclusters that read as zeroes.
    zero: u32,
    /// What is to be freed when the cluster gets another place.
    place: Option<ByteRange>,
    /// Whether `host` may be written: nothing else refers to it.
    in_place: bool,
}

impl ClusterState {
    /// Of a mapping in an image without extended L2 entries all bits say the same.
    pub(super) fn of(mapping: Mapping) -> Self {
        let nothing = Self { host: None, allocated: 0, zero: 0, place: None, in_place: false };
        let with = |host: Option<HostCluster>, allocated: u32, zero: u32| Self {
            host,
            allocated,
            zero,
            in_place: host.is_some_and(|host| host.copied),
            ..nothing
        };
        match mapping {
            Mapping::Unallocated => nothing,
            Mapping::Zero(host) => with(host, 0, u32::MAX),
            Mapping::Allocated(host) => with(Some(host), u32::MAX, 0),
            Mapping::Subclusters { cluster, subclusters } => {
                with(cluster, subclusters.allocated, subclusters.zero)
            }
            Mapping::Compressed(place) => {
                Self { allocated: u32::MAX, place: ByteRange::new(place.offset.0, place.len).ok(), ..nothing }
            }
        }
    }

    /// Where `within` of the cluster may be overwritten, if all of it is stored there and nothing else refers to it.
    pub(super) fn overwritable(&self, geometry: Geometry, within: ByteRange) -> Option<u64> {
        let stored = self.in_place && touched(geometry, within) & !self.allocated == 0;
        self.host.filter(|_| stored).map(|host| host.offset.0.saturating_add(within.offset()))
    }

    /// What is to be freed when the cluster gets another place.
    pub(super) fn freed(&self, geometry: Geometry) -> Option<ByteRange> {
        let host = self.host.and_then(|host| ByteRange::new(host.offset.0, geometry.cluster_size()).ok());
        self.place.or(host)
    }
}

/// The mapping of a cluster with these subclusters.
fn mapping(host: Option<HostCluster>, allocated: u32, zero: u32) -> Mapping {
    match (host, allocated, zero) {
        (Some(host), u32::MAX, _) => Mapping::Allocated(host),
        (host, _, u32::MAX) => Mapping::Zero(host),
        (None, _, 0) => Mapping::Unallocated,
        (cluster, allocated, zero) => {
            Mapping::Subclusters { cluster, subclusters: Subclusters { allocated, zero } }
        }
    }
}

/// The bits of the subclusters that `within`, a part of a cluster, touches; all of a cluster that has none.
fn touched(geometry: Geometry, within: ByteRange) -> u32 {
    if !geometry.extended_l2() || within.is_empty() {
        return if within.is_empty() { 0 } else { u32::MAX };
    }
    let size_bits = geometry.subcluster_size().trailing_zeros();
    let first = within.offset().wrapping_shr(size_bits);
    let behind = within.end().saturating_sub(1).wrapping_shr(size_bits).saturating_add(1);
    let ones = |count: u64| 1_u64.wrapping_shl(count as u32).wrapping_sub(1) as u32;
    ones(behind) & !ones(first)
}

/// The runs of subclusters whose bits are set, as parts of the cluster.
fn runs(geometry: Geometry, bits: u32) -> impl Iterator<Item = ByteRange> {
    let size = if geometry.extended_l2() { geometry.subcluster_size() } else { geometry.cluster_size() / 32 };
    let mut left = u64::from(bits);
    let mut at = 0_u64;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let skip = u64::from(left.trailing_zeros());
        left = left.wrapping_shr(skip as u32);
        let count = u64::from(left.trailing_ones());
        left = left.wrapping_shr(count as u32);
        let start = at.saturating_add(skip);
        at = start.saturating_add(count);
        Some(ByteRange::between(start.saturating_mul(size), at.saturating_mul(size)))
    })
}

impl Qcow2Writer {
    /// Stores `data` at `in_cluster` bytes into the cluster at `guest`.
    pub(super) fn store(
        &self,
        state: &mut State,
        guest: GuestOffset,
        in_cluster: u64,
        data: &[u8],
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let within = ByteRange::new(in_cluster, data.len() as u64)?;
        let old = ClusterState::of(self.image.mapping(guest)?);
        let new_bits = touched(geometry, within);
        let (host, parts) = match old.host {
            Some(host) if old.in_place => (host, vec![fill_up(geometry, within, new_bits & !old.allocated)]),
            // A new place: all that the cluster has comes along.
            _ => (self.new_cluster(state, guest)?, runs(geometry, old.allocated | new_bits).collect()),
        };
        for part in parts {
            self.store_part(state, guest, host.offset, part, (within, data))?;
        }
        if old.in_place && new_bits & !old.allocated == 0 {
            return Ok(());
        }
        if !old.in_place
            && let Some(place) = old.freed(geometry).filter(|_| self.data_file.is_none())
        {
            state.pending.free(place);
        }
        let allocated = old.allocated | new_bits;
        self.set_mapping(state, guest, mapping(Some(host), allocated, old.zero & !allocated))
    }

    /// A cluster for the guest's: in the data file there is no choice.
    pub(super) fn new_cluster(&self, state: &mut State, guest: GuestOffset) -> Result<HostCluster> {
        // Its table first: then one does not come between the clusters that it maps.
        self.own_l2_table(state, guest)?;
        let offset = match self.data_file {
            Some(_) => HostOffset(guest.0),
            None => state.allocator.allocate(&*self.file, 1)?,
        };
        Ok(HostCluster { offset, copied: true })
    }

    /// Stages `part` of the cluster: the old bytes with `data` over them.
    fn store_part(
        &self,
        state: &mut State,
        guest: GuestOffset,
        host: HostOffset,
        part: ByteRange,
        (within, data): (ByteRange, &[u8]),
    ) -> Result<()> {
        let host = host.0.saturating_add(part.offset());
        if part == within {
            return self.stage(state, guest, host, data);
        }
        let mut bytes = vec![0; part.len() as usize];
        self.read_outside(&mut bytes, guest, part, within)?;
        if let Some(both) = part.intersection(within) {
            let from = both.offset().saturating_sub(within.offset()) as usize;
            let to = both.offset().saturating_sub(part.offset()) as usize;
            let source = data.iter().skip(from).take(both.len() as usize);
            for (to, from) in bytes.iter_mut().skip(to).zip(source) {
                *to = *from;
            }
        }
        self.stage(state, guest, host, &bytes)
    }

    /// Reads into `bytes`, which is `part` of the cluster, what lies outside of `within`.
    fn read_outside(
        &self,
        bytes: &mut [u8],
        guest: GuestOffset,
        part: ByteRange,
        within: ByteRange,
    ) -> Result<()> {
        let before = ByteRange::between(part.offset(), part.end().min(within.offset()));
        let behind = ByteRange::between(part.offset().max(within.end()), part.end());
        for piece in [before, behind] {
            // The last cluster may reach past the end of the disk: zeroes there.
            let start = guest.0.saturating_add(piece.offset());
            let len = piece.len().min(self.size().saturating_sub(start)) as usize;
            let from = piece.offset().saturating_sub(part.offset()) as usize;
            if let Some(bytes) = bytes.get_mut(from..from.saturating_add(len))
                && !bytes.is_empty()
            {
                self.image.read_at(bytes, start)?;
            }
        }
        Ok(())
    }

    /// Whether the backing file has something where `guest` is not allocated.
    pub(super) fn shows_through(&self, guest: GuestOffset) -> bool {
        self.image.backing().is_some_and(|backing| backing.size() > guest.0)
    }

    /// Makes `within` of the cluster at `guest` read as zeroes, marked as such if something `shows_through`.
    pub(super) fn zero(
        &self,
        state: &mut State,
        guest: GuestOffset,
        within: ByteRange,
        (mode, shows_through): (ZeroMode, bool),
    ) -> Result<()> {
        let header = self.image.header();
        let geometry = header.geometry;
        // What the disk does not have of its last cluster needs no zeroes of its own.
        let cluster_end = geometry.cluster_size().min(self.size().saturating_sub(guest.0));
        let whole = ByteRange::between(
            within.offset(),
            if within.end() == cluster_end { geometry.cluster_size() } else { within.end() },
        );
        let bits = inner(geometry, whole);
        let old_version = header.version == Version::V2;
        if bits == u32::MAX && old_version && !shows_through && self.data_file.is_none() {
            return self.unmap(state, guest);
        }
        if bits == 0 || old_version {
            return self.write_zero_bytes(state, guest, within);
        }
        // The rests in subclusters that are not whole.
        for run in [
            ByteRange::between(within.offset(), first_of(geometry, bits).min(within.end())),
            ByteRange::between(end_of(geometry, bits), within.end()),
        ] {
            if !run.is_empty() {
                self.write_zero_bytes(state, guest, run)?;
            }
        }
        self.mark_zeroes(state, guest, bits, (mode, shows_through))
    }

    /// Frees what the cluster at `guest` has; its entry must go.
    pub(super) fn free_cluster(&self, state: &mut State, guest: GuestOffset) -> Result<()> {
        let old = ClusterState::of(self.image.mapping(guest)?);
        if let Some(place) = old.freed(self.image.geometry())
            && self.data_file.is_none()
        {
            state.pending.free(place);
        }
        Ok(())
    }

    /// Makes the cluster at `guest` unallocated.
    pub(super) fn unmap(&self, state: &mut State, guest: GuestOffset) -> Result<()> {
        self.free_cluster(state, guest)?;
        match self.image.mapping(guest)? {
            Mapping::Unallocated => Ok(()),
            _ => self.set_mapping(state, guest, Mapping::Unallocated),
        }
    }

    /// Writes zeroes where there are none yet.
    fn write_zero_bytes(&self, state: &mut State, guest: GuestOffset, within: ByteRange) -> Result<()> {
        // What is read here may have been staged a moment ago.
        self.write_staged(state)?;
        let mut bytes = vec![0; within.len() as usize];
        self.image.read_at(&mut bytes, guest.0.saturating_add(within.offset()))?;
        if is_zero(&bytes) {
            return Ok(());
        }
        bytes.fill(0);
        self.store(state, guest, within.offset(), &bytes)
    }

    /// Marks the subclusters `bits` as zeroes; their cluster is kept or given back.
    fn mark_zeroes(
        &self,
        state: &mut State,
        guest: GuestOffset,
        bits: u32,
        (mode, shows_through): (ZeroMode, bool),
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let current = self.image.mapping(guest)?;
        let old = ClusterState::of(current);
        if matches!(current, Mapping::Compressed(_)) && bits != u32::MAX {
            let there = self.size().saturating_sub(guest.0);
            let end = end_of(geometry, bits).min(there);
            let rest = ByteRange::between(first_of(geometry, bits).min(end), end);
            return self.write_zero_bytes(state, guest, rest);
        }
        if current == Mapping::Unallocated && !shows_through {
            return Ok(());
        }
        let (allocated, zero) = (old.allocated & !bits, old.zero | bits);
        let gives_back = allocated == 0 && (mode == ZeroMode::Punch || !old.in_place);
        let host = if gives_back { None } else { old.host };
        if let Some(data_file) = &self.data_file {
            // A data file that is raw has no other way to say it, and others lose nothing.
            for run in runs(geometry, bits) {
                let start = guest.0.saturating_add(run.offset());
                let range = ByteRange::between(start, start.saturating_add(run.len()).min(data_file.size()));
                if !range.is_empty() {
                    data_file.write_zeroes(range, mode)?;
                }
            }
        }
        if gives_back && let Some(place) = old.freed(geometry).filter(|_| self.data_file.is_none()) {
            state.pending.free(place);
        }
        let new = mapping(host, allocated, zero);
        if new == current { Ok(()) } else { self.set_mapping(state, guest, new) }
    }
}

/// `within`, grown to the ends of the subclusters that get their first bytes.
fn fill_up(geometry: Geometry, within: ByteRange, first_time: u32) -> ByteRange {
    runs(geometry, first_time).fold(within, |grown, run| {
        ByteRange::between(grown.offset().min(run.offset()), grown.end().max(run.end()))
    })
}

/// The bits of the subclusters that lie wholly in `within`.
fn inner(geometry: Geometry, within: ByteRange) -> u32 {
    let size = geometry.subcluster_size();
    let start = within.offset().next_multiple_of(size);
    let end = within.end() & !size.saturating_sub(1);
    touched(geometry, ByteRange::between(start, end))
}

/// Where the first of the subclusters `bits` starts.
fn first_of(geometry: Geometry, bits: u32) -> u64 {
    runs(geometry, bits).next().map_or(0, ByteRange::offset)
}

/// Where the last of the subclusters `bits` ends.
fn end_of(geometry: Geometry, bits: u32) -> u64 {
    runs(geometry, bits).last().map_or(0, ByteRange::end)
}
