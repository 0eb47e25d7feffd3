//! Where the target goes: beside its name until it is complete, onto a device, or to standard output.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use image_core::block::{BlockRead, BlockWrite, FileDisk};
use tempfile::TempPath;

use crate::failure::Advise;

/// Names of unfinished files begin so.
const PREFIX: &str = ".goldimg-";

/// The target in the making. A file that is not kept is removed.
#[derive(Debug)]
pub(super) enum Output {
    /// A new file under another name.
    File { disk: FileDisk, unfinished: TempPath, path: PathBuf },
    /// A block device.
    Device { disk: FileDisk },
    /// Standard output.
    Stream,
}

impl Output {
    /// Prepares to write `path`; what is there already is touched only if `force` is set.
    pub(super) fn new(path: &Path, source: &Path, force: bool) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stream);
        }
        if let Ok(there) = fs::metadata(path) {
            if fs::metadata(source).is_ok_and(|source| same(&source, &there)) {
                return Err(anyhow!("{} is both source and target", path.display()))
                    .hint(|| "write another file, and rename it");
            }
            if !force {
                return Err(anyhow!("{} exists", path.display())).hint(|| "--force replaces it");
            }
            if there.file_type().is_block_device() {
                return Ok(Self::Device { disk: FileDisk::open_writable(path)? });
            }
            if !there.is_file() {
                return Err(anyhow!("{} is neither a file nor a block device", path.display()))
                    .hint(|| "- is standard output");
            }
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let (file, unfinished) = tempfile::Builder::new()
            .prefix(PREFIX)
            // What the umask leaves of it, as for any new file.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .with_context(|| format!("making a file in {}", folder.display()))
            .hint(|| "the folder of the target must exist, with room and the right to write")?
            .into_parts();
        let disk = FileDisk::from_file(file, path)?;
        Ok(Self::File { disk, unfinished, path: path.to_owned() })
    }

    /// The file or device; none if it is standard output.
    pub(super) fn file(&self) -> Option<&FileDisk> {
        match self {
            Self::File { disk, .. } | Self::Device { disk } => Some(disk),
            Self::Stream => None,
        }
    }

    /// Sees to it that `size` bytes fit. Whether they all read as zeroes.
    pub(super) fn make_room(&self, size: u64) -> anyhow::Result<bool> {
        match self {
            Self::File { disk, .. } => disk.resize(size)?,
            Self::Device { disk } if disk.size() < size => {
                return Err(anyhow!(
                    "{} has {} bytes, and the image needs {size}",
                    disk.path().display(),
                    disk.size()
                ))
                .hint(|| "take a larger device");
            }
            Self::Device { .. } | Self::Stream => return Ok(false),
        }
        Ok(true)
    }

    /// What was written, for reading.
    pub(super) fn reopen(&self) -> anyhow::Result<FileDisk> {
        match self {
            Self::File { unfinished, .. } => Ok(FileDisk::open(unfinished)?),
            Self::Device { disk } => Ok(FileDisk::open(disk.path())?),
            Self::Stream => Err(anyhow!("standard output cannot be read again")),
        }
    }

    /// The length of the file in bytes.
    pub(super) fn file_size(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::File { disk, .. } => Ok(Some(disk.size())),
            Self::Device { .. } | Self::Stream => Ok(None),
        }
    }

    /// The bytes set aside for the file.
    pub(super) fn allocated_size(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::File { disk, .. } => Ok(Some(disk.allocated_size()?)),
            Self::Device { .. } | Self::Stream => Ok(None),
        }
    }

    /// Gives it its name; with `sync`, returns when it survives a loss of power.
    pub(super) fn keep(self, sync: bool) -> anyhow::Result<()> {
        if sync && let Some(disk) = self.file() {
            disk.flush()?;
        }
        let Self::File { unfinished, path, .. } = self else { return Ok(()) };
        unfinished
            .persist(&path)
            .with_context(|| format!("renaming the finished file to {}", path.display()))?;
        if sync && let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).context("syncing the folder")?;
        }
        Ok(())
    }
}

/// Whether two names are of one file, or one device.
fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    let devices = one.file_type().is_block_device() && other.file_type().is_block_device();
    (one.dev(), one.ino()) == (other.dev(), other.ino()) || (devices && one.rdev() == other.rdev())
}
