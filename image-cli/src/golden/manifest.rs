//! The manifest: what an image is, from what it was made, and how to check it, as JSON beside it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use image_core::digest::Digest;
use serde::Serialize;

use super::disk::{BIOS, ESP, Layout, Placed, ROOT};
use super::epoch::Epoch;
use super::identity::{Identity, Purpose};
use super::provenance::{Changes, Ingredient};
use super::recipe::{Firmware, Recipe, Step};
use super::tree::Tree;
use crate::error::{Context, bail};

/// Raised when a key changes its meaning.
const VERSION: u32 = 1;

const GIB: u64 = 1 << 30;

/// A package in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
}

/// The packages of `tree`, by name. To be asked before it is sealed, which takes nothing of this away.
///
/// # Errors
/// If dpkg-query fails or says something else than expected.
pub(crate) fn packages(tree: &Tree) -> crate::Result<Vec<Package>> {
    let format = "-f=${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n";
    let said = tree.log().output(tree.command("dpkg-query").args(["-W", format]))?;
    parse_packages(&String::from_utf8(said).context("reading the list of packages")?)
}

fn parse_packages(said: &str) -> crate::Result<Vec<Package>> {
    let mut packages = Vec::new();
    for line in said.lines() {
        let mut fields = line.split('\t').map(String::from);
        let (Some(status), Some(name), Some(version), Some(architecture)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            bail!("dpkg-query says {line:?}, which is no package");
        };
        // Of a removed package, only its configuration may be left.
        if status == "installed" {
            packages.push(Package { name, version, architecture });
        }
    }
    packages.sort();
    Ok(packages)
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageFile {
    /// Its name, in the manifest's own folder.
    pub(crate) name: String,
    /// `qcow2` or `raw`.
    pub(crate) format: &'static str,
    /// Its length in bytes.
    pub(crate) size: u64,
    #[serde(flatten)]
    digests: BTreeMap<String, String>,
}

impl ImageFile {
    pub(crate) fn new(name: String, format: &'static str, size: u64, digests: &[Digest]) -> Self {
        let digests = digests.iter().map(|digest| (digest.algorithm.to_string(), digest.hex.clone()));
        Self { name, format, size, digests: digests.collect() }
    }

    /// The digest by that name, in hexadecimal digits.
    pub(crate) fn digest(&self, algorithm: &str) -> Option<&str> {
        self.digests.get(algorithm).map(String::as_str)
    }
}

/// What the manifest says.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest<'a> {
    manifest_version: u32,
    name: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    distribution: &'a str,
    release: &'a str,
    architecture: &'static str,
    build_date: String,
    source_date_epoch: u64,
    recipe_sha256: String,
    tool: &'static str,
    virtual_size: u64,
    /// In GiB, as Glance and Nova count.
    min_disk: u64,
    /// In MiB.
    min_ram: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    firmware: Option<&'a [Firmware]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_user: Option<&'a str>,
    files: &'a [ImageFile],
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_guid: Option<&'a str>,
    partitions: &'a [PartitionEntry],
    /// What it was made of, where that was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a Ingredient>,
    /// What the steps changed in that.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a Changes>,
    /// What OpenStack is told when the image is uploaded.
    properties: &'a BTreeMap<String, String>,
    accepted: Accepted<'a>,
    packages: &'a [Package],
}

/// What the recipe asked for that an audit would complain of: whoever audits this image later, as `goldimg upload` does, accepts it
/// too.
#[derive(Debug, Serialize)]
struct Accepted<'a> {
    /// Files and folders that are meant to stay, with all beneath them.
    keep: &'a [String],
    /// What steps put there by name.
    asked_for: Vec<Cow<'a, str>>,
    keep_passwords: bool,
    /// Accounts whose passwords steps set.
    passwords: BTreeSet<&'a str>,
    /// Accounts that steps made.
    accounts: BTreeSet<&'a str>,
}

/// A partition of the disk.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PartitionEntry {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filesystem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uuid: Option<String>,
}

/// What an image is on the outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outside {
    /// The distribution, as files call it, and its release.
    pub(crate) distribution: String,
    pub(crate) release: String,
    /// What identifies the disk, in a GPT.
    pub(crate) disk_guid: Option<String>,
    pub(crate) partitions: Vec<PartitionEntry>,
    /// Which firmware can boot it, where that was asked for.
    pub(crate) firmware: Option<Vec<Firmware>>,
}

impl Outside {
    /// Of a disk that was made for `recipe`.
    pub(crate) fn made(recipe: &Recipe, layout: &Layout, identity: &Identity) -> Self {
        Self {
            distribution: recipe.base.facts().name.to_owned(),
            release: recipe.base.release.clone(),
            disk_guid: Some(identity.uuid(Purpose::Disk).to_string()),
            partitions: layout.partitions.iter().map(|placed| entry(placed, identity)).collect(),
            firmware: Some(recipe.boot.firmware.clone()),
        }
    }
}

/// From what an image was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) identity: &'a Identity,
    pub(crate) epoch: Epoch,
    pub(crate) outside: &'a Outside,
    pub(crate) base: Option<&'a Ingredient>,
    pub(crate) changes: Option<&'a Changes>,
    pub(crate) packages: &'a [Package],
    pub(crate) properties: &'a BTreeMap<String, String>,
    /// What steps put there by name.
    pub(crate) asked_for: &'a BTreeSet<PathBuf>,
}

impl<'a> Manifest<'a> {
    /// The manifest of `files`, which hold a disk of `virtual_size` bytes.
    pub(crate) fn new(
        origin: Origin<'a>,
        version: &'a str,
        virtual_size: u64,
        files: &'a [ImageFile],
    ) -> Self {
        let Origin { recipe, identity, epoch, outside, base, changes, packages, properties, asked_for } =
            origin;
        Self {
            manifest_version: VERSION,
            name: &recipe.name,
            version,
            description: recipe.description.as_deref(),
            distribution: &outside.distribution,
            release: &outside.release,
            architecture: "x86_64",
            build_date: epoch.date_time(),
            source_date_epoch: epoch.seconds(),
            recipe_sha256: identity.recipe_hash(),
            tool: concat!("goldimg ", env!("CARGO_PKG_VERSION")),
            virtual_size,
            min_disk: virtual_size.div_ceil(GIB),
            min_ram: recipe.output.min_ram_mib,
            firmware: outside.firmware.as_deref(),
            default_user: recipe.cloud_init.default_user.as_deref(),
            files,
            disk_guid: outside.disk_guid.as_deref(),
            partitions: &outside.partitions,
            base,
            changes,
            properties,
            accepted: Accepted {
                keep: &recipe.seal.keep,
                asked_for: asked_for.iter().map(|path| path.to_string_lossy()).collect(),
                keep_passwords: recipe.seal.keep_passwords,
                passwords: recipe.steps.iter().filter_map(Step::gives_password_to).collect(),
                accounts: recipe.steps.iter().filter_map(Step::makes_account).collect(),
            },
            packages,
        }
    }

    /// As text.
    ///
    /// # Errors
    /// None in practice: everything in it can be said in JSON.
    pub(crate) fn to_json(&self) -> crate::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn entry(placed: &Placed, identity: &Identity) -> PartitionEntry {
    let (filesystem, uuid) = match placed.number {
        ROOT => (Some("ext4"), Some(identity.uuid(Purpose::RootFilesystem).to_string())),
        ESP => (Some("vfat"), Some(identity.fat_uuid())),
        BIOS => (None, None),
        _ => (None, None),
    };
    PartitionEntry {
        number: placed.number,
        name: placed.name.to_owned(),
        offset: placed.range.offset(),
        size: placed.range.len(),
        guid: Some(identity.uuid(Purpose::Partition(placed.number)).to_string()),
        filesystem: filesystem.map(str::to_owned),
        uuid,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::golden::recipe::example;

    /// Hands over the origin of an image of `recipe` whose root filesystem has `root_size` bytes.
    pub(in crate::golden) fn with_origin<T>(
        recipe: &Recipe,
        root_size: u64,
        act: impl FnOnce(Origin<'_>) -> T,
    ) -> T {
        let epoch = Epoch::new(1_760_000_000).unwrap();
        let identity = Identity::new(recipe, epoch).unwrap();
        let layout = Layout::new(recipe, root_size).unwrap();
        let outside = Outside::made(recipe, &layout, &identity);
        let properties = BTreeMap::from([("hw_cdrom_bus".to_owned(), "scsi".to_owned())]);
        act(Origin {
            recipe,
            identity: &identity,
            epoch,
            outside: &outside,
            base: None,
            changes: None,
            packages: &[],
            properties: &properties,
            asked_for: &BTreeSet::from(["/etc/motd".into()]),
        })
    }

    #[test]
    fn packages_that_are_removed_are_left_out() {
        let said =
            "installed\tzlib1g\t1:1.2\tamd64\nconfig-files\told\t1\tall\ninstalled\tadduser\t3.134\tall\n";
        let names: Vec<_> = parse_packages(said).unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["adduser", "zlib1g"]);
        assert!(parse_packages("nonsense\n").is_err());
    }

    #[test]
    fn the_manifest_says_what_a_cloud_asks() {
        let (json, root) = with_origin(&example(), 1 << 30, |origin| {
            let size = Layout::new(origin.recipe, 1 << 30).unwrap().size;
            let json = Manifest::new(origin, "1", size, &[]).to_json().unwrap();
            (json, origin.identity.uuid(Purpose::RootFilesystem))
        });
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["min_disk"], 2);
        assert_eq!(value["min_ram"], 512);
        assert_eq!(value["build_date"], "2025-10-09 08:53:20");
        assert_eq!(value["partitions"][2]["filesystem"], "ext4");
        assert_eq!(value["partitions"][2]["uuid"], root.to_string());
        assert_eq!(value["firmware"][1], "uefi");
        assert_eq!(value["properties"]["hw_cdrom_bus"], "scsi");
        let accepted = serde_json::json!({
            "keep": [],
            "asked_for": ["/etc/motd"],
            "keep_passwords": false,
            "passwords": [],
            "accounts": [],
        });
        assert_eq!(value["accepted"], accepted);
    }
}
