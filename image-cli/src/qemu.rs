//! Guests of QEMU: what runs their instructions, how long they are waited for, and when they are at rest.
//!
//! ```text
//! Accelerator   KVM where it really works, else the emulator      accelerator.rs
//! Deadline      a limit that leaves out what others took           deadline.rs
//! Idle          for how long a guest could work and did not        idle.rs
//! ```

mod accelerator;
mod deadline;
mod idle;

use std::fs;
use std::path::Path;

pub use accelerator::Accelerator;
pub(crate) use deadline::Deadline;
pub(crate) use idle::Idle;

use crate::printable::printable;

/// What QEMU must not do.
pub(crate) const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// A value within one of QEMU's options, which commas separate.
pub(crate) fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The last line of what QEMU said, which is in the file `log`.
pub(crate) fn complaint(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    // The kernel's words for a program that was ended are no complaint.
    let line = log.lines().rev().find(|line| !line.trim().is_empty() && !line.contains("warning:"));
    line.map_or_else(|| "it said nothing".to_owned(), printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled_and_the_last_words_count() {
        assert_eq!(option(Path::new("/a,b/c")), "/a,,b/c");
        assert_eq!(complaint(Path::new("/nowhere")), "it said nothing");
    }
}
