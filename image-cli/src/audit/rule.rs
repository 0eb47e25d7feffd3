//! What a rule is, and what comes of it.

use serde::Serialize;

use super::subject::Subject;

/// A rule, and how it is looked after.
#[derive(Debug)]
pub struct Rule {
    /// Its name, for people and scripts.
    pub name: &'static str,
    /// What holds in an image that keeps it.
    pub(crate) requirement: &'static str,
    /// Where it comes from.
    pub(crate) source: &'static str,
    /// How much it weighs.
    pub(crate) weight: Weight,
    /// For whom it counts.
    pub(crate) profile: Profile,
    /// What has to be readable for it.
    pub(crate) needs: Needs,
    /// Where it looks: paths, whose names may have `*`, with all beneath them if they end in `/`, and in each home if they begin
    /// with `~`; else a part of the disk.
    pub(crate) reads: &'static [&'static [&'static str]],
    /// Whether what it reads takes long and is kept for whoever asks again: a thread of its own asks first.
    pub(crate) is_slow: bool,
    /// How an image keeps it, or every place that breaks it.
    pub(crate) check: fn(&Subject<'_>) -> crate::Result<Judgement>,
}

/// How much a rule weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// An image that breaks it does not pass.
    Must,
    /// Better so.
    Should,
}

/// For whom an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Profile {
    /// Any cloud: it boots, and nothing in it belongs to one machine
    Any,
    /// OpenStack: that, and Glance takes it, and each server is set up, reached and stopped as its image guide asks
    Openstack,
}

/// What has to be readable for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The disk.
    Disk,
    /// The files of the root filesystem.
    Files,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Judgement {
    /// The rule is kept; how, in a few words.
    Kept(String),
    /// Every place that breaks it.
    Broken(Vec<Finding>),
    /// It cannot be told here, and why.
    Open(String),
}

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A path in the image, or a part of the disk.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// A place, what is there, and what to do about it.
    pub fn new(place: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place: place.into(), found: found.into(), fix: fix.into() }
    }
}

impl Rule {
    /// A rule that every image must keep, over its files.
    pub(super) const fn must(
        name: &'static str,
        requirement: &'static str,
        source: &'static str,
        check: fn(&Subject<'_>) -> crate::Result<Judgement>,
    ) -> Self {
        Self {
            name,
            requirement,
            source,
            weight: Weight::Must,
            profile: Profile::Any,
            needs: Needs::Files,
            reads: &[],
            is_slow: false,
            check,
        }
    }

    /// As [`must`](Self::must), but only better so.
    pub(super) const fn should(
        name: &'static str,
        requirement: &'static str,
        source: &'static str,
        check: fn(&Subject<'_>) -> crate::Result<Judgement>,
    ) -> Self {
        let rule = Self::must(name, requirement, source, check);
        Self { weight: Weight::Should, ..rule }
    }

    /// It, which looks there.
    pub(super) const fn reads(self, places: &'static [&'static [&'static str]]) -> Self {
        Self { reads: places, ..self }
    }

    /// It, whose reading takes long.
    pub(super) const fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    /// It, for OpenStack only.
    pub(super) const fn openstack(self) -> Self {
        Self { profile: Profile::Openstack, ..self }
    }

    /// It, looked after without reading a file.
    pub(super) const fn of_disk(self) -> Self {
        Self { needs: Needs::Disk, ..self }
    }
}

impl Judgement {
    /// Broken in all these places, or kept: how, in a few words.
    pub fn of(findings: Vec<Finding>, kept: impl Into<String>) -> Self {
        match findings.is_empty() {
            true => Self::Kept(kept.into()),
            false => Self::Broken(findings),
        }
    }

    /// Broken in one place.
    pub fn broken(place: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Broken(vec![Finding::new(place, found, fix)])
    }

    /// Kept: how, in a few words.
    pub fn kept(how: impl Into<String>) -> Self {
        Self::Kept(how.into())
    }
}

impl From<Vec<Finding>> for Judgement {
    fn from(findings: Vec<Finding>) -> Self {
        Self::of(findings, "")
    }
}
