//! Writing an image in place: copy on write, and an order that survives a crash at any moment.
//!
//! ```text
//! write_at ─┬─ all of it in clusters of its own ──────► written there, beside other readers and writers
//!           └─ else, alone ─► for each cluster: take a new one, copy what stays, write, remember the entry
//!                                                                                          │
//! flush ────────────────────────────────────────────────────────────────────────► tables ◄─┘
//! ```
//!
//! Tables change in memory first. `flush.rs` brings them to the file in the only order that is safe: what is
//! referred to before what refers to it, and counts fall last. Whatever is lost in between, the image on disk is
//! consistent but for leaks, and has all that was there at the last flush.
//!
//! Before bytes go to the file, their place is compared with all metadata that is known: an image that would have
//! its own tables overwritten is marked corrupt instead.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod allocate;
mod amend;
mod backing;
mod bitmaps;
mod cluster;
mod compressed;
mod flush;
mod lazy_refcounts;
mod preallocate;
mod resize;
mod snapshots;
mod transaction;

pub use amend::{Amendment, Version2Rule, amend};
pub use backing::change_backing_file;
pub use bitmaps::{BitmapChange, BitmapRule, change_bitmaps, copy_bitmaps};
pub use compressed::CompressedSink;
pub(super) use snapshots::tables::rewrite_snapshots;
pub use snapshots::{NewSnapshot, apply_snapshot, create_snapshot, delete_snapshot};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::corrupt::{Corrupt, Region};
use super::entry::{HostCluster, L1Entry, L2Entry, Mapping};
use super::feature_bits;
use super::header::{Header, Version};
use super::image::Qcow2;
use super::layout;
use super::offset::{GuestOffset, HostOffset};
use crate::block::{BlockRead, BlockWrite, ByteRange, Extents, ZeroMode};
use crate::error::{Doing, ErrorKind, Result};
use allocate::Allocator;
use bitmaps::{BitmapRecorder, Recording};
use cluster::ClusterState;
use flush::Pending;

/// A qcow2 image, open for reading and writing.
///
/// What was written is sure to be in the image after [`flush`](BlockWrite::flush), or [`close`](Self::close).
pub struct Qcow2Writer {
    image: Qcow2,
    file: Arc<dyn BlockWrite>,
    data_file: Option<Arc<dyn BlockWrite>>,
    /// Held for reading while guest bytes are read or overwritten in place, for writing while tables change.
    order: RwLock<()>,
    state: Mutex<State>,
}

/// What changes; only looked at by who holds `order`.
struct State {
    allocator: Allocator,
    pending: Pending,
    staged: Staged,
    /// Whether the header says that the image is being written by someone who knows no bitmaps.
    begun: bool,
    recorder: BitmapRecorder,
}

impl fmt::Debug for Qcow2Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Writer").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Qcow2Writer {
    /// The image in `file`, whose header was read from it. As for [`Qcow2::new`], what the header names is handed in.
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) for images that are marked corrupt: they must be repaired first; those that
    /// are marked dirty are repaired here. Else as [`Qcow2::new`], and whatever reading the refcount table says.
    pub fn new(
        file: Arc<dyn BlockWrite>,
        header: Header,
        backing: Option<Arc<dyn BlockRead>>,
        data_file: Option<Arc<dyn BlockWrite>>,
    ) -> Result<Self> {
        let header = lazy_refcounts::repair_if_dirty(&*file, &header)?;
        let allocator = Allocator::read(&*file, &header)?;
        let as_read =
            |disk: &Arc<dyn BlockWrite>| -> Arc<dyn BlockRead> { Arc::<dyn BlockWrite>::clone(disk) };
        let image = Qcow2::new(as_read(&file), header, backing, data_file.as_ref().map(as_read))?;
        let state = State {
            allocator,
            pending: Pending::default(),
            staged: Staged::default(),
            begun: false,
            recorder: BitmapRecorder::default(),
        };
        Ok(Self { image, file, data_file, order: RwLock::default(), state: Mutex::new(state) })
    }

    /// The image, as it is with all that was written so far.
    pub fn image(&self) -> &Qcow2 {
        &self.image
    }

    /// Completes all that was written, gives freed clusters back, and stores the bitmaps that follow every write. Without
    /// it nothing that was flushed is lost, but clusters may stay leaked, and those bitmaps are not believed any more.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub fn close(self) -> Result<()> {
        self.complete().map(drop)
    }

    /// Does so; returns the header as it is on disk then.
    fn complete(&self) -> Result<Header> {
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        // The first commit frees, the second one writes down what is free.
        self.flush_with_refcounts(state)?;
        self.flush_with_refcounts(state)?;
        self.mark_clean()?;
        let refcount_table = state.allocator.table_place();
        let header = Header { refcount_table, ..Header::clone(&self.image.header()) };
        state.recorder.finish(&*self.file, header)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that guest clusters are in.
    fn cluster_file(&self) -> &dyn BlockWrite {
        self.data_file.as_deref().unwrap_or(&*self.file)
    }

    /// Before a change: marks the bitmaps that follow it as in use, and clears the autoclear bits of what does not.
    fn begin(&self, state: &mut State, which: Recording) -> Result<()> {
        if state.begun && which == Recording::Enabled {
            return Ok(());
        }
        let mut header = Header::clone(&self.image.header());
        let mut kept = layout::AUTOCLEAR_DATA_FILE_RAW;
        match state.recorder.begin(&*self.file, &header, which) {
            Ok(()) => kept |= layout::AUTOCLEAR_BITMAPS,
            // Bitmaps that break a rule cannot follow.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => {}
            Err(error) => return Err(error),
        }
        if header.features.autoclear & !kept != 0 {
            feature_bits::keep_autoclear(&*self.file, &mut header, kept)?;
            self.image.set_header(header);
        }
        state.begun = true;
        Ok(())
    }

    /// Refuses to write guest bytes over metadata, and marks the image corrupt then.
    fn guard(&self, state: &State, range: ByteRange, guest: GuestOffset) -> Result<()> {
        if self.data_file.is_some() {
            return Ok(());
        }
        let Some(region) = self.metadata_in(state, range) else { return Ok(()) };
        self.mark_corrupt()?;
        Err(Corrupt::ClusterInRegion { guest, host: HostOffset(range.offset()), region }.into())
    }

    /// The same before refcounts go to places that they were not in.
    fn guard_refcounts(&self, state: &State) -> Result<()> {
        for (one, place) in state.allocator.new_places()? {
            if let Some(other) = self.image.l1().metadata_in(place, None) {
                self.mark_corrupt()?;
                let (one_offset, other_offset) = (place.offset(), place.offset());
                return Err(Corrupt::RegionsOverlap { one, one_offset, other, other_offset }.into());
            }
        }
        Ok(())
    }

    fn metadata_in(&self, state: &State, range: ByteRange) -> Option<Region> {
        self.image.l1().metadata_in(range, None).or_else(|| state.allocator.metadata_in(range))
    }

    /// Sets the corrupt bit: nobody writes to this image any more, until it is repaired.
    fn mark_corrupt(&self) -> Result<()> {
        let header = self.image.header();
        if header.version == Version::V2 {
            return Ok(());
        }
        let features = header.features.incompatible | layout::INCOMPATIBLE_CORRUPT;
        self.file
            .write_at(&features.to_be_bytes(), layout::INCOMPATIBLE_FEATURES_OFFSET)
            .doing(|| "marking the image corrupt")?;
        self.file.flush()
    }

    /// Writes `buf` where every byte has a cluster of its own already; `false`, with nothing done, where not.
    fn overwrite(&self, buf: &[u8], offset: u64) -> Result<bool> {
        let geometry = self.image.geometry();
        let range = ByteRange::new(offset, buf.len() as u64)?;
        // Guest ranges and where they are.
        let mut runs: Vec<(ByteRange, u64)> = Vec::new();
        let mut at = range.offset();
        while at < range.end() {
            let cluster = geometry.cluster_start(at);
            let end = range.end().min(cluster.saturating_add(geometry.cluster_size()));
            let within = ByteRange::between(at.saturating_sub(cluster), end.saturating_sub(cluster));
            let mapping = self.image.mapping(GuestOffset(cluster))?;
            let Some(host) = ClusterState::of(mapping).overwritable(geometry, within) else {
                return Ok(false);
            };
            match runs.last_mut() {
                Some((run, start)) if start.checked_add(run.len()) == Some(host) => {
                    *run = ByteRange::between(run.offset(), end);
                }
                _ => runs.push((ByteRange::between(at, end), host)),
            }
            at = end;
        }
        {
            let mut state = self.state();
            if !state.begun {
                return Ok(false);
            }
            state.recorder.record(range);
            for &(range, host) in &runs {
                self.guard(&state, ByteRange::new(host, range.len())?, GuestOffset(range.offset()))?;
            }
        }
        let mut rest = buf;
        for (range, host) in runs {
            let (part, behind) = rest.split_at_checked(range.len() as usize).unwrap_or((rest, &[]));
            self.cluster_file().write_at(part, host)?;
            rest = behind;
        }
        Ok(true)
    }

    /// Calls `with` for the part of `range` in each cluster: the cluster, and where in it.
    fn for_each_cluster(
        &self,
        range: ByteRange,
        mut with: impl FnMut(GuestOffset, ByteRange) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.image.geometry();
        let mut at = range.offset();
        while at < range.end() {
            let cluster = geometry.cluster_start(at);
            let end = range.end().min(cluster.saturating_add(geometry.cluster_size()));
            let within = ByteRange::between(at.saturating_sub(cluster), end.saturating_sub(cluster));
            with(GuestOffset(cluster), within)?;
            at = end;
        }
        Ok(())
    }

    /// Changes the L2 entry of the cluster at `guest`, in memory.
    fn set_mapping(&self, state: &mut State, guest: GuestOffset, mapping: Mapping) -> Result<()> {
        let entry = L2Entry::encode(mapping, self.image.entry_format())?;
        self.own_l2_table(state, guest)?;
        self.image.set_l2_entry(guest, entry)
    }

    /// Makes an L2 table in charge of `guest`, or copies it, where there is none or it is shared.
    fn own_l2_table(&self, state: &mut State, guest: GuestOffset) -> Result<()> {
        let geometry = self.image.geometry();
        let old = self.image.l1().entry(guest).decode(geometry, guest)?;
        if let Some(table) = old
            && table.copied
        {
            return Ok(());
        }
        let host = state.allocator.allocate(&*self.file, 1)?;
        if let Some(region) = self.metadata_in(state, ByteRange::new(host.0, geometry.cluster_size())?) {
            self.mark_corrupt()?;
            return Err(Corrupt::L2TableInRegion { guest, host, region }.into());
        }
        self.image.copy_l2_table(guest, host)?;
        let index = geometry.l1_index(guest);
        let entry = L1Entry::new(HostCluster { offset: host, copied: true });
        self.image.l1_mut().set(index, entry);
        state.pending.l1_changed(index);
        if let Some(table) = old {
            state.pending.free(ByteRange::new(table.offset.0, geometry.cluster_size())?);
        }
        Ok(())
    }

    /// Brings staged bytes to the file.
    fn write_staged(&self, state: &mut State) -> Result<()> {
        let staged = std::mem::take(&mut state.staged);
        if staged.bytes.is_empty() {
            return Ok(());
        }
        allocate::write_growing(self.cluster_file(), &staged.bytes, staged.offset)
    }

    /// Stages `bytes` for `host`, so that neighbours are written at once.
    fn stage(&self, state: &mut State, guest: GuestOffset, host: u64, bytes: &[u8]) -> Result<()> {
        self.guard(state, ByteRange::new(host, bytes.len() as u64)?, guest)?;
        let staged = &state.staged;
        let follows = staged.offset.checked_add(staged.bytes.len() as u64) == Some(host);
        if !follows || staged.bytes.len() >= Staged::MOST {
            self.write_staged(state)?;
            state.staged.offset = host;
        }
        state.staged.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes on their way to contiguous clusters.
#[derive(Default)]
struct Staged {
    offset: u64,
    bytes: Vec<u8>,
}

impl Staged {
    /// Written at the latest when it holds so many bytes.
    const MOST: usize = 1 << 20;
}

impl BlockRead for Qcow2Writer {
    fn size(&self) -> u64 {
        self.image.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let _shared = self.order.read().unwrap_or_else(PoisonError::into_inner);
        self.image.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let _shared = self.order.read().unwrap_or_else(PoisonError::into_inner);
        self.image.extents(range)
    }
}

impl BlockWrite for Qcow2Writer {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size())?;
        {
            let _shared = self.order.read().unwrap_or_else(PoisonError::into_inner);
            if self.overwrite(buf, offset)? {
                return Ok(());
            }
        }
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::Enabled)?;
        state.recorder.record(range);
        let mut rest = buf;
        self.for_each_cluster(range, |guest, within| {
            let (part, behind) = rest.split_at_checked(within.len() as usize).unwrap_or((rest, &[]));
            rest = behind;
            self.store(state, guest, within.offset(), part)?;
            self.flush_if_large(state)
        })?;
        self.write_staged(state)
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        range.check_within(self.size())?;
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::Enabled)?;
        state.recorder.record(range);
        self.for_each_cluster(range, |guest, within| {
            self.zero(state, guest, within, (mode, self.shows_through(guest)))?;
            self.flush_if_large(state)
        })?;
        self.write_staged(state)
    }

    fn flush(&self) -> Result<()> {
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        self.flush_metadata(&mut self.state())
    }

    fn resize(&self, size: u64) -> Result<()> {
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *self.state();
        self.begin(state, Recording::All)?;
        self.change_size(state, size)?;
        state.recorder.resize(size);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
