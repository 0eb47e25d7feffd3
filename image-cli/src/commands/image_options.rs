//! What `-o KEY=VALUE,…` asks of a new image, understood. The keys are qemu-img's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use goldimg::printable::printable;
use goldimg::size::Size;
use image_core::block::Preallocation;
use image_core::format::{Format, FormatNode, OpenOptions, Share};
use image_core::qcow2::{Codec, Compression, Geometry, NewImage, Version};

use crate::failure::{Advise, USAGE};

/// What to do where the format of a backing file is not known.
pub(crate) const FORMAT_HINT: &str = "-F says what the backing file is, as in -F raw";

/// The keys that are understood.
const KEYS: [&str; 12] = [
    "size",
    "backing_file",
    "backing_fmt",
    "compat",
    "cluster_size",
    "refcount_bits",
    "extended_l2",
    "compression_type",
    "lazy_refcounts",
    "preallocation",
    "data_file",
    "data_file_raw",
];

/// Options of a new image; what is not set is left to the format's defaults.
#[derive(Debug, Default)]
pub(crate) struct ImageOptions {
    pub(crate) size: Option<u64>,
    pub(crate) backing_file: Option<Vec<u8>>,
    pub(crate) backing_format: Option<Format>,
    pub(crate) version: Option<Version>,
    pub(crate) refcount_bits: Option<u32>,
    pub(crate) lazy_refcounts: Option<bool>,
    pub(crate) preallocation: Preallocation,
    pub(crate) data_file: Option<Vec<u8>>,
    cluster_bits: Option<u32>,
    extended_l2: bool,
    compression: Option<Compression>,
    data_file_raw: bool,
    /// As they were written, for messages.
    given: Vec<String>,
}

impl ImageOptions {
    /// Takes over one list of options.
    pub(crate) fn read(&mut self, list: &str) -> anyhow::Result<()> {
        for option in unescaped(list) {
            let (key, value) =
                option.split_once('=').with_context(|| format!("-o {option:?}: an option is KEY=VALUE"))?;
            self.read_one(key, value).with_context(|| format!("-o {option}"))?;
            self.given.push(key.to_owned());
        }
        Ok(())
    }

    fn read_one(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        match key {
            "size" => self.size = Some(value.parse::<Size>()?.0),
            "backing_file" => self.backing_file = Some(value.as_bytes().to_vec()),
            "backing_fmt" => self.backing_format = Some(value.parse()?),
            "compat" => self.version = Some(version(value)?),
            "cluster_size" => self.cluster_bits = Some(power(value, 512, 2 << 20)?),
            "refcount_bits" => self.refcount_bits = Some(1 << power(value, 1, 64)?),
            "extended_l2" => self.extended_l2 = on(value)?,
            "compression_type" => self.compression = Some(compression(value)?),
            "lazy_refcounts" => self.lazy_refcounts = Some(on(value)?),
            "preallocation" => self.preallocation = value.parse()?,
            "data_file" => self.data_file = Some(value.as_bytes().to_vec()),
            "data_file_raw" => self.data_file_raw = on(value)?,
            _ if key == "encryption" || key.starts_with("encrypt.") => {
                return Err(anyhow!("encrypted images are not made here"))
                    .hint(|| "encrypt the disk inside of the guest, or the volume beneath the image");
            }
            _ => {
                return Err(anyhow!("there is no such option"))
                    .hint(|| format!("the options are {}", KEYS.join(", ")));
            }
        }
        Ok(())
    }

    /// Refuses options other than `known` of an image that is there already.
    pub(crate) fn refuse_all_but(&self, known: &[&str]) -> anyhow::Result<()> {
        match self.given.iter().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(anyhow!("-o {key}: this cannot be changed in an image that is there"))
                .hint(|| format!("{} can; for the rest convert it", known.join(", "))),
            None => Ok(()),
        }
    }

    /// Refuses what a raw image does not have.
    pub(crate) fn refuse_for_raw(&self) -> anyhow::Result<()> {
        let foreign = self.given.iter().find(|key| !matches!(key.as_str(), "size" | "preallocation"));
        let backing = self.backing_file.is_some().then_some("a backing file");
        if let Some(what) = backing.or(foreign.map(String::as_str)) {
            return Err(anyhow!("a raw image has no place for {what}")).hint(|| "take -f qcow2");
        }
        if self.preallocation == Preallocation::Metadata {
            bail!("a raw image has no metadata to set aside: there are preallocation off, falloc and full");
        }
        Ok(())
    }

    /// The image that they describe, of `size` bytes.
    pub(crate) fn new_image(&self, size: u64) -> anyhow::Result<NewImage> {
        let refcount_order = self.refcount_bits.unwrap_or(16).trailing_zeros();
        let geometry = Geometry::new(self.cluster_bits.unwrap_or(16), refcount_order, self.extended_l2)?;
        let codec = Codec::new(self.compression.unwrap_or(Compression::Deflate), None)?;
        let version = self.version.unwrap_or(Version::V3);
        let mut image = NewImage::in_clusters(size, geometry)?.with_codec(codec, false)?;
        image = image.with_lazy_refcounts(self.lazy_refcounts.unwrap_or(false))?.with_version(version)?;
        if let Some(name) = &self.backing_file {
            let format = self.backing_format.map(|format| format.to_string());
            image = image.with_backing(name, format.as_deref())?;
        }
        match &self.data_file {
            Some(name) => Ok(image.with_data_file(name, self.data_file_raw)?),
            None if self.data_file_raw => bail!("data_file_raw without data_file: there is none to be raw"),
            None => Ok(image),
        }
    }
}

/// The size and the format of the backing file that the image at `image` is going to name.
pub(crate) fn look_at(image: &Path, name: &[u8], format: Option<Format>) -> anyhow::Result<(u64, Format)> {
    let folder = image.parent().unwrap_or(Path::new(""));
    let path = folder.join(OsStr::from_bytes(name));
    let shown = printable(&path.display().to_string());
    let look = OpenOptions { format, share: Share::RawWriters, ..OpenOptions::default() };
    let member = FormatNode::open(&path, look);
    let hint = match &member {
        Err(_) if !folder.as_os_str().is_empty() && !path.exists() => {
            Some("a relative name of a backing file starts at the folder of the image that names it")
        }
        Err(_) => Some("-u takes the name without looking at the backing file"),
        Ok(_) => None,
    };
    let member = match hint {
        Some(hint) => member.with_context(|| format!("looking at the backing file {shown}")).hint(|| hint)?,
        None => member?,
    };
    // A guest could turn its raw disk into an image that names the host's files: only the user knows what it is.
    if member.probed && member.format == Format::Raw {
        return Err(anyhow!("{shown} looks raw, which has to be said of a backing file"))
            .hint(|| FORMAT_HINT)
            .exit_code(USAGE);
    }
    Ok((member.virtual_size(), member.format))
}

/// The parts between single commas; a comma that is part of a value is written twice.
fn unescaped(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = list.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ',' && rest.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// log2 of a value that must be a power of two.
fn power(value: &str, least: u64, most: u64) -> anyhow::Result<u32> {
    let size = value.parse::<Size>()?.0;
    if !size.is_power_of_two() || !(least..=most).contains(&size) {
        bail!("it must be a power of two from {least} to {most}");
    }
    Ok(size.ilog2())
}

fn on(value: &str) -> anyhow::Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => bail!("it is either on or off"),
    }
}

fn version(value: &str) -> anyhow::Result<Version> {
    match value {
        "0.10" | "v2" => Ok(Version::V2),
        "1.1" | "v3" => Ok(Version::V3),
        _ => Err(anyhow!("there is no such version")).hint(|| "compat is 1.1 (v3) or 0.10 (v2)"),
    }
}

fn compression(value: &str) -> anyhow::Result<Compression> {
    match value {
        "deflate" | "zlib" => Ok(Compression::Deflate),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(anyhow!("there is no such compression"))
            .hint(|| "qcow2 images have deflate (also called zlib) or zstd"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_options_unless_they_are_doubled() {
        assert_eq!(unescaped("a=1,b=2"), ["a=1", "b=2"]);
        assert_eq!(unescaped("a=x,,y,,,b=2,"), ["a=x,y,", "b=2"]);
        assert_eq!(unescaped(""), Vec::<String>::new());
    }

    #[test]
    fn each_key_is_understood_and_wrong_values_are_refused() {
        let mut options = ImageOptions::default();
        options
            .read("size=1G,backing_file=a,,b,backing_fmt=raw,compat=v3,cluster_size=64k,refcount_bits=8")
            .unwrap();
        options.read("extended_l2=on,compression_type=zstd,lazy_refcounts=on,preallocation=full").unwrap();
        assert_eq!((options.size, options.backing_file.as_deref()), (Some(1 << 30), Some(&b"a,b"[..])));
        assert_eq!(options.given.len(), 10);
        assert_eq!(options.new_image(512).unwrap().geometry(), Geometry::new(16, 3, true).unwrap());
        assert!(options.refuse_for_raw().is_err());
        options.read("data_file=d,data_file_raw=on").unwrap();
        assert!(options.new_image(512).is_err(), "raw, and a backing file");
        for wrong in
            ["cluster_size=3000", "lazy_refcounts=yes", "compat=2", "encrypt.format=luks", "sise=1", "size"]
        {
            assert!(ImageOptions::default().read(wrong).is_err(), "{wrong}");
        }
    }
}
