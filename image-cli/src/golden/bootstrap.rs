//! The base: a system from packages, in one transaction of apt.
//!
//! ```text
//! fetch()    this machine's apt, led by mmdebstrap ─► all packages, in the cache's folder
//!              files beside the recipe (local)     └► the essential ones unpacked: a tree with dpkg and apt in it
//!              further archives and their keys (further_archives)
//! install()  the tree's own dpkg and apt, in a sandbox ─► the essential packages, debconf's answers, then all others at once
//! ```
//!
//! No program of a package runs before there is a sandbox for it, and the sandbox needs no network: everything was
//! fetched outside, where this machine's proxies, mirrors and passwords are.
//!
//! What makes it fast, each of it measured: no `fsync` after every file, no manuals and translations, one initramfs at
//! the end of all steps instead of one for each package that asks, packages kept from other builds.

pub(crate) mod cache;
pub(crate) mod further_archives;
pub(crate) mod local;
pub(crate) mod sources;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use super::distribution::Facts;
use super::network::{Address, Networks, Upstream};
use super::recipe::{Access, Base, Recipe, Step};
use super::shell::quoted;
use super::tree::Tree;
use super::{bootloader, cloud_init};
use crate::error::{Advise, Context, ErrorKind, err};
use crate::variables::Variables;
use cache::PackageCache;
use further_archives::FurtherArchives;
use sources::Archive;

/// Where answers to packages' questions are while they are told.
const ANSWERS: &str = "/run/goldimg/answers";

/// Where apt keeps the packages it fetched.
pub(crate) const ARCHIVES: &str = "/var/cache/apt/archives";
/// For apt of the build alone; gone when the build is over.
pub(crate) const APT_CONF: &str = "/etc/apt/apt.conf.d/00goldimg-build";
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
pub(crate) const DPKG_OPTIONS: [&str; 3] = [
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
pub(crate) fn check(base: &Base) -> crate::Result<()> {
    let Facts { keyring, keyring_package: package, .. } = base.facts();
    if Path::new(keyring).exists() {
        return Ok(());
    }
    Err(err!("the keys of the archive, {keyring} (package {package}), are not installed"))
        .of_kind(ErrorKind::Missing)
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

/// The essential packages of a release, and none that only another suite calls so (apt-patterns(7)). apt knows one
/// architecture here.
pub(crate) fn essential(base: &Base) -> String {
    let release = &base.release;
    format!("?narrow(?or(?archive(^{release}$),?codename(^{release}$)),?essential)")
}

/// What debootstrap's minbase has besides.
pub(crate) fn required(base: &Base) -> String {
    let release = &base.release;
    format!("?narrow(?or(?archive(^{release}$),?codename(^{release}$)),?priority(required),?not(?essential))")
}

/// Fetches every package of the base, and unpacks the essential ones into the tree. `aside` is a folder for what is
/// needed meanwhile.
///
/// # Errors
/// If mmdebstrap fails: no such package, no network, no space.
pub(crate) fn fetch(
    recipe: &Recipe,
    tree: &Tree,
    cache: &PackageCache,
    further: &FurtherArchives,
    aside: &Path,
    variables: &Variables,
) -> crate::Result<Fetched> {
    let base = &recipe.base;
    let seed = aside.join("seed");
    further.seed(&seed)?;
    let options = apt_options(tree, variables)?;
    let mut command = Command::new("mmdebstrap");
    command
        .env("PATH", variables.path())
        .env("INITRD", "No")
        .env("SOURCE_DATE_EPOCH", tree.epoch().seconds().to_string())
        .env("GOLDIMG_PACKAGES", cache.folder())
        .env("GOLDIMG_SEED", seed);
    command.args(["--mode=root", "--format=directory", "--variant=extract", "--verbose"]);
    // A pattern may have commas in it, and is then alone.
    command.arg(format!("--include={}", essential(base))).arg("--include=apt");
    command.arg(format!("--components={}", base.components.join(",")));
    let settings = aside.join("apt.conf");
    write_private(&settings, &outside_settings(&options))?;
    // Not as words, which everybody reads: a proxy may have a password.
    let told = aside.join("aptopt.conf");
    write_private(&told, &options.iter().map(|option| format!("{option}\n")).collect::<String>())?;
    command.arg(format!("--aptopt={}", told.display()));
    // The packages stay where the next build finds them, and are not there when the tree is finished.
    command.arg(format!(
        "--setup-hook=mkdir -p \"$1{ARCHIVES}\" && mount --bind \"$GOLDIMG_PACKAGES\" \"$1{ARCHIVES}\""
    ));
    command.arg("--setup-hook=cp -r \"$GOLDIMG_SEED/.\" \"$1/\"");
    command.arg(format!("--extract-hook=echo \"$MMDEBSTRAP_ESSENTIAL\" > \"$GOLDIMG_PACKAGES/{ESSENTIAL}\""));
    command.env("GOLDIMG_APT_CONF", settings);
    let download = "cat \"$MMDEBSTRAP_APT_CONFIG\" \"$GOLDIMG_APT_CONF\" > \"$GOLDIMG_APT_CONF.all\" \
                    && APT_CONFIG=\"$GOLDIMG_APT_CONF.all\" apt-get -q -y --download-only install --";
    let outside = |wanted: &[String]| words(&local::for_apt(wanted, cache.folder()));
    let (first, later) = (wanted(recipe), wanted_later(recipe));
    command.arg(format!("--extract-hook={download}{}", outside(&first)));
    if later.len() > first.len() {
        // A package that only an earlier step makes known is fetched by its own step.
        command.arg(format!("--extract-hook={download}{} || true", outside(&later)));
    }
    command.arg(format!("--extract-hook=umount \"$1{ARCHIVES}\""));
    command.args(["check/qemu", "download/empty"].map(|what| format!("--skip={what}")));
    command.arg("--skip=cleanup/apt,cleanup/reproducible,output/dev");
    command.arg(&base.release).arg(tree.root());
    command.args(Archive::of_the_build(base).iter().flat_map(|archive| archive.lines(base)));
    tree.log().run(&mut command)?;
    let essential = std::fs::read_to_string(cache.folder().join(ESSENTIAL))
        .context("reading which packages mmdebstrap has unpacked")?;
    let archives = sources::addresses(&tree.path("/etc/apt")?);
    let proxies = proxies(&options);
    settle(tree, &options)?;
    settle_sources(base, tree)?;
    further.settle(tree)?;
    Ok(Fetched { archives, proxies, essential: essential.split_whitespace().map(String::from).collect() })
}

/// Writes the new file `path` for this user alone.
fn write_private(path: &Path, text: &str) -> crate::Result<()> {
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

/// The settings of the apt outside once packages are unpacked: those files of settings in the tree that packages brought
/// could name programs for it to start (apt.conf(5)), and are not read.
fn outside_settings(options: &[String]) -> String {
    let lines = options.iter().map(|option| format!("{option}\n"));
    lines.chain(["main", "parts"].map(|name| format!("Dir::Etc::{name} \"/dev/null\";\n"))).collect()
}

/// The file beside the packages where mmdebstrap's hook writes which of them it unpacked.
const ESSENTIAL: &str = "essential";

/// What [`fetch`] has brought.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The files of the unpacked packages, in the tree.
    essential: Vec<String>,
    /// Where packages came from.
    archives: Vec<Address>,
    /// What this machine's apt says of its proxies.
    proxies: String,
}

impl Fetched {
    /// The networks of the steps: with this machine's ways to the archives.
    ///
    /// # Errors
    /// If the machine's proxy is of a kind that is not known.
    pub(crate) fn networks(&self, usual: Access, variables: &Variables) -> crate::Result<Networks> {
        networks(self.archives.clone(), &self.proxies, usual, variables)
    }
}

/// The networks of steps in the tree of an image, which takes packages from where its own apt does: by way of this machine's proxies.
///
/// # Errors
/// As [`Fetched::networks`].
pub(crate) fn networks_of_an_image(
    tree: &Tree,
    usual: Access,
    variables: &Variables,
) -> crate::Result<Networks> {
    let archives = sources::addresses(&tree.path("/etc/apt")?);
    // Where there is no apt here, nobody has told it of proxies.
    let options = apt_options(tree, variables).unwrap_or_default();
    networks(archives, &proxies(&options), usual, variables)
}

/// Networks with ways to `archives`, of this machine's apt as `proxies` say.
fn networks(
    archives: Vec<Address>,
    proxies: &str,
    usual: Access,
    variables: &Variables,
) -> crate::Result<Networks> {
    let text =
        |(name, value): (&OsStr, &OsStr)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
    let upstream = Upstream::new(proxies, variables.proxies().filter_map(text))?;
    Ok(Networks::new(usual, archives, upstream, variables.path()))
}

/// Those of `options` that are about proxies, a line each.
fn proxies(options: &[String]) -> String {
    options.iter().filter(|option| is_proxy(option)).fold(String::new(), |all, line| all + line + "\n")
}

/// Whether a setting is about this machine's proxies, which may have passwords, and which no step reaches.
fn is_proxy(option: &str) -> bool {
    ["acquire::http::proxy", "acquire::https::proxy"]
        .iter()
        .any(|name| option.to_ascii_lowercase().starts_with(name))
}

/// What apt is asked to install besides the essential packages.
fn wanted(recipe: &Recipe) -> Vec<String> {
    let mut wanted = packages(recipe);
    wanted.push(required(&recipe.base));
    wanted
}

/// The same with the packages of later steps: they are fetched beforehand, where what is fetched can be kept.
fn wanted_later(recipe: &Recipe) -> Vec<String> {
    let steps = recipe.steps.iter().skip(steps_done(recipe));
    let later = steps.filter_map(|step| match step {
        Step::Install(packages) => Some(packages),
        _ => None,
    });
    wanted(recipe).into_iter().chain(later.flatten().cloned()).collect()
}

/// As words of a shell.
fn words(words: &[String]) -> String {
    words.iter().map(|word| format!(" {}", quoted(word))).collect()
}

/// Installs what was fetched, by the tree's own dpkg and apt. To be called in a session that shows [`ARCHIVES`].
///
/// # Errors
/// If one of them fails.
pub(crate) fn install(recipe: &Recipe, tree: &Tree, fetched: &Fetched) -> crate::Result<()> {
    // dpkg does not order by Pre-Depends; together they are configured in an order that works.
    let mut dpkg = tree.command("dpkg");
    dpkg.args(["--force-unsafe-io", "--force-depends", "--install"]).args(&fetched.essential);
    tree.log().run(dpkg.env("INITRD", "No"))?;
    if !recipe.base.debconf.is_empty() {
        // debconf is there, and nothing that asks is configured but what is essential.
        let lines: String = recipe.base.debconf.iter().map(|line| format!("{line}\n")).collect();
        tree.write(ANSWERS, lines, 0o600)?;
        tree.run("debconf-set-selections", &[ANSWERS])?;
        tree.remove(ANSWERS)?;
    }
    let mut apt = tree.command("apt-get");
    apt.env("INITRD", "No").args(["-q", "-y", "install", "--"]);
    apt.args(local::for_apt(&wanted(recipe), Path::new(ARCHIVES)));
    tree.log().run(&mut apt)
}

/// Writes the build's own settings into a tree that was made by another build, perhaps on another machine.
///
/// # Errors
/// If apt-config fails, or a file cannot be written.
pub(crate) fn settle_layer(tree: &Tree, variables: &Variables) -> crate::Result<()> {
    write_settings(tree, &apt_options(tree, variables)?)
}

fn write_settings(tree: &Tree, options: &[String]) -> crate::Result<()> {
    let options = options.iter().map(String::as_str).filter(|option| !is_proxy(option));
    let lines = options.chain(DPKG_OPTIONS).map(|line| format!("{line}\n"));
    tree.write(APT_CONF, lines.collect::<String>(), 0o644)
}

/// Makes the build's own settings temporary, and the image's own lasting.
fn settle(tree: &Tree, options: &[String]) -> crate::Result<()> {
    tree.remove("/etc/apt/apt.conf.d/99mmdebstrap")?;
    write_settings(tree, options)?;
    let lean: String = LEAN.iter().map(|rule| format!("{rule}\n")).collect();
    let why = "# Packages without manuals and translations. For complete ones, remove this file and reinstall them.\n";
    tree.write(DPKG_CONF, format!("{why}{lean}"), 0o644)?;
    // Unpacked without the rules, which take seconds in Python: dpkg unpacks all of it again, with them.
    for folder in LEAN.iter().filter_map(|rule| rule.strip_prefix("path-exclude=")?.strip_suffix("/*")) {
        tree.remove(folder)?;
    }
    tree.remove("/dev")?;
    tree.make_dir("/dev")?;
    // mmdebstrap's copies of this machine's.
    tree.remove("/etc/hostname")?;
    tree.remove("/etc/resolv.conf")?;
    Ok(())
}

/// Puts mmdebstrap's sources into the file and form of the release.
fn settle_sources(base: &Base, tree: &Tree) -> crate::Result<()> {
    let Some(archive) = Archive::of_the_build(base) else { return Ok(()) };
    let (path, content) = archive.file(base);
    tree.remove(sources::LINES)?;
    tree.write(path, content, 0o644)
}

/// What the build's apt is told: about fetching, what this machine's apt knows.
fn apt_options(tree: &Tree, variables: &Variables) -> crate::Result<Vec<String>> {
    let mut options: Vec<String> = [
        "Acquire::Languages \"none\";",
        "Acquire::Retries \"3\";",
        "APT::Install-Recommends \"false\";",
        "APT::Keep-Downloaded-Packages \"true\";",
    ]
    .map(String::from)
    .into();
    let mut command = Command::new("apt-config");
    command.env("PATH", variables.path()).args(fetching());
    let known = tree.log().output(&mut command)?;
    options.extend(settings_of(&String::from_utf8_lossy(&known)));
    Ok(options)
}

/// The arguments of apt-config(8) that make it say what this machine's apt knows about fetching.
pub(crate) fn fetching() -> impl Iterator<Item = &'static str> {
    std::iter::once("dump").chain(APT_OPTIONS)
}

/// The settings in what apt-config said, without those that are empty.
pub(crate) fn settings_of(dump: &str) -> impl Iterator<Item = String> {
    dump.lines().filter(|line| !line.ends_with("\"\";")).map(String::from)
}

/// Writes where the finished image takes packages from, unless a step changed it.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn point_to_archive(recipe: &Recipe, tree: &Tree, further: &FurtherArchives) -> crate::Result<()> {
    let base = &recipe.base;
    let path = sources::path(base);
    let text = tree.text(&path)?;
    let untouched = Archive::of_the_build(base).is_some_and(|archive| text == Some(archive.file(base).1));
    let cloud_cfg = tree.text("/etc/cloud/cloud.cfg")?.unwrap_or_default();
    let of_the_image = Archive::of_the_image(base, &cloud_cfg);
    further.finish(tree, of_the_image.as_ref())?;
    let told = match of_the_image.filter(|_| untouched) {
        Some(archive) => {
            tree.write(path, archive.file(base).1, 0o644)?;
            cloud_init::Sources::Template {
                text: archive.template(base),
                mirror: base.mirror.as_ref().filter(|mirror| !mirror.is_local()).map(ToString::to_string),
            }
        }
        None => cloud_init::Sources::Keep,
    };
    cloud_init::tell_sources(tree, &told)?;
    tree.remove(APT_CONF)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::sources::tests::CLOUD_CFG;
    use super::*;
    use crate::golden::recipe::{Run, Uri, example};
    use crate::golden::tree::tests::scratch;

    fn install(package: &str) -> Step {
        Step::Install(vec![package.into()])
    }

    #[test]
    fn only_installs_before_all_other_steps_are_part_of_the_base() {
        let mut recipe = example();
        recipe.base.packages = vec!["vim-tiny".into(), "curl".into()];
        let run = Step::Run(Run { script: "true".into(), ..Run::default() });
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
        recipe.base.mirror = Some(Uri::new("http://mirror.example/debian"));
        let (path, build) = Archive::of_the_build(&recipe.base).unwrap().file(&recipe.base);
        assert_eq!(path, "/etc/apt/sources.list");
        tree.write(&path, build, 0o644).unwrap();
        tree.write("/etc/cloud/cloud.cfg", CLOUD_CFG, 0o644).unwrap();
        tree.write(APT_CONF, "", 0o644).unwrap();
        let further = FurtherArchives::of(&recipe.base, tree.root()).unwrap();
        point_to_archive(&recipe, &tree, &further).unwrap();
        let text = tree.text("/etc/apt/sources.list").unwrap().unwrap();
        assert!(text.contains(" http://mirror.example/debian bookworm main\n"), "{text}");
        assert!(text.contains(" http://archive.example/debian-security "), "{text}");
        assert!(!tree.exists(APT_CONF));
        tree.write("/etc/apt/sources.list", "deb http://mine bookworm main\n", 0o644).unwrap();
        point_to_archive(&recipe, &tree, &further).unwrap();
        assert_eq!(tree.text("/etc/apt/sources.list").unwrap().unwrap(), "deb http://mine bookworm main\n");
    }
}
