//! Image metadata of the Sovereign Cloud Stack (standard SCS-0102, version 2).
//!
//! A draft, and only asked of public images: whatever is wrong is a warning, never a refusal.

use std::collections::BTreeMap;

use super::finding::{Finding, warning};

/// How a value must look.
enum Form {
    Any,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A date `YYYY-MM-DD`, or one of these words.
    Date(&'static [&'static str]),
    /// A date, perhaps with a time, in UTC.
    Moment,
    /// A date, one of these words, or `last-N`.
    Validity(&'static [&'static str]),
    /// Hours.
    Number,
}

/// What a public image must say beyond Glance's own fields (section "Properties", mandatory ones).
const MANDATORY: &[(&str, Form)] = &[
    ("architecture", Form::Any),
    ("hw_disk_bus", Form::Any),
    ("image_build_date", Form::Moment),
    ("image_description", Form::Any),
    ("image_original_user", Form::Any),
    ("image_source", Form::Any),
    ("os_distro", Form::Any),
    ("os_purpose", Form::Words(&["generic", "oldgeneric", "minimal", "k8snode", "gpu", "network", "custom"])),
    ("os_version", Form::Any),
    ("provided_until", Form::Date(&["none", "notice"])),
    (
        "replace_frequency",
        Form::Words(&["yearly", "quarterly", "monthly", "weekly", "daily", "critical_bug", "never"]),
    ),
    ("uuid_validity", Form::Validity(&["none", "notice", "forever"])),
];

const OPTIONAL: &[(&str, Form)] = &[
    ("hotfix_hours", Form::Number),
    ("l1_support_contact", Form::Any),
    ("license_included", Form::Any),
    ("license_required", Form::Any),
    ("maintained_until", Form::Date(&["none"])),
    ("patchlevel", Form::Any),
    ("subscription_included", Form::Any),
    ("subscription_required", Form::Any),
];

/// All names of the standard.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MANDATORY.iter().chain(OPTIONAL).map(|(name, _)| *name)
}

/// What is wrong with a value.
pub(super) fn value(name: &str, value: &str) -> Option<Finding> {
    let (_, form) = MANDATORY.iter().chain(OPTIONAL).find(|(known, _)| *known == name)?;
    let or = |words: &[&str]| words.iter().map(|word| format!(", {word}")).collect::<String>();
    let (ok, expected) = match form {
        Form::Any => (!value.is_empty(), "a text".to_owned()),
        Form::Words(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
        Form::Date(words) => (is_date(value) || words.contains(&value), format!("YYYY-MM-DD{}", or(words))),
        Form::Moment => (is_moment(value), "YYYY-MM-DD[ hh:mm[:ss]] in UTC".to_owned()),
        Form::Validity(words) => {
            let last = value.strip_prefix("last-").is_some_and(|count| count.parse::<u32>().is_ok());
            (is_date(value) || last || words.contains(&value), format!("YYYY-MM-DD, last-N{}", or(words)))
        }
        Form::Number => (value.parse::<u32>().is_ok(), "a number of hours".to_owned()),
    };
    (!ok).then(|| warning(format!("{name}={value:?}: SCS-0102 wants {expected}")))
}

/// What a public image lacks, in one sentence.
pub(super) fn missing(properties: &BTreeMap<String, String>) -> Option<Finding> {
    let lacking: Vec<&str> =
        MANDATORY.iter().map(|(name, _)| *name).filter(|name| !properties.contains_key(*name)).collect();
    (!lacking.is_empty())
        .then(|| warning(format!("SCS-0102 asks a public image for: {}", lacking.join(", "))))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_moment(text: &str) -> bool {
    let Some((date, time)) = text.split_once(' ') else { return is_date(text) };
    is_date(date) && matches!(time.len(), 5 | 8) && time.parse::<jiff::civil::Time>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_standards_form() {
        for (name, good) in [
            ("image_build_date", "2026-11-23"),
            ("image_build_date", "2026-11-23 05:21"),
            ("image_build_date", "2026-11-23 05:21:09"),
            ("provided_until", "notice"),
            ("provided_until", "2027-01-31"),
            ("uuid_validity", "last-3"),
            ("hotfix_hours", "0"),
            ("unheard_of", "x"),
        ] {
            assert_eq!(value(name, good), None, "{name}={good}");
        }
        for (name, wrong) in [
            ("image_build_date", "2026-11-23T05:21:09Z"),
            ("image_build_date", "2026-13-01"),
            ("provided_until", "soon"),
            ("uuid_validity", "last-few"),
            ("replace_frequency", "sometimes"),
            ("os_purpose", "Generic"),
            ("image_source", ""),
        ] {
            assert!(value(name, wrong).is_some_and(|found| !found.fatal), "{name}={wrong}");
        }
    }
}
