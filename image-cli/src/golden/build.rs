//! A build as its caller sees it: finds out early what is missing, starts inner, waits, tells, and cleans up in the end.

use std::fs;
use std::path::{Path, PathBuf};

use super::epoch::Epoch;
use super::full::{self, Place, What};
use super::load::Loaded;
use super::log::Log;
use super::order::Order;
use super::recipe::Recipe;
use super::secrets::{self, Secrets};
use super::solver::{self, Outcome, Total};
use super::work_directory::{self, WorkDirectory};
use super::{bootstrap, cloud_init, copies, memory, namespace, stages};
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;
use crate::programs;
use crate::reexec;
use crate::variables::Variables;

/// What a build is asked for, besides its recipe.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// Where the outputs and the log go.
    pub output: PathBuf,
    /// Whether outputs that exist are replaced.
    pub force: bool,
    /// Whether the work directory stays.
    pub keep: bool,
    /// Whether a shell is opened in the tree after the steps, or after one that failed, on the terminal of this process.
    pub shell: bool,
    /// Where the work directory is made, if not in memory or /var/tmp.
    pub work_parent: Option<PathBuf>,
    /// Where packages are kept between builds; an absolute path.
    pub cache: PathBuf,
    /// What the caller lists as secret.
    pub secrets: Vec<secrets::Asked>,
    /// The build's date.
    pub epoch: Epoch,
    /// The caller's variables: his `PATH`, his proxies, and those that his secrets are in.
    pub variables: Variables,
}

impl Request {
    /// To build into the folder `output`, with packages kept in the folder `cache`, an absolute path: nothing is replaced or kept,
    /// there are no secrets, and the date is what `variables` say, or now.
    ///
    /// # Errors
    /// If `SOURCE_DATE_EPOCH` is no date.
    pub fn new(
        output: impl Into<PathBuf>,
        cache: impl Into<PathBuf>,
        variables: Variables,
    ) -> crate::Result<Self> {
        Ok(Self {
            output: output.into(),
            force: false,
            keep: false,
            shell: false,
            work_parent: None,
            cache: cache.into(),
            secrets: Vec::new(),
            epoch: Epoch::from_variables(&variables)?,
            variables,
        })
    }
}

/// What a build has made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Built {
    /// The images in the order of the recipe's formats, then the manifest and the checksums.
    pub files: Vec<PathBuf>,
    /// The full log.
    pub log: PathBuf,
    /// The work directory, if it was kept.
    pub work: Option<PathBuf>,
}

/// Builds. A second process does the work, with nothing of this one but what `request` says; this one waits for it.
///
/// # Errors
/// If the recipe is wrong, something that is needed is missing, or the build fails.
pub fn build(loaded: &Loaded, request: &Request, monitor: Monitor<'_>) -> crate::Result<Built> {
    let program = reexec::program()?;
    let secrets = Secrets::read(&request.secrets, &request.variables)?;
    secrets.none_in(loaded.source.text())?;
    for name in secrets.unasked(&loaded.recipe)? {
        monitor.warning(&format!(
            "no step asks for the secret {name:?}: it is hidden and looked for, and that is all"
        ));
    }
    cloud_init::check(&loaded.recipe)?;
    tell_losses(&copies::check(loaded, monitor.cancel())?, monitor);
    programs::require(stages::PROGRAMS, &request.variables.path())?;
    bootstrap::check(&loaded.recipe.base)?;
    namespace::probe()?;
    consult(loaded, &request.cache, &request.variables, monitor)?;
    fs::create_dir_all(&request.output)
        .with_context(|| format!("making the output folder {}", request.output.display()))?;
    refuse_to_replace(request, loaded)?;
    let parent = request.work_parent.as_deref().unwrap_or(Path::new(work_directory::USUAL));
    let places = places(request, parent);
    let log = full::explain(Log::create(&log_path(request, &loaded.recipe)), None, &places)?;
    work_directory::remove_abandoned(&[Path::new(work_directory::USUAL), parent], monitor);
    let work = full::explain(WorkDirectory::create(parent, request.keep), None, &places)?;
    // Namespaces hide the control groups that this process is in.
    let order = Order::new(request, loaded, secrets, work.path(), memory::to_spare());
    let result = namespace::run_inside(&program, &order, monitor);
    if result.is_err() {
        monitor.note(&format!("the full log is {}", log.path().display()));
    }
    let kept = request.keep.then(|| work.path().to_owned());
    match &kept {
        Some(path) => monitor.note(&format!("the work directory is {}", path.display())),
        None => work.remove()?,
    }
    Ok(Built { files: result?, log: log.path().to_owned(), work: kept })
}

/// The places that a build writes to, besides what is in memory.
pub(super) fn places(request: &Request, work: &Path) -> Vec<Place> {
    let place = |what, path: &Path| Place { what, path: path.to_owned() };
    vec![
        place(What::WorkDirectory, work),
        place(What::Output, &request.output),
        place(What::Cache, &request.cache),
    ]
}

/// Asks the archives about the recipe's packages, shows what is wrong with them, and answers with how much they are; none
/// if they could not be asked. Lists are kept in a folder of `cache`.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid), if the recipe has a mistake.
pub fn consult(
    loaded: &Loaded,
    cache: &Path,
    variables: &Variables,
    monitor: Monitor<'_>,
) -> crate::Result<Option<Total>> {
    match solver::ask(loaded, cache, variables, monitor.cancel())? {
        Outcome::Answered(answer) => {
            loaded.remark(&answer.remarks, monitor)?;
            Ok(answer.total)
        }
        Outcome::Unasked(why) => {
            monitor.warning(&format!("whether the archives have all packages could not be asked: {why}"));
            Ok(None)
        }
    }
}

/// What copies would lose that somebody gave a file on purpose. A plan tells more.
fn tell_losses(copies: &[copies::Copies], monitor: Monitor<'_>) {
    for one in copies {
        for remark in one.remarks.iter().filter(|remark| remark.about.is_loss()) {
            monitor.warning(&format!("step {}: {}", one.step, remark.line()));
        }
    }
}

/// The version of an image that is built at `epoch`.
pub(crate) fn version(recipe: &Recipe, epoch: Epoch) -> String {
    recipe.version.clone().unwrap_or_else(|| epoch.day())
}

/// What the names of a build's files begin with.
pub(crate) fn stem(recipe: &Recipe, epoch: Epoch) -> String {
    format!("{}-{}", recipe.name, version(recipe, epoch))
}

pub(super) fn log_path(request: &Request, recipe: &Recipe) -> PathBuf {
    request.output.join(format!("{}.log", stem(recipe, request.epoch)))
}

/// Outputs are replaced only when asked to: better now than after the work.
fn refuse_to_replace(request: &Request, loaded: &Loaded) -> crate::Result<()> {
    if request.force {
        return Ok(());
    }
    for extension in ["qcow2", "raw"] {
        let path = request.output.join(format!("{}.{extension}", stem(&loaded.recipe, request.epoch)));
        if path.exists() {
            return Err(err!("{} exists", path.display()))
                .hint(|| "replace it with --force, or write elsewhere with -o DIR");
        }
    }
    Ok(())
}
