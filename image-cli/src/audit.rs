//! Is an image fit to be cloned and started in a cloud? Held against a table of rules, without being mounted or changed.
//!
//! ```text
//! image file ─► Facts: format, header ──────────┐
//!            └► View: table, filesystems ───────┼─► RULES ─► Report: verdict, where, what, and the fix
//!               Expected: what was asked for ───┘
//! ```
//!
//! Each rule is one function over a [`Subject`]. What the maker of an image meant does not count, only what is in the
//! file; what was asked for (by a recipe) is an exception that the rule looks up there. `build` runs the same rules
//! over what it made. docs/audit.md is the table for people.

mod access;
mod boot;
mod cloud_init;
mod contents;
pub(crate) mod drivers;
mod expected;
mod file;
mod firmware;
pub(crate) mod first_boot;
mod identities;
mod initrd;
mod kernel;
mod looked;
mod menu;
mod network;
mod places;
mod report;
mod rule;
mod secrets;
mod services;
mod space;
mod sshd;
mod table;
mod traces;
mod unused;
mod view;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use image_core::format::{Format, Image, OpenOptions};

pub(crate) use access::HOME_HISTORIES;
pub(crate) use expected::{Expected, Firmware};
pub(crate) use file::Facts;
pub(crate) use identities::{IDENTITIES, Renewal, System, has_line};
use looked::Looked;
pub(crate) use report::{Check, Report, Verdict};
pub(crate) use rule::{Finding, Profile};
use rule::{Judgement, Needs, Rule};
pub(crate) use secrets::HOME_FILES;
pub(crate) use space::{gaps, swap_files, swap_page};
pub(crate) use traces::{CRASHES, MAIL, NETWORK_STATE, NETWORKS_OF_CLOUD_INIT, of_network};
pub(crate) use view::{View, Volume};

/// Every rule, in the order in which they are told.
pub(crate) const RULES: &[(&str, &[Rule])] = &[
    ("the file", file::RULES),
    ("the disk", table::RULES),
    ("booting", boot::RULES),
    ("the kernel", kernel::RULES),
    ("the first boot", cloud_init::RULES),
    ("the network", network::RULES),
    ("services", services::RULES),
    ("traces of other machines", traces::RULES),
    ("services of other machines", identities::RULES),
    ("access", access::RULES),
    ("secrets", secrets::RULES),
    ("unused space", unused::RULES),
];

/// Of a rule that is broken in more places, only so many are told.
const FINDINGS_LIMIT: usize = 50;

/// What is looked at: an image, and what was asked for.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    facts: &'a Facts,
    view: &'a View,
    expected: &'a Expected,
}

/// Holds the image in the file `path` against every rule of `profile`.
///
/// # Errors
/// If it cannot be opened, or its partition table is broken. Files that cannot be read are told in the report.
pub(crate) fn audit(
    path: &Path,
    format: Option<Format>,
    profile: Profile,
    expected: &Expected,
) -> anyhow::Result<Report> {
    let image = Image::open(path, OpenOptions { format, ..OpenOptions::default() })?;
    let facts = Facts::of(&image)?;
    let view = View::open(Arc::new(image)).with_context(|| format!("looking into {}", path.display()))?;
    expected.check(&view)?;
    let subject = Subject { facts: &facts, view: &view, expected };
    Ok(Report::new(path, profile, subject.checks(profile)))
}

impl Subject<'_> {
    /// What comes of every rule of `profile`.
    pub(crate) fn checks(&self, profile: Profile) -> Vec<Check> {
        let rules = RULES.iter().flat_map(|(group, rules)| rules.iter().map(|rule| (*group, rule)));
        let mine: Vec<_> = rules.filter(|(_, rule)| rule.profile <= profile).collect();
        let ignored = |check: Check| {
            let reason = self.expected.ignored.get(check.name);
            check.ignored(reason)
        };
        thread::scope(|scope| {
            for (_, rule) in mine.iter().filter(|(_, rule)| rule.is_slow && self.why_not(rule).is_none()) {
                // What comes of it is told below, from what was read.
                scope.spawn(|| (rule.check)(self));
            }
            let judged = mine.iter().map(|(group, rule)| {
                let (judgement, looked) = self.judge(rule);
                ignored(Check::new(group, rule, judgement, looked))
            });
            judged.collect()
        })
    }

    /// Why `rule` cannot be judged; `None` if it can.
    fn why_not(&self, rule: &Rule) -> Option<&str> {
        self.view.unreadable().filter(|_| rule.needs == Needs::Files)
    }

    /// What comes of `rule`, and where it looked.
    fn judge(&self, rule: &Rule) -> (Judgement, Option<Looked>) {
        if let Some(why) = self.why_not(rule) {
            return (Judgement::Open(why.to_owned()), None);
        }
        // What was looked at before is another's.
        let _ = self.view.watch().taken();
        let judgement = match (rule.check)(self) {
            Ok(Judgement::Broken(findings)) => Judgement::Broken(shortened(findings)),
            Ok(judgement) => judgement,
            // A file or folder that cannot be read: what is in it is not known, and nothing is said to be fine.
            Err(error) => Judgement::Open(format!("{error:#}")),
        };
        (judgement, self.view.watch().taken())
    }

    /// What is known of the image without reading its disk.
    fn facts(&self) -> &Facts {
        self.view.watch().place("the header of the image");
        self.facts
    }

    /// What was asked for, where that decides.
    fn asked(&self) -> &Expected {
        self.view.watch().place("what was asked for");
        self.expected
    }

    /// Whether `path` is meant to stay, alone or with a folder it is in.
    fn is_kept(&self, path: &Path) -> bool {
        self.expected.keeps(path)
    }

    /// Whether `path` was asked for by its name, or is meant to stay.
    fn is_asked_for(&self, path: &Path) -> bool {
        self.expected.asks_for(path)
    }
}

fn shortened(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > FINDINGS_LIMIT {
        let more = findings.len().saturating_sub(FINDINGS_LIMIT);
        findings.truncate(FINDINGS_LIMIT);
        findings.push(Finding::new("elsewhere", format!("{more} more places like these"), "the same"));
    }
    findings
}

#[cfg(test)]
pub(crate) mod tests;
