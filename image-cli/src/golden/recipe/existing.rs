//! What is there already and becomes a base: an image, or the files of a system.
//!
//! ```toml
//! image = "https://images.example/debian-12.qcow2.xz"     tar = "rootfs.tar.zst"     oci = "layout"
//! sha256 = "…"
//! ```

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::uri::Uri;

/// What a base begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Existing {
    /// A disk image, which stays what it is but for what the steps change.
    Image(ImageFile),
    /// The files of a system, packed.
    Tar(TarFile),
    /// A container's image.
    Oci(OciImage),
}

/// `image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageFile {
    /// A disk image, compressed or not: a file beside the recipe, an address, or `glance:NAME`.
    pub image: Location,
    /// By what it is known to be the right one.
    #[serde(flatten)]
    pub proof: Proof,
}

/// `tar`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TarFile {
    /// The files of a system as a tar archive, compressed or not: as with `image`.
    pub tar: Location,
    /// By what it is known to be the right one.
    #[serde(flatten)]
    pub proof: Proof,
}

/// `oci`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OciImage {
    /// A container's image beside the recipe: a folder or an archive in OCI's layout, or what `docker save` wrote.
    pub oci: PathBuf,
}

/// By what a file is known to be the one that is meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proof {
    /// Its SHA-256, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its SHA-512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// What its publisher signed.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<Sums>,
}

/// Digests that are signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sums {
    /// The address of a file of digests, as `sha256sum` and `sha512sum` write it.
    pub sums: Uri,
    /// The address of its signature; without, that is in its own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Uri>,
    /// The public keys that it is signed with one of, a file beside the recipe.
    pub signed_by: PathBuf,
}

impl Existing {
    /// A disk image.
    pub fn image(image: impl Into<Location>, proof: Proof) -> Self {
        Self::Image(ImageFile { image: image.into(), proof })
    }

    /// The files of a system as a tar archive.
    pub fn tar(tar: impl Into<Location>, proof: Proof) -> Self {
        Self::Tar(TarFile { tar: tar.into(), proof })
    }

    /// A container's image.
    pub fn oci(oci: impl Into<PathBuf>) -> Self {
        Self::Oci(OciImage { oci: oci.into() })
    }

    /// The addresses that may have credentials.
    pub(crate) fn uris(&mut self) -> impl Iterator<Item = &mut Uri> {
        let location = match self {
            Self::Image(ImageFile { image, .. }) => Some(image),
            Self::Tar(TarFile { tar, .. }) => Some(tar),
            Self::Oci(_) => None,
        };
        location.into_iter().filter_map(|location| match location {
            Location::Uri(uri) => Some(uri),
            _ => None,
        })
    }
}

/// As people are told: what it is, where it is, and its digests.
impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, location, proof) = match self {
            Self::Image(ImageFile { image, proof }) => ("the image", image.to_string(), Some(proof)),
            Self::Tar(TarFile { tar, proof }) => ("the files in", tar.to_string(), Some(proof)),
            Self::Oci(OciImage { oci }) => ("the container's image", oci.display().to_string(), None),
        };
        write!(f, "{what} {location}")?;
        let digests = proof.map(|proof| [("sha256", &proof.sha256), ("sha512", &proof.sha512)]);
        if let Some(sums) = proof.and_then(|proof| proof.sums.as_ref()) {
            write!(f, "\n  as {} says, signed by {}", sums.sums, sums.signed_by.display())?;
        }
        for (name, digest) in digests.into_iter().flatten() {
            if let Some(digest) = digest {
                write!(f, "\n  {name} {digest}")?;
            }
        }
        Ok(())
    }
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// Beside the recipe: a path from its folder.
    Beside(PathBuf),
    /// On a server, by HTTP or HTTPS.
    Uri(Uri),
    /// In a cloud: the name of an image there.
    Glance(String),
}

/// What a location in a cloud begins with.
const GLANCE: &str = "glance:";

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        match text.strip_prefix(GLANCE) {
            Some(name) => Self::Glance(name.to_owned()),
            None if text.contains("://") => Self::Uri(Uri::new(text)),
            None => Self::Beside(PathBuf::from(text)),
        }
    }
}

/// As a recipe says it, without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beside(path) => write!(f, "{}", path.display()),
            Self::Uri(uri) => write!(f, "{uri}"),
            Self::Glance(name) => write!(f, "{GLANCE}{name}"),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}
