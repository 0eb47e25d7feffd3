//! `goldimg test`: boots an image and prints what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use goldimg::audit::{Attachment, Drivers, Finding, FirstBoot};
use goldimg::printable::printable;
use goldimg::size::Size;
use goldimg::trial::{
    self, Accelerator, Attachable, Boot, Cdrom, Check, DiskBus, Firmware, Outcome, Settings, Setup, Source,
    Verdict,
};
use serde::Serialize;

use super::choice::{Choice, values};
use crate::failure::{Advise, FAILED, USAGE};
use crate::ui::Ui;

/// Image properties.
type Properties = BTreeMap<&'static str, &'static str>;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  goldimg test debian-12.qcow2
  goldimg test --firmware bios --json debian-12.qcow2 > verdict.json
  goldimg test --firmware secure-boot --keep disk.raw
  goldimg test --as openstack debian-12.qcow2           each way a cloud hands over data
  goldimg test --as openstack --matrix debian-12.qcow2  and every bus for its disk and config drive

The image is not changed. Exit code 0 if every check passed, else 1.")]
pub(crate) struct Args {
    /// The image: qcow2 or raw
    image: PathBuf,
    /// The image's format, raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// As whom to boot it
    #[arg(long = "as", value_enum, default_value_t, value_name = "WHOM")]
    whom: Whom,
    /// The firmware to boot with, one boot for each [default: bios and uefi, as openstack bios]
    #[arg(long, value_enum, value_delimiter = ',')]
    firmware: Vec<Choice<Firmware>>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// By how much the guest's disk is larger than the image
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    grow: Size,
    /// The guest's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=65536))]
    memory: u32,
    /// What runs the guest [default: KVM if it works]
    #[arg(long, value_enum)]
    accelerator: Option<Choice<Accelerator>>,
    /// The longest time for a boot, in seconds, without what a busy machine keeps from the guest [default: 240 with KVM, 900 without]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Keep everything that was written: logs, seed, key
    #[arg(long)]
    keep: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Who starts the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Whom {
    /// Nobody in particular: a NoCloud seed
    #[default]
    NoCloud,
    /// Nova: the metadata service, a config drive, two networks of Neutron's, once no network card, and once no data at all
    Openstack,
}

/// What to boot of all that OpenStack can do.
#[derive(Debug, clap::Args)]
struct CloudArgs {
    /// Every way to attach disk and config drive that the image has drivers for
    #[arg(long)]
    matrix: bool,
    /// Only with data from here
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SOURCE")]
    source: Vec<Choice<Source>>,
    /// Only with config drives on these buses, whether the image has drivers for them or not
    #[arg(long, value_enum, value_delimiter = ',', value_name = "BUS")]
    cdrom: Vec<Choice<Cdrom>>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<ExitCode> {
    crate::interrupt::listen()?;
    let (setups, properties) = setups(&args, ui)?;
    let obstacles = obstacles(&args, &setups, ui)?;
    let format = args.format.as_deref().map(str::parse).transpose()?;
    let mut settings = Settings::new(args.image, std::env::vars_os().collect());
    settings.format = format;
    settings.setups = setups;
    settings.obstacles = obstacles;
    settings.grow = args.grow.0;
    settings.memory_mib = args.memory;
    settings.accelerator = args.accelerator.map(|choice| choice.0);
    settings.limit = args.timeout.map(Duration::from_secs);
    settings.keep = args.keep;
    let outcome = trial::run(&settings, ui.monitor())?;
    match args.json {
        true => ui.json(&Told { outcome: &outcome, properties })?,
        false => ui.verdict(&table(&outcome))?,
    }
    if let Some(logs) = &outcome.logs {
        ui.note(&format!("the logs are in {}", logs.display()));
    }
    if outcome.passed {
        return Ok(ExitCode::SUCCESS);
    }
    ui.error(&format!("{} did not pass{}", outcome.image.display(), hint(&outcome)));
    Ok(ExitCode::from(FAILED))
}

/// The outcome as JSON.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// What the image needs in OpenStack.
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties>,
}

/// The machines to boot, and the properties without which a cloud would take others.
fn setups(args: &Args, ui: &Ui) -> Result<(Vec<Setup>, Option<Properties>)> {
    let firmware = |usual: &[Firmware]| match args.firmware.as_slice() {
        [] => usual.to_vec(),
        asked => values(asked),
    };
    if args.whom == Whom::NoCloud {
        if args.cloud.is_given() {
            return Err(anyhow!("--matrix, --source and --cdrom are ways of OpenStack"))
                .hint(|| "add --as openstack")
                .exit_code(USAGE);
        }
        let firmware = firmware(&[Firmware::Bios, Firmware::Uefi]);
        return Ok((firmware.into_iter().map(Setup::no_cloud).collect(), None));
    }
    let format = args.format.as_deref().map(str::parse).transpose()?;
    let drivers = Drivers::of_file(&args.image, format)?;
    let properties = drivers.as_ref().map(Drivers::properties);
    match &properties {
        None => ui.note("what the image has drivers for is not known: no kernel was found in it"),
        Some(none) if none.is_empty() => ui.note("the image has drivers for all that a cloud attaches"),
        Some(all) => {
            let words: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
            ui.note(&format!("for its drivers the image needs {}", words.join(" ")));
        }
    }
    let machines = machines(&args.cloud, drivers.as_ref(), ui);
    let mut setups = Vec::new();
    for firmware in firmware(&[Firmware::Bios]) {
        setups.extend(machines.iter().map(|setup| Setup { firmware, ..*setup }).filter(Setup::exists));
    }
    match setups.is_empty() {
        true => Err(anyhow!("nothing is left to boot")).hint(|| "--matrix has every way").exit_code(USAGE),
        false => Ok((setups, properties)),
    }
}

/// Why user data will not be run, by the way in which they are given; that is said before anything is booted.
fn obstacles(args: &Args, setups: &[Setup], ui: &Ui) -> Result<BTreeMap<Source, String>> {
    let mut obstacles = BTreeMap::new();
    let format = args.format.as_deref().map(str::parse).transpose()?;
    let Some(first_boot) = FirstBoot::of_file(&args.image, format)? else { return Ok(obstacles) };
    for source in setups.iter().map(|setup| setup.source) {
        let Some(Finding { place, found, fix, .. }) = datasource(source).and_then(|s| first_boot.obstacle(s))
        else {
            continue;
        };
        let words = format!("{}: {} ({})", printable(&place), printable(&found), printable(&fix));
        if obstacles.insert(source, words.clone()).is_none() {
            let given = datasource(source).unwrap_or_default();
            ui.warning(&format!(
                "user data given as {given} will not be run: {words}; it is only seen whether it boots and stops"
            ));
        }
    }
    Ok(obstacles)
}

/// What cloud-init calls it.
fn datasource(source: Source) -> Option<&'static str> {
    match source {
        Source::NoCloud => Some("NoCloud"),
        Source::Metadata => Some("OpenStack"),
        Source::ConfigDrive => Some("ConfigDrive"),
        // None, or one that is newer than this program.
        _ => None,
    }
}

/// Those that were asked for.
fn machines(asked: &CloudArgs, drivers: Option<&Drivers>, ui: &Ui) -> Vec<Setup> {
    let mut attachable = drivers.map_or_else(Attachable::all, attachable);
    if !asked.cdrom.is_empty() {
        attachable.cdroms = values(&asked.cdrom);
    }
    let wanted = |setup: &Setup| asked.source.is_empty() || asked.source.contains(&Choice(setup.source));
    let mut machines = if asked.matrix || asked.cdrom.len() > 1 {
        let (tried, left_out) = Setup::matrix(&attachable);
        for setup in left_out.iter().filter(|setup| wanted(setup) && asked.cdrom.is_empty()) {
            ui.note(&format!("left out, for want of a driver: {setup}"));
        }
        tried
    } else {
        Setup::openstack(&attachable)
    };
    machines.retain(|setup| wanted(setup) && (asked.cdrom.is_empty() || setup.cdrom.is_some()));
    machines
}

fn attachable(drivers: &Drivers) -> Attachable {
    let disks = [(Attachment::VirtioDisk, DiskBus::Virtio), (Attachment::ScsiDisk, DiskBus::Scsi)];
    let cdroms = [
        (Attachment::IdeCdrom, Cdrom::Ide),
        (Attachment::SataCdrom, Cdrom::Sata),
        (Attachment::ScsiCdrom, Cdrom::Scsi),
    ];
    Attachable {
        disks: disks.into_iter().filter(|(way, _)| drivers.can(*way)).map(|(_, bus)| bus).collect(),
        cdroms: cdroms.into_iter().filter(|(way, _)| drivers.can(*way)).map(|(_, bus)| bus).collect(),
    }
}

impl CloudArgs {
    fn is_given(&self) -> bool {
        self.matrix || !self.source.is_empty() || !self.cdrom.is_empty()
    }
}

/// What to look at first.
fn hint(outcome: &Outcome) -> String {
    let console = outcome.boots.iter().find(|boot| !boot.passed).zip(outcome.logs.as_ref());
    console.map_or_else(String::new, |(boot, logs)| {
        format!("\n\nhint: less -R {}", logs.join(&boot.folder).join("console.log").display())
    })
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "\x1b[32mpassed\x1b[0m ",
        Verdict::Failed => "\x1b[31mFAILED\x1b[0m ",
        Verdict::Unknown => "unknown",
    }
}

/// A block for each boot, a line for each check.
fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    let check_line = |check: &Check| {
        format!("  {} {:<18} {}", mark(check.verdict), check.name, check.evidence).trim_end().to_owned()
    };
    for boot in &outcome.boots {
        line(&heading(boot));
        for words in boot.trouble.iter() {
            line(&format!("  \x1b[31m{}\x1b[0m; the console's last words:", printable(words)));
        }
        for words in &boot.last_words {
            line(&format!("    │ {words}"));
        }
        boot.checks.iter().for_each(|check| line(&check_line(check)));
    }
    if !outcome.clones.is_empty() {
        line("clones");
        outcome.clones.iter().for_each(|check| line(&check_line(check)));
    }
    let verdict = if outcome.passed { "\x1b[32mpassed\x1b[0m" } else { "\x1b[31mFAILED\x1b[0m" };
    line(&format!("{} {verdict}", outcome.image.display()));
    text
}

fn heading(boot: &Boot) -> String {
    let words = if boot.passed { "booted and checked" } else { "failed" };
    format!("{}: {words} in {:.0} s", boot.setup, boot.seconds)
}
