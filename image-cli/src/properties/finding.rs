//! What is found about a property.

/// What was found about a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether Glance or Nova would refuse it.
    pub(crate) fatal: bool,
    /// What, and why.
    pub(crate) text: String,
}

/// Glance or Nova would refuse it.
pub(super) fn fatal(text: String) -> Finding {
    Finding { fatal: true, text }
}

/// It may be a mistake.
pub(super) fn warning(text: String) -> Finding {
    Finding { fatal: false, text }
}
