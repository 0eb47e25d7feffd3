//! Rules of cloning: nothing in the image belongs to one machine, least of all to the one that built it.

use std::collections::BTreeSet;
use std::path::Path;

use image_core::fs::FileKind;

use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;
use super::view::LIMIT;
use crate::links::{Last, resolve};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "machine-id",
        "/etc/machine-id exists and is empty",
        "machine-id(5), First Boot Semantics",
        machine_id,
    )
    .reads(&[&["/etc/machine-id"]]),
    Rule::must("dbus-id", "D-Bus has no machine id of its own", "dbus-uuidgen(1)", dbus_id)
        .reads(&[&["/var/lib/dbus/machine-id"]]),
    Rule::must(
        "host-keys",
        "there are no SSH host keys",
        "OpenStack image guide, clean up: virt-sysprep",
        host_keys,
    )
    .reads(&[&["/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*"]]),
    Rule::must("random-seed", "there is no random seed", "systemd, Safely Building Images", random_seed)
        .reads(&[&[
            "/var/lib/systemd/random-seed",
            "/var/lib/systemd/credential.secret",
            "/var/lib/urandom/random-seed",
            "/var/lib/random-seed",
            "/boot/efi/loader/random-seed",
            "/boot/loader/random-seed",
            "/efi/loader/random-seed",
        ]]),
    Rule::must("build-host", "the build machine's name is nowhere in /etc", "cloning", build_host)
        .reads(&[&["/etc/"]]),
    Rule::should(
        "hostname",
        "no host name is set but a common one",
        "OpenStack image guide, host name",
        hostname,
    )
    .reads(&[&["/etc/hostname", "/etc/os-release"]]),
    Rule::must("resolv-conf", "no name server is set", "cloning", resolvers).reads(&[&["/etc/resolv.conf"]]),
    Rule::must(
        "network-state",
        "there are no leases and no names bound to a network card",
        "OpenStack image guide, no hard-coded MAC address",
        network,
    )
    .reads(&[&[
        "/etc/netplan/50-cloud-init.yaml",
        "/etc/network/interfaces.d/50-cloud-init*",
        "/etc/NetworkManager/system-connections/cloud-init-*",
        "/etc/systemd/network/10-cloud-init-*",
        "/var/lib/NetworkManager/*",
        "/var/lib/dh*/*",
        "/var/lib/dibbler/*",
        "/var/lib/wicked/*",
        "/var/lib/systemd/network/*",
        "/var/db/dhcpcd/*",
        "/etc/dhcpcd.*",
        "/etc/udev/rules.d/70-persistent-*",
        "/lib/udev/rules.d/75-persistent-*",
    ]]),
    Rule::must("cloud-init-state", "cloud-init has never run", "cloud-init clean", cloud_init).reads(&[&[
        "/var/lib/cloud/instance",
        "/var/lib/cloud/instances/",
        "/var/lib/cloud/data/",
        "/var/lib/cloud/sem/",
    ]]),
    Rule::must(
        "package-leftovers",
        "there are no package lists and no downloaded packages",
        "OpenStack image guide, clean up",
        packages,
    )
    .reads(&[&[
        "/var/lib/apt/lists/",
        "/var/cache/apt/",
        "/var/cache/dnf/",
        "/var/cache/libdnf5/",
        "/var/cache/yum/",
        "/var/cache/zypp/",
        "/var/cache/pacman/pkg/",
        "/var/cache/apk/",
    ]]),
    Rule::must("logs", "logs are empty", "OpenStack image guide, clean up: virt-sysprep", logs)
        .reads(&[&["/var/log/"]]),
    Rule::must(
        "crash-dumps",
        "there are no core dumps and no crash reports, which have what was in memory",
        "systemd-coredump(8); virt-sysprep: crash-data, abrt-data",
        crashes,
    )
    .reads(&[CRASHES]),
    Rule::must("mail", "there is no mail", "virt-sysprep: mail-spool", mail).reads(&[MAIL]),
    Rule::must(
        "temporary-files",
        "there are no temporary files",
        "OpenStack image guide, clean up",
        temporary,
    )
    .reads(&[&["/tmp/", "/var/tmp/"]]),
];

/// A name that is too common to be a trace.
const COMMON_NAMES: [&str; 4] = ["localhost", "debian", "ubuntu", "host"];

const REMOVE: &str = "goldimg seal removes it";
const EMPTY: &str = "goldimg seal empties or removes it";
const LINKED: &str = "remove it: the folder is a link, behind which sealing empties nothing";
/// What cloud-init knows of a server.
const CLOUD: &str = "/var/lib/cloud";

/// Where the memory of programs that crashed is kept, and reports of it.
pub(crate) const CRASHES: &[&str] = &[
    "/var/lib/systemd/coredump/",
    "/var/crash/",
    "/var/lib/apport/coredump/",
    "/var/spool/abrt/",
    "/var/spool/abrt-upload/",
];

/// Where mail is, and where it waits: of all, of Exim, Postfix and Sendmail.
pub(crate) const MAIL: &[&str] = &[
    "/var/mail/",
    "/var/spool/mail/",
    "/var/spool/exim4/input/",
    "/var/spool/exim4/msglog/",
    "/var/spool/exim/input/",
    "/var/spool/exim/msglog/",
    "/var/spool/postfix/active/",
    "/var/spool/postfix/deferred/",
    "/var/spool/postfix/hold/",
    "/var/spool/postfix/incoming/",
    "/var/spool/postfix/maildrop/",
    "/var/spool/mqueue/",
    "/var/spool/clientmqueue/",
];

/// What cloud-init wrote for the network of one server.
pub(crate) const NETWORKS_OF_CLOUD_INIT: &[&str] = &[
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/network/interfaces.d/50-cloud-init*",
    "/etc/NetworkManager/system-connections/cloud-init-*",
    "/etc/systemd/network/10-cloud-init-*",
];

/// What DHCP clients remember: leases, and the name (DUID, RFC 8415, section 11) and secrets of one server. Each makes its
/// own anew.
pub(crate) const NETWORK_STATE: &[&str] = &[
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/timestamps",
    "/var/lib/NetworkManager/seen-bssids",
    "/var/lib/dhcp/*.leases",
    "/var/lib/dhclient/*.lease*",
    "/var/lib/dhcpcd/*.lease*",
    "/var/lib/dhcpcd/duid",
    "/var/lib/dhcpcd/secret",
    "/var/lib/dhcpcd5/*.lease*",
    "/var/lib/dhcpcd5/duid",
    "/etc/dhcpcd.duid",
    "/etc/dhcpcd.secret",
    "/var/db/dhcpcd/duid",
    "/var/lib/dhcpv6/dhcp6c_duid",
    "/var/lib/dibbler/client-duid",
    "/var/lib/wicked/duid.xml",
    "/var/lib/wicked/iaid.xml",
    "/var/lib/wicked/lease-*.xml",
    "/var/lib/systemd/network/*",
];

/// Whatever `patterns` find and nobody keeps.
fn present(subject: &Subject<'_>, patterns: &[&str]) -> crate::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pattern in patterns {
        for path in subject.view.matches(pattern)? {
            if !subject.is_kept(&path) {
                findings.push(Finding::new(path.display().to_string(), "it exists", REMOVE));
            }
        }
    }
    Ok(findings)
}

/// Every file beneath `folders` that nobody keeps and `is_trace` takes for one; of folders that are links to each other, once.
fn beneath(
    subject: &Subject<'_>,
    folders: &[&str],
    is_trace: impl Fn(&Path, FileKind) -> crate::Result<bool>,
) -> crate::Result<Vec<Finding>> {
    let files = subject.view.root();
    let mut ways = BTreeSet::new();
    let mut findings = Vec::new();
    let mut ordered = Vec::new();
    for folder in folders.iter().map(|folder| folder.trim_end_matches('/')) {
        // What sealing empties.
        let sealed = if folder.starts_with(CLOUD) { CLOUD } else { folder };
        let metadata = files.link_metadata(sealed.as_ref())?;
        ordered.push((metadata.is_some_and(|metadata| metadata.kind == FileKind::Link), folder));
    }
    // A folder before links to it.
    ordered.sort_by_key(|(is_link, _)| *is_link);
    for (is_link, folder) in ordered {
        if !ways.insert(resolve(folder.as_ref(), Last::Follow, |path| files.read_link(path))?) {
            continue;
        }
        let fix = if is_link { LINKED } else { EMPTY };
        for (path, kind) in subject.view.walk(folder)? {
            if !subject.is_kept(&path) && is_trace(&path, kind)? {
                findings.push(Finding::new(path.display().to_string(), "it is there, and not empty", fix));
            }
        }
    }
    Ok(findings)
}

fn size(subject: &Subject<'_>, path: &Path) -> crate::Result<u64> {
    Ok(subject.view.root().link_metadata(path)?.map_or(0, |metadata| metadata.size))
}

/// Every file beneath `folders` that nobody keeps and that has anything in it.
fn filled(subject: &Subject<'_>, folders: &[&str]) -> crate::Result<Vec<Finding>> {
    beneath(subject, folders, |path, kind| Ok(kind == FileKind::File && size(subject, path)? > 0))
}

fn machine_id(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = "/etc/machine-id";
    if subject.is_kept(path.as_ref()) {
        return Ok(Judgement::kept("it is meant to stay"));
    }
    let found = match subject.view.root().link_metadata(path.as_ref())? {
        Some(metadata) if metadata.kind == FileKind::File && metadata.size == 0 => {
            return Ok(Judgement::kept("it is empty"));
        }
        Some(metadata) if metadata.kind == FileKind::File => {
            if subject.view.text(path)?.is_some_and(|text| text.trim_end() == "uninitialized") {
                return Ok(Judgement::kept(
                    "it is \"uninitialized\": the first boot may ask for what is unset",
                ));
            }
            format!("it has {} bytes", metadata.size)
        }
        Some(_) => "it is no regular file".into(),
        None => "it is missing, which stops the first boot of some systems".into(),
    };
    Ok(Judgement::broken(path, found, "goldimg seal empties it; no step of a recipe may write it"))
}

fn dbus_id(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = "/var/lib/dbus/machine-id";
    let metadata = subject.view.root().link_metadata(path.as_ref())?;
    let own = metadata.is_some_and(|metadata| metadata.kind != FileKind::Link && metadata.size > 0);
    if !own || subject.is_kept(path.as_ref()) {
        return Ok(Judgement::kept("none"));
    }
    Ok(Judgement::broken(path, "it is a file of its own", "goldimg seal makes it a link to /etc/machine-id"))
}

fn host_keys(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let patterns = ["/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*_host_key"];
    Ok(Judgement::of(present(subject, &patterns)?, "none: the first boot makes them"))
}

fn random_seed(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let patterns = [
        "/var/lib/systemd/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/urandom/random-seed",
        "/var/lib/random-seed",
        "/boot/efi/loader/random-seed",
        "/boot/loader/random-seed",
        "/efi/loader/random-seed",
    ];
    Ok(Judgement::of(present(subject, &patterns)?, "none"))
}

fn build_host(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let Some(name) = subject.asked().build_host.as_deref() else {
        return Ok(Judgement::kept("its name is not known here"));
    };
    // A short name is a word like any other.
    if name.len() < 4 || COMMON_NAMES.contains(&name) {
        return Ok(Judgement::kept("its name is too common to be a trace"));
    }
    let mut findings = Vec::new();
    for (path, kind) in subject.view.walk("/etc")? {
        if kind != FileKind::File || subject.is_asked_for(&path) || size(subject, &path)? > LIMIT {
            continue;
        }
        let content = subject.view.root().read(&path, LIMIT)?.unwrap_or_default();
        if contains_word(&content, name.as_bytes()) {
            let found = format!("it names {name}, the machine that built the image");
            findings.push(Finding::new(
                path.display().to_string(),
                found,
                "write a name that fits every clone",
            ));
        }
    }
    Ok(Judgement::from(findings))
}

/// Whether `word` is in `content` without a letter, digit or hyphen around it.
fn contains_word(content: &[u8], word: &[u8]) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    content.windows(word.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| content.get(at));
        window.eq_ignore_ascii_case(word) && !part(before) && !part(content.get(at + word.len()))
    })
}

fn hostname(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = "/etc/hostname";
    let text = subject.view.text(path)?.unwrap_or_default();
    let name = text.trim();
    // A distribution's own name is nobody's.
    let release = subject.view.text("/etc/os-release")?.unwrap_or_default();
    let own = release.lines().find_map(|line| line.strip_prefix("ID=")).map(|id| id.trim_matches('"'));
    let common = name.is_empty() || name.starts_with("localhost") || Some(name) == own;
    match common || subject.is_asked_for(path.as_ref()) {
        true => Ok(Judgement::kept(if name.is_empty() { "none" } else { name })),
        false => Ok(Judgement::broken(path, name, REMOVE)),
    }
}

fn resolvers(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = Path::new("/etc/resolv.conf");
    if subject.is_asked_for(path) {
        return Ok(Judgement::kept("it is meant to stay"));
    }
    let view = subject.view;
    let Some(text) = view.text(path)? else {
        return Ok(Judgement::kept("the network says which"));
    };
    let link = view.root().read_link(path)?;
    let Some(line) = of_network(&text) else {
        return Ok(Judgement::kept(match link {
            Some(target) => format!("it is a link to {}, which names none", target.display()),
            None => "it names none".to_owned(),
        }));
    };
    Ok(match link {
        // A link is somebody's choice, and what it leads to may be made anew at each boot.
        Some(target) => Judgement::broken(
            path.display().to_string(),
            format!("it is a link to {}, which is in the image: {line}", target.display()),
            "goldimg seal removes what it leads to: names are resolved as the network says",
        ),
        None => Judgement::broken(
            path.display().to_string(),
            line,
            "goldimg seal removes it: names are resolved as the network says",
        ),
    })
}

/// The first line of a resolv.conf(5) that belongs to one network.
pub(crate) fn of_network(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| is_of_network(line))
}

/// Whether a line of resolv.conf(5) names something of one network: a server that is not on this machine, or a domain.
fn is_of_network(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("nameserver"), Some(server)) => {
            let address = server.split('%').next().unwrap_or_default().parse::<std::net::IpAddr>();
            !address.is_ok_and(|address| address.is_loopback())
        }
        // `search .` is systemd-resolved's, and says nothing.
        (Some("search" | "domain"), Some(domain)) => domain != ".",
        _ => false,
    }
}

fn network(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = present(subject, NETWORKS_OF_CLOUD_INIT)?;
    findings.extend(present(subject, NETWORK_STATE)?);
    // An empty file, or a link to /dev/null, keeps udev from writing its own.
    for pattern in
        ["/etc/udev/rules.d/70-persistent-*", "/lib/udev/rules.d/75-persistent-net-generator.rules"]
    {
        for path in subject.view.matches(pattern)? {
            let metadata = subject.view.root().link_metadata(&path)?;
            let says = metadata.is_some_and(|metadata| metadata.kind == FileKind::File && metadata.size > 0);
            if says && !subject.is_kept(&path) {
                findings.push(Finding::new(path.display().to_string(), "it is not empty", REMOVE));
            }
        }
    }
    Ok(Judgement::of(findings, "none"))
}

fn cloud_init(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let folders = ["/var/lib/cloud/instances", "/var/lib/cloud/data", "/var/lib/cloud/sem"];
    let mut findings = beneath(subject, &folders, |_, _| Ok(true))?;
    findings.extend(present(subject, &["/var/lib/cloud/instance"])?);
    Ok(Judgement::of(findings, "none"))
}

fn packages(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let folders = [
        "/var/lib/apt/lists",
        "/var/cache/apt",
        "/var/cache/dnf",
        "/var/cache/libdnf5",
        "/var/cache/yum",
        "/var/cache/zypp",
        "/var/cache/pacman/pkg",
        "/var/cache/apk",
    ];
    let findings = beneath(subject, &folders, |path, _| {
        Ok(path.file_name().is_some_and(|name| name != "lock") && size(subject, path)? > 0)
    })?;
    Ok(Judgement::of(findings, "none"))
}

fn logs(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(Judgement::of(filled(subject, &["/var/log"])?, "/var/log"))
}

fn crashes(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(Judgement::of(filled(subject, CRASHES)?, "none"))
}

fn mail(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(Judgement::of(filled(subject, MAIL)?, "none"))
}

fn temporary(subject: &Subject<'_>) -> crate::Result<Judgement> {
    Ok(Judgement::of(beneath(subject, &["/tmp", "/var/tmp"], |_, _| Ok(true))?, "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_a_network_are_told_from_those_of_the_machine_itself() {
        for line in [
            "nameserver 192.0.2.1",
            "nameserver 2001:db8::1",
            "nameserver fe80::1%eth0",
            "search example.com",
        ] {
            assert!(is_of_network(line), "{line}");
        }
        for line in [
            "nameserver 127.0.0.53",
            "nameserver ::1",
            "search .",
            "options edns0",
            "# nameserver 192.0.2.1",
            "nameserver",
        ] {
            assert!(!is_of_network(line), "{line}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_word_only() {
        assert!(contains_word(b"127.0.1.1 Build01.example build01\n", b"build01"));
        assert!(contains_word(b"build01", b"build01"));
        assert!(!contains_word(b"rebuild01 build011 build01-a", b"build01"));
        assert!(!contains_word(b"", b"build01"));
    }
}
