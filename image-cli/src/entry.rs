//! Where a process begins that may be a helper of the engine.

use std::process::ExitCode;

use crate::{golden, guest, reexec, trial};

/// Does what this process was started for, if the engine started it as a helper, and answers with its exit code. To be called
/// first in `main`, before any thread is started:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     if let Some(code) = goldimg::run_as_helper() {
///         return code;
///     }
///     // The program's own work.
///     std::process::ExitCode::SUCCESS
/// }
/// ```
pub fn run_as_helper() -> Option<ExitCode> {
    reexec::prepare();
    let words: Vec<_> = std::env::args_os().collect();
    // A word alone could be anybody's link to this program, or argument: these are also the first process of their namespace, or machine.
    let is_first = std::process::id() == 1;
    match words.as_slice() {
        [name] if is_first && name == reexec::INIT => Some(golden::sandbox::init::run()),
        [_, word] if is_first && word == reexec::INNER => Some(golden::inner::run()),
        [_, word] if is_first && word == reexec::GUEST => Some(guest::init::run()),
        [_, word, folder] if word == reexec::METADATA => Some(trial::metadata::run(folder.as_ref())),
        _ => None,
    }
}
