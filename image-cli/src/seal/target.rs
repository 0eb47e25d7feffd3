//! The sealed image: written beside the old one in the same format, and renamed when all is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use image_core::block::{BlockRead, BlockWrite, FileDisk};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::format::{Disk, Image};
use image_core::qcow2::{Codec, Geometry, GuestOffset, Mapping, NewImage, Qcow2, Qcow2Sink};
use tempfile::TempPath;

use crate::ui::Ui;

/// So many clusters are asked whether they are compressed: all of 256 GiB in the usual size.
const ASKED: u64 = 1 << 22;

/// An image that has no name yet.
#[derive(Debug)]
pub(super) struct Target {
    disk: FileDisk,
    unfinished: TempPath,
}

impl Target {
    /// Writes `content` into a file in `folder`, in the format of `image`, compressed if that is; it will be `path`.
    pub(super) fn write(
        image: &Image,
        content: &impl BlockRead,
        folder: &Path,
        path: &Path,
        ui: &Ui,
    ) -> anyhow::Result<Self> {
        let doing = || format!("writing {}", path.display());
        let new = tempfile::Builder::new().prefix(".goldimg-").tempfile_in(folder).with_context(doing)?;
        let (file, unfinished) = new.into_parts();
        let disk = FileDisk::from_file(file, path)?;
        let watch = ui.bytes(&path.display().to_string(), content.size());
        let options = Options { progress: &watch, ..Options::default() };
        match image.disk() {
            Disk::Raw(_) => {
                disk.resize(content.size()).with_context(doing)?;
                let mut sink = DiskSink::new(&disk, Zeroes::AlreadyThere);
                convert(content, &mut sink, &options).with_context(doing)?;
            }
            Disk::Qcow2(old) => {
                let mut sink = Qcow2Sink::new(&disk, like(old)?)?;
                convert(content, &mut sink, &options).with_context(doing)?;
            }
        }
        drop(watch);
        disk.flush().with_context(doing)?;
        Ok(Self { disk, unfinished })
    }

    /// Where it is now.
    pub(super) fn path(&self) -> &Path {
        &self.unfinished
    }

    /// Gives it its name, with the rights that `old` has.
    pub(super) fn keep(self, path: &Path, old: &Path) -> anyhow::Result<()> {
        let doing = || format!("renaming the sealed image to {}", path.display());
        let mode = fs::metadata(old).with_context(doing)?.permissions().mode();
        fs::set_permissions(&self.unfinished, fs::Permissions::from_mode(mode & 0o7777))
            .with_context(doing)?;
        self.disk.flush().with_context(doing)?;
        self.unfinished.persist(path).with_context(doing)?;
        fs::File::open(super::folder_of(path))
            .and_then(|folder| folder.sync_all())
            .context("syncing the folder")
    }
}

/// A new image like `old`, without what Glance refuses.
fn like(old: &Qcow2) -> anyhow::Result<NewImage> {
    let header = old.header();
    let geometry = Geometry::new(header.geometry.cluster_bits(), header.geometry.refcount_order(), false)?;
    let image = NewImage::in_clusters(header.size, geometry)?;
    match is_compressed(old)? {
        true => Ok(image.with_codec(Codec::new(header.compression, None)?, true)?),
        false => Ok(image),
    }
}

fn is_compressed(image: &Qcow2) -> anyhow::Result<bool> {
    let size = image.header().geometry.cluster_size();
    for index in 0..image.header().size.div_ceil(size).min(ASKED) {
        if matches!(image.mapping(GuestOffset(index * size))?, Mapping::Compressed { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}
