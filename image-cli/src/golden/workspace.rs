//! Where inner works, and how it tells: the same for a build and for changing an image.
//!
//! ```text
//! work directory (on disk)        packages/   this build's view of the package cache
//!   └─ memory/ (if there is some) tree/       the root filesystem
//! ```

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::environment::Caller;
use super::log::Log;
use super::recipe::{Access, Step};
use super::request::Request;
use super::secrets::Secrets;
use super::steps;
use super::tree::Session;
use crate::error::Context;
use crate::monitor::Monitor;

/// With so much memory to spare, the tree is made in it.
const MEMORY_NEEDED: u64 = 4 << 30;

/// Where a build works.
#[derive(Debug)]
pub(super) struct Work {
    /// On disk.
    pub(super) directory: PathBuf,
    /// The fast place for what is large: in memory, or else the same.
    pub(super) scratch: PathBuf,
}

impl Work {
    /// Prepares `directory`, with `spare` bytes of memory for what is large, if they are enough.
    pub(super) fn prepare(directory: &Path, spare: Option<u64>) -> crate::Result<Self> {
        let mut scratch = directory.to_owned();
        if let Some(spare) = spare.filter(|spare| *spare >= MEMORY_NEEDED) {
            scratch.push("memory");
            std::fs::create_dir_all(&scratch)?;
            let size = std::ffi::CString::new(format!("mode=755,size={}", spare / 4 * 3))?;
            mount("tmpfs", &scratch, "tmpfs", MountFlags::empty(), size.as_c_str())
                .context("mounting a memory filesystem to work in")?;
        }
        Ok(Self { directory: directory.to_owned(), scratch })
    }

    /// Where a memory filesystem is, if there is one.
    pub(super) fn memory(&self) -> Option<&Path> {
        (self.scratch != self.directory).then_some(self.scratch.as_path())
    }
}

/// What inner has for its work.
#[derive(Debug)]
pub(super) struct Workspace<'a> {
    pub(super) request: &'a Request,
    pub(super) secrets: &'a Secrets,
    pub(super) work: Work,
    pub(super) log: Log,
    pub(super) caller: Caller,
    pub(super) monitor: Monitor<'a>,
}

impl Workspace<'_> {
    /// One stage, shown with its time and noted in the log.
    pub(super) fn stage<T>(
        &self,
        stage: &dyn Display,
        work: impl FnOnce() -> crate::Result<T>,
    ) -> crate::Result<T> {
        let name = &stage.to_string();
        self.monitor.check()?;
        self.log.note(&format!("== {name}"))?;
        let stage = self.monitor.stage(name);
        let result = work().with_context(|| format!("stage \"{name}\""))?;
        stage.done();
        Ok(result)
    }

    /// Does `steps`, the first `done` of which are done already; what they copy is named from `folder`. Answers with what they put into
    /// the image by name.
    pub(super) fn steps(
        &self,
        steps: &[Step],
        done: usize,
        folder: &Path,
        session: &Session<'_>,
    ) -> crate::Result<BTreeSet<PathBuf>> {
        let mut asked_for = BTreeSet::new();
        for (index, step) in steps.iter().enumerate().skip(done) {
            let work = || steps::run(step, folder, self.secrets, session);
            asked_for.extend(self.stage(&steps::heading(index, step), work)?);
        }
        Ok(asked_for)
    }

    /// Tells what the user should know of the network of `steps`, if one of them may reach all of it; `usual` is what others may.
    pub(super) fn tell_network(
        &self,
        steps: &[Step],
        usual: Access,
        session: &Session<'_>,
    ) -> crate::Result<()> {
        if Step::any_has_full_network(steps, usual)
            && let Some(notice) = session.notice(Access::Full)?
        {
            self.monitor.note(&notice);
        }
        Ok(())
    }

    /// Does `work`, and opens a shell afterwards if one was asked for: also if it failed.
    pub(super) fn in_shell_reach<T>(
        &self,
        session: &Session<'_>,
        work: impl FnOnce() -> crate::Result<T>,
    ) -> crate::Result<T> {
        let result = work();
        if self.request.shell && !self.monitor.cancel().is_cancelled() {
            if let Err(error) = &result {
                self.monitor.warning(&format!("{error:#}"));
            }
            self.monitor
                .note("this is a shell in the image; the build goes on, or fails, when it ends (exit)");
            session.shell(self.request.variables.value("TERM"))?;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_enough_memory_all_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for spare in [None, Some(0), Some(MEMORY_NEEDED - 1)] {
            let work = Work::prepare(dir.path(), spare).unwrap();
            assert_eq!((&work.scratch, work.memory()), (&work.directory, None));
        }
    }
}
