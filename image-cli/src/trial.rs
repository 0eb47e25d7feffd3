//! Does an image boot? It is started as a cloud would start it, and looked at from inside and outside.
//!
//! ```text
//!               ┌──────────── for each setup ───────────────────────────────────────┐
//! image ─► plan ─► machine ─► console, report ─► logins ─► power button ─► checks ──┴─► clones differ?
//!           │        │            │                 │
//!   a seed, or     QEMU, KVM    trouble is        with the key,
//! OpenStack's data or TCG       seen early        and without
//! ```
//!
//! The image is opened read-only; what the guest writes goes to an overlay without a name. Nothing is left behind
//! but, after a failure, a folder with what the console and QEMU said.

mod checks;
mod console;
mod dhcp;
mod firmware;
mod guest;
mod login;
mod machine;
pub(crate) mod metadata;
mod neutron;
mod openstack;
mod qmp;
mod report;
mod seed;
mod setup;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use image_core::format::{Format, Image, OpenOptions, Share};
use serde::Serialize;

pub use crate::qemu::Accelerator;
pub use checks::{Check, Verdict};
pub use firmware::Firmware;
pub use setup::{Attachable, Cdrom, Chipset, DiskBus, Setup, Source};

use crate::error::{Context, Result};
use crate::monitor::Monitor;
use crate::programs::Program;
use crate::reexec;
use crate::variables::Variables;
use checks::{Clone, Given, Observed};
use console::Trouble;
use guest::{Expected, Guest};
use machine::{Machine, Plan};
use openstack::Documents;
use report::Report;
use seed::{Key, Server};

/// How an image is tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The image's file.
    pub image: PathBuf,
    /// Its format, if not what its first bytes say.
    pub format: Option<Format>,
    /// One boot with each.
    pub setups: Vec<Setup>,
    /// Why the image will not run the user data that it is given in these ways, as its files tell: such a boot is over
    /// when it has come to its login prompt.
    pub obstacles: BTreeMap<Source, String>,
    /// By how many bytes the disk is larger than the image.
    pub grow: u64,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// What runs the guest, if not KVM where it works and TCG where it does not.
    pub accelerator: Option<Accelerator>,
    /// The limit of each boot; without it, what suits the accelerator.
    pub limit: Option<Duration>,
    /// Whether everything written is kept.
    pub keep: bool,
    /// The caller's variables: programs are looked for in the folders of `PATH`, and what is written lies in `TMPDIR`.
    pub variables: Variables,
}

impl Settings {
    /// Two boots of the image in the file `image`, with BIOS and UEFI and a NoCloud seed, on 1 GiB of memory and a disk that is
    /// 2 GiB larger. Programs are looked for in the folders that `variables` have in `PATH`.
    pub fn new(image: impl Into<PathBuf>, variables: Variables) -> Self {
        Self {
            image: image.into(),
            format: None,
            setups: [Firmware::Bios, Firmware::Uefi].map(Setup::no_cloud).into(),
            obstacles: BTreeMap::new(),
            grow: 2 << 30,
            memory_mib: 1024,
            accelerator: None,
            limit: None,
            keep: false,
            variables,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The image's file, as it was named.
    pub image: PathBuf,
    pub(crate) format: String,
    pub(crate) accelerator: Accelerator,
    /// Whether every boot passed, and no two are clones.
    pub passed: bool,
    /// Every boot, in the order of the setups.
    pub boots: Vec<Boot>,
    /// What the boots must not share.
    pub clones: Vec<Check>,
    /// Where the logs lie, if they were kept.
    pub logs: Option<PathBuf>,
}

/// One boot.
#[derive(Debug, Serialize)]
pub struct Boot {
    /// The machine.
    #[serde(flatten)]
    pub setup: Setup,
    /// The folder within the kept logs.
    pub folder: String,
    /// Whether every check passed.
    pub passed: bool,
    /// Wall time, and the time without what a busy machine kept from the guest.
    pub seconds: f64,
    pub(crate) effective_seconds: f64,
    /// Why it came to nothing, if it did.
    pub trouble: Option<String>,
    /// What the console said last, if it came to nothing.
    pub last_words: Vec<String>,
    /// Every check.
    pub checks: Vec<Check>,
    #[serde(skip)]
    report: Option<Report>,
    #[serde(skip)]
    identities: Vec<String>,
}

/// Tries an image.
///
/// # Errors
/// If it could not be tried; an image that fails is an [`Outcome`].
pub fn run(settings: &Settings, monitor: Monitor<'_>) -> Result<Outcome> {
    let path = settings.variables.path();
    if settings.setups.iter().any(|setup| setup.source == Source::Metadata) {
        // The service is this program.
        reexec::program()?;
    }
    for program in [Program::Qemu, Program::Ssh, Program::SshKeygen] {
        program.check(&path)?;
    }
    for setup in &settings.setups {
        setup.firmware.files()?;
    }
    let image = fs::canonicalize(&settings.image)
        .with_context(|| format!("finding the image {}", settings.image.display()))?;
    let format = format_of(&image, settings.format)?;
    let folder =
        tempfile::Builder::new().prefix("goldimg-test-").tempdir_in(settings.variables.temporary_folder());
    let mut folder = folder.context("making a work folder")?;
    let accelerator = match settings.accelerator {
        Some(accelerator) => accelerator,
        None => probe(folder.path(), &path, monitor)?,
    };
    let key = Key::generate(folder.path(), "key", &path)?;
    let trial = Trial {
        settings,
        image: &image,
        format: &format,
        accelerator,
        key: &key,
        folder: folder.path(),
        path: &path,
    };
    let mut boots = Vec::new();
    for setup in &settings.setups {
        boots.push(trial.boot_twice_if_the_emulator_fails(*setup, monitor)?);
    }
    let clones = judge_clones(&boots);
    let passed = boots.iter().all(|boot| boot.passed) && all_passed(&clones);
    let logs = if settings.keep {
        folder.disable_cleanup(true);
        Some(folder.path().to_owned())
    } else if passed {
        None
    } else {
        Some(keep_logs(folder)?)
    };
    Ok(Outcome { image: settings.image.clone(), format, accelerator, passed, boots, clones, logs })
}

/// What several boots of one image must not share; a boot without data tells nothing of itself.
fn judge_clones(boots: &[Boot]) -> Vec<Check> {
    let reporting = boots.iter().filter(|boot| boot.setup.source != Source::Nothing).count();
    if reporting < 2 {
        return Vec::new();
    }
    let clones = boots.iter().filter_map(|boot| {
        let identities = (boot.setup.nics > 0).then_some(boot.identities.as_slice());
        boot.report.as_ref().map(|report| Clone { report, identities })
    });
    checks::judge_clones(&clones.collect::<Vec<_>>())
}

fn all_passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict == Verdict::Passed)
}

fn probe(folder: &Path, path: &OsStr, monitor: Monitor<'_>) -> Result<Accelerator> {
    let found = Accelerator::probe(folder, path, monitor.cancel())?;
    if found == Accelerator::Tcg {
        monitor.note("KVM does not work here: the guest is emulated, which takes a few minutes");
    }
    Ok(found)
}

/// The image's format in QEMU's words. QEMU opens whatever file an image names, so such an image stays outside.
fn format_of(path: &Path, format: Option<Format>) -> Result<String> {
    let image = Image::open(path, OpenOptions { format, share: Share::Writers, ..OpenOptions::default() })?;
    Ok(image.format().to_string())
}

/// What a guest in the boot's folder called itself, if there was anybody to tell it to.
fn identities(setup: Setup, folder: &Path) -> Result<Vec<String>> {
    match setup.nics {
        0 => Ok(Vec::new()),
        _ => dhcp::identities(&folder.join(machine::CAPTURE)),
    }
}

/// Leaves the logs of all boots in the folder, and nothing else.
fn keep_logs(folder: tempfile::TempDir) -> Result<PathBuf> {
    let path = folder.keep();
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
    let mut folders = vec![path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?.path();
            if entry.is_dir() {
                folders.push(entry);
            } else if !is_log(&entry) {
                fs::remove_file(&entry)?;
            }
        }
    }
    Ok(path)
}

/// One image on one accelerator.
#[derive(Debug)]
struct Trial<'a> {
    settings: &'a Settings,
    image: &'a Path,
    format: &'a str,
    accelerator: Accelerator,
    key: &'a Key,
    folder: &'a Path,
    /// The folders that programs are in, as in `PATH`.
    path: &'a OsStr,
}

impl Trial<'_> {
    fn boot_twice_if_the_emulator_fails(&self, setup: Setup, monitor: Monitor<'_>) -> Result<Boot> {
        let (boot, trouble) = self.boot(setup, monitor)?;
        match trouble {
            Some(trouble @ (Trouble::Timer | Trouble::Starved)) => {
                monitor.warning(&format!("{setup}: {trouble}; once more"));
                Ok(self.boot(setup, monitor)?.0)
            }
            _ => Ok(boot),
        }
    }

    /// A folder named after the setup, and numbered where there was such a boot before.
    fn make_folder(&self, setup: Setup) -> Result<String> {
        let name = setup.name();
        let mut names = (1..).map(|n: u32| if n == 1 { name.clone() } else { format!("{name}-{n}") });
        let free = names.find(|name| !self.folder.join(name).exists()).unwrap_or_default();
        fs::create_dir(self.folder.join(&free)).context("making a folder for the boot")?;
        Ok(free)
    }

    /// Prepares what the guest is given: the file that is attached, and the metadata service's folder.
    fn give(
        &self,
        setup: Setup,
        server: &Server,
        folder: &Path,
        wait: Duration,
    ) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
        let macs = (setup.nics > 0).then(|| machine::macs(&server.uuid));
        let documents = || Documents::new(server, self.key, wait.as_secs(), macs.as_ref());
        let seed = match setup.source {
            Source::NoCloud => server.no_cloud(self.key, wait.as_secs())?,
            Source::ConfigDrive => documents()?.config_drive()?,
            Source::Metadata => {
                let metadata = folder.join("metadata");
                documents()?.write(&metadata)?;
                return Ok((None, Some(metadata)));
            }
            Source::Nothing => return Ok((None, None)),
        };
        let path = folder.join("seed.iso");
        fs::write(&path, seed).context("writing the seed")?;
        Ok((Some(path), None))
    }

    fn limit(&self, source: Source) -> Duration {
        match (self.settings.limit, source) {
            (Some(limit), _) => limit,
            (None, Source::Nothing) => self.accelerator.idle_boot_limit(),
            (None, _) => self.accelerator.boot_limit(),
        }
    }

    fn expected(&self, source: Source) -> Expected<'_> {
        match (source, self.settings.obstacles.get(&source)) {
            (Source::Nothing, _) => Expected::Boot,
            (_, Some(why)) => Expected::NoReport(why),
            _ => Expected::Report,
        }
    }

    fn boot(&self, setup: Setup, monitor: Monitor<'_>) -> Result<(Boot, Option<Trouble>)> {
        let stage = monitor.stage(&format!("boot with {setup}"));
        let started = Instant::now();
        let limit = self.limit(setup.source);
        let name = self.make_folder(setup)?;
        let folder = self.folder.join(&name);
        let server = Server::new()?;
        let (seed, metadata) = self.give(setup, &server, &folder, limit)?;
        let mut machine = Machine::start(&Plan {
            image: self.image,
            format: self.format,
            accelerator: self.accelerator,
            setup,
            memory_mib: self.settings.memory_mib,
            grow: self.settings.grow,
            seed: seed.as_deref(),
            metadata: metadata.as_deref(),
            uuid: &server.uuid,
            programs: self.path,
            temporary: self.settings.variables.value("TMPDIR"),
            cancel: monitor.cancel(),
            folder: &folder,
        })?;
        let expected = self.expected(setup.source);
        let mut guest = Guest::new(&mut machine, &folder, limit, expected, &stage);
        let end = guest.watch()?;
        let logins = guest.log_in(self.key)?;
        // At the end of a boot; switching off has failures of its own.
        let failed_units = guest.console.failed_units().to_vec();
        let power_off = match end.as_ref().err().and_then(|end| end.trouble) {
            None => guest.power_off(self.accelerator.power_off_limit())?,
            Some(_) => None,
        };
        let effective = guest.deadline.spent();
        let (console, booted) = (guest.console, guest.booted);
        let (report, reported) = guest.report.map_or((None, SystemTime::UNIX_EPOCH), |(r, at)| (Some(r), at));
        let observed = Observed {
            given: given(server, setup),
            disk_size: machine.disk_size,
            console: [console.kernel, console.cloud_init, console.login],
            report,
            reported,
            logins,
            power_off,
            identities: identities(setup, &folder)?,
            fetched: metadata.map_or_else(Vec::new, |folder| metadata::fetched(&folder)),
            booted: booted.filter(|_| expected != Expected::Report),
            obstacle: self.settings.obstacles.get(&setup.source).cloned(),
            failed_units,
        };
        let checks = checks::judge(&observed);
        let passed = end.is_ok() && all_passed(&checks);
        passed.then(|| stage.done());
        let starved = !passed && self.accelerator == Accelerator::Tcg && console.is_starved();
        let trouble = end.as_ref().err().and_then(|end| end.trouble);
        let trouble = trouble.or(starved.then_some(Trouble::Starved));
        let boot = Boot {
            setup,
            folder: name,
            passed,
            seconds: tenths(started.elapsed()),
            effective_seconds: tenths(effective),
            last_words: if end.is_err() { console.tail() } else { Vec::new() },
            trouble: end.err().map(|end| end.words),
            checks,
            report: observed.report,
            identities: observed.identities,
        };
        Ok((boot, trouble))
    }
}

fn given(server: Server, setup: Setup) -> Given {
    Given {
        address: if setup.is_openstack() { neutron::ADDRESS } else { machine::ADDRESS },
        source: setup.source,
        cdrom: setup.cdrom,
        nics: setup.nics,
        vendor_words: openstack::vendor_words(&server),
        macs: machine::macs(&server.uuid),
        instance_id: server.uuid,
        hostname: server.hostname,
    }
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
