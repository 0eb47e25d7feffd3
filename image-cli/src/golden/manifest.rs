//! The manifest: what an image is, from what it was made, and how to check it, as JSON beside it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use image_core::digest::Digest;
use serde::Serialize;

use super::disk::{BIOS, ESP, Layout, Placed, ROOT};
use super::epoch::Epoch;
use super::identity::{Identity, Purpose};
use super::recipe::{Distribution, Firmware, Recipe, Step};
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
    distribution: Distribution,
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
    firmware: &'a [Firmware],
    #[serde(skip_serializing_if = "Option::is_none")]
    default_user: Option<&'a str>,
    files: &'a [ImageFile],
    disk_guid: String,
    partitions: Vec<PartitionEntry>,
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

#[derive(Debug, Serialize)]
struct PartitionEntry {
    number: u32,
    name: &'static str,
    offset: u64,
    size: u64,
    guid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

/// From what an image was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) identity: &'a Identity,
    pub(crate) epoch: Epoch,
    pub(crate) layout: &'a Layout,
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
        let Origin { recipe, identity, epoch, layout, packages, properties, asked_for } = origin;
        Self {
            manifest_version: VERSION,
            name: &recipe.name,
            version,
            description: recipe.description.as_deref(),
            distribution: recipe.base.distribution,
            release: &recipe.base.release,
            architecture: "x86_64",
            build_date: epoch.date_time(),
            source_date_epoch: epoch.seconds(),
            recipe_sha256: identity.recipe_hash(),
            tool: concat!("goldimg ", env!("CARGO_PKG_VERSION")),
            virtual_size,
            min_disk: virtual_size.div_ceil(GIB),
            min_ram: recipe.output.min_ram_mib,
            firmware: &recipe.boot.firmware,
            default_user: recipe.cloud_init.default_user.as_deref(),
            files,
            disk_guid: identity.uuid(Purpose::Disk).to_string(),
            partitions: layout.partitions.iter().map(|placed| entry(placed, identity)).collect(),
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
        name: placed.name,
        offset: placed.range.offset(),
        size: placed.range.len(),
        guid: identity.uuid(Purpose::Partition(placed.number)).to_string(),
        filesystem,
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
        let properties = BTreeMap::from([("hw_cdrom_bus".to_owned(), "scsi".to_owned())]);
        act(Origin {
            recipe,
            identity: &identity,
            epoch,
            layout: &layout,
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
            let json = Manifest::new(origin, "1", origin.layout.size, &[]).to_json().unwrap();
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
