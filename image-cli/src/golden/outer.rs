//! Outer, the caller's process: has inner do the work in a work directory, and cleans up after it, however it ended.

use std::path::{Path, PathBuf};

use super::log::Log;
use super::namespace;
use super::no_space;
use super::order::Order;
use super::request::{Request, places};
use super::work_directory::{self, WorkDirectory};
use crate::monitor::Monitor;
use crate::reexec;

/// What came of the work.
pub(super) struct Done {
    /// The files that were made.
    pub(super) files: Vec<PathBuf>,
    /// The full log.
    pub(super) log: PathBuf,
    /// The work directory, if it was kept.
    pub(super) work: Option<PathBuf>,
}

/// Has inner follow the order that `order` makes for a new work directory, with a log at `log`.
///
/// # Errors
/// If the work directory or the log cannot be made, the work fails, or what is left of it cannot be removed.
pub(super) fn run(
    request: &Request,
    log: &Path,
    order: impl FnOnce(&Path) -> Order,
    monitor: Monitor<'_>,
) -> crate::Result<Done> {
    let program = reexec::program()?;
    let parent = request.work_parent.as_deref().unwrap_or(Path::new(work_directory::USUAL));
    let places = places(request, parent);
    let log = no_space::explain(Log::create(log), None, &places)?;
    work_directory::remove_abandoned(&[Path::new(work_directory::USUAL), parent], monitor);
    let work = no_space::explain(WorkDirectory::create(parent, request.keep), None, &places)?;
    let result = namespace::run_inside(&program, &order(work.path()), monitor);
    if result.is_err() {
        monitor.note(&format!("the full log is {}", log.path().display()));
    }
    let kept = request.keep.then(|| work.path().to_owned());
    let removed = match &kept {
        Some(path) => {
            monitor.note(&format!("the work directory is {}", path.display()));
            Ok(())
        }
        None => work.remove(),
    };
    // Why the work failed says more than why it cannot be cleaned up after.
    let files = result.inspect_err(|_| {
        if let Err(left) = &removed {
            monitor.warning(&format!("{left:#}"));
        }
    })?;
    removed?;
    Ok(Done { files, log: log.path().to_owned(), work: kept })
}
