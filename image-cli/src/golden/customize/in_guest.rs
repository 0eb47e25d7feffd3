//! What is different in filesystems that are only read here, written by the image's own kernel (`crate::guest`).
//!
//! ```text
//! a change in XFS or Btrfs ─┬─ changes in FAT ─► write_back.rs
//!                           └─ all others ─► archive, with what is otherwise changed as a whole ─► guest ─► disk.raw
//! ```
//!
//! One filesystem that needs it is reason enough: ext4 beside it goes the same way. Only filesystems in which something changes are
//! mounted.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use image_core::fs::FilesystemKind;

use super::difference::{Change, Difference};
use super::write_back::WriteBack;
use crate::error::{Advise, Context, err};
use crate::files::absolute;
use crate::golden::workspace::Workspace;
use crate::guest::{GuestVolume, Request, apply, check, is_for_a_guest};
use crate::printable::printable;
use crate::system::{System, Volume};

/// Makes sure that the root filesystem `root` of `system` is one that is changed here, or by a guest.
///
/// # Errors
/// If neither can be, with the reason.
pub(super) fn check_root(system: &System, root: &Volume, place: &Workspace<'_>) -> crate::Result<()> {
    let kind = root.signature.kind;
    if kind.is_ext() && root.is_in_one_piece() {
        return Ok(());
    }
    if !is_for_a_guest(kind) || !root.is_in_one_piece() {
        let pieces = if root.is_in_one_piece() { "" } else { " in several pieces" };
        return Err(err!("its root filesystem is {kind}{pieces}, which is only read here"))
            .hint(|| "images with a root filesystem of ext4, XFS or Btrfs in one piece can be customized");
    }
    check(system, &[kind], &place.request.variables)
        .with_context(|| format!("its root filesystem is {kind}, which the image's own kernel changes"))
}

/// What goes which way.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// What this program writes itself.
    pub(super) here: Difference,
    /// What a guest writes, and the filesystems that it needs for that; nothing if none does.
    pub(super) guest: Difference,
    volumes: Vec<GuestVolume>,
}

impl Split {
    /// Of `difference`, in the image `system`, after the steps in `tree`. Where a guest is needed, `difference` has then also the
    /// directories in which that makes files anew: their times of the last change are others, and nothing else is.
    ///
    /// # Errors
    /// If a filesystem can be changed in neither way.
    pub(super) fn of(difference: &mut Difference, system: &System, tree: &Path) -> crate::Result<Self> {
        let split = Self::by_volume(difference, system)?;
        let anew = |(path, change): &&(Vec<u8>, Change)| {
            *change == Change::Metadata
                && tree.join(OsStr::from_bytes(path)).symlink_metadata().is_ok_and(|own| !own.is_dir())
        };
        difference.add_parents(split.guest.changes.iter().filter(anew).map(|(path, _)| path.as_slice()));
        Self::by_volume(difference, system)
    }

    fn by_volume(difference: &Difference, system: &System) -> crate::Result<Self> {
        let mut split = Self::default();
        let mut volumes: BTreeMap<&Path, GuestVolume> = BTreeMap::new();
        let changes = difference.changes.iter().map(|(path, change)| (path, Some(*change)));
        for (path, change) in changes.chain(difference.removed.iter().map(|path| (path, None))) {
            let absolute = absolute(path);
            let holder = system.mounted().holder(&absolute);
            let (index, folder) = holder.context("the image has no root filesystem")?;
            let volume = system.volumes().get(index).context("a filesystem is gone")?;
            let is_fat = volume.signature.kind == FilesystemKind::Fat;
            let own = if is_fat { &mut split.here } else { &mut split.guest };
            match change {
                Some(change) => own.changes.push((path.clone(), change)),
                None => own.removed.push(path.clone()),
            }
            if !is_fat && !volumes.contains_key(folder) {
                volumes.insert(folder, GuestVolume::holding(system, folder)?);
            }
        }
        if !volumes.values().any(|volume| is_for_a_guest(volume.kind)) {
            return Ok(Self::default());
        }
        split.volumes = volumes.into_values().collect();
        Ok(split)
    }

    /// Whether a guest is needed.
    pub(super) fn needs_guest(&self) -> bool {
        !self.volumes.is_empty()
    }
}

/// Has a guest write what `split` says of it into the disk in the file `disk`; `write_back` has the same difference.
///
/// # Errors
/// If it cannot, as [`apply`] says.
pub(super) fn write(
    split: &Split,
    write_back: &WriteBack<'_>,
    disk: &Path,
    place: &Workspace<'_>,
) -> crate::Result<()> {
    let scratch = &place.work.scratch;
    let archive = scratch.join("changes.tar");
    let pack = || -> crate::Result<()> {
        let mut out = BufWriter::new(File::create_new(&archive)?);
        write_back.pack_all(&mut out, place.monitor.cancel())
    };
    pack().context("packing the changes for a guest")?;
    let kinds: Vec<String> =
        split.volumes.iter().map(|volume| format!("{} ({})", volume.mount.display(), volume.kind)).collect();
    place.monitor.note(&format!(
        "the image's own kernel writes {}, which is only read here",
        printable(&kinds.join(", "))
    ));
    let (system, variables) = (write_back.image, place.request.variables.clone());
    let mut request = Request::new(disk, system, split.volumes.clone(), &archive, scratch, variables);
    request.removed =
        split.guest.removed.iter().map(|path| absolute(path).into_os_string().into_encoded_bytes()).collect();
    let applied = apply(&request, place.monitor)?;
    place.log.note(&format!(
        "guest: {} removed, {} unpacked by the kernel {} ({:?}): it began after {:.1} s, and took {:.1} s",
        applied.removed,
        applied.unpacked,
        printable(&applied.kernel),
        applied.accelerator,
        applied.began.as_secs_f64(),
        applied.took.as_secs_f64()
    ))?;
    std::fs::remove_file(&archive).context("removing the archive of the changes")
}
