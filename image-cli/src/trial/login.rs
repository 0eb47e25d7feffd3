//! Logging in from outside, as a user of the cloud would: with the key, and without it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::report::Report;
use super::seed::Key;
use crate::error::{Context, Result};
use crate::monitor::CancellationToken;
use crate::programs::Program;
use crate::qemu::Deadline;

/// What came of the attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logins {
    /// The account that the key belongs to.
    pub(super) user: Option<String>,
    /// What the login said, or why there was none.
    pub(super) with_key: Result<String, String>,
    /// The ways in that the server offers, as "publickey,password".
    pub(super) methods: Result<String, String>,
}

/// The user's name, and whether it may do everything.
const WHO_AM_I: &str = "id -un; sudo -n true >/dev/null 2>&1 && echo and may become root";

/// Tries both, at this port of loopback.
pub(super) fn attempt(
    port: u16,
    report: &Report,
    key: &Key,
    folder: &Path,
    deadline: &Deadline,
    programs: &OsStr,
    cancel: &CancellationToken,
) -> Result<Logins> {
    let known_hosts = folder.join("known_hosts");
    let hosts: Vec<String> =
        public_keys(report).map(|public| format!("[127.0.0.1]:{port} {public}\n")).collect();
    fs::write(&known_hosts, hosts.concat()).context("writing the guest's host keys")?;
    let users: Vec<&str> = report.text("key-users").lines().collect();
    // cloud-init gives root the key too, with a line that only says who else to be.
    let user = users.iter().find(|user| **user != "root").or(users.first());
    // Without such an account there is still a server to ask for its ways in.
    let name = user.copied().filter(|user| is_user_name(user)).unwrap_or("root");
    let client = |more: &[&str]| {
        let mut command = Program::Ssh.command(programs);
        command.args(["-F", "none", "-p", &port.to_string(), "-l", name, "-o", "BatchMode=yes"]);
        command.args(["-o", "ConnectTimeout=120", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]);
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
        command.args([
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
        ]);
        command.args(more);
        command
    };
    let mut with_key = client(&["-i"]);
    with_key.arg(&key.path).args(["127.0.0.1", WHO_AM_I]);
    let (status, out, err) = run(with_key, folder, deadline, cancel)?;
    let with_key = match status {
        Some(status) if status.success() || !out.trim().is_empty() => Ok(out.trim().replace('\n', ", ")),
        Some(_) => Err(err.trim().to_owned()),
        None => Err("no answer in time".to_owned()),
    };
    let mut without = client(&["-o", "PreferredAuthentications=none", "-o", "PubkeyAuthentication=no"]);
    without.args(["127.0.0.1", "true"]);
    let (status, _, err) = run(without, folder, deadline, cancel)?;
    let methods = match status {
        Some(status) if status.success() => Ok("none".to_owned()),
        _ => methods_of(&err).ok_or_else(|| err.trim().to_owned()),
    };
    Ok(Logins { user: user.map(|user| (*user).to_owned()), with_key, methods })
}

/// The host keys in the report: type and key, without the comment.
pub(super) fn public_keys(report: &Report) -> impl Iterator<Item = String> {
    report.text("host-keys").lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (kind, key) = words.next().zip(words.next())?;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.+/=".contains(&b));
        let is_key = (kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-"))
            && plain(kind)
            && plain(key);
        is_key.then(|| format!("{kind} {key}"))
    })
}

/// useradd(8): what a name may be made of; it becomes an argument.
fn is_user_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.chars().all(allowed)
}

/// `debian@127.0.0.1: Permission denied (publickey,password).`
fn methods_of(refusal: &str) -> Option<String> {
    let (_, rest) = refusal.split_once("Permission denied (")?;
    let (methods, _) = rest.split_once(')')?;
    Some(methods.to_owned())
}

/// Runs to the end, or until deadline is over; then there is no status.
fn run(
    mut command: Command,
    folder: &Path,
    deadline: &Deadline,
    cancel: &CancellationToken,
) -> Result<(Option<ExitStatus>, String, String)> {
    let (out, err) = (folder.join("ssh.out"), folder.join("ssh.err"));
    let create = |path: &Path| fs::File::create(path).with_context(|| format!("writing {}", path.display()));
    command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?);
    let mut child = command.spawn().map_err(|error| Program::Ssh.not_started(error))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if deadline.is_over() || cancel.is_cancelled() {
            child.kill().and_then(|()| child.wait())?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    cancel.check()?;
    let text = |path: &Path| -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()) };
    Ok((status, text(&out)?, text(&err)?))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_ways_in_are_read_from_the_refusal() {
        let methods = |text: &str| methods_of(text);
        assert_eq!(
            methods("debian@127.0.0.1: Permission denied (publickey).\r\n").as_deref(),
            Some("publickey")
        );
        assert_eq!(
            methods("x: Permission denied (publickey,password).").as_deref(),
            Some("publickey,password")
        );
        assert_eq!(methods("ssh: connect to host 127.0.0.1 port 1: Connection refused"), None);
    }

    #[test]
    fn only_keys_and_names_are_taken_from_a_guest() {
        let report = report(&[(
            "host-keys",
            0,
            "ssh-ed25519 AAAA root@trial\nssh-rsa BBB+/= x\n@cert-authority * ssh-rsa C\nssh-rsa D\"E x\nssh-rsa",
        )]);
        assert_eq!(public_keys(&report).collect::<Vec<_>>(), ["ssh-ed25519 AAAA", "ssh-rsa BBB+/="]);
        assert!(is_user_name("debian") && is_user_name("a.b-c_1"));
        assert!(!is_user_name("-oProxyCommand=x") && !is_user_name("") && !is_user_name("a b"));
    }
}
