//! What a build knows of its image, as the manifest says it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::disk::{BIOS, ESP, Layout, Placed, ROOT};
use super::epoch::Epoch;
use super::identity::{Identity, Purpose};
use super::recipe::{Firmware, Recipe, Step};
use super::tree::Tree;
use crate::error::{Context, bail};
use crate::manifest::{Accepted, Changes, ImageFile, Ingredient, Manifest, Package, PartitionEntry, VERSION};

const GIB: u64 = 1 << 30;

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

impl Origin<'_> {
    /// The manifest of `files`, which hold a disk of `virtual_size` bytes.
    pub(crate) fn manifest(self, version: &str, virtual_size: u64, files: Vec<ImageFile>) -> Manifest {
        let Self { recipe, identity, epoch, outside, base, changes, packages, properties, asked_for } = self;
        let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Manifest {
            manifest_version: VERSION,
            name: recipe.name.clone(),
            version: version.to_owned(),
            description: recipe.description.clone(),
            distribution: outside.distribution.clone(),
            release: outside.release.clone(),
            architecture: "x86_64".to_owned(),
            build_date: epoch.date_time(),
            source_date_epoch: epoch.seconds(),
            recipe_sha256: identity.recipe_hash(),
            tool: concat!("goldimg ", env!("CARGO_PKG_VERSION")).to_owned(),
            virtual_size,
            min_disk: virtual_size.div_ceil(GIB),
            min_ram: recipe.output.min_ram_mib,
            firmware: outside
                .firmware
                .as_ref()
                .map(|all| all.iter().map(|own| own.name().to_owned()).collect()),
            default_user: recipe.cloud_init.default_user.clone(),
            files,
            disk_guid: outside.disk_guid.clone(),
            partitions: outside.partitions.clone(),
            base: base.cloned(),
            changes: changes.cloned(),
            properties: properties.clone(),
            accepted: Accepted {
                keep: recipe.seal.keep.clone(),
                asked_for: asked_for.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
                keep_passwords: recipe.seal.keep_passwords,
                passwords: names(recipe.steps.iter().filter_map(Step::gives_password_to).collect()),
                accounts: names(recipe.steps.iter().filter_map(Step::makes_account).collect()),
            },
            packages: packages.to_vec(),
        }
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
            let json = origin.manifest("1", size, Vec::new()).to_json().unwrap();
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
