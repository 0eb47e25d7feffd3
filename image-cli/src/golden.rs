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
pub(crate) mod copies;
pub(crate) mod disk;
mod environment;
pub(crate) mod epoch;
pub(crate) mod ext4;
mod full;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod manifest;
mod memory;
pub(crate) mod namespace;
pub(crate) mod network;
mod openstack;
pub(crate) mod outputs;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod sandbox;
mod seal;
pub(crate) mod secrets;
mod shell;
pub(crate) mod solver;
mod source;
mod stages;
mod steps;
pub(crate) mod tree;
pub(crate) mod verify;
mod work_directory;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use self::environment::Caller;
use self::epoch::Epoch;
use self::full::{Place, What};
use self::load::Loaded;
use self::log::Log;
use self::recipe::Recipe;
use self::secrets::Secrets;
use self::secrets::hidden::Hidden;
use self::solver::{Outcome, Total};
use self::work_directory::WorkDirectory;
use crate::failure::Advise;
use crate::interrupt;
use crate::programs;
use crate::ui::Ui;

/// Tells inner how much memory there is to spare, in bytes.
const MEMORY: &str = "GOLDIMG_MEMORY";

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
    /// What the caller lists as secret.
    pub(crate) secrets: Vec<secrets::Asked>,
}

/// Builds, and answers with the exit code.
///
/// # Errors
/// If the recipe is wrong, something that is needed is missing, or the build fails.
pub(crate) fn build(request: &Request, ui: &Ui) -> anyhow::Result<u8> {
    let Some(work) = namespace::inside() else {
        interrupt::listen()?;
        let loaded = load::load(&request.recipe, ui)?;
        return outer(request, &loaded, Epoch::from_environment()?, ui);
    };
    let secrets = serde_json::from_slice(&namespace::handed()?).context("taking the secrets over")?;
    let caller = environment::settle()?;
    // It opens files, which settling would close.
    interrupt::listen()?;
    let again = || Ok((load::load_again(&request.recipe, ui)?, Epoch::from_environment()?));
    let result =
        again().and_then(|(loaded, epoch)| inner(request, &loaded, epoch, &secrets, &work, caller, ui));
    namespace::end(&work)?;
    result.map(|()| 0)
}

/// Finds out early what is missing, and cleans up in the end.
fn outer(request: &Request, loaded: &Loaded, epoch: Epoch, ui: &Ui) -> anyhow::Result<u8> {
    environment::hear_of_children()?;
    let secrets = Secrets::read(&request.secrets)?;
    secrets.none_in(loaded.source.text())?;
    for name in secrets.unasked(&loaded.recipe)? {
        ui.warning(&format!(
            "no step asks for the secret {name:?}: it is hidden and looked for, and that is all"
        ));
    }
    cloud_init::check(&loaded.recipe)?;
    tell_losses(&copies::check(loaded)?, ui);
    programs::require(stages::PROGRAMS)?;
    bootstrap::check(&loaded.recipe.base)?;
    namespace::probe()?;
    consult(loaded, &request.cache, ui)?;
    fs::create_dir_all(&request.output)
        .with_context(|| format!("making the output folder {}", request.output.display()))?;
    refuse_to_replace(request, loaded, epoch)?;
    let parent = request.work_parent.as_deref().unwrap_or(Path::new(work_directory::USUAL));
    let places = places(request, parent);
    let log = full::explain(Log::create(&log_path(request, loaded, epoch)), None, &places)?;
    work_directory::remove_abandoned(&[Path::new(work_directory::USUAL), parent], ui);
    let work = full::explain(WorkDirectory::create(parent, request.keep), None, &places)?;
    let mut variables: Vec<(&str, OsString)> =
        vec![(epoch::VARIABLE, epoch.seconds().to_string().into()), ("PATH", programs::path())];
    // Namespaces hide the control groups that this process is in.
    variables.extend(memory::to_spare().map(|spare| (MEMORY, spare.to_string().into())));
    let result = namespace::run_inside(work.path(), &variables, &serde_json::to_vec(&secrets)?);
    if !matches!(result, Ok(0)) {
        ui.note(&format!("the full log is {}", log.path().display()));
    }
    match request.keep {
        true => ui.note(&format!("the work directory is {}", work.path().display())),
        false => work.remove()?,
    }
    result
}

/// The places that a build writes to, besides what is in memory.
fn places(request: &Request, work: &Path) -> Vec<Place> {
    let place = |what, path: &Path| Place { what, path: path.to_owned() };
    vec![
        place(What::WorkDirectory, work),
        place(What::Output, &request.output),
        place(What::Cache, &request.cache),
    ]
}

/// Asks the archives about the recipe's packages, shows what is wrong with them, and answers with how much they are; none
/// if they could not be asked.
///
/// # Errors
/// With exit code 64, if the recipe has a mistake.
pub(crate) fn consult(loaded: &Loaded, cache: &Path, ui: &Ui) -> anyhow::Result<Option<Total>> {
    match solver::ask(loaded, cache)? {
        Outcome::Answered(answer) => {
            loaded.remark(&answer.remarks, ui)?;
            Ok(answer.total)
        }
        Outcome::Unasked(why) => {
            ui.warning(&format!("whether the archives have all packages could not be asked: {why}"));
            Ok(None)
        }
    }
}

/// What copies would lose that somebody gave a file on purpose. `goldimg plan` tells more.
fn tell_losses(copies: &[copies::Copies], ui: &Ui) {
    for one in copies {
        for remark in one.remarks.iter().filter(|remark| remark.about.is_loss()) {
            ui.warning(&format!("step {}: {}", one.step, remark.line()));
        }
    }
}

/// The build itself, as root of its namespaces.
fn inner(
    request: &Request,
    loaded: &Loaded,
    epoch: Epoch,
    secrets: &Secrets,
    work: &Path,
    caller: Caller,
    ui: &Ui,
) -> anyhow::Result<()> {
    namespace::follow_outer()?;
    let log = Log::resume(&log_path(request, loaded, epoch))?.hiding(Hidden::new(secrets)?);
    let _held = WorkDirectory::hold(work)?;
    let on_disk = request.keep || request.work_parent.is_some();
    let spare = std::env::var(MEMORY).ok().and_then(|bytes| bytes.parse().ok());
    let mut places = places(request, work);
    let work = stages::Work::prepare(work, spare.filter(|_| !on_disk))?;
    places.extend(work.memory().map(|path| Place { what: What::Memory, path: path.to_owned() }));
    let build = stages::Build { request, loaded, epoch, secrets, work, log, caller, ui };
    full::explain(stages::run(&build), Some(&build.log), &places)
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
