//! An image as a disk: guest range → runs → bytes, through the backing chain.
//!
//! ```text
//! read_at ─┐                          ┌─ nothing there ─► backing file, then zeroes
//!          ├─► Runs: neighbours with ─┼─ zero ──────────► zeroes
//! extents ─┘   one treatment joined   ├─ plain ─────────► one read for all that is contiguous in the file
//!                                     └─ compressed ────► decoded, one cluster at a time
//! ```
//!
//! What an entry names must be in the file, and must not be metadata; else it is an error with the guest offset.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ahead;
use super::cache::{ClusterCache, Key};
use super::corrupt::Corrupt;
use super::decompress::Decoder;
use super::entry::{CompressedPlace, EntryFormat, HostCluster, L2Entry, Mapping, Subclusters};
use super::geometry::{Geometry, GuestOffset, HostOffset};
use super::header::{Compression, Header, Version};
use super::layout::SUBCLUSTER_COUNT;
use super::map;
use super::snapshot::Snapshot;
use super::table::{L1Table, Table, TableCache, l2_entry, set_l2_entry};
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents, InFile, Stretch};
use crate::error::{Doing, Error, Result};

/// The bytes of decoded clusters that are kept of one image.
const DECODED_BYTES: u64 = 8 << 20;

/// Which compressed cluster, and of which state of the image if that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CompressedKey {
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
    file: Arc<dyn BlockRead>,
    backing: Option<Arc<dyn BlockRead>>,
    data_file: Option<Arc<dyn BlockRead>>,
    /// As it is on disk, or will be after the next commit; the other fields are what never changes of it.
    header: RwLock<Arc<Header>>,
    size: AtomicU64,
    compression: Compression,
    format: EntryFormat,
    l1: RwLock<L1Table>,
    l2_cache: TableCache,
    /// Compressed clusters of which a part was read.
    decoded: ClusterCache<CompressedKey>,
    /// Changes when a place may hold another cluster than before.
    state: AtomicU64,
    metadata_preallocated: OnceLock<bool>,
}

impl fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2").field("header", &self.header()).finish_non_exhaustive()
    }
}

/// How a run of guest bytes is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// From the backing file, or as zeroes; with the place set aside (subclusters of an allocated cluster).
    Backing(Option<HostOffset>),
    /// As zeroes; with the place set aside for them.
    Zero(Option<HostOffset>),
    /// From the file (or the data file), from this offset on.
    Plain(HostOffset),
    /// By decoding, starting at the run's first byte's place in its cluster.
    Compressed(CompressedPlace),
}

/// Guest bytes with one treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: ByteRange,
    pub(crate) treatment: Treatment,
}

impl Run {
    /// This run with `next`, which follows it, if one treatment does for both.
    fn joined(self, next: Run) -> Option<Run> {
        use Treatment::{Backing, Plain, Zero};
        let alike = match (self.treatment, next.treatment) {
            (Plain(one), Plain(other))
            | (Backing(Some(one)), Backing(Some(other)))
            | (Zero(Some(one)), Zero(Some(other))) => one.0.checked_add(self.range.len()) == Some(other.0),
            (Treatment::Compressed(_), Treatment::Compressed(_)) => false,
            (one, other) => one == other,
        };
        alike.then(|| Run {
            range: ByteRange::between(self.range.offset(), next.range.end()),
            treatment: self.treatment,
        })
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
            decoded: ClusterCache::new(DECODED_BYTES, header.geometry),
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
        let look = |file| map::is_metadata_preallocated(file, &self.header()).unwrap_or_default();
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

    /// The L2 table in charge of `guest`, if there is one.
    fn l2_table(&self, guest: GuestOffset) -> Result<Option<Table>> {
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

    /// The runs of `range`, which is on the disk, in ascending order and as long as they can be.
    pub(crate) fn runs(&self, range: ByteRange) -> Runs<'_> {
        Runs { image: self, at: range.offset(), end: range.end(), table: None, pending: None }
    }

    fn read_run(&self, buf: &mut [u8], run: Run) -> Result<()> {
        match run.treatment {
            Treatment::Zero(_) => {
                buf.fill(0);
                Ok(())
            }
            Treatment::Backing(_) => self.read_backing(buf, run.range.offset()),
            Treatment::Plain(host) => self.read_plain(buf, GuestOffset(run.range.offset()), host),
            Treatment::Compressed(place) => self.read_compressed(buf, GuestOffset(run.range.offset()), place),
        }
    }

    fn read_backing(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Some(backing) = &self.backing else {
            buf.fill(0);
            return Ok(());
        };
        // A backing file may be shorter: what it does not cover reads as zeroes.
        let there = backing.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (covered, beyond) = buf.split_at_mut(there);
        beyond.fill(0);
        if covered.is_empty() {
            return Ok(());
        }
        backing.read_at(covered, offset).doing(|| "reading the backing file")
    }

    fn read_plain(&self, buf: &mut [u8], guest: GuestOffset, host: HostOffset) -> Result<()> {
        self.plain_range(guest, host, buf.len() as u64)?;
        self.cluster_file().read_at(buf, host.0)
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

    fn read_compressed(&self, buf: &mut [u8], guest: GuestOffset, place: CompressedPlace) -> Result<()> {
        let (geometry, host) = (self.format.geometry, place.offset);
        let len = self.compressed_range(guest, place)?.len() as usize;
        let is_whole = buf.len() as u64 == geometry.cluster_size();
        let key = CompressedKey { state: self.state.load(Ordering::Acquire), place };
        let from = geometry.in_cluster(guest.0) as usize;
        if !is_whole && let Some(cluster) = self.decoded.find(key) {
            copy_part(buf, &cluster, from);
            return Ok(());
        }
        let mut packed = Decoder::packed_buffer(len);
        self.file.read_at(packed.get_mut(..len).unwrap_or_default(), host.0)?;
        let decode = |packed, out: &mut [u8]| {
            Decoder::with(|decoder| decoder.decode(self.compression, packed, len, out)).map_err(|why| {
                let guest = GuestOffset(geometry.cluster_start(guest.0));
                Corrupt::CompressedData { guest, host, len: place.len, why }.into()
            })
        };
        if is_whole {
            return decode(packed, buf);
        }
        let mut cluster = vec![0; geometry.cluster_size() as usize];
        decode(packed, &mut cluster)?;
        copy_part(buf, &cluster, from);
        // The next one to ask mostly asks for what is beside it.
        self.decoded.put(key, cluster.into());
        Ok(())
    }
}

/// Fills `buf` from `cluster`, from byte `from` of it on, where both are as long as that takes.
fn copy_part(buf: &mut [u8], cluster: &[u8], from: usize) {
    if let Some(part) = cluster.get(from..).and_then(|rest| rest.get(..buf.len())) {
        buf.copy_from_slice(part);
    }
}

/// What writing in place needs: tables that change in memory before they change in the file.
impl Qcow2 {
    /// The active L1 table, to change it.
    pub(super) fn l1_mut(&self) -> RwLockWriteGuard<'_, L1Table> {
        self.l1.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is kept of compressed clusters unknown: their places may be used for others.
    pub(super) fn places_are_free(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts `header` in the place of the one that was read: of the same version, geometry and compression.
    pub(super) fn set_header(&self, header: Header) {
        self.l1_mut().set_regions(&header);
        self.size.store(header.size, Ordering::Release);
        *self.header.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(header);
    }

    /// The kind of entries.
    pub(super) fn entry_format(&self) -> EntryFormat {
        self.format
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

impl BlockRead for Qcow2 {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size())?;
        let mut rest = buf;
        for run in self.runs(range) {
            let run = run?;
            let (part, behind) = rest.split_at_mut(run.range.len() as usize);
            self.read_run(part, run)?;
            rest = behind;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        let mut extents = Extents::starting_at(range.offset());
        for run in self.runs(range) {
            let run = run?;
            let end = run.range.end();
            match run.treatment {
                Treatment::Zero(_) => extents.push_until(end, ExtentKind::Zero),
                Treatment::Compressed(_) => extents.push_until(end, ExtentKind::Data),
                Treatment::Plain(host) => self.plain_extents(&mut extents, host, run.range)?,
                Treatment::Backing(_) => self.backing_extents(&mut extents, run.range)?,
            }
        }
        Ok(extents)
    }

    fn stretches(&self, range: ByteRange) -> Result<Vec<Stretch>> {
        range.check_within(self.size())?;
        map::stretches(self, range)
    }

    fn will_read(&self, range: ByteRange) {
        ahead::will_read(self, range);
    }

    fn in_file(&self, range: ByteRange) -> Result<Option<InFile<'_>>> {
        range.check_within(self.size())?;
        let Some(run) = self.runs(range).next().transpose()? else { return Ok(None) };
        match run.treatment {
            Treatment::Plain(host) => {
                let host = self.plain_range(GuestOffset(range.offset()), host, run.range.len())?;
                self.cluster_file().in_file(host)
            }
            Treatment::Backing(_) => match &self.backing {
                Some(backing) => match run.range.intersection(ByteRange::whole(backing.size())) {
                    Some(covered) => backing.in_file(covered).doing(|| "reading the backing file"),
                    None => Ok(None),
                },
                None => Ok(None),
            },
            Treatment::Zero(_) | Treatment::Compressed(_) => Ok(None),
        }
    }
}

impl Qcow2 {
    /// Allocated clusters may be holes of the file they are in, after a preallocation or a discard.
    fn plain_extents(&self, extents: &mut Extents, host: HostOffset, range: ByteRange) -> Result<()> {
        let file = self.cluster_file();
        let there = ByteRange::new(host.0, range.len())?;
        if there.end() <= file.size() {
            for extent in file.extents(there)?.iter() {
                let kind = if extent.kind.reads_as_zero() { ExtentKind::Zero } else { ExtentKind::Data };
                extents.push(extent.range.len(), kind);
            }
        }
        // Past the end of the file, reading says what is wrong.
        extents.push_until(range.end(), ExtentKind::Data);
        Ok(())
    }

    fn backing_extents(&self, extents: &mut Extents, range: ByteRange) -> Result<()> {
        if let Some(backing) = &self.backing
            && let Some(covered) = range.intersection(ByteRange::whole(backing.size()))
        {
            for extent in backing.extents(covered)?.iter() {
                extents.push(extent.range.len(), extent.kind);
            }
        }
        extents.push_until(range.end(), ExtentKind::Hole);
        Ok(())
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
        let geometry = self.image.format.geometry;
        let guest = GuestOffset(self.at);
        let l1_index = geometry.l1_index(guest);
        if self.table.as_ref().is_none_or(|&(known, _)| known != l1_index) {
            self.table = Some((l1_index, self.image.l2_table(guest)?));
        }
        let Some((_, Some(table))) = &self.table else {
            let covered = l1_index.saturating_add(1).saturating_mul(geometry.l2_coverage());
            return Ok(self.run_until(covered, Treatment::Backing(None)));
        };
        let entry = l2_entry(table, geometry.l2_index(guest), geometry);
        let cluster = geometry.cluster_start(self.at);
        let cluster_end = cluster.saturating_add(geometry.cluster_size());
        let in_cluster = geometry.in_cluster(self.at);
        let place = |cluster: HostCluster| HostOffset(cluster.offset.0.saturating_add(in_cluster));
        let (end, treatment) = match entry.decode(self.image.format, GuestOffset(cluster))? {
            Mapping::Unallocated => (cluster_end, Treatment::Backing(None)),
            Mapping::Zero(set_aside) => (cluster_end, Treatment::Zero(set_aside.map(place))),
            Mapping::Allocated(cluster) => (cluster_end, Treatment::Plain(place(cluster))),
            Mapping::Compressed(place) => (cluster_end, Treatment::Compressed(place)),
            Mapping::Divided { cluster: set_aside, subclusters } => {
                let (len, kind) = subclusters_from(geometry, subclusters, in_cluster);
                let treatment = match (kind, set_aside) {
                    (Subcluster::Allocated, Some(cluster)) => Treatment::Plain(place(cluster)),
                    (Subcluster::Zero, set_aside) => Treatment::Zero(set_aside.map(place)),
                    (_, set_aside) => Treatment::Backing(set_aside.map(place)),
                };
                (self.at.saturating_add(len), treatment)
            }
        };
        Ok(self.run_until(end, treatment))
    }

    fn run_until(&self, end: u64, treatment: Treatment) -> Run {
        Run { range: ByteRange::between(self.at, end.min(self.end)), treatment }
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
