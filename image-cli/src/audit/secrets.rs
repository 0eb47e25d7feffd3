//! Rules of secrets: what must be known to nobody is not in an image, where all who have it can read it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image_core::fs::FileKind;

use super::Subject;
use super::rule::{Finding, Judgement, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "private-keys",
        "there are no private keys",
        "a key in an image is one for all who have it",
        private_keys,
    ),
    Rule::must(
        "credentials",
        "there are no files that programs keep credentials in",
        "a credential in an image is one for all who have it",
        credentials,
    ),
    Rule::must(
        "tokens",
        "no configuration has a token or a password in an address",
        "as for credentials",
        tokens,
    ),
    Rule::should("build-proxy", "no package manager goes through a proxy of the build", "cloning", proxy),
];

const SEAL: &str = "goldimg seal removes it; --keep PATH if it is meant to be there";
const REMOVE: &str = "remove it, and make it invalid; --keep PATH if it is meant to be there";
const EDIT: &str = "remove it, and make it invalid where it was issued";
/// Texts of this size are looked into: keys and configurations are small.
const TEXT_LIMIT: u64 = 256 << 10;
/// Where people and programs keep their own.
const FOLDERS: [&str; 4] = ["/etc", "/root", "/home", "/srv"];
/// Folders of public keys and of documentation, with thousands of files.
const PUBLIC: [&str; 4] =
    ["/etc/ssl/certs", "/etc/alternatives", "/etc/ca-certificates", "/etc/pki/ca-trust"];

/// Files of credentials in a home.
pub(crate) const HOME_FILES: &[&str] = &[
    ".netrc",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".pypirc",
    ".vault-token",
    ".aws/credentials",
    ".azure/accessTokens.json",
    ".config/gcloud/credentials.db",
    ".config/gcloud/application_default_credentials.json",
    ".config/gh/hosts.yml",
    ".config/openstack/clouds.yaml",
    ".config/openstack/secure.yaml",
    ".config/rclone/rclone.conf",
    ".docker/config.json",
    ".config/containers/auth.json",
    ".kube/config",
    ".cargo/credentials.toml",
    ".ansible/vault_pass",
];

/// Files of credentials elsewhere.
const FILES: &[&str] = &[
    // apt_auth.conf(5)
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d/*",
    "/etc/openstack/clouds.yaml",
    "/etc/openstack/secure.yaml",
    "/etc/pki/consumer/key.pem",
    "/etc/pki/entitlement/*-key.pem",
    "/etc/sysconfig/rhn/systemid",
    "/etc/ubuntu-advantage/uaclient.token",
    "/var/lib/ubuntu-advantage/private/machine-token.json",
    "/etc/krb5.keytab",
    "/etc/samba/secrets.tdb",
];

fn private_keys(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let is_key = |text: &str| {
        let mut lines = text.lines().map(str::trim_end);
        lines
            .any(|line| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----"))
            .then(|| "a private key".to_owned())
    };
    // Host keys have a rule of their own.
    let mut findings = look(subject, REMOVE, is_key)?;
    findings.retain(|finding| !finding.place.starts_with("/etc/ssh/ssh_host_"));
    Ok(Judgement::of(findings, "none"))
}

fn credentials(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let mut paths = Vec::new();
    for home in homes(subject)? {
        paths.extend(HOME_FILES.iter().map(|file| (home.join(file), SEAL)));
    }
    for pattern in FILES {
        paths.extend(subject.view.matches(pattern)?.into_iter().map(|path| (path, REMOVE)));
    }
    let mut findings = Vec::new();
    for (path, fix) in paths {
        if !subject.is_asked_for(&path) && subject.view.exists(&path)? {
            findings.push(Finding::new(path.display().to_string(), "it exists", fix));
        }
    }
    Ok(Judgement::of(findings, "none"))
}

/// The homes of all accounts, and what lies where homes lie.
pub(super) fn homes(subject: &Subject<'_>) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut homes: BTreeSet<PathBuf> = subject.view.matches("/home/*")?.into_iter().collect();
    homes.insert("/root".into());
    let accounts = super::access::accounts(subject)?;
    homes.extend(
        accounts.into_iter().map(|account| PathBuf::from(account.home)).filter(|home| home.is_absolute()),
    );
    Ok(homes)
}

fn tokens(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let findings = look(subject, EDIT, |text| {
        let secret =
            text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])).find_map(secret)?;
        Some(secret.to_owned())
    })?;
    Ok(Judgement::of(findings, "none"))
}

/// What kind of secret a line has. Not the secret itself: reports are shown to others.
fn secret(line: &str) -> Option<&'static str> {
    // By the issuers' documentation: how their tokens begin, and how many characters follow at least.
    const TOKENS: &[(&str, usize, &str)] = &[
        ("ghp_", 36, "a token of GitHub"),
        ("gho_", 36, "a token of GitHub"),
        ("ghs_", 36, "a token of GitHub"),
        ("github_pat_", 40, "a token of GitHub"),
        ("glpat-", 20, "a token of GitLab"),
        ("AKIA", 16, "an access key of AWS"),
        ("xoxb-", 24, "a token of Slack"),
        ("xoxp-", 24, "a token of Slack"),
        ("hvs.", 24, "a token of Vault"),
        ("dop_v1_", 40, "a token of DigitalOcean"),
        ("npm_", 36, "a token of npm"),
        ("pypi-AgEI", 40, "a token of PyPI"),
    ];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    for (start, length, what) in TOKENS {
        for (at, _) in line.match_indices(start) {
            let (before, rest) = line.split_at(at);
            let rest = rest.strip_prefix(start).unwrap_or_default();
            let alone = !before.ends_with(word);
            if alone && rest.chars().take_while(|c| word(*c)).count() >= *length {
                return Some(what);
            }
        }
    }
    has_password_in_address(line).then_some("a password in an address")
}

/// Whether a line has `scheme://user:password@host`.
fn has_password_in_address(line: &str) -> bool {
    line.match_indices("://").any(|(at, mark)| {
        let rest = line.split_at(at).1.strip_prefix(mark).unwrap_or_default();
        let authority = rest.split(|c: char| c == '/' || c.is_whitespace() || "\"'<>".contains(c)).next();
        let Some((login, host)) = authority.and_then(|authority| authority.rsplit_once('@')) else {
            return false;
        };
        let password = login.split_once(':').map_or("", |(_, password)| password);
        // What stands for a password is none.
        let stands = password.starts_with(['$', '%', '{', '*']) || password.eq_ignore_ascii_case("password");
        !host.is_empty() && !password.is_empty() && !stands
    })
}

/// Every small text in the folders of configuration and homes in which `found` finds something.
fn look(
    subject: &Subject<'_>,
    fix: &str,
    found: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in FOLDERS {
        for (path, kind) in subject.view.walk(folder)? {
            let public = PUBLIC.iter().any(|public| path.starts_with(public));
            if kind != FileKind::File || public || subject.is_asked_for(&path) {
                continue;
            }
            let Some(text) = small_text(subject, &path)? else { continue };
            if let Some(what) = found(&text) {
                findings.push(Finding::new(path.display().to_string(), what, fix));
            }
        }
    }
    Ok(findings)
}

fn small_text(subject: &Subject<'_>, path: &Path) -> anyhow::Result<Option<String>> {
    let metadata = subject.view.root().link_metadata(path)?;
    if metadata.is_none_or(|metadata| metadata.size > TEXT_LIMIT) {
        return Ok(None);
    }
    let bytes = subject.view.root().read(path, TEXT_LIMIT)?.unwrap_or_default();
    Ok(String::from_utf8(bytes).ok())
}

fn proxy(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_looks_like_them() {
        let token = format!("token = \"ghp_{}\"", "a".repeat(36));
        assert_eq!(secret(&token), Some("a token of GitHub"));
        assert_eq!(secret(&format!("xghp_{}", "a".repeat(36))), None);
        assert_eq!(secret("ghp_short"), None);
        assert_eq!(
            secret("deb https://ann:secret@example.com/debian x main"),
            Some("a password in an address")
        );
        for harmless in [
            "deb https://example.com/debian x main",
            "https://user@example.com/",
            "http://user:$PASSWORD@example.com",
            "see https://example.com/a:b@c",
            "mail://a:@example.com",
        ] {
            assert_eq!(secret(harmless), None, "{harmless}");
        }
    }
}
