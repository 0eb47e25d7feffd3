//! What is in the files of an image: each file of each filesystem is read once, for all rules that look for something in it.
//!
//! ```text
//! filesystem ─► names, in the order of its directories ─┬─► worker: inode ─► first bytes ─► kind ─┬─ plain: searched
//!  (also one that nothing mounts)                       ├─► worker                                ├─ packed: unpacked, searched
//!                                                       └─► …                                     └─ harmless, or closed
//! ```
//!
//! What a secret looks like: `keys.rs` (private keys in texts), `binary.rs` (in other files), `tokens.rs` (tokens, passwords in
//! addresses).
//!
//! No more is in memory than what the workers have in hand, however many files there are.

mod binary;
mod found;
mod keys;
mod kinds;
mod packed;
mod search;
mod tokens;
mod walk;

pub(super) use found::{Contents, Found};
pub(super) use search::Secret;

use super::rule::{Finding, Judgement};
use super::subject::Subject;

/// What is in the files of the image.
fn look<'a>(subject: &Subject<'a>) -> crate::Result<&'a Contents> {
    let view = subject.view;
    let contents = view.contents.get(view.watch(), || walk::read(view, subject.monitor))?;
    view.watch().place("every file");
    Ok(contents)
}

/// A rule about what is in files: whatever `is_told` has words for and nobody asked for is told, with `fix`.
pub(super) fn rule(
    subject: &Subject<'_>,
    fix: &str,
    is_told: impl Fn(&Found) -> Option<&'static str>,
) -> crate::Result<Judgement> {
    let contents = look(subject)?;
    let mut findings = Vec::new();
    for found in &contents.found {
        let Some(what) = is_told(found).filter(|_| !subject.is_asked_for(found.path.as_ref())) else {
            continue;
        };
        let what = match &found.inside {
            Some(inside) => format!("{what} in it: {inside}"),
            None => what.to_owned(),
        };
        findings.push(Finding::new(&found.path, what, fix));
    }
    // What could not be read may be one, and nothing is said to be fine; what was found is told all the same.
    let mut unread = subject.view.unread();
    if contents.unread_count > 0 {
        unread.push(format!(
            "{} files cannot be read: {}",
            contents.unread_count,
            contents.unread.join("; ")
        ));
    }
    if !unread.is_empty() {
        let what = unread.join("; ");
        if findings.is_empty() {
            return Ok(Judgement::Open(what));
        }
        findings.push(Finding::new("elsewhere", what, "repair the filesystem, and audit again"));
    }
    let closed = match contents.closed {
        0 => String::new(),
        count => format!("; {count} archives and disks in it were not opened"),
    };
    Ok(Judgement::of(findings, format!("none in {} files{closed}", contents.searched)))
}
