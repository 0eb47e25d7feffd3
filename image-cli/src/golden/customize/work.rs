//! The stages of customizing, done by inner.
//!
//! ```text
//! work directory (on disk, or in memory)    disk.raw   the image's disk, holes left out, into which changes are written
//!                                           tree/      its files, as a booted system sees them
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::format::{Image, OpenOptions};
use image_core::fs::Time;
use image_core::new_file::Existing;

use super::apt;
use super::boot::{self, StandIns};
use super::difference::{Baseline, Comparison};
pub(in crate::golden) use super::difference::{Change, Difference};
use super::grow::Grow;
use super::in_guest::{self, Split};
use super::job::Job;
use super::verify::Verification;
use super::write_back::WriteBack;
use crate::audit::{Expected, Profile, View, audit};
use crate::error::{Advise, Context, err};
use crate::files::{absolute, copy_to_work_on};
use crate::golden::bootstrap;
use crate::golden::epoch::Epoch;
use crate::golden::seal::{clamp_time, seal as seal_files};
use crate::golden::secrets::search;
use crate::golden::tree::{Session, Tree};
use crate::golden::verify::expected_of;
use crate::golden::workspace::Workspace;
use crate::seal::{self, Chosen, Plan, Rewritten};
use crate::selinux::Policy;
use crate::system::System;

/// The stages, as they are told.
#[derive(Clone, Copy)]
pub(in crate::golden) enum Stage {
    Copy,
    Unpack,
    Boot,
    Write,
    Verify,
    Seal,
    Image,
}

impl Stage {
    /// Those before the steps of a recipe, which begins with an image.
    pub(in crate::golden) const BEFORE_STEPS: [Self; 2] = [Self::Copy, Self::Unpack];
    /// And those behind them, until the image is written.
    pub(in crate::golden) const AFTER_STEPS: [Self; 4] = [Self::Boot, Self::Write, Self::Verify, Self::Seal];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy the disk",
            Self::Unpack => "unpack its files",
            Self::Boot => "update what boots it",
            Self::Write => "write what has changed",
            Self::Verify => "compare with the image",
            Self::Seal => "seal",
            Self::Image => "write the image",
        })
    }
}

/// The image's files, as steps find them.
struct Unpacked {
    tree: Tree,
    baseline: Baseline,
    /// Attributes that no file of the tree can have here.
    refused: BTreeSet<Vec<u8>>,
}

/// An image with the files that it has.
pub(in crate::golden) struct Opened {
    pub(in crate::golden) image: Arc<Image>,
    pub(in crate::golden) system: System,
}

impl Opened {
    /// The one that `job` is about.
    ///
    /// # Errors
    /// If it cannot be read, or its files cannot be changed here.
    pub(in crate::golden) fn of(job: &Job, place: &Workspace<'_>) -> crate::Result<Self> {
        let options = OpenOptions { format: Some(job.format()?), ..OpenOptions::default() };
        let image = Arc::new(Image::open(job.image(), options)?);
        let system = System::open(Arc::clone(&image) as Arc<dyn BlockRead>)
            .with_context(|| format!("looking into {}", job.image().display()))?;
        refuse_unsuitable(&system, place)?;
        Ok(Self { image, system })
    }
}

/// What became of an image's disk.
pub(in crate::golden) struct Changed {
    /// The disk, sealed if that was asked for.
    pub(in crate::golden) disk: Arc<dyn BlockRead>,
    /// What steps put there by name.
    pub(in crate::golden) asked_for: BTreeSet<PathBuf>,
    pub(in crate::golden) difference: Difference,
}

/// Changes the image as `job` says. Answers with the files that were made.
pub(in crate::golden) fn run(job: &Job, place: &Workspace<'_>) -> crate::Result<Vec<PathBuf>> {
    let opened = Opened::of(job, place)?;
    if let Some(lost) = seal::lost(&opened.image).filter(|_| job.is_in_place) {
        return Err(err!("{lost}, which would be lost")).hint(|| "-o NEW leaves the image as it is");
    }
    // What cannot be replaced in the end is known before the work.
    let target = place.caller.files(|| Rewritten::at(&job.place(), existing(job, place)))?;
    let expected = |asked_for: &BTreeSet<PathBuf>| expected_of(&job.steps, asked_for);
    let Changed { disk, asked_for, difference } = change(job, &opened, expected, place)?;
    place.stage(&Stage::Image, || {
        let write = || target.write_shrunk(&opened.image, job.form()?, &disk, place.monitor);
        let written = place.caller.files(write)?;
        if job.seal {
            tell(&written, job, &expected(&asked_for), place)?;
        }
        place.caller.files(|| written.keep(&job.image()))
    })?;
    tell_changes(&job.place().display().to_string(), &difference, place);
    Ok(vec![job.place()])
}

/// Says how much was changed in `name`.
pub(in crate::golden) fn tell_changes(name: &str, difference: &Difference, place: &Workspace<'_>) {
    place.monitor.note(&format!(
        "{name}: {} files written, {} otherwise changed, {} removed",
        difference.count(Change::Written),
        difference.count(Change::Metadata),
        difference.count(Change::Removed)
    ));
}

/// Does the steps to a copy of the image's disk. `expected` says what is asked for of an image into which steps put these files by name.
///
/// # Errors
/// If a step fails, or what is changed cannot be written.
pub(in crate::golden) fn change(
    job: &Job,
    Opened { image, system }: &Opened,
    expected: impl Fn(&BTreeSet<PathBuf>) -> Expected,
    place: &Workspace<'_>,
) -> crate::Result<Changed> {
    let raw = place.work.scratch.join("disk.raw");
    let disk = place.stage(&Stage::Copy, || {
        let disk = copy(image, &raw, place)?;
        Grow { size: job.size, root: job.grow_root, disk: &disk }.run(place)?;
        Ok(disk)
    })?;
    let before = System::open(Arc::clone(&disk) as Arc<dyn BlockRead>)?;
    let unpacked = place.stage(&Stage::Unpack, || unpack(&before, place))?;
    let asked_for = do_steps(job, system, &unpacked.tree, place)?;
    search::none_in(&unpacked.tree, place.secrets)?;
    let expected = expected(&asked_for);
    let seals_image = is_sealed_as_image(system);
    if job.seal && !seals_image {
        place.stage(&Stage::Seal, || seal_tree(&expected, &unpacked.tree, place))?;
    }
    let difference =
        place.stage(&Stage::Write, || write((system, &before), &unpacked, (&disk, &raw), place))?;
    if job.verify {
        place.stage(&Stage::Verify, || compare((system, &before), &disk, &difference, &unpacked, place))?;
    }
    std::fs::remove_dir_all(unpacked.tree.root()).context("removing the tree")?;
    let disk: Arc<dyn BlockRead> = match job.seal && seals_image {
        true => place.stage(&Stage::Seal, || sealed(&disk, &expected, place))?,
        false => disk,
    };
    Ok(Changed { disk, asked_for, difference })
}

/// Refuses an image whose files cannot be changed.
fn refuse_unsuitable(system: &System, place: &Workspace<'_>) -> crate::Result<()> {
    if let Some(why) = system.unreadable() {
        return Err(err!("{why}"))
            .hint(|| "images with a root filesystem of ext4, XFS or Btrfs in one piece can be customized");
    }
    system.root_volume().map_or(Ok(()), |root| in_guest::check_root(system, root, place))
}

/// Whether the changed image is sealed as a whole: else, its tree is before it is written.
fn is_sealed_as_image(system: &System) -> bool {
    system.root_volume().is_none_or(|root| root.signature.kind.is_ext())
}

/// Seals the tree, for an image whose root filesystem is only read here.
fn seal_tree(expected: &Expected, tree: &Tree, place: &Workspace<'_>) -> crate::Result<()> {
    place.monitor.note(
        "it is sealed before it is written: what was unused in its filesystems is left out of the image, and not overwritten there",
    );
    seal_files(expected, tree)
}

fn existing(job: &Job, place: &Workspace<'_>) -> Existing {
    match (job.is_in_place, place.request.force) {
        // The image itself is open here, and in nobody else's use.
        (true, _) => Existing::ReplaceOwn,
        (false, true) => Existing::Replace,
        (false, false) => Existing::Refuse,
    }
}

/// The image's disk in the file `raw`.
fn copy(image: &Image, raw: &Path, place: &Workspace<'_>) -> crate::Result<Arc<FileDisk>> {
    let disk = FileDisk::create_new(raw, image.size())?;
    let watch = place.monitor.bytes("copying the disk", image.size());
    let options = Options { progress: &watch, ..Options::default() };
    convert(image, &mut DiskSink::new(&disk, Zeroes::AlreadyThere), &options).context("copying the disk")?;
    drop(watch);
    Ok(Arc::new(disk))
}

/// Its files in a tree.
fn unpack(system: &System, place: &Workspace<'_>) -> crate::Result<Unpacked> {
    let root = place.work.scratch.join("tree");
    std::fs::create_dir(&root).context("making the tree")?;
    let walk = system.walk(Path::new("/"), false)?.ok_or_else(|| err!("it has no root directory"))?;
    let (copied, refused) = copy_to_work_on(walk, &root, place.monitor)?;
    if copied.failed > 0 {
        place.monitor.warning(&format!("{} files cannot be read: steps do not see them", copied.failed));
    }
    if let Some(step) = system.find(Path::new("/"), false)? {
        let node = step.node?;
        chown(&root, Some(node.uid), Some(node.gid)).context("giving the tree to its owner")?;
        let mode = std::fs::Permissions::from_mode(node.mode);
        std::fs::set_permissions(&root, mode).context("giving the tree its permissions")?;
    }
    let baseline = Baseline::of(&root)?;
    place.log.note(&format!("{} files", baseline.len()))?;
    Ok(Unpacked { tree: Tree::new(root, place.log.clone(), place.request.epoch), baseline, refused })
}

/// All steps, in the image's own tree; answers with what they put into it by name.
fn do_steps(
    job: &Job,
    system: &System,
    tree: &Tree,
    place: &Workspace<'_>,
) -> crate::Result<BTreeSet<PathBuf>> {
    boot::check_processor(tree)?;
    // What a session needs to mount upon, and the image has not.
    let above = Session::REPLACED.into_iter().flat_map(|file| Path::new(file).ancestors().skip(1));
    let needed = Session::FOLDERS.map(Path::new).into_iter().chain(above);
    let mut made: Vec<&Path> = needed.filter(|folder| !tree.exists(folder)).collect();
    made.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    let networks = bootstrap::networks_of_an_image(tree, job.network, &place.request.variables)?;
    let mut session = tree.session(networks)?;
    apt::settle(&mut session, &place.request.variables)?;
    place.tell_network(&job.steps, job.network, &session)?;
    let stand_ins = StandIns::put(tree, system)?;
    let asked_for = place.in_shell_reach(&session, || place.steps(&job.steps, 0, &job.folder(), &session))?;
    place.stage(&Stage::Boot, || stand_ins.finish())?;
    stand_ins.take_away()?;
    session.leave()?;
    for folder in made {
        // One that a step has put something into stays.
        let _ = std::fs::remove_dir(tree.link_path(folder)?);
    }
    Ok(asked_for)
}

/// Writes what is different into the disk. `layout` is what was in that before, in which the same is as in `system`, the image.
fn write(
    (system, layout): (&System, &System),
    unpacked: &Unpacked,
    (disk, raw): (&Arc<FileDisk>, &Path),
    place: &Workspace<'_>,
) -> crate::Result<Difference> {
    let Unpacked { tree, baseline, refused } = unpacked;
    let put_back = [Session::REPLACED.as_slice(), &[boot::DIVERSIONS]].concat();
    let comparison = Comparison { baseline, tree: tree.root(), image: system, refused, put_back: &put_back };
    let mut difference = comparison.difference(place.monitor.cancel())?;
    let time = place.request.epoch.time();
    clamp(&difference, system, tree, place.request.epoch)?;
    let split = Split::of(&mut difference, layout, tree.root())?;
    let policy = Policy::of(system.files())?;
    let writes = |difference| WriteBack {
        difference,
        tree: tree.root(),
        image: system,
        layout,
        refused,
        policy: policy.as_ref(),
        time,
    };
    let here = if split.needs_guest() { &split.here } else { &difference };
    writes(here).to(&(Arc::clone(disk) as Arc<dyn BlockWrite>), place.monitor.cancel())?;
    if split.needs_guest() {
        in_guest::write(&split, &writes(&split.guest), raw, place)?;
    }
    Ok(difference)
}

/// Nothing that the steps made is newer than the build: two runs give the same bytes.
fn clamp(difference: &Difference, image: &System, tree: &Tree, epoch: Epoch) -> crate::Result<()> {
    for (path, change) in &difference.changes {
        let inside = absolute(path);
        let place = tree.root().join(OsStr::from_bytes(path));
        let doing = || format!("setting the times of {}", inside.display());
        let modified_before = || -> crate::Result<_> {
            let Some(step) = image.find(&inside, false)? else { return Ok(None) };
            Ok(Some(step.node?.modified))
        };
        let meta = match change {
            Change::Removed | Change::Links => continue,
            Change::Written | Change::Metadata => place.symlink_metadata().with_context(doing)?,
        };
        let modified = Time { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec().try_into()? };
        // What the image has from a later time stays so, unless it was written.
        if *change == Change::Written || modified_before()? != Some(modified) {
            clamp_time(&place, &meta, epoch).with_context(doing)?;
        }
    }
    Ok(())
}

fn compare(
    (system, layout): (&System, &System),
    disk: &Arc<FileDisk>,
    difference: &Difference,
    unpacked: &Unpacked,
    place: &Workspace<'_>,
) -> crate::Result<()> {
    let changed = layout.again(Arc::clone(disk) as Arc<dyn BlockRead>)?;
    let verification = Verification {
        image: system,
        changed: &changed,
        difference,
        tree: unpacked.tree.root(),
        refused: &unpacked.refused,
        cancel: place.monitor.cancel(),
    };
    let kept = verification.run().hint(|| "this is a fault of goldimg: the image stays as it is")?;
    place.log.note(&format!("{kept} files are as they were"))
}

/// `disk` as it is when it is sealed; what is changed of it lies beside it.
fn sealed(
    disk: &Arc<FileDisk>,
    expected: &Expected,
    place: &Workspace<'_>,
) -> crate::Result<Arc<dyn BlockRead>> {
    let view = View::open(Arc::clone(disk) as Arc<dyn BlockRead>)?;
    let plan = Plan::new(&view, expected, &Chosen::default())?;
    let work = place.work.scratch.join("sealed");
    std::fs::create_dir(&work).context("making a folder to seal in")?;
    let order = seal::Order {
        view: &view,
        plan: &plan,
        chosen: &Chosen::default(),
        time: place.request.variables.time()?,
        work: &work,
        variables: &place.request.variables,
    };
    let sealing = seal::over(disk, &order, place.monitor.unheard())?;
    for change in &plan.changes {
        place.log.note(&format!("seal: {change}"))?;
    }
    plan.notes.iter().chain(&sealing.notes).for_each(|note| place.monitor.note(note));
    Ok(Arc::new(sealing.disk))
}

/// Says what an audit finds in the image that was written.
fn tell(written: &Rewritten, job: &Job, expected: &Expected, place: &Workspace<'_>) -> crate::Result<()> {
    let format = job.form()?.map_or_else(|| job.format(), |(format, _)| Ok(format))?;
    let report = audit(written.path(), Some(format), Profile::Any, expected, place.monitor.unheard())
        .context("looking into the finished image")?;
    for check in report.checks.iter().filter(|check| check.fails()) {
        place.monitor.warning(check.told().trim());
    }
    Ok(())
}
