//! The stages of a build, in their order.
//!
//! ```text
//! work directory (on disk)        packages/   this build's view of the package cache
//!   └─ memory/ (if there is some) tree/       the root filesystem
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use image_core::format::Format;
use rustix::mount::{MountFlags, mount};

use super::bootstrap::cache::PackageCache;
use super::bootstrap::further_archives::FurtherArchives;
use super::disk::room::{self, When};
use super::environment::Caller;
use super::identity::Identity;
use super::load::Loaded;
use super::log::Log;
use super::manifest::Origin;
use super::recipe::Access;
use super::request::Request;
use super::secrets::{Secrets, search};
use super::tree::{Session, Tree};
use super::{bootloader, bootstrap, cloud_init, disk, manifest, openstack, outputs, seal, steps, verify};
use crate::audit::drivers::Drivers;
use crate::error::Context;
use crate::monitor::Monitor;

/// The programs of this machine that the stages call.
pub(super) const PROGRAMS: &[&str] =
    &["apt-config", "apt-get", "mke2fs", "mmdebstrap", "mount", "unshare", "zstd"];

/// The stages, as a build and its plan name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Base,
    /// Which step, from 0, and what it does.
    Step(usize, String),
    CloudInit,
    BootLoader,
    Seal,
    Disk,
    Images,
    Verify,
}

impl Stage {
    /// The stages behind the recipe's steps, in their order.
    pub(super) const AFTER_STEPS: [Self; 6] =
        [Self::CloudInit, Self::BootLoader, Self::Seal, Self::Disk, Self::Images, Self::Verify];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "make the base from packages",
            Self::Step(index, title) => return write!(f, "step {}: {title}", index + 1),
            Self::CloudInit => "configure cloud-init",
            Self::BootLoader => "install the boot loader",
            Self::Seal => "seal",
            Self::Disk => "make the disk",
            Self::Images => "write the images",
            Self::Verify => "verify the image",
        })
    }
}

/// With so much memory to spare, the tree is made in it.
const MEMORY_NEEDED: u64 = 4 << 30;

/// Where a build works.
#[derive(Debug)]
pub(super) struct Work {
    /// On disk.
    directory: PathBuf,
    /// The fast place for what is large: in memory, or else the same.
    scratch: PathBuf,
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

/// A build under way.
#[derive(Debug)]
pub(super) struct Build<'a> {
    pub(super) request: &'a Request,
    pub(super) loaded: &'a Loaded,
    pub(super) secrets: &'a Secrets,
    pub(super) work: Work,
    pub(super) log: Log,
    pub(super) caller: Caller,
    pub(super) monitor: Monitor<'a>,
}

/// All of them; answers with the files that were made.
pub(super) fn run(build: &Build<'_>) -> crate::Result<Vec<PathBuf>> {
    let (recipe, variables) = (&build.loaded.recipe, &build.request.variables);
    let identity = Identity::new(recipe, build.request.epoch)?;
    let tree = Tree::new(build.work.scratch.join("tree"), build.log.clone(), build.request.epoch);
    let cache =
        PackageCache::open(&build.request.cache, build.work.directory.join("packages"), &recipe.base)?;

    let further = FurtherArchives::of(&recipe.base, &build.loaded.folder)?;
    bootstrap::local::gather(recipe, &build.loaded.folder, &cache)?;
    let session = build.stage(&Stage::Base, || {
        let fetched = bootstrap::fetch(recipe, &tree, &cache, &further, &build.work.directory, variables)?;
        cache.share(SystemTime::now())?;
        let mut session = tree.session(fetched.networks(recipe.build.network, variables)?)?;
        session.show(cache.folder(), bootstrap::ARCHIVES, &build.work.scratch.join("archives"))?;
        bootstrap::install(recipe, &tree, &fetched)?;
        Ok(session)
    })?;
    if recipe.has_full_network()
        && let Some(notice) = session.notice(Access::Full)?
    {
        build.monitor.note(&notice);
    }
    build.room(&tree, When::AfterBase(bootstrap::steps_done(recipe)))?;
    let asked_for = build.in_shell_reach(&session, |build| build.steps(&session))?;
    build.room(&tree, When::AfterSteps)?;
    build.stage(&Stage::CloudInit, || {
        cloud_init::configure(recipe, &tree)?;
        cloud_init::judge(recipe, &tree, build.monitor)
    })?;
    let boot = build.stage(&Stage::BootLoader, || {
        bootloader::prepare(&tree, recipe, &identity)?;
        bootloader::install(&tree, recipe, &identity)
    })?;
    let packages = manifest::packages(&tree)?;
    session.leave()?;
    build.stage(&Stage::Seal, || {
        bootstrap::point_to_archive(recipe, &tree, &further)?;
        seal::seal(&verify::expected(recipe, &asked_for), &tree)?;
        search::none_in(&tree, build.secrets)?;
        seal::clamp_times(&tree, build.request.epoch)
    })?;
    let disk = build.work.scratch.join("disk.raw");
    let layout = build.stage(&Stage::Disk, || disk::make(&tree, recipe, &identity, &boot, &disk))?;
    let drivers = Drivers::of_file(&disk, Some(Format::Raw))?;
    let properties = openstack::properties(recipe, build.request.epoch, &packages, drivers.as_ref());
    let origin = Origin {
        recipe,
        identity: &identity,
        epoch: build.request.epoch,
        layout: &layout,
        packages: &packages,
        properties: &properties,
        asked_for: &asked_for,
    };
    let (folder, force) = (&build.request.output, build.request.force);
    let outputs = build.stage(&Stage::Images, || {
        build.caller.files(|| outputs::make(origin, &disk, folder, force, build.monitor))
    })?;
    build.stage(&Stage::Verify, || match (outputs.first_image(), recipe.output.formats.first()) {
        (Some(path), Some(format)) => verify::verify(path, *format, recipe, &asked_for, build.monitor),
        _ => Ok(()),
    })?;
    let files = build.caller.files(|| outputs.keep())?;
    files.iter().for_each(|file| build.monitor.note(&file.display().to_string()));
    Ok(files)
}

impl Build<'_> {
    /// One stage, shown with its time and noted in the log.
    fn stage<T>(&self, stage: &Stage, work: impl FnOnce() -> crate::Result<T>) -> crate::Result<T> {
        let name = &stage.to_string();
        self.monitor.check()?;
        self.log.note(&format!("== {name}"))?;
        let stage = self.monitor.stage(name);
        let result = work().with_context(|| format!("stage \"{name}\""))?;
        stage.done();
        Ok(result)
    }

    /// Ends the build if the disk is surely too small for what is in the tree.
    fn room(&self, tree: &Tree, when: When) -> crate::Result<()> {
        let remark = room::of_tree(&self.loaded.recipe, tree, when)?;
        self.loaded.remark(remark.as_slice(), self.monitor)
    }

    /// All steps but those that the base has done; answers with what they put into the image by name.
    fn steps(&self, session: &Session<'_>) -> crate::Result<BTreeSet<PathBuf>> {
        let recipe = &self.loaded.recipe;
        let mut asked_for = BTreeSet::new();
        let done = bootstrap::steps_done(recipe);
        for (index, step) in recipe.steps.iter().enumerate().skip(done) {
            asked_for.extend(self.stage(&Stage::Step(index, steps::title(step)), || {
                steps::run(step, &self.loaded.folder, self.secrets, session)
            })?);
        }
        Ok(asked_for)
    }

    /// Does `work`, and opens a shell afterwards if one was asked for: also if it failed.
    fn in_shell_reach<T>(
        &self,
        session: &Session<'_>,
        work: impl FnOnce(&Self) -> crate::Result<T>,
    ) -> crate::Result<T> {
        let result = work(self);
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
