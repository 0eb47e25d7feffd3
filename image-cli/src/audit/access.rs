//! Rules of access: nobody gets in whom the recipe or the cloud has not let in.

use std::path::Path;

use super::Subject;
use super::rule::{Finding, Judgement, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "passwords",
        "no account has a password, or needs none",
        "a password in an image is known to all who have the image",
        passwords,
    ),
    Rule::must(
        "authorized-keys",
        "no key logs in that nobody asked for",
        "OpenStack image guide, access by SSH public key",
        keys,
    ),
    Rule::must("histories", "nobody has a history", "cloning", histories),
    Rule::must("root-accounts", "only root is root", "passwd(5)", root_accounts),
    Rule::should(
        "users",
        "there are no accounts of people: cloud-init makes them",
        "OpenStack image guide, clean up",
        users,
    )
    .openstack(),
    Rule::must(
        "ssh-passwords",
        "SSH takes keys and no passwords",
        "OpenStack image guide, access by SSH public key",
        ssh_passwords,
    )
    .openstack(),
    Rule::should("ssh-root", "root does not log in by SSH", "sshd_config(5), PermitRootLogin", ssh_root)
        .openstack(),
];

const SEAL: &str = "goldimg seal removes it";

fn passwords(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    if subject.expected.keep_passwords {
        return Ok(Judgement::kept("they are meant to stay"));
    }
    let mut findings = Vec::new();
    for path in ["/etc/shadow", "/etc/passwd", "/etc/gshadow"] {
        for line in subject.view.text(path)?.unwrap_or_default().lines() {
            let mut fields = line.split(':');
            let (user, password) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let locked = password.starts_with(['!', '*']);
            let fine = match path {
                "/etc/passwd" => locked || password == "x",
                // A group without a password is one that nobody can join.
                "/etc/gshadow" => locked || password.is_empty(),
                _ => locked,
            };
            if !fine && !user.is_empty() {
                let found = match password {
                    "" => format!("{user} needs no password"),
                    _ => format!("{user} has a password"),
                };
                let fix = "goldimg seal, or passwd -l; in a recipe, seal.keep-passwords = true";
                findings.push(Finding::new(path, found, fix));
            }
        }
    }
    Ok(Judgement::from(findings))
}

fn keys(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let mut findings = Vec::new();
    for pattern in
        ["/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*", "/etc/ssh/authorized_keys*"]
    {
        for path in subject.view.matches(pattern)? {
            let content = subject.view.root().read(&path, super::view::LIMIT)?;
            let empty = content.is_some_and(|content| content.trim_ascii().is_empty());
            if !empty && !subject.is_asked_for(&path) {
                let fix = "goldimg seal; in a recipe, write or copy it in a step if it is meant to be there";
                findings.push(Finding::new(path.display().to_string(), "it exists", fix));
            }
        }
    }
    Ok(Judgement::from(findings))
}

fn histories(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let mut findings = Vec::new();
    for folder in ["/root", "/home/*"] {
        for name in [".*_history", ".lesshst", ".viminfo", ".wget-hsts", ".netrc"] {
            for path in subject.view.matches(&format!("{folder}/{name}"))? {
                if !subject.is_asked_for(Path::new(&path)) {
                    findings.push(Finding::new(path.display().to_string(), "it exists", SEAL));
                }
            }
        }
    }
    Ok(Judgement::from(findings))
}

/// The accounts of /etc/passwd: name, number, home.
pub(super) fn accounts(subject: &Subject<'_>) -> anyhow::Result<Vec<(String, u32, String)>> {
    let text = subject.view.text("/etc/passwd")?.unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, _, _, home, ..] = fields[..] else { return None };
        Some((name.to_owned(), number.parse().ok()?, home.to_owned()))
    };
    Ok(text.lines().filter_map(account).collect())
}

fn root_accounts(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let others = accounts(subject)?.into_iter().filter(|(name, number, _)| *number == 0 && name != "root");
    let findings: Vec<Finding> = others
        .map(|(name, ..)| Finding::new("/etc/passwd", format!("{name} has the number 0"), "userdel -f it"))
        .collect();
    Ok(Judgement::from(findings))
}

fn users(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    // What is beyond is nobody, and the dynamic users of systemd.
    let people = accounts(subject)?.into_iter().filter(|(_, number, _)| (1000..60_000).contains(number));
    let fix = "userdel -r it before the image is made";
    let findings: Vec<Finding> = people
        .map(|(name, number, _)| Finding::new("/etc/passwd", format!("{name} ({number})"), fix))
        .collect();
    Ok(Judgement::of(findings, "none"))
}

/// What sshd is told of `keyword`, and where: the first one counts, and files that are included come where they are.
///
/// A `Match` block is for some only, so it ends what is looked at.
fn sshd_setting(subject: &Subject<'_>, keyword: &str) -> anyhow::Result<Option<(String, String)>> {
    let path = "/etc/ssh/sshd_config";
    let text = subject.view.text(path)?.unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(word) = words.next() else { continue };
        if word.eq_ignore_ascii_case("include") {
            for pattern in words {
                let pattern =
                    if pattern.starts_with('/') { pattern.into() } else { format!("/etc/ssh/{pattern}") };
                for included in subject.view.matches(&pattern)? {
                    let text = subject.view.text(&included)?.unwrap_or_default();
                    if let Some(value) = first_setting(&text, keyword) {
                        return Ok(Some((value, included.display().to_string())));
                    }
                }
            }
        } else if word.eq_ignore_ascii_case("match") {
            break;
        } else if let Some(value) = first_setting(line, keyword) {
            return Ok(Some((value, path.into())));
        }
    }
    Ok(None)
}

/// The value of the first line for `keyword` before a `Match` block (sshd_config(5)).
fn first_setting(text: &str, keyword: &str) -> Option<String> {
    for line in text.lines() {
        let mut words = line.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
        let Some(word) = words.next() else { continue };
        if word.eq_ignore_ascii_case("match") {
            return None;
        }
        if word.eq_ignore_ascii_case(keyword) {
            return words.next().map(|value| value.trim_matches('"').to_ascii_lowercase());
        }
    }
    None
}

fn ssh_passwords(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    const PLACE: &str = "/etc/ssh/sshd_config";
    const FIX: &str = "write PasswordAuthentication no into /etc/ssh/sshd_config.d/01-keys.conf, or ssh_pwauth: false for cloud-init";
    if !subject.view.exists(PLACE)? {
        return Ok(Judgement::kept("there is no sshd"));
    }
    let mut findings = Vec::new();
    if let Some((value, place)) = sshd_setting(subject, "PermitEmptyPasswords")?
        && value != "no"
    {
        findings.push(Finding::new(place, format!("PermitEmptyPasswords {value}"), "remove the line"));
    }
    let by_cloud_init = match subject.view.exists("/usr/bin/cloud-init")? {
        true => super::cloud_init::Settings::read(subject.view)?.password_logins(),
        false => None,
    };
    // At the first boot cloud-init writes what it is told over what sshd is told.
    match (by_cloud_init, sshd_setting(subject, "PasswordAuthentication")?) {
        (Some(false), _) => return Ok(Judgement::of(findings, "cloud-init: ssh_pwauth: false")),
        (Some(true), _) => findings.push(Finding::new("/etc/cloud", "ssh_pwauth: true", FIX)),
        (None, Some((value, place))) if value == "no" => return Ok(Judgement::of(findings, place)),
        (None, Some((value, place))) => {
            findings.push(Finding::new(place, format!("PasswordAuthentication {value}"), FIX));
        }
        (None, None) => {
            findings.push(Finding::new(PLACE, "PasswordAuthentication is not set, which means yes", FIX))
        }
    }
    Ok(Judgement::Broken(findings))
}

fn ssh_root(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    match sshd_setting(subject, "PermitRootLogin")? {
        Some((value, place)) if value == "yes" => {
            Ok(Judgement::broken(place, "PermitRootLogin yes", "PermitRootLogin prohibit-password, or no"))
        }
        _ => Ok(Judgement::kept("not with a password")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_setting_before_a_match_block_counts() {
        let text = "#PasswordAuthentication yes\n passwordauthentication=No\nPasswordAuthentication yes\n";
        assert_eq!(first_setting(text, "PasswordAuthentication").as_deref(), Some("no"));
        assert_eq!(first_setting("Match User a\nPermitRootLogin yes\n", "PermitRootLogin"), None);
        assert_eq!(first_setting("PermitRootLoginX yes\n", "PermitRootLogin"), None);
    }
}
