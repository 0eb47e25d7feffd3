//! Rules of cloning: nothing in the image belongs to one machine, least of all to the one that built it.

use std::path::Path;

use image_core::fs::FileKind;

use super::{Finding, Rule, Subject};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "machine-id", requirement: "/etc/machine-id exists and is empty", check: machine_id },
    Rule { name: "dbus-id", requirement: "D-Bus has no machine id of its own", check: dbus_id },
    Rule { name: "host-keys", requirement: "there are no SSH host keys", check: host_keys },
    Rule { name: "random-seed", requirement: "there is no random seed", check: random_seed },
    Rule {
        name: "build-host",
        requirement: "the build machine's name is nowhere in /etc",
        check: build_host,
    },
    Rule { name: "resolv-conf", requirement: "no name server is set", check: resolvers },
    Rule {
        name: "network-state",
        requirement: "there are no leases and no names bound to a network card",
        check: network,
    },
    Rule { name: "cloud-init-state", requirement: "cloud-init has never run", check: cloud_init },
    Rule {
        name: "apt-leftovers",
        requirement: "there are no package lists and no downloaded packages",
        check: apt,
    },
    Rule { name: "logs", requirement: "logs are empty", check: logs },
    Rule { name: "temporary-files", requirement: "there are no temporary files", check: temporary },
];

/// A name that is too common to be a trace.
const COMMON_NAMES: [&str; 4] = ["localhost", "debian", "ubuntu", "host"];

/// Whatever `patterns` find and the recipe does not keep.
fn present(subject: &Subject<'_>, patterns: &[&str], remedy: &str) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pattern in patterns {
        for path in subject.view.matches(pattern)? {
            if !subject.is_kept(&path) {
                findings.push(Finding::new(path.display().to_string(), "it exists", remedy));
            }
        }
    }
    Ok(findings)
}

/// Every file beneath `folders` that the recipe does not keep and `is_trace` takes for one.
fn beneath(
    subject: &Subject<'_>,
    folders: &[&str],
    remedy: &str,
    is_trace: impl Fn(&Path, FileKind) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in folders {
        for (path, kind) in subject.view.walk(folder.as_ref())? {
            if !subject.is_kept(&path) && is_trace(&path, kind)? {
                findings.push(Finding::new(path.display().to_string(), "it is there, and not empty", remedy));
            }
        }
    }
    Ok(findings)
}

fn size(subject: &Subject<'_>, path: &Path) -> anyhow::Result<u64> {
    Ok(subject.view.root().link_metadata(path)?.map_or(0, |metadata| metadata.size))
}

fn machine_id(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let path = "/etc/machine-id";
    if subject.is_kept(path.as_ref()) {
        return Ok(Vec::new());
    }
    let found = match subject.view.root().link_metadata(path.as_ref())? {
        Some(metadata) if metadata.kind == FileKind::File && metadata.size == 0 => return Ok(Vec::new()),
        Some(metadata) if metadata.kind == FileKind::File => format!("it has {} bytes", metadata.size),
        Some(_) => "it is no regular file".into(),
        None => "it is missing, which stops the first boot of some systems".into(),
    };
    Ok(vec![Finding::new(path, found, "no step may write it")])
}

fn dbus_id(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let path = "/var/lib/dbus/machine-id";
    let metadata = subject.view.root().link_metadata(path.as_ref())?;
    let own = metadata.is_some_and(|metadata| metadata.kind != FileKind::Link && metadata.size > 0);
    if !own || subject.is_kept(path.as_ref()) {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(path, "it is a file of its own", "make it a link to /etc/machine-id, or remove it")])
}

fn host_keys(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    present(subject, &["/etc/ssh/ssh_host_*"], "remove it: the first boot makes new ones")
}

fn random_seed(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let patterns = [
        "/var/lib/systemd/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/urandom/random-seed",
        "/boot/efi/loader/random-seed",
    ];
    present(subject, &patterns, "remove it: all clones would begin with the same one")
}

fn build_host(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let name = subject.build_host;
    // A short name is a word like any other.
    if name.len() < 4 || COMMON_NAMES.contains(&name) {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for (path, kind) in subject.view.walk("/etc".as_ref())? {
        if kind != FileKind::File || subject.is_asked_for(&path) || size(subject, &path)? > super::view::LIMIT
        {
            continue;
        }
        let content = subject.view.root().read(&path, super::view::LIMIT)?.unwrap_or_default();
        if contains_word(&content, name.as_bytes()) {
            let found = format!("it names {name}, the machine that built the image");
            findings.push(Finding::new(
                path.display().to_string(),
                found,
                "write a name that fits every clone",
            ));
        }
    }
    Ok(findings)
}

/// Whether `word` is in `content` without a letter, digit or hyphen around it.
fn contains_word(content: &[u8], word: &[u8]) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    content.windows(word.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| content.get(at));
        window.eq_ignore_ascii_case(word) && !part(before) && !part(content.get(at + word.len()))
    })
}

fn resolvers(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let path = Path::new("/etc/resolv.conf");
    let is_file =
        subject.view.root().link_metadata(path)?.is_some_and(|metadata| metadata.kind == FileKind::File);
    if !is_file || subject.is_asked_for(path) {
        return Ok(Vec::new());
    }
    let text = subject.view.text("/etc/resolv.conf")?.unwrap_or_default();
    let set =
        text.lines().map(str::trim).find(|line| line.starts_with("nameserver") || line.starts_with("search"));
    let finding =
        set.map(|line| Finding::new("/etc/resolv.conf", line, "names are resolved as the network says"));
    Ok(finding.into_iter().collect())
}

fn network(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let patterns = [
        "/etc/udev/rules.d/70-persistent-*",
        "/etc/netplan/50-cloud-init.yaml",
        "/etc/network/interfaces.d/50-cloud-init*",
        "/var/lib/dhcp/*.leases",
        "/var/lib/dhclient/*.lease*",
        "/var/lib/NetworkManager/*.lease",
        "/var/lib/NetworkManager/secret_key",
    ];
    present(subject, &patterns, "remove it: it belongs to one machine")
}

fn cloud_init(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let folders = ["/var/lib/cloud/instances", "/var/lib/cloud/data", "/var/lib/cloud/sem"];
    let mut findings = beneath(subject, &folders, "no step may run cloud-init", |_, _| Ok(true))?;
    findings.extend(present(subject, &["/var/lib/cloud/instance"], "no step may run cloud-init")?);
    Ok(findings)
}

fn apt(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let folders = ["/var/lib/apt/lists", "/var/cache/apt"];
    beneath(subject, &folders, "remove it: it is old before the image is used", |path, _| {
        Ok(path.file_name().is_some_and(|name| name != "lock") && size(subject, path)? > 0)
    })
}

fn logs(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    beneath(subject, &["/var/log"], "empty or remove it", |path, kind| {
        Ok(kind == FileKind::File && size(subject, path)? > 0)
    })
}

fn temporary(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    beneath(subject, &["/tmp", "/var/tmp"], "remove it at the end of the step", |_, _| Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_only() {
        assert!(contains_word(b"127.0.1.1 Build01.example build01\n", b"build01"));
        assert!(contains_word(b"build01", b"build01"));
        assert!(!contains_word(b"rebuild01 build011 build01-a", b"build01"));
        assert!(!contains_word(b"", b"build01"));
    }
}
