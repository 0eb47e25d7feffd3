//! The header: parsed, checked against itself and the size of the file, and written again.
//!
//! ```text
//! 0      72        104      112          ≤ cluster size
//! │ v2   │ v3      │ more   │ extensions … 0 │ backing file's name │
//! ```
//!
//! A [`Header`] that [`Header::from_bytes`] returns has tables that are aligned, within the file, no longer than QEMU
//! allows and apart from each other, an L1 table that covers the virtual size, and no feature that is unknown here: so
//! whatever is allocated because of it is no larger than the file, and at most 32 MiB. Section: "Header".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use zerocopy::{FromBytes, IntoBytes};

use super::corrupt::{Corrupt, CryptMethod, Region, UnknownFeatures, Unsupported};
use super::extension::{self, BitmapsPlace, Extension, FeatureKind, FeatureName};
use super::geometry::{DEFAULT_REFCOUNT_ORDER, Geometry};
use super::layout::{self, HeaderV2, HeaderV3, HeaderV3More};
use super::offset::HostOffset;
use crate::block::{BlockRead, ByteRange};
use crate::error::{Doing, Result};

/// The longest L1 table that QEMU and this library read: 32 MiB.
pub const MAX_L1_LEN: u64 = 32 << 20;
/// The longest refcount table that QEMU and this library read: 8 MiB.
pub const MAX_REFCOUNT_TABLE_LEN: u64 = 8 << 20;
/// The most snapshots that QEMU and this library read.
pub const MAX_SNAPSHOT_COUNT: u32 = 65_536;
/// The longest snapshot table that QEMU and this library read: 1 KiB for each of the most snapshots.
pub const MAX_SNAPSHOT_TABLE_LEN: u64 = 64 << 20;
/// The longest bitmap directory that QEMU and this library read: 1 KiB for each of 65,535 bitmaps.
pub const MAX_BITMAP_DIRECTORY_LEN: u64 = 65_535 << 10;

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// "compat 0.10".
    V2,
    /// "compat 1.1": zero clusters, features, refcounts of other widths.
    V3,
}

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate (RFC 1951); QEMU calls it zlib.
    Deflate,
    /// zstd frames.
    Zstd,
}

/// A contiguous table: where it starts and how many entries it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TablePlace {
    /// Where it starts.
    pub offset: HostOffset,
    /// How many entries; clusters for the refcount table.
    pub count: u32,
}

/// The three sets of feature bits. Those that follow from other fields of the [`Header`] (compression type, extended
/// L2 entries) are put right by [`Header::to_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Who does not know one must not open the image.
    pub incompatible: u64,
    /// Who does not know one may ignore it.
    pub compatible: u64,
    /// Who does not know one clears it before writing.
    pub autoclear: u64,
}

/// The header with its extensions and the backing file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// Cluster size, refcount width, kind of L2 entries.
    pub geometry: Geometry,
    /// The virtual size in bytes.
    pub size: u64,
    /// The active L1 table.
    pub l1: TablePlace,
    /// The refcount table; its count is in clusters.
    pub refcount_table: TablePlace,
    /// The snapshot table; its entries differ in length.
    pub snapshots: TablePlace,
    /// Feature bits; all zero in version 2.
    pub features: Features,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Additional fields behind byte 112 that are unknown here, kept for rewriting.
    pub unknown_fields: Vec<u8>,
    /// Header extensions in their order.
    pub extensions: Vec<Extension>,
    /// The name of the backing file, at most 1023 bytes.
    pub backing_name: Option<Vec<u8>>,
}

impl Header {
    /// Reads and checks the header of the image in `file`.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Unsupported`](crate::ErrorKind::Unsupported) with the rule
    /// ([`Corrupt`], [`Unsupported`]) as cause; whatever reading says.
    pub fn read(file: &dyn BlockRead) -> Result<Self> {
        let doing = || "reading the qcow2 header";
        let bytes = Self::first_cluster(file).doing(doing)?;
        Self::from_bytes(&bytes, file.size()).doing(doing)
    }

    /// As [`read`](Self::read), for a check or a repair: where the refcount table cannot be where it is said to be, the header has
    /// an empty one, with which nothing can be written, and the rule that is broken is returned too.
    ///
    /// # Errors
    /// As [`read`](Self::read), for all else.
    pub fn read_to_repair(file: &dyn BlockRead) -> Result<(Self, Option<Corrupt>)> {
        Self::read_but(file, None)
    }

    /// As [`read_to_repair`](Self::read_to_repair), for a check that changes nothing: the L1 table may also lie past the end
    /// of the file, in part or all of it.
    ///
    /// # Errors
    /// As [`read`](Self::read), for all else.
    pub fn read_to_check(file: &dyn BlockRead) -> Result<(Self, Option<Corrupt>)> {
        Self::read_but(file, Some(Region::L1Table))
    }

    fn read_but(file: &dyn BlockRead, cut: Option<Region>) -> Result<(Self, Option<Corrupt>)> {
        let doing = || "reading the qcow2 header";
        let bytes = Self::first_cluster(file).doing(doing)?;
        let mut header = Self::parse(&bytes, file.size()).doing(doing)?;
        let Err(error) = header.check_but(file.size(), cut) else { return Ok((header, None)) };
        let Some(rule) = error.cause::<Corrupt>().filter(|rule| is_about_refcount_table(rule)).cloned()
        else {
            return Err(error).doing(doing);
        };
        header.refcount_table = TablePlace::default();
        match header.check_but(file.size(), cut) {
            // Which is told when nothing else is wrong.
            Err(error) if error.cause() == Some(&Corrupt::NoRefcountTable) => Ok((header, Some(rule))),
            done => done.map(|()| (header, None)).doing(doing),
        }
    }

    fn first_cluster(file: &dyn BlockRead) -> Result<Vec<u8>> {
        let file_size = file.size();
        // Enough for the fixed fields first, so that a lie about the cluster size costs nothing.
        let mut bytes = vec![0; file_size.min(u64::from(layout::HEADER_V3_LEN)) as usize];
        file.read_at(&mut bytes, 0)?;
        let (raw, _) = parse_v2(&bytes, file_size)?;
        let cluster_size =
            Geometry::new(raw.cluster_bits.get(), DEFAULT_REFCOUNT_ORDER, false)?.cluster_size();
        bytes.resize(file_size.min(cluster_size) as usize, 0);
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Parses and checks `bytes`, the first cluster of a file of `file_size` bytes (or all of a shorter file).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8], file_size: u64) -> Result<Self> {
        let header = Self::parse(bytes, file_size)?;
        header.check(file_size)?;
        Ok(header)
    }

    /// Parses `bytes`; the places of tables are not checked.
    fn parse(bytes: &[u8], file_size: u64) -> Result<Self> {
        let (raw, rest) = parse_v2(bytes, file_size)?;
        let version = if raw.version.get() == 2 { Version::V2 } else { Version::V3 };
        let v3 = V3Fields::parse(version, rest, file_size)?;
        let extended_l2 = v3.features.incompatible & layout::INCOMPATIBLE_EXTENDED_L2 != 0;
        let geometry = Geometry::new(raw.cluster_bits.get(), v3.refcount_order, extended_l2)?;
        if u64::from(v3.header_len) > geometry.cluster_size() {
            return Err(Corrupt::HeaderLen { len: v3.header_len }.into());
        }
        let backing = backing_range(&raw, v3.header_len, geometry)?;
        let area_end = backing.map_or(geometry.cluster_size(), ByteRange::offset).min(bytes.len() as u64);
        let area = bytes.get(v3.header_len as usize..area_end as usize).unwrap_or_default();
        refuse_unknown_features(v3.features.incompatible, area)?;
        let extensions = extension::parse(area, u64::from(v3.header_len))?;
        let crypt_method = match raw.tables.crypt_method.get() {
            layout::CRYPT_NONE => None,
            layout::CRYPT_AES => Some(CryptMethod::Aes),
            layout::CRYPT_LUKS => Some(CryptMethod::Luks),
            other => Some(CryptMethod::Unknown(other)),
        };
        if let Some(method) = crypt_method {
            return Err(Unsupported::Encrypted { method }.into());
        }
        let backing_name = backing.map(|range| {
            bytes
                .get(range.offset() as usize..range.end() as usize)
                .map(<[u8]>::to_vec)
                .ok_or(Corrupt::BackingName { offset: range.offset(), len: range.len() as u32 })
        });
        let place = |offset: u64, count: u32| TablePlace { offset: HostOffset(offset), count };
        Ok(Self {
            version,
            geometry,
            size: raw.tables.size.get(),
            l1: place(raw.tables.l1_offset.get(), raw.tables.l1_count.get()),
            refcount_table: place(
                raw.tables.refcount_table_offset.get(),
                raw.tables.refcount_table_clusters.get(),
            ),
            snapshots: place(raw.tables.snapshots_offset.get(), raw.tables.snapshot_count.get()),
            features: v3.features,
            compression: v3.compression()?,
            unknown_fields: v3.unknown_fields,
            extensions,
            backing_name: backing_name.transpose()?,
        })
    }

    fn check(&self, file_size: u64) -> Result<()> {
        self.check_but(file_size, None)
    }

    /// The region `cut` may end past the end of the file.
    fn check_but(&self, file_size: u64, cut: Option<Region>) -> Result<()> {
        let needed = self.geometry.l1_count_for(self.size);
        let count = u64::from(self.l1.count);
        if needed.saturating_mul(8) > MAX_L1_LEN {
            return Err(Unsupported::VirtualSize { size: self.size }.into());
        }
        if needed > count {
            return Err(Corrupt::L1TooShort { size: self.size, needed, count }.into());
        }
        if self.features.autoclear & layout::AUTOCLEAR_DATA_FILE_RAW != 0 && !self.has_data_file() {
            return Err(Corrupt::RawWithoutDataFile.into());
        }
        if self.snapshots.count > MAX_SNAPSHOT_COUNT {
            let len =
                u64::from(self.snapshots.count).saturating_mul(size_of::<layout::SnapshotHeader>() as u64);
            let limit =
                u64::from(MAX_SNAPSHOT_COUNT).saturating_mul(size_of::<layout::SnapshotHeader>() as u64);
            return Err(Corrupt::RegionTooLong { region: Region::SnapshotTable, len, limit }.into());
        }
        for (region, offset, len) in self.places() {
            match check_region(region, (offset, len), self.geometry, file_size) {
                Err(Corrupt::RegionPastEnd { .. }) if cut == Some(region) => {}
                done => done?,
            }
        }
        let regions = self.regions();
        for (index, &(one, range)) in regions.iter().enumerate() {
            for &(other, other_range) in regions.get(index.saturating_add(1)..).unwrap_or_default() {
                if range.intersection(other_range).is_some() {
                    return Err(Corrupt::RegionsOverlap {
                        one: other,
                        one_offset: other_range.offset(),
                        other: one,
                        other_offset: range.offset(),
                    }
                    .into());
                }
            }
        }
        if self.refcount_table.count == 0 {
            return Err(Corrupt::NoRefcountTable.into());
        }
        Ok(())
    }

    /// The structures whose places the header names, with their bytes: the header itself, and those of the others
    /// that are not empty. Of the snapshot table only the least length is known.
    pub fn regions(&self) -> Vec<(Region, ByteRange)> {
        let range = |(region, offset, len): (Region, u64, u64)| {
            (region, ByteRange::between(offset, offset.saturating_add(len)))
        };
        self.places().into_iter().map(range).collect()
    }

    /// As [`regions`](Self::regions), as offset and length, which may be any before they were checked.
    fn places(&self) -> Vec<(Region, u64, u64)> {
        let snapshot_len = size_of::<layout::SnapshotHeader>() as u64;
        let bitmaps = self.bitmaps().map(|place| (Region::BitmapDirectory, place.offset.0, place.len));
        let tables = [
            (Region::Header, 0, self.geometry.cluster_size()),
            (Region::L1Table, self.l1.offset.0, u64::from(self.l1.count).saturating_mul(8)),
            (Region::RefcountTable, self.refcount_table.offset.0, self.refcount_table_len()),
            (
                Region::SnapshotTable,
                self.snapshots.offset.0,
                u64::from(self.snapshots.count).saturating_mul(snapshot_len),
            ),
        ];
        tables.into_iter().chain(bitmaps).filter(|&(_, _, len)| len != 0).collect()
    }

    /// The length of the refcount table in bytes.
    pub fn refcount_table_len(&self) -> u64 {
        u64::from(self.refcount_table.count).saturating_mul(self.geometry.cluster_size())
    }

    /// Whether refcounts may be wrong.
    pub fn is_dirty(&self) -> bool {
        self.features.incompatible & layout::INCOMPATIBLE_DIRTY != 0
    }

    /// Whether the image is marked as damaged and must not be written.
    pub fn is_corrupt(&self) -> bool {
        self.features.incompatible & layout::INCOMPATIBLE_CORRUPT != 0
    }

    /// Whether guest clusters are in a data file.
    pub fn has_data_file(&self) -> bool {
        self.features.incompatible & layout::INCOMPATIBLE_DATA_FILE != 0
    }

    /// Whether the data file is a raw image of its own.
    pub fn is_data_file_raw(&self) -> bool {
        self.features.autoclear & layout::AUTOCLEAR_DATA_FILE_RAW != 0
    }

    /// Whether refcounts may be updated late.
    pub fn has_lazy_refcounts(&self) -> bool {
        self.features.compatible & layout::COMPATIBLE_LAZY_REFCOUNTS != 0
    }

    /// Where the bitmap directory is, if there is one and it is up to date.
    pub fn bitmaps(&self) -> Option<BitmapsPlace> {
        if self.features.autoclear & layout::AUTOCLEAR_BITMAPS == 0 {
            return None;
        }
        self.extensions.iter().find_map(|extension| match extension {
            Extension::Bitmaps(place) => Some(*place),
            _ => None,
        })
    }

    /// The format that is recorded for the backing file.
    pub fn backing_format(&self) -> Option<&[u8]> {
        self.extensions.iter().find_map(|extension| match extension {
            Extension::BackingFormat(name) => Some(name.as_slice()),
            _ => None,
        })
    }

    /// The name that is recorded for the data file.
    pub fn data_file_name(&self) -> Option<&[u8]> {
        self.extensions.iter().find_map(|extension| match extension {
            Extension::DataFile(name) => Some(name.as_slice()),
            _ => None,
        })
    }

    /// The bytes of the header, its extensions and the backing file's name; the rest of the first cluster is zeroes.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if all this does not fit into the first cluster.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tail = Vec::new();
        if self.version == Version::V3 {
            let header_len =
                (layout::HEADER_V3_LEN as usize).saturating_add(self.unknown_fields.len()) as u32;
            tail.extend_from_slice(self.v3_fields(header_len).as_bytes());
            let compression_type = match self.compression {
                Compression::Deflate => layout::COMPRESSION_DEFLATE,
                Compression::Zstd => layout::COMPRESSION_ZSTD,
            };
            tail.extend_from_slice(HeaderV3More { compression_type, padding: [0; 7] }.as_bytes());
            tail.extend_from_slice(&self.unknown_fields);
        }
        tail.extend_from_slice(&extension::to_bytes(&self.extensions));
        let name = self.backing_name.as_deref().unwrap_or_default();
        let name_offset = (layout::HEADER_V2_LEN as usize).saturating_add(tail.len()) as u64;
        tail.extend_from_slice(name);
        let mut bytes =
            self.v2_fields(if name.is_empty() { 0 } else { name_offset }, name).as_bytes().to_vec();
        bytes.append(&mut tail);
        let (len, cluster_size) = (bytes.len() as u64, self.geometry.cluster_size());
        if len > cluster_size {
            return Err(Unsupported::HeaderTooLong { len, cluster_size }.into());
        }
        Ok(bytes)
    }

    /// The part of the header that says where the tables are.
    pub(super) fn tables_field(&self) -> layout::TablesField {
        layout::TablesField {
            size: self.size.into(),
            crypt_method: layout::CRYPT_NONE.into(),
            l1_count: self.l1.count.into(),
            l1_offset: self.l1.offset.0.into(),
            refcount_table_offset: self.refcount_table.offset.0.into(),
            refcount_table_clusters: self.refcount_table.count.into(),
            snapshot_count: self.snapshots.count.into(),
            snapshots_offset: self.snapshots.offset.0.into(),
        }
    }

    /// As [`to_bytes`](Self::to_bytes), with the names of all features (version 3) where the first cluster has room for
    /// them, as QEMU does.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub(super) fn to_bytes_with_names(&self) -> Result<Vec<u8>> {
        let mut header = self.clone();
        header.extensions.retain(|extension| !matches!(extension, Extension::FeatureNames(_)));
        if self.version == Version::V3 {
            header.extensions.push(Extension::known_feature_names());
            if let Ok(bytes) = header.to_bytes() {
                return Ok(bytes);
            }
            header.extensions.pop();
        }
        header.to_bytes()
    }

    fn v2_fields(&self, name_offset: u64, name: &[u8]) -> HeaderV2 {
        HeaderV2 {
            magic: layout::MAGIC,
            version: if self.version == Version::V2 { 2 } else { 3 }.into(),
            backing_name_offset: name_offset.into(),
            backing_name_len: (name.len() as u32).into(),
            cluster_bits: self.geometry.cluster_bits().into(),
            tables: self.tables_field(),
        }
    }

    fn v3_fields(&self, header_len: u32) -> HeaderV3 {
        let implied = layout::INCOMPATIBLE_COMPRESSION | layout::INCOMPATIBLE_EXTENDED_L2;
        let mut incompatible = self.features.incompatible & !implied;
        if self.compression != Compression::Deflate {
            incompatible |= layout::INCOMPATIBLE_COMPRESSION;
        }
        if self.geometry.extended_l2() {
            incompatible |= layout::INCOMPATIBLE_EXTENDED_L2;
        }
        HeaderV3 {
            incompatible_features: incompatible.into(),
            compatible_features: self.features.compatible.into(),
            autoclear_features: self.features.autoclear.into(),
            refcount_order: self.geometry.refcount_order().into(),
            header_len: header_len.into(),
        }
    }
}

/// Whether `rule` is about the place of the refcount table, without which a repair can do.
fn is_about_refcount_table(rule: &Corrupt) -> bool {
    match *rule {
        Corrupt::NoRefcountTable => true,
        Corrupt::RegionUnaligned { region, .. }
        | Corrupt::RegionTooLong { region, .. }
        | Corrupt::RegionPastEnd { region, .. } => region == Region::RefcountTable,
        Corrupt::RegionsOverlap { one, other, .. } => [one, other].contains(&Region::RefcountTable),
        _ => false,
    }
}

/// What version 3 adds, or what version 2 implies.
struct V3Fields {
    features: Features,
    refcount_order: u32,
    header_len: u32,
    compression_type: u8,
    unknown_fields: Vec<u8>,
}

impl V3Fields {
    fn parse(version: Version, rest: &[u8], file_size: u64) -> Result<Self> {
        if version == Version::V2 {
            return Ok(Self {
                features: Features::default(),
                refcount_order: DEFAULT_REFCOUNT_ORDER,
                header_len: layout::HEADER_V2_LEN,
                compression_type: layout::COMPRESSION_DEFLATE,
                unknown_fields: Vec::new(),
            });
        }
        let (raw, more) = HeaderV3::read_from_prefix(rest).map_err(|_| Corrupt::HeaderCut { file_size })?;
        let header_len = raw.header_len.get();
        if header_len < layout::HEADER_V3_MIN_LEN
            || !header_len.is_multiple_of(layout::HEADER_ALIGNMENT as u32)
        {
            return Err(Corrupt::HeaderLen { len: header_len }.into());
        }
        let more_len = header_len.saturating_sub(layout::HEADER_V3_MIN_LEN) as usize;
        let more = more.get(..more_len).ok_or(Corrupt::HeaderCut { file_size })?;
        // An absent field is as good as a zero.
        let (compression_type, unknown_fields) = match HeaderV3More::read_from_prefix(more) {
            Ok((known, unknown)) => (known.compression_type, unknown.to_vec()),
            Err(_) => (layout::COMPRESSION_DEFLATE, Vec::new()),
        };
        let features = Features {
            incompatible: raw.incompatible_features.get(),
            compatible: raw.compatible_features.get(),
            autoclear: raw.autoclear_features.get(),
        };
        Ok(Self {
            features,
            refcount_order: raw.refcount_order.get(),
            header_len,
            compression_type,
            unknown_fields,
        })
    }

    fn compression(&self) -> Result<Compression> {
        let bit = self.features.incompatible & layout::INCOMPATIBLE_COMPRESSION != 0;
        match self.compression_type {
            layout::COMPRESSION_DEFLATE if !bit => Ok(Compression::Deflate),
            layout::COMPRESSION_ZSTD if bit => Ok(Compression::Zstd),
            kind @ (layout::COMPRESSION_DEFLATE | layout::COMPRESSION_ZSTD) => {
                Err(Corrupt::CompressionBit { kind, bit }.into())
            }
            kind => Err(Unsupported::Compression { kind }.into()),
        }
    }
}

fn parse_v2(bytes: &[u8], file_size: u64) -> Result<(HeaderV2, &[u8])> {
    let magic = bytes.first_chunk::<4>().ok_or(Corrupt::HeaderCut { file_size })?;
    if *magic != layout::MAGIC {
        return Err(Corrupt::Magic { magic: *magic }.into());
    }
    let (raw, rest) = HeaderV2::read_from_prefix(bytes).map_err(|_| Corrupt::HeaderCut { file_size })?;
    match raw.version.get() {
        2 | 3 => Ok((raw, rest)),
        version => Err(Unsupported::Version { version }.into()),
    }
}

/// Where the backing file's name is: in the first cluster, behind the header.
fn backing_range(raw: &HeaderV2, header_len: u32, geometry: Geometry) -> Result<Option<ByteRange>, Corrupt> {
    let (offset, len) = (raw.backing_name_offset.get(), raw.backing_name_len.get());
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    let range = ByteRange::new(offset, u64::from(len)).ok().filter(|range| {
        len <= layout::MAX_BACKING_NAME_LEN
            && range.offset() >= u64::from(header_len)
            && range.end() <= geometry.cluster_size()
    });
    range.map(Some).ok_or(Corrupt::BackingName { offset, len })
}

/// Before anything is asked of the extensions in `area` but the names of features: whoever wrote an unknown one may have
/// changed their meaning.
fn refuse_unknown_features(incompatible: u64, area: &[u8]) -> Result<(), Unsupported> {
    const KNOWN: u64 = layout::INCOMPATIBLE_DIRTY
        | layout::INCOMPATIBLE_CORRUPT
        | layout::INCOMPATIBLE_DATA_FILE
        | layout::INCOMPATIBLE_COMPRESSION
        | layout::INCOMPATIBLE_EXTENDED_L2;
    let bits = incompatible & !KNOWN;
    if bits == 0 {
        return Ok(());
    }
    let (mut names, mut nameless) = (Vec::new(), bits);
    // A name of no bytes ends the table, as it does for QEMU.
    for FeatureName { kind, bit, name } in
        extension::parse_feature_names(area).into_iter().take_while(|entry| !entry.name.is_empty())
    {
        let mask = 1_u64.checked_shl(bit.into()).unwrap_or_default();
        if kind == FeatureKind::Incompatible && nameless & mask != 0 {
            nameless &= !mask;
            names.push((bit, name));
        }
    }
    Err(Unsupported::Features(UnknownFeatures { bits, names }))
}

fn check_region(
    region: Region,
    (offset, len): (u64, u64),
    geometry: Geometry,
    file_size: u64,
) -> Result<(), Corrupt> {
    let limit = match region {
        Region::L1Table => MAX_L1_LEN,
        Region::RefcountTable => MAX_REFCOUNT_TABLE_LEN,
        Region::BitmapDirectory => MAX_BITMAP_DIRECTORY_LEN,
        _ => MAX_SNAPSHOT_TABLE_LEN,
    };
    if len > limit {
        return Err(Corrupt::RegionTooLong { region, len, limit });
    }
    if !geometry.is_aligned(offset) {
        return Err(Corrupt::RegionUnaligned { region, offset });
    }
    // The header is there already; a short file may end within its cluster.
    let is_cut = offset.checked_add(len).is_none_or(|end| end > file_size);
    if region != Region::Header && is_cut {
        return Err(Corrupt::RegionPastEnd { region, offset, len, file_size });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
