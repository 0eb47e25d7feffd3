//! Sealing: what must not be cloned is removed. One list for a build's tree and for the files of any image.
//!
//! ```text
//! image ─► View ─► Plan: which files go, become empty, are written anew; their other names
//!            │       │
//!            ├► ext4 ─► checked ─► changed ─► wiped: what belongs to no file ─► checked, read again ─┐
//!            ├► FAT ──► files go ─► read again ──────────────────────────────────────────────────────┤
//!            ├► XFS, Btrfs ─► a copy, changed by the image's own kernel ─► read again ─► wiped ──────┤
//!            └► image with what is written beside it in place ◄──────────────────────────────────────┘
//!                    └► beside the old one ─► audited ─► renamed
//! ```
//!
//! The image itself is not touched before all is done: what is changed of a filesystem lies in a file beside it. No program of this
//! machine is called but QEMU, for what is only read here. Where nothing is to be done, the image stays byte for byte.

pub(crate) mod accounts;
mod in_guest;
mod names;
mod operations;
mod order;
mod overlay;
mod patched;
mod plan;
mod rules;
mod space;
mod target;
mod volume;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange};
use image_core::format::{Format, Image, OpenOptions};
use image_core::fs::FilesystemKind;
use image_core::new_file::{Existing, PREFIX};

use crate::audit::{self, Expected, Profile, Report, View};
use crate::error::{Advise, Context, err};
use crate::monitor::Monitor;
use crate::system::Volume as Place;
use crate::target_name;
use crate::variables::Variables;
use in_guest::{InGuest, is_changed_by_kernel};
pub use operations::{Chosen, OPERATIONS, Operation};
pub(crate) use order::Order;
use patched::Patched;
pub use plan::{Change, Plan};
pub(crate) use rules::{Action, rules};
pub(crate) use target::{Rewritten, lost};
use volume::Volume;

/// What helps where an image cannot be sealed.
const SEALABLE: &str = "images with a root filesystem of ext4, XFS or Btrfs in one piece can be sealed";

/// What is to be sealed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The image's file.
    pub image: PathBuf,
    /// Its format, if not what it looks like.
    pub format: Option<Format>,
    /// Where the sealed image goes; the image itself is replaced if there is none.
    pub output: Option<PathBuf>,
    /// Whether an output that exists is replaced.
    pub force: bool,
    /// For whom the sealed image is audited.
    pub profile: Profile,
    /// What may stay.
    pub expected: Expected,
    /// What of sealing is done.
    pub chosen: Chosen,
    /// The caller's variables: `SOURCE_DATE_EPOCH` is the time of what is changed.
    pub variables: Variables,
}

impl Request {
    /// To seal the image in the file `image`, where it is: all that sealing does, now, and nothing stays.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            format: None,
            output: None,
            force: false,
            profile: Profile::Openstack,
            expected: Expected::default(),
            chosen: Chosen::default(),
            variables: Variables::default(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sealed {
    /// What was changed, in words.
    pub changes: Vec<Change>,
    /// What stays, and whoever seals may not expect to.
    pub notes: Vec<String>,
    /// The bytes other than zero that belonged to no file, and are gone.
    pub stale_bytes: u64,
    /// The sealed image, audited.
    pub report: Report,
    /// How many other names the replaced image has, under which it stays as it was.
    pub other_names: u64,
}

/// What would be changed in `request`'s image.
///
/// # Errors
/// If it cannot be read.
pub fn plan(request: &Request) -> crate::Result<Plan> {
    let (_, view) = open(request)?;
    Plan::new(&view, &request.expected, &request.chosen)
}

/// Seals an image.
///
/// # Errors
/// If it cannot be read or written, is in use, or its filesystem is broken: then it is as it was.
pub fn seal(request: &Request, monitor: Monitor<'_>) -> crate::Result<Sealed> {
    let time = request.variables.time()?;
    let path = request.output.as_deref().unwrap_or(&request.image);
    let (image, view) = open(request)?;
    if request.output.is_some() {
        target_name::refuse_other(path, image.format(), None)?;
    }
    let plan = Plan::new(&view, &request.expected, &request.chosen)?;
    // What cannot be replaced in the end is known before the work.
    let target = Rewritten::at(path, existing(request))?;
    let work = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(target.folder())
        .with_context(|| format!("making a folder in {}", target.folder().display()))?;
    let (chosen, variables) = (&request.chosen, &request.variables);
    let order = Order { view: &view, plan: &plan, chosen, time, work: work.path(), variables };
    let Sealing { disk: patched, notes: kept, stale_bytes } = over(&image, &order, monitor)?;
    let Plan { changes, mut notes, .. } = plan;
    notes.extend(kept);
    notes.extend(lost(&image).map(|lost| format!("{lost}, and the sealed image has none")));
    if patched.is_unchanged() && is_same(path, &request.image) {
        // What would be written may be packed otherwise: it stays as it is.
        let report =
            audit::audit(path, Some(image.format()), request.profile, &request.expected, monitor.unheard())?;
        return Ok(Sealed { changes, notes, stale_bytes, report, other_names: 0 });
    }
    let target = target.write(&image, &patched, monitor)?;
    // What was there may have been kept by another's name, and be gone with it.
    let expected = Expected { named: Vec::new(), ..request.expected.clone() };
    let report =
        audit::audit(target.path(), Some(image.format()), request.profile, &expected, monitor.unheard())
            .context("looking into the sealed image")?;
    let report = Report { image: path.display().to_string(), ..report };
    let other_names = target.other_names();
    target.keep(&request.image)?;
    Ok(Sealed { changes, notes, stale_bytes, report, other_names })
}

/// A disk that is sealed, with what is changed beside it.
pub(crate) struct Sealing<D> {
    pub(crate) disk: Patched<D>,
    /// What stays as it is, in words.
    pub(crate) notes: Vec<String>,
    /// The bytes other than zero that belonged to no file.
    pub(crate) stale_bytes: u64,
}

/// Seals what is in `disk`, which stays as it is.
///
/// # Errors
/// If it cannot be read, or a filesystem is broken.
pub(crate) fn over<D: BlockRead>(
    disk: &Arc<D>,
    order: &Order<'_>,
    monitor: Monitor<'_>,
) -> crate::Result<Sealing<D>> {
    let view = order.view;
    let mut patched = Patched::new(Arc::clone(disk));
    let mut stale_bytes = 0;
    let wipes = order.chosen.has(operations::UNUSED_SPACE);
    let swap = if wipes { by_place(audit::swap_files(view)?, view)? } else { Vec::new() };
    let mut notes = Vec::new();
    let in_guest = InGuest::of(view, &order.plan.changes)?;
    if !in_guest.is_empty() {
        in_guest.check(order.variables)?;
    }
    for (place, changes) in &order.plan.by_volume(view)? {
        if is_changed_by_kernel(place) {
            let own = swap.iter().filter(|(range, _)| *range == place.range);
            notes.extend(own.map(|(_, path)| {
                let (name, kind) = (place.name(), place.signature.kind);
                format!("{name} ({kind}): the swap file {} keeps what was swapped", path.display())
            }));
            continue;
        }
        if !is_changed_here(place) {
            notes.extend(changes.iter().map(|change| {
                format!("{} ({}) is only read here: it stays to {change}", place.name(), place.signature.kind)
            }));
            continue;
        }
        let volume = Volume::over(view, place, order.work)?;
        monitor.check()?;
        let stage = monitor.stage(&format!("seal {}", place.name()));
        let own: Vec<PathBuf> =
            swap.iter().filter(|(range, _)| *range == place.range).map(|(_, path)| path.clone()).collect();
        let wiped = volume.seal(changes, order.time, wipes.then_some(&own), monitor.cancel());
        stale_bytes += wiped.with_context(|| format!("sealing {}", place.name()))?;
        if let Some(changed) = volume.into_disk() {
            patched.put(place.range, changed)?;
        }
        stage.done();
    }
    for (range, sealed) in in_guest.seal(order, wipes, monitor)? {
        stale_bytes += sealed.wiped;
        notes.extend(sealed.notes);
        if let Some(disk) = sealed.disk {
            patched.put(range, disk)?;
        }
    }
    if wipes {
        stale_bytes += space::wipe(view, &mut patched, order.work)?;
    }
    let is_sealed = |volume: &&Place| is_changed_here(volume) || is_changed_by_kernel(volume);
    let sealed: Vec<ByteRange> = view.mounted().filter(is_sealed).map(|volume| volume.range).collect();
    for other in view.volumes().iter().filter(|volume| !sealed.contains(&volume.range)) {
        if other.signature.kind != FilesystemKind::Swap {
            notes.push(format!(
                "{} ({}) is not sealed: it stays as it is",
                other.name(),
                other.signature.kind
            ));
        }
    }
    Ok(Sealing { disk: patched, notes, stale_bytes })
}

/// Whether files of `volume` can be changed here.
fn is_changed_here(volume: &Place) -> bool {
    volume.is_in_one_piece()
        && (volume.signature.kind.is_ext() || volume.signature.kind == FilesystemKind::Fat)
}

/// Files by the filesystem that each is in, and its path there.
fn by_place(files: Vec<PathBuf>, view: &View) -> crate::Result<Vec<(ByteRange, PathBuf)>> {
    let mut placed = Vec::new();
    for file in files {
        placed.extend(view.place_of_content(&file)?.map(|(volume, inside)| (volume.range, inside)));
    }
    Ok(placed)
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|there| (there.dev(), there.ino()));
    identity(one).is_some() && identity(one) == identity(other)
}

/// What is done about a file that is where the sealed image goes. The image itself is open here, and in nobody else's use.
fn existing(request: &Request) -> Existing {
    match &request.output {
        Some(_) if !request.force => Existing::Refuse,
        Some(output) if !is_same(output, &request.image) => Existing::Replace,
        _ => Existing::ReplaceOwn,
    }
}

fn open(request: &Request) -> crate::Result<(Arc<Image>, View)> {
    let options = OpenOptions { format: request.format, ..OpenOptions::default() };
    let image = Arc::new(Image::open(&request.image, options)?);
    let view = View::open(Arc::clone(&image) as _)
        .with_context(|| format!("looking into {}", request.image.display()))?;
    if let Some(why) = view.unreadable() {
        return Err(err!("{}: {why}", request.image.display())).hint(|| SEALABLE);
    }
    let root = view.root_volume().filter(|root| !is_changed_here(root) && !is_changed_by_kernel(root));
    if let Some(root) = root {
        return Err(err!(
            "{}: its root filesystem is {}, which is only read here",
            request.image.display(),
            root.signature.kind
        ))
        .hint(|| SEALABLE);
    }
    request.expected.check(&view)?;
    Ok((image, view))
}

#[cfg(test)]
mod tests;
