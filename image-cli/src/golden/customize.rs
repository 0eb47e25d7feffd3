//! Customizing: the steps of a recipe, done to the system in an image that is there.
//!
//! ```text
//! image ─► tree ─► steps ─► sealed ─► a new image, or this one in place
//! ```

use std::path::PathBuf;

use image_core::format::Format;

use super::load::check_step;
use super::recipe::{Access, Step};
use super::secrets;
use crate::error::err;
use crate::monitor::Monitor;
use crate::variables::Variables;

/// What is asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The image.
    pub image: PathBuf,
    /// Its format, if it is not to be probed.
    pub format: Option<Format>,
    /// Where the changed one goes.
    pub target: Target,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// Beneath what all files lie that steps copy: their names begin there.
    pub folder: PathBuf,
    /// What scripts, those of packages too, may reach.
    pub network: Access,
    /// What the caller lists as secret.
    pub secrets: Vec<secrets::Asked>,
    /// Whether what must not be cloned is removed.
    pub seal: bool,
    /// Whether the image is audited at the end.
    pub verify: bool,
    /// The virtual size that it is to have, if another one.
    pub size: Option<NewSize>,
    /// Whether the root filesystem is made as large as the disk allows.
    pub grow_root: bool,
    /// Whether a shell is opened in the tree after the steps, or after one that failed.
    pub shell: bool,
    /// Whether the work directory stays.
    pub keep: bool,
    /// Where the work directory is made, if not in memory or /var/tmp.
    pub work_parent: Option<PathBuf>,
    /// Where packages are kept; an absolute path.
    pub cache: PathBuf,
    /// The caller's variables: his `PATH`, his proxies, and those that his secrets are in.
    pub variables: Variables,
}

/// Where a changed image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Into the image's place, when all is done.
    InPlace,
    /// Into a file of its own.
    New {
        /// Which.
        path: PathBuf,
        /// Its format, if it is not that of the image.
        format: Option<Format>,
        /// Whether its clusters are compressed.
        compress: bool,
        /// Whether one that exists is replaced.
        force: bool,
    },
}

/// A virtual size, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewSize {
    /// This one.
    To(u64),
    /// So many more.
    By(u64),
}

impl Request {
    /// To do `steps` to the image in the file `image`, which is sealed and audited then; its scripts reach all of the network.
    /// Packages are kept in the folder `cache`.
    pub fn new(
        image: impl Into<PathBuf>,
        target: Target,
        steps: Vec<Step>,
        cache: impl Into<PathBuf>,
        variables: Variables,
    ) -> Self {
        Self {
            image: image.into(),
            format: None,
            target,
            steps,
            folder: "/".into(),
            network: Access::Full,
            secrets: Vec::new(),
            seal: true,
            verify: true,
            size: None,
            grow_root: false,
            shell: false,
            keep: false,
            work_parent: None,
            cache: cache.into(),
            variables,
        }
    }
}

/// Does it.
///
/// # Errors
/// If a step fails, or the image cannot be read or written.
pub fn customize(request: &Request, monitor: Monitor<'_>) -> crate::Result<()> {
    request.steps.iter().try_for_each(|step| check_step(step, &request.folder))?;
    monitor.check()?;
    Err(err!("not yet: {} is not customized", request.image.display()))
}
