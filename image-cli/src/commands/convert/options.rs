//! What the command line asks for, understood: the format, `-o`, levels.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{anyhow, bail};
use goldimg::size::Size;
use goldimg::target_name::Wish;
use goldimg::variables::Variables;
use image_core::foreign;
use image_core::format::{Format, Image};
use image_core::nbd::Address;
use image_core::qcow2::{Codec, Compression, Geometry, NewImage, Version};

use super::Args;
use super::output::Output;
use crate::failure::Advise;
use crate::ui::Ui;

/// The keys of `-o`, as in qemu-img.
const KEYS: [&str; 4] = ["cluster_size", "compression_type", "compat", "refcount_bits"];

/// The shortest run of zeroes that stays a hole of a raw file.
const DEFAULT_SPARSE_UNIT: u64 = 4096;

/// Clusters compressed by zstd that are larger are misread by some hypervisors.
const LARGEST_SAFE_ZSTD_CLUSTER: u64 = 128 * 1024;

/// What to write.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) format: Format,
    /// Shorter runs of zeroes are written to a raw file; `None`: all are.
    pub(super) sparse_unit: Option<u64>,
    compress: bool,
    /// How hard, into what is there.
    pub(super) level: Option<u8>,
    /// Equal compressed clusters are stored once.
    dedup: bool,
    codec: Codec,
    cluster_bits: u32,
    refcount_order: u32,
    version: Version,
    /// The image of another program's format.
    foreign: Option<foreign::NewImage>,
    /// The name and the format of its backing file.
    backing: Option<(String, String)>,
}

impl Job {
    /// What `args` ask for.
    pub(super) fn new(args: &Args, ui: &Ui) -> anyhow::Result<Self> {
        let wants =
            [(args.compress, "-c"), (!args.options.is_empty(), "-o"), (args.backing_file.is_some(), "-B")];
        let wants = wants.into_iter().find(|&(wanted, _)| wanted);
        let refuse_raw = |format: Format| match wants.filter(|_| format == Format::Raw) {
            Some((_, what)) => {
                Err(anyhow!("{what} has no meaning for a raw target")).hint(|| "take -O qcow2")
            }
            None => Ok(format),
        };
        args.target_format.map(refuse_raw).transpose()?;
        let format = match names_a_file(args) {
            true => {
                let format = args.target_format;
                let needs_qcow2 = args.compress.then_some("-c");
                Wish { option: "-O", format, needs_qcow2 }.format_of(&args.target, ui.monitor())?
            }
            false if args.compress => args.target_format.unwrap_or(Format::Qcow2),
            false => args.target_format.unwrap_or(Format::Raw),
        };
        refuse_raw(format)?;
        // What is there has a compression of its own, which says what levels it has.
        let level = args.level.filter(|_| !args.no_create);
        let job = Self::of(format, args.compress, &args.options, level)?.named(&args.target);
        if let (Format::Foreign(_), Some(_)) = (format, &args.backing_file) {
            return Err(anyhow!("-B has no meaning for a target of the format {format}"))
                .hint(|| "take -O qcow2");
        }
        Ok(Self { sparse_unit: sparse_unit(args.sparse_size)?, level: args.level, dedup: args.dedup, ..job })
    }

    /// An image of `format` with the `KEY=VALUE`s of `-o`.
    pub(in crate::commands) fn of(
        format: Format,
        compress: bool,
        options: &[String],
        level: Option<u8>,
    ) -> anyhow::Result<Self> {
        let mut job = Self {
            format,
            sparse_unit: Some(DEFAULT_SPARSE_UNIT),
            compress,
            level,
            dedup: false,
            codec: Codec::default(),
            cluster_bits: 16,
            refcount_order: 4,
            version: Version::V3,
            foreign: None,
            backing: None,
        };
        if let Format::Foreign(kind) = format {
            job.foreign = Some(new_foreign(kind, compress, options, level)?);
            return Ok(job);
        }
        let mut compression = Compression::Deflate;
        for option in options {
            let Some((key, value)) = option.split_once('=') else {
                bail!("-o {option}: an option is KEY=VALUE");
            };
            match key {
                "cluster_size" => job.cluster_bits = power(option, value, 512, 2 << 20)?,
                "refcount_bits" => job.refcount_order = power(option, value, 1, 64)?,
                "compression_type" => compression = parse_compression(option, value)?,
                "compat" => job.version = parse_version(option, value)?,
                _ => {
                    return Err(anyhow!("-o {option}: there is no such option"))
                        .hint(|| format!("the options of qcow2 are {}", KEYS.join(", ")));
                }
            }
        }
        job.codec = Codec::new(compression, level)?;
        job.image(0)?;
        Ok(job)
    }

    /// The same for a file of this name.
    pub(in crate::commands) fn named(self, path: &Path) -> Self {
        let name = path.file_name().filter(|_| path != Path::new("-")).unwrap_or_default();
        let foreign = self.foreign.map(|image| image.with_name(&name.to_string_lossy()));
        Self { foreign, ..self }
    }

    /// The image of another program's format for a disk of `size` bytes, if it is to be one.
    pub(in crate::commands) fn foreign(&self, size: u64) -> image_core::Result<Option<foreign::NewImage>> {
        self.foreign.as_ref().map(|image| image.clone().with_size(size)).transpose()
    }

    /// Whether it can have persistent bitmaps.
    pub(super) fn has_bitmaps(&self) -> bool {
        self.format == Format::Qcow2 && self.version == Version::V3
    }

    /// Whether clusters are to be compressed.
    pub(super) fn compresses(&self) -> bool {
        self.compress
    }

    /// The sizes of a qcow2 image.
    fn geometry(&self) -> image_core::Result<Geometry> {
        Geometry::new(self.cluster_bits, self.refcount_order, false)
    }

    /// The same into what is there already, which has a format of its own.
    pub(super) fn writing_into(self, output: &Output) -> Self {
        let format = output.image().map(|image| image.format());
        Self { format: format.unwrap_or(self.format), ..self }
    }

    /// The same with a backing file.
    pub(super) fn over(self, name: Option<&str>, base: Option<&Image>) -> Self {
        let backing = name.zip(base).map(|(name, base)| (name.to_owned(), base.format().to_string()));
        Self { backing, ..self }
    }

    /// The qcow2 image for a disk of `size` bytes.
    pub(in crate::commands) fn image(&self, size: u64) -> image_core::Result<NewImage> {
        let image = NewImage::in_clusters(size, self.geometry()?)?;
        let image =
            image.with_codec(self.codec, self.compress)?.with_version(self.version)?.with_dedup(self.dedup);
        match &self.backing {
            Some((name, format)) => image.with_backing(name.as_bytes(), Some(format)),
            None => Ok(image),
        }
    }

    /// What the target will be as a disk, in bytes.
    pub(super) fn virtual_size(&self, size: u64) -> image_core::Result<u64> {
        match self.format {
            Format::Raw => Ok(size),
            Format::Qcow2 => Ok(self.image(size)?.size()),
            Format::Foreign(_) => Ok(self.foreign(size)?.map_or(size, |image| image.size())),
        }
    }

    /// What is allowed and yet not wise.
    pub(super) fn warning(&self) -> Option<String> {
        if self.foreign.is_some() {
            return None;
        }
        let zstd = self.codec.compression() == Compression::Zstd;
        if zstd && !self.compress {
            return Some(
                "without -c nothing is compressed: zstd is only noted for clusters written later".into(),
            );
        }
        (zstd && 1_u64 << self.cluster_bits > LARGEST_SAFE_ZSTD_CLUSTER).then(|| {
            format!("some hypervisors misread zstd clusters over {}", Size(LARGEST_SAFE_ZSTD_CLUSTER))
        })
    }
}

/// An image of `kind` with the `KEY=VALUE`s of `-o`, of a size that is not known yet.
fn new_foreign(
    kind: foreign::Kind,
    compress: bool,
    options: &[String],
    level: Option<u8>,
) -> anyhow::Result<foreign::NewImage> {
    let mut image = foreign::NewImage::new(kind, 0)
        .hint(|| "raw, qcow2, vmdk, vpc (vhd), vhdx and vdi are made")?
        .with_date(source_date()?);
    if compress && kind == foreign::Kind::Vmdk {
        image = image.with_subformat("streamOptimized")?;
    }
    for option in options {
        let Some((key, value)) = option.split_once('=') else {
            bail!("-o {option}: an option is KEY=VALUE");
        };
        image = match key {
            "subformat" => image.with_subformat(value)?,
            "block_size" => {
                let size = value.parse::<Size>().map_err(|error| anyhow!("-o {option}: {error}"))?;
                image.with_block_size(size.0)?
            }
            // Sizes are exact in any case.
            "force_size" if kind == foreign::Kind::Vpc => image,
            _ => {
                return Err(anyhow!("-o {option}: there is no such option"))
                    .hint(|| format!("the options of {kind} are subformat and block_size"));
            }
        };
    }
    if compress || level.is_some() {
        image = image.with_compression(level).hint(|| "leave out -c, or take -O vmdk")?;
    }
    Ok(image)
}

/// What `SOURCE_DATE_EPOCH` says; without it images have the first date that there is.
fn source_date() -> anyhow::Result<u64> {
    let variables: Variables = std::env::vars_os().collect();
    match variables.value("SOURCE_DATE_EPOCH") {
        Some(_) => Ok(variables.time()?.seconds.try_into().unwrap_or_default()),
        None => Ok(0),
    }
}

/// Whether the target is a file that gets its name now: what is there already, standard output, a device or an export
/// have names that say nothing.
fn names_a_file(args: &Args) -> bool {
    let target = &args.target;
    let is_device = || std::fs::metadata(target).is_ok_and(|there| there.file_type().is_block_device());
    let is_other = args.no_create || target == Path::new("-");
    !is_other && !target.to_str().is_some_and(Address::is_meant_by) && !is_device()
}

/// The power of two not above `size`, as far as a sink can look for such runs.
fn sparse_unit(size: Option<Size>) -> anyhow::Result<Option<u64>> {
    match size {
        None => Ok(Some(DEFAULT_SPARSE_UNIT)),
        Some(Size(0)) => Ok(None),
        Some(Size(size)) if size < 512 => bail!("-S {size}: at least 512, or 0"),
        Some(Size(size)) => Ok(Some(1 << size.ilog2().min(21))),
    }
}

/// log2 of a value that must be a power of two.
fn power(option: &str, value: &str, least: u64, most: u64) -> anyhow::Result<u32> {
    let size = value.parse::<Size>().map_err(|error| anyhow!("-o {option}: {error}"))?.0;
    if !size.is_power_of_two() || !(least..=most).contains(&size) {
        bail!("-o {option}: it must be a power of two from {least} to {most}");
    }
    Ok(size.ilog2())
}

fn parse_compression(option: &str, value: &str) -> anyhow::Result<Compression> {
    match value {
        "deflate" | "zlib" => Ok(Compression::Deflate),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(anyhow!("-o {option}: there is no such compression"))
            .hint(|| "qcow2 images have deflate (also called zlib) or zstd"),
    }
}

fn parse_version(option: &str, value: &str) -> anyhow::Result<Version> {
    match value {
        "0.10" | "v2" => Ok(Version::V2),
        "1.1" | "v3" => Ok(Version::V3),
        _ => Err(anyhow!("-o {option}: there is no such version")).hint(|| "compat is 1.1 (v3) or 0.10 (v2)"),
    }
}
