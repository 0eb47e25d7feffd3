//! `goldimg audit`: is an image fit to be cloned and started in a cloud?

use std::fmt::Write as _;
use std::path::{Component, PathBuf};
use std::process::ExitCode;

use goldimg::audit::{self, Check, Expected, Profile, Report, Verdict};
use goldimg::nearest::nearest;
use goldimg::printable::printable;
use image_core::format::Format;
use serde_json::json;

use super::choice::Choice;
use crate::failure::FAILED;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  goldimg audit debian-12.qcow2
  goldimg audit --json image.raw | jq '.checks[] | select(.verdict == \"problem\")'
  goldimg audit --ignore sudo='the fleet has no passwords' --fail-on recommendation debian-12.qcow2
  goldimg audit --profile any --keep /etc/ssh/authorized_keys appliance.qcow2

Any image will do, with ext4 and FAT filesystems; it is neither mounted nor changed. What can be repaired, \
`goldimg seal` repairs. The rules and where they come from: docs/audit.md.

Exit code: 0 without a problem, 1 with one, or if something that must be known could not be read.")]
pub(crate) struct Args {
    #[command(flatten)]
    audited: Audited,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is looked into, for whom, and what is no fault of it.
#[derive(Debug, clap::Args)]
pub(super) struct Audited {
    /// The image
    pub(super) image: PathBuf,
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// For whom it is
    #[arg(long, value_enum, default_value_t = Choice(Profile::Openstack))]
    pub(super) profile: Choice<Profile>,
    /// A path in the image that is meant to be there (may be given more than once)
    #[arg(long, value_name = "PATH", value_parser = kept_path)]
    keep: Vec<PathBuf>,
    /// Passwords are meant to be there
    #[arg(long)]
    keep_passwords: bool,
    /// A rule that does not count here, and why: the report shows both (may be given more than once)
    #[arg(long, value_name = "RULE=REASON", value_parser = ignored_rule)]
    ignore: Vec<(String, String)>,
    /// What the image must be free of
    #[arg(long, value_enum, default_value_t = FailOn::Problem)]
    fail_on: FailOn,
}

/// What keeps an image from passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Problems, and what must be known and is not
    Problem,
    /// These, and recommendations
    Recommendation,
}

impl Audited {
    pub(super) fn expected(&self) -> Expected {
        Expected {
            keep: self.keep.clone(),
            named: self.keep.clone(),
            keep_passwords: self.keep_passwords,
            ignored: self.ignore.iter().cloned().collect(),
            ..Expected::default()
        }
    }

    /// The report, judged by what the image must be free of.
    pub(super) fn judged(&self, mut report: Report) -> Report {
        let strict = self.fail_on == FailOn::Recommendation;
        report.passed = report.passed && !(strict && report.count(Verdict::Recommendation) > 0);
        report
    }
}

/// A path of an image: absolute, and nothing that leads up again.
fn kept_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err("paths in an image begin with /".into());
    }
    match path.components().any(|part| part == Component::ParentDir) {
        true => Err("`..` names nothing in an image".into()),
        false => Ok(path),
    }
}

/// The name of a rule, and a reason.
pub(super) fn ignored_rule(text: &str) -> Result<(String, String), String> {
    let (name, reason) = text.split_once('=').unwrap_or((text, ""));
    let known = || audit::RULES.iter().flat_map(|(_, rules)| rules.iter()).map(|rule| rule.name);
    if !known().any(|rule| rule == name) {
        return Err(match nearest(name, known()) {
            Some(near) => format!("there is no rule {name:?}; did you mean {near:?}?"),
            None => format!("there is no rule {name:?}: docs/audit.md has their names, and the report"),
        });
    }
    match reason.trim() {
        "" => Err(format!("write the reason behind it: {name}=REASON")),
        reason => Ok((name.to_owned(), reason.to_owned())),
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<ExitCode> {
    let Audited { image, format, profile, .. } = &args.audited;
    let report = audit::audit(image, *format, profile.0, &args.audited.expected(), ui.monitor())?;
    let report = args.audited.judged(report);
    match args.json {
        true => ui.json(&as_json(&report)?)?,
        false => ui.verdict(&table(&report))?,
    }
    Ok(ended(&report, ui))
}

/// The exit code, and where there is no table a word on why it is no better.
pub(super) fn ended(report: &Report, ui: &Ui) -> ExitCode {
    if report.passed {
        return ExitCode::SUCCESS;
    }
    if ui.is_quiet() {
        let (problems, unknown) = (report.count(Verdict::Problem), report.count(Verdict::NotChecked));
        let more = match report.count(Verdict::Recommendation) {
            0 => String::new(),
            count => format!(", {count} recommendations"),
        };
        ui.error(&format!("{}: {problems} problems{more}, {unknown} not checked", printable(&report.image)));
    }
    ExitCode::from(FAILED)
}

pub(super) fn as_json(report: &Report) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    let count = |verdict| report.count(verdict);
    value["counts"] = json!({
        "ok": count(Verdict::Ok),
        "problem": count(Verdict::Problem),
        "recommendation": count(Verdict::Recommendation),
        "not-checked": count(Verdict::NotChecked),
        "ignored": count(Verdict::Ignored),
    });
    Ok(value)
}

/// A block for each group, a line for each rule, and for each place that breaks it one with what to do.
pub(super) fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut group = "";
    for check in &report.checks {
        if check.group != group {
            group = check.group;
            let _ = writeln!(text, "{group}");
        }
        check_lines(check, &mut text);
    }
    let count = |verdict| report.count(verdict);
    let verdict = if report.passed { "\x1b[32mpassed\x1b[0m" } else { "\x1b[31mFAILED\x1b[0m" };
    let ignored = match count(Verdict::Ignored) {
        0 => String::new(),
        count => format!("{count} ignored, "),
    };
    let _ = writeln!(
        text,
        "{}: {verdict}: {} problems, {} recommendations, {} not checked, {ignored}{} ok",
        printable(&report.image),
        count(Verdict::Problem),
        count(Verdict::Recommendation),
        count(Verdict::NotChecked),
        count(Verdict::Ok),
    );
    text
}

// Writing to a String cannot fail.
fn check_lines(check: &Check, text: &mut String) {
    let mark = match check.verdict {
        Verdict::Ok => "\x1b[32mok\x1b[0m          ",
        Verdict::Problem => "\x1b[31mPROBLEM\x1b[0m     ",
        Verdict::Recommendation => "\x1b[33mrecommended\x1b[0m ",
        Verdict::NotChecked => "not checked ",
        Verdict::Ignored => "ignored     ",
        // An engine that knows more than this program.
        _ => "            ",
    };
    let words = match check.verdict {
        Verdict::Ok if check.evidence.is_empty() => check.requirement.to_owned(),
        Verdict::Ok => format!("{}: {}", check.requirement, printable(&check.evidence)),
        Verdict::NotChecked => printable(&check.evidence),
        Verdict::Ignored => format!("{}: {}", check.requirement, printable(&check.evidence)),
        _ => check.requirement.to_owned(),
    };
    let _ = writeln!(text, "  {mark}{:<18} {words}", check.name);
    for finding in &check.findings {
        let _ = writeln!(text, "      {}: {}", printable(&finding.place), printable(&finding.found));
    }
    if check.verdict == Verdict::Ignored {
        return;
    }
    let mut fixes: Vec<&str> = check.findings.iter().map(|finding| finding.fix.as_str()).collect();
    fixes.dedup();
    for fix in fixes {
        let _ = writeln!(text, "      \x1b[1mfix:\x1b[0m {}", printable(fix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_keeps_and_ignores_nothing() {
        assert_eq!(kept_path("/etc/hostname").unwrap(), PathBuf::from("/etc/hostname"));
        for path in ["", "etc/hostname", "./x", "/etc/../root"] {
            assert!(kept_path(path).is_err(), "{path:?}");
        }
        let (rule, reason) = ignored_rule("sudo=no passwords = no sudo").unwrap();
        assert_eq!((rule.as_str(), reason.as_str()), ("sudo", "no passwords = no sudo"));
        for text in ["sudo", "sudo=", "sudo= ", "=x"] {
            assert!(ignored_rule(text).is_err(), "{text:?}");
        }
        assert!(ignored_rule("histries=x").unwrap_err().ends_with("did you mean \"histories\"?"));
    }
}
