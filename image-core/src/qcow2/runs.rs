//! Guest ranges as runs: neighbouring bytes that are read in one way.
//!
//! ```text
//! L2 entries:  │ zero │ zero │ at 3 │ at 4 │ nothing │ nothing │ compressed │
//! runs:        │    zero     │   at 3      │      backing      │ compressed │
//! ```

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::entry::{CompressedPlace, HostCluster, Mapping, Subclusters};
use super::geometry::Geometry;
use super::image::Qcow2;
use super::layout::SUBCLUSTER_COUNT;
use super::offset::{GuestOffset, HostOffset};
use super::table::{Table, l2_entry};
use crate::block::ByteRange;
use crate::error::Result;

/// How a run of guest bytes is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// From the backing file, or as zeroes; with the place set aside (subclusters of an allocated cluster).
    Backing(Option<HostOffset>),
    /// As zeroes; with the place set aside for them.
    Zero(Option<HostOffset>),
    /// From the file (or the data file), from this offset on.
    Plain(HostOffset),
    /// By decoding, starting at the run's first byte's place in its cluster.
    Compressed(CompressedPlace),
}

/// Guest bytes of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: ByteRange,
    pub(crate) kind: RunKind,
}

impl Run {
    /// This run with `next`, which follows it, if both are of one kind.
    fn joined(self, next: Run) -> Option<Run> {
        use RunKind::{Backing, Plain, Zero};
        let alike = match (self.kind, next.kind) {
            (Plain(one), Plain(other))
            | (Backing(Some(one)), Backing(Some(other)))
            | (Zero(Some(one)), Zero(Some(other))) => one.0.checked_add(self.range.len()) == Some(other.0),
            (RunKind::Compressed(_), RunKind::Compressed(_)) => false,
            (one, other) => one == other,
        };
        alike.then(|| Run {
            range: ByteRange::between(self.range.offset(), next.range.end()),
            kind: self.kind,
        })
    }
}

impl Qcow2 {
    /// The runs of `range`, which is on the disk, in ascending order and as long as they can be.
    pub(crate) fn runs(&self, range: ByteRange) -> Runs<'_> {
        Runs { image: self, at: range.offset(), end: range.end(), table: None, pending: None }
    }
}

/// The runs of a range of an image; after an error, none.
pub(crate) struct Runs<'a> {
    image: &'a Qcow2,
    at: u64,
    end: u64,
    /// The L2 table of the L1 entry with this index.
    table: Option<(u64, Option<Table>)>,
    pending: Option<Run>,
}

impl Runs<'_> {
    /// The longest piece from `at` on that one L2 entry (or L1 entry without table) says.
    fn piece(&mut self) -> Result<Run> {
        let geometry = self.image.geometry();
        let guest = GuestOffset(self.at);
        let l1_index = geometry.l1_index(guest);
        if self.table.as_ref().is_none_or(|&(known, _)| known != l1_index) {
            self.table = Some((l1_index, self.image.l2_table(guest)?));
        }
        let Some((_, Some(table))) = &self.table else {
            let covered = l1_index.saturating_add(1).saturating_mul(geometry.l2_coverage());
            return Ok(self.run_until(covered, RunKind::Backing(None)));
        };
        let entry = l2_entry(table, geometry.l2_index(guest), geometry);
        let cluster = geometry.cluster_start(self.at);
        let cluster_end = cluster.saturating_add(geometry.cluster_size());
        let in_cluster = geometry.in_cluster(self.at);
        let place = |cluster: HostCluster| HostOffset(cluster.offset.0.saturating_add(in_cluster));
        let (end, kind) = match entry.decode(self.image.entry_format(), GuestOffset(cluster))? {
            Mapping::Unallocated => (cluster_end, RunKind::Backing(None)),
            Mapping::Zero(set_aside) => (cluster_end, RunKind::Zero(set_aside.map(place))),
            Mapping::Allocated(cluster) => (cluster_end, RunKind::Plain(place(cluster))),
            Mapping::Compressed(place) => (cluster_end, RunKind::Compressed(place)),
            Mapping::Subclusters { cluster: set_aside, subclusters } => {
                let (len, kind) = subclusters_from(geometry, subclusters, in_cluster);
                let kind = match (kind, set_aside) {
                    (Subcluster::Allocated, Some(cluster)) => RunKind::Plain(place(cluster)),
                    (Subcluster::Zero, set_aside) => RunKind::Zero(set_aside.map(place)),
                    (_, set_aside) => RunKind::Backing(set_aside.map(place)),
                };
                (self.at.saturating_add(len), kind)
            }
        };
        Ok(self.run_until(end, kind))
    }

    fn run_until(&self, end: u64, kind: RunKind) -> Run {
        Run { range: ByteRange::between(self.at, end.min(self.end)), kind }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let piece = match self.piece() {
                Ok(piece) => piece,
                Err(error) => {
                    self.at = self.end;
                    self.pending = None;
                    return Some(Err(error));
                }
            };
            self.at = piece.range.end();
            match self.pending {
                None => self.pending = Some(piece),
                Some(run) => match run.joined(piece) {
                    Some(longer) => self.pending = Some(longer),
                    None => {
                        self.pending = Some(piece);
                        return Some(Ok(run));
                    }
                },
            }
        }
        self.pending.take().map(Ok)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subcluster {
    Backing,
    Zero,
    Allocated,
}

/// What the subcluster `in_cluster` bytes into its cluster is, and for how many bytes that holds.
fn subclusters_from(geometry: Geometry, subclusters: Subclusters, in_cluster: u64) -> (u64, Subcluster) {
    let size = geometry.subcluster_size();
    let index = in_cluster.checked_div(size).unwrap_or_default() as u32;
    let (allocated, zero) = (subclusters.allocated.wrapping_shr(index), subclusters.zero.wrapping_shr(index));
    let left = (SUBCLUSTER_COUNT as u32).saturating_sub(index);
    let (alike, kind) = if allocated & 1 != 0 {
        (allocated.trailing_ones(), Subcluster::Allocated)
    } else if zero & 1 != 0 {
        (zero.trailing_ones(), Subcluster::Zero)
    } else {
        ((allocated | zero).trailing_zeros(), Subcluster::Backing)
    };
    let end = u64::from(index.saturating_add(alike.min(left))).saturating_mul(size);
    (end.saturating_sub(in_cluster), kind)
}
