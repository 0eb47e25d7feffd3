//! Processes that are this program again: a build inside its namespaces, process 1 of a step, a guest's metadata service.
//!
//! ```text
//! main ─► run_as_helper ─► Some: what this process was started for is done, and this is its exit code   (entry.rs)
//!            └─► None: the program's own work ─► build ─► starts the program again, which is a helper then
//! ```
//!
//! The engine cannot go on in a fork of a process that has threads, so it starts the program anew; a program in which
//! [`run_as_helper`](crate::run_as_helper) was not called would do its own work again instead, and is not started.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Context, ErrorKind, err};

/// Whether this process knows what to do when it is started as a helper.
static CALLED: AtomicBool = AtomicBool::new(false);

/// How the process that becomes process 1 of a step is called: the only word of its command line, which a step can read.
pub(crate) const INIT: &str = "goldimg-init";
/// The first argument of the process in which a build works, process 1 of its namespaces.
pub(crate) const INNER: &str = "goldimg:inner";
/// The argument of process 1 of a guest, a word of the kernel's command line.
pub(crate) const GUEST: &str = "goldimg:guest";
/// The first argument of a metadata service; the second one is its folder.
pub(crate) const METADATA: &str = "goldimg:metadata";

/// Says that this process knows.
pub(crate) fn prepare() {
    CALLED.store(true, Ordering::Relaxed);
}

/// This program, to be started as a helper.
///
/// # Errors
/// If it would not know what to do then, or cannot be found.
pub(crate) fn program() -> crate::Result<PathBuf> {
    if !CALLED.load(Ordering::Relaxed) {
        let error = err!(
            "this program does not call goldimg::run_as_helper, without which it cannot be started as a helper"
        );
        return Err(error
            .of_kind(ErrorKind::Invalid)
            .with_hint("call it first in main, and end with the exit code it answers with, if it does"));
    }
    std::env::current_exe().context("finding this program itself")
}

/// The socket that is this process's standard input.
pub(crate) fn standard_socket() -> std::io::Result<UnixStream> {
    Ok(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_would_do_its_own_work_again_is_not_started() {
        // Nobody calls it in tests.
        let error = program().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("goldimg::run_as_helper"), "{error:?}");
        prepare();
        assert!(program().unwrap().is_file());
    }
}
