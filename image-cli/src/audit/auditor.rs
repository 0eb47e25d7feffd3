//! An audit: the rules are held against an image, one after the other; what takes long is read beside them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use image_core::format::{Format, Image, OpenOptions};

use super::expected::Expected;
use super::header::Facts;
use super::looked::Looked;
use super::own::OwnRule;
use super::report::{Check, Report};
use super::rule::{Finding, Judgement, Needs, Profile};
use super::rules::RULES;
use super::stoppable::Stoppable;
use super::subject::Subject;
use super::view::View;
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;

/// Of a rule that is broken in more places, only so many are told.
const FINDINGS_LIMIT: usize = 50;

/// What rules of callers are told among.
const OWN: &str = "rules of your own";

/// How images are audited: for whom, with which exceptions, and by which rules besides goldimg's.
///
/// ```no_run
/// use goldimg::audit::{Audit, Judgement, OwnRule, Profile};
/// use goldimg::monitor::Silent;
/// use goldimg::{CancellationToken, Monitor};
///
/// # fn main() -> goldimg::Result<()> {
/// let notice = OwnRule::must("notice", "whoever logs in is told whose machine this is", |image| {
///     Ok(match image.text("/etc/issue")? {
///         Some(text) if text.contains("Example Ltd") => Judgement::kept("it names Example Ltd"),
///         _ => Judgement::broken("/etc/issue", "it does not name Example Ltd", "write it in a step"),
///     })
/// });
/// let cancel = CancellationToken::new();
/// let audit = Audit::new(Profile::Any).rule(notice);
/// let report = audit.image("debian-12.qcow2", Monitor::new(&Silent, &cancel))?;
/// assert!(report.passed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Audit {
    profile: Profile,
    format: Option<Format>,
    expected: Expected,
    own: Vec<OwnRule>,
}

impl Audit {
    /// By goldimg's rules for `profile`, of an image of unknown origin in the format that it looks like.
    pub fn new(profile: Profile) -> Self {
        Self { profile, format: None, expected: Expected::default(), own: Vec::new() }
    }

    /// Of images in `format`.
    #[must_use]
    pub fn format(self, format: impl Into<Option<Format>>) -> Self {
        Self { format: format.into(), ..self }
    }

    /// With these exceptions and expectations.
    #[must_use]
    pub fn expected(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// By one rule more.
    #[must_use]
    pub fn rule(mut self, rule: OwnRule) -> Self {
        self.own.push(rule);
        self
    }

    /// Holds the image in the file `path` against every rule. It is neither mounted nor changed. Where its files take long to
    /// read, `monitor` hears of their bytes.
    ///
    /// # Errors
    /// If it cannot be opened, its partition table is broken, or `monitor` stops it. Files that cannot be read are told in the
    /// report.
    pub fn image(&self, path: impl AsRef<Path>, monitor: Monitor<'_>) -> crate::Result<Report> {
        let path = path.as_ref();
        self.check_names()?;
        let image = Image::open(path, OpenOptions { format: self.format, ..OpenOptions::default() })?;
        let facts = Facts::of(&image)?;
        let disk = Stoppable::new(image, monitor.cancel());
        let view = View::open(Arc::new(disk)).with_context(|| format!("looking into {}", path.display()))?;
        self.expected.check(&view)?;
        let subject = Subject { facts: &facts, view: &view, expected: &self.expected, monitor };
        let checks = checks(&subject, self.profile, &self.own);
        // What was not read for that is told as unreadable in the checks.
        monitor.check()?;
        Ok(Report::new(path, self.profile, checks))
    }

    /// Rules are ignored and told by their names: each has one of its own.
    fn check_names(&self) -> crate::Result<()> {
        let mut known: BTreeSet<&str> =
            RULES.iter().flat_map(|(_, rules)| rules.iter()).map(|rule| rule.name).collect();
        match self.own.iter().find(|rule| !known.insert(rule.name)) {
            Some(rule) => Err(err!("there is a rule {:?} already", rule.name)).invalid(),
            None => Ok(()),
        }
    }
}

/// Holds the image in the file `path` against every rule of `profile`.
///
/// # Errors
/// As [`Audit::image`].
pub fn audit(
    path: &Path,
    format: Option<Format>,
    profile: Profile,
    expected: &Expected,
    monitor: Monitor<'_>,
) -> crate::Result<Report> {
    Audit::new(profile).format(format).expected(expected.clone()).image(path, monitor)
}

/// What comes of every rule of `profile`.
pub(super) fn checks(subject: &Subject<'_>, profile: Profile, own: &[OwnRule]) -> Vec<Check> {
    let rules = RULES.iter().flat_map(|(group, rules)| rules.iter().map(|rule| (*group, rule)));
    let mine: Vec<_> = rules.filter(|(_, rule)| rule.profile <= profile).collect();
    let ignored = |check: Check| {
        let reason = subject.expected.ignored.get(check.name);
        check.ignored(reason)
    };
    thread::scope(|scope| {
        for (_, rule) in
            mine.iter().filter(|(_, rule)| rule.is_slow && why_not(subject, rule.needs).is_none())
        {
            // What comes of it is told below, from what was read.
            scope.spawn(|| (rule.check)(subject));
        }
        let judged = mine.iter().map(|(group, rule)| {
            let (judgement, looked) = judge(subject, rule.needs, &rule.check);
            ignored(Check::new(group, *rule, judgement, looked))
        });
        let own = own.iter().map(|rule| {
            let (judgement, looked) = judge(subject, Needs::Files, &rule.judge);
            ignored(Check::new(OWN, rule, judgement, looked))
        });
        judged.chain(own).collect()
    })
}

/// Why `rule` cannot be judged; `None` if it can.
fn why_not<'a>(subject: &Subject<'a>, needs: Needs) -> Option<&'a str> {
    subject.view.unreadable().filter(|_| needs == Needs::Files)
}

/// What comes of `rule`, and where it looked.
pub(super) fn judge(
    subject: &Subject<'_>,
    needs: Needs,
    judge: &dyn Fn(&Subject<'_>) -> crate::Result<Judgement>,
) -> (Judgement, Option<Looked>) {
    if let Some(why) = why_not(subject, needs) {
        return (Judgement::Open(why.to_owned()), None);
    }
    // What was looked at before is another's.
    let _ = subject.view.watch().taken();
    let judgement = match judge(subject) {
        Ok(Judgement::Broken(findings)) => Judgement::Broken(shortened(findings)),
        Ok(judgement) => judgement,
        // A file or folder that cannot be read: what is in it is not known, and nothing is said to be fine.
        Err(error) => Judgement::Open(format!("{error:#}")),
    };
    (judgement, subject.view.watch().taken())
}

fn shortened(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > FINDINGS_LIMIT {
        let more = findings.len().saturating_sub(FINDINGS_LIMIT);
        findings.truncate(FINDINGS_LIMIT);
        findings.push(Finding::new("elsewhere", format!("{more} more places like these"), "the same"));
    }
    findings
}
