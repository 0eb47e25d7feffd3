//! Images of containers: which layers they have, and that each is the one that is meant.
//!
//! ```text
//! index.json ─► manifest, or an index of them by platform ─► config, layers: blobs/ALGORITHM/DIGEST      OCI Image Layout Specification
//! manifest.json ─► Config, Layers: paths; config.rootfs.diff_ids                                          what `docker save` writes
//! ```
//! A descriptor says a blob's digest and size, and both are held against the blob before a byte of it is used.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

use image_core::digest::{Algorithm, Digest, Hasher};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::unpack::within;
use crate::error::{Advise, Context, bail, err};
use crate::monitor::Monitor;
use crate::packed::Packing;
use crate::printable::printable;

/// A manifest, an index or a configuration is not larger, in bytes.
const DOCUMENT_MAX: u64 = 4 << 20;
/// An image has no more layers; the kernel's overlays have 500 at most.
const LAYERS_MAX: usize = 512;
/// Indexes in indexes.
const DEPTH_MAX: usize = 4;
/// Read at once, in bytes.
const PIECE: usize = 1 << 20;
/// What images are for here, in the words of OCI.
const PLATFORM: (&str, &str) = ("linux", "amd64");

/// The folder that an image of a container lies in.
pub(super) struct Layout {
    root: OwnedFd,
}

/// What leads to a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// A layer, opened.
pub(super) struct Layer {
    file: File,
    /// The digest of what it unpacks to.
    unpacked: Digest,
}

/// The layers of an image, the lowest one first, and the digest that names the image.
pub(super) struct Layers {
    pub(super) layers: Vec<Layer>,
    pub(super) image: Digest,
}

impl Layout {
    /// The one in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open(folder: &Path) -> crate::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, folder, flags, Mode::empty())
            .with_context(|| format!("opening {}", folder.display()))?;
        Ok(Self { root })
    }

    /// The layers of the image that is in it, each of them verified as it is stored.
    ///
    /// # Errors
    /// If there is none for this platform, there are several, or a blob is another one.
    pub(super) fn layers(&self, monitor: Monitor<'_>) -> crate::Result<Layers> {
        if let Some(index) = self.document("index.json")? {
            let index: Index = parsed(&index, "index.json")?;
            return self.of_index(index, monitor);
        }
        match self.document("manifest.json")? {
            Some(manifest) => self.saved(&manifest, monitor),
            None => Err(err!("it has neither index.json nor manifest.json"))
                .hint(|| "`skopeo copy … oci:FOLDER:NAME` makes OCI's layout, `docker save` an archive"),
        }
    }

    fn of_index(&self, index: Index, monitor: Monitor<'_>) -> crate::Result<Layers> {
        let mut manifests = index.manifests;
        for _ in 0..DEPTH_MAX {
            let chosen = choose(manifests)?;
            let document = self.blob_document(&chosen)?;
            let is_index = chosen.media_type.ends_with("image.index.v1+json")
                || chosen.media_type.ends_with("manifest.list.v2+json");
            if is_index {
                manifests = parsed::<Index>(&document, "an index")?.manifests;
                continue;
            }
            let Manifest { config, layers } = parsed(&document, "a manifest")?;
            let config: Config = parsed(&self.blob_document(&config)?, "a configuration")?;
            config.check(layers.len())?;
            let unpacked = config.rootfs.diff_ids.iter().map(|id| digest(id));
            let opened = layers
                .iter()
                .zip(unpacked)
                .map(|(layer, unpacked)| Ok(Layer { file: self.blob(layer, monitor)?, unpacked: unpacked? }));
            return Ok(Layers {
                layers: opened.collect::<crate::Result<_>>()?,
                image: digest(&chosen.digest)?,
            });
        }
        bail!("its indexes lead to more indexes")
    }

    /// What `docker save` wrote: paths, of which the configuration says what they unpack to.
    fn saved(&self, manifest: &[u8], monitor: Monitor<'_>) -> crate::Result<Layers> {
        let mut images: Vec<Saved> = parsed(manifest, "manifest.json")?;
        if images.len() > 1 {
            return Err(err!("there are {} images in it", images.len()))
                .hint(|| "save one alone: docker save NAME");
        }
        let Saved { config: path, layers } = images.pop().ok_or_else(|| err!("there is no image in it"))?;
        let document = self.document(&path)?.ok_or_else(|| err!("{} is not in it", printable(&path)))?;
        let image = digest_of(&document);
        // The name says the digest: `DIGEST.json`, `blobs/sha256/DIGEST`.
        let stem = Path::new(&path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        if stem.as_deref() != Some(image.hex.as_str()) {
            bail!("the configuration {} is another one than its name says", printable(&path));
        }
        let config: Config = parsed(&document, "a configuration")?;
        config.check(layers.len())?;
        let opened = layers.iter().zip(&config.rootfs.diff_ids).map(|(path, id)| {
            monitor.check()?;
            let file = self.file(path)?.ok_or_else(|| err!("{} is not in it", printable(path)))?;
            Ok(Layer { file, unpacked: digest(id)? })
        });
        Ok(Layers { layers: opened.collect::<crate::Result<_>>()?, image })
    }

    /// The file at `path`, links followed within the folder.
    fn file(&self, path: &str) -> crate::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), within()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => File::from(opened.with_context(|| format!("opening {}", printable(path)))?),
        };
        if !opened.metadata()?.is_file() {
            bail!("{} is no file", printable(path));
        }
        Ok(Some(opened))
    }

    /// The content of a small file.
    fn document(&self, path: &str) -> crate::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_MAX.saturating_add(1))
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading {}", printable(path)))?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            bail!("{} is larger than 4 MiB", printable(path));
        }
        Ok(Some(bytes))
    }

    /// A blob, verified.
    fn blob(&self, descriptor: &Descriptor, monitor: Monitor<'_>) -> crate::Result<File> {
        let expected = digest(&descriptor.digest)?;
        let path = format!("blobs/{}/{}", expected.algorithm, expected.hex);
        let mut file = self.file(&path)?.ok_or_else(|| err!("{path} is not in it"))?;
        let size = file.metadata()?.len();
        if size != descriptor.size {
            bail!("{path} has {size} bytes, and not {}", descriptor.size);
        }
        let watch = monitor.bytes("verifying", size);
        let mut hasher = Hasher::new(expected.algorithm);
        let mut buffer = vec![0; PIECE];
        loop {
            monitor.check()?;
            let count = file.read(&mut buffer).with_context(|| format!("reading {path}"))?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            watch.add(count as u64);
        }
        let found = hasher.finish();
        if found != expected {
            bail!("{path} is another one than its name says: its {} is {}", found.algorithm, found.hex);
        }
        file.rewind()?;
        Ok(file)
    }

    /// A small blob, verified.
    fn blob_document(&self, descriptor: &Descriptor) -> crate::Result<Vec<u8>> {
        let expected = digest(&descriptor.digest)?;
        let path = format!("blobs/{}/{}", expected.algorithm, expected.hex);
        let bytes = self.document(&path)?.ok_or_else(|| err!("{path} is not in it"))?;
        let mut hasher = Hasher::new(expected.algorithm);
        hasher.update(&bytes);
        if hasher.finish() != expected || bytes.len() as u64 != descriptor.size {
            bail!("{path} is another one than its name says");
        }
        Ok(bytes)
    }
}

impl Config {
    /// Whether it is for this platform, and has so many layers.
    fn check(&self, layers: usize) -> crate::Result<()> {
        if (self.os.as_str(), self.architecture.as_str()) != PLATFORM {
            bail!(
                "it is for {}/{}, and images are made for {}/{}",
                printable(&self.os),
                printable(&self.architecture),
                PLATFORM.0,
                PLATFORM.1
            );
        }
        if layers > LAYERS_MAX {
            bail!("it has {layers} layers, more than {LAYERS_MAX}");
        }
        match self.rootfs.diff_ids.len() == layers {
            true => Ok(()),
            false => Err(err!(
                "it has {layers} layers, and its configuration tells of {}",
                self.rootfs.diff_ids.len()
            )),
        }
    }
}

impl Layer {
    /// Gives `read` what the layer unpacks to, and makes sure that it is what the configuration says.
    ///
    /// # Errors
    /// Those of `read`; if it is damaged, or something else.
    pub(super) fn unpack(
        self,
        monitor: Monitor<'_>,
        read: impl FnOnce(&mut dyn Read) -> crate::Result<()>,
    ) -> crate::Result<()> {
        let Self { mut file, unpacked } = self;
        let mut begin = [0; 16];
        let count = file.read(&mut begin)?;
        file.rewind()?;
        let packed = BufReader::with_capacity(PIECE, file);
        let content: Box<dyn Read> = match Packing::of(begin.get(..count).unwrap_or_default()) {
            Some(packing) => packing.unpack(packed)?,
            None => Box::new(packed),
        };
        let mut hashed = Hashed { content, hasher: Hasher::new(unpacked.algorithm) };
        read(&mut hashed)?;
        // Behind an archive's end there may be zeroes, which count.
        let mut buffer = vec![0; PIECE];
        while hashed.read(&mut buffer).context("reading a layer")? > 0 {
            monitor.check()?;
        }
        let found = hashed.hasher.finish();
        match found == unpacked {
            true => Ok(()),
            false => Err(err!(
                "a layer unpacks to something else than its configuration says: {} {}",
                found.algorithm,
                found.hex
            )),
        }
    }
}

/// What is read, and its digest.
struct Hashed {
    content: Box<dyn Read>,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.read(buf)?;
        self.hasher.update(buf.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The one for this platform; one that does not say for which is taken if it is alone.
fn choose(manifests: Vec<Descriptor>) -> crate::Result<Descriptor> {
    let fits = |one: &Descriptor| {
        one.platform
            .as_ref()
            .map(|platform| (platform.os.as_str(), platform.architecture.as_str()) == PLATFORM)
    };
    let (os, architecture) = PLATFORM;
    let mut exact: Vec<Descriptor> =
        manifests.iter().filter(|one| fits(one) == Some(true)).cloned().collect();
    if exact.is_empty() {
        exact = manifests.into_iter().filter(|one| fits(one).is_none()).collect();
    }
    exact.dedup_by(|one, other| one.digest == other.digest);
    match (exact.pop(), exact.len()) {
        (None, _) => bail!("no image for {os}/{architecture} is in it"),
        (Some(one), 0) => Ok(one),
        (Some(_), others) => {
            Err(err!("{} images for {os}/{architecture} are in it", others.saturating_add(1)))
                .hint(|| "copy one of them alone: skopeo copy oci:FOLDER:NAME oci:OTHER")
        }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> crate::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| err!("{what} is not what it should be: {error}"))
}

/// `ALGORITHM:DIGEST` (OCI Image Format Specification, "Digests").
fn digest(text: &str) -> crate::Result<Digest> {
    let wrong = || err!("{:?} is no digest that is known here", printable(text));
    let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
    let (algorithm, len) = match algorithm {
        "sha256" => (Algorithm::Sha256, 64),
        "sha512" => (Algorithm::Sha512, 128),
        _ => return Err(wrong()),
    };
    let is_hex =
        hex.len() == len && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_hex.then(|| Digest { algorithm, hex: hex.to_owned() }).ok_or_else(wrong)
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests;
