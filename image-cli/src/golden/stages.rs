//! The stages of a build, in their order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use image_core::block::{BlockRead, FileDisk};
use image_core::format::Format;

use super::bootcode::BootFiles;
use super::bootstrap::cache::PackageCache;
use super::bootstrap::further_archives::FurtherArchives;
use super::disk::room::{self, When};
use super::identity::Identity;
use super::layers::Wanted;
use super::load::Loaded;
use super::manifest::{Origin, Outside};
use super::openstack::About;
use super::provenance::Acquired;
use super::secrets::search;
use super::stage::Stage;
use super::tree::{Session, Tree};
use super::workspace::Workspace;
use super::{bootloader, bootstrap, cloud_init, disk, existing, manifest, openstack, outputs, seal, verify};
use crate::audit::drivers::Drivers;
use crate::manifest::Package;

/// The programs of this machine that the stages call.
pub(super) const PROGRAMS: &[&str] =
    &["apt-config", "apt-get", "mke2fs", "mmdebstrap", "mount", "unshare", "zstd"];
/// And those that the rest of a build calls, where the base is there already.
pub(super) const PROGRAMS_FOR_A_TREE: &[&str] = &["mke2fs", "mount", "unshare"];

/// A build under way.
#[derive(Debug)]
pub(super) struct Build<'a> {
    pub(super) place: &'a Workspace<'a>,
    pub(super) loaded: &'a Loaded,
    /// What the base begins with, if not with packages.
    pub(super) acquired: Option<&'a Acquired>,
    /// What the base is as a layer, if it can be one.
    pub(super) layer: Option<Wanted<'a>>,
}

/// What a disk is made of.
struct Made<'a> {
    tree: &'a Tree,
    identity: &'a Identity,
    boot: &'a BootFiles,
    packages: &'a [Package],
    /// What steps put there by name.
    asked_for: &'a BTreeSet<PathBuf>,
}

/// All of them; answers with the files that were made.
pub(super) fn run(build: &Build<'_>) -> crate::Result<Vec<PathBuf>> {
    let recipe = &build.loaded.recipe;
    let identity = Identity::new(recipe, build.place.request.epoch)?;
    let tree =
        Tree::new(build.place.work.scratch.join("tree"), build.place.log.clone(), build.place.request.epoch);
    let further = FurtherArchives::of(&recipe.base, &build.loaded.folder)?;
    let session = match build.acquired {
        Some(acquired) => existing::tree::begin(build.loaded, acquired, &tree, &identity, build.place)?,
        None => build.bootstrap(&tree, &further)?,
    };
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
        if build.acquired.is_none() {
            bootstrap::point_to_archive(recipe, &tree, &further)?;
        }
        seal::seal(&verify::expected(recipe, &asked_for), &tree)?;
        search::none_in(&tree, build.place.secrets)?;
        seal::clamp_times(&tree, build.place.request.epoch)
    })?;
    let made =
        Made { tree: &tree, identity: &identity, boot: &boot, packages: &packages, asked_for: &asked_for };
    build.write(&made)
}

impl Build<'_> {
    /// Makes the base from packages; answers with the session that the steps go on with.
    fn bootstrap<'t>(&self, tree: &'t Tree, further: &FurtherArchives) -> crate::Result<Session<'t>> {
        let Self { place, loaded, .. } = self;
        let (recipe, variables, work) = (&loaded.recipe, &place.request.variables, &place.work);
        let cache = PackageCache::open(&place.request.cache, work.directory.join("packages"), &recipe.base)?;
        bootstrap::local::gather(recipe, &loaded.folder, &cache)?;
        let begin = |networks| -> crate::Result<Session<'t>> {
            let mut session = tree.session(networks)?;
            session.show(cache.folder(), bootstrap::ARCHIVES, &work.scratch.join("archives"))?;
            Ok(session)
        };
        place.stage(&Stage::Base, || {
            if let Some(layer) = self.layer
                && layer.take(tree, place)?
            {
                bootstrap::settle_layer(tree, variables)?;
                return begin(bootstrap::networks_of_an_image(tree, recipe.build.network, variables)?);
            }
            let fetched = bootstrap::fetch(recipe, tree, &cache, further, &work.directory, variables)?;
            cache.share(SystemTime::now())?;
            let session = begin(fetched.networks(recipe.build.network, variables)?)?;
            bootstrap::install(recipe, tree, &fetched)?;
            let Some(layer) = self.layer else { return Ok(session) };
            session.leave()?;
            layer.keep(tree, place)?;
            begin(fetched.networks(recipe.build.network, variables)?)
        })
    }

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

    /// Makes the disk of a tree that is sealed, and all outputs of it.
    fn write(&self, made: &Made<'_>) -> crate::Result<Vec<PathBuf>> {
        let (recipe, place) = (&self.loaded.recipe, self.place);
        let disk = place.work.scratch.join("disk.raw");
        let layout =
            place.stage(&Stage::Disk, || disk::make(made.tree, recipe, made.identity, made.boot, &disk))?;
        let drivers = Drivers::of_file(&disk, Some(Format::Raw))?;
        let properties = openstack::properties(
            recipe,
            &About::made(recipe),
            place.request.epoch,
            made.packages,
            drivers.as_ref(),
        );
        let origin = Origin {
            recipe,
            identity: made.identity,
            epoch: place.request.epoch,
            outside: &Outside::made(recipe, &layout, made.identity),
            base: self.acquired.map(|acquired| &acquired.ingredient),
            changes: None,
            packages: made.packages,
            properties: &properties,
            asked_for: made.asked_for,
        };
        let (folder, force) = (&place.request.output, place.request.force);
        let outputs = place.stage(&Stage::Images, || {
            let disk: Arc<dyn BlockRead> = Arc::new(FileDisk::open(&disk)?);
            place.caller.files(|| outputs::make(origin, &disk, folder, force, place.monitor))
        })?;
        let expected = verify::expected(recipe, made.asked_for);
        place.stage(&Stage::Verify, || verify::verify(&outputs, recipe, expected, place.monitor))?;
        let files = place.caller.files(|| outputs.keep())?;
        files.iter().for_each(|file| place.monitor.note(&file.display().to_string()));
        Ok(files)
    }
}
