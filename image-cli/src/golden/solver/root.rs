//! A root for apt alone: its own sources, keys, lists and an empty list of what is installed. Nothing of this machine's
//! apt is used but its programs, and what it knows about fetching (proxies).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::Total;
use super::apt_output::Said;
use crate::error::{Context, bail, err};
use crate::golden::bootstrap::{self, fetching, further_archives::FurtherArchives, settings_of};
use crate::golden::recipe::Base;
use crate::monitor::CancellationToken;
use crate::programs;
use crate::variables::Variables;

/// A root that nobody asked for so long is removed.
const FORGET: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// What apt is told besides where its root is. A build's own limits are longer: this is only a question.
const SETTINGS: [&str; 10] = [
    "APT::Architecture \"amd64\";",
    "APT::Architectures \"amd64\";",
    "APT::Install-Recommends \"false\";",
    "APT::Sandbox::User \"root\";",
    "Acquire::Languages \"none\";",
    "Acquire::Retries \"1\";",
    "Acquire::http::Timeout \"15\";",
    "Acquire::https::Timeout \"15\";",
    // Not even apt itself is taken for essential: as mmdebstrap has it.
    "pkgCacheGen::ForceEssential \",\";",
    "quiet \"1\";",
];

/// One root, locked for as long as it is open.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
    variables: Variables,
    cancel: CancellationToken,
    _lock: File,
}

impl Root {
    /// Opens the root for these lines of sources.list(5) and further archives, in `folder`.
    ///
    /// # Errors
    /// If apt is not here, or a file cannot be written.
    pub(super) fn open(
        folder: &Path,
        lines: &[String],
        further: &FurtherArchives,
        variables: &Variables,
        cancel: &CancellationToken,
    ) -> crate::Result<Self> {
        programs::require(&["apt-get", "apt-cache", "apt-config"], &variables.path())?;
        let name = Sha256::digest(format!("{lines:?}{further:?}"));
        let name: String = name.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let own = folder.join(&name);
        let doing = || format!("preparing a root for apt in {}", own.display());
        if own.to_str().is_none_or(|path| path.contains(['"', '\\', '\n'])) {
            bail!("{}: apt cannot be told such a path", doing());
        }
        fs::create_dir_all(&own).with_context(doing)?;
        let lock = File::create(own.join("lock")).with_context(doing)?;
        // Its time tells when it was last asked.
        lock.set_modified(SystemTime::now()).with_context(doing)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(doing)?;
        forget(folder, &name);
        let (variables, cancel) = (variables.clone(), cancel.clone());
        let root = Self { folder: own.clone(), variables, cancel, _lock: lock };
        root.prepare(lines, further).with_context(doing)?;
        Ok(root)
    }

    fn prepare(&self, lines: &[String], further: &FurtherArchives) -> crate::Result<()> {
        let path = |inside: &str| self.folder.join(inside);
        match fs::remove_dir_all(path("etc")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        for inside in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
            "var/cache/apt/archives/partial",
        ] {
            fs::create_dir_all(path(inside))?;
        }
        further.seed(&self.folder)?;
        fs::write(path("etc/apt/sources.list"), lines.join("\n") + "\n")?;
        fs::write(path("var/lib/dpkg/status"), "")?;
        let dump = self.command("apt-config").args(fetching()).output()?;
        let here = self.folder.display();
        let mut settings =
            vec![format!("Dir \"{here}\";"), format!("Dir::State::status \"{here}/var/lib/dpkg/status\";")];
        settings.extend(SETTINGS.map(String::from));
        settings.extend(settings_of(&String::from_utf8_lossy(&dump.stdout)));
        fs::write(path("apt.conf"), settings.join("\n") + "\n")?;
        Ok(())
    }

    /// A program that speaks English, in an environment of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.proxies());
        command.env("PATH", self.variables.path()).env("LC_ALL", "C.UTF-8").env("HOME", "/");
        command
    }

    /// Runs an apt program in the root.
    fn run(&self, program: &str, arguments: &[&str]) -> crate::Result<Said> {
        self.cancel.check()?;
        let output = self
            .command(program)
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {program}"))?;
        self.cancel.check()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Fetches what has changed of the archives' lists.
    ///
    /// # Errors
    /// If apt cannot be started.
    pub(super) fn update(&self) -> crate::Result<Said> {
        self.run("apt-get", &["update"])
    }

    /// Whether there is a list, be it an old one, of the suite whose `InRelease` is at `uri`.
    pub(super) fn has_list(&self, uri: &str) -> bool {
        // As apt names it: without the scheme, with slashes as underscores.
        let path = uri.split_once("://").map_or(uri, |(_, path)| path).replace('_', "%5f").replace('/', "_");
        let suite = path.trim_end_matches("_InRelease");
        self.lists(|name| name.starts_with(suite) && name.ends_with("_Packages")).next().is_some()
    }

    /// Where they are.
    pub(super) fn lists_folder(&self) -> PathBuf {
        self.folder.join("var/lib/apt/lists")
    }

    fn lists(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(self.lists_folder()).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_str().is_some_and(&is_meant))
            .map(|entry| entry.path())
    }

    /// The components that an archive says it has of `suite`; nothing if it does not say.
    pub(super) fn components(&self, suite: &str) -> String {
        let ends = ["InRelease", "Release"].map(|file| format!("_dists_{}_{file}", suite.replace('/', "_")));
        let files = self.lists(|name| ends.iter().any(|end| name.ends_with(end)));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok());
        let said = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("Components:"))?;
            Some(line.trim().to_owned())
        };
        texts.filter_map(said).next().unwrap_or_default()
    }

    /// What installing `packages` into an empty system would do, the essential and required ones of `base` included, as
    /// the build has them.
    ///
    /// # Errors
    /// If apt cannot be started.
    pub(super) fn simulate(
        &self,
        base: &Base,
        recipe_folder: &Path,
        packages: &[&String],
    ) -> crate::Result<Said> {
        let (essential, required) = (bootstrap::essential(base), bootstrap::required(base));
        let mut arguments = vec!["--simulate", "--yes", "install", "--", "apt", &essential, &required];
        let packages: Vec<String> =
            packages.iter().map(|package| path_or_name(package, recipe_folder)).collect();
        arguments.extend(packages.iter().map(String::as_str));
        self.run("apt-get", &arguments)
    }

    /// The names of all packages in the archives.
    ///
    /// # Errors
    /// If apt cannot be started.
    pub(super) fn names(&self) -> crate::Result<Vec<String>> {
        Ok(self.run("apt-cache", &["pkgnames"])?.stdout.lines().map(String::from).collect())
    }

    /// How much that is which a simulation would install.
    ///
    /// # Errors
    /// If apt or dpkg cannot be started, or does not answer.
    pub(super) fn total(
        &self,
        simulation: &str,
        recipe_folder: &Path,
        packages: &[&String],
    ) -> crate::Result<Total> {
        let versions: Vec<String> = simulation.lines().filter_map(installed).collect();
        let mut arguments = vec!["show", "--no-all-versions"];
        arguments.extend(versions.iter().map(String::as_str));
        let shown = self.run("apt-cache", &arguments)?;
        let mut total = Total { packages: versions.len(), ..of_paragraphs(&shown.stdout) };
        let files = packages.iter().filter_map(|package| Base::local_file(package));
        for file in files {
            let path = recipe_folder.join(file);
            let said = self.command("dpkg-deb").arg("--field").arg(&path).arg("Installed-Size").output()?;
            let kib: u64 = String::from_utf8_lossy(&said.stdout).trim().parse().unwrap_or_default();
            total.installed_size = total.installed_size.saturating_add(kib.saturating_mul(1024));
        }
        match total.installed_size {
            0 => Err(err!("apt-cache does not say how large packages are")),
            _ => Ok(total),
        }
    }
}

/// What apt needs for one question only, names and passwords among it, does not stay.
impl Drop for Root {
    fn drop(&mut self) {
        // The next question writes it anew, whatever is left.
        let _ = fs::remove_dir_all(self.folder.join("etc"));
    }
}

/// What apt takes for a package: a name, or a path with a slash.
fn path_or_name(package: &str, recipe_folder: &Path) -> String {
    match Base::local_file(package) {
        Some(file) => recipe_folder.join(file).display().to_string(),
        None => package.to_owned(),
    }
}

/// The package and version of a line `Inst name (version origin [architecture])`.
fn installed(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("Inst ")?.split_whitespace();
    let name = words.next()?;
    let version = words.find_map(|word| word.strip_prefix('('))?;
    Some(format!("{name}={version}"))
}

/// The sizes in what `apt-cache show` says.
fn of_paragraphs(text: &str) -> Total {
    let sum = |field: &str| {
        let numbers = text.lines().filter_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok());
        numbers.fold(0_u64, u64::saturating_add)
    };
    Total {
        packages: 0,
        download_size: sum("Size:"),
        installed_size: sum("Installed-Size:").saturating_mul(1024),
    }
}

/// Removes roots that nobody has asked for long, but the one called `own`.
fn forget(folder: &Path, own: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_name() != own)
    {
        let asked = entry.path().join("lock").metadata().and_then(|meta| meta.modified());
        let age = asked.ok().and_then(|asked| SystemTime::now().duration_since(asked).ok());
        if age.is_some_and(|age| age > FORGET) {
            // Another program may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_is_counted() {
        let lines = "NOTE: This is only a simulation!\nInst gcc-12-base (12.2.0-14 Debian:12.15/oldstable [amd64])\n\
                     Inst libc6 [2.35] (2.36-9 Debian:12.15/oldstable [amd64]) []\nConf libc6 (2.36-9 Debian [amd64])\n";
        let versions: Vec<_> = lines.lines().filter_map(installed).collect();
        assert_eq!(versions, ["gcc-12-base=12.2.0-14", "libc6=2.36-9"]);
        let shown = "Package: a\nInstalled-Size: 100\nSize: 7\n\nPackage: b\nSize: 8\nInstalled-Size: 24\nInstalled-Size: x\n";
        assert_eq!(of_paragraphs(shown), Total { packages: 0, download_size: 15, installed_size: 124 << 10 });
        assert_eq!((installed("Inst "), installed("Inst a"), installed("Remv a (1)")), (None, None, None));
    }

    #[test]
    fn roots_that_nobody_asks_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - FORGET - Duration::from_secs(60);
        for (name, time) in [("own", long_ago), ("old", long_ago), ("new", SystemTime::now())] {
            fs::create_dir(dir.path().join(name)).unwrap();
            File::create(dir.path().join(name).join("lock")).unwrap().set_modified(time).unwrap();
        }
        fs::create_dir(dir.path().join("without")).unwrap();
        forget(dir.path(), "own");
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["new", "own", "without"]);
    }
}
