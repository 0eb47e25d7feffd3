//! A build runs inside namespaces of its own, where it is root and what it mounts and starts ends with it.
//!
//! ```text
//! the caller's process (outer)                  makes the work directory, waits, removes the work directory
//!    └─ unshare --user … --mount --pid --fork env … setarch …
//!          └─ the same program (inner, process 1)   builds
//!                ├─ mmdebstrap, mke2fs        this machine's programs; none of the tree's
//!                └─ a sandbox for each program of the tree (sandbox.rs)
//!
//! outer ◄── a socket ──► inner's standard input: an order, what inner tells of it (order.rs);
//!                        outer's end, for whatever reason, asks inner to stop
//! ```
//!
//! An ordinary user gets a user namespace with the subordinate ids of `/etc/subuid` and `/etc/subgid`; root needs none.
//! Killing any of these processes ends all others: `unshare --kill-child` ends inner, inner's end ends all processes of
//! its namespace (pid_namespaces(7)), and outer's end closes the socket.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::environment;
use super::epoch;
use super::order::{GRACE, Message, Order};
use crate::error::{Advise, Context, ErrorKind, err};
use crate::monitor::Monitor;
use crate::reexec;

/// How often outer looks for a request to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The exit codes from here on are of programs that a signal ended.
const BY_SIGNAL: i32 = 128;
/// What a distribution's files need: ids up to `nobody`, 65534.
const IDS: u64 = 65534;

/// Whether this process runs as root.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `unshare` with the options for `what`.
fn unshare(what: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-auto", "--map-root-user"]);
    }
    command.args(what);
    command
}

/// The options of a build's namespaces.
const ALL: [&str; 5] = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"];

/// Makes sure that namespaces can be made here, by a program in the folders of `path`.
///
/// # Errors
/// If not, with the remedy.
pub(crate) fn probe(path: &OsStr) -> crate::Result<()> {
    if !is_root() {
        subordinate_ids("/etc/subuid", rustix::process::getuid().as_raw())?;
        subordinate_ids("/etc/subgid", rustix::process::getuid().as_raw())?;
    }
    let output = unshare(&ALL)
        .arg("true")
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .context("starting unshare")
        .of_kind(ErrorKind::Missing)
        .hint(|| "sudo apt-get install util-linux")?;
    if output.status.success() { Ok(()) } else { Err(refusal(&output)) }
}

/// Why no namespaces can be made, and what helps.
fn refusal(output: &Output) -> crate::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let error = err!("making namespaces for the build: {}", said.trim());
    let setting = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    let hint = if said.contains("newuidmap") || said.contains("newgidmap") {
        "sudo apt-get install uidmap"
    } else if said.contains("--map-auto") {
        "install util-linux 2.38 or newer (Debian 12, Ubuntu 24.04), or build as root"
    } else if setting("user/max_user_namespaces").trim() == "0" {
        "sudo sysctl user.max_user_namespaces=65536"
    } else if setting("kernel/unprivileged_userns_clone").trim() == "0" {
        "sudo sysctl kernel.unprivileged_userns_clone=1"
    } else if setting("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if is_root() {
        "root of a container needs the right to mount: start the container with --privileged, \
         or with --cap-add=SYS_ADMIN --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined"
    } else {
        "build as root, or allow user namespaces on this machine"
    };
    error.of_kind(ErrorKind::Missing).with_hint(hint)
}

/// Makes sure that `file` gives the user `uid` enough ids.
fn subordinate_ids(file: &str, uid: u32) -> crate::Result<()> {
    let user = user_name(uid).unwrap_or_else(|| uid.to_string());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let count = granted(&text, &user, uid);
    if count >= IDS {
        return Ok(());
    }
    let what = if count == 0 { "has no subordinate ids".into() } else { format!("has {count} ids only") };
    Err(err!("{user} {what} in {file}, and an image has files of up to {IDS} users"))
        .of_kind(ErrorKind::Missing)
        .hint(|| {
            let taken =
                ["/etc/subuid", "/etc/subgid"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
            let first = first_free(&taken.join("\n"));
            let range = format!("{first}-{}", first.saturating_add(65_535));
            format!("sudo usermod --add-subuids {range} --add-subgids {range} {user}")
        })
}

/// The first id behind all that the text of subuid(5) files grants, and behind those of accounts.
fn first_free(text: &str) -> u64 {
    let end = |line: &str| {
        let mut numbers = line.trim().split(':').skip(1).map(|field| field.parse::<u64>().ok());
        numbers.next()??.checked_add(numbers.next()??)
    };
    text.lines().filter_map(end).max().unwrap_or(0).max(FIRST_ID)
}

/// Where useradd begins with subordinate ids (login.defs(5), SUB_UID_MIN).
const FIRST_ID: u64 = 100_000;

/// The largest range that the text of a subuid(5) file grants a user.
fn granted(text: &str, user: &str, uid: u32) -> u64 {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let mine = owner == user || owner.parse() == Ok(uid);
        fields.nth(1)?.parse().ok().filter(|_| mine)
    };
    text.lines().filter_map(range).max().unwrap_or(0)
}

fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    users.lines().find_map(named)
}

/// The files that were made, or why none were.
type LastWord = crate::Result<Vec<PathBuf>>;

/// Has `program` follow `order` inside, as inner, tells what it tells, and answers with the files that it made.
///
/// # Errors
/// If it cannot be started, fails, or was killed.
pub(super) fn run_inside(program: &Path, order: &Order, monitor: Monitor<'_>) -> crate::Result<Vec<PathBuf>> {
    let (ours, theirs) = UnixStream::pair().context("making a socket")?;
    let request = order.request();
    let mut command = unshare(&ALL);
    command
        .arg("--")
        .args(environment::CLEAN)
        .arg(program)
        .arg(reexec::INNER)
        .env_clear()
        .envs(request.variables.iter())
        .env(epoch::VARIABLE, request.epoch.seconds().to_string())
        .stdin(OwnedFd::from(theirs));
    if !request.shell {
        // Signals of the terminal are the caller's. A shell is what it talks to.
        command.process_group(0);
    }
    let mut child = command.spawn().context("starting unshare")?;
    // Its end of the socket is inner's alone: when inner is gone, so is that.
    drop(command);
    order.send(&ours)?;
    let (last_word, status) = listen(&mut child, &ours, monitor)?;
    if let Some(last_word) = last_word {
        return last_word;
    }
    monitor.check()?;
    // Where inner was killed, unshare(1) ends by the same signal, with a code above 128, or with 1, since it cannot block that
    // signal.
    match status.code().filter(|code| (2..BY_SIGNAL).contains(code)) {
        Some(_) => Err(err!("the build's own process ended ({status}) before it said why")),
        None => Err(err!("the build was killed")).hint(|| {
            "if not by you, then by the system for want of memory (see dmesg): build on disk with --work-dir DIR"
        }),
    }
}

/// Tells what inner tells until its end, and asks it to stop when the work is cancelled; answers with its last word, if it had
/// one, and with how it ended.
fn listen(
    child: &mut Child,
    socket: &UnixStream,
    monitor: Monitor<'_>,
) -> crate::Result<(Option<LastWord>, ExitStatus)> {
    socket.set_read_timeout(Some(POLL_INTERVAL)).context("listening to the build")?;
    let (mut reader, mut line) = (BufReader::new(socket), Vec::new());
    let (mut last_word, mut deadline, mut ended) = (None, None, false);
    loop {
        match reader.read_until(b'\n', &mut line) {
            // What was said before the end has been read by now.
            Ok(0) => break,
            Ok(_) => {
                let message: Option<Message> = serde_json::from_slice(&line).ok();
                line.clear();
                last_word = message.and_then(|message| message.deliver(monitor.reporter())).or(last_word);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                // A program that inner left behind may hold the socket: nothing was said in all this time.
                if ended {
                    break;
                }
                ended = child.try_wait()?.is_some();
            }
            // The socket of a killed process.
            Err(_) => break,
        }
        if monitor.cancel().is_cancelled() {
            if deadline.is_none() {
                // It may be gone already.
                let _ = socket.shutdown(Shutdown::Write);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
            if Instant::now() > deadline {
                child.kill()?;
            }
        }
    }
    Ok((last_word, child.wait()?))
}

/// Removes `work`, a folder with all in it or a file, whoever owns it. Called by outer when inner is gone, and its mounts with it.
///
/// # Errors
/// If something cannot be removed.
pub(crate) fn remove(work: &Path) -> crate::Result<()> {
    let doing = || format!("removing the work directory {}", work.display());
    let removed = match work.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(work),
        Ok(_) => std::fs::remove_file(work),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if is_root() => Err(error).with_context(doing),
        // Files of subordinate ids belong to us inside a user namespace only.
        Err(_) => {
            let output = unshare(&[])
                .args(["rm", "-rf", "--one-file-system", "--"])
                .arg(work)
                .stdin(Stdio::null())
                .output()
                .with_context(doing)?;
            match output.status.success() {
                true => Ok(()),
                false => Err(err!("{}", String::from_utf8_lossy(&output.stderr).trim())).with_context(doing),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn subordinate_ids_are_found_by_name_and_by_number() {
        let text = "root:100000:65536\nann:165536:65536\n1001:300000:1000\nbroken\nann:1:\n\n";
        assert_eq!(granted(text, "ann", 1000), 65536);
        assert_eq!(granted(text, "bob", 1001), 1000);
        assert_eq!(granted(text, "eve", 1002), 0);
        assert_eq!(granted("", "ann", 1000), 0);
    }

    #[test]
    fn the_ids_that_are_proposed_are_free() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("root:100000:65536\nann:165536:65536\nbroken\nbob:1:2\n"), 231_072);
    }

    #[test]
    fn refusals_name_the_remedy() {
        let hint = |stderr: &str| {
            let output = Output {
                status: ExitStatus::from_raw(256),
                stdout: vec![],
                stderr: stderr.as_bytes().into(),
            };
            crate::error::rendered(&refusal(&output))
        };
        let text = hint("unshare: failed to execute newuidmap: No such file or directory\n");
        assert!(text.ends_with("hint: sudo apt-get install uidmap"), "{text}");
        assert!(
            text.contains("making namespaces for the build: unshare: failed to execute newuidmap"),
            "{text}"
        );
        assert!(hint("unshare: unrecognized option '--map-auto'").contains("2.38"));
    }
}
