//! Verifying: the finished image is opened as a stranger would, and held against every rule of a sealed, bootable one.
//!
//! ```text
//! image file ─► View: partition table, filesystems by role ─► RULES ─► findings: where, what, and the remedy
//! ```
//!
//! What the build meant to do does not count, only what is in the file. Each rule is one function over a [`Subject`];
//! what a recipe asked for is an exception that the rule looks up there.

mod access;
mod boot;
mod initrd;
mod table;
mod traces;
mod view;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use image_core::format::{Format, Image, OpenOptions};

use super::recipe::{OutputFormat, Recipe, Step};
use crate::failure::Advise;
pub(crate) use view::View;

/// A rule, and how it is looked after.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its name, for people and scripts.
    pub(crate) name: &'static str,
    /// What holds in an image that keeps it.
    pub(crate) requirement: &'static str,
    /// Every place that breaks it.
    check: fn(&Subject<'_>) -> anyhow::Result<Vec<Finding>>,
}

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A path in the image, or a part of the disk.
    pub(crate) place: String,
    /// What is there.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// A finding, of which rule.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static Rule,
    pub(crate) finding: Finding,
}

/// What is looked at: an image, and what was asked for.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) view: &'a View,
    /// What the image was made from: its exceptions and expectations.
    pub(crate) recipe: &'a Recipe,
    /// The name of the machine that made it.
    pub(crate) build_host: &'a str,
}

/// Every rule, in the order in which they are told.
pub(crate) const RULES: &[&[Rule]] = &[table::RULES, boot::RULES, traces::RULES, access::RULES];

impl Finding {
    fn new(place: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), found: found.into(), remedy: remedy.into() }
    }
}

impl Subject<'_> {
    /// Whether the recipe keeps `path`, alone or with a folder it is in.
    fn is_kept(&self, path: &Path) -> bool {
        self.recipe.seal.keep.iter().any(|kept| path.starts_with(kept))
    }

    /// Whether a step of the recipe writes or copies `path` by its name, or the recipe keeps it.
    fn is_asked_for(&self, path: &Path) -> bool {
        self.is_kept(path)
            || self.recipe.steps.iter().any(|step| match step {
                Step::Write(write) => Path::new(&write.path) == path,
                Step::Copy(copy) => copy.to != "/" && path.starts_with(copy.to.trim_end_matches('/')),
                Step::Install(_) | Step::Remove(_) | Step::Run(_) => false,
            })
    }

    /// Every rule's violations.
    pub(crate) fn violations(&self) -> anyhow::Result<Vec<Violation>> {
        let mut violations = Vec::new();
        for rule in RULES.iter().copied().flatten() {
            let findings =
                (rule.check)(self).with_context(|| format!("looking after \"{}\"", rule.requirement))?;
            violations.extend(findings.into_iter().map(|finding| Violation { rule, finding }));
        }
        Ok(violations)
    }
}

/// Opens the image in the file `path` and holds it against every rule.
///
/// # Errors
/// With every violation, or if it cannot be read.
pub(crate) fn verify(path: &Path, format: OutputFormat, recipe: &Recipe) -> anyhow::Result<()> {
    let format = match format {
        OutputFormat::Qcow2 => Format::Qcow2,
        OutputFormat::Raw => Format::Raw,
    };
    let image = Image::open(path, OpenOptions { format: Some(format), ..OpenOptions::default() })?;
    let view = View::open(Arc::new(image)).context("looking into the finished image")?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let subject = Subject { view: &view, recipe, build_host: &host };
    let violations = subject.violations().context("verifying the finished image")?;
    if violations.is_empty() {
        return Ok(());
    }
    Err(anyhow!("the finished image breaks {}", told(&violations)))
        .hint(|| "a step of the recipe did this; `seal.keep` lists paths that are meant to stay")
}

/// All violations in words, a line each and one for what to do.
fn told(violations: &[Violation]) -> String {
    let mut text = match violations {
        [_] => String::from("a rule:"),
        many => format!("rules in {} places:", many.len()),
    };
    for Violation { rule, finding } in violations {
        let Finding { place, found, remedy } = finding;
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {}: {place}: {found}\n    {} - {remedy}", rule.name, rule.requirement);
    }
    text
}

#[cfg(test)]
mod tests;
