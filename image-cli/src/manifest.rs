//! The manifest: what an image is, from what it was made, and how to check it, as JSON beside it.
//!
//! ```text
//! build ─► Manifest ─► NAME-VERSION.json ─► Manifest ─► upload, other programs
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use image_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Context, bail};

/// Raised when a key changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of its form, which is 1.
    pub manifest_version: u32,
    /// The recipe's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// What the recipe says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The distribution, as files call it: `debian`.
    #[serde(default)]
    pub distribution: String,
    /// Its release: `bookworm`.
    #[serde(default)]
    pub release: String,
    /// The processor: `x86_64`.
    #[serde(default)]
    pub architecture: String,
    /// `YYYY-MM-DD hh:mm:ss`, UTC.
    pub build_date: String,
    /// The same in seconds since 1970.
    #[serde(default)]
    pub source_date_epoch: u64,
    /// Of the recipe with all that it names, in hexadecimal digits.
    #[serde(default)]
    pub recipe_sha256: String,
    /// The program that made it, and its version.
    #[serde(default)]
    pub tool: String,
    /// The size of the disk in bytes.
    #[serde(default)]
    pub virtual_size: u64,
    /// In GiB, as Glance and Nova count.
    #[serde(default)]
    pub min_disk: u64,
    /// In MiB.
    pub min_ram: u32,
    /// Which firmware can boot it (`bios`, `uefi`), where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Vec<String>>,
    /// Whom a cloud's key lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_user: Option<String>,
    /// The images, in the order of the recipe's formats.
    pub files: Vec<ImageFile>,
    /// What identifies the disk, in a GPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_guid: Option<String>,
    /// By their places.
    #[serde(default)]
    pub partitions: Vec<PartitionEntry>,
    /// What it was made of, where that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Ingredient>,
    /// What the steps changed in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// What OpenStack is told when the image is uploaded.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// What the recipe asked for that an audit would complain of.
    #[serde(default)]
    pub accepted: Accepted,
    /// By name.
    #[serde(default)]
    pub packages: Vec<Package>,
}

impl Manifest {
    /// The one beside the image at `path`: `STEM.json`. `None` if there is none, or it does not name that image.
    ///
    /// # Errors
    /// If it is a manifest and not understood.
    pub fn beside(path: &Path) -> crate::Result<Option<Self>> {
        let beside = path.with_extension("json");
        let Ok(text) = std::fs::read_to_string(&beside) else { return Ok(None) };
        // Any other JSON may have that name.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(None) };
        let Some(version) = value.get("manifest_version") else { return Ok(None) };
        if *version != VERSION {
            bail!("{} has version {version}, which is unknown here", beside.display());
        }
        let doing = || format!("reading the manifest {}", beside.display());
        let manifest: Self = serde_json::from_value(value).with_context(doing)?;
        Ok(Some(manifest).filter(|manifest| manifest.file(path).is_some()))
    }

    /// What it says of the image at `path`, by its name.
    pub fn file(&self, path: &Path) -> Option<&ImageFile> {
        let name = path.file_name()?;
        self.files.iter().find(|file| name == file.name.as_str())
    }

    /// As text.
    ///
    /// # Errors
    /// None in practice: everything in it can be said in JSON.
    pub(crate) fn to_json(&self) -> crate::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageFile {
    /// Its name, in the manifest's own folder.
    pub name: String,
    /// `qcow2` or `raw`.
    #[serde(default)]
    pub format: String,
    /// Its length in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// By algorithm (`sha256`, `sha512`), in hexadecimal digits.
    #[serde(flatten)]
    pub digests: BTreeMap<String, String>,
}

impl ImageFile {
    pub(crate) fn new(name: String, format: &str, size: u64, digests: &[Digest]) -> Self {
        Self { name, format: format.to_owned(), size: Some(size), digests: by_algorithm(digests) }
    }

    /// The digest by that name, in hexadecimal digits.
    pub fn digest(&self, algorithm: &str) -> Option<&str> {
        self.digests.get(algorithm).map(String::as_str)
    }
}

/// What an audit would complain of, and the recipe asked for: whoever audits this image later, as `goldimg upload` does, accepts it too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Accepted {
    /// Files and folders that are meant to stay, with all beneath them.
    pub keep: Vec<String>,
    /// What steps put there by name; what is no UTF-8 in it is replaced.
    pub asked_for: Vec<String>,
    /// Passwords are meant to stay.
    pub keep_passwords: bool,
    /// Accounts whose passwords steps set.
    pub passwords: BTreeSet<String>,
    /// Accounts that steps made.
    pub accounts: BTreeSet<String>,
}

/// A partition of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartitionEntry {
    /// Its number, from 1.
    pub number: u32,
    /// Its name, in a GPT.
    pub name: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub size: u64,
    /// Its own GUID, in a GPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// What is in it: `ext4`, `vfat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// That filesystem's UUID, as `/dev/disk/by-uuid` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// A package in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Package {
    /// What it is called.
    pub name: String,
    /// As its package manager has it.
    pub version: String,
    /// Likewise: `amd64`, `all`.
    pub architecture: String,
}

/// A file that a build begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ingredient {
    /// Where it came from, as the recipe says it.
    pub source: String,
    /// Its length in bytes; none of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// By algorithm, in hexadecimal digits.
    #[serde(flatten)]
    pub digests: BTreeMap<String, String>,
}

/// What steps changed in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// How many files are new, or have other content.
    pub files_written: usize,
    /// How many have other rights, owners, times or attributes.
    pub files_changed: usize,
    /// How many are gone; what was in a folder that is gone is not counted.
    pub files_removed: usize,
    /// Packages by their names, with the versions that came.
    pub packages_added: BTreeMap<String, String>,
    /// Those with another version: the old one and the new one.
    pub packages_changed: BTreeMap<String, (String, String)>,
    /// Those that are gone, with the version they had.
    pub packages_removed: BTreeMap<String, String>,
}

/// Digests as manifests have them.
pub(crate) fn by_algorithm(digests: &[Digest]) -> BTreeMap<String, String> {
    digests.iter().map(|digest| (digest.algorithm.to_string(), digest.hex.clone())).collect()
}
