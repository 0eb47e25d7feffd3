//! A build as its caller sees it: finds out early what is missing, starts inner, waits, tells, and cleans up in the end.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bootstrap::further_archives::FurtherArchives;
use super::layers::{Found, Index, Key, Layers};
use super::load::Loaded;
use super::order::Order;
use super::outer::{self, Done};
use super::recipe::{Base, Existing};
use super::request::{Request, log_path, stem};
use super::secrets::Secrets;
use super::solver::{self, Outcome, Total};
use super::{bootstrap, cloud_init, copies, existing, memory, namespace, stages};
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;
use crate::programs;
use crate::reexec;
use crate::variables::Variables;

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
    // A program that cannot be started again is told before all else.
    reexec::program()?;
    let secrets = Secrets::read(&request.secrets, &request.variables)?;
    secrets.none_in(loaded.source.text())?;
    for name in secrets.unasked(&loaded.recipe)? {
        monitor.warning(&format!(
            "no step asks for the secret {name:?}: it is hidden and looked for, and that is all"
        ));
    }
    cloud_init::check(&loaded.recipe)?;
    tell_losses(&copies::check(loaded, monitor.cancel())?, monitor);
    let needed = match &loaded.recipe.base.existing {
        None => stages::PROGRAMS,
        Some(Existing::Image(_)) => &[],
        Some(_) => stages::PROGRAMS_FOR_A_TREE,
    };
    programs::require(needed, &request.variables.path())?;
    check(&loaded.recipe.base)?;
    namespace::probe(&request.variables.path())?;
    let consulted = consult(loaded, &request.cache, &request.variables, monitor)?;
    let layer = consulted.layer.filter(|_| request.layers).map(|layer| layer.key);
    fs::create_dir_all(&request.output)
        .with_context(|| format!("making the output folder {}", request.output.display()))?;
    refuse_to_replace(request, loaded)?;
    let acquired = existing::acquire::acquire(loaded, request, monitor)?;
    // Namespaces hide the control groups that this process is in.
    let spare = memory::to_spare();
    let log = log_path(request, &loaded.recipe);
    let order = |work: &Path| Order::new(request, (loaded, acquired, layer), secrets, work, spare);
    let Done { files, log, work } = outer::run(request, &log, order, monitor)?;
    Ok(Built { files, log, work })
}

/// Makes sure that what `base` is made with is here: of packages, the keys of their archive.
///
/// # Errors
/// If it is not, with the command that installs it.
pub fn check(base: &Base) -> crate::Result<()> {
    if base.existing.is_some() { Ok(()) } else { bootstrap::check(base) }
}

/// What the archives have told.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Consulted {
    /// How much all packages are; none if the archives could not be asked.
    pub total: Option<Total>,
    /// What is known of the base as a layer; likewise.
    pub layer: Option<BaseLayer>,
}

/// The base, as what is kept from build to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BaseLayer {
    /// The digest of all that it is made of, in hexadecimal digits.
    pub digest: String,
    /// Whether it is there: it need not be made.
    pub is_there: bool,
    /// If it is not: what is another than in the layer that has the most in common with it, in words. Nothing if there is none.
    pub differs: Vec<String>,
    /// What it is made of, part by part.
    pub(crate) key: Key,
}

impl BaseLayer {
    fn of(loaded: &Loaded, index: &Index, cache: &Path, variables: &Variables) -> crate::Result<Self> {
        let further = FurtherArchives::of(&loaded.recipe.base, &loaded.folder)?;
        let key = Key::of_base(loaded, &further, index, variables)?;
        let (is_there, differs) = match Layers::open(cache)?.find(&key)? {
            Found::Layer(_) => (true, Vec::new()),
            Found::Nearest(nearest) => (false, key.differences(&nearest.key)),
            Found::Nothing => (false, Vec::new()),
        };
        Ok(Self { digest: key.digest(), is_there, differs, key })
    }
}

/// Asks the archives about the recipe's packages, shows what is wrong with them, and answers with what they told. Lists are kept in a
/// folder of `cache`, and layers are looked for there.
///
/// # Errors
/// Of the kind [`Invalid`](crate::ErrorKind::Invalid), if the recipe has a mistake.
pub fn consult(
    loaded: &Loaded,
    cache: &Path,
    variables: &Variables,
    monitor: Monitor<'_>,
) -> crate::Result<Consulted> {
    if loaded.recipe.base.existing.is_some() {
        // Its packages come from archives that it alone knows.
        return Ok(Consulted::default());
    }
    match solver::ask(loaded, cache, variables, monitor.cancel())? {
        Outcome::Answered(answer) => {
            loaded.remark(&answer.remarks, monitor)?;
            let layer =
                answer.index.map(|index| BaseLayer::of(loaded, &index, cache, variables)).transpose()?;
            Ok(Consulted { total: answer.total, layer })
        }
        Outcome::Unasked(why) => {
            monitor.warning(&format!("whether the archives have all packages could not be asked: {why}"));
            Ok(Consulted::default())
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
