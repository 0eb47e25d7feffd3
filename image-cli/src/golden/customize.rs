//! Customizing: the steps of a recipe, done to an image that is there.
//!
//! ```text
//! image ─► disk.raw ─► files ─► tree, in a user namespace ─► steps, as in a build ─► what is different now ─┐
//!             ▲                   (work.rs)                                            (difference.rs)       │
//!             └───────── written into the image's own filesystems (write_back.rs) ◄───────────────────────────┘
//!             └─► compared with the image, file by file (verify.rs) ─► sealed ─► audited ─► NEW
//! ```
//!
//! Only what the steps changed is written: all else is the image's own, to the block. The boot loader's tools are told of the image's
//! disks, and of nothing of this machine's (`boot.rs`).

pub(super) mod apt;
pub(super) mod boot;
mod difference;
mod grow;
mod in_guest;
pub(super) mod job;
mod verify;
pub(super) mod work;
mod write_back;

use std::io::Read;
use std::path::{Path, PathBuf};

use image_core::format::Format;
use serde::{Deserialize, Serialize};

use super::load::check_step;
use super::order::Order;
use super::outer::{self, Done};
use super::recipe::{Access, Step};
use super::request::Request as BuildRequest;
use super::secrets::{self, Secrets};
use super::{memory, namespace};
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;
use crate::reexec;
use crate::target_name;
use crate::variables::Variables;
pub(super) use job::Job;

/// How each log begins: as its first stage is noted.
const FIRST_LINE: &str = "# == copy the disk\n";

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
        /// Whether its clusters are compressed, whatever the image's are.
        compress: bool,
        /// Whether one that exists is replaced.
        force: bool,
    },
}

/// A virtual size, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NewSize {
    /// This one.
    To(u64),
    /// So many more.
    By(u64),
}

/// What is to be done to an image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The image's file.
    pub image: PathBuf,
    /// Its format, if not what it looks like.
    pub format: Option<Format>,
    /// Where the changed image goes.
    pub target: Target,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// The folder that files of this machine are named from, in `copy`.
    pub folder: PathBuf,
    /// What scripts, those of packages too, may reach.
    pub network: Access,
    /// What the caller lists as secret.
    pub secrets: Vec<secrets::Asked>,
    /// Whether the image is sealed at the end.
    pub seal: bool,
    /// Whether all that the steps did not change is compared with the image at the end.
    pub verify: bool,
    /// The virtual size that it is to have, if another one.
    pub size: Option<NewSize>,
    /// Whether the root filesystem is made as large as the disk allows.
    pub grow_root: bool,
    /// Whether a shell is opened in the tree after the steps, or after one that failed, on the terminal of this process.
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

impl Request {
    /// To do `steps` to the image in the file `image`, into `target`: sealed and compared, with all of the network for scripts.
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
            folder: PathBuf::from("/"),
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

    /// The file that the changed image becomes.
    fn place(&self) -> &Path {
        match &self.target {
            Target::New { path, .. } => path,
            Target::InPlace => &self.image,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Customized {
    /// The changed image.
    pub image: PathBuf,
    /// The full log.
    pub log: PathBuf,
    /// The work directory, if it was kept.
    pub work: Option<PathBuf>,
}

/// Does what is asked for. A second process does the work, as in a build.
///
/// # Errors
/// If the image cannot be read, a step fails, or what is changed cannot be written: then the target is as it was.
pub fn customize(request: &Request, monitor: Monitor<'_>) -> crate::Result<Customized> {
    // A program that cannot be started again is told before all else.
    reexec::program()?;
    for step in &request.steps {
        check_step(step, &request.folder)?;
    }
    let secrets = Secrets::read(&request.secrets, &request.variables)?;
    namespace::probe(&request.variables.path())?;
    let place = absolute(request.place())?;
    let force = matches!(request.target, Target::New { force: true, .. });
    if request.target != Target::InPlace && !force && place.symlink_metadata().is_ok() {
        return Err(err!("{} exists", place.display())).hint(|| "replace it with --force");
    }
    let folder = place.parent().unwrap_or(Path::new("/")).to_owned();
    if !folder.is_dir() {
        return Err(err!("there is no folder {}", folder.display())).hint(|| "mkdir -p makes it");
    }
    let real = |path: &Path| path.canonicalize().ok();
    if request.target != Target::InPlace && real(&place).is_some_and(|own| Some(own) == real(&request.image))
    {
        return Err(err!("{} is the image itself", place.display())).hint(|| "--in-place changes it");
    }
    let mut asked = BuildRequest::new(folder, &request.cache, request.variables.clone())?;
    (asked.force, asked.keep, asked.shell) = (force, request.keep, request.shell);
    asked.work_parent.clone_from(&request.work_parent);
    let job = Job::new(request, absolute(&request.image)?, place.clone())?;
    if let Target::New { path, format: None, .. } = &request.target {
        target_name::refuse_other(path, job.format()?, Some("-O"))?;
    }
    // Namespaces hide the control groups that this process is in.
    let (spare, log) = (memory::to_spare(), job.log());
    refuse_foreign(&log)?;
    let order = |work: &Path| Order::to_customize(&asked, job, secrets, work, spare);
    let Done { log, work, .. } = outer::run(&asked, &log, order, monitor)?;
    Ok(Customized { image: place, log, work })
}

/// Refuses a file that is where the log goes, and none.
fn refuse_foreign(log: &Path) -> crate::Result<()> {
    let begins = |file: std::fs::File| {
        let mut bytes = Vec::new();
        let read = file.take(FIRST_LINE.len() as u64).read_to_end(&mut bytes);
        read.is_ok() && FIRST_LINE.as_bytes().starts_with(&bytes)
    };
    match log.symlink_metadata() {
        Ok(found) if !found.is_file() || !std::fs::File::open(log).is_ok_and(begins) => {
            Err(err!("{} is where the log goes, and is no log of goldimg", log.display()))
                .hint(|| "move it away")
        }
        _ => Ok(()),
    }
}

fn absolute(path: &Path) -> crate::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("looking for {}", path.display()))
}
