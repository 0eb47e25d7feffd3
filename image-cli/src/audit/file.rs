//! Rules of the file: a format that Glance takes, whole and closed.

use super::header::Facts;
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
use crate::glance::inspect::Inspected;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "glance-format",
        "the file is one that Glance takes",
        "Glance 33: oslo.utils format_inspector",
        glance_format,
    )
    .reads(&[&["the header of the image"]])
    .of_disk()
    .openstack(),
    Rule::must("closed", "the image was closed, and is not marked corrupt", "qcow2 specification", closed)
        .reads(&[&["the header of the image"]])
        .of_disk(),
    Rule::must(
        "snapshots",
        "there are no internal snapshots: they are clones of what was removed",
        "cloning",
        snapshots,
    )
    .reads(&[&["the header of the image"]])
    .of_disk(),
];

const CONVERT: &str = "goldimg convert makes a new one of it";

fn glance_format(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let Inspected { format, violations, .. } = &subject.facts().inspected;
    let findings = violations.iter().map(|rule| Finding::new(*format, rule.to_string(), CONVERT)).collect();
    Ok(Judgement::of(findings, *format))
}

fn closed(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let Facts { is_dirty, is_corrupt, .. } = subject.facts();
    let mut findings = Vec::new();
    if *is_dirty {
        findings.push(Finding::new("header", "it was not closed: its refcounts may be out of date", CONVERT));
    }
    if *is_corrupt {
        findings.push(Finding::new("header", "it is marked corrupt", "find out why before it is used"));
    }
    Ok(Judgement::from(findings))
}

fn snapshots(subject: &Subject<'_>) -> crate::Result<Judgement> {
    match subject.facts().snapshot_count {
        0 => Ok(Judgement::kept("none")),
        count => Ok(Judgement::broken("header", format!("it has {count}"), CONVERT)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image_core::block::MemoryDisk;

    use super::super::auditor::checks;
    use super::*;
    use crate::audit::{Expected, Profile, Verdict, View};
    use crate::glance::inspect::{Violation, inspect_disk};
    use crate::monitor::silent;

    /// The rules of the file that these facts break.
    fn broken(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
        let inspected = inspect_disk(&MemoryDisk::new(1 << 20)).unwrap();
        let mut facts = Facts { inspected, is_dirty: false, is_corrupt: false, snapshot_count: 0 };
        change(&mut facts);
        let view = View::open(Arc::new(MemoryDisk::new(1 << 20))).unwrap();
        let subject =
            Subject { facts: &facts, view: &view, expected: &Expected::default(), monitor: silent() };
        let checks =
            checks(&subject, Profile::Openstack, &[]).into_iter().filter(|check| check.group == "the file");
        checks.filter(|check| check.verdict == Verdict::Problem).map(|check| check.name).collect()
    }

    #[test]
    fn what_a_file_says_of_itself_counts() {
        assert_eq!(broken(|_| ()), Vec::<&str>::new());
        assert_eq!(broken(|facts| facts.is_dirty = true), ["closed"]);
        assert_eq!(broken(|facts| facts.is_corrupt = true), ["closed"]);
        assert_eq!(broken(|facts| facts.snapshot_count = 2), ["snapshots"]);
        let features = Violation::Features("extended L2 entries".into());
        assert_eq!(broken(|facts| facts.inspected.violations.push(features)), ["glance-format"]);
    }
}
