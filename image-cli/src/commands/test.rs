//! `goldimg test`: boots an image and prints what came of it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::failure::FAILED;
use crate::printable::printable;
use crate::size::Size;
use crate::trial::{self, Accelerator, Boot, Check, Firmware, Outcome, Settings, Verdict};
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  goldimg test debian-12.qcow2
  goldimg test --firmware bios --json debian-12.qcow2 > verdict.json
  goldimg test --firmware secure-boot --keep disk.raw

The image is not changed. Exit code 0 if every check passed, else 1.")]
pub(crate) struct Args {
    /// The image: qcow2 or raw
    image: PathBuf,
    /// The image's format, raw or qcow2; default: what its first bytes say
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// The firmware to boot with, one boot for each
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Firmware::Bios, Firmware::Uefi])]
    firmware: Vec<Firmware>,
    /// By how much the guest's disk is larger than the image
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    grow: Size,
    /// The guest's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=65536))]
    memory: u32,
    /// What runs the guest; default: KVM if it works
    #[arg(long, value_enum)]
    accelerator: Option<Accelerator>,
    /// The longest time for a boot, in seconds, without what a busy machine keeps from the guest;
    /// default: 240 with KVM, 900 without
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Keep everything that was written: logs, seed, key
    #[arg(long)]
    keep: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<ExitCode> {
    crate::interrupt::listen()?;
    let settings = Settings {
        image: args.image,
        format: args.format,
        firmware: args.firmware,
        grow: args.grow.0,
        memory_mib: args.memory,
        accelerator: args.accelerator,
        limit: args.timeout.map(Duration::from_secs),
        keep: args.keep,
    };
    let outcome = trial::run(&settings, ui)?;
    match args.json {
        true => ui.json(&outcome)?,
        false => ui.data(table(&outcome).as_bytes())?,
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
    format!("{}: {words} in {:.0} s", boot.firmware.name(), boot.seconds)
}
