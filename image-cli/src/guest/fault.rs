//! What a guest could not do: at what, where, and what its kernel said.

use std::io;

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::printable::printable;

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Task {
    /// Makes itself at home: `/dev`, `/proc`, what it was ordered.
    Begin,
    /// Loads a module of its kernel.
    Module,
    /// Looks for a disk.
    Disk,
    /// Mounts a filesystem.
    Mount,
    /// Removes a file, or a directory with all that is in it.
    Remove,
    /// Reads the archive.
    Read,
    /// Unpacks a file.
    Unpack,
    /// Writes out what the kernel has in memory, and unmounts.
    Unmount,
}

impl Task {
    fn doing(self) -> &'static str {
        match self {
            Self::Begin => "preparing the guest",
            Self::Module => "loading the kernel's module",
            Self::Disk => "finding the disk",
            Self::Mount => "mounting",
            Self::Remove => "removing",
            Self::Read => "reading the archive",
            Self::Unpack => "unpacking",
            Self::Unmount => "unmounting",
        }
    }
}

/// What a guest failed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// What it was doing.
    pub task: Task,
    /// The absolute path of what it did that to, as the guest sees the image; a name of what is none.
    pub path: Vec<u8>,
    /// The number of the system's error, where it is one.
    pub errno: Option<i32>,
    /// The error's words.
    pub words: String,
}

impl Fault {
    /// At `task` with what is at `path`, for the reason `why`.
    pub(super) fn new(task: Task, path: impl AsRef<[u8]>, why: impl ToString) -> Self {
        Self { task, path: path.as_ref().to_vec(), errno: None, words: why.to_string() }
    }

    /// The same of what the system said.
    pub(super) fn of(task: Task, path: impl AsRef<[u8]>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Self { errno: error.raw_os_error(), ..Self::new(task, path, &error) }
    }

    /// As an error of the engine: this is its cause.
    pub(super) fn into_error(self) -> crate::Error {
        let is_full = self.errno.is_some_and(|errno| {
            [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT].iter().any(|own| own.raw_os_error() == errno)
        });
        let error = crate::Error::new(ErrorKind::Failed, self);
        match is_full {
            true => error.with_hint("the filesystem is full: make it larger before, or change less"),
            false => error,
        }
    }
}

/// What the guest says is escaped: it may have been taken over by what it mounted.
impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.task.doing())?;
        if !self.path.is_empty() {
            write!(f, " {}", printable(&String::from_utf8_lossy(&self.path)))?;
        }
        write!(f, ": {}", printable(&self.words))
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_the_cause_of_an_error_with_a_hint() {
        let fault = Fault::of(Task::Unpack, "/etc/a\u{1b}b", rustix::io::Errno::NOSPC);
        let text = serde_json::to_string(&fault).unwrap();
        let error = serde_json::from_str::<Fault>(&text).unwrap().into_error().context("changing it");
        assert_eq!(error.cause::<Fault>(), Some(&fault));
        let shown = crate::error::rendered(&error);
        assert!(shown.starts_with("changing it: unpacking /etc/a") && !shown.contains('\u{1b}'), "{shown}");
        assert!(shown.contains("hint: the filesystem is full"), "{shown}");
        assert!(Fault::new(Task::Read, "", "it ends early").into_error().hint().is_none());
    }
}
