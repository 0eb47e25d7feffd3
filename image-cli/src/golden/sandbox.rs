//! The sandbox: where a program of the tree runs, with nothing of this machine in sight.
//!
//! ```text
//! goldimg (inner)              Confined::spawn: a thread with new namespaces starts ▼, tells it what to do, and waits
//!    └─ goldimg-init           process 1 of the step: the tree becomes `/`, privileges go (init.rs)
//!          └─ apt-get …        the program itself
//!
//! inner ── Order ──► init       over a socket that is init's standard input;
//!       ◄─ Verdict ─            the program never has it
//! ```
//!
//! | what | new for every program | from the session |
//! | --- | --- | --- |
//! | namespaces | mount, PID, IPC, UTS, cgroup, time (namespaces(7)) | user (if not root), network |
//! | root | `pivot_root`: the old one is unmounted, not hidden | `/dev`, `/sys`, `/run` (`tree/session.rs`) |
//! | `/proc` | mounted anew, masked as container runtimes do | |
//! | privileges | capabilities of a container, a seccomp filter, no core dumps, no terminal | |
//!
//! The end of process 1 is the end of all that a program left running (pid_namespaces(7)).

pub(crate) mod init;
mod masks;
mod privileges;
mod restrict;
mod root;
mod secrets;
mod syscalls;

pub(crate) use masks::BOOT_ID;
pub(crate) use restrict::add_flags;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::log::{Program, Running};
use super::network;
use super::secrets::Secrets;
use crate::error::{Context, Record, err};
use crate::os_text::OsText;
use crate::reexec;

/// A program of a tree, to be run in a sandbox.
#[derive(Debug)]
pub(crate) struct Confined<'a> {
    order: Order,
    network: Option<BorrowedFd<'a>>,
}

/// What init is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// The tree, where this machine has it.
    root: OsText,
    program: OsText,
    arguments: Vec<OsText>,
    environment: Vec<(OsText, OsText)>,
    /// What it finds in `/run/secrets`.
    secrets: Secrets,
    /// Whether the program talks to the terminal, as a shell does.
    terminal: bool,
}

/// What init answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    /// The program's status as wait(2) has it.
    Ended(i32),
    /// Why there was no program.
    Refused(Record),
}

impl<'a> Confined<'a> {
    /// `program`, by its name or path in the tree at `root`, with no arguments, no environment and no network.
    pub(super) fn new(root: &Path, program: &str) -> Self {
        let order = Order {
            root: root.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            secrets: Secrets::default(),
            terminal: false,
        };
        Self { order, network: None }
    }

    /// One more argument.
    pub(crate) fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.args([argument])
    }

    /// More arguments.
    pub(crate) fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.order.arguments.extend(arguments.into_iter().map(OsText::from));
        self
    }

    /// Sets a variable of its environment, or changes it.
    pub(crate) fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let name = OsText::from(name);
        self.order.environment.retain(|(known, _)| *known != name);
        self.order.environment.push((name, value.into()));
        self
    }

    /// Sets more of them.
    pub(crate) fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Shows it `secrets`, and nobody else.
    pub(crate) fn secrets(&mut self, secrets: Secrets) -> &mut Self {
        self.order.secrets = secrets;
        self
    }

    /// Gives it the network namespace `network`.
    pub(crate) fn network(&mut self, network: BorrowedFd<'a>) -> &mut Self {
        self.network = Some(network);
        self
    }

    /// Gives it the terminal for its input and output.
    pub(crate) fn on_terminal(&mut self) -> &mut Self {
        self.order.terminal = true;
        self
    }

    /// Starts init in new namespaces. A thread of its own gets them: the program is born into them, and this process
    /// stays where it is.
    fn start(&self, init: &mut Command) -> crate::Result<Child> {
        let start = || {
            match self.network {
                Some(network) => move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
                    .context("entering the network of the steps")?,
                None => network::isolate()?,
            }
            unshare(NAMESPACES).context("making namespaces")?;
            init.spawn().context("starting the sandbox's process 1")
        };
        std::thread::scope(|scope| scope.spawn(start).join())
            .unwrap_or_else(|_| Err(err!("the thread that starts programs panicked")))
    }
}

/// The namespaces that are made for each program, besides that of the network. The last one, that of time, is not in
/// nix (time_namespaces(7), Linux 5.6).
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP)
    .union(CloneFlags::from_bits_retain(0x80));

impl Program for Confined<'_> {
    fn name(&self) -> String {
        let program = self.order.program.clone().into_os();
        Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned()
    }

    fn words(&self) -> Vec<OsString> {
        let words = std::iter::once(&self.order.program).chain(&self.order.arguments);
        words.map(|word| word.clone().into_os()).collect()
    }

    fn spawn(&mut self, stdout: Stdio, stderr: Stdio) -> crate::Result<Running> {
        let doing = || format!("starting {} in the image", self.name());
        let (mut ours, theirs) = UnixStream::pair().with_context(doing)?;
        let mut init = Command::new(reexec::program()?);
        init.arg0(reexec::INIT).env_clear().current_dir("/");
        init.stdin(OwnedFd::from(theirs)).stdout(stdout).stderr(stderr);
        let child = self.start(&mut init).with_context(doing)?;
        drop(init);
        let order = serde_json::to_vec(&self.order).with_context(doing)?;
        // If init is gone already, its status says so.
        let _ = ours.write_all(&order).and_then(|()| ours.shutdown(Shutdown::Write));
        Ok(Running { child, verdict: Some(Box::new(move |status| verdict(ours, status))) })
    }
}

/// What became of the program, by init's word, or by its `status` where it could not say any.
fn verdict(mut socket: UnixStream, status: ExitStatus) -> crate::Result<ExitStatus> {
    let mut said = Vec::new();
    // A socket of a killed init may end in an error: then it has said nothing.
    let _ = socket.read_to_end(&mut said);
    match serde_json::from_slice(&said) {
        Ok(Verdict::Ended(raw)) => Ok(ExitStatus::from_raw(raw)),
        Ok(Verdict::Refused(error)) => Err(error.into()),
        // init itself succeeds only after it has given its verdict.
        Err(_) if status.success() => Err(err!("the sandbox's process 1 said nothing")),
        Err(_) => Ok(status),
    }
}

/// Where the tree is, and what is to be done in it.
impl Order {
    fn root(&self) -> PathBuf {
        self.root.clone().into_path()
    }

    fn receive(socket: &mut UnixStream) -> crate::Result<Self> {
        let mut text = Vec::new();
        socket.read_to_end(&mut text).context("reading what to do")?;
        serde_json::from_slice(&text).context("reading what to do")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn orders_carry_bytes_that_are_no_text() {
        let mut confined = Confined::new(Path::new("/build/tree"), "sh");
        confined.arg(OsStr::from_bytes(b"\xff\n")).env("A", "1").env("B", "2").env("A", "3");
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.write_all(&serde_json::to_vec(&confined.order).unwrap()).unwrap();
        drop(ours);
        let received = Order::receive(&mut theirs).unwrap();
        assert_eq!(received, confined.order);
        assert_eq!(received.environment, [("B".into(), "2".into()), ("A".into(), "3".into())]);
        assert_eq!(confined.words(), [OsStr::new("sh"), OsStr::from_bytes(b"\xff\n")]);
    }

    #[test]
    fn an_init_that_says_nothing_is_no_success() {
        let said = |text: &[u8], raw: i32| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(text).unwrap();
            drop(theirs);
            verdict(ours, ExitStatus::from_raw(raw))
        };
        assert!(said(b"", 0).is_err());
        assert_eq!(said(b"", 9).unwrap().signal(), Some(9));
        assert_eq!(said(b"{\"Ended\":768}", 0).unwrap().code(), Some(3));
        let error =
            said(b"{\"Refused\":{\"kind\":\"failed\",\"words\":[\"no such program\"],\"hint\":null}}", 256)
                .unwrap_err();
        assert_eq!(error.to_string(), "no such program");
    }
}
