//! What a golden image is: the schema of a recipe, with its defaults.
//!
//! The loader (`load.rs`) fills these from TOML and reports every mistake; nothing here reads a file.
//! Keys are written in kebab case. Paths are relative to the recipe's folder. The attributes say what a recipe may
//! hold, for the JSON Schema (`schema.rs`).

mod existing;
mod output;
pub(crate) mod schema;
mod step;
pub(crate) mod uri;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::existing::{Existing, ImageFile, Location, OciImage, Proof, Sums, TarFile};
pub use self::output::{Compression, Output, OutputFormat};
pub use self::step::{
    AppendLine, ChangeMode, ChangeOwner, CloudConfig, Copy, Credential, Delete, Edit, Link, MakeDirectory,
    Missing, Move, Owner, Password, Preserve, Run, SshKey, Step, Update, User, Write,
};
pub use self::uri::Uri;
use super::distribution::{DEBIAN, Facts, UBUNTU, UNKNOWN};
use crate::size::Size;

/// The architecture of all images, as Debian calls it.
const ARCHITECTURE: &str = "amd64";

/// A golden image: from what it is made, what is done to it, and what comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, extend("allOf" = schema::of_bases()))]
pub struct Recipe {
    /// The image's name and the stem of its files: letters, digits, `.`, `_`, `+` and `-`.
    #[schemars(schema_with = "schema::image_name")]
    pub name: String,
    /// The image's version; default: the build's date as `YYYYMMDD`.
    #[schemars(default, schema_with = "schema::version")]
    pub version: Option<String>,
    /// One line about it, for people.
    #[schemars(default, schema_with = "schema::line")]
    pub description: Option<String>,
    /// From what it is made.
    pub base: Base,
    /// How the steps are done.
    #[schemars(default)]
    pub build: Build,
    /// What is done to it, in this order.
    #[schemars(default)]
    pub steps: Vec<Step>,
    /// How it is configured at its first boot.
    #[schemars(default)]
    pub cloud_init: CloudInit,
    /// How it boots.
    #[schemars(default)]
    pub boot: Boot,
    /// Its partitions and sizes.
    #[schemars(default)]
    pub disk: Disk,
    /// What may stay that is removed by default.
    #[schemars(default)]
    pub seal: Seal,
    /// What OpenStack is told of it.
    #[schemars(default)]
    pub openstack: OpenStack,
    /// What is written.
    #[schemars(default)]
    pub output: Output,
}

impl Recipe {
    /// A recipe that says no more than these three, such as "web", Debian, "bookworm": everything else is a default, and a field
    /// to be set. It is held to the rules of recipes when it becomes a [`Loaded`](super::Loaded).
    pub fn new(name: impl Into<String>, distribution: Distribution, release: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            description: None,
            base: Base {
                existing: None,
                distribution: Some(distribution),
                release: release.into(),
                suites: Vec::new(),
                components: distribution.facts().components.iter().map(|&name| name.to_owned()).collect(),
                mirror: None,
                packages: Vec::new(),
                archives: Vec::new(),
                debconf: Vec::new(),
            },
            build: Build::default(),
            steps: Vec::new(),
            cloud_init: CloudInit::default(),
            boot: Boot::default(),
            disk: Disk::default(),
            seal: Seal::default(),
            openstack: OpenStack::default(),
            output: Output::default(),
        }
    }

    /// A recipe that begins with an image that is there, likewise.
    pub fn of_image(name: impl Into<String>, image: Existing) -> Self {
        Self { base: Base::of_image(image), ..Self::new(name, Distribution::Debian, "") }
    }

    /// It, with one more step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The addresses that may have credentials, in the order of the recipe.
    pub(crate) fn uris(&mut self) -> impl Iterator<Item = &mut Uri> {
        let further = self.base.archives.iter_mut().filter_map(|archive| archive.uri.as_mut());
        let existing = self.base.existing.iter_mut().flat_map(Existing::uris);
        existing.chain(&mut self.base.mirror).chain(further)
    }

    /// Where cloud-init looks for its data: what the last step about that says, else what `[cloud-init]` does.
    pub(crate) fn datasources(&self) -> &[String] {
        let said = self.steps.iter().rev().find_map(|step| match step {
            Step::Datasources(sources) => Some(sources),
            _ => None,
        });
        said.unwrap_or(&self.cloud_init.datasources)
    }

    /// The language that the last step about it sets.
    pub(crate) fn locale(&self) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Locale(locale) => Some(locale.as_str()),
            _ => None,
        })
    }
}

/// A base system: from packages, or something that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, transform = schema::with_existing)]
pub struct Base {
    /// What it begins with, if not with nothing. An image has no other key: it is what it is.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub existing: Option<Existing>,
    /// Whose packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Distribution")]
    pub distribution: Option<Distribution>,
    /// The release's code name, such as `bookworm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::release", extend("default" = null))]
    pub release: String,
    /// The suites of its archive; default: the release's own, and those of its updates and security updates, where it has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, schema_with = "schema::own_suites")]
    pub suites: Vec<String>,
    /// The archive's components; default: `main` for Debian, `main` and `universe` for Ubuntu.
    #[schemars(default, schema_with = "schema::components", extend("default" = null))]
    pub components: Vec<String>,
    /// The archive; default: the one this machine's apt uses, else the distribution's own.
    #[schemars(default, schema_with = "schema::mirror")]
    pub mirror: Option<Uri>,
    /// Packages besides those that booting and cloud-init need: names, or files beside the recipe (`./name.deb`).
    #[schemars(default, schema_with = "schema::installable")]
    pub packages: Vec<String>,
    /// Further archives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub archives: Vec<FurtherArchive>,
    /// Answers to packages' questions, known before any package is configured: lines of debconf-set-selections(1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, schema_with = "schema::debconf")]
    pub debconf: Vec<String>,
}

/// An archive besides the distribution's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, extend("allOf" = schema::flat_archives()))]
pub struct FurtherArchive {
    /// Its address; default: the base's archive. A name and a password in it are for the build alone.
    #[schemars(default, schema_with = "schema::mirror")]
    pub uri: Option<Uri>,
    /// Its suites, such as `bookworm-backports`; for an archive without suites, the path to its index with a `/` behind.
    #[schemars(schema_with = "schema::suites")]
    pub suites: Vec<String>,
    /// Its components; default: `main`, and none behind a path.
    #[schemars(default, schema_with = "schema::components", extend("default" = null))]
    pub components: Vec<String>,
    /// The public keys it is signed with, a file beside the recipe; default: the distribution's own keys.
    #[schemars(default, schema_with = "schema::beside")]
    pub signed_by: Option<PathBuf>,
    /// How much its packages count beside those of other archives (apt_preferences(5), "Pin-Priority"); default: as apt decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(default, range(min = 1, max = 1001))]
    pub priority: Option<u32>,
    /// For which packages that holds: names, which may have `*`; default: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, schema_with = "schema::pins")]
    pub pin: Vec<String>,
    /// Whether the image's apt knows it too; default: unless its address is a file's or has a password.
    #[schemars(default, extend("default" = null))]
    pub keep: bool,
}

impl Base {
    /// One that is an image.
    pub(crate) fn of_image(image: Existing) -> Self {
        Self {
            existing: Some(image),
            distribution: None,
            release: String::new(),
            suites: Vec::new(),
            components: Vec::new(),
            mirror: None,
            packages: Vec::new(),
            archives: Vec::new(),
            debconf: Vec::new(),
        }
    }

    /// What is known of the distribution: nothing, where it is an image's own.
    pub(crate) fn facts(&self) -> &'static Facts {
        self.distribution.map_or(&UNKNOWN, Distribution::facts)
    }

    /// The suites of its archive: those that are named, else those that the release has.
    pub(crate) fn suites(&self) -> Vec<String> {
        match self.suites.is_empty() {
            true => self.facts().suites(&self.release),
            false => self.suites.clone(),
        }
    }

    /// Whether it is an image.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self.existing, Some(Existing::Image(..)))
    }

    /// Whether a package is a file beside the recipe, and its path from there.
    pub(crate) fn local_file(package: &str) -> Option<&Path> {
        package.strip_prefix("./").map(Path::new)
    }

    /// Another architecture than the image's that a package is to be of.
    pub(crate) fn foreign_architecture(package: &str) -> Option<&str> {
        let name = package.split('=').next().filter(|_| Self::local_file(package).is_none())?;
        let (_, architecture) = name.split_once(':')?;
        (![ARCHITECTURE, "all", "any", "native"].contains(&architecture)).then_some(architecture)
    }

    /// What is wrong with a package of another architecture.
    pub(crate) fn words_on_architecture(package: &str) -> String {
        format!("{package:?} is of another architecture than the image, which is {ARCHITECTURE}")
    }

    /// What can be done about it.
    pub(crate) fn remedy_of_architecture(package: &str, other: &str) -> String {
        format!(
            "without `:{other}` it is the image's own; a script can have both: run = \"dpkg --add-architecture {other} && \
             apt-get update && apt-get install --yes {package}\""
        )
    }
}

/// Whose packages a base is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

impl Distribution {
    /// All that there are.
    pub(crate) const ALL: [Self; 2] = [Self::Debian, Self::Ubuntu];

    /// What is known of it.
    pub(crate) fn facts(self) -> &'static Facts {
        match self {
            Self::Debian => &DEBIAN,
            Self::Ubuntu => &UBUNTU,
        }
    }

    /// Its name, as its users write it.
    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }
}

/// How the steps are done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct Build {
    /// What scripts, those of packages too, may reach.
    #[schemars(schema_with = "schema::access", extend("default" = "full"))]
    pub network: Access,
}

/// What a step may reach over the network. Never: what listens on the building machine alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[non_exhaustive]
pub enum Access {
    /// Everything that this machine reaches.
    #[default]
    Full,
    /// The archives that packages come from.
    Packages,
    /// Nothing. In a recipe: `false`.
    None,
}

impl fmt::Display for Access {
    /// As a recipe says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Packages => "packages",
            Self::None => "false",
        })
    }
}

impl Serialize for Access {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            word => serializer.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Switch(bool),
            Word(String),
        }
        match Said::deserialize(deserializer)? {
            Said::Switch(false) => Ok(Self::None),
            Said::Word(word) if word == "full" => Ok(Self::Full),
            Said::Word(word) if word == "packages" => Ok(Self::Packages),
            _ => Err(serde::de::Error::custom("neither \"full\" nor \"packages\" nor false")),
        }
    }
}

/// How the image is configured at its first boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct CloudInit {
    /// Where cloud-init looks for its data, in this order.
    #[schemars(schema_with = "schema::datasources")]
    pub datasources: Vec<String>,
    /// The account that gets the cloud's key; default: the distribution's name.
    #[schemars(schema_with = "schema::account")]
    pub default_user: Option<String>,
    /// Files for `/etc/cloud/cloud.cfg.d`: name (ending in `.cfg`) → content (YAML).
    #[schemars(schema_with = "schema::fragments")]
    pub config: BTreeMap<String, String>,
}

impl Default for CloudInit {
    fn default() -> Self {
        Self {
            datasources: ["ConfigDrive", "OpenStack", "NoCloud", "None"].map(String::from).into(),
            default_user: None,
            config: BTreeMap::new(),
        }
    }
}

/// How the image boots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct Boot {
    /// The kernel's package; default: the distribution's for virtual machines.
    #[schemars(schema_with = "schema::package")]
    pub kernel: Option<String>,
    /// What makes the initrds.
    #[schemars(schema_with = "schema::initramfs", extend("default" = "initramfs-tools"))]
    pub initramfs: Initramfs,
    /// Which firmware can boot it.
    #[schemars(schema_with = "schema::firmware")]
    pub firmware: Vec<Firmware>,
    /// The consoles, in the kernel's words; the last one is `/dev/console`.
    #[schemars(schema_with = "schema::consoles")]
    pub console: Vec<String>,
    /// Further words of the kernel's command line.
    #[schemars(schema_with = "schema::kernel_words")]
    pub command_line: Vec<String>,
    /// How long the menu waits, in seconds.
    #[schemars(range(max = 3600))]
    pub timeout: u32,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            kernel: None,
            initramfs: Initramfs::default(),
            firmware: vec![Firmware::Bios, Firmware::Uefi],
            console: vec!["tty0".into(), "ttyS0,115200n8".into()],
            command_line: Vec::new(),
            timeout: 0,
        }
    }
}

/// What makes the initrds: generic ones, which boot on other machines than that on which they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Initramfs {
    /// Debian's own: small, shell scripts.
    #[default]
    InitramfsTools,
    /// dracut: with systemd in the initrd.
    Dracut,
}

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Firmware {
    /// A PC BIOS.
    Bios,
    /// UEFI, with Secure Boot.
    Uefi,
}

impl Firmware {
    /// As recipes and manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// Partitions and sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct Disk {
    /// The disk's size, such as `"10G"`; default `"fit"`: as small as its content and `free` allow.
    #[schemars(schema_with = "schema::disk_size")]
    pub size: DiskSize,
    /// What is left free in the root filesystem of a disk that fits.
    #[schemars(schema_with = "schema::size")]
    pub free: Size,
    /// The EFI system partition's size; 33 MiB at least, so that it can be FAT32.
    #[schemars(schema_with = "schema::esp_size")]
    pub esp_size: Size,
}

impl Default for Disk {
    fn default() -> Self {
        Self { size: DiskSize::Fit, free: Size(256 << 20), esp_size: Size(64 << 20) }
    }
}

/// How large the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DiskSize {
    /// As small as its content and the free space allow.
    Fit,
    /// So many bytes, a multiple of 1 MiB.
    #[serde(untagged)]
    Bytes(Size),
}

/// What may stay that sealing removes by default. Every exception is reported.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct Seal {
    /// Absolute paths in the image that stay as they are, with all beneath them.
    #[schemars(schema_with = "schema::paths")]
    pub keep: Vec<String>,
    /// Whether accounts may have passwords (the recipe sets them in its steps).
    pub keep_passwords: bool,
}

/// What OpenStack is told when the image is uploaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default)]
pub struct OpenStack {
    /// Image properties, besides those that suit the image by themselves: name → value; `""` takes one of those away.
    #[schemars(schema_with = "schema::properties")]
    pub properties: BTreeMap<String, String>,
}

/// A recipe with all defaults, for tests.
#[cfg(test)]
pub(crate) fn example() -> Recipe {
    Recipe { version: Some("1".into()), ..Recipe::new("example", Distribution::Debian, "bookworm") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_script_has_all_of_the_network() {
        let has = |usual: Access, steps: &[Step]| Step::any_has_full_network(steps, usual);
        let run = |network| Step::Run(Run { script: "true".into(), network, ..Run::default() });
        let install = Step::Install(vec!["htop".into()]);
        assert!(!has(Access::Full, &[]));
        assert!(!has(Access::Full, std::slice::from_ref(&install)), "apt has its own way");
        assert!(has(Access::Full, &[install.clone(), run(None)]));
        assert!(!has(Access::Full, &[run(Some(Access::Packages)), run(Some(Access::None))]));
        assert!(!has(Access::Packages, &[run(None)]));
        assert!(has(Access::None, &[run(None), run(Some(Access::Full))]));
    }
}
