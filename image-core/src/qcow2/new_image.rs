//! What a new image is to be like.
//!
//! ```text
//! NewImage ─┬─► Qcow2Sink     a conversion's target, front to back        sink.rs
//!           └─► create        an empty image                              create.rs
//! ```
//!
//! The options and their defaults are those of `qemu-img create`; what the format does not allow is refused here.

use super::compress::Codec;
use super::corrupt::Unsupported;
use super::entry::EntryFormat;
use super::extension::Extension;
use super::geometry::{DEFAULT_REFCOUNT_ORDER, Geometry};
use super::header::{Compression, Features, Header, MAX_L1_LEN, TablePlace, Version};
use super::layout::{
    AUTOCLEAR_DATA_FILE_RAW, COMPATIBLE_LAZY_REFCOUNTS, INCOMPATIBLE_DATA_FILE, MAX_BACKING_NAME_LEN,
};
use crate::error::{Error, ErrorKind, Result};

/// log2 of the cluster size that QEMU and this library choose unasked: 64 KiB.
const DEFAULT_CLUSTER_BITS: u32 = 16;

/// The virtual size, and the length of the file, are rounded up to this many bytes, as QEMU does.
pub(super) const SECTOR: u64 = 512;

/// What a new image is to be like.
#[derive(Debug, Clone)]
pub struct NewImage {
    size: u64,
    geometry: Geometry,
    version: Version,
    codec: Codec,
    compress: bool,
    dedup: bool,
    lazy_refcounts: bool,
    backing: Option<(Vec<u8>, Option<Vec<u8>>)>,
    data_file: Option<(Vec<u8>, bool)>,
}

impl NewImage {
    /// An image of at least `size` bytes (virtual size, rounded up to 512): version 3, clusters of 64 KiB, refcounts
    /// of 16 bits, not compressed.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for more than an L1 table of 32 MiB can map.
    pub fn new(size: u64) -> Result<Self> {
        Self::in_clusters(size, Geometry::new(DEFAULT_CLUSTER_BITS, DEFAULT_REFCOUNT_ORDER, false)?)
    }

    /// As [`new`](Self::new), with another cluster size and width of refcounts: larger clusters map larger disks.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if its L1 table would be over 32 MiB.
    pub fn in_clusters(size: u64, geometry: Geometry) -> Result<Self> {
        let size = size.checked_next_multiple_of(SECTOR).ok_or(Unsupported::VirtualSize { size })?;
        let image = Self {
            size,
            geometry,
            version: Version::V3,
            codec: Codec::default(),
            compress: false,
            dedup: false,
            lazy_refcounts: false,
            backing: None,
            data_file: None,
        };
        image.checked()
    }

    /// In another version.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for version 2 with what only version 3 has, such as extended L2
    /// entries and refcounts of other widths.
    pub fn with_version(self, version: Version) -> Result<Self> {
        Self { version, ..self }.checked()
    }

    /// With a codec for compressed clusters, and whether this conversion compresses.
    ///
    /// # Errors
    /// As [`with_version`](Self::with_version).
    pub fn with_codec(self, codec: Codec, compress: bool) -> Result<Self> {
        Self { codec, compress, ..self }.checked()
    }

    /// With equal compressed clusters stored once, or each by itself. What is stored is read again to compare it.
    #[must_use]
    pub fn with_dedup(self, dedup: bool) -> Self {
        Self { dedup, ..self }
    }

    /// With lazy refcounts, or without.
    ///
    /// # Errors
    /// As [`with_version`](Self::with_version).
    pub fn with_lazy_refcounts(self, lazy_refcounts: bool) -> Result<Self> {
        Self { lazy_refcounts, ..self }.checked()
    }

    /// With a backing file of this name, as it will stand in the image, and this format.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name of no bytes or more than 1023, and beside a raw data file.
    pub fn with_backing(self, name: &[u8], format: Option<&str>) -> Result<Self> {
        let format = format.map(|format| format.as_bytes().to_vec());
        Self { backing: Some((name.to_vec(), format)), ..self }.checked()
    }

    /// With guest clusters in a data file of this name, as it will stand in the image; `raw`: which stays readable as
    /// a raw image.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) in version 2 and for compressed clusters;
    /// [`Invalid`](crate::ErrorKind::Invalid) for a raw one beside a backing file.
    pub fn with_data_file(self, name: &[u8], raw: bool) -> Result<Self> {
        Self { data_file: Some((name.to_vec(), raw)), ..self }.checked()
    }

    /// The virtual size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Sizes of clusters and refcounts.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether it has a backing file.
    pub fn is_backed(&self) -> bool {
        self.backing.is_some()
    }

    /// Whether guest clusters are in a data file.
    pub fn has_data_file(&self) -> bool {
        self.data_file.is_some()
    }

    /// Whether guest clusters are in a data file that stays readable as a raw image.
    pub(super) fn has_raw_data_file(&self) -> bool {
        self.data_file.as_ref().is_some_and(|&(_, raw)| raw)
    }

    /// The bytes of its header.
    pub(super) fn header_bytes(&self, l1: TablePlace, refcount_table: TablePlace) -> Result<Vec<u8>> {
        let mut features = Features::default();
        let mut extensions = Vec::new();
        if let Some((_, Some(format))) = &self.backing {
            extensions.push(Extension::BackingFormat(format.clone()));
        }
        if let Some((name, raw)) = &self.data_file {
            features.incompatible |= INCOMPATIBLE_DATA_FILE;
            features.autoclear |= if *raw { AUTOCLEAR_DATA_FILE_RAW } else { 0 };
            extensions.push(Extension::DataFile(name.clone()));
        }
        features.compatible |= if self.lazy_refcounts { COMPATIBLE_LAZY_REFCOUNTS } else { 0 };
        let header = Header {
            version: self.version,
            geometry: self.geometry,
            size: self.size,
            l1,
            refcount_table,
            snapshots: TablePlace::default(),
            features,
            compression: self.codec.compression(),
            unknown_fields: Vec::new(),
            extensions,
            backing_name: self.backing.as_ref().map(|(name, _)| name.clone()),
        };
        header.to_bytes_with_names()
    }

    /// The codec of a conversion that compresses.
    pub(super) fn compression_codec(&self) -> Option<Codec> {
        self.compress.then_some(self.codec)
    }

    /// Whether equal compressed clusters are stored once.
    pub(super) fn dedups(&self) -> bool {
        self.compress && self.dedup
    }

    pub(super) fn entry_format(&self) -> EntryFormat {
        EntryFormat {
            geometry: self.geometry,
            zero_flag: self.version == Version::V3,
            data_file: self.data_file.is_some(),
        }
    }

    fn checked(self) -> Result<Self> {
        if self.geometry.l1_count_for(self.size).saturating_mul(8) > MAX_L1_LEN {
            return Err(Unsupported::VirtualSize { size: self.size }.into());
        }
        self.refuse_in_version_2()?;
        let name_len = self.backing.as_ref().map_or(1, |(name, _)| name.len());
        if !(1..=MAX_BACKING_NAME_LEN as usize).contains(&name_len) {
            return Err(Error::invalid(format!(
                "a backing file's name of {name_len} bytes: it has from 1 to {MAX_BACKING_NAME_LEN}"
            )));
        }
        if let Some((name, raw)) = &self.data_file {
            if name.is_empty() {
                return Err(Error::invalid("the data file's name is empty"));
            }
            if *raw && self.backing.is_some() {
                return Err(Error::invalid("a raw data file cannot leave anything to a backing file"));
            }
            if self.compress {
                return Err(Error::unsupported("compressed clusters are not kept in a data file"));
            }
        }
        Ok(self)
    }

    fn refuse_in_version_2(&self) -> Result<()> {
        let bits = self.geometry.refcount_bits();
        let needs_version_3 = [
            (self.geometry.extended_l2(), "no extended L2 entries".to_owned()),
            (
                self.geometry.refcount_order() != DEFAULT_REFCOUNT_ORDER,
                format!("refcounts of 16 bits, not of {bits}"),
            ),
            (
                self.codec.compression() != Compression::Deflate,
                "no other compression than deflate".to_owned(),
            ),
            (self.lazy_refcounts, "no lazy refcounts".to_owned()),
            (self.data_file.is_some(), "no data file".to_owned()),
        ];
        match needs_version_3.into_iter().find(|&(needs, _)| needs && self.version == Version::V2) {
            Some((_, what)) => {
                Err(Error::new(ErrorKind::Unsupported, format!("version 2 (compat 0.10) has {what}")))
            }
            None => Ok(()),
        }
    }
}
