//! Rules of services: what an installation, or a service at its first start, made for one machine is in no image.
//!
//! One table (`known.rs`) says what that is and what makes it anew. The audit tells of it, sealing removes it, so neither
//! can know of anything that the other does not. docs/identities.md has what else differs between two installations of the
//! same packages, and why that is none of these.

mod known;

use std::path::Path;

use image_core::fs::{FileKind, Files};

use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
use super::view::LIMIT;
pub(crate) use known::IDENTITIES;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "service-ids",
        "no service has a name or number that is one machine's",
        "two installations compared: docs/identities.md",
        |subject| known_of(subject, Kind::Id),
    )
    .reads(&[&[LISTED]]),
    Rule::must(
        "service-secrets",
        "no service has a secret that its installation made",
        "two installations compared: docs/identities.md",
        |subject| known_of(subject, Kind::Secret),
    )
    .reads(&[&[LISTED]]),
];

/// Where these rules look.
pub(super) const LISTED: &str = "what docs/identities.md lists";

/// Something that two machines must not share.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Where it is: an absolute path whose names may have one `*` each.
    pub(crate) pattern: &'static str,
    /// A file is one only if a line of it begins so; any file, if this is empty.
    pub(crate) line: &'static str,
    pub(crate) kind: Kind,
    /// Whose it is, and what.
    pub(crate) what: &'static str,
    /// In which systems this row counts.
    pub(crate) system: System,
    pub(crate) renewal: Renewal,
}

/// What a file that two machines share does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They are mistaken for each other.
    Id,
    /// Whoever has the image knows what lets him in, or can read what is sent.
    Secret,
}

/// A property of the system in an image: who makes a thing anew differs from release to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Any,
    /// This file is there.
    With(&'static str),
    /// It is not.
    Without(&'static str),
}

/// How a machine gets its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// This makes it where it is missing.
    Removed(&'static str),
    /// The file has to have this text; then this makes it.
    Written(&'static str, &'static str),
    /// Nothing does it unasked: what to do.
    ByHand(&'static str),
}

impl System {
    /// Whether an image has it, if `exists` tells what there is.
    ///
    /// # Errors
    /// Those of `exists`.
    pub(crate) fn fits<E>(self, exists: impl FnOnce(&'static str) -> Result<bool, E>) -> Result<bool, E> {
        match self {
            Self::Any => Ok(true),
            Self::With(path) => exists(path),
            Self::Without(path) => exists(path).map(|there| !there),
        }
    }
}

/// Whether a line of `content` begins with `line`; whatever it has, if that is empty.
pub(crate) fn has_line(content: &[u8], line: &str) -> bool {
    line.is_empty() || content.split(|byte| *byte == b'\n').any(|other| other.starts_with(line.as_bytes()))
}

/// Everything in the image that is in the table, and of this kind.
fn known_of(subject: &Subject<'_>, kind: Kind) -> crate::Result<Judgement> {
    let files = subject.view.root();
    let mut findings = Vec::new();
    for identity in IDENTITIES.iter().filter(|identity| identity.kind == kind) {
        let found = subject.view.matches(identity.pattern)?;
        // What is in nobody's way is not asked whose it is: another folder may be one that cannot be read.
        if found.is_empty() || !identity.system.fits(|path| subject.view.exists(path))? {
            continue;
        }
        for path in found {
            if subject.is_asked_for(&path) || !is_one(files, &path, identity.line)? {
                continue;
            }
            let is_link = files.link_metadata(&path)?.is_some_and(|metadata| metadata.kind == FileKind::Link);
            findings.push(Finding::new(
                path.display().to_string(),
                identity.what,
                fix(identity.renewal, is_link),
            ));
        }
    }
    Ok(Judgement::of(findings, "none of those that are known"))
}

/// Whether what is at `path` is of one machine: if its content tells, that of the file that a link leads to.
fn is_one(files: &dyn Files, path: &Path, line: &str) -> crate::Result<bool> {
    Ok(line.is_empty() || files.read(path, LIMIT)?.is_some_and(|content| has_line(&content, line)))
}

fn fix(renewal: Renewal, is_link: bool) -> String {
    match renewal {
        Renewal::Removed(who) => format!("goldimg seal removes it: {who} makes it anew"),
        Renewal::Written(text, who) if is_link => {
            format!("write {text:?} into the file that it leads to: {who} makes it anew then")
        }
        Renewal::Written(_, who) => format!("goldimg seal writes a file of which {who} makes it anew"),
        Renewal::ByHand(remedy) => remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::audit::tests::table_in_docs;

    /// The table of docs/identities.md.
    fn documented() -> String {
        let mut text =
            "| file | what it is | rule | each machine gets its own |\n| --- | --- | --- | --- |\n"
                .to_owned();
        for row in IDENTITIES {
            let line = if row.line.is_empty() { String::new() } else { format!(", a line `{}`", row.line) };
            let system = match row.system {
                System::Any => String::new(),
                System::With(path) => format!(" (where there is `{path}`)"),
                System::Without(path) => format!(" (where there is no `{path}`)"),
            };
            let rule = match row.kind {
                Kind::Id => "service-ids",
                Kind::Secret => "service-secrets",
            };
            let renewal = match row.renewal {
                Renewal::Removed(who) => {
                    format!("sealed: removed; {who} makes it anew")
                }
                Renewal::Written(_, who) => format!("sealed: written so that {who} makes it anew"),
                Renewal::ByHand(remedy) => format!("told: {remedy}"),
            };
            text += &format!("| `{}`{line}{system} | {} | `{rule}` | {renewal} |\n", row.pattern, row.what);
        }
        text
    }

    #[test]
    fn the_table_for_people_has_every_row_of_the_program() {
        table_in_docs("identities.md", &documented());
    }

    #[test]
    fn a_row_says_where_it_is_and_what_is_written_is_nobodys() {
        for row in IDENTITIES {
            assert!(row.pattern.starts_with('/') && !row.pattern.ends_with('/'), "{}", row.pattern);
            assert!(row.pattern.split('/').all(|name| name.matches('*').count() < 2), "{}", row.pattern);
            if let Renewal::Written(text, _) = row.renewal {
                assert!(!row.line.is_empty() && !has_line(text.as_bytes(), row.line), "{}", row.pattern);
            }
            // Two rows for one file need systems that tell which.
            let same = IDENTITIES.iter().filter(|other| other.pattern == row.pattern);
            assert!(same.clone().count() == 1 || same.clone().all(|other| other.system != System::Any));
        }
    }

    #[test]
    fn a_system_is_known_by_a_file() {
        let fits = |system: System| system.fits(|path| Ok::<_, Infallible>(path == "/there")).unwrap();
        assert!(fits(System::Any) && fits(System::With("/there")) && fits(System::Without("/elsewhere")));
        assert!(!fits(System::With("/elsewhere")) && !fits(System::Without("/there")));
    }

    #[test]
    fn a_line_counts_from_its_begin() {
        assert!(has_line(b"# name\nName=x\n", "Name="));
        assert!(has_line(b"\xff\nName=", "Name="));
        assert!(!has_line(b"#Name=x\n Name=x\nNam", "Name="));
        assert!(has_line(b"", ""));
    }
}
