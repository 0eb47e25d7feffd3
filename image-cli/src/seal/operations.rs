//! What sealing does, by names that can be left out or chosen: those of virt-sysprep where it has one for the same.

use crate::audit::{HOME_HISTORIES, IDENTITIES};
use crate::error::{Advise, err};

/// One of the things that sealing does.
#[derive(Debug)]
#[non_exhaustive]
pub struct Operation {
    /// A word for lists.
    pub name: &'static str,
    /// What it does, in words.
    pub what: &'static str,
    /// How the patterns of its rules begin.
    patterns: &'static [&'static str],
    /// Whether what it removes must be found nowhere: files go with all names that they have.
    pub(crate) is_secret: bool,
}

const fn operation(
    name: &'static str,
    what: &'static str,
    patterns: &'static [&'static str],
    is_secret: bool,
) -> Operation {
    Operation { name, what, patterns, is_secret }
}

/// Of rules that no other operation has.
const OTHER: &str = "leftovers";
/// Those that have no rules.
pub(super) const MACHINE_ID: &str = "machine-id";
pub(super) const PASSWORDS: &str = "passwords";
pub(super) const RESOLVERS: &str = "resolv-conf";
pub(super) const UNUSED_SPACE: &str = "unused-space";
/// Of what lies in homes.
pub(super) const CREDENTIALS: &str = "credentials";
const SSH_USERS: &str = "ssh-userdir";
/// Of the audit's table of services.
const SERVICES: &str = "service-ids";
const HISTORIES: &str = "bash-history";

/// All of them, in the order in which they are told.
pub const OPERATIONS: &[Operation] = &[
    operation(MACHINE_ID, "empty /etc/machine-id, and make D-Bus use it", &[], false),
    operation(
        "ssh-hostkeys",
        "remove the SSH server's host keys",
        &["/etc/ssh/ssh_host_", "/etc/dropbear/"],
        true,
    ),
    operation(
        "random-seed",
        "remove random seeds, and the secret that encrypts credentials",
        &[
            "/var/lib/systemd/random-seed",
            "/var/lib/systemd/credential",
            "/var/lib/urandom/",
            "/var/lib/random-seed",
            "/boot/efi/loader/random-seed",
            "/boot/loader/random-seed",
            "/efi/loader/random-seed",
        ],
        true,
    ),
    operation(
        "net-hostname",
        "remove the host's name and that of its mail",
        &["/etc/hostname", "/etc/mailname"],
        false,
    ),
    operation(
        "udev-persistent-net",
        "remove names of network cards that one machine had",
        &["/etc/udev/", "/lib/udev/"],
        false,
    ),
    operation(
        "dhcp-client-state",
        "remove what DHCP clients remember: leases, the server's DUID, keys of NetworkManager",
        &[
            "/var/lib/NetworkManager/",
            "/var/lib/dhcp",
            "/var/lib/dhclient/",
            "/var/lib/dibbler/",
            "/var/lib/wicked/",
            "/var/lib/systemd/network/",
            "/var/db/dhcpcd/",
            "/etc/dhcpcd.",
        ],
        false,
    ),
    operation(
        "cloud-init",
        "remove what cloud-init knows of one server, and wrote for its network",
        &[
            "/var/lib/cloud",
            "/etc/netplan/50-cloud-init",
            "/etc/network/interfaces.d/50-cloud-init",
            "/etc/NetworkManager/system-connections/cloud-init-",
            "/etc/systemd/network/10-cloud-init-",
            "/var/log/cloud-init",
        ],
        false,
    ),
    operation(PASSWORDS, "lock the passwords of all accounts", &[], false),
    operation(
        "backup-files",
        "remove the copies of passwd, shadow, group and their kin",
        &["/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"],
        true,
    ),
    operation(SSH_USERS, "remove authorized keys and known hosts", &["/etc/ssh/authorized_keys"], true),
    operation(
        CREDENTIALS,
        "remove private keys, tokens and passwords from the homes of all accounts",
        &[],
        true,
    ),
    operation(HISTORIES, "remove the histories of shells and editors, and caches, from homes", &[], false),
    operation("logfiles", "empty logs, and remove old ones", &["/var/log"], false),
    operation(
        "crash-data",
        "remove core dumps and crash reports",
        &["/var/lib/systemd/coredump", "/var/lib/apport/", "/var/crash", "/var/spool/abrt"],
        true,
    ),
    operation(
        "mail-spool",
        "remove mail: mailboxes, and what waits to be sent",
        &["/var/mail", "/var/spool/"],
        false,
    ),
    operation("tmp-files", "remove temporary files", &["/tmp", "/var/tmp", "/run"], false),
    operation(
        "package-manager-cache",
        "remove lists of packages, packages and caches",
        &["/var/lib/apt/lists", "/var/cache", "/var/lib/dpkg/"],
        false,
    ),
    operation(
        RESOLVERS,
        "remove the addresses of name servers",
        &["/etc/.resolv.conf", "/etc/resolvconf/"],
        false,
    ),
    operation(
        SERVICES,
        "remove or renew the names and secrets that services made for one machine: docs/identities.md",
        &[],
        true,
    ),
    operation(
        OTHER,
        "remove the rest of what identifies one machine: docs/audit.md has all of it",
        &[],
        true,
    ),
    operation(UNUSED_SPACE, "make zeroes and holes of all that belongs to no file", &[], false),
];

/// The operation of the rule with `pattern`: the one with the longest beginning of it.
pub(super) fn of(pattern: &str) -> &'static Operation {
    if IDENTITIES.iter().any(|identity| identity.pattern == pattern) {
        return named(SERVICES);
    }
    let fits = |operation: &&Operation| {
        let lens = operation.patterns.iter().filter(|own| pattern.starts_with(**own)).map(|own| own.len());
        lens.max().unwrap_or(0)
    };
    let best = OPERATIONS.iter().max_by_key(fits).filter(|best| fits(best) > 0);
    best.unwrap_or_else(|| named(OTHER))
}

/// The operation of `file`, which lies in a home.
pub(super) fn of_home(file: &str) -> &'static Operation {
    named(match file {
        file if file.starts_with(".ssh/id_") => CREDENTIALS,
        file if file.starts_with(".ssh/") => SSH_USERS,
        ".cache" => HISTORIES,
        file if HOME_HISTORIES.contains(&file) => HISTORIES,
        _ => CREDENTIALS,
    })
}

fn named(name: &str) -> &'static Operation {
    let found = OPERATIONS.iter().find(|operation| operation.name == name);
    found.unwrap_or(&OPERATIONS[0])
}

/// Which operations are done.
#[derive(Debug, Clone)]
pub struct Chosen {
    names: Vec<&'static str>,
}

impl Default for Chosen {
    fn default() -> Self {
        Self { names: OPERATIONS.iter().map(|operation| operation.name).collect() }
    }
}

impl Chosen {
    /// Those named in `enable`, or all if there are none, without those in `disable`.
    ///
    /// # Errors
    /// For a name that none has.
    pub fn new(enable: &[String], disable: &[String]) -> crate::Result<Self> {
        let known = |names: &[String], option: &str| -> crate::Result<Vec<&'static str>> {
            names.iter().map(|name| find(name, option)).collect()
        };
        let (enabled, disabled) = (known(enable, "--enable")?, known(disable, "--disable")?);
        let mut chosen = Self::default();
        chosen
            .names
            .retain(|name| (enabled.is_empty() || enabled.contains(name)) && !disabled.contains(name));
        Ok(chosen)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

fn find(name: &str, option: &str) -> crate::Result<&'static str> {
    if let Some(found) = OPERATIONS.iter().find(|operation| operation.name == name) {
        return Ok(found.name);
    }
    let like = OPERATIONS
        .iter()
        .map(|operation| (strsim::jaro_winkler(name, operation.name), operation.name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let hint = match like {
        Some((_, like)) => format!("did you mean {like}?"),
        None => "goldimg seal --list names all of them".to_owned(),
    };
    Err(err!("{option} {name}: sealing has no operation of that name")).invalid().hint(|| hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::rules::rules;

    #[test]
    fn each_operation_has_a_name_of_its_own_and_does_something() {
        let mut names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPERATIONS.len());
        let patterns: Vec<String> = rules().map(|rule| rule.pattern.into_owned()).collect();
        for own in OPERATIONS.iter().flat_map(|operation| operation.patterns) {
            assert!(patterns.iter().any(|pattern| pattern.starts_with(own)), "{own}");
        }
        assert_eq!(of("/etc/shadow-").name, "backup-files");
        assert_eq!(of("/var/log/cloud-init*").name, "cloud-init");
        assert_eq!(of("/var/log/apt").name, "logfiles");
        assert_eq!(of("/etc/nvme/host*").name, OTHER);
    }

    #[test]
    fn what_is_chosen_is_done_and_slips_of_the_pen_are_told() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let all = Chosen::new(&[], &words(&["logfiles"])).unwrap();
        assert!(!all.has("logfiles") && all.has("tmp-files"));
        let one = Chosen::new(&words(&["logfiles", "tmp-files"]), &words(&["tmp-files"])).unwrap();
        assert_eq!(one.names, ["logfiles"]);
        let error = Chosen::new(&words(&["logfile"]), &[]).unwrap_err();
        assert!(format!("{error:?}").contains("logfile"), "{error:?}");
    }
}
