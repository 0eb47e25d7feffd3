//! Who may change, or read, what decides about access: owners and permission bits.

use std::path::Path;

use image_core::fs::{FileKind, Metadata};

use super::super::rule::{Finding, Judgement};
use super::super::subject::Subject;
use super::accounts::accounts;

/// Group and others may write.
const WRITE: u32 = 0o022;
/// Others may read, or group and others write.
const READ: u32 = 0o026;

/// What belongs to root, and the bits that nobody else may have. sshd refuses keys beneath folders that others may write to
/// (sshd(8), AUTHORIZED_KEYS), and nothing starts where `/` cannot be entered.
const FILES: [(&str, u32); 20] = [
    ("/", WRITE),
    ("/bin", WRITE),
    ("/boot", WRITE),
    ("/etc", WRITE),
    ("/etc/cloud", WRITE),
    ("/etc/gshadow", READ),
    ("/etc/group", WRITE),
    ("/etc/pam.d", WRITE),
    ("/etc/passwd", WRITE),
    ("/etc/shadow", READ),
    ("/etc/ssh", WRITE),
    ("/etc/ssh/sshd_config", WRITE),
    ("/etc/sudoers", WRITE),
    ("/etc/sudoers.d", WRITE),
    ("/etc/sudoers.d/*", WRITE),
    ("/etc/systemd", WRITE),
    ("/home", WRITE),
    ("/root", WRITE),
    ("/usr", WRITE),
    ("/var", WRITE),
];
/// Folders in which everybody makes files, and nobody removes another's.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// Folders that everybody enters: without that no service starts as a user of its own.
const ENTERED: [&str; 5] = ["/", "/etc", "/usr", "/var", "/home"];

pub(super) fn modes(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    for (pattern, forbidden) in FILES {
        for path in subject.view.matches(pattern)? {
            let Some(found) = subject.view.root().metadata(&path)? else { continue };
            if found.uid != 0 {
                let fix = format!("chown root {}", path.display());
                findings.push(told(&path, format!("it belongs to the user {}", found.uid), fix));
            }
            if found.mode & forbidden != 0 {
                let fix = format!("chmod {:04o}", found.mode & 0o7777 & !forbidden);
                findings.push(told(&path, format!("its mode is {:04o}", found.mode & 0o7777), fix));
            }
        }
    }
    for path in ENTERED.map(Path::new) {
        if let Some(found) = subject.view.root().metadata(path)?
            && found.mode & 0o001 == 0
        {
            let found = format!("its mode is {:04o}: nobody but root enters it", found.mode & 0o7777);
            findings.push(told(path, found, "chmod 0755".into()));
        }
    }
    for path in SHARED.map(Path::new) {
        if let Some(found) = subject.view.root().metadata(path)?
            && found.mode & 0o7777 != 0o1777
        {
            let found = format!("its mode is {:04o}", found.mode & 0o7777);
            findings.push(told(path, found, "chmod 1777".into()));
        }
    }
    for account in accounts(subject)? {
        let folder = Path::new(&account.home).join(".ssh");
        for path in [folder.clone(), folder.join("authorized_keys")] {
            if let Some(found) = subject.view.root().metadata(&path)? {
                findings.extend(of_keys(&path, found, account.uid));
            }
        }
    }
    Ok(Judgement::from(findings))
}

/// What is wrong with a folder or file of keys of the account `uid`.
fn of_keys(path: &Path, found: Metadata, uid: u32) -> Option<Finding> {
    let mode = found.mode & 0o7777;
    let fit = if found.kind == FileKind::Directory { "0700" } else { "0600" };
    if ![0, uid].contains(&found.uid) {
        let fix = format!("chown {uid} {}", path.display());
        return Some(told(path, format!("it belongs to the user {}", found.uid), fix));
    }
    (mode & WRITE != 0).then(|| told(path, format!("its mode is {mode:04o}"), format!("chmod {fit}")))
}

fn told(path: &Path, found: String, fix: String) -> Finding {
    Finding::new(path.display().to_string(), found, fix)
}
