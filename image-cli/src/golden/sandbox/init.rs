//! Process 1 of a sandbox: makes the tree its root, gives its privileges away, starts the program, and reaps.
//!
//! It is this program again, with nothing in its environment and one word as its command line. A step sees it in
//! `/proc/1`, but cannot look into it: it is not dumpable (PR_SET_DUMPABLE), and a step may not trace.

use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior, setsid, wait};

use super::{Order, Verdict, privileges, root, secrets};
use crate::error::{Context, Record, err};
use crate::os_text::OsText;
use crate::reexec;

/// Runs as init, started by a `Confined` program, and answers with the exit code.
pub(crate) fn run() -> ExitCode {
    let Ok(mut socket) = reexec::standard_socket() else { return ExitCode::FAILURE };
    let verdict = match follow(&mut socket) {
        Ok(status) => Verdict::Ended(status),
        Err(error) => Verdict::Refused(Record::from(&error)),
    };
    let told = serde_json::to_writer(&socket, &verdict).is_ok();
    if told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does what is ordered and answers with the program's status, as wait(2) has it.
fn follow(socket: &mut UnixStream) -> crate::Result<i32> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("hiding process 1")?;
    let order = Order::receive(socket)?;
    if !order.terminal {
        // Nothing can be typed into a terminal that is not there.
        setsid().context("leaving the terminal")?;
    }
    let terminal = order.terminal.then(open_terminal).transpose()?;
    root::enter(&order.root())?;
    secrets::show(&order.secrets)?;
    rustix::system::sethostname(b"localhost").context("setting the hostname")?;
    privileges::drop()?;
    let program = order.program.clone().into_os();
    let doing = format!("starting {} in the image", program.to_string_lossy());
    let mut command = Command::new(program);
    command.args(order.arguments.into_iter().map(OsText::into_os)).env_clear();
    command.envs(order.environment.into_iter().map(|(name, value)| (name.into_os(), value.into_os())));
    command.current_dir("/").stdin(Stdio::null());
    if let Some(terminal) = terminal {
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    }
    let child = command.spawn().with_context(|| doing)?;
    reap(Pid::from_child(&child))
}

fn open_terminal() -> crate::Result<std::fs::File> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context("opening the terminal: a shell in the image needs one")
}

/// Waits for `program`, and for whatever else ends until then and has no other parent.
fn reap(program: Pid) -> crate::Result<i32> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => return Ok(status.as_raw()),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Err(err!("waiting for the program: it is gone")),
            Err(error) => return Err(error).context("waiting for the program"),
        }
    }
}
