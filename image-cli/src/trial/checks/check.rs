//! A check of a boot, and what came of it.

use serde::Serialize;

use crate::printable::brief;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it has to be.
    Passed,
    /// Not as it has to be.
    Failed,
    /// The boot did not get so far.
    Unknown,
}

/// A check of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Its name, which stays the same from version to version.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen; fit for a terminal.
    pub evidence: String,
}

/// What came of `name`; nothing if the boot did not get so far.
pub(super) fn check(name: &'static str, result: Option<Result<String, String>>) -> Check {
    let (verdict, evidence) = match result {
        None => (Verdict::Unknown, String::new()),
        Some(Ok(evidence)) => (Verdict::Passed, evidence),
        Some(Err(evidence)) => (Verdict::Failed, evidence),
    };
    Check { name, verdict, evidence: brief(&evidence, 200) }
}
