//! Building golden images.
//!
//! ```text
//! recipe ─► bootstrap ─► tree ─► steps ─► cloud-init ─► seal ─► disk ─► outputs ─► verified
//! ```
//!
//! A build runs this program twice: outer prepares a work directory and waits, inner builds inside namespaces of its
//! own (see `namespace.rs`).

pub(crate) mod bootcode;
pub(crate) mod bootloader;
pub(crate) mod bootstrap;
mod cloud_init;
pub(crate) mod disk;
mod environment;
pub(crate) mod epoch;
pub(crate) mod ext4;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod manifest;
pub(crate) mod namespace;
pub(crate) mod network;
mod openstack;
pub(crate) mod outputs;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod sandbox;
mod seal;
mod stages;
mod steps;
pub(crate) mod tree;
pub(crate) mod verify;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use self::environment::Caller;
use self::epoch::Epoch;
use self::load::Loaded;
use self::log::Log;
use self::recipe::Recipe;
use crate::failure::Advise;
use crate::interrupt;
use crate::programs;
use crate::ui::Ui;

/// What a build is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) recipe: PathBuf,
    /// Where the outputs and the log go.
    pub(crate) output: PathBuf,
    /// Whether outputs that exist are replaced.
    pub(crate) force: bool,
    /// Whether the work directory stays.
    pub(crate) keep: bool,
    /// Whether a shell is opened in the tree after the steps, or after one that failed.
    pub(crate) shell: bool,
    /// Where the work directory is made, if not in memory or /var/tmp.
    pub(crate) work_parent: Option<PathBuf>,
    /// Where packages are kept between builds.
    pub(crate) cache: PathBuf,
}

/// Builds, and answers with the exit code.
///
/// # Errors
/// If the recipe is wrong, something that is needed is missing, or the build fails.
pub(crate) fn build(request: &Request, ui: &Ui) -> anyhow::Result<u8> {
    interrupt::listen()?;
    let Some(work) = namespace::inside() else {
        let loaded = load::load(&request.recipe, ui)?;
        return outer(request, &loaded, Epoch::from_environment()?, ui);
    };
    let caller = environment::settle()?;
    let again = || Ok((load::load_again(&request.recipe, ui)?, Epoch::from_environment()?));
    let result = again().and_then(|(loaded, epoch)| inner(request, &loaded, epoch, &work, caller, ui));
    namespace::end(&work)?;
    result.map(|()| 0)
}

/// Finds out early what is missing, and cleans up in the end.
fn outer(request: &Request, loaded: &Loaded, epoch: Epoch, ui: &Ui) -> anyhow::Result<u8> {
    cloud_init::check(&loaded.recipe)?;
    programs::require(stages::PROGRAMS)?;
    bootstrap::check(&loaded.recipe.base)?;
    namespace::probe()?;
    fs::create_dir_all(&request.output)
        .with_context(|| format!("making the output folder {}", request.output.display()))?;
    refuse_to_replace(request, loaded, epoch)?;
    let log = Log::create(&log_path(request, loaded, epoch))?;
    let work = work_directory(request)?;
    let variables: [(&str, OsString); 2] =
        [(epoch::VARIABLE, epoch.seconds().to_string().into()), ("PATH", programs::path())];
    let result = namespace::run_inside(&work, &variables);
    if !matches!(result, Ok(0)) {
        ui.note(&format!("the full log is {}", log.path().display()));
    }
    match request.keep {
        true => ui.note(&format!("the work directory is {}", work.display())),
        false => namespace::remove(&work)?,
    }
    result
}

/// The build itself, as root of its namespaces.
fn inner(
    request: &Request,
    loaded: &Loaded,
    epoch: Epoch,
    work: &Path,
    caller: Caller,
    ui: &Ui,
) -> anyhow::Result<()> {
    namespace::follow_outer()?;
    let log = Log::resume(&log_path(request, loaded, epoch))?;
    let work = stages::Work::prepare(work, request.keep || request.work_parent.is_some())?;
    stages::run(&stages::Build { request, loaded, epoch, work, log, caller, ui })
}

/// The version of an image that is built at `epoch`.
pub(crate) fn version(recipe: &Recipe, epoch: Epoch) -> String {
    recipe.version.clone().unwrap_or_else(|| epoch.day())
}

/// What the names of a build's files begin with.
pub(crate) fn stem(recipe: &Recipe, epoch: Epoch) -> String {
    format!("{}-{}", recipe.name, version(recipe, epoch))
}

fn log_path(request: &Request, loaded: &Loaded, epoch: Epoch) -> PathBuf {
    request.output.join(format!("{}.log", stem(&loaded.recipe, epoch)))
}

/// Outputs are replaced only when asked to: better now than after the work.
fn refuse_to_replace(request: &Request, loaded: &Loaded, epoch: Epoch) -> anyhow::Result<()> {
    if request.force {
        return Ok(());
    }
    for extension in ["qcow2", "raw"] {
        let path = request.output.join(format!("{}.{extension}", stem(&loaded.recipe, epoch)));
        if path.exists() {
            return Err(anyhow!("{} exists", path.display()))
                .hint(|| "replace it with --force, or write elsewhere with -o DIR");
        }
    }
    Ok(())
}

/// A new directory that nobody else can enter, and stays until it is removed by name.
fn work_directory(request: &Request) -> anyhow::Result<PathBuf> {
    let parent = request.work_parent.as_deref().unwrap_or(Path::new("/var/tmp"));
    let doing = || format!("making a work directory in {}", parent.display());
    let work = tempfile::Builder::new().prefix("goldimg-").tempdir_in(parent).with_context(doing)?;
    work.keep().canonicalize().with_context(doing)
}
