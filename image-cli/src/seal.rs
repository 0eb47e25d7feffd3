//! Sealing: what must not be cloned is removed. One list for a build's tree and for the files of any image.
//!
//! ```text
//! image ─► View ─► Plan: which files go, become empty, are written anew
//!            │       │
//!            ├► ext4, a copy ─► e2fsck (journal) ─► debugfs ─► unused blocks become holes ─► e2fsck ─► read again
//!            └► FAT, a copy ──► files go ─► read again
//!                    └► image with the volume in its place ─► beside the old one ─► audited ─► renamed
//! ```
//!
//! The image itself is not touched before all is done. The files of an ext4 filesystem are changed by debugfs, the
//! program of those who maintain ext4: unprivileged, and judged by e2fsck and by reading again what it was told to do.

pub(crate) mod accounts;
mod debugfs;
mod patched;
mod plan;
mod rules;
mod target;
mod volume;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use image_core::format::{Format, Image, OpenOptions};

use crate::audit::{self, Expected, Profile, Report, View};
use crate::failure::{Advise, USAGE};
use crate::interrupt;
use crate::programs;
use crate::ui::Ui;
use patched::Patched;
pub(crate) use plan::{Change, Plan};
pub(crate) use rules::{Action, fits, rules};
use target::Target;
use volume::Volume;

/// The programs of this machine that sealing calls.
const PROGRAMS: &[&str] = &["debugfs", "e2fsck"];

/// What is to be sealed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) image: PathBuf,
    pub(crate) format: Option<Format>,
    /// Where the sealed image goes; the image itself is replaced if there is none.
    pub(crate) output: Option<PathBuf>,
    /// Whether an output that exists is replaced.
    pub(crate) force: bool,
    pub(crate) profile: Profile,
    pub(crate) expected: Expected,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// What was changed, in words.
    pub(crate) changes: Vec<Change>,
    /// The bytes of removed files that were left in unused blocks, and are gone.
    pub(crate) stale_bytes: u64,
    /// The sealed image, audited.
    pub(crate) report: Report,
}

/// What would be changed in `request`'s image.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn plan(request: &Request) -> anyhow::Result<Plan> {
    let (_, view) = open(request)?;
    Plan::new(&view, &request.expected)
}

/// Seals an image.
///
/// # Errors
/// If it cannot be read or written, is in use, or its filesystem is broken: then it is as it was.
pub(crate) fn seal(request: &Request, ui: &Ui) -> anyhow::Result<Sealed> {
    interrupt::listen()?;
    programs::require(PROGRAMS)?;
    let path = request.output.as_deref().unwrap_or(&request.image);
    if request.output.is_some() && !request.force && path.exists() {
        return Err(anyhow!("{} exists", path.display())).hint(|| "--force replaces it");
    }
    let (image, view) = open(request)?;
    refuse_other_format(path, image.format())?;
    let plan = Plan::new(&view, &request.expected)?;
    let folder = folder_of(path);
    let work = tempfile::Builder::new()
        .prefix(".goldimg-")
        .tempdir_in(&folder)
        .with_context(|| format!("making a folder in {}", folder.display()))?;
    let mut patched = Patched::new(Arc::clone(&image));
    let mut stale_bytes = 0;
    for (place, changes) in plan.by_volume(&view)? {
        let volume = Volume::copy_of(&view, place, work.path(), ui)?;
        interrupt::check()?;
        let stage = ui.stage(&format!("seal {}", place.name()));
        stale_bytes += volume.seal(&changes).with_context(|| format!("sealing {}", place.name()))?;
        patched.put(place.range, volume.into_disk())?;
        stage.done();
    }
    let target = Target::write(&image, &patched, &folder, path, ui)?;
    let report = audit::audit(target.path(), Some(image.format()), request.profile, &request.expected)
        .context("looking into the sealed image")?;
    let report = Report { image: path.display().to_string(), ..report };
    target.keep(path, &request.image)?;
    Ok(Sealed { changes: plan.changes, stale_bytes, report })
}

fn open(request: &Request) -> anyhow::Result<(Arc<Image>, View)> {
    let options = OpenOptions { format: request.format, ..OpenOptions::default() };
    let image = Arc::new(Image::open(&request.image, options)?);
    let view = View::open(Arc::clone(&image) as _)
        .with_context(|| format!("looking into {}", request.image.display()))?;
    if let Some(why) = view.unreadable() {
        return Err(anyhow!("{}: {why}", request.image.display()))
            .hint(|| "images with an ext4 root filesystem can be sealed");
    }
    Ok((image, view))
}

/// A name that says another format than the file has misleads whoever comes next.
fn refuse_other_format(path: &Path, format: Format) -> anyhow::Result<()> {
    let other = match format {
        Format::Raw => "qcow2",
        Format::Qcow2 => "raw",
    };
    if path.extension().is_some_and(|extension| extension == other) {
        return Err(anyhow!("the image is {format}, and stays so: {} is no name for it", path.display()))
            .hint(|| format!("seal it, and then goldimg convert -O {other}"))
            .exit_code(USAGE);
    }
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
