//! What came of an audit: a verdict for each rule, and one for all.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::looked::Looked;
use super::own::OwnRule;
use super::rule::{Finding, Judgement, Profile, Rule, Weight};
use crate::printable::printable;

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// It is kept.
    Ok,
    /// It is broken, and must not be.
    Problem,
    /// It is broken, and would better not be.
    Recommendation,
    /// It could not be told.
    NotChecked,
    /// It is broken, or could not be told, and somebody has said why that does not count.
    Ignored,
}

/// A rule, and what came of it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// The rule's name.
    pub name: &'static str,
    /// What rules it is told among, such as "booting".
    pub group: &'static str,
    /// What holds in an image that keeps it.
    pub requirement: &'static str,
    pub(crate) source: &'static str,
    /// Where the rule looks in any image.
    reads: Vec<&'static str>,
    /// What came of it.
    pub verdict: Verdict,
    /// How the rule is kept, or why that could not be told; may be empty.
    pub evidence: String,
    /// Where it is broken.
    pub findings: Vec<Finding>,
    /// Where the rule looked; nowhere if it could not be told.
    looked: Option<Looked>,
    /// Whether it counts for the verdict on the image.
    #[serde(skip)]
    pub(crate) weight: Weight,
    /// For whom it counts.
    #[serde(skip)]
    pub(crate) profile: Profile,
}

/// What came of an audit.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The image's file, as it was named.
    pub image: String,
    /// For whom it was audited.
    pub profile: Profile,
    /// Whether nothing that must be is missing or unknown.
    pub passed: bool,
    /// Every rule, in their order.
    pub checks: Vec<Check>,
}

/// A rule without the way it is told.
#[derive(Debug)]
pub(super) struct Described {
    name: &'static str,
    requirement: &'static str,
    source: &'static str,
    reads: Vec<&'static str>,
    weight: Weight,
    profile: Profile,
}

impl From<&Rule> for Described {
    fn from(rule: &Rule) -> Self {
        let Rule { name, requirement, source, weight, profile, .. } = *rule;
        Self { name, requirement, source, reads: rule.reads.concat(), weight, profile }
    }
}

impl From<&OwnRule> for Described {
    fn from(rule: &OwnRule) -> Self {
        let OwnRule { name, requirement, weight, .. } = *rule;
        Self { name, requirement, source: "", reads: Vec::new(), weight, profile: Profile::Any }
    }
}

impl Check {
    /// What came of `rule`, which looked at `looked`: no rule is kept that looked nowhere.
    pub(super) fn new(
        group: &'static str,
        rule: impl Into<Described>,
        judgement: Judgement,
        looked: Option<Looked>,
    ) -> Self {
        let rule = rule.into();
        let (verdict, evidence, findings) = match judgement {
            Judgement::Kept(how) if looked.is_some() => (Verdict::Ok, how, Vec::new()),
            Judgement::Kept(_) => (Verdict::NotChecked, "nothing was looked at".to_owned(), Vec::new()),
            Judgement::Open(why) => (Verdict::NotChecked, why, Vec::new()),
            Judgement::Broken(findings) if rule.weight == Weight::Must => {
                (Verdict::Problem, String::new(), findings)
            }
            Judgement::Broken(findings) => (Verdict::Recommendation, String::new(), findings),
        };
        Self {
            name: rule.name,
            group,
            requirement: rule.requirement,
            source: rule.source,
            reads: rule.reads,
            verdict,
            evidence,
            findings,
            looked,
            weight: rule.weight,
            profile: rule.profile,
        }
    }

    /// Where the rule looked.
    #[cfg(test)]
    pub(super) fn looked(&self) -> &[String] {
        self.looked.as_ref().map_or(&[], Looked::places)
    }

    /// It, not counting for `reason` unless it is kept.
    pub(super) fn ignored(self, reason: Option<&String>) -> Self {
        match reason {
            Some(reason) if self.verdict != Verdict::Ok => {
                Self { verdict: Verdict::Ignored, evidence: reason.clone(), ..self }
            }
            _ => self,
        }
    }

    /// Whether it keeps the image from passing: what must be known and is not counts like a problem.
    pub(crate) fn fails(&self) -> bool {
        match self.verdict {
            Verdict::Problem => true,
            Verdict::NotChecked => self.weight == Weight::Must,
            Verdict::Ok | Verdict::Recommendation | Verdict::Ignored => false,
        }
    }

    /// In words: a line for each place, and one for what to do about it.
    pub(crate) fn told(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for Finding { place, found, fix } in &self.findings {
            let _ = write!(text, "\n  {}: {}: {}", self.name, printable(place), printable(found));
            let _ = write!(text, "\n    {} - {}", self.requirement, printable(fix));
        }
        if self.verdict == Verdict::NotChecked {
            let _ = write!(text, "\n  {}: not checked: {}", self.name, printable(&self.evidence));
        }
        text
    }
}

impl Report {
    pub(super) fn new(image: &Path, profile: Profile, checks: Vec<Check>) -> Self {
        let passed = !checks.iter().any(Check::fails);
        Self { image: image.display().to_string(), profile, passed, checks }
    }

    /// How many rules have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}
