//! Rules of callers.

use std::fmt;

use super::rule::{Judgement, Weight};
use super::subject::Subject;

type Judge = Box<dyn Fn(&Subject<'_>) -> crate::Result<Judgement> + Send + Sync>;

/// A rule of a caller's. It cannot say that an image keeps it without having looked at something in it, in the thread in which it
/// is called.
pub struct OwnRule {
    pub(super) name: &'static str,
    pub(super) requirement: &'static str,
    pub(super) weight: Weight,
    pub(super) judge: Judge,
}

impl fmt::Debug for OwnRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRule").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OwnRule {
    /// A rule without which an image does not pass: its name, for reports and [`Expected::ignored`](super::Expected::ignored); what holds in an image that
    /// keeps it; and how that is told. An error means that it could not be told, and the image does not pass either.
    pub fn must(
        name: &'static str,
        requirement: &'static str,
        judge: impl Fn(&Subject<'_>) -> crate::Result<Judgement> + Send + Sync + 'static,
    ) -> Self {
        Self { name, requirement, weight: Weight::Must, judge: Box::new(judge) }
    }

    /// As [`must`](Self::must), but only better so.
    pub fn should(
        name: &'static str,
        requirement: &'static str,
        judge: impl Fn(&Subject<'_>) -> crate::Result<Judgement> + Send + Sync + 'static,
    ) -> Self {
        Self { weight: Weight::Should, ..Self::must(name, requirement, judge) }
    }
}
