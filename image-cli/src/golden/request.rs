//! What a build is asked for, and what follows from it: names and places.

use std::path::{Path, PathBuf};

use super::epoch::Epoch;
use super::no_space::{Place, What};
use super::recipe::Recipe;
use super::secrets;
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
    /// Where packages and layers are kept between builds; an absolute path.
    pub cache: PathBuf,
    /// Whether a stage that was made before is taken from there, and kept there when it is made.
    pub layers: bool,
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
            layers: true,
            secrets: Vec::new(),
            epoch: Epoch::from_variables(&variables)?,
            variables,
        })
    }
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
