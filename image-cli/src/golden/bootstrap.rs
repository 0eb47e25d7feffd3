//! The base: a system from packages, made by mmdebstrap in one transaction of apt.
//!
//! ```text
//! base + boot + cloud-init + first install steps ─► mmdebstrap ─► tree
//!                          packages kept from other builds ─┘
//! ```
//!
//! What makes it fast, each of it measured: no `fsync` after every file, no manuals and translations, one initramfs at
//! the end of all steps instead of one for each package that asks, packages kept from other builds.

pub(crate) mod cache;
pub(crate) mod sources;

use std::path::Path;
use std::process::Command;

use anyhow::anyhow;

use super::recipe::{Base, Distribution, Recipe, Step};
use super::tree::Tree;
use super::{bootloader, cloud_init};
use crate::failure::Advise;
use crate::programs;
use cache::PackageCache;
use sources::Archive;

/// Where apt keeps the packages it fetched.
pub(crate) const ARCHIVES: &str = "/var/cache/apt/archives";
/// For apt of the build alone; gone when the build is over.
pub(crate) const APT_CONF: &str = "/etc/apt/apt.conf.d/00goldimg-build";
/// For dpkg of the build alone; gone when the build is over.
const DPKG_CONF_OF_MMDEBSTRAP: &str = "/etc/dpkg/dpkg.cfg.d/99mmdebstrap";
/// Stays in the image, so that packages installed later are as the others.
const DPKG_CONF: &str = "/etc/dpkg/dpkg.cfg.d/50-goldimg-lean";
/// Files of packages that a server does not need: licences stay.
const LEAN: [&str; 9] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/groff/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-include=/usr/share/locale/en*",
];
/// How apt calls dpkg in the steps. mmdebstrap has options of its own for this.
const DPKG_OPTIONS: [&str; 3] = [
    "DPkg::Options:: \"--force-unsafe-io\";",
    "DPkg::Options:: \"--force-confold\";",
    "DPkg::Use-Pty \"false\";",
];
/// What this machine's apt says about fetching, and the build's apt should know.
const APT_OPTIONS: [&str; 5] = [
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::http::Pipeline-Depth",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
];

/// Makes sure that the release's keys are here.
///
/// # Errors
/// If they are not, with the command that installs them.
pub(crate) fn check(base: &Base) -> anyhow::Result<()> {
    let keyring = sources::keyring(base.distribution);
    if Path::new(keyring).exists() {
        return Ok(());
    }
    let package = sources::keyring_package(base.distribution);
    Err(anyhow!("the keys of the archive, {keyring} (package {package}), are not installed"))
        .hint(|| format!("sudo apt-get install {package}"))
}

/// Everything that is installed at once, in alphabetical order.
pub(crate) fn packages(recipe: &Recipe) -> Vec<String> {
    let mut packages = bootloader::packages(recipe);
    packages.extend(cloud_init::packages(recipe));
    packages.extend(recipe.base.packages.iter().cloned());
    packages.extend(leading_installs(recipe).flat_map(|packages| packages.iter().cloned()));
    packages.sort();
    packages.dedup();
    packages
}

/// The install steps before all others: nothing can tell them from the base.
fn leading_installs(recipe: &Recipe) -> impl Iterator<Item = &Vec<String>> {
    recipe.steps.iter().map_while(|step| match step {
        Step::Install(packages) => Some(packages),
        _ => None,
    })
}

/// How many steps the base does already.
pub(crate) fn steps_done(recipe: &Recipe) -> usize {
    leading_installs(recipe).count()
}

/// Fills the tree.
///
/// # Errors
/// If mmdebstrap fails: no such package, no network, no space.
pub(crate) fn bootstrap(recipe: &Recipe, tree: &Tree, cache: &PackageCache) -> anyhow::Result<()> {
    let base = &recipe.base;
    let options = apt_options(tree)?;
    let mut command = Command::new("mmdebstrap");
    // Of the caller's environment, what fetching may need.
    let kept = std::env::vars_os()
        .filter(|(name, _)| name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy"));
    command.env_clear().envs(kept);
    command
        .env("PATH", programs::path())
        .env("LANG", "C.UTF-8")
        .env("INITRD", "No")
        .env("SOURCE_DATE_EPOCH", tree.epoch().seconds().to_string())
        .env("GOLDIMG_PACKAGES", cache.folder());
    command.args(["--mode=root", "--format=directory", "--variant=minbase", "--verbose"]);
    command.arg(format!("--include={}", packages(recipe).join(",")));
    command.arg(format!("--components={}", base.components.join(",")));
    command.args(options.iter().map(|option| format!("--aptopt={option}")));
    command.arg("--dpkgopt=force-unsafe-io");
    command.args(LEAN.iter().map(|rule| format!("--dpkgopt={rule}")));
    // The packages stay where the next build finds them, and are not there when the tree is finished.
    command.arg(format!(
        "--setup-hook=mkdir -p \"$1{ARCHIVES}\" && mount --bind \"$GOLDIMG_PACKAGES\" \"$1{ARCHIVES}\""
    ));
    command.arg(format!("--customize-hook=umount \"$1{ARCHIVES}\""));
    command.args(["check/qemu", "download/empty", "essential/unlink"].map(|what| format!("--skip={what}")));
    command.arg("--skip=cleanup/apt,cleanup/reproducible,output/dev");
    command.arg(&base.release).arg(tree.root());
    command.args(Archive::of_the_build(base).iter().flat_map(|archive| archive.lines(base)));
    tree.log().run(&mut command)?;
    settle(tree, &options)
}

/// Makes the build's own settings temporary, and the image's own lasting.
fn settle(tree: &Tree, options: &[String]) -> anyhow::Result<()> {
    tree.remove(DPKG_CONF_OF_MMDEBSTRAP)?;
    tree.remove("/etc/apt/apt.conf.d/99mmdebstrap")?;
    let lines = options.iter().map(String::as_str).chain(DPKG_OPTIONS).map(|line| format!("{line}\n"));
    tree.write(APT_CONF, lines.collect::<String>(), 0o644)?;
    let lean: String = LEAN.iter().map(|rule| format!("{rule}\n")).collect();
    let why = "# Packages without manuals and translations. For complete ones, remove this file and reinstall them.\n";
    tree.write(DPKG_CONF, format!("{why}{lean}"), 0o644)?;
    // The kernel fills /dev of a running system; what was needed here was this machine's.
    tree.remove("/dev")?;
    tree.make_dir("/dev")?;
    tree.remove("/etc/hostname")?;
    tree.remove("/etc/resolv.conf")?;
    Ok(())
}

/// What the build's apt is told: about fetching, what this machine's apt knows.
fn apt_options(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut options: Vec<String> = [
        "Acquire::Languages \"none\";",
        "Acquire::Retries \"3\";",
        "APT::Install-Recommends \"false\";",
        "APT::Keep-Downloaded-Packages \"true\";",
    ]
    .map(String::from)
    .into();
    let mut command = Command::new("apt-config");
    command.env("PATH", programs::path()).arg("dump").args(APT_OPTIONS);
    let known = tree.log().output(&mut command)?;
    let known = String::from_utf8_lossy(&known);
    options.extend(known.lines().filter(|line| !line.ends_with("\"\";")).map(String::from));
    Ok(options)
}

/// Writes where the finished image takes packages from, unless a step changed it.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn point_to_archive(recipe: &Recipe, tree: &Tree) -> anyhow::Result<()> {
    let base = &recipe.base;
    let file = "/etc/apt/sources.list";
    let text = tree.text(file)?.unwrap_or_default();
    // mmdebstrap puts blank lines between.
    let found = text.lines().filter(|line| !line.trim().is_empty());
    let untouched = Archive::of_the_build(base).is_some_and(|archive| found.eq(archive.lines(base)));
    let cloud_cfg = tree.text("/etc/cloud/cloud.cfg")?.unwrap_or_default();
    if untouched && let Some(archive) = Archive::of_the_image(base, &cloud_cfg) {
        let lines = archive.lines(base).iter().map(|line| format!("{line}\n")).collect::<String>();
        tree.write(file, lines, 0o644)?;
    }
    tree.remove(APT_CONF)?;
    Ok(())
}

/// The distribution's name, as its users write it.
pub(crate) fn distribution_name(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Debian => "debian",
        Distribution::Ubuntu => "ubuntu",
    }
}

#[cfg(test)]
mod tests {
    use super::sources::tests::CLOUD_CFG;
    use super::*;
    use crate::golden::recipe::{Run, example};
    use crate::golden::tree::tests::scratch;

    fn install(package: &str) -> Step {
        Step::Install(vec![package.into()])
    }

    #[test]
    fn only_installs_before_all_other_steps_are_part_of_the_base() {
        let mut recipe = example();
        recipe.base.packages = vec!["vim-tiny".into(), "curl".into()];
        let run = Step::Run(Run { script: "true".into(), environment: Default::default(), network: None });
        recipe.steps = vec![install("nginx"), install("curl"), run, install("redis")];
        let packages = packages(&recipe);
        assert!(packages.is_sorted());
        assert_eq!(packages.iter().filter(|package| *package == "curl").count(), 1);
        assert!(packages.contains(&"nginx".into()) && packages.contains(&"cloud-init".into()));
        assert!(!packages.contains(&"redis".into()));
        assert_eq!(steps_done(&recipe), 2);
    }

    #[test]
    fn the_image_takes_packages_from_the_distribution_unless_a_step_says_otherwise() {
        let (_dir, tree) = scratch();
        let mut recipe = example();
        recipe.base.mirror = Some("http://mirror.example/debian".into());
        let build = Archive::of_the_build(&recipe.base).unwrap().lines(&recipe.base);
        tree.write("/etc/apt/sources.list", build.join("\n\n"), 0o644).unwrap();
        tree.write("/etc/cloud/cloud.cfg", CLOUD_CFG, 0o644).unwrap();
        tree.write(APT_CONF, "", 0o644).unwrap();
        point_to_archive(&recipe, &tree).unwrap();
        let text = tree.text("/etc/apt/sources.list").unwrap().unwrap();
        assert!(text.contains(" http://mirror.example/debian bookworm main\n"), "{text}");
        assert!(text.contains(" http://archive.example/debian-security "), "{text}");
        assert!(!tree.exists(APT_CONF));
        tree.write("/etc/apt/sources.list", "deb http://mine bookworm main\n", 0o644).unwrap();
        point_to_archive(&recipe, &tree).unwrap();
        assert_eq!(tree.text("/etc/apt/sources.list").unwrap().unwrap(), "deb http://mine bookworm main\n");
    }
}
