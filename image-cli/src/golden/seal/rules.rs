//! The list of what is sealed away, and why.
//!
//! A pattern is an absolute path in the image whose names may have one `*` each. Links are removed themselves, never
//! what they point to.

/// What happens to what a pattern finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It goes, with all in it.
    Remove,
    /// All in it goes.
    RemoveContent,
    /// Files in it become empty: programs expect them.
    Truncate,
}

/// One thing that is sealed away.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) pattern: &'static str,
    pub(super) action: Action,
    /// Whether it stays if a step of the recipe writes it by name.
    pub(super) unless_asked: bool,
}

const fn remove(pattern: &'static str) -> Rule {
    Rule { pattern, action: Action::Remove, unless_asked: false }
}

const fn clear(pattern: &'static str) -> Rule {
    Rule { pattern, action: Action::RemoveContent, unless_asked: false }
}

const fn unless_asked(pattern: &'static str) -> Rule {
    Rule { pattern, action: Action::Remove, unless_asked: true }
}

/// What is sealed away, in this order.
pub(super) const RULES: &[Rule] = &[
    // Identity: two machines with one of these are mistaken for each other, or can read each other's traffic.
    remove("/etc/ssh/ssh_host_*"),
    unless_asked("/etc/hostname"),
    unless_asked("/etc/mailname"),
    remove("/var/lib/systemd/random-seed"),
    remove("/var/lib/systemd/credential.secret"),
    remove("/var/lib/urandom/random-seed"),
    remove("/boot/efi/loader/random-seed"),
    remove("/etc/udev/rules.d/70-persistent-*"),
    remove("/etc/nvme/host*"),
    remove("/var/lib/NetworkManager/secret_key"),
    remove("/var/lib/NetworkManager/*.lease"),
    remove("/var/lib/dhcp/*.leases"),
    remove("/var/lib/dhclient/*.lease"),
    clear("/var/lib/systemd/timers"),
    // Access that nobody asked for.
    unless_asked("/root/.ssh/authorized_keys"),
    unless_asked("/root/.ssh/authorized_keys2"),
    unless_asked("/home/*/.ssh/authorized_keys"),
    unless_asked("/home/*/.ssh/authorized_keys2"),
    remove("/root/.ssh/known_hosts"),
    remove("/home/*/.ssh/known_hosts"),
    remove("/etc/passwd-"),
    remove("/etc/shadow-"),
    remove("/etc/group-"),
    remove("/etc/gshadow-"),
    remove("/etc/subuid-"),
    remove("/etc/subgid-"),
    // Traces of the build.
    clear("/var/lib/cloud"),
    remove("/root/.*_history"),
    remove("/home/*/.*_history"),
    remove("/root/.lesshst"),
    remove("/home/*/.lesshst"),
    remove("/root/.viminfo"),
    remove("/home/*/.viminfo"),
    remove("/root/.wget-hsts"),
    remove("/home/*/.wget-hsts"),
    remove("/root/.cache"),
    remove("/home/*/.cache"),
    remove("/var/log/dpkg.log"),
    remove("/var/log/alternatives.log"),
    remove("/var/log/bootstrap.log"),
    clear("/var/log/apt"),
    clear("/var/log/journal"),
    remove("/var/log/cloud-init*"),
    remove("/var/log/*.gz"),
    remove("/var/log/*.1"),
    Rule { pattern: "/var/log", action: Action::Truncate, unless_asked: false },
    // Ballast, and what is different in each build.
    clear("/var/lib/apt/lists"),
    clear("/var/cache/apt"),
    remove("/var/cache/debconf/*-old"),
    remove("/var/lib/dpkg/*-old"),
    clear("/var/cache/ldconfig"),
    clear("/var/cache/man"),
    clear("/var/cache/fontconfig"),
    clear("/tmp"),
    clear("/var/tmp"),
    clear("/run"),
];
