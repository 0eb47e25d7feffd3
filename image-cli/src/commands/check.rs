//! `goldimg check`: is an image consistent? Numbers and exit codes are those of `qemu-img check`.

use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use goldimg::printable::printable;
use image_core::ErrorKind;
use image_core::format::{FormatNode, ProtocolNode};
use image_core::qcow2::check::{CheckResult, Finding, Severity, check};
use image_core::qcow2::repair::{Repair, Repaired, Step, repair};
use serde_json::json;

use super::image::{ImageArgs, human_size, unless_shared};
use crate::failure::{Advise, FAILED};
use crate::ui::Ui;

/// The exit code of a corrupt image.
const CORRUPT: u8 = 2;
/// The exit code of an image with leaks and nothing worse.
const LEAKS: u8 = 3;
/// The exit code where the format has nothing to check.
const NOT_SUPPORTED: u8 = 63;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goldimg check disk.qcow2\n  goldimg check --json disk.qcow2 | jq .corruptions\n  \
    goldimg check -r leaks disk.qcow2\n\n\
    Exit code: 0 sound, 1 the check failed, 2 corrupt, 3 only leaks, 63 the format has nothing to check. With --repair: \
    of what is left."
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Repair the image
    #[arg(short, long, value_enum, value_name = "WHAT")]
    repair: Option<What>,
}

/// What is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Clusters that are set aside and not used: safe at any time
    Leaks,
    /// All that can be: refcounts and flags, the refcount structures anew if need be
    All,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let member = match args.repair {
        Some(_) => FormatNode::open_node_to_repair(
            ProtocolNode::open_writable(&args.image.path)?,
            args.image.format,
        )?,
        None => unless_shared(FormatNode::open_to_check(&args.image.path, args.image.options()))?,
    };
    let name = printable(&args.image.path.display().to_string());
    let Some(header) = &member.header else {
        ui.error(&format!("{name}: a {} image has nothing to check", member.format));
        return Ok(ExitCode::from(NOT_SUPPORTED));
    };
    if header.is_corrupt() {
        ui.warning(&format!("{name} is marked as corrupt"));
    }
    if header.is_dirty() {
        ui.warning(&format!("{name} was not closed: its refcounts may be out of date"));
    }
    let wants_json = args.image.wants_json();
    let mut shown: std::io::Result<()> = Ok(());
    let mut show = |text: String| {
        if shown.is_ok() && !wants_json {
            shown = ui.verdict(&format!("{text}\n"));
        }
    };
    let result = match args.repair {
        Some(what) => repaired(&member, what, &name, &mut show)?,
        None => {
            let mut show = |finding: &Finding| show(line(finding));
            let left = check(&member.file, header, &mut show).with_context(|| format!("checking {name}"))?;
            Repaired { left, ..Repaired::default() }
        }
    };
    shown?;
    if wants_json {
        ui.json(&as_json(args, &result))?;
    } else {
        ui.verdict(&format!("{}\n", summary(&name, &result)))?;
    }
    Ok(ExitCode::from(exit_code(&result.left)))
}

fn repaired(
    member: &FormatNode,
    what: What,
    name: &str,
    show: &mut dyn FnMut(String),
) -> anyhow::Result<Repaired> {
    let what = match what {
        What::Leaks => Repair::Leaks,
        What::All => Repair::All,
    };
    let done = repair(&member.file, what, &mut |step| match step {
        Step::Found(finding) => show(line(finding)),
        Step::Repaired(finding) => show(format!("repaired: {}", printable(&finding.to_string()))),
        // That these are free now goes without saying.
        Step::LeftBehind(_) => {}
        Step::Rebuilding => show("writing all refcounts anew".to_owned()),
        Step::CheckingAgain => show("checking again".to_owned()),
    });
    match done {
        Err(error) if error.kind() == ErrorKind::Refused => {
            Err(error).hint(|| "-r all repairs that too; keep a copy of the image")
        }
        done => Ok(done?),
    }
    .with_context(|| format!("repairing {name}"))
}

fn line(finding: &Finding) -> String {
    let word = match finding.severity() {
        Severity::Corruption => "corrupt",
        Severity::Leak => "leaked",
        Severity::Error => "unchecked",
    };
    format!("{word}: {}", printable(&finding.to_string()))
}

fn exit_code(result: &CheckResult) -> u8 {
    match result {
        CheckResult { check_errors: 1.., .. } => FAILED,
        CheckResult { corruptions: 1.., .. } => CORRUPT,
        CheckResult { leaks: 1.., .. } => LEAKS,
        _ => 0,
    }
}

fn as_json(args: &Args, Repaired { leaks_fixed, corruptions_fixed, left }: &Repaired) -> serde_json::Value {
    let result = left;
    let mut value = json!({
        "filename": args.image.path.display().to_string(),
        "format": "qcow2",
        "check-errors": result.check_errors,
        "corruptions": result.corruptions,
        "leaks": result.leaks,
        "image-end-offset": result.image_end_offset,
        "total-clusters": result.total_clusters,
        "allocated-clusters": result.allocated_clusters,
        "fragmented-clusters": result.fragmented_clusters,
        "compressed-clusters": result.compressed_clusters,
    });
    if args.repair.is_some() {
        value["leaks-fixed"] = json!(leaks_fixed);
        value["corruptions-fixed"] = json!(corruptions_fixed);
    }
    value
}

fn summary(name: &str, Repaired { leaks_fixed, corruptions_fixed, left }: &Repaired) -> String {
    let result = left;
    let fixed = match (corruptions_fixed, leaks_fixed) {
        (0, 0) => String::new(),
        (corruptions, leaks) => format!("repaired {corruptions} corruptions, {leaks} leaked clusters; "),
    };
    let percent = |part: u64, whole: u64| match whole {
        0 => "0 %".to_owned(),
        whole => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    };
    let verdict = match result {
        result if result.is_clean() => "sound".to_owned(),
        CheckResult { corruptions, leaks, check_errors, .. } => {
            format!("{corruptions} corruptions, {leaks} leaked clusters, {check_errors} things unchecked")
        }
    };
    let (allocated, total) = (result.allocated_clusters, result.total_clusters);
    format!(
        "{name}: {fixed}{verdict}\n{allocated} of {total} clusters stored ({}), of these {} fragmented, {} compressed; the \
         last in use ends at {}",
        percent(allocated, total),
        percent(result.fragmented_clusters, allocated),
        percent(result.compressed_clusters, allocated),
        human_size(result.image_end_offset),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_qemu_img() {
        let result = CheckResult::default();
        assert_eq!(exit_code(&result), 0);
        assert_eq!(exit_code(&CheckResult { leaks: 1, ..result }), 3);
        assert_eq!(exit_code(&CheckResult { leaks: 1, corruptions: 1, ..result }), 2);
        assert_eq!(exit_code(&CheckResult { check_errors: 1, corruptions: 1, ..result }), 1);
    }
}
