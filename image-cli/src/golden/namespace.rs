//! A build runs inside namespaces of its own, where it is root and what it mounts and starts ends with it.
//!
//! ```text
//! goldimg build …  (outer)                     makes the work directory, waits, removes the work directory
//!    └─ unshare --user … --mount --pid --fork env … setarch …
//!          └─ goldimg build …  (inner, process 1)   builds
//!                ├─ mmdebstrap, mke2fs        this machine's programs; none of the tree's
//!                └─ a sandbox for each program of the tree (sandbox.rs)
//!
//! outer ── a pipe ──► inner's standard input: first what nobody else may see;
//!                     its end, for whatever reason, asks inner to stop
//! ```
//!
//! An ordinary user gets a user namespace with the subordinate ids of `/etc/subuid` and `/etc/subgid`; root needs none.
//! Killing any of these processes ends all others: `unshare --kill-child` ends inner, inner's end ends all processes of
//! its namespace (pid_namespaces(7)), and outer's end closes the pipe.

use std::ffi::OsString;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::environment;
use crate::failure::Advise;
use crate::interrupt;

/// Tells inner that it is, and its work directory.
const MARK: &str = "GOLDIMG_WORK_DIR";
/// The file in the work directory that is there when inner came to an end by itself.
const ENDED: &str = "ended";
/// How long inner may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// The exit code of an inner that was asked to stop.
const STOPPED: u8 = 130;
/// How often outer looks for a request to stop.
const PATIENCE: Duration = Duration::from_millis(50);
/// What a distribution's files need: ids up to `nobody`, 65534.
const IDS: u64 = 65534;

/// The work directory, if this process is inner.
pub(crate) fn inside() -> Option<PathBuf> {
    // The variable alone could be anybody's: inner is also the first process of its namespace.
    std::env::var_os(MARK).filter(|_| std::process::id() == 1).map(PathBuf::from)
}

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

/// Makes sure that namespaces can be made here.
///
/// # Errors
/// If not, with the remedy.
pub(crate) fn probe() -> anyhow::Result<()> {
    if !is_root() {
        subordinate_ids("/etc/subuid", rustix::process::getuid().as_raw())?;
        subordinate_ids("/etc/subgid", rustix::process::getuid().as_raw())?;
    }
    let output = unshare(&ALL)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("starting unshare")
        .hint(|| "sudo apt-get install util-linux")?;
    if output.status.success() { Ok(()) } else { Err(refusal(&output)) }
}

/// Why no namespaces can be made, and what helps.
fn refusal(output: &Output) -> anyhow::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let error = anyhow!("making namespaces for the build: {}", said.trim());
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
    Err::<(), _>(error).hint(|| hint).expect_err("made from an error")
}

/// Makes sure that `file` gives the user `uid` enough ids.
fn subordinate_ids(file: &str, uid: u32) -> anyhow::Result<()> {
    let user = user_name(uid).unwrap_or_else(|| uid.to_string());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let count = granted(&text, &user, uid);
    if count >= IDS {
        return Ok(());
    }
    let what = if count == 0 { "has no subordinate ids".into() } else { format!("has {count} ids only") };
    Err(anyhow!("{user} {what} in {file}, and an image has files of up to {IDS} users")).hint(|| {
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

/// Runs this program again, inside, with the same arguments and `variables` added to its environment, hands it the
/// line `handed`, and answers with its exit code.
///
/// # Errors
/// If it cannot be started, or was killed.
pub(crate) fn run_inside(work: &Path, variables: &[(&str, OsString)], handed: &[u8]) -> anyhow::Result<u8> {
    let program = std::env::current_exe().context("finding this program itself")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut child = unshare(&ALL)
        .arg("--")
        .args(environment::CLEAN)
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(environment::variables(std::env::vars_os()))
        .env(MARK, work)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .spawn()
        .context("starting unshare")?;
    if let Some(pipe) = &mut child.stdin {
        // One that is gone already is seen below.
        let _ = pipe.write_all(handed).and_then(|()| pipe.write_all(b"\n"));
    }
    let status = wait(&mut child)?;
    // unshare ends with a code of its own, or by a signal, when inner was killed.
    if work.join(ENDED).exists() {
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::failure::FAILED);
        // Which signal it was, only outer knows.
        return Ok(if code == STOPPED && interrupt::requested() { interrupt::exit_code() } else { code });
    }
    interrupt::check()?;
    Err(anyhow!("the build was killed")).hint(|| {
        "if not by you, then by the system for want of memory (see dmesg): build on disk with --work-dir DIR"
    })
}

/// The line that outer hands to inner. Called once, by inner, before [`follow_outer`].
///
/// # Errors
/// If outer is gone.
pub(crate) fn handed() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    std::io::stdin().lock().read_until(b'\n', &mut line).context("reading what is handed over")?;
    if line.pop() == Some(b'\n') { Ok(line) } else { Err(anyhow!("nothing was handed over")) }
}

/// Tells outer that inner came to an end by itself.
///
/// # Errors
/// If the work directory cannot be written.
pub(crate) fn end(work: &Path) -> anyhow::Result<()> {
    std::fs::write(work.join(ENDED), "").with_context(|| format!("writing {}", work.join(ENDED).display()))
}

/// Waits for inner; asks it to stop when outer is asked to.
fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let mut lifeline = child.stdin.take();
    let mut deadline = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::requested() {
            lifeline = None;
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + GRACE);
            if Instant::now() > deadline {
                child.kill()?;
            }
        }
        // Held open until here.
        let _ = &lifeline;
        std::thread::sleep(PATIENCE);
    }
}

/// Stops inner's work when outer is gone. Called once, by inner.
///
/// # Errors
/// If no thread can be started.
pub(crate) fn follow_outer() -> anyhow::Result<()> {
    let follow = || {
        // Nothing is ever written: this ends with the pipe.
        let _ = std::io::stdin().read(&mut [0]);
        interrupt::request();
        std::thread::sleep(GRACE);
        #[expect(
            clippy::exit,
            reason = "the work did not hear of the request: its namespace ends with process 1"
        )]
        std::process::exit(i32::from(STOPPED));
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(follow).context("starting a thread")?;
    Ok(())
}

/// Removes `work`, a folder with all in it or a file, whoever owns it. Called by outer when inner is gone, and its mounts with it.
///
/// # Errors
/// If something cannot be removed.
pub(crate) fn remove(work: &Path) -> anyhow::Result<()> {
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
                false => {
                    Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim())).with_context(doing)
                }
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
            crate::failure::render(&refusal(&output))
        };
        let text = hint("unshare: failed to execute newuidmap: No such file or directory\n");
        assert!(text.ends_with("hint: sudo apt-get install uidmap"), "{text}");
        assert!(
            text.contains("making namespaces for the build: unshare: failed to execute newuidmap"),
            "{text}"
        );
        assert!(hint("unshare: unrecognized option '--map-auto'").contains("2.38"));
    }

    #[test]
    fn the_variable_alone_is_no_namespace() {
        assert_eq!(inside(), None);
    }
}
