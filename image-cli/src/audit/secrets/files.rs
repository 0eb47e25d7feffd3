//! Files that programs keep credentials in, and settings that are credentials.
//!
//! The documentation of each program is the source of its line.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::path::PathBuf;

use super::super::access::homes;
use super::super::rule::{Finding, Judgement};
use super::super::subject::Subject;

pub(super) const REMOVE: &str = "remove it, and make it invalid; --keep PATH if it is meant to be there";

const SEAL: &str = "goldimg seal removes it; --keep PATH if it is meant to be there";

/// Files of credentials in a home; a name may have one `*`.
pub(crate) const HOME_FILES: &[&str] = &[
    ".netrc",
    // ssh(1): what a client shows who it is with.
    ".ssh/id_rsa",
    ".ssh/id_dsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ecdsa_sk",
    ".ssh/id_ed25519",
    ".ssh/id_ed25519_sk",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".pypirc",
    ".vault-token",
    ".s3cfg",
    ".boto",
    ".passwd-s3fs",
    ".smbcredentials",
    ".vnc/passwd",
    ".aws/credentials",
    ".aws/sso/cache/*.json",
    ".azure/accessTokens.json",
    ".azure/msal_token_cache.*",
    ".config/gcloud/credentials.db",
    ".config/gcloud/access_tokens.db",
    ".config/gcloud/application_default_credentials.json",
    ".config/gh/hosts.yml",
    ".config/glab-cli/config.yml",
    ".config/hub",
    ".config/doctl/config.yaml",
    ".config/hcloud/cli.toml",
    ".config/openstack/clouds.yaml",
    ".config/openstack/secure.yaml",
    ".config/rclone/rclone.conf",
    ".config/sops/age/keys.txt",
    ".config/composer/auth.json",
    ".composer/auth.json",
    ".config/containers/auth.json",
    ".docker/config.json",
    ".kube/config",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings-security.xml",
    ".terraform.d/credentials.tfrc.json",
    ".ansible/vault_pass",
    ".ansible/galaxy_token",
    ".gnupg/private-keys-v1.d/*",
    ".gnupg/secring.gpg",
    ".local/share/keyrings/*",
    ".password-store",
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
    "/var/lib/samba/private/secrets.tdb",
    "/var/lib/tailscale/tailscaled.state",
    "/var/lib/netbird/config.json",
    "/var/lib/zerotier-one/identity.secret",
    "/etc/ldap.secret",
    "/etc/pam_ldap.secret",
    "/etc/libnss-ldap.secret",
    "/etc/postfix/sasl_passwd*",
    "/etc/passwd-s3fs",
    "/etc/gitlab-runner/config.toml",
    "/etc/rancher/k3s/k3s.yaml",
    "/etc/kubernetes/admin.conf",
];

/// A setting that is a credential.
struct Setting {
    /// The files that it is in, with one `*` in a name; in every home if they do not begin with `/`.
    files: &'static [&'static str],
    /// Its names, before `=`, `:` or a blank; any line that says something is one if there are none.
    keys: &'static [&'static str],
}

const SETTINGS: &[Setting] = &[
    // nm-settings(5)
    Setting {
        files: &["/etc/NetworkManager/system-connections/*", "/usr/lib/NetworkManager/system-connections/*"],
        keys: &[
            "psk",
            "password",
            "private-key-password",
            "leap-password",
            "wep-key0",
            "wep-key1",
            "wep-key2",
            "wep-key3",
            "secret",
            "preshared-key",
            "pin",
        ],
    },
    // wpa_supplicant.conf(5), hostapd.conf
    Setting {
        files: &["/etc/wpa_supplicant/*.conf", "/etc/wpa_supplicant.conf", "/etc/hostapd/*.conf"],
        keys: &["psk", "password", "wpa_passphrase", "wpa_psk", "private_key_passwd"],
    },
    // iwd.network(5)
    Setting {
        files: &["/var/lib/iwd/*.psk", "/var/lib/iwd/*.8021x"],
        keys: &["Passphrase", "PreSharedKey", "EAP-Password"],
    },
    // wg(8), systemd.netdev(5): the private key is told by what it looks like
    Setting {
        files: &["/etc/wireguard/*.conf", "/etc/systemd/network/*.netdev"],
        keys: &["PresharedKey", "PreSharedKey"],
    },
    // pppd(8)
    Setting { files: &["/etc/ppp/chap-secrets", "/etc/ppp/pap-secrets"], keys: &[] },
    // ipsec.secrets(5), swanctl.conf(5)
    Setting { files: &["/etc/ipsec.secrets", "/etc/ipsec.d/*.secrets"], keys: &[":"] },
    Setting { files: &["/etc/swanctl/swanctl.conf", "/etc/swanctl/conf.d/*"], keys: &["secret"] },
    // mount.cifs(8), mount.davfs(8)
    Setting {
        files: &[
            "/etc/samba/*credentials",
            "/etc/samba/credentials*",
            "/etc/cifs-credentials",
            "/etc/*.smbcredentials",
        ],
        keys: &["password", "pass"],
    },
    Setting { files: &["/etc/davfs2/secrets", ".davfs2/secrets"], keys: &[] },
    // what sends mail
    Setting { files: &["/etc/msmtprc", ".msmtprc"], keys: &["password"] },
    Setting { files: &["/etc/ssmtp/ssmtp.conf"], keys: &["AuthPass"] },
    Setting { files: &["/etc/exim4/passwd.client"], keys: &[] },
    Setting { files: &["/etc/fetchmailrc", ".fetchmailrc"], keys: &["password", "pass"] },
    // directories: ldap.conf(5), nslcd.conf(5), sssd-ldap(5)
    Setting {
        files: &["/etc/nslcd.conf", "/etc/ldap.conf", "/etc/pam_ldap.conf", "/etc/libnss-ldap.conf"],
        keys: &["bindpw", "rootbinddn_pw"],
    },
    Setting { files: &["/etc/sssd/sssd.conf", "/etc/sssd/conf.d/*"], keys: &["ldap_default_authtok"] },
    // others
    Setting { files: &["/etc/ddclient.conf"], keys: &["password"] },
    Setting {
        files: &["/etc/fuse_s3", "/etc/rclone/rclone.conf"],
        keys: &["pass", "secret_access_key", "token", "password"],
    },
    Setting {
        files: &["/etc/my.cnf", "/etc/mysql/my.cnf", "/etc/mysql/conf.d/*", "/etc/mysql/mariadb.conf.d/*"],
        keys: &["password"],
    },
    Setting { files: &[".npmrc"], keys: &["_password", "_auth"] },
    Setting {
        files: &["/etc/snmp/snmpd.conf", "/var/lib/snmp/snmpd.conf"],
        keys: &["createUser", "usmUser"],
    },
    Setting { files: &["/boot/grub/user.cfg", "/boot/grub2/user.cfg"], keys: &["GRUB2_PASSWORD"] },
];

pub(super) fn credentials(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let homes = homes(subject)?;
    let of_homes =
        |name: &str| homes.iter().map(|home| format!("{}/{name}", home.display())).collect::<Vec<_>>();
    let mut findings = Vec::new();
    let mut add = |path: PathBuf, found: &str, fix: &str| {
        if !subject.is_asked_for(&path) {
            findings.push(Finding::new(path.display().to_string(), found, fix));
        }
    };
    for (patterns, fix) in HOME_FILES
        .iter()
        .map(|file| (of_homes(file), SEAL))
        .chain(FILES.iter().map(|file| (vec![(*file).to_owned()], REMOVE)))
    {
        for pattern in patterns {
            for path in view.matches(&pattern)? {
                add(path, "it exists", fix);
            }
        }
    }
    for Setting { files, keys } in SETTINGS {
        for file in *files {
            let patterns = if file.starts_with('/') { vec![(*file).to_owned()] } else { of_homes(file) };
            for path in
                patterns.iter().map(|pattern| view.matches(pattern)).collect::<Result<Vec<_>, _>>()?.concat()
            {
                let text = view.text(&path)?.unwrap_or_default();
                if let Some(name) = text.lines().find_map(|line| set(line, keys)) {
                    let found = if keys.is_empty() {
                        "it has a secret".to_owned()
                    } else {
                        format!("{name} is set in it")
                    };
                    add(path, &found, REMOVE);
                }
            }
        }
    }
    if let Some(option) = view.text("/etc/fstab")?.unwrap_or_default().lines().find_map(of_mount) {
        add("/etc/fstab".into(), &format!("{option}= is an option of a mount"), REMOVE);
    }
    Ok(Judgement::of(findings, "none"))
}

/// The name of the setting in a line, if it is one of `keys` and says something.
fn set<'a>(line: &'a str, keys: &[&'static str]) -> Option<&'a str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';', '!']) || line.starts_with("//") {
        return None;
    }
    if keys.is_empty() {
        return Some(line);
    }
    // `: PSK "…"`, with addresses before the colon.
    if keys == [":"] {
        let (_, secret) = line.split_once(':')?;
        let kind = secret.split_whitespace().next()?;
        return ["PSK", "EAP", "XAUTH", "NTLM", "PIN"].contains(&kind).then_some(kind);
    }
    let ends = |c: char| c == '=' || c == ':' || c.is_whitespace();
    let (name, value) = line.split_once(ends)?;
    let value = value.trim_start_matches(ends).trim_matches(['"', '\'']);
    let is_key = keys.iter().any(|key| name.eq_ignore_ascii_case(key));
    // What stands for a secret is none; NetworkManager's flags tell who asks for it.
    (is_key && !value.is_empty() && !value.starts_with(['$', '<', '%'])).then_some(name)
}

/// The option of a mount that is a password (mount.cifs(8), mount.davfs(8)).
fn of_mount(line: &str) -> Option<&str> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let options = line.split_whitespace().nth(3)?;
    options.split(',').find_map(|option| {
        let (name, value) = option.split_once('=')?;
        let is_password = ["password", "pass", "passwd", "password2"].contains(&name);
        (is_password && !value.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_credentials_if_they_say_something() {
        for (line, keys, name) in [
            ("psk=hunter22", &["psk"][..], Some("psk")),
            ("  psk=\"hunter22\"", &["psk"], Some("psk")),
            ("psk-flags=1", &["psk"], None),
            ("password=", &["password"], None),
            ("#password=x", &["password"], None),
            ("password = $PASSWORD", &["password"], None),
            ("bindpw hunter2", &["bindpw"], Some("bindpw")),
            ("client * hunter2 *", &[], Some("client * hunter2 *")),
            ("# Secrets for authentication using CHAP", &[], None),
            ("192.0.2.1 %any : PSK \"x\"", &[":"], Some("PSK")),
            (": RSA moonKey.pem", &[":"], None),
        ] {
            assert_eq!(set(line, keys), name, "{line}");
        }
        assert_eq!(of_mount("//nas/x /srv cifs username=a,password=b,uid=1 0 0"), Some("password"));
        for line in [
            "//nas/x /srv cifs credentials=/etc/x 0 0",
            "#//nas/x /srv cifs password=b 0 0",
            "UUID=x / ext4 defaults 0 1",
        ] {
            assert_eq!(of_mount(line), None, "{line}");
        }
    }
}
