//! What is found about a property.

/// What was found about a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether Glance or Nova would refuse it.
    pub fatal: bool,
    /// What, and why.
    pub text: String,
}

/// Glance or Nova would refuse it.
pub(super) fn fatal(text: String) -> Finding {
    Finding { fatal: true, text }
}

/// It may be a mistake.
pub(super) fn warning(text: String) -> Finding {
    Finding { fatal: false, text }
}
