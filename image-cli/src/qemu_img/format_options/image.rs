//! From options to a new image, with QEMU's words for what cannot be.

use image_core::ErrorKind;
use image_core::block::Preallocation;
use image_core::qcow2::{Codec, Compression, Geometry, NewImage, Version};

use super::FormatOptions;
use crate::qemu_img::{bytes, drivers, words};

/// The largest virtual size that can be rounded up to sectors.
const LARGEST: u64 = i64::MAX as u64 - 511;

const TOO_LARGE: &str =
    "The image size is too large for file format 'qcow2' (try using a larger cluster size)";

pub(super) const CLUSTER_SIZE: &str = "Cluster size must be a power of two between 512 and 2048k";

pub(super) const EXTENDED_L2: &str =
    "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes";

pub(super) const REFCOUNT_BITS: &str = "Refcount width must be a power of two and may not exceed 64 bits";

/// Why there can be no such image.
pub(super) type Fault = String;

impl FormatOptions {
    /// A qcow2 image of `size` bytes with these options; `compress`: with compressed clusters.
    pub(in crate::qemu_img) fn new_image(&self, size: u64, compress: bool) -> Result<NewImage, Fault> {
        let version = self.version()?;
        self.refuse_encryption()?;
        let geometry = self.geometry(version)?;
        let codec = self.codec(version)?;
        if size > LARGEST {
            return Err("Could not resize image: Image size cannot be negative".to_owned());
        }
        let image = NewImage::in_clusters(size, geometry);
        let image = image.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => TOO_LARGE.to_owned(),
            _ => words::of_opening(&error),
        })?;
        let image = image.with_codec(codec, compress).and_then(|image| image.with_version(version));
        let mut image = image.map_err(|error| words::of_opening(&error))?;
        if self.is_on("lazy_refcounts") {
            if version == Version::V2 {
                return Err(needs_v3("Lazy refcounts only supported with compatibility level 1.1 and"));
            }
            image = image.with_lazy_refcounts(true).map_err(|error| words::of_opening(&error))?;
        }
        image = self.with_backing(image)?;
        self.with_data_file(image, version)
    }

    /// How much is set aside ahead of the first write.
    pub(in crate::qemu_img) fn preallocation(&self) -> Result<Preallocation, Fault> {
        let Some(mode) = self.text("preallocation") else { return Ok(Preallocation::Off) };
        let refused = || match self.has("cluster_size") {
            true => format!("Parameter 'preallocation' does not accept value '{mode}'"),
            false => format!("invalid parameter value: {mode}"),
        };
        mode.parse().map_err(|_| refused())
    }

    fn version(&self) -> Result<Version, Fault> {
        match self.text("compat") {
            None | Some("1.1" | "v3") => Ok(Version::V3),
            Some("0.10" | "v2") => Ok(Version::V2),
            Some(other) => Err(format!("Parameter 'version' does not accept value '{other}'")),
        }
    }

    fn refuse_encryption(&self) -> Result<(), Fault> {
        let asked = self.is_on("encryption") || self.text("encrypt.format").is_some();
        match (asked, self.text("encrypt.key-secret")) {
            (false, _) => Ok(()),
            (true, None) => Err("Parameter 'encrypt.key-secret' is required for cipher".to_owned()),
            (true, Some(_)) => Err("encrypted images are not made by goldimg".to_owned()),
        }
    }

    fn geometry(&self, version: Version) -> Result<Geometry, Fault> {
        let cluster_size = self.size("cluster_size").unwrap_or(65536);
        if !cluster_size.is_power_of_two() || !(512..=2 << 20).contains(&cluster_size) {
            return Err(CLUSTER_SIZE.to_owned());
        }
        let extended = self.is_on("extended_l2");
        if extended && version == Version::V2 {
            return Err(needs_v3("Extended L2 entries are only supported with compatibility level 1.1 and"));
        }
        if extended && cluster_size < 16384 {
            return Err(EXTENDED_L2.to_owned());
        }
        let bits = self.text("refcount_bits").map_or(Some(16), number);
        let bits = bits.filter(|bits| bits.is_power_of_two() && *bits <= 64);
        let bits = bits.ok_or(REFCOUNT_BITS)?;
        if version == Version::V2 && bits != 16 {
            return Err(needs_v3(
                "Different refcount widths than 16 bits require compatibility level 1.1 or",
            ));
        }
        Geometry::new(cluster_size.ilog2(), bits.ilog2(), extended).map_err(|error| words::of_opening(&error))
    }

    fn codec(&self, version: Version) -> Result<Codec, Fault> {
        let compression = match self.text("compression_type") {
            None | Some("zlib") => Compression::Deflate,
            Some("zstd") => Compression::Zstd,
            Some(other) => {
                return Err(format!("Parameter 'compression-type' does not accept value '{other}'"));
            }
        };
        if compression == Compression::Zstd && version == Version::V2 {
            return Err(needs_v3(
                "Non-zlib compression type is only supported with compatibility level 1.1 and",
            ));
        }
        Codec::new(compression, None).map_err(|error| words::of_opening(&error))
    }

    fn with_backing(&self, image: NewImage) -> Result<NewImage, Fault> {
        let format = self.text("backing_fmt");
        if let Some(format) = format
            && !drivers::is_backing_format(format)
        {
            return Err(format!("Parameter 'backing-fmt' does not accept value '{format}'"));
        }
        let Some(name) = self.text("backing_file") else {
            return match format {
                Some(_) => Err("Backing format cannot be used without backing file".to_owned()),
                None => Ok(image),
            };
        };
        if self.is_on("data_file_raw") {
            return Err("Backing file and data-file-raw cannot be used at the same time".to_owned());
        }
        let prepared = self.text("preallocation").is_some_and(|mode| mode != "off");
        if prepared && !self.is_on("extended_l2") {
            return Err(
                "Backing file and preallocation can only be used at the same time if extended_l2 is on"
                    .to_owned(),
            );
        }
        image
            .with_backing(&bytes::of_text(name), format.map(drivers::recorded))
            .map_err(|error| words::of_opening(&error))
    }

    fn with_data_file(&self, image: NewImage, version: Version) -> Result<NewImage, Fault> {
        let raw = self.is_on("data_file_raw");
        let Some(name) = self.text("data_file") else {
            return match raw {
                true => Err("data-file-raw requires data-file".to_owned()),
                false => Ok(image),
            };
        };
        if version == Version::V2 {
            return Err(needs_v3("External data files are only supported with compatibility level 1.1 and"));
        }
        image.with_data_file(&bytes::of_text(name), raw).map_err(|error| words::of_opening(&error))
    }
}

fn needs_v3(what: &str) -> String {
    format!("{what} above (use version=v3 or greater)")
}

/// A number in decimal or hexadecimal.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
