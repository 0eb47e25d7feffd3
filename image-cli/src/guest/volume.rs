//! The filesystems that a guest changes: which those are, and how its kernel is to mount them.

use std::path::{Path, PathBuf};

use image_core::block::ByteRange;
use image_core::fs::FilesystemKind;

use crate::error::{Context, err};
use crate::system::{System, Volume};

/// Whether files of `kind` are changed by a guest, for this program itself only reads them.
pub(crate) fn is_for_a_guest(kind: FilesystemKind) -> bool {
    matches!(kind, FilesystemKind::Xfs | FilesystemKind::Btrfs)
}

/// A filesystem that a guest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestVolume {
    /// Where it is in the image's file, in bytes: in one piece, of whole sectors.
    pub range: ByteRange,
    /// What it is: XFS, Btrfs, or ext2 to ext4.
    pub kind: FilesystemKind,
    /// The absolute path where the system mounts it, without a link on its way.
    pub mount: PathBuf,
    /// How it mounts it, as in `/etc/fstab`: `subvol=@,compress=zstd`. Whatever it says, it is mounted to be written, and no program of it runs.
    pub options: String,
}

impl GuestVolume {
    /// The filesystem in which `path` of `system` is, mounted where it is mounted there; `path` is absolute, leads through no link, and need not be
    /// there.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or as [`of`](Self::of).
    pub(crate) fn holding(system: &System, path: &Path) -> crate::Result<Self> {
        let (index, folder) = system.mounted().holder(path).context("the image has no root filesystem")?;
        let volume = system.volumes().get(index).context("a filesystem is gone")?;
        let options = match volume.signature.kind {
            // By its number: fstab may say nothing of a root that is in a subvolume.
            FilesystemKind::Btrfs => {
                let root = system.find(folder, false)?.context("a filesystem is gone")?.node?;
                format!("subvolid={}", root.id.subvolume)
            }
            _ => String::new(),
        };
        Self::of(volume, folder, &options)
    }

    /// The filesystem that is `volume`, to be mounted at `mount` with `options`.
    ///
    /// # Errors
    /// [`Image`](crate::ErrorKind::Image) if it is a logical volume in several pieces, which no disk of a guest can be.
    pub fn of(volume: &Volume, mount: impl Into<PathBuf>, options: &str) -> crate::Result<Self> {
        if !volume.is_in_one_piece() {
            let error = err!("{} is in several pieces: files in it are not changed", volume.name());
            return Err(error.of_kind(crate::ErrorKind::Image));
        }
        let (range, kind) = (volume.range, volume.signature.kind);
        Ok(Self { range, kind, mount: mount.into(), options: options.to_owned() })
    }
}
