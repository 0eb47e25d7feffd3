//! The list of what is sealed away, and why.
//!
//! A pattern is an absolute path in the image whose names may have one `*` each. Links are removed themselves, never
//! what they point to.

use super::operations::{self, Operation};
use crate::audit::{
    CRASHES, HOME_FILES, HOME_HISTORIES, IDENTITIES, MAIL, NETWORK_STATE, NETWORKS_OF_CLOUD_INIT, Renewal,
    System, has_line,
};
use std::borrow::Cow;

/// What happens to what a pattern finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It goes, with all in it.
    Remove,
    /// All in it goes.
    RemoveContent,
    /// Files in it become empty: programs expect them.
    Truncate,
    /// A file that has a line which begins so has this text, and nothing else.
    Write { line: &'static str, text: &'static str },
}

impl Action {
    /// What a file with `content` has to have instead, if it is to have anything else.
    pub(crate) fn written(self, content: &[u8]) -> Option<&'static str> {
        match self {
            Self::Write { line, text } => has_line(content, line).then_some(text),
            _ => None,
        }
    }
}

/// One thing that is sealed away.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) pattern: Cow<'static, str>,
    pub(crate) action: Action,
    /// Whether it stays if it was asked for by name.
    pub(crate) unless_asked: bool,
    /// In which systems it goes.
    pub(crate) system: System,
}

impl Rule {
    /// What of sealing it is a part of.
    pub(super) fn operation(&self) -> &'static Operation {
        let pattern = &*self.pattern;
        let in_home = HOMES.iter().find_map(|home| pattern.strip_prefix(home)?.strip_prefix('/'));
        in_home.map_or_else(|| operations::of(pattern), operations::of_home)
    }
}

const fn rule(pattern: &'static str, action: Action, unless_asked: bool) -> Rule {
    Rule { pattern: Cow::Borrowed(pattern), action, unless_asked, system: System::Any }
}

const fn remove(pattern: &'static str) -> Rule {
    rule(pattern, Action::Remove, false)
}

const fn clear(pattern: &'static str) -> Rule {
    rule(pattern, Action::RemoveContent, false)
}

const fn unless_asked(pattern: &'static str) -> Rule {
    rule(pattern, Action::Remove, true)
}

/// What is sealed away, in this order.
pub(crate) fn rules() -> impl Iterator<Item = Rule> {
    let of_homes = HOMES.iter().flat_map(|home| {
        of_home().map(move |file| Rule {
            pattern: Cow::Owned(format!("{home}/{file}")),
            action: Action::Remove,
            unless_asked: true,
            system: System::Any,
        })
    });
    let of_network = NETWORK_STATE.iter().map(|pattern| remove(pattern));
    let of_cloud_init = NETWORKS_OF_CLOUD_INIT.iter().map(|pattern| unless_asked(pattern));
    // What services make anew by themselves; the audit tells of the rest.
    let of_services = IDENTITIES.iter().filter_map(|identity| {
        let action = match identity.renewal {
            Renewal::Removed(_) => Action::Remove,
            Renewal::Written(text, _) => Action::Write { line: identity.line, text },
            Renewal::ByHand(_) => return None,
        };
        Some(Rule { system: identity.system, ..rule(identity.pattern, action, true) })
    });
    let of_programs = CRASHES.iter().chain(MAIL).map(|folder| clear(folder));
    RULES
        .iter()
        .cloned()
        .chain(of_programs)
        .chain(of_network)
        .chain(of_cloud_init)
        .chain(of_services)
        .chain(of_homes)
}

/// What is sealed away in homes, by paths in there.
pub(super) fn of_home() -> impl Iterator<Item = &'static str> {
    HOME_FILES.iter().chain(HOME_HISTORIES).chain(HOME_TRACES).copied()
}

/// Where homes lie; those of other accounts are in /etc/passwd.
const HOMES: &[&str] = &["/root", "/home/*"];

/// What people leave in their homes, besides credentials.
const HOME_TRACES: &[&str] = &[".ssh/authorized_keys*", ".cache"];

/// What is sealed away elsewhere.
const RULES: &[Rule] = &[
    // Identity: two machines with one of these are mistaken for each other, or can read each other's traffic.
    remove("/etc/ssh/ssh_host_*"),
    remove("/etc/dropbear/dropbear_*_host_key"),
    unless_asked("/etc/hostname"),
    unless_asked("/etc/mailname"),
    remove("/var/lib/systemd/random-seed"),
    remove("/var/lib/systemd/credential.secret"),
    remove("/var/lib/urandom/random-seed"),
    remove("/var/lib/random-seed"),
    remove("/boot/efi/loader/random-seed"),
    remove("/boot/loader/random-seed"),
    remove("/efi/loader/random-seed"),
    remove("/etc/udev/rules.d/70-persistent-*"),
    rule("/lib/udev/rules.d/75-persistent-net-generator.rules", Action::Truncate, false),
    clear("/var/lib/systemd/timers"),
    // Access that nobody asked for.
    unless_asked("/etc/ssh/authorized_keys*"),
    remove("/etc/passwd-"),
    remove("/etc/shadow-"),
    remove("/etc/group-"),
    remove("/etc/gshadow-"),
    remove("/etc/subuid-"),
    remove("/etc/subgid-"),
    // Traces of the build.
    // What systemd-resolved and resolvconf find when they are installed, and put back when they are removed.
    remove("/etc/.resolv.conf.systemd-resolved.bak"),
    remove("/etc/resolvconf/resolv.conf.d/original"),
    clear("/var/lib/cloud"),
    remove("/var/log/dpkg.log"),
    remove("/var/log/alternatives.log"),
    remove("/var/log/bootstrap.log"),
    clear("/var/log/apt"),
    clear("/var/log/journal"),
    remove("/var/log/cloud-init*"),
    remove("/var/log/*.gz"),
    remove("/var/log/*.1"),
    rule("/var/log", Action::Truncate, false),
    // Ballast, and what is different in each build.
    clear("/var/lib/apt/lists"),
    clear("/var/cache/apt"),
    clear("/var/cache/dnf"),
    clear("/var/cache/libdnf5"),
    clear("/var/cache/yum"),
    clear("/var/cache/zypp"),
    clear("/var/cache/pacman/pkg"),
    clear("/var/cache/apk"),
    remove("/var/cache/debconf/*-old"),
    remove("/var/lib/dpkg/*-old"),
    clear("/var/cache/ldconfig"),
    clear("/var/cache/man"),
    clear("/var/cache/fontconfig"),
    clear("/tmp"),
    clear("/var/tmp"),
    clear("/run"),
];
