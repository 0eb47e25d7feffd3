//! Rules of secrets: what must be known to nobody is not in an image, where all who have it can read it.
//!
//! ```text
//! what is in all files (contents.rs) ─► private keys, tokens
//! files.rs                           ─► credentials: files by their names, settings by theirs
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod files;

use super::contents::{self, Secret};
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "private-keys",
        "there are no private keys",
        "a key in an image is one for all who have it",
        private_keys,
    )
    .slow()
    .reads(&[&["every file", "the partition table", "the disk"]]),
    Rule::must(
        "credentials",
        "there are no files and settings that programs keep credentials in",
        "a credential in an image is one for all who have it",
        files::credentials,
    )
    .reads(&[&[
        "~/",
        "/etc/",
        "/var/lib/",
        "/boot/grub*/user.cfg",
        "/usr/lib/NetworkManager/system-connections/*",
    ]]),
    Rule::must("tokens", "no file has a token or a password in an address", "as for credentials", tokens)
        .reads(&[&["every file", "the partition table", "the disk"]]),
    Rule::should("build-proxy", "no package manager goes through a proxy of the build", "cloning", proxy)
        .reads(&[&[
            "/etc/apt/apt.conf",
            "/etc/apt/apt.conf.d/*",
            "/etc/yum.conf",
            "/etc/dnf/dnf.conf",
            "/etc/environment",
        ]]),
];

pub(crate) use files::HOME_FILES;

const EDIT: &str =
    "remove it, and make it invalid where it was issued; --keep PATH if it is meant to be there";
/// Keys that rules of their own tell.
const HOST_KEYS: [&str; 2] = ["/etc/ssh/ssh_host_", "/etc/dropbear/dropbear_"];

fn private_keys(subject: &Subject<'_>) -> crate::Result<Judgement> {
    contents::rule(subject, files::REMOVE, |found| match found.secret {
        Secret::Key(what) => {
            let is_host_key = HOST_KEYS.iter().any(|start| found.path.starts_with(start));
            (!is_host_key).then_some(what)
        }
        Secret::Token(_) => None,
    })
}

fn tokens(subject: &Subject<'_>) -> crate::Result<Judgement> {
    contents::rule(subject, EDIT, |found| match found.secret {
        Secret::Token(what) => Some(what),
        Secret::Key(_) => None,
    })
}

fn proxy(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let fix = "remove the line: it leads nowhere in a cloud";
    let mut findings = Vec::new();
    for pattern in [
        "/etc/apt/apt.conf",
        "/etc/apt/apt.conf.d/*",
        "/etc/yum.conf",
        "/etc/dnf/dnf.conf",
        "/etc/environment",
    ] {
        for path in subject.view.matches(pattern)? {
            let text = subject.view.text(&path)?.unwrap_or_default();
            let sets = |line: &&str| {
                let line = line.trim().to_ascii_lowercase();
                let comment = line.starts_with(['#', ';']) || line.starts_with("//");
                !comment && ["proxy \"", "proxy=", "proxy ="].iter().any(|set| line.contains(set))
            };
            if let Some(line) = text.lines().find(sets)
                && !subject.is_asked_for(&path)
            {
                findings.push(Finding::new(path.display().to_string(), line.trim(), fix));
            }
        }
    }
    Ok(Judgement::of(findings, "none"))
}
