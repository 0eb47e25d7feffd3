//! Who gets in by SSH: passwords, keys, and whoever else sshd is told to believe.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::cloud_init::Settings;
use super::super::rule::{Finding, Judgement};
use super::super::sshd::{Line, Sshd};
use super::super::subject::Subject;
use super::super::view::LIMIT;
use super::accounts::{Account, accounts};

const FILE: &str = "/etc/ssh/sshd_config";
/// Where keys are if sshd is not told.
const USUAL_KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// Beneath these, sealing removes keys.
const SEALED: [&str; 2] = ["/root/.ssh", "/home"];

/// Whether all that get in have shown a key besides whatever else (sshd_config(5), AuthenticationMethods).
fn asks_for_keys(sshd: &Sshd) -> bool {
    let by_key = |list: &String| list.split(',').any(|method| method.starts_with("publickey"));
    let all = |line: &Line| !line.arguments.is_empty() && line.arguments.iter().all(by_key);
    sshd.first("AuthenticationMethods").is_some() && sshd.effective("AuthenticationMethods").all(all)
}

pub(super) fn passwords(subject: &Subject<'_>) -> crate::Result<Judgement> {
    const FIX: &str = "write PasswordAuthentication no into /etc/ssh/sshd_config.d/01-keys.conf, or ssh_pwauth: false for cloud-init";
    let Some(sshd) = Sshd::read(subject.view)? else { return Ok(Judgement::kept("there is no sshd")) };
    let mut findings = Vec::new();
    let on = |line: &&Line| line.value() != "no";
    for line in sshd.effective("PermitEmptyPasswords").filter(on) {
        findings.push(finding(line, "PermitEmptyPasswords", "remove the line"));
    }
    if asks_for_keys(&sshd) {
        return Ok(Judgement::of(findings, "AuthenticationMethods: publickey"));
    }
    findings.extend(by_pam(&sshd));
    for line in sshd.effective("PasswordAuthentication").filter(on).filter(|line| line.condition.is_some()) {
        findings.push(finding(line, "PasswordAuthentication", FIX));
    }
    let by_cloud_init = match subject.view.exists("/usr/bin/cloud-init")? {
        true => Settings::read(subject.view)?.password_logins(),
        false => None,
    };
    // At the first boot cloud-init writes what it is told over what sshd is told.
    match (by_cloud_init, sshd.first("PasswordAuthentication")) {
        (Some(false), _) => return Ok(Judgement::of(findings, "cloud-init: ssh_pwauth: false")),
        (Some(true), _) => findings.push(Finding::new("/etc/cloud", "ssh_pwauth: true", FIX)),
        (None, Some(line)) if line.value() == "no" => {
            return Ok(Judgement::of(findings, line.place.display().to_string()));
        }
        (None, Some(line)) => findings.push(finding(line, "PasswordAuthentication", FIX)),
        (None, None) => {
            findings.push(Finding::new(FILE, "PasswordAuthentication is not set, which means yes", FIX))
        }
    }
    Ok(Judgement::Broken(findings))
}

/// PAM asks for passwords where questions may be asked: on, unless turned off, and of use with PAM alone.
fn by_pam(sshd: &Sshd) -> Vec<Finding> {
    const FIX: &str = "write KbdInteractiveAuthentication no into /etc/ssh/sshd_config.d/01-keys.conf";
    const KEYWORD: &str = "KbdInteractiveAuthentication";
    if sshd.first("UsePAM").is_none_or(|line| line.value() != "yes") {
        return Vec::new();
    }
    let lines = sshd.effective(KEYWORD).filter(|line| line.value() != "no");
    let mut findings: Vec<Finding> = lines.map(|line| finding(line, KEYWORD, FIX)).collect();
    if sshd.first(KEYWORD).is_none() {
        let found = format!("{KEYWORD} is not set, which means yes, and PAM asks for passwords");
        findings.push(Finding::new(FILE, found, FIX));
    }
    findings
}

pub(super) fn root(subject: &Subject<'_>) -> crate::Result<Judgement> {
    const FIX: &str = "PermitRootLogin prohibit-password, or no";
    let Some(sshd) = Sshd::read(subject.view)? else { return Ok(Judgement::kept("there is no sshd")) };
    let lines = sshd.effective("PermitRootLogin").filter(|line| line.value() == "yes");
    let findings = lines.map(|line| finding(line, "PermitRootLogin", FIX)).collect();
    Ok(Judgement::of(findings, "not with a password"))
}

pub(super) fn keys(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let sshd = Sshd::read(subject.view)?.unwrap_or_default();
    let accounts = accounts(subject)?;
    let mut paths: BTreeSet<PathBuf> = BTreeSet::new();
    let told: Vec<&String> = sshd.effective("AuthorizedKeysFile").flat_map(|line| &line.arguments).collect();
    let usual = USUAL_KEYS.map(String::from);
    // What is usual is looked at all the same: cloud-init and people write there.
    for word in told.into_iter().chain(&usual).filter(|word| word.as_str() != "none") {
        paths.extend(accounts.iter().map(|account| expanded(word, account)));
    }
    for pattern in [
        "/root/.ssh/authorized_keys*",
        "/home/*/.ssh/authorized_keys*",
        "/etc/ssh/authorized_keys*",
        "/etc/ssh/authorized_keys/*",
        "/etc/dropbear/authorized_keys",
        "/etc/dropbear/initramfs/authorized_keys",
        "/etc/dropbear-initramfs/authorized_keys",
    ] {
        paths.extend(subject.view.matches(pattern)?);
    }
    let mut findings = Vec::new();
    for path in paths {
        let is_file = subject.view.root().metadata(&path)?;
        if is_file.is_none_or(|metadata| metadata.kind != image_core::fs::FileKind::File) {
            continue;
        }
        let content = subject.view.root().read(&path, LIMIT)?.unwrap_or_default();
        let says = |line: &[u8]| !line.trim_ascii().is_empty() && !line.trim_ascii_start().starts_with(b"#");
        if content.split(|byte| *byte == b'\n').any(says) && !subject.is_asked_for(&path) {
            let fix = match SEALED.iter().any(|folder| path.starts_with(folder)) {
                true => "goldimg seal; in a recipe, write or copy it in a step if it is meant to be there",
                false => "remove it; in a recipe, write or copy it in a step if it is meant to be there",
            };
            findings.push(Finding::new(path.display().to_string(), "it has a key", fix));
        }
    }
    Ok(Judgement::from(findings))
}

/// What `word` of `AuthorizedKeysFile` means for an account (sshd_config(5), TOKENS).
fn expanded(word: &str, account: &Account) -> PathBuf {
    let mut path = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('%') {
        path.push_str(before);
        let mut behind = after.chars();
        match behind.next() {
            Some('h') => path.push_str(&account.home),
            Some('u') => path.push_str(&account.name),
            Some('U') => path.push_str(&account.uid.to_string()),
            Some(other) => path.push(other),
            None => {}
        }
        rest = behind.as_str();
    }
    path.push_str(rest);
    Path::new(&account.home).join(path)
}

/// Who else sshd believes: a program, those whom an authority has signed, other machines.
pub(super) fn trust(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    let sshd = Sshd::read(subject.view)?.unwrap_or_default();
    for (keyword, off, why) in [
        ("AuthorizedKeysCommand", "none", "a program says whose keys count"),
        ("TrustedUserCAKeys", "none", "who has a certificate of this authority gets in"),
        ("AuthorizedPrincipalsCommand", "none", "a program says whose certificates count"),
        ("HostbasedAuthentication", "no", "other machines say who their users are"),
    ] {
        for line in sshd.effective(keyword).filter(|line| ![off, ""].contains(&line.value().as_str())) {
            if !subject.is_asked_for(&line.place) {
                findings.push(finding(line, keyword, why));
            }
        }
    }
    let mut files = vec![PathBuf::from("/etc/hosts.equiv"), "/etc/ssh/shosts.equiv".into()];
    for account in accounts(subject)? {
        files.extend([".rhosts", ".shosts"].map(|name| Path::new(&account.home).join(name)));
    }
    files.sort();
    files.dedup();
    for path in files {
        if subject.view.exists(&path)? && !subject.is_asked_for(&path) {
            let found = "it says which other machines are believed";
            findings.push(Finding::new(path.display().to_string(), found, "remove it"));
        }
    }
    Ok(Judgement::of(findings, "nobody"))
}

fn finding(line: &Line, keyword: &str, fix: &str) -> Finding {
    Finding::new(line.place.display().to_string(), line.told(keyword), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_key_files_are_those_of_the_account() {
        let account = Account { name: "ann".into(), uid: 1000, home: "/srv/ann".into() };
        for (word, path) in [
            (".ssh/authorized_keys", "/srv/ann/.ssh/authorized_keys"),
            ("%h/keys", "/srv/ann/keys"),
            ("/etc/ssh/keys/%u", "/etc/ssh/keys/ann"),
            ("/k/%U%%", "/k/1000%"),
            ("/k/%", "/k/"),
        ] {
            assert_eq!(expanded(word, &account), Path::new(path), "{word}");
        }
    }
}
