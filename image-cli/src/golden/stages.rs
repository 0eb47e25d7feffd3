//! The stages of a build, in their order.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use image_core::format::Format;

use super::bootstrap::cache::PackageCache;
use super::bootstrap::further_archives::FurtherArchives;
use super::disk::room::{self, When};
use super::identity::Identity;
use super::load::Loaded;
use super::manifest::Origin;
use super::secrets::search;
use super::tree::{Session, Tree};
use super::workspace::Workspace;
use super::{bootloader, bootstrap, cloud_init, disk, manifest, openstack, outputs, seal, verify};
use crate::audit::drivers::Drivers;

/// The programs of this machine that the stages call.
pub(super) const PROGRAMS: &[&str] =
    &["apt-config", "apt-get", "mke2fs", "mmdebstrap", "mount", "unshare", "zstd"];

/// The stages, as a build and its plan name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Base,
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
            Self::CloudInit => "configure cloud-init",
            Self::BootLoader => "install the boot loader",
            Self::Seal => "seal",
            Self::Disk => "make the disk",
            Self::Images => "write the images",
            Self::Verify => "verify the image",
        })
    }
}

/// A build under way.
#[derive(Debug)]
pub(super) struct Build<'a> {
    pub(super) place: &'a Workspace<'a>,
    pub(super) loaded: &'a Loaded,
}

/// All of them; answers with the files that were made.
pub(super) fn run(build: &Build<'_>) -> crate::Result<Vec<PathBuf>> {
    let (recipe, variables) = (&build.loaded.recipe, &build.place.request.variables);
    let identity = Identity::new(recipe, build.place.request.epoch)?;
    let tree =
        Tree::new(build.place.work.scratch.join("tree"), build.place.log.clone(), build.place.request.epoch);
    let cache = PackageCache::open(
        &build.place.request.cache,
        build.place.work.directory.join("packages"),
        &recipe.base,
    )?;

    let further = FurtherArchives::of(&recipe.base, &build.loaded.folder)?;
    bootstrap::local::gather(recipe, &build.loaded.folder, &cache)?;
    let session = build.place.stage(&Stage::Base, || {
        let fetched =
            bootstrap::fetch(recipe, &tree, &cache, &further, &build.place.work.directory, variables)?;
        cache.share(SystemTime::now())?;
        let mut session = tree.session(fetched.networks(recipe.build.network, variables)?)?;
        session.show(cache.folder(), bootstrap::ARCHIVES, &build.place.work.scratch.join("archives"))?;
        bootstrap::install(recipe, &tree, &fetched)?;
        Ok(session)
    })?;
    build.place.tell_network(&recipe.steps, recipe.build.network, &session)?;
    build.room(&tree, When::AfterBase(bootstrap::steps_done(recipe)))?;
    let asked_for = build.place.in_shell_reach(&session, || build.steps(&session))?;
    build.room(&tree, When::AfterSteps)?;
    build.place.stage(&Stage::CloudInit, || {
        cloud_init::configure(recipe, &tree)?;
        cloud_init::judge(recipe, &tree, build.place.monitor)
    })?;
    let boot = build.place.stage(&Stage::BootLoader, || {
        bootloader::prepare(&tree, recipe, &identity)?;
        bootloader::install(&tree, recipe, &identity)
    })?;
    let packages = manifest::packages(&tree)?;
    session.leave()?;
    build.place.stage(&Stage::Seal, || {
        bootstrap::point_to_archive(recipe, &tree, &further)?;
        seal::seal(&verify::expected(recipe, &asked_for), &tree)?;
        search::none_in(&tree, build.place.secrets)?;
        seal::clamp_times(&tree, build.place.request.epoch)
    })?;
    let disk = build.place.work.scratch.join("disk.raw");
    let layout = build.place.stage(&Stage::Disk, || disk::make(&tree, recipe, &identity, &boot, &disk))?;
    let drivers = Drivers::of_file(&disk, Some(Format::Raw))?;
    let properties = openstack::properties(recipe, build.place.request.epoch, &packages, drivers.as_ref());
    let origin = Origin {
        recipe,
        identity: &identity,
        epoch: build.place.request.epoch,
        layout: &layout,
        packages: &packages,
        properties: &properties,
        asked_for: &asked_for,
    };
    let (folder, force) = (&build.place.request.output, build.place.request.force);
    let outputs = build.place.stage(&Stage::Images, || {
        build.place.caller.files(|| outputs::make(origin, &disk, folder, force, build.place.monitor))
    })?;
    build.place.stage(&Stage::Verify, || match (outputs.first_image(), recipe.output.formats.first()) {
        (Some(path), Some(format)) => verify::verify(path, *format, recipe, &asked_for, build.place.monitor),
        _ => Ok(()),
    })?;
    let files = build.place.caller.files(|| outputs.keep())?;
    files.iter().for_each(|file| build.place.monitor.note(&file.display().to_string()));
    Ok(files)
}

impl Build<'_> {
    /// Ends the build if the disk is surely too small for what is in the tree.
    fn room(&self, tree: &Tree, when: When) -> crate::Result<()> {
        let remark = room::of_tree(&self.loaded.recipe, tree, when)?;
        self.loaded.remark(remark.as_slice(), self.place.monitor)
    }

    /// All steps but those that the base has done; answers with what they put into the image by name.
    fn steps(&self, session: &Session<'_>) -> crate::Result<BTreeSet<PathBuf>> {
        let recipe = &self.loaded.recipe;
        self.place.steps(&recipe.steps, bootstrap::steps_done(recipe), &self.loaded.folder, session)
    }
}
