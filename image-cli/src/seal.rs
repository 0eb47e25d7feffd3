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

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use image_core::format::{Format, Image, OpenOptions};
use image_core::new_file::{Existing, PREFIX};

use crate::audit::{self, Expected, Profile, Report, View};
use crate::failure::Advise;
use crate::interrupt;
use crate::programs;
use crate::target_name;
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
    /// How many other names the replaced image has, under which it stays as it was.
    pub(crate) other_names: u64,
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
    let (image, view) = open(request)?;
    if request.output.is_some() {
        target_name::refuse_other(path, image.format())?;
    }
    let plan = Plan::new(&view, &request.expected)?;
    // What cannot be replaced in the end is known before the work.
    let target = Target::at(path, existing(request))?;
    let work = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(target.folder())
        .with_context(|| format!("making a folder in {}", target.folder().display()))?;
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
    let target = target.write(&image, &patched, ui)?;
    // What was there may have been kept by another's name, and be gone with it.
    let expected = Expected { named: Vec::new(), ..request.expected.clone() };
    let report = audit::audit(target.path(), Some(image.format()), request.profile, &expected)
        .context("looking into the sealed image")?;
    let report = Report { image: path.display().to_string(), ..report };
    let other_names = target.other_names();
    target.keep(&request.image)?;
    Ok(Sealed { changes: plan.changes, stale_bytes, report, other_names })
}

/// What is done about a file that is where the sealed image goes. The image itself is open here, and in nobody else's use.
fn existing(request: &Request) -> Existing {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|there| (there.dev(), there.ino()));
    match &request.output {
        Some(_) if !request.force => Existing::Refuse,
        Some(output) if identity(output) != identity(&request.image) => Existing::Replace,
        _ => Existing::ReplaceOwn,
    }
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
    request.expected.check(&view)?;
    Ok((image, view))
}

#[cfg(test)]
mod tests;
