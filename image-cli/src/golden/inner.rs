//! Inner: the process inside a build's namespaces, which does the work.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::environment::{self, Caller};
use super::layers::Wanted;
use super::log::Log;
use super::no_space::{self, Place, What};
use super::order::{GRACE, Job, Message, Order, SocketReporter};
use super::request::places;
use super::secrets::redact::Redactor;
use super::work_directory::WorkDirectory;
use super::workspace::{Work, Workspace};
use super::{customize, existing, stages};
use crate::error::{Context, Record};
use crate::monitor::{CancellationToken, Monitor};
use crate::os_text::OsText;
use crate::reexec;

/// The same where outer is gone.
const GRACE_ALONE: Duration = Duration::from_secs(1);

/// Does what the standard input says, and tells there what came of it.
pub(crate) fn run() -> ExitCode {
    // It closes files, and none of these is open yet.
    let settled = environment::settle();
    let Ok(socket) = reexec::standard_socket() else { return ExitCode::FAILURE };
    let Ok(orders) = socket.try_clone() else { return ExitCode::FAILURE };
    let (reporter, cancel) = (SocketReporter::new(socket), CancellationToken::new());
    let last_word = match settled.and_then(|caller| follow(&orders, caller, Monitor::new(&reporter, &cancel)))
    {
        Ok(files) => Message::Built(files),
        Err(error) => Message::Failed(Record::from(&error)),
    };
    reporter.send(&last_word);
    ExitCode::SUCCESS
}

fn follow(orders: &UnixStream, caller: Caller, monitor: Monitor<'_>) -> crate::Result<Vec<OsText>> {
    let order = Order::receive(orders)?;
    hear(monitor.cancel()).context("listening for signals")?;
    follow_outer(orders.try_clone()?, monitor.cancel().clone())?;
    let files = build(&order, caller, monitor)?;
    Ok(files.iter().map(OsText::from).collect())
}

/// The work itself, as root of its namespaces.
fn build(order: &Order, caller: Caller, monitor: Monitor<'_>) -> crate::Result<Vec<PathBuf>> {
    let (request, work) = (order.request(), order.work());
    let job = order.job();
    let log = Log::resume(&job.log(&request))?.hiding(Redactor::new(&order.secrets)?).until(monitor.cancel());
    let _held = WorkDirectory::hold(&work)?;
    let on_disk = request.keep || request.work_parent.is_some();
    let mut places = places(&request, &work);
    let work = Work::prepare(&work, order.spare.filter(|_| !on_disk))?;
    places.extend(work.memory().map(|path| Place { what: What::Memory, path: path.to_owned() }));
    let place = Workspace { request: &request, secrets: &order.secrets, work, log, caller, monitor };
    let done = match &job {
        Job::Build(loaded, Some(acquired), _) if loaded.recipe.base.is_image() => {
            existing::image::run(loaded, acquired, &place)
        }
        Job::Build(loaded, acquired, layer) => stages::run(&stages::Build {
            place: &place,
            loaded,
            acquired: acquired.as_deref(),
            layer: layer.as_ref().map(|key| Wanted { key, name: &loaded.recipe.name }),
        }),
        Job::Customize(job) => customize::work::run(job, &place),
    };
    no_space::explain(done, Some(&place.log), &places)
}

/// Signals that a terminal sends to all of its programs, where a shell is asked for, ask this one to stop, too. What it starts has them as usual.
fn hear(cancel: &CancellationToken) -> std::io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register(signal, cancel.flag())?;
    }
    // Listened to by nobody: a write beyond the limit on file sizes fails as any other.
    flag::register(SIGXFSZ, std::sync::Arc::default())?;
    Ok(())
}

/// Stops the work when outer is gone, or asks for it.
fn follow_outer(mut orders: UnixStream, cancel: CancellationToken) -> crate::Result<()> {
    let follow = move || {
        // Nothing more is ever written: this ends with outer's end of the socket.
        let _ = orders.read(&mut [0]);
        cancel.cancel();
        // Where outer is gone nobody waits for what is made, and the terminal is somebody else's again.
        std::thread::sleep(if is_closed(&orders) { GRACE_ALONE } else { GRACE });
        #[expect(
            clippy::exit,
            reason = "the work did not hear of the request: its namespace ends with process 1"
        )]
        std::process::exit(1);
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(follow).context("starting a thread")?;
    Ok(())
}

/// Whether nobody has the other end of `socket` any more; else it is only said that nothing more is sent.
fn is_closed(socket: &UnixStream) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}
