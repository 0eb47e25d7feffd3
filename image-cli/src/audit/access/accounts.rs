//! Accounts: their passwords, wherever copies of them lie, and who they are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::rule::{Finding, Judgement};
use super::super::subject::Subject;

/// An account of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Account {
    pub(in super::super) name: String,
    pub(in super::super) uid: u32,
    pub(in super::super) home: String,
}

impl Account {
    /// Whether it is a person's. What is beyond is nobody, and the dynamic users of systemd.
    pub(in super::super) fn is_person(&self) -> bool {
        (1000..60_000).contains(&self.uid)
    }
}

/// The accounts of /etc/passwd (passwd(5)).
pub(in super::super) fn accounts(subject: &Subject<'_>) -> crate::Result<Vec<Account>> {
    let text = subject.view.text("/etc/passwd")?.unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, _, _, home, ..] = fields[..] else { return None };
        Some(Account { name: name.to_owned(), uid: number.parse().ok()?, home: home.to_owned() })
    };
    Ok(text.lines().filter_map(account).collect())
}

/// Where passwords are.
const PASSWORDS: [&str; 3] = ["/etc/shadow", "/etc/passwd", "/etc/gshadow"];
/// Where programs keep copies and older ones (shadow(5), pam_unix(8), pam_pwhistory(8), Debian's dpkg-db-backup).
const COPIES: [&str; 10] = [
    "/etc/shadow-",
    "/etc/passwd-",
    "/etc/gshadow-",
    "/etc/shadow.*",
    "/etc/gshadow.*",
    "/etc/passwd.*",
    "/var/backups/shadow*",
    "/var/backups/passwd*",
    "/var/backups/gshadow*",
    "/etc/security/opasswd",
];

pub(super) fn passwords(subject: &Subject<'_>) -> crate::Result<Judgement> {
    if subject.asked().keep_passwords {
        return Ok(Judgement::kept("they are meant to stay"));
    }
    let mut findings = Vec::new();
    let mut asked = BTreeSet::new();
    for path in PASSWORDS {
        for (user, password) in entries(&subject.view.text(path)?.unwrap_or_default()) {
            let locked = password.starts_with(['!', '*']);
            let fine = match path {
                "/etc/passwd" => locked || password == "x",
                // A group without a password is one that nobody can join.
                "/etc/gshadow" => locked || password.is_empty(),
                _ => locked,
            };
            if !fine
                && path == "/etc/shadow"
                && subject.asked().passwords.contains(user)
                && !password.is_empty()
            {
                asked.insert(user.to_owned());
            } else if !fine {
                let found = match password {
                    "" => format!("{user} needs no password"),
                    _ => format!("{user} has a password"),
                };
                let fix = "goldimg seal, or passwd -l; in a recipe, seal.keep-passwords = true";
                findings.push(Finding::new(path, found, fix));
            }
        }
    }
    for pattern in COPIES {
        for path in subject.view.matches(pattern)? {
            let text = subject.view.text(&path)?.unwrap_or_default();
            let all = entries(&text).filter(|(_, field)| is_hash(field) || path.ends_with("opasswd"));
            let users: Vec<&str> = all.map(|(user, _)| user).collect();
            if !users.is_empty() && !subject.is_asked_for(&path) {
                let found = format!("a copy of the passwords of {}", users.join(", "));
                findings.push(Finding::new(path.display().to_string(), found, "remove it"));
            }
        }
    }
    if findings.is_empty() && !asked.is_empty() {
        let accounts: Vec<String> = asked.into_iter().collect();
        return Ok(Judgement::kept(format!("set by name: {}", accounts.join(", "))));
    }
    Ok(Judgement::from(findings))
}

/// Name and second field of each line.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        Some((name, fields.next().unwrap_or_default()))
    })
}

/// Whether a field is a password as crypt(5) makes it: of a locked account too, where the copy has it behind the mark.
fn is_hash(field: &str) -> bool {
    let field = field.trim_start_matches(['!', '*']);
    field.starts_with(['$', '_']) || field.len() == 13
}

pub(super) fn root_accounts(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let others = accounts(subject)?.into_iter().filter(|account| account.uid == 0 && account.name != "root");
    let told = |account: Account| {
        Finding::new("/etc/passwd", format!("{} has the number 0", account.name), "userdel -f it")
    };
    Ok(Judgement::from(others.map(told).collect::<Vec<_>>()))
}

pub(super) fn users(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let by_name = &subject.asked().accounts;
    let people = accounts(subject)?.into_iter().filter(Account::is_person);
    let people = people.filter(|account| !by_name.contains(&account.name));
    let fix = "userdel -r it before the image is made";
    let told =
        |account: Account| Finding::new("/etc/passwd", format!("{} ({})", account.name, account.uid), fix);
    Ok(Judgement::of(people.map(told).collect(), "none"))
}

/// The homes of all accounts, and what lies where homes lie.
pub(in super::super) fn homes(subject: &Subject<'_>) -> crate::Result<BTreeSet<PathBuf>> {
    let mut homes: BTreeSet<PathBuf> = subject.view.matches("/home/*")?.into_iter().collect();
    homes.insert("/root".into());
    let accounts = accounts(subject)?;
    homes.extend(
        accounts.into_iter().map(|account| PathBuf::from(account.home)).filter(|home| home.is_absolute()),
    );
    Ok(homes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_told_from_what_stands_for_none() {
        for field in ["$y$j9T$x", "!$6$x", "_J9..abcd", "abJnggxhB/yWI"] {
            assert!(is_hash(field), "{field}");
        }
        for field in ["", "*", "!", "!!", "x", "!*"] {
            assert!(!is_hash(field), "{field}");
        }
        let text = "#x:y\nroot:*:1\n:z\nann\n";
        assert_eq!(entries(text).collect::<Vec<_>>(), [("root", "*"), ("ann", "")]);
    }
}
