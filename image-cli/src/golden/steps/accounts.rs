//! Accounts of the tree: made by its own useradd, with passwords by its own chpasswd, which hash as its system does.
//!
//! ```text
//! a secret ─► /run/secrets of one sandbox ─► chpasswd ─► /etc/shadow      nothing of it in a command line or the log
//! a hash, locked, disabled ─────────────────────────────► /etc/shadow     (shadow(5)), line by line
//! ```

mod keys;

use std::path::PathBuf;

use super::text::{put, text};
use crate::error::{Advise, bail, err};
use crate::golden::recipe::{Credential, Password, SshKey, User};
use crate::golden::secrets::{FOLDER, Secrets};
use crate::golden::tree::Tree;

const SHADOW: &str = "/etc/shadow";
/// Gives the account `$1` the password in the file `$2`: `printf` is the shell's own, so that no process has it as an argument.
const SET: &str = "printf '%s:%s\\n' \"$1\" \"$(cat \"$2\")\" | chpasswd";
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
const NO_SHELLS: [&str; 3] = ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false"];

/// Says what becomes of a password.
///
/// # Errors
/// If there is no such account, the secret is no password, or a program of the tree fails.
pub(super) fn password(step: &Password, secrets: &Secrets, tree: &Tree) -> crate::Result<()> {
    let user = &step.user;
    let shadow = text(SHADOW, tree)?;
    let Some(shadow) = shadow.filter(|shadow| fields(shadow, user).is_some()) else {
        return Err(err!("the image has no account {user:?} (in {SHADOW})"))
            .hint(|| format!("a step before this one: user = {{ name = \"{user}\" }}"));
    };
    let written = match &step.credential {
        Credential::Secret(name) => return by_secret(user, name, secrets, tree),
        Credential::Hash(hash) => hash.clone(),
        Credential::Disabled => "*".to_owned(),
        Credential::Locked => {
            let before = fields(&shadow, user).and_then(|fields| fields.get(1).copied()).unwrap_or_default();
            match before {
                locked if locked.starts_with('!') => locked.to_owned(),
                // Behind the mark nothing would be a password that is empty.
                "" => "!".to_owned(),
                password => format!("!{password}"),
            }
        }
    };
    let today = (tree.epoch().seconds() / (24 * 60 * 60)).to_string();
    let line = |line: &str| match fields(line, user) {
        Some(mut fields) if fields.len() > 2 => {
            fields[1] = &written;
            fields[2] = &today;
            fields.join(":") + "\n"
        }
        _ => format!("{line}\n"),
    };
    let shadow: String = shadow.lines().map(line).collect();
    put(SHADOW, &shadow, 0o640, tree)?;
    Ok(())
}

/// The fields of the line of `user` (shadow(5), passwd(5)).
fn fields<'t>(text: &'t str, user: &str) -> Option<Vec<&'t str>> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.into_iter().find(|fields| fields.first() == Some(&user))
}

/// Sets a password that nobody else sees.
fn by_secret(user: &str, name: &str, secrets: &Secrets, tree: &Tree) -> crate::Result<()> {
    let secrets = secrets.only(&[name.to_owned()]);
    let Some((_, content)) = secrets.iter().next() else {
        return Err(err!("there is no secret {name:?}")).hint(|| format!("--secret {name}=FILE"));
    };
    // What follows the end of a line would be another account's.
    if content.trim_ascii_end().iter().any(|byte| byte.is_ascii_control()) {
        bail!("the secret {name:?} is no password: it has several lines, or control characters");
    }
    if !["/usr/sbin/chpasswd", "/sbin/chpasswd"].iter().any(|path| tree.exists(path)) {
        return Err(err!("the image has no chpasswd, which would hash the password as its system does"))
            .hint(|| "install the package passwd (Debian, Ubuntu) or shadow-utils, or give its hash");
    }
    let mut shell = tree.command("/bin/sh");
    shell.args(["-euc", SET, "sh", user, &format!("{FOLDER}/{name}")]).secrets(secrets);
    tree.log().run(&mut shell)?;
    let shadow = text(SHADOW, tree)?.unwrap_or_default();
    let is_set =
        fields(&shadow, user).is_some_and(|fields| fields.get(1).is_some_and(|own| own.starts_with('$')));
    // The end of a pipe is what counts for a shell: what came of it is looked at.
    if !is_set {
        bail!("the image's chpasswd has not set the password of {user}");
    }
    Ok(())
}

/// Makes an account, and answers with the files that let it in.
///
/// # Errors
/// If there is one of that name, or a program of the tree fails.
pub(super) fn user(step: &User, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let name = &step.name;
    if text("/etc/passwd", tree)?.is_some_and(|accounts| fields(&accounts, name).is_some()) {
        return Err(err!("the image has an account {name:?} already"))
            .hint(|| "`password` and `ssh-key` change it, and so does usermod in a `run` step");
    }
    if !["/usr/sbin/useradd", "/sbin/useradd"].iter().any(|path| tree.exists(path)) {
        return Err(err!("the image has no useradd"))
            .hint(|| "install the package passwd (Debian, Ubuntu), shadow-utils or shadow");
    }
    tree.run("useradd", &useradd(step, tree).iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut written = Vec::new();
    if step.sudo {
        written.extend(sudo(name, tree)?);
    }
    if !step.ssh_keys.is_empty() {
        written.extend(keys::add(name, &step.ssh_keys.join("\n"), tree)?);
    }
    Ok(written)
}

/// What useradd(8) is told.
fn useradd(step: &User, tree: &Tree) -> Vec<String> {
    let there = |paths: &[&str]| paths.iter().find(|path| tree.exists(path)).map(|path| (*path).to_owned());
    let usual = there(if step.system { &NO_SHELLS } else { &SHELLS });
    let mut words = vec![if step.system { "--system" } else { "--create-home" }.to_owned()];
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    option("--shell", step.shell.clone().or(usual));
    option("--home-dir", step.home.clone());
    option("--uid", step.uid.map(|number| number.to_string()));
    option("--groups", (!step.groups.is_empty()).then(|| step.groups.join(",")));
    words.extend(["--user-group".to_owned(), "--".to_owned(), step.name.clone()]);
    words
}

/// Lets an account become root without a password (sudoers(5)).
fn sudo(name: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    if !tree.exists("/etc/sudoers") {
        return Err(err!("the image has no sudo")).hint(|| "a step before this one: install = \"sudo\"");
    }
    let path = format!("/etc/sudoers.d/90-goldimg-{name}");
    let line = format!("# Written by goldimg.\n{name} ALL=(ALL:ALL) NOPASSWD:ALL\n");
    let written = put(&path, &line, 0o440, tree)?;
    if ["/usr/sbin/visudo", "/sbin/visudo"].iter().any(|path| tree.exists(path)) {
        tree.run("visudo", &["-cf", &path])?;
    }
    Ok(written)
}

/// Lets the owner of a key in, and answers with the files that do.
///
/// # Errors
/// If there is no such account, or it has no home.
pub(super) fn ssh_key(step: &SshKey, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    keys::add(&step.user, &step.key, tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    fn set(credential: Credential, tree: &Tree) -> String {
        let step = Password { user: "ann".into(), credential };
        password(&step, &Secrets::default(), tree).unwrap();
        tree.text(SHADOW).unwrap().unwrap()
    }

    #[test]
    fn passwords_are_set_locked_and_taken_away_in_their_line() {
        let (_dir, tree) = scratch();
        tree.write(SHADOW, "root:*:1:0:99999:7:::\nann:$y$j9T$old:1:0:99999:7:::\nanna:!:1::::::\n", 0o640)
            .unwrap();
        // The build's date is day 19,675.
        let around = |own: &str| format!("root:*:1:0:99999:7:::\n{own}\nanna:!:1::::::\n");
        let locked = around("ann:!$y$j9T$old:19675:0:99999:7:::");
        assert_eq!(set(Credential::Locked, &tree), locked);
        assert_eq!(set(Credential::Locked, &tree), locked, "it is locked already");
        let hashed = set(Credential::Hash("$6$new".into()), &tree);
        assert_eq!(hashed, around("ann:$6$new:19675:0:99999:7:::"));
        assert_eq!(set(Credential::Disabled, &tree), around("ann:*:19675:0:99999:7:::"));
        let nobody = Password { user: "an".into(), credential: Credential::Locked };
        let told = crate::error::rendered(&password(&nobody, &Secrets::default(), &tree).unwrap_err());
        assert!(told.contains("no account \"an\" (in /etc/shadow)"), "{told}");
        assert!(told.contains("user = { name = \"an\" }"), "{told}");
    }

    #[test]
    fn a_secret_of_several_lines_is_no_password() {
        let (_dir, tree) = scratch();
        tree.write(SHADOW, "ann:*:1::::::\n", 0o640).unwrap();
        let step = Password { user: "ann".into(), credential: Credential::Secret("word".into()) };
        let refused = |content: &str| {
            let secrets: Secrets =
                serde_json::from_value(serde_json::json!({ "word": content.as_bytes() })).unwrap();
            password(&step, &secrets, &tree).unwrap_err().to_string()
        };
        assert!(refused("one-password\nroot:other\n").contains("is no password"));
        assert!(refused("one-password\n").contains("has no chpasswd"));
        let told = password(&step, &Secrets::default(), &tree).unwrap_err().to_string();
        assert_eq!(told, "there is no secret \"word\"");
    }

    #[test]
    fn an_account_is_made_as_the_step_says() {
        let (_dir, tree) = scratch();
        tree.write("/bin/sh", "", 0o755).unwrap();
        let plain = User { name: "ann".into(), ..User::default() };
        let words = |step: &User, tree: &Tree| useradd(step, tree).join(" ");
        assert_eq!(words(&plain, &tree), "--create-home --shell /bin/sh --user-group -- ann");
        tree.write("/bin/bash", "", 0o755).unwrap();
        let groups = vec!["adm".into(), "www-data".into()];
        let own = User { groups, uid: Some(1234), home: Some("/srv/ann".into()), ..plain.clone() };
        assert_eq!(
            words(&own, &tree),
            "--create-home --shell /bin/bash --home-dir /srv/ann --uid 1234 --groups adm,www-data --user-group -- ann"
        );
        let system = User { system: true, ..plain.clone() };
        assert_eq!(words(&system, &tree), "--system --user-group -- ann");
        assert_eq!(user(&plain, &tree).unwrap_err().to_string(), "the image has no useradd");
        tree.write("/etc/passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n", 0o644).unwrap();
        assert!(user(&plain, &tree).unwrap_err().to_string().contains("\"ann\" already"));
    }

    #[test]
    fn who_may_become_root_is_in_a_file_of_his_own() {
        let (_dir, tree) = scratch();
        assert_eq!(sudo("ann", &tree).unwrap_err().to_string(), "the image has no sudo");
        tree.write("/etc/sudoers", "", 0o440).unwrap();
        assert_eq!(sudo("ann", &tree).unwrap(), [PathBuf::from("/etc/sudoers.d/90-goldimg-ann")]);
        let text = tree.text("/etc/sudoers.d/90-goldimg-ann").unwrap().unwrap();
        assert!(text.ends_with("\nann ALL=(ALL:ALL) NOPASSWD:ALL\n"), "{text}");
    }
}
