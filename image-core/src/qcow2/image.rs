//! An open image: its header and its tables, and what they say of a guest cluster.
//!
//! ```text
//! guest offset ─► L1 table (in memory) ─► L2 table (cache) ─► entry ─► mapping ─► a place, held against the file
//! ```
//!
//! What an entry names must be in the file, and must not be metadata; else it is an error with the guest offset.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::corrupt::Corrupt;
use super::entry::{CompressedPlace, EntryFormat, L2Entry, Mapping};
use super::geometry::Geometry;
use super::header::{Compression, Header, Version};
use super::offset::{GuestOffset, HostOffset};
use super::preallocated;
use super::snapshot::Snapshot;
use super::table::{L1Table, Table, TableCache, l2_entry, set_l2_entry};
use crate::block::{BlockRead, ByteRange, ClusterCache, Key};
use crate::error::{Doing, Error, Result};

/// The bytes of decoded clusters that are kept of one image.
const DECODED_BYTES: u64 = 8 << 20;
/// So many clusters are asked whether they are compressed.
const ASKED: u64 = 1 << 22;

/// Which compressed cluster, and of which state of the image if that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompressedKey {
    state: u64,
    place: CompressedPlace,
}

impl Key for CompressedKey {
    fn number(self) -> u64 {
        self.place.offset.0
    }
}

/// A qcow2 image, open for reading.
pub struct Qcow2 {
    pub(super) file: Arc<dyn BlockRead>,
    pub(super) backing: Option<Arc<dyn BlockRead>>,
    data_file: Option<Arc<dyn BlockRead>>,
    /// As it is on disk, or will be after the next commit; the other fields are what never changes of it.
    header: RwLock<Arc<Header>>,
    size: AtomicU64,
    pub(super) compression: Compression,
    format: EntryFormat,
    l1: RwLock<L1Table>,
    l2_cache: TableCache,
    /// Compressed clusters of which a part was read.
    pub(super) decompressed: ClusterCache<CompressedKey>,
    /// Changes when a place may hold another cluster than before.
    state: AtomicU64,
    metadata_preallocated: OnceLock<bool>,
}

impl fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2").field("header", &self.header()).finish_non_exhaustive()
    }
}

impl Qcow2 {
    /// The image in `file`, whose header was read from it. What the header names is handed in by the caller, who knows
    /// whether it may be opened; without a backing file, what is not allocated reads as zeroes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if guest clusters are in a data file and there is none;
    /// whatever reading the L1 table says.
    pub fn new(
        file: Arc<dyn BlockRead>,
        header: Header,
        backing: Option<Arc<dyn BlockRead>>,
        data_file: Option<Arc<dyn BlockRead>>,
    ) -> Result<Self> {
        if header.has_data_file() != data_file.is_some() {
            return Err(Error::invalid("a data file must be given to exactly those images that have one"));
        }
        let format = EntryFormat {
            geometry: header.geometry,
            zero_flag: header.version == Version::V3,
            data_file: header.has_data_file(),
        };
        Ok(Self {
            l1: RwLock::new(L1Table::read(&*file, &header)?),
            l2_cache: TableCache::new(header.geometry),
            decompressed: ClusterCache::new(DECODED_BYTES, header.geometry.cluster_size()),
            state: AtomicU64::new(0),
            file,
            backing,
            data_file,
            size: AtomicU64::new(header.size),
            compression: header.compression,
            header: RwLock::new(Arc::new(header)),
            format,
            metadata_preallocated: OnceLock::new(),
        })
    }

    /// The image as it was when `snapshot`, one of its own, was taken.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(&self, snapshot: &Snapshot) -> Result<Self> {
        let header = snapshot.header(&self.header())?;
        Self::new(self.file.clone(), header, self.backing.clone(), self.data_file.clone())
    }

    /// The header, as it is now.
    pub fn header(&self) -> Arc<Header> {
        self.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sizes that follow from the header.
    pub fn geometry(&self) -> Geometry {
        self.format.geometry
    }

    /// The backing file, if it is open.
    pub fn backing(&self) -> Option<&Arc<dyn BlockRead>> {
        self.backing.as_ref()
    }

    /// The file that the image is in.
    pub fn file(&self) -> &Arc<dyn BlockRead> {
        &self.file
    }

    /// Whether clusters were set aside without storage; what cannot be told is not so.
    pub(super) fn is_metadata_preallocated(&self) -> bool {
        let look = |file| preallocated::is_metadata_preallocated(file, &self.header()).unwrap_or_default();
        *self.metadata_preallocated.get_or_init(|| self.file.as_file().is_some_and(look))
    }

    /// The active L1 table.
    pub(super) fn l1(&self) -> RwLockReadGuard<'_, L1Table> {
        self.l1.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that guest clusters are in.
    pub(super) fn cluster_file(&self) -> &dyn BlockRead {
        self.data_file.as_deref().unwrap_or(&*self.file)
    }

    /// What the image says of the cluster at `guest`, which it starts.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with the rule as cause; whatever reading an L2 table says.
    pub fn mapping(&self, guest: GuestOffset) -> Result<Mapping> {
        let geometry = self.format.geometry;
        let guest = GuestOffset(geometry.cluster_start(guest.0));
        match self.l2_table(guest)? {
            Some(table) => {
                let entry = l2_entry(&table, geometry.l2_index(guest), geometry);
                Ok(entry.decode(self.format, guest)?)
            }
            None => Ok(Mapping::Unallocated),
        }
    }

    /// Whether one of its clusters is compressed: of the first 4 Mi, which are 256 GiB in the usual size.
    ///
    /// # Errors
    /// As [`mapping`](Self::mapping).
    pub fn has_compressed_clusters(&self) -> Result<bool> {
        let (size, cluster) = (self.header().size, self.geometry().cluster_size());
        for index in 0..size.div_ceil(cluster).min(ASKED) {
            if matches!(self.mapping(GuestOffset(index.saturating_mul(cluster)))?, Mapping::Compressed(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The L2 table in charge of `guest`, if there is one.
    pub(super) fn l2_table(&self, guest: GuestOffset) -> Result<Option<Table>> {
        let geometry = self.format.geometry;
        let l1 = self.l1();
        let Some(place) = l1.entry(guest).decode(geometry, guest)? else { return Ok(None) };
        let host = place.offset;
        // Before the cache, which knows the table but not who else asked for it.
        l1.refuse_shared(host, guest)?;
        let read = || {
            let range = ByteRange::new(host.0, geometry.cluster_size())?;
            let file_size = self.file.size();
            if range.end() > file_size {
                return Err(Corrupt::L2TablePastEnd { guest, host, file_size }.into());
            }
            if let Some(region) = l1.metadata_in(range, Some(host)) {
                return Err(Corrupt::L2TableInRegion { guest, host, region }.into());
            }
            let mut bytes = vec![0; geometry.cluster_size() as usize];
            self.file.read_at(&mut bytes, host.0).doing(|| format!("reading the L2 table at {host}"))?;
            Ok(bytes.into())
        };
        self.l2_cache.table(host, read).map(Some)
    }

    /// Where `len` plain bytes are in the file; refuses what is not in it, or is metadata.
    pub(super) fn plain_range(&self, guest: GuestOffset, host: HostOffset, len: u64) -> Result<ByteRange> {
        let range = ByteRange::new(host.0, len)?;
        let file_size = self.cluster_file().size();
        if range.end() > file_size {
            // The first cluster of the run that is not whole.
            let sound = self.format.geometry.cluster_start(file_size).saturating_sub(host.0);
            let guest = GuestOffset(guest.0.saturating_add(sound));
            let host = HostOffset(host.0.saturating_add(sound));
            return Err(Corrupt::ClusterPastEnd { guest, host, file_size }.into());
        }
        if self.data_file.is_none()
            && let Some(region) = self.l1().metadata_in(range, None)
        {
            return Err(Corrupt::ClusterInRegion { guest, host, region }.into());
        }
        Ok(range)
    }

    /// What there is in the file of a compressed cluster; refuses it if that is nothing, or metadata.
    pub(super) fn compressed_range(&self, guest: GuestOffset, place: CompressedPlace) -> Result<ByteRange> {
        let file_size = self.file.size();
        let host = place.offset;
        // The file may end within the last sector: what is missing is missed by the decoder, or not.
        let len = place.len.min(file_size.saturating_sub(host.0));
        if len == 0 {
            return Err(Corrupt::ClusterPastEnd { guest, host, file_size }.into());
        }
        let range = ByteRange::new(host.0, len)?;
        if let Some(region) = self.l1().metadata_in(range, None) {
            return Err(Corrupt::ClusterInRegion { guest, host, region }.into());
        }
        Ok(range)
    }

    /// The kind of entries.
    pub(super) fn entry_format(&self) -> EntryFormat {
        self.format
    }

    /// What a compressed cluster is kept by once it is decoded.
    pub(super) fn compressed_key(&self, place: CompressedPlace) -> CompressedKey {
        CompressedKey { state: self.state.load(Ordering::Acquire), place }
    }

    /// The virtual size in bytes, as it is now.
    pub(super) fn virtual_size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
}

/// What writing in place needs: tables that change in memory before they change in the file.
impl Qcow2 {
    /// The active L1 table, to change it.
    pub(super) fn l1_mut(&self) -> RwLockWriteGuard<'_, L1Table> {
        self.l1.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is kept of compressed clusters unknown: their places may be used for others.
    pub(super) fn forget_decompressed(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts `header` in the place of the one that was read: of the same version, geometry and compression.
    pub(super) fn set_header(&self, header: Header) {
        self.l1_mut().set_regions(&header);
        self.size.store(header.size, Ordering::Release);
        *self.header.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(header);
    }

    /// The L2 tables that are not as in the file, or not in it at all.
    pub(super) fn tables(&self) -> &TableCache {
        &self.l2_cache
    }

    /// Adds an L2 table at `host`: a copy of the one in charge of `guest`, or an empty one.
    pub(super) fn copy_l2_table(&self, guest: GuestOffset, host: HostOffset) -> Result<()> {
        let empty = || Table::from(vec![0; self.format.geometry.cluster_size() as usize]);
        let table = self.l2_table(guest)?.unwrap_or_else(empty);
        self.l2_cache.change(host, table, |_| ());
        Ok(())
    }

    /// Changes the L2 entry of the cluster that starts at `guest`.
    pub(super) fn set_l2_entry(&self, guest: GuestOffset, entry: L2Entry) -> Result<()> {
        let geometry = self.format.geometry;
        let place = self.l1().entry(guest).decode(geometry, guest)?;
        if let (Some(place), Some(table)) = (place, self.l2_table(guest)?) {
            let index = geometry.l2_index(guest);
            self.l2_cache.change(place.offset, table, |bytes| set_l2_entry(bytes, index, entry, geometry));
        }
        Ok(())
    }
}
