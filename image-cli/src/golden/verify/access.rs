//! Rules of access: nobody gets in whom the recipe or the cloud has not let in.

use std::path::Path;

use super::{Finding, Rule, Subject};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "passwords", requirement: "no account has a password, or needs none", check: passwords },
    Rule {
        name: "authorized-keys",
        requirement: "no key logs in that the recipe did not put there",
        check: keys,
    },
    Rule { name: "histories", requirement: "nobody has a history", check: histories },
];

fn passwords(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    if subject.recipe.seal.keep_passwords {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for path in ["/etc/shadow", "/etc/passwd", "/etc/gshadow"] {
        for line in subject.view.text(path)?.unwrap_or_default().lines() {
            let mut fields = line.split(':');
            let (user, password) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let locked = password.starts_with(['!', '*']);
            let fine = match path {
                "/etc/passwd" => locked || password == "x",
                // A group without a password is one that nobody can join.
                "/etc/gshadow" => locked || password.is_empty(),
                _ => locked,
            };
            if !fine && !user.is_empty() {
                let found = match password {
                    "" => format!("{user} needs no password"),
                    _ => format!("{user} has a password"),
                };
                let remedy = "lock it (passwd -l), or write seal.keep-passwords = true";
                findings.push(Finding::new(path, found, remedy));
            }
        }
    }
    Ok(findings)
}

fn keys(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pattern in
        ["/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*", "/etc/ssh/authorized_keys*"]
    {
        for path in subject.view.matches(pattern)? {
            let content = subject.view.root().read(&path, super::view::LIMIT)?;
            let empty = content.is_some_and(|content| content.trim_ascii().is_empty());
            if !empty && !subject.is_asked_for(&path) {
                let remedy = "write or copy it in a step by this name if it is meant to be there";
                findings.push(Finding::new(path.display().to_string(), "it exists", remedy));
            }
        }
    }
    Ok(findings)
}

fn histories(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in ["/root", "/home/*"] {
        for name in [".*_history", ".lesshst", ".viminfo", ".wget-hsts", ".netrc"] {
            for path in subject.view.matches(&format!("{folder}/{name}"))? {
                if !subject.is_asked_for(Path::new(&path)) {
                    findings.push(Finding::new(path.display().to_string(), "it exists", "remove it"));
                }
            }
        }
    }
    Ok(findings)
}
