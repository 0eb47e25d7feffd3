//! Rules of access: nobody gets in whom the recipe or the cloud has not let in.
//!
//! ```text
//! accounts  passwords and their copies, accounts      ssh       passwords, keys, whom sshd believes
//! cloud     whom cloud-init lets in by itself         consoles  logins without a password
//! sudo      root without a password                   modes     who may change what decides
//! ```

mod accounts;
mod cloud;
mod consoles;
mod modes;
mod ssh;
mod sudo;

use std::path::Path;

pub(super) use accounts::homes;

use super::places::{CLOUD_CFG, MENUS, SSHD, UNITS};
use super::rule::{Finding, Judgement, Rule};
use super::subject::Subject;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "passwords",
        "no account has a password, or needs none",
        "a password in an image is known to all who have the image",
        accounts::passwords,
    )
    .reads(&[&[
        "/etc/shadow*",
        "/etc/gshadow*",
        "/etc/passwd*",
        "/etc/security/opasswd",
        "/var/backups/*",
    ]]),
    Rule::must(
        "authorized-keys",
        "no key logs in that nobody asked for",
        "OpenStack image guide, access by SSH public key",
        ssh::keys,
    )
    .reads(&[
        &[
            "~/.ssh/authorized_keys*",
            "/etc/ssh/authorized_keys*",
            "/etc/ssh/authorized_keys/*",
            "/etc/dropbear/authorized_keys",
            "/etc/dropbear*/initramfs/authorized_keys",
            "/etc/dropbear-initramfs/authorized_keys",
            "where AuthorizedKeysFile says",
        ],
        SSHD,
    ]),
    Rule::must(
        "ssh-trust",
        "sshd asks nobody else who may log in",
        "sshd_config(5): AuthorizedKeysCommand, TrustedUserCAKeys, HostbasedAuthentication",
        ssh::trust,
    )
    .reads(&[&["~/.rhosts", "~/.shosts", "/etc/hosts.equiv", "/etc/ssh/shosts.equiv"], SSHD]),
    Rule::must(
        "cloud-init-access",
        "cloud-init lets nobody in by itself",
        "cloud-init, modules Users and Groups, Set Passwords, SSH",
        cloud::access,
    )
    .reads(&[CLOUD_CFG, &["/var/lib/cloud/seed/*/*", "/var/lib/cloud/instances/*/user-data.txt"]]),
    Rule::must(
        "console-logins",
        "nobody is logged in at a console without a password",
        "agetty(8), systemd-debug-generator(8)",
        consoles::logins,
    )
    .reads(&[
        &[
            "/etc/inittab",
            "/etc/gdm*/*.conf",
            "/etc/lightdm/",
            "/usr/share/lightdm/",
            "/etc/sddm.conf",
            "/etc/sddm.conf.d/*",
        ],
        UNITS,
        MENUS,
        &["the partition table"],
    ]),
    Rule::must(
        "modes",
        "nobody but root changes what decides about access",
        "sshd(8), shadow(5), sudoers(5), hier(7)",
        modes::modes,
    )
    .reads(&[&[
        "/bin",
        "/boot",
        "/dev/shm",
        "/tmp",
        "/usr",
        "/var",
        "/var/tmp",
        "/etc/*",
        "/etc/ssh/sshd_config",
        "/etc/sudoers.d/*",
        "~/.ssh/authorized_keys",
    ]]),
    Rule::should(
        "sudo",
        "nobody becomes root without a password",
        "sudoers(5), NOPASSWD",
        sudo::passwordless,
    )
    .reads(&[&["/etc/sudoers", "/etc/sudoers.d/*"]]),
    Rule::must("histories", "nobody has a history", "cloning", histories).reads(&[&[
        "~/.*",
        "~/.local/",
        "~/.config/fish/*",
        "~/.ssh/known_hosts*",
    ]]),
    Rule::must("root-accounts", "only root is root", "passwd(5)", accounts::root_accounts)
        .reads(&[&["/etc/passwd"]]),
    Rule::should(
        "users",
        "there are no accounts of people: cloud-init makes them",
        "OpenStack image guide, clean up",
        accounts::users,
    )
    .reads(&[&["/etc/passwd"]])
    .openstack(),
    Rule::must(
        "ssh-passwords",
        "SSH takes keys and no passwords",
        "OpenStack image guide, access by SSH public key",
        ssh::passwords,
    )
    .reads(&[SSHD, CLOUD_CFG, &["/usr/bin/cloud-init"]])
    .openstack(),
    Rule::should("ssh-root", "root does not log in by SSH", "sshd_config(5), PermitRootLogin", ssh::root)
        .reads(&[SSHD])
        .openstack(),
];

const SEAL: &str = "goldimg seal removes it";

/// What shells and other programs remember of what was typed, in a home; a name may have one `*`.
pub(crate) const HOME_HISTORIES: &[&str] = &[
    ".*_history",
    ".histfile",
    ".zhistory",
    ".history",
    ".local/share/fish/fish_history",
    ".config/fish/fish_history",
    ".local/state/*_history",
    ".local/state/bash/history",
    ".local/share/*_history",
    ".lesshst",
    ".local/state/lesshst",
    ".viminfo",
    ".local/share/nvim/shada/main.shada",
    ".local/state/nvim/shada/main.shada",
    ".local/share/nano/search_history",
    ".wget-hsts",
    ".ssh/known_hosts",
    ".ssh/known_hosts.old",
];

fn histories(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    for home in homes(subject)? {
        for name in HOME_HISTORIES {
            for path in subject.view.matches(&format!("{}/{name}", home.display()))? {
                if !subject.is_asked_for(Path::new(&path)) {
                    findings.push(Finding::new(path.display().to_string(), "it exists", SEAL));
                }
            }
        }
    }
    Ok(Judgement::from(findings))
}
